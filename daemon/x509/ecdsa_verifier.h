#ifndef CHANCERY_X509_ECDSA_VERIFIER_H
#define CHANCERY_X509_ECDSA_VERIFIER_H

/*
 * Verification of many ECDSA signatures of one P-256 key: the signer verifies all
 * that its token makes. A table of the key's multiples, as OpenSSL has one of the
 * curve's base point, makes it twice as fast as EVP_PKEY_verify. Making the table
 * takes as long as hundreds of verifications, and it has some hundred KiB.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/x509/spki.h"

struct ecdsa_verifier;

/* ERROR_INPUT for any other kind of key, or a point off the curve. */
struct ecdsa_verifier *ecdsa_verifier_new(const struct spki *spki, struct error *e) MUST_CHECK;
void ecdsa_verifier_free(struct ecdsa_verifier *v); /* NULL is legal */

/* FIPS 186-5 6.4.2. digest has 32 octets; signature is the DER Ecdsa-Sig-Value.
 * ERROR_INPUT when it is wrong. Safe for several threads on one verifier. */
bool ecdsa_verifier_check(const struct ecdsa_verifier *v, struct bytes digest,
    struct bytes signature, struct error *e) MUST_CHECK;

#endif
