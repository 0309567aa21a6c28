/* Signing and verifying of statements, and what an operator's key may be. */

#include "daemon/x509/statement.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/params.h>

#define P256_POINT_LEN 65
#define ED25519_KEY_LEN 32

/*
 * A SubjectPublicKeyInfo of these two kinds has one DER form: these bytes, then
 * the key. Comparing them is stricter than any decoder, and quicker.
 */
static const uint8_t p256_head[] = {0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00};
static const uint8_t ed25519_head[] = {
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};

static EVP_PKEY *
p256_from_point(const uint8_t *point, struct error *err)
{
	char group[] = SN_X9_62_prime256v1;
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_utf8_string(OSSL_PKEY_PARAM_GROUP_NAME, group, 0),
	    OSSL_PARAM_construct_octet_string(
		OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)point, P256_POINT_LEN),
	    OSSL_PARAM_construct_end(),
	};
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	EVP_PKEY *key = NULL;

	if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) <= 0 ||
	    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) <= 0) {
		(void)error_set_openssl(
		    err, ERROR_INPUT, "operator's key: the point is not on the curve P-256");
		EVP_PKEY_free(key);
		key = NULL;
	}
	EVP_PKEY_CTX_free(ctx);
	return key;
}

/* Owned by the caller; NULL with err set. */
static EVP_PKEY *
key_from_spki(const uint8_t *spki, size_t len, struct error *err)
{
	const size_t p = sizeof p256_head, e = sizeof ed25519_head;
	EVP_PKEY *key;

	if (len == p + P256_POINT_LEN && memcmp(spki, p256_head, p) == 0 && spki[p] == 0x04)
		return p256_from_point(spki + p, err);
	if (len == e + ED25519_KEY_LEN && memcmp(spki, ed25519_head, e) == 0) {
		key = EVP_PKEY_new_raw_public_key(
		    EVP_PKEY_ED25519, NULL, spki + e, ED25519_KEY_LEN);
		if (key == NULL)
			(void)error_set_openssl(err, ERROR_INPUT, "operator's key: Ed25519");
		return key;
	}
	(void)error_set(err, ERROR_INPUT,
	    "operator's key is neither EC P-256 (named curve, uncompressed point) nor Ed25519");
	return NULL;
}

bool
statement_check_key(const uint8_t *spki, size_t spki_len, struct error *err)
{
	EVP_PKEY *key = key_from_spki(spki, spki_len, err);
	bool ok = key != NULL;

	EVP_PKEY_free(key);
	return ok;
}

static bool
is_p256(EVP_PKEY *key)
{
	char group[32] = "";
	size_t len = 0;

	return EVP_PKEY_is_a(key, "EC") &&
	       EVP_PKEY_get_group_name(key, group, sizeof group, &len) == 1 &&
	       strcmp(group, SN_X9_62_prime256v1) == 0;
}

/* The point from its coordinates: the key's own encoding may be compressed. */
static bool
p256_point(EVP_PKEY *key, uint8_t point[P256_POINT_LEN])
{
	BIGNUM *x = NULL, *y = NULL;
	bool ok;

	ok = EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_X, &x) == 1 &&
	     EVP_PKEY_get_bn_param(key, OSSL_PKEY_PARAM_EC_PUB_Y, &y) == 1 &&
	     BN_bn2binpad(x, point + 1, 32) == 32 && BN_bn2binpad(y, point + 33, 32) == 32;
	point[0] = 0x04;
	BN_free(x);
	BN_free(y);
	return ok;
}

bool
statement_public_key(
    EVP_PKEY *key, uint8_t spki[STATEMENT_SPKI_MAX], size_t *spki_len, struct error *err)
{
	size_t raw_len = ED25519_KEY_LEN;

	if (is_p256(key)) {
		memcpy(spki, p256_head, sizeof p256_head);
		if (!p256_point(key, spki + sizeof p256_head))
			return error_set_openssl(
			    err, ERROR_INPUT, "operator's key has no public point");
		*spki_len = sizeof p256_head + P256_POINT_LEN;
		return true;
	}
	if (EVP_PKEY_is_a(key, "ED25519")) {
		memcpy(spki, ed25519_head, sizeof ed25519_head);
		if (EVP_PKEY_get_raw_public_key(key, spki + sizeof ed25519_head, &raw_len) != 1)
			return error_set_openssl(
			    err, ERROR_INPUT, "operator's key has no public part");
		*spki_len = sizeof ed25519_head + ED25519_KEY_LEN;
		return true;
	}
	return error_set(err, ERROR_INPUT,
	    "an operator's key must be EC P-256 or Ed25519; this one is %s",
	    EVP_PKEY_get0_type_name(key) != NULL ? EVP_PKEY_get0_type_name(key) : "another");
}

bool
statement_sign(const char *text, size_t len, EVP_PKEY *key, uint8_t sig[STATEMENT_SIGNATURE_MAX],
    size_t *sig_len, struct error *err)
{
	bool ec = is_p256(key), ok = false;
	EVP_MD_CTX *ctx = NULL;

	if (!ec && !EVP_PKEY_is_a(key, "ED25519"))
		return error_set(err, ERROR_INPUT, "an operator's key must be EC P-256 or Ed25519");
	*sig_len = STATEMENT_SIGNATURE_MAX;
	ctx = EVP_MD_CTX_new();
	if (ctx == NULL ||
	    EVP_DigestSignInit_ex(ctx, NULL, ec ? "SHA256" : NULL, NULL, NULL, key, NULL) != 1 ||
	    EVP_DigestSign(ctx, sig, sig_len, (const uint8_t *)text, len) != 1)
		(void)error_set_openssl(err, ERROR_INTERNAL, "the statement could not be signed");
	else
		ok = true;
	EVP_MD_CTX_free(ctx);
	return ok;
}

bool
statement_verify(const char *text, size_t len, const uint8_t *sig, size_t sig_len,
    const uint8_t *spki, size_t spki_len, struct error *err)
{
	EVP_PKEY *key = NULL;
	EVP_MD_CTX *ctx = NULL;
	bool ok = false, ec;

	if (len > STATEMENT_TEXT_MAX || sig_len == 0 || sig_len > STATEMENT_SIGNATURE_MAX)
		return error_set(err, ERROR_LIMIT,
		    "statement of %zu bytes with a signature of %zu; allowed: at most %d and 1 to "
		    "%d",
		    len, sig_len, STATEMENT_TEXT_MAX, STATEMENT_SIGNATURE_MAX);
	key = key_from_spki(spki, spki_len, err);
	if (key == NULL)
		return false;
	ec = EVP_PKEY_is_a(key, "EC");
	ctx = EVP_MD_CTX_new();
	if (ctx == NULL ||
	    EVP_DigestVerifyInit_ex(ctx, NULL, ec ? "SHA256" : NULL, NULL, NULL, key, NULL) != 1)
		(void)error_set_openssl(err, ERROR_INTERNAL, "the statement could not be verified");
	else if (EVP_DigestVerify(ctx, sig, sig_len, (const uint8_t *)text, len) != 1)
		(void)error_set(err, ERROR_DENIED,
		    "the statement's signature does not verify with the operator's key");
	else
		ok = true;
	ERR_clear_error();
	EVP_MD_CTX_free(ctx);
	EVP_PKEY_free(key);
	return ok;
}
