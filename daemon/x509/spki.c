#include "daemon/x509/spki.h"

#include <stdio.h>

#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/rsa.h>

#include "daemon/x509/derw.h"
#include "daemon/x509/oid.h"

/* rsaEncryption, id-ecPublicKey, id-Ed25519 */
static const uint8_t oid_rsa[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1};
static const uint8_t oid_rsa_pss[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10};
static const uint8_t oid_ec[] = {0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1};
static const uint8_t oid_ed25519[] = {0x2b, 0x65, 0x70};

#define BYTES(array) ((struct bytes){array, sizeof(array)})
#define ED25519_LEN 32

static const struct curve {
	unsigned bits;
	enum key_alg alg;
	const char *openssl_name;
	uint8_t oid[8];
	uint8_t oid_len;
} curves[] = {
    {256, KEY_P256, "prime256v1", {0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7}, 8},
    {384, KEY_P384, "secp384r1", {0x2b, 0x81, 4, 0, 34}, 5},
    {521, KEY_P521, "secp521r1", {0x2b, 0x81, 4, 0, 35}, 5},
};

static const struct curve *
curve_by_oid(struct bytes oid)
{
	for (size_t i = 0; i < COUNT_OF(curves); i++) {
		if (bytes_equal(oid, (struct bytes){curves[i].oid, curves[i].oid_len}))
			return &curves[i];
	}
	return NULL;
}

static const struct curve *
curve_by_bits(unsigned bits)
{
	for (size_t i = 0; i < COUNT_OF(curves); i++) {
		if (curves[i].bits == bits)
			return &curves[i];
	}
	return NULL;
}

static unsigned
bit_length(struct bytes magnitude)
{
	unsigned bits = (unsigned)magnitude.len * 8;

	for (unsigned mask = 0x80; magnitude.len > 0 && (magnitude.p[0] & mask) == 0 && mask > 0;
	     mask >>= 1)
		bits--;
	return bits;
}

/* RFC 3279 2.3.1: NULL parameters; RSAPublicKey { modulus, publicExponent }. */
static bool
parse_rsa(struct der *params, struct spki *spki, struct error *err)
{
	struct bytes null;
	struct der key;

	if (!der_read(params, DER_NULL, &null) || null.len != 0 || !der_end(params))
		return error_set(err, ERROR_INPUT,
		    "the RSA public key's parameters are not NULL (RFC 3279 2.3.1)");
	if (!der_enter_only(spki->key, DER_SEQUENCE, &key) ||
	    !der_read_unsigned(&key, &spki->modulus) || !der_read_unsigned(&key, &spki->exponent) ||
	    !der_end(&key))
		return error_set(
		    err, ERROR_INPUT, "the RSA public key is no RSAPublicKey (RFC 3279 2.3.1)");
	spki->kind = SPKI_RSA;
	spki->bits = bit_length(spki->modulus);
	if (spki->bits < SPKI_RSA_BITS_MIN || spki->bits > SPKI_RSA_BITS_MAX)
		return error_set(err, ERROR_INPUT,
		    "the RSA key has %u bits; %d to %d are allowed: make a new key", spki->bits,
		    SPKI_RSA_BITS_MIN, SPKI_RSA_BITS_MAX);
	if ((spki->modulus.p[spki->modulus.len - 1] & 1) == 0)
		return error_set(err, ERROR_INPUT, "the RSA modulus is even: that is no key");
	if ((spki->exponent.p[spki->exponent.len - 1] & 1) == 0 || bit_length(spki->exponent) < 2 ||
	    bit_length(spki->exponent) > SPKI_RSA_EXPONENT_BITS_MAX)
		return error_set(err, ERROR_INPUT,
		    "the RSA public exponent must be odd, at least 3 and at most %d bits long",
		    SPKI_RSA_EXPONENT_BITS_MAX);
	return true;
}

/* RFC 5480 2: a named curve; 2.2: the point, uncompressed. */
static bool
parse_ec(struct der *params, struct spki *spki, struct error *err)
{
	const struct curve *curve;
	struct bytes oid;

	if (!der_read_oid(params, &oid) || !der_end(params))
		return error_set(err, ERROR_INPUT,
		    "the EC public key does not name its curve (RFC 5480 2.1.1: namedCurve only)");
	curve = curve_by_oid(oid);
	if (curve == NULL) {
		char text[OID_TEXT_MAX];

		oid_to_text(oid, text);
		return error_set(err, ERROR_INPUT,
		    "the EC public key is on curve %.80s; P-256, P-384 and P-521 are allowed",
		    text);
	}
	spki->kind = SPKI_EC;
	spki->bits = curve->bits;
	if (spki->key.len != 1 + 2 * ((curve->bits + 7) / 8) || spki->key.p[0] != 0x04)
		return error_set(err, ERROR_INPUT,
		    "the EC public key is no uncompressed point of P-%u (RFC 5480 2.2)",
		    curve->bits);
	return true;
}

static bool
parse_ed25519(struct der *params, struct spki *spki, struct error *err)
{
	spki->kind = SPKI_ED25519;
	spki->bits = 256;
	if (!der_end(params) || spki->key.len != ED25519_LEN)
		return error_set(err, ERROR_INPUT,
		    "the Ed25519 public key must be %d octets without parameters (RFC 8410 3, 4)",
		    ED25519_LEN);
	return true;
}

bool
spki_parse(struct bytes der, struct spki *spki, struct error *err)
{
	struct der outer, params;
	char text[OID_TEXT_MAX];
	struct bytes oid;

	*spki = (struct spki){.whole = der};
	if (der.len > SPKI_MAX)
		return error_set(err, ERROR_LIMIT, "the public key takes %zu octets; at most %d",
		    der.len, SPKI_MAX);
	if (!der_enter_only(der, DER_SEQUENCE, &outer) ||
	    !der_enter(&outer, DER_SEQUENCE, &params) || !der_read_oid(&params, &oid) ||
	    !der_read_bit_octets(&outer, &spki->key) || !der_end(&outer))
		return error_set(err, ERROR_INPUT,
		    "the public key is no DER SubjectPublicKeyInfo (RFC 5280 4.1.2.7)");
	if (bytes_equal(oid, BYTES(oid_rsa)))
		return parse_rsa(&params, spki, err);
	if (bytes_equal(oid, BYTES(oid_ec)))
		return parse_ec(&params, spki, err);
	if (bytes_equal(oid, BYTES(oid_ed25519)))
		return parse_ed25519(&params, spki, err);
	if (bytes_equal(oid, BYTES(oid_rsa_pss)))
		return error_set(err, ERROR_INPUT,
		    "the public key is an id-RSASSA-PSS key; use a plain RSA key, it can make PSS "
		    "signatures too");
	oid_to_text(oid, text);
	return error_set(err, ERROR_INPUT,
	    "the public key's algorithm %.80s is not known; RSA, EC (P-256, P-384, P-521) and "
	    "Ed25519 are allowed",
	    text);
}

void
spki_describe(const struct spki *spki, char out[16])
{
	switch (spki->kind) {
	case SPKI_RSA:
		(void)snprintf(out, 16, "rsa%u", spki->bits);
		return;
	case SPKI_EC:
		(void)snprintf(out, 16, "p%u", spki->bits);
		return;
	case SPKI_ED25519:
		(void)snprintf(out, 16, "ed25519");
		return;
	}
	(void)snprintf(out, 16, "unknown");
}

enum key_alg
spki_key_alg(const struct spki *spki)
{
	char name[16];
	enum key_alg alg;

	spki_describe(spki, name);
	return key_alg_from_name(name, &alg) ? alg : KEY_NONE;
}

static bool
sha256(struct bytes b, uint8_t digest[32], struct error *err)
{
	if (EVP_Digest(b.p, b.len, digest, NULL, EVP_sha256(), NULL) != 1)
		return error_set_openssl(err, ERROR_INTERNAL, "cannot compute SHA-256");
	return true;
}

bool
spki_ski(const struct spki *spki, uint8_t ski[SKI_LEN], struct error *err)
{
	if (EVP_Digest(spki->key.p, spki->key.len, ski, NULL, EVP_sha1(), NULL) != 1)
		return error_set_openssl(err, ERROR_SYSTEM, "SHA-1 of a public key");
	return true;
}

bool
spki_sha256(const struct spki *spki, uint8_t digest[32], struct error *err)
{
	return sha256(spki->whole, digest, err);
}

static bool
encoded(const struct derw *w, struct bytes *spki, struct error *err)
{
	if (!derw_ok(w))
		return error_set(
		    err, ERROR_INTERNAL, "the buffer for a SubjectPublicKeyInfo is too small");
	*spki = derw_result(w);
	return true;
}

bool
spki_encode_rsa(struct bytes modulus, struct bytes exponent, void *buf, size_t size,
    struct bytes *spki, struct error *err)
{
	static const uint8_t no_unused_bits = 0;
	struct derw w;
	size_t alg;

	derw_init(&w, buf, size);
	derw_unsigned_octets(&w, DER_INTEGER, exponent);
	derw_unsigned_octets(&w, DER_INTEGER, modulus);
	derw_wrap(&w, 0, DER_SEQUENCE);
	derw_raw(&w, (struct bytes){&no_unused_bits, 1});
	derw_wrap(&w, 0, DER_BIT_STRING);
	alg = derw_mark(&w);
	derw_null(&w);
	derw_oid(&w, BYTES(oid_rsa));
	derw_wrap(&w, alg, DER_SEQUENCE);
	derw_wrap(&w, 0, DER_SEQUENCE);
	return encoded(&w, spki, err);
}

bool
spki_encode_ec(enum key_alg curve, struct bytes point, void *buf, size_t size, struct bytes *spki,
    struct error *err)
{
	const struct curve *c = curve_by_bits(key_alg_bits(curve));
	struct derw w;
	size_t alg;

	if (c == NULL || point.len != 1 + 2 * key_alg_field_len(curve) || point.p[0] != 0x04)
		return error_set(err, ERROR_INPUT, "%zu octets are no uncompressed point of %s",
		    point.len, c != NULL ? key_alg_name(curve) : "a known curve");
	derw_init(&w, buf, size);
	derw_bit_octets(&w, point);
	alg = derw_mark(&w);
	derw_oid(&w, (struct bytes){c->oid, c->oid_len});
	derw_oid(&w, BYTES(oid_ec));
	derw_wrap(&w, alg, DER_SEQUENCE);
	derw_wrap(&w, 0, DER_SEQUENCE);
	return encoded(&w, spki, err);
}

bool
spki_encode_ed25519(struct bytes key, void *buf, size_t size, struct bytes *spki, struct error *err)
{
	struct derw w;
	size_t alg;

	if (key.len != 32)
		return error_set(err, ERROR_INPUT, "%zu octets are no key of Ed25519", key.len);
	derw_init(&w, buf, size);
	derw_bit_octets(&w, key);
	alg = derw_mark(&w);
	derw_oid(&w, BYTES(oid_ed25519));
	derw_wrap(&w, alg, DER_SEQUENCE);
	derw_wrap(&w, 0, DER_SEQUENCE);
	return encoded(&w, spki, err);
}

static EVP_PKEY *
pkey_from_params(const char *type, OSSL_PARAM *params, struct error *err)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL);
	EVP_PKEY *key = NULL;

	if (ctx == NULL || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) != 1) {
		key = NULL;
		(void)error_set_openssl(
		    err, ERROR_INPUT, "the %s public key's numbers are no valid key", type);
	}
	EVP_PKEY_CTX_free(ctx);
	return key;
}

/* Big-endian octets in the byte order that OSSL_PARAM wants, the machine's. */
static void
native_order(struct bytes magnitude, uint8_t *out)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	for (size_t i = 0; i < magnitude.len; i++)
		out[i] = magnitude.p[magnitude.len - 1 - i];
#else
	memcpy(out, magnitude.p, magnitude.len);
#endif
}

static EVP_PKEY *
rsa_to_pkey(const struct spki *spki, struct error *err)
{
	uint8_t n[SPKI_RSA_BITS_MAX / 8], e[SPKI_RSA_EXPONENT_BITS_MAX / 8];
	OSSL_PARAM params[3];

	native_order(spki->modulus, n);
	native_order(spki->exponent, e);
	params[0] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_N, n, spki->modulus.len);
	params[1] = OSSL_PARAM_construct_BN(OSSL_PKEY_PARAM_RSA_E, e, spki->exponent.len);
	params[2] = OSSL_PARAM_construct_end();
	return pkey_from_params("RSA", params, err);
}

static EVP_PKEY *
ec_to_pkey(const struct spki *spki, struct error *err)
{
	const struct curve *curve = curve_by_bits(spki->bits);
	OSSL_PARAM params[3];

	if (curve == NULL) {
		(void)error_set(err, ERROR_INTERNAL, "no curve of %u bits", spki->bits);
		return NULL;
	}
	/* OSSL_PARAM has no const; fromdata only reads. */
	params[0] = OSSL_PARAM_construct_utf8_string(
	    OSSL_PKEY_PARAM_GROUP_NAME, (char *)(uintptr_t)curve->openssl_name, 0);
	params[1] = OSSL_PARAM_construct_octet_string(
	    OSSL_PKEY_PARAM_PUB_KEY, (void *)(uintptr_t)spki->key.p, spki->key.len);
	params[2] = OSSL_PARAM_construct_end();
	return pkey_from_params("EC", params, err);
}

EVP_PKEY *
spki_to_pkey(const struct spki *spki, struct error *err)
{
	EVP_PKEY *key;

	switch (spki->kind) {
	case SPKI_RSA:
		return rsa_to_pkey(spki, err);
	case SPKI_EC:
		return ec_to_pkey(spki, err);
	case SPKI_ED25519:
		key = EVP_PKEY_new_raw_public_key(
		    EVP_PKEY_ED25519, NULL, spki->key.p, spki->key.len);
		if (key == NULL)
			(void)error_set_openssl(
			    err, ERROR_INPUT, "the Ed25519 public key is no valid key");
		return key;
	}
	(void)error_set(err, ERROR_INTERNAL, "no key was parsed");
	return NULL;
}

/* The algorithm must be of the key's kind, or OpenSSL would be asked for
 * something that has no meaning. */
static bool
fits_pkey(EVP_PKEY *key, enum sig_alg alg, struct error *err)
{
	enum sig_family family = sig_alg_family(alg);
	bool fits = false;

	switch (EVP_PKEY_get_base_id(key)) {
	case EVP_PKEY_RSA:
		fits = family == SIG_FAMILY_RSA || family == SIG_FAMILY_PSS;
		break;
	case EVP_PKEY_EC:
		fits = family == SIG_FAMILY_ECDSA;
		break;
	case EVP_PKEY_ED25519:
		fits = family == SIG_FAMILY_EDDSA;
		break;
	}
	if (!fits)
		return error_set(err, ERROR_INPUT,
		    "the signature algorithm %s does not go with the key",
		    sig_alg_name(alg) != NULL ? sig_alg_name(alg) : "(none)");
	return true;
}

static bool
judge(int result, struct error *err)
{
	if (result == 1)
		return true;
	ERR_clear_error();
	return error_set(err, ERROR_INPUT, "the signature is wrong");
}

static bool verify_ed25519(
    EVP_PKEY *key, struct bytes signed_bytes, struct bytes signature, struct error *err);

bool
pkey_verify_digest(EVP_PKEY *key, enum sig_alg alg, unsigned salt_len, struct bytes digest,
    struct bytes signature, struct error *err)
{
	enum sig_family family = sig_alg_family(alg);
	EVP_PKEY_CTX *ctx = NULL;
	bool ok = false;

	if (!fits_pkey(key, alg, err))
		return false;
	if (family == SIG_FAMILY_EDDSA)
		return verify_ed25519(key, digest, signature, err);
	if (digest.len != sig_alg_digest_len(alg))
		return error_set(err, ERROR_INTERNAL,
		    "a digest of %zu octets cannot be verified with %s", digest.len,
		    sig_alg_name(alg));
	ctx = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
	if (ctx == NULL || EVP_PKEY_verify_init(ctx) != 1)
		goto openssl;
	if (family != SIG_FAMILY_ECDSA &&
	    EVP_PKEY_CTX_set_rsa_padding(
		ctx, family == SIG_FAMILY_PSS ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) != 1)
		goto openssl;
	if (EVP_PKEY_CTX_set_signature_md(ctx, sig_alg_md(alg)) != 1)
		goto openssl;
	if (family == SIG_FAMILY_PSS && EVP_PKEY_CTX_set_rsa_pss_saltlen(ctx, (int)salt_len) != 1)
		goto openssl;
	ok = judge(EVP_PKEY_verify(ctx, signature.p, signature.len, digest.p, digest.len), err);
	goto out;
openssl:
	(void)error_set_openssl(
	    err, ERROR_INTERNAL, "cannot set up verification with %s", sig_alg_name(alg));
out:
	EVP_PKEY_CTX_free(ctx);
	return ok;
}

static bool
verify_ed25519(EVP_PKEY *key, struct bytes signed_bytes, struct bytes signature, struct error *err)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok = false;

	if (ctx == NULL || EVP_DigestVerifyInit(ctx, NULL, NULL, NULL, key) != 1)
		(void)error_set_openssl(
		    err, ERROR_INTERNAL, "cannot set up verification with Ed25519");
	else
		ok = judge(EVP_DigestVerify(
			       ctx, signature.p, signature.len, signed_bytes.p, signed_bytes.len),
		    err);
	EVP_MD_CTX_free(ctx);
	return ok;
}

bool
pkey_verify(EVP_PKEY *key, enum sig_alg alg, unsigned salt_len, struct bytes signed_bytes,
    struct bytes signature, struct error *err)
{
	uint8_t digest[DIGEST_MAX];

	if (!fits_pkey(key, alg, err))
		return false;
	if (sig_alg_family(alg) == SIG_FAMILY_EDDSA)
		return verify_ed25519(key, signed_bytes, signature, err);
	if (EVP_Digest(signed_bytes.p, signed_bytes.len, digest, NULL, sig_alg_md(alg), NULL) != 1)
		return error_set_openssl(
		    err, ERROR_INTERNAL, "cannot compute %s", sig_alg_digest_name(alg));
	return pkey_verify_digest(
	    key, alg, salt_len, (struct bytes){digest, sig_alg_digest_len(alg)}, signature, err);
}

bool
spki_verify(const struct spki *spki, enum sig_alg alg, struct bytes signed_bytes,
    struct bytes signature, struct error *err)
{
	EVP_PKEY *key = spki_to_pkey(spki, err);
	bool ok;

	if (key == NULL)
		return false;
	ok = pkey_verify(key, alg, (unsigned)sig_alg_digest_len(alg), signed_bytes, signature, err);
	EVP_PKEY_free(key);
	return ok;
}

bool
spki_verify_digest(const struct spki *spki, enum sig_alg alg, struct bytes digest,
    struct bytes signature, struct error *err)
{
	EVP_PKEY *key = spki_to_pkey(spki, err);
	bool ok;

	if (key == NULL)
		return false;
	ok = pkey_verify_digest(key, alg, (unsigned)digest.len, digest, signature, err);
	EVP_PKEY_free(key);
	return ok;
}

bool
ecdsa_signature_from_raw(
    struct bytes raw, void *buf, size_t size, struct bytes *der, struct error *err)
{
	size_t half = raw.len / 2;
	struct derw w;

	if (raw.len == 0 || raw.len % 2 != 0)
		return error_set(err, ERROR_INPUT,
		    "the token's ECDSA signature of %zu octets is not two equal halves", raw.len);
	derw_init(&w, buf, size);
	derw_unsigned_octets(&w, DER_INTEGER, (struct bytes){raw.p + half, half});
	derw_unsigned_octets(&w, DER_INTEGER, (struct bytes){raw.p, half});
	derw_wrap(&w, 0, DER_SEQUENCE);
	if (!derw_ok(&w))
		return error_set(
		    err, ERROR_INTERNAL, "the buffer for an ECDSA signature is too small");
	*der = derw_result(&w);
	return true;
}
