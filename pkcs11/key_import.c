#include "pkcs11/key_import.h"

#include <string.h>

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pkcs12.h>
#include <openssl/provider.h>
#include <openssl/x509.h>

#include "pkcs11/ckr.h"
#include "pkcs11/key_adopt.h"
#include "pkcs11/key_int.h"

#define NUMBER_MAX (SPKI_RSA_BITS_MAX / 8)
#define ATTRIBUTES_MAX 24

/* ---- the file */

static OSSL_PROVIDER *default_provider;

EVP_PKEY *
key_import_read(struct bytes file, const char *passphrase, struct error *e)
{
	const unsigned char *p = file.p;
	EVP_PKEY *pkey = NULL;
	OSSL_PROVIDER *legacy = NULL;
	X509 *certificate = NULL;
	PKCS12 *store;

	/* Windows before 2016 encrypts with RC2; without that provider its files fail. Once
	 * one is named the default one has to be, too. */
	if (default_provider == NULL)
		default_provider = OSSL_PROVIDER_load(NULL, "default");
	if (default_provider != NULL)
		legacy = OSSL_PROVIDER_load(NULL, "legacy");
	ERR_clear_error();
	store = d2i_PKCS12(NULL, &p, (long)file.len);
	if (store == NULL)
		(void)error_set(e, ERROR_INPUT, "is no PKCS#12 file (RFC 7292)");
	else if (PKCS12_verify_mac(store, passphrase, -1) != 1)
		(void)error_set(e, ERROR_DENIED, "the passphrase does not fit");
	else if (PKCS12_parse(store, passphrase, &pkey, &certificate, NULL) != 1)
		(void)error_set_openssl(e, ERROR_INPUT, "cannot be decrypted");
	else if (pkey == NULL)
		(void)error_set(e, ERROR_INPUT, "has no private key in it");
	ERR_clear_error();
	X509_free(certificate);
	PKCS12_free(store);
	if (legacy != NULL)
		(void)OSSL_PROVIDER_unload(legacy);
	return pkey;
}

void
key_import_end(void)
{
	if (default_provider != NULL)
		(void)OSSL_PROVIDER_unload(default_provider);
	default_provider = NULL;
}

/* ---- the numbers of a key */

struct numbers {
	CK_ATTRIBUTE a[ATTRIBUTES_MAX];
	CK_ULONG n;
	uint8_t octets[8][NUMBER_MAX]; /* wiped after use */
	size_t used;
};

static void
add(struct numbers *t, CK_ATTRIBUTE_TYPE type, const void *value, size_t len)
{
	/* The type has no const; C_CreateObject only reads. */
	t->a[t->n++] = (CK_ATTRIBUTE){type, (void *)(uintptr_t)value, (CK_ULONG)len};
}

static bool
add_number(struct numbers *t, EVP_PKEY *pkey, const char *name, CK_ATTRIBUTE_TYPE type, size_t len,
    struct error *e)
{
	uint8_t *octets = t->octets[t->used];
	BIGNUM *number = NULL;
	bool ok = false;

	if (EVP_PKEY_get_bn_param(pkey, name, &number) == 1 &&
	    (size_t)BN_num_bytes(number) <= NUMBER_MAX) {
		if (len == 0)
			len = (size_t)BN_num_bytes(number);
		ok = BN_bn2binpad(number, octets, (int)len) == (int)len;
	}
	BN_clear_free(number);
	if (!ok)
		return error_set(
		    e, ERROR_INPUT, "the private key lacks one of its numbers (%s)", name);
	add(t, type, octets, len);
	t->used++;
	return true;
}

static bool
add_private_numbers(struct numbers *t, EVP_PKEY *pkey, const struct key *key, struct error *e)
{
	static const struct {
		const char *name;
		CK_ATTRIBUTE_TYPE type;
	} rsa[] = {
	    {OSSL_PKEY_PARAM_RSA_N, CKA_MODULUS},
	    {OSSL_PKEY_PARAM_RSA_E, CKA_PUBLIC_EXPONENT},
	    {OSSL_PKEY_PARAM_RSA_D, CKA_PRIVATE_EXPONENT},
	    {OSSL_PKEY_PARAM_RSA_FACTOR1, CKA_PRIME_1},
	    {OSSL_PKEY_PARAM_RSA_FACTOR2, CKA_PRIME_2},
	    {OSSL_PKEY_PARAM_RSA_EXPONENT1, CKA_EXPONENT_1},
	    {OSSL_PKEY_PARAM_RSA_EXPONENT2, CKA_EXPONENT_2},
	    {OSSL_PKEY_PARAM_RSA_COEFFICIENT1, CKA_COEFFICIENT},
	};
	struct bytes curve;

	if (!key_alg_is_rsa(key->alg)) {
		if (!key_curve_params(key->alg, &curve))
			return error_set(
			    e, ERROR_INTERNAL, "no curve for %s", key_alg_name(key->alg));
		add(t, CKA_EC_PARAMS, curve.p, curve.len);
		return add_number(
		    t, pkey, OSSL_PKEY_PARAM_PRIV_KEY, CKA_VALUE, key_alg_field_len(key->alg), e);
	}
	for (size_t i = 0; i < COUNT_OF(rsa); i++) {
		if (!add_number(t, pkey, rsa[i].name, rsa[i].type, 0, e))
			return false;
	}
	return true;
}

/* The point as the DER of an OCTET STRING. */
static bool
add_public_numbers(struct numbers *t, const struct key *key, struct error *e)
{
	uint8_t *octets = t->octets[0];
	size_t head = key->spki.key.len < 0x80 ? 2 : 3;
	struct bytes curve;

	if (key_alg_is_rsa(key->alg)) {
		add(t, CKA_MODULUS, key->spki.modulus.p, key->spki.modulus.len);
		add(t, CKA_PUBLIC_EXPONENT, key->spki.exponent.p, key->spki.exponent.len);
		return true;
	}
	if (!key_curve_params(key->alg, &curve) || key->spki.key.len > 0xff)
		return error_set(e, ERROR_INTERNAL, "no curve for %s", key_alg_name(key->alg));
	octets[0] = DER_OCTET_STRING;
	octets[1] = head == 2 ? (uint8_t)key->spki.key.len : 0x81;
	octets[head - 1] = (uint8_t)key->spki.key.len;
	memcpy(octets + head, key->spki.key.p, key->spki.key.len);
	add(t, CKA_EC_PARAMS, curve.p, curve.len);
	add(t, CKA_EC_POINT, octets, head + key->spki.key.len);
	return true;
}

/* ---- objects */

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

static bool
create(
    struct session *s, struct numbers *t, const char *what, CK_OBJECT_HANDLE *made, struct error *e)
{
	CK_RV rv = s->f->C_CreateObject(s->handle, t->a, t->n, made);
	char buf[CKR_NAME_MAX];

	if (rv == CKR_OK)
		return true;
	if (ckr_class(rv) == CKR_CLASS_REQUEST)
		return error_set(e, ERROR_INPUT,
		    "the token takes no %s key from outside (%s); its vendor may have a tool for "
		    "it",
		    what, ckr_name(rv, buf));
	return session_error(s, rv, e, "cannot put the %s key on the token", what);
}

static bool
create_private(struct session *s, EVP_PKEY *pkey, const struct key *key, const char *label,
    const uint8_t id[SKI_LEN], CK_OBJECT_HANDLE *made, struct error *e)
{
	CK_KEY_TYPE type = key_alg_is_rsa(key->alg) ? CKK_RSA : CKK_EC;
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	struct numbers t = {.n = 0};
	bool ok;

	add(&t, CKA_CLASS, &class, sizeof class);
	add(&t, CKA_KEY_TYPE, &type, sizeof type);
	add(&t, CKA_TOKEN, &yes, sizeof yes);
	add(&t, CKA_PRIVATE, &yes, sizeof yes);
	add(&t, CKA_SENSITIVE, &yes, sizeof yes);
	add(&t, CKA_EXTRACTABLE, &no, sizeof no);
	add(&t, CKA_SIGN, &yes, sizeof yes);
	add(&t, CKA_DECRYPT, &no, sizeof no);
	add(&t, CKA_UNWRAP, &no, sizeof no);
	add(&t, CKA_LABEL, label, strlen(label));
	add(&t, CKA_ID, id, SKI_LEN);
	ok = add_private_numbers(&t, pkey, key, e) && create(s, &t, "private", made, e);
	OPENSSL_cleanse(&t, sizeof t);
	return ok;
}

static bool
create_public(struct session *s, const struct key *key, const char *label,
    const uint8_t id[SKI_LEN], CK_OBJECT_HANDLE *made, struct error *e)
{
	CK_KEY_TYPE type = key_alg_is_rsa(key->alg) ? CKK_RSA : CKK_EC;
	CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
	struct numbers t = {.n = 0};

	add(&t, CKA_CLASS, &class, sizeof class);
	add(&t, CKA_KEY_TYPE, &type, sizeof type);
	add(&t, CKA_TOKEN, &yes, sizeof yes);
	add(&t, CKA_PRIVATE, &no, sizeof no);
	add(&t, CKA_VERIFY, &yes, sizeof yes);
	add(&t, CKA_LABEL, label, strlen(label));
	add(&t, CKA_ID, id, SKI_LEN);
	return add_public_numbers(&t, key, e) && create(s, &t, "public", made, e);
}

/* ---- all of it */

static bool
take_public(EVP_PKEY *pkey, struct key *key, struct error *e)
{
	unsigned char *p = key->spki_der;
	int len = i2d_PUBKEY(pkey, NULL);

	if (len <= 0 || (size_t)len > sizeof key->spki_der || i2d_PUBKEY(pkey, &p) != len)
		return error_set(e, ERROR_INPUT, "the key is of no kind that a CA has here");
	if (!spki_parse((struct bytes){key->spki_der, (size_t)len}, &key->spki, e))
		return false;
	key->alg = spki_key_alg(&key->spki);
	if (key->alg == KEY_NONE || key->alg == KEY_ED25519)
		return error_set(e, ERROR_INPUT,
		    "a key from outside must be one of rsa2048, rsa3072, rsa4096, p256, p384, "
		    "p521");
	key->pkey = spki_to_pkey(&key->spki, e);
	return key->pkey != NULL;
}

static bool
check_made(struct session *s, const struct key *wanted, const char *label,
    const uint8_t id[SKI_LEN], struct error *e)
{
	struct key_wanted w = {.alg = wanted->alg, .label = label, .id = id, .signature_count = 1};
	enum sig_alg usual = SIG_NONE;
	struct key made = {0};
	bool ok;

	if (!sig_alg_choose(wanted->alg, NULL, false, &usual))
		return error_set(e, ERROR_INTERNAL, "no signature for a key");
	w.signatures = &usual;
	ok = key_find(s, (struct bytes){id, SKI_LEN}, &made, e) && key_check_adopted(s, &made, e);
	if (ok && !bytes_equal(made.spki.whole, wanted->spki.whole))
		ok = error_set(
		    e, ERROR_INTERNAL, "the token has another public key than it was given");
	ok = ok && key_try(s, &w, &made, e);
	key_clear(&made);
	return ok;
}

static bool
put(struct session *s, EVP_PKEY *pkey, const struct key *key, const char *label, struct error *e)
{
	CK_OBJECT_HANDLE private_key = CK_INVALID_HANDLE, public_key = CK_INVALID_HANDLE;
	uint8_t id[SKI_LEN];

	if (!spki_ski(&key->spki, id, e))
		return false;
	if (create_private(s, pkey, key, label, id, &private_key, e) &&
	    create_public(s, key, label, id, &public_key, e) && check_made(s, key, label, id, e))
		return true;
	if (private_key != CK_INVALID_HANDLE)
		(void)s->f->C_DestroyObject(s->handle, private_key);
	if (public_key != CK_INVALID_HANDLE)
		(void)s->f->C_DestroyObject(s->handle, public_key);
	return false;
}

bool
key_import(
    struct session *s, EVP_PKEY *pkey, const char *label, uint8_t digest[32], struct error *e)
{
	struct key key = {0};
	bool there = false, ok = false;

	if (!take_public(pkey, &key, e) || !spki_sha256(&key.spki, digest, e) ||
	    !key_is_there(s, digest, &there, e))
		goto out;
	if (there)
		(void)error_set(e, ERROR_CONFLICT, "the token has this key already");
	else
		ok = put(s, pkey, &key, label, e);
out:
	key_clear(&key);
	return ok;
}
