#ifndef CHANCERY_PKCS11_LIMITS_CHAIN_H
#define CHANCERY_PKCS11_LIMITS_CHAIN_H

/*
 * The versions of a key's limits, from the first to the one in force. Each is an
 * order with its signatures in a file of its own, ID.limits-1, ID.limits-2, ..., and
 * is believed because of the one before: its quorum signed it. The first one is
 * signed by its own quorum, and the key's CKA_ID is made of its digest, so that the
 * key on the token names the operators that it was made for: other documents do not
 * fit it, whoever signed them.
 */

#include "daemon/core/signproto.h"
#include "daemon/x509/limits.h"
#include "pkcs11/key.h"

struct limits_version {
	struct limits document;
	uint8_t sha256[32];
	struct statement statement;
};

/* The CKA_ID of the key that a first document is for: the first KEY_ID_LEN octets of
 * its SHA-256. */
void limits_chain_id(const uint8_t sha256[32], uint8_t id[KEY_ID_LEN]);

/* Checks an order to make a key (ca-create, ca-rekey): version 1, signed by its own quorum. The
 * time is not looked at. out is some 60 kB. */
bool limits_chain_check_first(
    const struct signproto_order *order, struct limits_version *out, struct error *e) MUST_CHECK;

/* Checks an order to change limits (ca-limits): the version after `old`, signed by the
 * quorum of `old`. key_sha256: of the key's SubjectPublicKeyInfo. */
bool limits_chain_check_next(const struct signproto_order *order, const struct limits_version *old,
    const uint8_t key_sha256[32], struct limits_version *out, struct error *e) MUST_CHECK;

/* Keeps a version that was checked, durably, as the one in force. Each is written
 * once: ERROR_CONFLICT when there is one of that number. */
bool limits_chain_append(const char *dir, const uint8_t id[KEY_ID_LEN], uint32_t version,
    const struct signproto_order *order, struct error *e) MUST_CHECK;

/* Reads and verifies all of them; out is the last one. With key_sha256 NULL, before
 * there is a key, only the first. ERROR_NOT_FOUND: there is no first one;
 * ERROR_DENIED: they are damaged, or not those of this key. */
bool limits_chain_load(const char *dir, const uint8_t id[KEY_ID_LEN], const uint8_t key_sha256[32],
    struct limits_version *out, struct error *e) MUST_CHECK;

#endif
