#include <string.h>

#include "daemon/x509/der.h"
#include "pkcs11/key_int.h"

#define MODULUS_MAX (SPKI_RSA_BITS_MAX / 8)
#define POINT_MAX 160 /* P-521 uncompressed, wrapped: 136 */
#define PARAMS_MAX 64 /* a named curve's identifier */

static const struct {
	enum key_alg alg;
	struct bytes params;
} curves[] = {
#define CURVE(alg, der)                                         \
	{                                                       \
		alg,                                            \
		{                                               \
			(const uint8_t *)(der), sizeof(der) - 1 \
		}                                               \
	}
    CURVE(KEY_P256, "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"),
    CURVE(KEY_P384, "\x06\x05\x2b\x81\x04\x00\x22"),
    CURVE(KEY_P521, "\x06\x05\x2b\x81\x04\x00\x23"),
    CURVE(KEY_ED25519, "\x06\x03\x2b\x65\x70"), /* RFC 8410 3 */
#undef CURVE
};

bool
key_curve_params(enum key_alg alg, struct bytes *params)
{
	for (size_t i = 0; i < COUNT_OF(curves); i++) {
		if (curves[i].alg == alg) {
			*params = curves[i].params;
			return true;
		}
	}
	return false;
}

static bool
read_attribute(struct session *s, CK_OBJECT_HANDLE handle, CK_ATTRIBUTE_TYPE type, const char *name,
    uint8_t *buf, size_t size, struct bytes *value, struct error *e)
{
	CK_ATTRIBUTE a = {type, buf, (CK_ULONG)size};
	CK_RV rv = s->f->C_GetAttributeValue(s->handle, handle, &a, 1);

	if (rv != CKR_OK) {
		(void)session_error(s, rv, e, "cannot read %s of a public key", name);
		return false;
	}
	if (a.ulValueLen > size) {
		(void)error_set(
		    e, ERROR_INPUT, "%s of a public key on the token is unusable", name);
		return false;
	}
	*value = (struct bytes){buf, a.ulValueLen};
	return true;
}

static bool
read_rsa(
    struct session *s, CK_OBJECT_HANDLE handle, uint8_t *buf, struct bytes *spki, struct error *e)
{
	uint8_t n_buf[MODULUS_MAX], e_buf[MODULUS_MAX];
	struct bytes modulus = {0}, exponent = {0};

	return read_attribute(
		   s, handle, CKA_MODULUS, "CKA_MODULUS", n_buf, sizeof n_buf, &modulus, e) &&
	       read_attribute(s, handle, CKA_PUBLIC_EXPONENT, "CKA_PUBLIC_EXPONENT", e_buf,
		   sizeof e_buf, &exponent, e) &&
	       spki_encode_rsa(modulus, exponent, buf, SPKI_MAX, spki, e);
}

/*
 * PKCS#11 wants the point as the DER of an OCTET STRING; some modules give it
 * bare. A bare point begins with 0x04 too, which is the tag of an OCTET STRING,
 * so it is the length that decides.
 */
static bool
unwrap_point(struct bytes value, size_t field_len, struct bytes *point)
{
	struct der d;

	*point = value;
	if (value.len == 1 + 2 * field_len && value.p[0] == 0x04)
		return true;
	der_init(&d, value);
	return der_read(&d, DER_OCTET_STRING, point) && der_end(&d) &&
	       point->len == 1 + 2 * field_len && point->p[0] == 0x04;
}

static bool
read_ec(
    struct session *s, CK_OBJECT_HANDLE handle, uint8_t *buf, struct bytes *spki, struct error *e)
{
	uint8_t params_buf[PARAMS_MAX], point_buf[POINT_MAX];
	struct bytes params = {0}, value = {0}, point = {0};
	enum key_alg alg = KEY_NONE;

	if (!read_attribute(s, handle, CKA_EC_PARAMS, "CKA_EC_PARAMS", params_buf,
		sizeof params_buf, &params, e))
		return false;
	for (size_t i = 0; i < COUNT_OF(curves); i++) {
		if (bytes_equal(params, curves[i].params))
			alg = curves[i].alg;
	}
	if (alg == KEY_NONE)
		return error_set(e, ERROR_INPUT,
		    "the key on the token is on no curve that we use (p256, p384, p521 by name)");
	if (!read_attribute(
		s, handle, CKA_EC_POINT, "CKA_EC_POINT", point_buf, sizeof point_buf, &value, e))
		return false;
	if (!unwrap_point(value, key_alg_field_len(alg), &point))
		return error_set(e, ERROR_INPUT,
		    "CKA_EC_POINT of a key on the token is no uncompressed point of %s",
		    key_alg_name(alg));
	return spki_encode_ec(alg, point, buf, SPKI_MAX, spki, e);
}

/* PKCS#11 3.0 2.3.8 has the 32 octets of RFC 8032 5.1.5 as they are; modules that are
 * older than it wrap them into an OCTET STRING. */
static bool
read_edwards(
    struct session *s, CK_OBJECT_HANDLE handle, uint8_t *buf, struct bytes *spki, struct error *e)
{
	uint8_t point_buf[POINT_MAX];
	struct bytes value = {0}, point;
	struct der d;

	if (!read_attribute(
		s, handle, CKA_EC_POINT, "CKA_EC_POINT", point_buf, sizeof point_buf, &value, e))
		return false;
	point = value;
	der_init(&d, value);
	if (value.len != 32 && (!der_read(&d, DER_OCTET_STRING, &point) || !der_end(&d)))
		return error_set(
		    e, ERROR_INPUT, "CKA_EC_POINT of a key on the token is no key of Ed25519");
	return spki_encode_ed25519(point, buf, SPKI_MAX, spki, e);
}

bool
key_read_public(struct session *s, CK_OBJECT_HANDLE handle, struct key *key, struct error *e)
{
	CK_KEY_TYPE type = CK_UNAVAILABLE_INFORMATION;
	struct bytes value = {0}, spki = {0};
	bool ok;

	if (!read_attribute(
		s, handle, CKA_KEY_TYPE, "CKA_KEY_TYPE", (uint8_t *)&type, sizeof type, &value, e))
		return false;
	if (type == CKK_RSA)
		ok = read_rsa(s, handle, key->spki_der, &spki, e);
	else if (type == CKK_EC)
		ok = read_ec(s, handle, key->spki_der, &spki, e);
	else if (type == CKK_EC_EDWARDS)
		ok = read_edwards(s, handle, key->spki_der, &spki, e);
	else
		ok = error_set(e, ERROR_INPUT, "a key on the token is neither RSA nor EC");
	if (!ok || !spki_parse(spki, &key->spki, e))
		return false;
	key->alg = spki_key_alg(&key->spki);
	if (key->alg == KEY_NONE)
		return error_set(
		    e, ERROR_INPUT, "a CA key must be one of " KEY_ALG_TEXT ", this one is not");
	key->pkey = spki_to_pkey(&key->spki, e);
	return key->pkey != NULL;
}
