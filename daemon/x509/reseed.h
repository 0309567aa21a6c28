#ifndef CHANCERY_X509_RESEED_H
#define CHANCERY_X509_RESEED_H

/*
 * What operators sign to open a signer again whose journal was lost, damaged or
 * put back (signer-reseed, statement.h): where each key goes on.
 *
 *	chancery-reseed: 1
 *	token: main
 *	signer: 1
 *	challenge: <32 hex digits>           of the closed signer
 *	floor: 2026-11-22T12:00:00Z          serials and decisions up to here are over, or up to
 *	                                     when the signer closed, whichever is later
 *	key: <CKA_ID, hex> demo-issuing      the key, and its CA
 *	crl: - number=17 base=16 this-update=2026-11-22T11:00:00Z
 *	crl: <SHA-256, hex> number=9 base=- this-update=2026-11-22T11:00:00Z
 *	key: ...
 *
 * Exactly these lines in this order; keys rise by their id, `crl` lines follow
 * their key and rise by their scope: the SHA-256 of the issuingDistributionPoint's
 * value, "-" for CRLs without one. number is the highest CRL number that was ever
 * given away in the scope, base the newest complete CRL's, "-" when there is none,
 * this-update the latest time of either kind. A text that is not byte for byte what
 * reseed_format would write is no such document.
 *
 * Functions here are pure. Errors are ERROR_INPUT, a broken limit ERROR_LIMIT.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/error.h"
#include "daemon/x509/canon.h"
#include "daemon/x509/extension.h"

#define RESEED_TEXT_MAX 65536 /* bytes of a document */
#define RESEED_KEYS_MAX 64
#define RESEED_SCOPES_MAX 256 /* of all keys together */
#define RESEED_KEY_ID_MAX 64  /* octets of a CKA_ID */
#define RESEED_CHALLENGE_LEN 16

struct reseed_scope {
	uint8_t scope[32]; /* zeros: no issuingDistributionPoint */
	uint8_t number[CRL_NUMBER_MAX], base[CRL_NUMBER_MAX]; /* big-endian, no leading zeros */
	size_t number_len, base_len;			      /* the latter 0: none */
	int64_t this_update;
};

struct reseed_key {
	uint8_t id[RESEED_KEY_ID_MAX];
	size_t id_len;
	char ca[CANON_NAME_MAX + 1];
	size_t first_scope, scope_count; /* in the document's list */
};

struct reseed {
	char token[CANON_NAME_MAX + 1];
	uint16_t signer_id;
	uint8_t challenge[RESEED_CHALLENGE_LEN];
	int64_t floor; /* seconds since 1970 */
	struct reseed_key keys[RESEED_KEYS_MAX];
	size_t key_count; /* at least 1 */
	struct reseed_scope scopes[RESEED_SCOPES_MAX];
	size_t scope_count;
};

/* Reads len bytes; out (some 40 kB) is the caller's, and undefined on failure. */
bool reseed_parse(const char *text, size_t len, struct reseed *out, struct error *err) MUST_CHECK;

/* Writes the text and a NUL; *len counts without it. Refuses a struct that breaks
 * the rules; sorts nothing. */
bool reseed_format(const struct reseed *r, char out[RESEED_TEXT_MAX + 1], size_t *len,
    struct error *err) MUST_CHECK;

#endif
