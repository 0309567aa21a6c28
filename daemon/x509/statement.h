#ifndef CHANCERY_X509_STATEMENT_H
#define CHANCERY_X509_STATEMENT_H

/*
 * What an operator signs: a short text that says what is to happen, to what,
 * and until when. It is shown to the operator before signing, kept in the
 * database as signed, and verified by everyone who acts on it.
 *
 *	chancery-statement: 1
 *	action: approve
 *	ca: demo-issuing
 *	object: 2f1c0f5e-6d0e-4b59-8a53-1f2f5f0a6a11
 *	csr-sha256: <64 hex digits>
 *	template: tls-server/3
 *	reason: -
 *	body-sha256: -
 *	nonce: <32 hex digits>
 *	issued: 2026-11-22T12:00:00Z
 *	expires: 2026-11-22T12:10:00Z
 *
 * Exactly these lines in this order, each "key: value" and a line feed; an
 * absent value is "-"; hex is lower case; UTF-8 without control characters or
 * characters that reorder text on a terminal. A text that is not byte for byte
 * what statement_format would write is no statement, so two different texts
 * never mean the same.
 *
 * Which fields an action has:
 *
 *	action          ca    object            csr  template  reason         body
 *	approve         yes   request's id      yes  yes       text or -      -
 *	deny            yes   request's id      opt  opt       text           -
 *	revoke          yes   certificate hash  -    -         reason's word  -
 *	hold            yes   certificate hash  -    -         certificateHold -
 *	release         yes   certificate hash  -    -         -              -
 *	ca-create       yes   = ca              -    -         -              yes
 *	ca-install      yes   = ca              -    -         -              yes
 *	crl-issue       yes   full, delta       -    -         -              -
 *	template-apply  -     template's name   -    -         -              yes
 *	operator-add    -     person's name     -    -         -              yes
 *	ca-limits       yes   = ca              -    -         -              yes
 *	signer-reseed   -     token's name      -    -         -              yes
 *	pin-unlock      -     token's name      -    -         -              yes
 *	pin-operate     -     token's name      -    -         -              yes
 *	pin-lock        -     token's name      -    -         -              yes
 *	pin-clear       -     token's name      -    -         -              yes
 *	pin-split       -     token's name      -    -         -              yes
 *	ca-renew        yes   = ca              -    -         -              yes
 *	key-attest      yes   = ca              -    -         -              -
 *	ca-rekey        yes   SHA-256 of a key  -    -         -              yes
 *	ca-rollover     yes   = ca              -    -         -              yes
 *	key-destroy     yes   = ca              -    -         -              yes
 *	ca-cross        yes   = ca              -    -         -              yes
 *
 * ca-create, ca-install, ca-limits, ca-renew, ca-rekey, ca-rollover, key-destroy and
 * signer-reseed are ceremonies: several persons sign one and the same text, so it may live
 * for days. Each can be carried out once only, whenever that is (a CA is created once,
 * limits follow each other by number, a renewal names the certificate or, with a new key,
 * the key that it replaces, a key is destroyed once, a reseed answers a challenge).
 *
 * The pin-... are for a signer alone (pin_envelope.h): no decisions that the
 * issuer could carry out, and soon over.
 *
 * Functions here are pure: no clock, no I/O. Errors are ERROR_INPUT, a broken
 * limit ERROR_LIMIT, a signature that does not fit ERROR_DENIED.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

#define STATEMENT_TEXT_MAX 2048		      /* bytes of a statement */
#define STATEMENT_NAME_MAX 64		      /* bytes of the name of a CA, template, person */
#define STATEMENT_OBJECT_MAX 64		      /* bytes of an object */
#define STATEMENT_REASON_MAX 400	      /* bytes of a reason */
#define STATEMENT_LIFE_MAX_S 900	      /* from issued to expires */
#define STATEMENT_LIFE_CEREMONY_S (7 * 86400) /* the same, of a ceremony */
#define STATEMENT_LIFE_PIN_S 600	      /* the same, with a PIN */
#define STATEMENT_SKEW_MAX_S 60		      /* how far ahead an operator's clock may be */
#define STATEMENT_SIGNATURE_MAX 80 /* bytes: ECDSA P-256 in DER has at most 72, Ed25519 64 */
#define STATEMENT_SPKI_MAX 96	   /* bytes of an operator's public key */
#define STATEMENT_TEMPLATE_VERSION_MAX 1000000

enum statement_action {
	STATEMENT_APPROVE,
	STATEMENT_DENY,
	STATEMENT_REVOKE,
	STATEMENT_HOLD,
	STATEMENT_RELEASE,
	STATEMENT_CA_CREATE,
	STATEMENT_CA_INSTALL,
	STATEMENT_CRL_ISSUE,
	STATEMENT_TEMPLATE_APPLY,
	STATEMENT_OPERATOR_ADD,
	STATEMENT_CA_LIMITS,
	STATEMENT_SIGNER_RESEED,
	STATEMENT_PIN_UNLOCK,
	STATEMENT_PIN_OPERATE,
	STATEMENT_PIN_LOCK,
	STATEMENT_PIN_CLEAR,
	STATEMENT_PIN_SPLIT,
	STATEMENT_CA_RENEW,
	STATEMENT_CA_REKEY,
	STATEMENT_CA_ROLLOVER,
	STATEMENT_KEY_ATTEST,
	STATEMENT_KEY_DESTROY,
	STATEMENT_CA_CROSS,
};
#define STATEMENT_ACTION_COUNT 23

/* Absent text is the empty string. */
struct statement {
	enum statement_action action;
	char ca[STATEMENT_NAME_MAX + 1];
	char object[STATEMENT_OBJECT_MAX + 1];
	bool has_csr, has_body;
	uint8_t csr_sha256[32];	 /* of the CSR's DER; valid if has_csr */
	uint8_t body_sha256[32]; /* of what goes beside the statement; valid if has_body */
	char template_name[STATEMENT_NAME_MAX + 1];
	uint32_t template_version; /* 0 without a template */
	char reason[STATEMENT_REASON_MAX + 1];
	uint8_t nonce[16];
	int64_t issued, expires; /* seconds since 1970, UTC */
};

/* The word of an action ("ca-create"), and back. */
const char *statement_action_name(enum statement_action action);
bool statement_action_parse(const char *word, enum statement_action *action) MUST_CHECK;

/* True for the actions that several persons sign, as many as the limits of the CA
 * say (daemon/x509/limits.h). */
bool statement_is_ceremony(enum statement_action action);

/* True for the pin-... actions. */
bool statement_is_pin(enum statement_action action);

/* From issued to expires at most, in seconds. */
int64_t statement_life_max(enum statement_action action);

/* True for the words that a revocation may give as its reason (RFC 5280 5.3.1
 * without unspecified numbers, removeFromCRL and certificateHold); *code is the
 * CRLReason's number. */
bool statement_reason_code(const char *word, unsigned *code) MUST_CHECK;
/* The whole reason of a revocation: such a word, and behind it, if it is known since when
 * the certificate was not to be trusted (invalidityDate, 5.3.2), " since TIME". *since:
 * seconds since 1970, or -1. */
#define STATEMENT_SINCE " since "
bool statement_revocation(const char *reason, unsigned *code, int64_t *since) MUST_CHECK;

/* Writes the text and a NUL; *len counts without it. Refuses a struct that
 * breaks the rules above. */
bool statement_format(const struct statement *s, char out[STATEMENT_TEXT_MAX + 1], size_t *len,
    struct error *err) MUST_CHECK;

/* Reads len bytes. The result obeys the rules above; its time is not compared
 * with anything but itself. */
bool statement_parse(
    const char *text, size_t len, struct statement *out, struct error *err) MUST_CHECK;

/* Refuses a statement that is not yet or no longer valid at now (seconds since
 * 1970): issued - STATEMENT_SKEW_MAX_S <= now < expires. */
bool statement_check_time(const struct statement *s, int64_t now, struct error *err) MUST_CHECK;

/* Signs the text with an operator's private key: ECDSA over P-256 with SHA-256
 * (DER), or Ed25519, as the key is. Other keys are refused. */
bool statement_sign(const char *text, size_t len, EVP_PKEY *key,
    uint8_t sig[STATEMENT_SIGNATURE_MAX], size_t *sig_len, struct error *err) MUST_CHECK;

/* Verifies it. spki: the operator's SubjectPublicKeyInfo, DER. */
bool statement_verify(const char *text, size_t len, const uint8_t *sig, size_t sig_len,
    const uint8_t *spki, size_t spki_len, struct error *err) MUST_CHECK;

/* True for a SubjectPublicKeyInfo that can be an operator's: P-256 named curve
 * with an uncompressed point on it, or Ed25519; DER in its one form. */
bool statement_check_key(const uint8_t *spki, size_t spki_len, struct error *err) MUST_CHECK;

/* The SubjectPublicKeyInfo of an operator's key in that one form, whatever form
 * its file had. */
bool statement_public_key(EVP_PKEY *key, uint8_t spki[STATEMENT_SPKI_MAX], size_t *spki_len,
    struct error *err) MUST_CHECK;

#endif
