/* The encryption of a PIN envelope: X25519, HKDF-SHA256, AES-256-GCM. */

#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "daemon/x509/pin_envelope.h"
#include "daemon/x509/seal_int.h"

#define PLAIN_LEN (2 + PIN_ENVELOPE_PIN_MAX)
#define NONCE_LEN 16

/* With its NUL, before the digest of the head. */
static const char domain[] = "chancery-pin-envelope X25519 HKDF-SHA256 AES-256-GCM";

#define INFO_LEN (sizeof domain + SHA256_DIGEST_LENGTH)

/* What encryption and decryption have in common. */
struct sealing {
	uint8_t *aad; /* the text above `enc`, and the statement's nonce; owned */
	size_t aad_len;
	uint8_t info[INFO_LEN];
	uint8_t both_keys[2 * PIN_ENVELOPE_KEY_LEN]; /* the client's, the signer's */
	uint8_t material[SEAL_MATERIAL_LEN];	     /* secret */
};

static void
sealing_clear(struct sealing *s)
{
	free(s->aad);
	OPENSSL_cleanse(s, sizeof *s);
}

/* The text is written with a box of no meaning, and cut off above it. */
static bool
sealing_init(struct sealing *s, const struct pin_envelope *env, const uint8_t nonce[NONCE_LEN],
    struct error *err)
{
	size_t len = 0;
	char *text;

	*s = (struct sealing){0};
	text = malloc(PIN_ENVELOPE_TEXT_MAX + 1 + NONCE_LEN);
	if (text == NULL)
		return error_set(err, ERROR_SYSTEM, "no memory for a PIN envelope");
	s->aad = (uint8_t *)text;
	if (!pin_envelope_format(env, text, &len, err))
		return false;
	s->aad_len = (size_t)(strstr(text, "\nenc: ") + 1 - text);
	(void)SHA256(s->aad, s->aad_len, s->info + sizeof domain);
	memcpy(s->info, domain, sizeof domain);
	memcpy(s->aad + s->aad_len, nonce, NONCE_LEN);
	s->aad_len += NONCE_LEN;
	return true;
}

static bool
agree(struct sealing *s, EVP_PKEY *own, const uint8_t peer[PIN_ENVELOPE_KEY_LEN])
{
	EVP_PKEY *key = EVP_PKEY_new_raw_public_key(
	    EVP_PKEY_X25519, NULL, peer, PIN_ENVELOPE_KEY_LEN);
	uint8_t shared[SEAL_SHARED_LEN];
	bool ok;

	ok = key != NULL && seal_agree(own, key, shared) &&
	     seal_derive(shared, (struct bytes){s->both_keys, sizeof s->both_keys},
		 (struct bytes){s->info, sizeof s->info}, s->material);
	OPENSSL_cleanse(shared, sizeof shared);
	EVP_PKEY_free(key);
	return ok;
}

static bool
public_part(EVP_PKEY *key, uint8_t out[PIN_ENVELOPE_KEY_LEN])
{
	size_t len = PIN_ENVELOPE_KEY_LEN;

	return EVP_PKEY_is_a(key, "X25519") && EVP_PKEY_get_raw_public_key(key, out, &len) == 1 &&
	       len == PIN_ENVELOPE_KEY_LEN;
}

static bool
seal_plain(struct sealing *s, struct pin_envelope *env, const uint8_t key[PIN_ENVELOPE_KEY_LEN],
    const uint8_t plain[PLAIN_LEN])
{
	EVP_PKEY *ephemeral = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
	bool ok;

	ok = ephemeral != NULL && public_part(ephemeral, env->enc);
	if (ok) {
		memcpy(s->both_keys, env->enc, PIN_ENVELOPE_KEY_LEN);
		memcpy(s->both_keys + PIN_ENVELOPE_KEY_LEN, key, PIN_ENVELOPE_KEY_LEN);
		ok = agree(s, ephemeral, key) &&
		     seal_encrypt(s->material, (struct bytes){s->aad, s->aad_len},
			 (struct bytes){plain, PLAIN_LEN}, env->box);
	}
	EVP_PKEY_free(ephemeral);
	return ok;
}

bool
pin_envelope_seal(struct pin_envelope *env, const uint8_t nonce[16],
    const uint8_t key[PIN_ENVELOPE_KEY_LEN], struct bytes pin, struct error *err)
{
	uint8_t plain[PLAIN_LEN] = {0};
	struct sealing s;
	bool ok = false;

	if (pin.len > PIN_ENVELOPE_PIN_MAX)
		return error_set(err, ERROR_LIMIT, "a PIN of %zu bytes; allowed: at most %d",
		    pin.len, PIN_ENVELOPE_PIN_MAX);
	plain[0] = (uint8_t)(pin.len >> 8);
	plain[1] = (uint8_t)pin.len;
	if (pin.len > 0)
		memcpy(plain + 2, pin.p, pin.len);
	if (sealing_init(&s, env, nonce, err)) {
		ok = seal_plain(&s, env, key, plain);
		if (!ok)
			(void)error_set_openssl(
			    err, ERROR_INTERNAL, "the PIN could not be encrypted");
	}
	env->sealed = ok;
	sealing_clear(&s);
	OPENSSL_cleanse(plain, sizeof plain);
	return ok;
}

/* The padding is authenticated with the rest; that it is zeros keeps one PIN to one
 * meaning. */
static bool
unpad(const uint8_t plain[PLAIN_LEN], size_t *len)
{
	*len = (size_t)plain[0] << 8 | plain[1];
	if (*len > PIN_ENVELOPE_PIN_MAX)
		return false;
	for (size_t i = 2 + *len; i < PLAIN_LEN; i++)
		if (plain[i] != 0)
			return false;
	return true;
}

bool
pin_envelope_open(const struct pin_envelope *env, const uint8_t nonce[16], EVP_PKEY *key,
    uint8_t pin[PIN_ENVELOPE_PIN_MAX], size_t *pin_len, struct error *err)
{
	uint8_t plain[PLAIN_LEN] = {0};
	struct error ignored = ERROR_INIT;
	struct sealing s;
	bool ok;

	memset(pin, 0, PIN_ENVELOPE_PIN_MAX);
	*pin_len = 0;
	if (!env->sealed)
		return error_set(err, ERROR_DENIED, "the PIN envelope carries no PIN");
	ok = sealing_init(&s, env, nonce, &ignored);
	memcpy(s.both_keys, env->enc, sizeof env->enc);
	ok = ok && public_part(key, s.both_keys + PIN_ENVELOPE_KEY_LEN) &&
	     agree(&s, key, env->enc) &&
	     seal_decrypt(s.material, (struct bytes){s.aad, s.aad_len},
		 (struct bytes){env->box, sizeof env->box}, plain) &&
	     unpad(plain, pin_len);
	if (ok)
		memcpy(pin, plain + 2, *pin_len);
	else
		*pin_len = 0;
	ERR_clear_error();
	sealing_clear(&s);
	OPENSSL_cleanse(plain, sizeof plain);
	return ok || error_set(err, ERROR_DENIED,
			 "the PIN envelope does not open: it was altered, or is for another start "
			 "of the signer");
}
