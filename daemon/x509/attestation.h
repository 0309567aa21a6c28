#ifndef CHANCERY_X509_ATTESTATION_H
#define CHANCERY_X509_ATTESTATION_H

/*
 * Proof that a CA's key is on its token now: the key signs a CertificationRequestInfo
 * (RFC 2986 4.1) for its own subject, with one attribute and without a wish, a
 * challengePassword (RFC 2985 5.4.1) that carries the nonce of an operator's statement:
 * "chancery attest: <32 hex digits>". Nothing else that is ever signed looks like it, and
 * its octets follow from subject, key and nonce, so that the signature alone has to
 * travel.
 */

#include "daemon/x509/csr.h"

#define ATTESTATION_NONCE_LEN 16

/* The result points to the end of buf (CSR_MAX octets is always enough). subject and
 * spki: whole. */
bool attestation_build(struct bytes subject, struct bytes spki,
    const uint8_t nonce[ATTESTATION_NONCE_LEN], void *buf, size_t size, struct bytes *info,
    struct error *err) MUST_CHECK;

/* True when info, which was taken apart as csr, is byte for byte such a structure. */
bool attestation_is(struct bytes info, const struct csr *csr);

#endif
