#ifndef CHANCERY_PKCS11_ORDERS_H
#define CHANCERY_PKCS11_ORDERS_H

/*
 * Carrying out what operators ordered about keys: making one, changing its limits,
 * installing its CA's certificate, destroying it; and about the journal. Each may be repeated: what
 * was done already is done, and after a crash the repetition finishes it.
 *
 * These functions write to the state directory and to the token, and must not run
 * at the same time for one state directory.
 */

#include "daemon/core/signproto.h"
#include "pkcs11/key.h"
#include "pkcs11/limits.h"
#include "pkcs11/session.h"

struct journal;

struct orders_env {
	struct journal *journal; /* learns of each key before it can be used */
	const char *state_dir;
	const char *token;  /* the configuration's name of it */
	uint16_t signer_id; /* of this host */
	int64_t now;	    /* seconds since 1970 */
};

/*
 * ca-create: makes the key that a first limits document is for, or finds it when it
 * was made already, and keeps the limits. rw: a read-write session. On success key is
 * filled in (key_clear).
 *
 * An order whose statement has expired makes no key, and brings back no limits that
 * neither the state directory nor the token knows of.
 */
bool orders_make_key(struct session *rw, const struct orders_env *env,
    const struct signproto_order *order, uint8_t id[KEY_ID_LEN], struct key *key,
    struct error *e) MUST_CHECK;

/* ca-limits: puts new limits into force for the key. */
bool orders_set_limits(struct session *s, const struct orders_env *env, struct bytes id,
    const struct signproto_order *order, struct error *e) MUST_CHECK;

/* ca-install: takes the certificate of the CA whose key this is. A root needs no such
 * order, since it has the one that it signed. What the token remembers as installed, by
 * another host, is taken without looking at the order. */
bool orders_install(struct session *s, const struct orders_env *env, struct bytes id,
    const struct signproto_order *order, struct error *e) MUST_CHECK;

/* A root is about to sign its own certificate, which the guard let through: notes it.
 * ordered: when the order to renew it was issued, 0 for the first one. Nothing is
 * written when it is the one that is known. */
bool orders_note_root(struct session *s, const struct orders_env *env, struct bytes id,
    struct bytes tbs, int64_t ordered, struct error *e) MUST_CHECK;

/* key-destroy: destroys the key on the token. Whether anything needs it still is for the
 * database to say, and for those who sign; the label that they typed has to be the token's.
 * The journal and the state directory have the order before that, and keep it; so does the
 * token, as far as it takes data objects. rw: a read-write session. */
bool orders_destroy_key(struct session *rw, const struct orders_env *env, struct bytes id,
    const struct signproto_order *order, struct error *e) MUST_CHECK;

/* signer-reseed: opens the keys that the document lists, each of which needs the
 * quorum of its own limits. Cannot be repeated, since it answers a challenge. */
bool orders_reseed(struct session *s, const struct orders_env *env,
    const struct signproto_order *order, struct error *e) MUST_CHECK;

/* Whether that was ordered of a key, as this host knows; and what is left to be done then on
 * another of a group's tokens, which was away, or has just been cloned. */
bool orders_is_destroyed(const char *state_dir, const uint8_t id[KEY_ID_LEN]);
bool orders_destroy_copy(
    struct session *rw, const struct key_limits *l, struct error *e) MUST_CHECK;

#endif
