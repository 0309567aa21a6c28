#ifndef CHANCERY_PKCS11_VERIFY_H
#define CHANCERY_PKCS11_VERIFY_H

/*
 * Verifies what the token made. A P-256 key that signs much gets a table
 * (ecdsa_verifier.h), which all threads share and which stays until the process
 * ends: threads forget their keys now and then, and making a table takes as long as
 * hundreds of verifications.
 */

#include "pkcs11/key.h"

/* ERROR_INPUT when the signature is not by this key over this digest. PSS: the salt
 * is as long as the digest. Safe for several threads. */
bool verify_made(const struct key *key, enum sig_alg alg, struct bytes digest,
    struct bytes signature, struct error *e) MUST_CHECK;

#endif
