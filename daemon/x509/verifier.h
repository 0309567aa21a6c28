#ifndef CHANCERY_X509_VERIFIER_H
#define CHANCERY_X509_VERIFIER_H

/*
 * Verification of signatures by keys that are seen once, as in CSRs, by the numbers
 * of the key. Making OpenSSL's key object of them takes a third as long as the
 * verification with it.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/x509/spki.h"

struct verifier;

struct verifier *verifier_new(struct error *e) MUST_CHECK;
void verifier_free(struct verifier *v); /* NULL is legal */

/* As pkey_verify with the key of this spki says. RSA with PKCS#1 v1.5 and P-256 with
 * SHA-256 are done here, anything else by OpenSSL's key object. One thread at a time. */
bool verifier_check(struct verifier *v, const struct spki *spki, enum sig_alg alg,
    unsigned salt_len, struct bytes signed_bytes, struct bytes signature,
    struct error *e) MUST_CHECK;

#endif
