#ifndef CHANCERY_PKCS11_LIMITS_FLOOR_H
#define CHANCERY_PKCS11_LIMITS_FLOOR_H

/*
 * What the token itself remembers of each key's limits (anchor.h), where an older copy
 * of the signer's state directory that is put back does not reset it: the newest
 * version, and which certificate of the CA is installed. Signers on several hosts that
 * share a token learn from it, too, that they missed something.
 */

#include "pkcs11/limits.h"
#include "pkcs11/session.h"

/* What the token remembers of a key. version 0: nothing, or it takes no data
 * objects. */
struct limits_floor {
	uint32_t version;
	uint8_t sha256[32]; /* of that document */
	bool has_certificate;
	int64_t ordered; /* these two as in struct key_limits */
	uint8_t tbs_sha256[32];
};

/* ERROR_DENIED when what is there is damaged, or says that the key was destroyed; a token that does
 * not answer is ERROR_UNAVAILABLE or ERROR_INTERNAL. */
bool limits_floor_read(struct session *s, const uint8_t id[KEY_ID_LEN], struct limits_floor *floor,
    struct error *e) MUST_CHECK;

/*
 * Compares the limits of a key with what the token remembers, and raises that when it
 * is lower. ERROR_DENIED when the limits are older, or are others of the same
 * version, or a certificate of the CA was installed that is not known here: the key must
 * sign nothing until that has changed.
 *
 * *refused becomes true, and is logged, when the token takes no such objects; on
 * true, it is not tried again.
 */
bool limits_floor_check(
    struct session *s, const struct key_limits *l, bool *refused, struct error *e) MUST_CHECK;

/* Raises what is lower, whatever is higher. */
bool limits_floor_raise(
    struct session *s, const struct key_limits *l, bool *refused, struct error *e) MUST_CHECK;

/* The key was destroyed by the order whose statement has this digest: nothing of it comes
 * back on this token, whatever the signer's disk says. That the token takes no such objects
 * is no failure. rw: a read-write session. */
bool limits_floor_bury(struct session *rw, const struct key_limits *l,
    const uint8_t statement_sha256[32], struct error *e) MUST_CHECK;

/* Whether the document is the newest; the certificate does not matter. */
bool limits_floor_compare_document(
    const struct limits_floor *floor, const struct key_limits *l, struct error *e) MUST_CHECK;

/* key_limits_load, and then the above. */
bool limits_floor_load(struct session *s, const char *state_dir, struct bytes id,
    struct key_limits *l, bool *refused, struct error *e) MUST_CHECK;

/* Of a group's tokens (group.h), with a read-write session on each: each remembers of a key what
 * the newest of them does. One that takes no such objects is left as it is. */
bool limits_floor_share(
    struct session rw[], size_t count, const uint8_t id[KEY_ID_LEN], struct error *e) MUST_CHECK;

#endif
