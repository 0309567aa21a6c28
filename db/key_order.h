#ifndef CHANCERY_DB_KEY_ORDER_H
#define CHANCERY_DB_KEY_ORDER_H

/*
 * What operators ordered about keys, as the decisions have it (migrations/0007_ca.sql):
 * for signers that were not there when it was carried out.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/signproto.h"
#include "daemon/core/wire.h"
#include "db/db.h"

/* How far it has come with a key. Text and slices are borrowed for the call. */
struct key_version {
	const char *token, *ca;
	struct bytes cka_id;
	int version;	 /* of its limits */
	int64_t install; /* the newest decision that installed a certificate; 0: none */
};
typedef void key_versions_fn(
    const struct key_version *rows, size_t n, const struct error *err, void *arg);
/* Of all keys that this signer may use. */
struct db_pending *key_versions_load(
    struct db *db, int signer_id, key_versions_fn *answer, void *arg, struct error *err) MUST_CHECK;

#define KEY_ORDERS_MAX 64

enum key_order_kind {
	KEY_ORDER_CREATE,
	KEY_ORDER_LIMITS,
	KEY_ORDER_INSTALL,
};

struct key_order {
	enum key_order_kind kind;
	int version;	  /* of limits: the one that it puts into force */
	int64_t decision; /* its internal id */
	struct signproto_order order;
};
/* Everything is borrowed for the call. */
typedef void key_orders_fn(
    const struct key_order *rows, size_t n, const struct error *err, void *arg);
/* At most KEY_ORDERS_MAX of those after that version and that installation, as a
 * signer needs them: limits by version, then the newest certificate. */
struct db_pending *key_orders_load(struct db *db, struct bytes cka_id, int version, int64_t install,
    key_orders_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* The end of a key, which a decision orders: what stands against it, in a sentence (NULL:
 * nothing), and where the key is. Borrowed for the call. */
struct key_ending {
	const char *obstacle, *token;
	struct bytes cka_id;
};
typedef void key_ending_fn(const struct key_ending *key, const struct error *err, void *arg);
struct db_pending *key_end_begin(struct db *db, int64_t decision_id, int epoch,
    key_ending_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* It is destroyed: closes the decision. */
typedef void key_ended_fn(const struct error *err, void *arg);
struct db_pending *key_end_note(struct db *db, int64_t decision_id, int epoch, key_ended_fn *answer,
    void *arg, struct error *err) MUST_CHECK;

#endif
