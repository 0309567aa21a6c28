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
#include "daemon/x509/serial.h"
#include "pkcs11/limits.h"

struct guard_digest {
	uint8_t octets[DIGEST_MAX];
	size_t len;
};

/* SHA-256 of a decision's text, cut off here. */
#define GUARD_DECISION_LEN 16

/* What one signature uses up: the input of the journal, which sees to it that
 * nothing is used twice. Times are seconds since 1970. */
struct guard_use {
	enum signproto_kind kind;
	enum sig_alg alg;
	struct guard_digest digest; /* what the token signs */
	uint8_t tbs_sha256[32];	    /* of the whole structure */

	/* Certificates: the serial's octets without leading zeros, and the time
	 * that stands in it. */
	uint8_t serial[SERIAL_LEN];
	size_t serial_len;
	int64_t serial_time;
	bool has_decision; /* a person approved it */
	uint8_t decision[GUARD_DECISION_LEN];
	int64_t decision_issued;

	/* CRLs: scope is the SHA-256 of the issuingDistributionPoint's value, zero
	 * when there is none; numbers are big-endian without leading zeros. */
	uint8_t scope[32];
	bool delta;
	uint8_t number[CRL_NUMBER_MAX], base_number[CRL_NUMBER_MAX];
	size_t number_len, base_number_len;
	int64_t this_update, next_update;
};

/* Checks a whole structure and digests it. */
bool guard_check(const struct key_limits *limits, enum signproto_kind kind, enum sig_alg alg,
    struct bytes tbs, struct guard_use *use, struct error *e) MUST_CHECK;

/* The same for a structure that comes in pieces, in constant memory. */
struct guard_stream;

struct guard_stream *guard_stream_new(const struct key_limits *limits, enum signproto_kind kind,
    enum sig_alg alg, uint64_t total_len, struct error *e) MUST_CHECK;
bool guard_stream_push(struct guard_stream *g, struct bytes piece, struct error *e) MUST_CHECK;
bool guard_stream_finish(struct guard_stream *g, struct guard_use *use, struct error *e) MUST_CHECK;
void guard_stream_free(struct guard_stream *g); /* NULL is legal */

#endif
