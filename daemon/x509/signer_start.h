#ifndef CHANCERY_X509_SIGNER_START_H
#define CHANCERY_X509_SIGNER_START_H

/*
 * How a signer that waits for a person's PIN makes itself known: once for each of
 * its starts it announces the key to encrypt to, signed with the identity key that
 * it has kept since it was installed, whose fingerprint operators have read at
 * its console and pinned.
 *
 *	chancery-signer-start: 1
 *	token: main
 *	token-serial: 8c2b6f2d1a3e4f50     "-" as long as the token was never seen
 *	signer-id: 1
 *	access: session
 *	instance: <32 hex>                 random for each start
 *	key: <base64>                      X25519 key of this start, SubjectPublicKeyInfo
 *	started: 2026-11-22T12:00:00Z
 *
 * Exactly these lines in this order. A text that is not byte for byte what
 * signer_start_format would write is no announcement. The identity key is
 * Ed25519 and signs "chancery-signer-start", a NUL, and the text.
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

#define SIGNER_START_TEXT_MAX 512
#define SIGNER_IDENTITY_TEXT_MAX 2048 /* bytes of a text that the identity key signs */
#define SIGNER_START_SIGNATURE_LEN 64
#define SIGNER_IDENTITY_SPKI_LEN 44 /* Ed25519, DER in its one form */
#define SIGNER_START_SERIAL_MAX 64

enum signer_access {
	SIGNER_ACCESS_AUTO = 0,	 /* announces nothing */
	SIGNER_ACCESS_SESSION,	 /* a PIN unlocks for a while */
	SIGNER_ACCESS_OPERATION, /* a PIN for listed operations */
};

struct signer_start {
	char token[CANON_NAME_MAX + 1];
	char token_serial[SIGNER_START_SERIAL_MAX + 1]; /* "": not seen yet */
	uint16_t signer_id;
	enum signer_access access;
	uint8_t instance[16];
	uint8_t key[32]; /* X25519, raw */
	int64_t started; /* seconds since 1970 */
};

/* "auto", "session", "operation"; and back. */
const char *signer_access_name(enum signer_access access);
bool signer_access_parse(const char *word, enum signer_access *access) MUST_CHECK;

/* Writes the text and a NUL; *len counts without it. */
bool signer_start_format(const struct signer_start *s, char out[SIGNER_START_TEXT_MAX + 1],
    size_t *len, struct error *err) MUST_CHECK;

bool signer_start_parse(
    const char *text, size_t len, struct signer_start *out, struct error *err) MUST_CHECK;

/* What the identity key signs: a tag, which says what the text is, a NUL, and the text.
 * No tag begins another one. */
bool signer_identity_sign(const char *tag, const char *text, size_t len, EVP_PKEY *identity,
    uint8_t sig[SIGNER_START_SIGNATURE_LEN], struct error *err) MUST_CHECK;
bool signer_identity_verify(const char *tag, const char *text, size_t len, const uint8_t *sig,
    size_t sig_len, const uint8_t *spki, size_t spki_len, struct error *err) MUST_CHECK;

/* Signs the text with the identity key (Ed25519). */
bool signer_start_sign(const char *text, size_t len, EVP_PKEY *identity,
    uint8_t sig[SIGNER_START_SIGNATURE_LEN], struct error *err) MUST_CHECK;

/* Verifies it. spki: the identity key; whether it is the pinned one is for the
 * caller to check first (signer_identity_fingerprint). */
bool signer_start_verify(const char *text, size_t len, const uint8_t *sig, size_t sig_len,
    const uint8_t *spki, size_t spki_len, struct error *err) MUST_CHECK;

/* SHA-256 of the SubjectPublicKeyInfo: what is shown at the console, pinned, and
 * named in envelopes. Also for operators' keys. */
void signer_identity_fingerprint(const uint8_t *spki, size_t spki_len, uint8_t out[32]);

#endif
