#ifndef CHANCERY_PKCS11_GUARD_H
#define CHANCERY_PKCS11_GUARD_H

/*
 * The guard: what stands between a request and the token.
 *
 * It takes whole to-be-signed structures, never digests, takes them apart
 * itself and refuses what is not exactly what it was called, or not within the
 * limits that operators signed for the key. What it lets through it also
 * digests, so that what was checked and what is signed cannot be two things.
 *
 *     TBSCertificate            a root's own, once and then for each time that
 *                               operators order it, and for another of its
 *                               keys by such an order; or one that a line of the limits
 *                               allows, and that an operator approved unless that
 *                               line says that none has to
 *     TBSCertList               of the CA, within the life of its certificate
 *     CertificationRequestInfo  the key's own subject and public key
 *
 * What is checked stands in tables of rules (guard_int.h), each with a name and
 * the section that asks for it; a refusal names both. Refusals are ERROR_DENIED,
 * and ERROR_CONFLICT for what has waited too long, and may be built anew.
 *
 * The limits say nothing of URLs and certificate policies: they are held to
 * their syntax only. That nothing is used twice, and that CRL numbers and times
 * only go forward, is the journal's to see, from struct guard_use.
 *
 * Functions here are pure: no clock, no I/O; several threads may call them.
 */

#include "daemon/core/signproto.h"
#include "daemon/x509/algorithm.h"
#include "daemon/x509/crl_abstract.h"
#include "daemon/x509/crl_check.h"
#include "daemon/x509/serial.h"
#include "pkcs11/limits.h"

/* How far ahead of the signer's clock a time may be, and how old what is to be
 * signed, or the decision for it, in seconds. */
#define GUARD_AHEAD_MAX_S 300
#define GUARD_AGE_MAX_S (7 * 86400)
/* From thisUpdate to nextUpdate: the longest period and overlap of a policy. */
#define GUARD_CRL_LIFE_MAX_S (4LL * 365 * 86400)

/* What is asked. Everything is borrowed. */
struct guard_request {
	const struct key_limits *key; /* what operators signed, and what is known of the key */
	uint16_t signer_id;	      /* this signer's own */
	int64_t now;		      /* seconds since 1970 */
	/* SHA-256 of the SubjectPublicKeyInfo of every key that this signer has
	 * limits for: keys with a purpose of their own. May be NULL with 0. */
	const uint8_t (*own_keys)[32];
	size_t own_key_count;

	enum signproto_kind kind;
	enum sig_alg alg;
	struct bytes tbs; /* the whole structure; empty for a stream */

	/* As in struct signproto_sign; "" and empty where it has none. */
	const char *template;
	struct bytes csr, statement, signature, spki;
	const struct signproto_order *order; /* NULL: none */
};

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
	struct guard_digest digest; /* what the token signs; with Ed25519 tbs_sha256 */
	uint8_t tbs_sha256[32];	    /* of the whole structure */

	/* Certificates: the serial's octets without leading zeros, and the time
	 * that stands in it. */
	uint8_t serial[SERIAL_LEN];
	size_t serial_len;
	int64_t serial_time;
	bool own;	   /* a root's own, which takes the place of the one before */
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
bool guard_check(const struct guard_request *r, struct guard_use *use, struct error *e) MUST_CHECK;

/* The same for a structure that comes in pieces, in constant memory. Limits and
 * time are those of the beginning; nothing of r is needed afterwards. */
struct guard_stream;

/* After the end: the structure itself, where it is signed and not its digest (Ed25519);
 * NULL otherwise. The caller's to free. */
uint8_t *guard_stream_take_whole(struct guard_stream *g, size_t *len);

struct guard_stream *guard_stream_new(
    const struct guard_request *r, uint64_t total_len, struct error *e) MUST_CHECK;
bool guard_stream_push(struct guard_stream *g, struct bytes piece, struct error *e) MUST_CHECK;
bool guard_stream_finish(struct guard_stream *g, struct guard_use *use, struct error *e) MUST_CHECK;
/* Entries of the CRL that passed, by reason; `fresh`: revoked after `since`, which is
 * set before the first piece. */
struct guard_count {
	int64_t since; /* seconds since 1970 */
	uint64_t reasons[CRL_ABSTRACT_REASONS], fresh;
};
struct guard_count *guard_stream_count(struct guard_stream *g);
void guard_stream_free(struct guard_stream *g); /* NULL is legal */

/* The rules, one after the other: false when there is none with this number.
 * All three are static. */
bool guard_rule(size_t number, const char **kind, const char **name, const char **reference);

#endif
