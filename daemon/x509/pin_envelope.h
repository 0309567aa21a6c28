#ifndef CHANCERY_X509_PIN_ENVELOPE_H
#define CHANCERY_X509_PIN_ENVELOPE_H

/*
 * A token's PIN on its way from an operator's client to one signer: the body of
 * a statement pin-unlock, pin-operate, pin-split, pin-lock or pin-clear (statement.h).
 *
 *	chancery-pin-envelope: 1
 *	token: main
 *	signer: <64 hex>           SHA-256 of the identity key of the signer it is for
 *	instance: <32 hex>         of that signer's present start (signer_start.h)
 *	operator: <64 hex>         SHA-256 of the key that signs the statement
 *	until: 2026-11-22T16:00:00Z    pin-unlock only: when to lock again at the latest,
 *	idle: 1800                     after so many seconds without a signature,
 *	signatures: 500                and after so many of them; "-": no such limit
 *	share: 2 <32 hex>          only if the box holds a share of the PIN (pin_share.h):
 *	                           its number, and the split that it is of
 *	split-among: 2 alice bob carol   pin-split only: how many of these persons, in
 *	                           rising order, are to hold a new PIN together
 *	operation: certificate <CKA_ID, hex> <64 hex>    pin-operate only, 1 to 256 of
 *	operation: order - <64 hex>                      them, rising
 *	enc: <base64>              the client's ephemeral X25519 key
 *	box: <base64>              the PIN, encrypted
 *
 * Exactly these lines in this order, but that `share` and `split-among` may be missing;
 * an absent value is "-". A text that is not byte for byte what pin_envelope_format would write is
 *no envelope. pin-lock and pin-clear carry no PIN: `enc` and `box` are "-" there, as in no other.
 *
 * An operation is what the PIN may be used for: SHA-256 of a whole to-be-signed
 * structure (certificate, crl, csr-info) with the key to sign it, or of the text
 * of another statement that the signer is to carry out (order).
 *
 * The PIN is encrypted in the manner of HPKE (RFC 9180, base mode): X25519 with
 * the signer's key of that start, HKDF-SHA256 and AES-256-GCM, and everything
 * above `enc` and the statement's nonce authenticated, so that whoever alters one
 * of them, or signs another statement over it, loses the PIN. Its length does not
 * show.
 *
 * Functions here are pure but for pin_envelope_seal, which takes random octets
 * from OpenSSL. Errors are ERROR_INPUT, a broken limit ERROR_LIMIT, and ERROR_DENIED
 * for what does not decrypt.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

#include "daemon/core/error.h"
#include "daemon/core/wire.h"
#include "daemon/x509/canon.h"
#include "daemon/x509/pin_share.h"
#include "daemon/x509/statement.h"

#define PIN_ENVELOPE_TEXT_MAX (96 * 1024) /* bytes of an envelope */
#define PIN_ENVELOPE_PIN_MAX 256	  /* bytes of a PIN */
#define PIN_ENVELOPE_OPERATIONS_MAX 256
#define PIN_ENVELOPE_ID_MAX 64 /* octets of a CKA_ID */
#define PIN_ENVELOPE_KEY_LEN 32
#define PIN_ENVELOPE_BOX_LEN (2 + PIN_ENVELOPE_PIN_MAX + 16) /* length, PIN, tag */
#define PIN_ENVELOPE_IDLE_MAX_S (366 * 86400)
#define PIN_ENVELOPE_SIGNATURES_MAX 1000000000000ULL

enum pin_operation_kind {
	PIN_OPERATION_CERTIFICATE = 1,
	PIN_OPERATION_CRL,
	PIN_OPERATION_CSR_INFO,
	PIN_OPERATION_ORDER,
};

struct pin_operation {
	enum pin_operation_kind kind;
	uint8_t cka_id[PIN_ENVELOPE_ID_MAX];
	size_t cka_id_len; /* 0: an order's */
	uint8_t sha256[32];
};

/* Some 35 kB. */
struct pin_envelope {
	char token[CANON_NAME_MAX + 1];
	uint8_t signer[32];
	uint8_t instance[16];
	uint8_t operator_key[32];
	bool unlock;	     /* the next three count */
	int64_t until;	     /* seconds since 1970 */
	uint32_t idle_s;     /* 0: no limit */
	uint64_t signatures; /* 0: no limit */
	uint8_t share;	     /* number of the share in the box; 0: a whole PIN */
	uint8_t split[16];   /* of which split */
	uint8_t need;	     /* of the holders; 0: nothing is split */
	char holders[PIN_SHARES_MAX][CANON_NAME_MAX + 1];
	size_t holder_count;
	struct pin_operation operations[PIN_ENVELOPE_OPERATIONS_MAX];
	size_t operation_count;
	bool sealed; /* the next two are there */
	uint8_t enc[PIN_ENVELOPE_KEY_LEN];
	uint8_t box[PIN_ENVELOPE_BOX_LEN];
};

/* The word of a kind ("csr-info"), and back. */
const char *pin_operation_kind_name(enum pin_operation_kind kind);
bool pin_operation_kind_parse(const char *word, enum pin_operation_kind *kind) MUST_CHECK;

/* Sorts operations and holders as the text wants them. Twice the same stays twice, and is
 * refused by what follows. */
void pin_envelope_sort(struct pin_envelope *env);

/* True for the same key and kind and digest. */
bool pin_operation_equal(const struct pin_operation *a, const struct pin_operation *b);

/* Refuses an envelope that a statement of this action may not carry. */
bool pin_envelope_check_action(
    const struct pin_envelope *env, enum statement_action action, struct error *err) MUST_CHECK;

/* Writes the text and a NUL; *len counts without it. Refuses a struct that breaks
 * the rules above; sorts nothing. */
bool pin_envelope_format(const struct pin_envelope *env, char out[PIN_ENVELOPE_TEXT_MAX + 1],
    size_t *len, struct error *err) MUST_CHECK;

/* Reads len bytes; *out is undefined on failure. */
bool pin_envelope_parse(
    const char *text, size_t len, struct pin_envelope *out, struct error *err) MUST_CHECK;

/*
 * Encrypts the PIN into env, whose other fields are complete (sorted operations
 * included) and do not change any more. nonce: of the statement that will carry it.
 * key: the signer's public key of this start, verified by the caller. An empty PIN
 * (pin.len 0) is legal: the token asks for it at its own device.
 */
bool pin_envelope_seal(struct pin_envelope *env, const uint8_t nonce[16],
    const uint8_t key[PIN_ENVELOPE_KEY_LEN], struct bytes pin, struct error *err) MUST_CHECK;

/* Decrypts it with the private X25519 key. pin is the caller's, and best locked
 * memory; it holds zeros on failure, which is always ERROR_DENIED and does not say
 * why. */
bool pin_envelope_open(const struct pin_envelope *env, const uint8_t nonce[16], EVP_PKEY *key,
    uint8_t pin[PIN_ENVELOPE_PIN_MAX], size_t *pin_len, struct error *err) MUST_CHECK;

#endif
