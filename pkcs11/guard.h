#ifndef CHANCERY_PKCS11_GUARD_H
#define CHANCERY_PKCS11_GUARD_H

/*
 * The guard: what stands between a request and the token.
 *
 * It takes whole to-be-signed structures, never digests, takes them apart
 * itself and refuses what is not exactly what it was called, or not within
 * the key's limits. What it lets through it also digests, so that what was
 * checked and what is signed cannot be two things.
 *
 *     TBSCertificate            strict DER; issuer is the key's subject, byte for
 *                               byte; authority key identifier is the key's
 *     TBSCertList               the same, and all of crl_check.h
 *     CertificationRequestInfo  the key's own subject and public key
 *
 * and in the first two the inner AlgorithmIdentifier is the one that is asked
 * for. Refusals are ERROR_DENIED.
 */

#include "daemon/core/signproto.h"
#include "daemon/x509/algorithm.h"
#include "daemon/x509/crl_check.h"
#include "pkcs11/limits.h"

struct guard_digest {
	uint8_t octets[DIGEST_MAX];
	size_t len;
};

/* Checks a whole structure and digests it. */
bool guard_check(const struct limits *limits, enum signproto_kind kind, enum sig_alg alg,
    struct bytes tbs, struct guard_digest *digest, struct error *e) MUST_CHECK;

/* The same for a structure that comes in pieces, in constant memory. */
struct guard_stream;

struct guard_stream *guard_stream_new(const struct limits *limits, enum signproto_kind kind,
    enum sig_alg alg, uint64_t total_len, struct error *e) MUST_CHECK;
bool guard_stream_push(struct guard_stream *g, struct bytes piece, struct error *e) MUST_CHECK;
bool guard_stream_finish(
    struct guard_stream *g, struct guard_digest *digest, struct error *e) MUST_CHECK;
void guard_stream_free(struct guard_stream *g); /* NULL is legal */

#endif
