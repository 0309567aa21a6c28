#ifndef CHANCERY_X509_CRL_ABSTRACT_H
#define CHANCERY_X509_CRL_ABSTRACT_H

/*
 * What a signer says of a CRL that it was shown, for an operator who is to enter a
 * PIN for it and cannot download it whole:
 *
 *	chancery-crl-abstract: 1
 *	token: main
 *	signer: <64 hex>           SHA-256 of the identity key that signs this
 *	key: <CKA_ID, hex>         the key that would sign the CRL
 *	sha256: <64 hex>           of the to-be-signed octets
 *	length: 41234567           how many they are
 *	number: 78
 *	base: -                    of a delta CRL: the complete CRL that it completes
 *	scope: -                   SHA-256 of the issuingDistributionPoint; "-": none
 *	this-update: 2026-11-22T12:00:00Z
 *	next-update: 2026-11-29T12:00:00Z
 *	entries: 1000000
 *	reason: keyCompromise 12   rising by their numbers, only those that occur
 *	last: 2026-11-21T12:00:00Z thisUpdate of the newest CRL of that scope that this
 *	new: 31                    signer has signed, and how many entries were revoked
 *	                           since; "-": it has signed none, or does not know
 *
 * Exactly these lines in this order. A text that is not byte for byte what
 * crl_abstract_format would write is no abstract. The identity key (signer_start.h)
 * signs "chancery-crl-abstract", a NUL, and the text.
 *
 * Functions here are pure. Errors are ERROR_INPUT, a broken limit ERROR_LIMIT, a
 * signature that does not fit ERROR_DENIED.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

#include "daemon/core/error.h"
#include "daemon/x509/canon.h"
#include "daemon/x509/extension.h"
#include "daemon/x509/signer_start.h"

#define CRL_ABSTRACT_TEXT_MAX 2048
#define CRL_ABSTRACT_KEY_MAX 64 /* octets of a CKA_ID */
#define CRL_ABSTRACT_REASONS 11 /* CRLReason, RFC 5280 5.3.1; 7 is unused */
/* A CRL of more octets is shown to operators by its abstract. */
#define CRL_ABSTRACT_FROM (32 * 1024 * 1024)

struct crl_abstract {
	char token[CANON_NAME_MAX + 1];
	uint8_t signer[32];
	uint8_t key[CRL_ABSTRACT_KEY_MAX];
	size_t key_len;
	uint8_t sha256[32];
	uint64_t length;
	uint8_t number[CRL_NUMBER_MAX], base[CRL_NUMBER_MAX]; /* big-endian, no leading zeros */
	size_t number_len, base_len;			      /* the latter 0: no delta */
	bool has_scope;
	uint8_t scope[32];
	int64_t this_update, next_update;
	uint64_t entries, reasons[CRL_ABSTRACT_REASONS];
	bool has_last; /* the next two are there */
	int64_t last;
	uint64_t fresh;
};

/* The word of a CRLReason's number, "unspecified" for 0; NULL where there is none. */
const char *crl_abstract_reason(unsigned reason);

/* Writes the text and a NUL; *len counts without it. */
bool crl_abstract_format(const struct crl_abstract *a, char out[CRL_ABSTRACT_TEXT_MAX + 1],
    size_t *len, struct error *err) MUST_CHECK;

bool crl_abstract_parse(
    const char *text, size_t len, struct crl_abstract *out, struct error *err) MUST_CHECK;

/* As signer_start_sign and signer_start_verify. */
bool crl_abstract_sign(const char *text, size_t len, EVP_PKEY *identity,
    uint8_t sig[SIGNER_START_SIGNATURE_LEN], struct error *err) MUST_CHECK;
bool crl_abstract_verify(const char *text, size_t len, const uint8_t *sig, size_t sig_len,
    const uint8_t *spki, size_t spki_len, struct error *err) MUST_CHECK;

#endif
