#ifndef CHANCERY_PKCS11_SIGN_H
#define CHANCERY_PKCS11_SIGN_H

/*
 * A signature by the token, from a digest that was made here.
 *
 * Only mechanisms that take a digest are used (CKM_RSA_PKCS over a DigestInfo,
 * CKM_RSA_PKCS_PSS, CKM_ECDSA; but CKM_EDDSA takes what is signed itself): every token has them,
 * and a long structure is hashed without it.
 */

#include "pkcs11/key.h"

/* Octets of a message for a trial: those of the digest, or some with Ed25519. */
size_t sign_trial_len(enum sig_alg alg);

/* Digests bytes as alg wants it. */
bool sign_make_digest(enum sig_alg alg, struct bytes bytes, uint8_t digest[DIGEST_MAX], size_t *len,
    struct error *e) MUST_CHECK;

/*
 * digest: with Ed25519 the whole of what is signed (sig_input.h). Signs, and verifies the result
 * with the public key before it is given out. signature: as the content of the BIT STRING (ECDSA:
 * DER of RFC 3279 2.2.3). A signature that does not verify is ERROR_INTERNAL and never leaves.
 */
bool sign_digest(struct session *s, const struct key *key, enum sig_alg alg, struct bytes digest,
    uint8_t signature[SIG_MAX], size_t *len, struct error *e) MUST_CHECK;

#endif
