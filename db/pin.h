#ifndef CHANCERY_DB_PIN_H
#define CHANCERY_DB_PIN_H

/*
 * Entries of PINs on their way to a signer, and decisions that wait for one
 * (migrations/0010_pin.sql). Requests and CRLs that wait are in db/request.h and
 * db/crl.h. What an entry lists is named by its SHA-256, as everywhere.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"
#include "db/db.h"
#include "db/decision.h"

#define PIN_DIGEST_LEN 32

/* What an entry lists, 256 at most; borrowed for the call. */
struct pin_digests {
	const uint8_t (*sha256)[PIN_DIGEST_LEN];
	size_t count;
};
/* As an array parameter; for the files of db. */
void pin_param_digests(struct db_params *p, const struct pin_digests *digests);

/* An envelope and who signed it; borrowed for the callback. */
struct pin_entry {
	int64_t id;
	struct bytes statement, body, spki, signature;
};

/* entry NULL and err NULL: there is none. It is given out once: after this call it
 * is nowhere but here. */
typedef void pin_entry_fn(const struct pin_entry *entry, const struct error *err, void *arg);
/* busy: the signer has an entry under way, so that only others than those come. */
struct db_pending *pin_take_entry(struct db *db, const char *token, int signer_id,
    const char *instance, bool busy, pin_entry_fn *fn, void *arg, struct error *err) MUST_CHECK;

/* The signer did not look at it: it keeps its place, and `outcome` says why it waits. As
 * with the next one, nobody waits for the answer. */
bool pin_return_entry(struct db *db, const struct pin_entry *entry, const char *outcome,
    struct error *err) MUST_CHECK;

/* What became of it; one sentence. Nobody waits for the answer; a failure is logged. */
bool pin_end_entry(
    struct db *db, int64_t id, bool done, const char *outcome, struct error *err) MUST_CHECK;

typedef void pin_done_fn(const struct error *err, void *arg);

/* A decision that goes back into the queue until an entry lists what it waits for. */
struct pin_wait {
	int signer_id;
	const char *token, *ca;
	const char *kind;    /* "order", "csr-info", "certificate" */
	struct bytes cka_id; /* empty: the key is still to be made */
	struct bytes tbs;    /* empty for an order: its statement is what an entry names */
};
struct db_pending *pin_await_decision(struct db *db, struct decision_key key,
    const struct pin_wait *wait, pin_done_fn *fn, void *arg, struct error *err) MUST_CHECK;

/* How many; err is NULL or set. */
typedef void pin_count_fn(int64_t count, const struct error *err, void *arg);
struct db_pending *pin_wake_decisions(struct db *db, const char *token, int signer_id,
    const struct pin_digests *digests, pin_count_fn *fn, void *arg, struct error *err) MUST_CHECK;

/* Requests that waited for too long get another serial. */
struct db_pending *pin_expire(
    struct db *db, pin_count_fn *fn, void *arg, struct error *err) MUST_CHECK;

#endif
