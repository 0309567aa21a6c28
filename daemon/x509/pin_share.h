#ifndef CHANCERY_X509_PIN_SHARE_H
#define CHANCERY_X509_PIN_SHARE_H

/*
 * A PIN that nobody knows: its shares, of which so many are needed, each encrypted to
 * the key of the operator who holds it.
 *
 *	chancery-pin-shares: 1
 *	token: main
 *	split: <32 hex>                      random, of this split
 *	made: 2026-11-22T12:00:00Z
 *	need: 2
 *	length: 32                           octets of the PIN, and of each share
 *	holder: 1 alice <64 hex> <64 hex> <base64>
 *	holder: 2 bob ...
 *
 * After number and person: SHA-256 of the person's key; a commitment, SHA-256 of a tag,
 * the split, the number and the share; and the share, encrypted. Numbers rise from 1.
 * The text holds no secret that is not encrypted: the signer keeps it, and each holder
 * has a copy. A text that is not byte for byte what pin_shares_format would write is no
 * such document.
 *
 * Shares are encrypted to P-256 keys only: Ed25519 signs and agrees on nothing.
 *
 * Functions here are pure but for pin_share_seal, which takes random octets from
 * OpenSSL. Errors are ERROR_INPUT, a broken limit ERROR_LIMIT, and ERROR_DENIED for
 * what does not decrypt or is not what was committed to.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

#include "daemon/core/error.h"
#include "daemon/core/wire.h"
#include "daemon/x509/canon.h"

#define PIN_SHARES_TEXT_MAX 16384
#define PIN_SHARES_MAX 32
#define PIN_HOLDER_CHARACTERS "._@-" /* besides letters and digits, in their names */
#define PIN_SHARE_MIN_LEN 4
#define PIN_SHARE_MAX_LEN 64
#define PIN_SHARE_ENC_LEN 91 /* SubjectPublicKeyInfo of an ephemeral P-256 key */
#define PIN_SHARE_SEALED_MAX (PIN_SHARE_ENC_LEN + PIN_SHARE_MAX_LEN + 16)

struct pin_holder {
	char person[CANON_NAME_MAX + 1];
	uint8_t key_sha256[32];
	uint8_t commitment[32];
	uint8_t sealed[PIN_SHARE_SEALED_MAX]; /* ENC_LEN + length + 16 octets of it */
};

struct pin_shares {
	char token[CANON_NAME_MAX + 1];
	uint8_t split[16];
	int64_t made; /* seconds since 1970 */
	unsigned need;
	size_t length;
	struct pin_holder holders[PIN_SHARES_MAX]; /* number n is at n - 1 */
	size_t count;
};

bool pin_shares_format(const struct pin_shares *s, char out[PIN_SHARES_TEXT_MAX + 1], size_t *len,
    struct error *err) MUST_CHECK;
bool pin_shares_parse(
    const char *text, size_t len, struct pin_shares *out, struct error *err) MUST_CHECK;

/* The number of the share that this key holds; 0: none. */
unsigned pin_shares_find(const struct pin_shares *s, const uint8_t key_sha256[32]);

/* Refuses a key that no share can be encrypted to. */
bool pin_share_check_key(struct bytes spki, struct error *err) MUST_CHECK;

/* Fills in commitment and sealed of holder `number`, whose other fields, and the
 * document's, are complete. share: length octets. spki: the holder's key. */
bool pin_share_seal(struct pin_shares *s, unsigned number, struct bytes spki, const uint8_t *share,
    struct error *err) MUST_CHECK;

/* Decrypts it with the holder's private key, and compares it with the commitment. share:
 * PIN_SHARE_MAX_LEN octets, zeros on failure. */
bool pin_share_open(const struct pin_shares *s, unsigned number, EVP_PKEY *key,
    uint8_t share[PIN_SHARE_MAX_LEN], struct error *err) MUST_CHECK;

/* True for the share that was committed to. */
bool pin_share_check(const struct pin_shares *s, unsigned number, struct bytes share) MUST_CHECK;

#endif
