/*
 * libFuzzer target: PIN envelopes, shares of PINs, and what signers announce, or say of a CRL. What
 * parses is what would be written, byte for byte; an envelope that parses does not open with a key
 * that it is not for, and an announcement is not signed by one.
 */

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "daemon/x509/crl_abstract.h"
#include "daemon/x509/pin_envelope.h"
#include "daemon/x509/pin_share.h"
#include "daemon/x509/signer_start.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct pin_envelope env;
static struct pin_shares shares;
static struct crl_abstract about;
static char again[PIN_ENVELOPE_TEXT_MAX + 1];

static void
check_envelope(const char *text, size_t len)
{
	static const uint8_t secret[32] = {8}, nonce[16];
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, secret, sizeof secret);
	uint8_t pin[PIN_ENVELOPE_PIN_MAX];
	struct error err = ERROR_INIT;
	size_t again_len = 0, pin_len;

	if (key == NULL || !pin_envelope_format(&env, again, &again_len, &err) ||
	    again_len != len || memcmp(again, text, len) != 0)
		abort();
	if (pin_envelope_open(&env, nonce, key, pin, &pin_len, &err) || pin_len != 0)
		abort();
	EVP_PKEY_free(key);
	pin_envelope_sort(&env);
	if (!pin_envelope_format(&env, again, &again_len, &err) || memcmp(again, text, len) != 0)
		abort();
}

static void
check_start(const struct signer_start *s, const char *text, size_t len)
{
	static const uint8_t sig[SIGNER_START_SIGNATURE_LEN];
	uint8_t spki[SIGNER_IDENTITY_SPKI_LEN] = {
	    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00, 0x58};
	struct error err = ERROR_INIT;
	size_t again_len = 0;

	if (!signer_start_format(s, again, &again_len, &err) || again_len != len ||
	    memcmp(again, text, len) != 0)
		abort();
	if (signer_start_verify(text, len, sig, sizeof sig, spki, sizeof spki, &err))
		abort();
}

static void
check_shares(const char *text, size_t len)
{
	struct error err = ERROR_INIT;
	size_t again_len = 0;

	if (!pin_shares_format(&shares, again, &again_len, &err) || again_len != len ||
	    memcmp(again, text, len) != 0)
		abort();
	for (unsigned n = 1; n <= shares.count; n++)
		if (pin_shares_find(&shares, shares.holders[n - 1].key_sha256) == 0)
			abort();
}

static void
check_abstract(const char *text, size_t len)
{
	struct error err = ERROR_INIT;
	size_t again_len = 0;

	if (!crl_abstract_format(&about, again, &again_len, &err) || again_len != len ||
	    memcmp(again, text, len) != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error err = ERROR_INIT;
	struct signer_start start;

	if (pin_envelope_parse((const char *)data, size, &env, &err))
		check_envelope((const char *)data, size);
	else if (!error_is_set(&err))
		abort();
	err = ERROR_INIT;
	if (signer_start_parse((const char *)data, size, &start, &err))
		check_start(&start, (const char *)data, size);
	else if (!error_is_set(&err))
		abort();
	err = ERROR_INIT;
	if (pin_shares_parse((const char *)data, size, &shares, &err))
		check_shares((const char *)data, size);
	else if (!error_is_set(&err))
		abort();
	err = ERROR_INIT;
	if (crl_abstract_parse((const char *)data, size, &about, &err))
		check_abstract((const char *)data, size);
	else if (!error_is_set(&err))
		abort();
	return 0;
}
