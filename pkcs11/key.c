#include "pkcs11/key.h"

#include <string.h>

#include "pkcs11/key_int.h"
#include "pkcs11/limits.h"

#define ATTRIBUTES_MAX 16

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;

struct attributes {
	CK_ATTRIBUTE a[ATTRIBUTES_MAX];
	CK_ULONG n;
};

static void
add(struct attributes *t, CK_ATTRIBUTE_TYPE type, const void *value, size_t len)
{
	/* The type has no const; C_GenerateKeyPair only reads. */
	t->a[t->n++] = (CK_ATTRIBUTE){type, (void *)(uintptr_t)value, (CK_ULONG)len};
}

static void
add_bool(struct attributes *t, CK_ATTRIBUTE_TYPE type, bool value)
{
	add(t, type, value ? &yes : &no, sizeof yes);
}

static void
private_template(struct attributes *t, enum key_alg alg, const char *label, const uint8_t *id)
{
	*t = (struct attributes){.n = 0};
	add_bool(t, CKA_TOKEN, true);
	add_bool(t, CKA_PRIVATE, true);
	/* Said outright: what is left out comes as the module likes. */
	add_bool(t, CKA_SENSITIVE, true);
	add_bool(t, CKA_EXTRACTABLE, false);
	add_bool(t, CKA_SIGN, true);
	add_bool(t, CKA_DECRYPT, false);
	add_bool(t, CKA_UNWRAP, false);
	if (!key_alg_is_rsa(alg))
		add_bool(t, CKA_DERIVE, false);
	add(t, CKA_LABEL, label, strlen(label));
	add(t, CKA_ID, id, KEY_ID_LEN);
}

static void
public_template(struct attributes *t, enum key_alg alg, const char *label, const uint8_t *id,
    const CK_ULONG *bits, const struct bytes *curve)
{
	static const uint8_t exponent[] = {0x01, 0x00, 0x01};

	*t = (struct attributes){.n = 0};
	add_bool(t, CKA_TOKEN, true);
	add_bool(t, CKA_PRIVATE, false);
	add_bool(t, CKA_VERIFY, true);
	add_bool(t, CKA_ENCRYPT, false);
	add_bool(t, CKA_WRAP, false);
	add(t, CKA_LABEL, label, strlen(label));
	add(t, CKA_ID, id, KEY_ID_LEN);
	if (key_alg_is_rsa(alg)) {
		add(t, CKA_MODULUS_BITS, bits, sizeof *bits);
		add(t, CKA_PUBLIC_EXPONENT, exponent, sizeof exponent);
	} else {
		add(t, CKA_EC_PARAMS, curve->p, curve->len);
	}
}

bool
key_check(struct session *s, const struct key *key, struct error *e)
{
	static const struct {
		CK_ATTRIBUTE_TYPE type;
		CK_BBOOL value;
		const char *name;
	} wanted[] = {
	    {CKA_TOKEN, CK_TRUE, "CKA_TOKEN"},
	    {CKA_PRIVATE, CK_TRUE, "CKA_PRIVATE"},
	    {CKA_SENSITIVE, CK_TRUE, "CKA_SENSITIVE"},
	    {CKA_EXTRACTABLE, CK_FALSE, "CKA_EXTRACTABLE"},
	    {CKA_ALWAYS_SENSITIVE, CK_TRUE, "CKA_ALWAYS_SENSITIVE"},
	    {CKA_NEVER_EXTRACTABLE, CK_TRUE, "CKA_NEVER_EXTRACTABLE"},
	    {CKA_LOCAL, CK_TRUE, "CKA_LOCAL"},
	};

	for (size_t i = 0; i < COUNT_OF(wanted); i++) {
		/* Neither true nor false, should the module not write it. */
		CK_BBOOL value = 0xaa;
		CK_ATTRIBUTE a = {wanted[i].type, &value, sizeof value};
		CK_RV rv = s->f->C_GetAttributeValue(s->handle, key->private_key, &a, 1);

		if (rv != CKR_OK)
			return session_error(s, rv, e, "cannot check %s of a key", wanted[i].name);
		if (a.ulValueLen != sizeof value || value != wanted[i].value)
			return error_set(e, ERROR_DENIED,
			    "the token has a key for a CA whose %s is not %s, so it is not used",
			    wanted[i].name, wanted[i].value == CK_TRUE ? "true" : "false");
	}
	return true;
}

static bool
generate_pair(struct session *s, enum key_alg alg, const char *label, const uint8_t *id,
    CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key, struct error *e)
{
	CK_MECHANISM mechanism = {
	    key_alg_is_rsa(alg) ? CKM_RSA_PKCS_KEY_PAIR_GEN : CKM_EC_KEY_PAIR_GEN, NULL, 0};
	CK_ULONG bits = key_alg_bits(alg);
	struct attributes public, private;
	struct bytes curve = {0};
	CK_RV rv;

	if (!key_alg_is_rsa(alg) && !key_curve_params(alg, &curve))
		return error_set(e, ERROR_INTERNAL, "no curve for %s", key_alg_name(alg));
	private_template(&private, alg, label, id);
	public_template(&public, alg, label, id, &bits, &curve);
	rv = s->f->C_GenerateKeyPair(s->handle, &mechanism, public.a, public.n, private.a,
	    private.n, public_key, private_key);
	if (rv != CKR_OK)
		return session_error(s, rv, e, "cannot make a key pair %s", key_alg_name(alg));
	return true;
}

/* Up to max objects of this class and id. */
static bool
find_objects(struct session *s, CK_OBJECT_CLASS class, struct bytes id, CK_OBJECT_HANDLE *found,
    CK_ULONG max, CK_ULONG *count, struct error *e)
{
	struct attributes t = {.n = 0};
	CK_RV rv, end;

	*count = 0;
	add(&t, CKA_CLASS, &class, sizeof class);
	add(&t, CKA_ID, id.p, id.len);
	rv = s->f->C_FindObjectsInit(s->handle, t.a, t.n);
	if (rv != CKR_OK)
		return session_error(s, rv, e, "cannot look for keys on the token");
	rv = s->f->C_FindObjects(s->handle, found, max, count);
	end = s->f->C_FindObjectsFinal(s->handle);
	if (rv == CKR_OK)
		rv = end;
	if (rv != CKR_OK)
		return session_error(s, rv, e, "cannot look for keys on the token");
	return true;
}

/* *handle is CK_INVALID_HANDLE when there is none. */
static bool
find_one(struct session *s, CK_OBJECT_CLASS class, const char *what, struct bytes id,
    CK_OBJECT_HANDLE *handle, struct error *e)
{
	CK_OBJECT_HANDLE found[2] = {CK_INVALID_HANDLE, CK_INVALID_HANDLE};
	char text[KEY_ID_TEXT_MAX];
	CK_ULONG count;

	if (!find_objects(s, class, id, found, COUNT_OF(found), &count, e))
		return false;
	key_limits_id_text(id, text);
	if (count > 1)
		return error_set(
		    e, ERROR_CONFLICT, "the token has several %s keys with CKA_ID %s", what, text);
	*handle = count == 1 ? found[0] : CK_INVALID_HANDLE;
	return true;
}

static bool
check_halves(
    CK_OBJECT_HANDLE private_key, CK_OBJECT_HANDLE public_key, struct bytes id, struct error *e)
{
	char text[KEY_ID_TEXT_MAX];

	key_limits_id_text(id, text);
	if (private_key == CK_INVALID_HANDLE && public_key == CK_INVALID_HANDLE)
		return error_set(e, ERROR_NOT_FOUND, "the token has no key with CKA_ID %s", text);
	if (private_key == CK_INVALID_HANDLE || public_key == CK_INVALID_HANDLE)
		return error_set(e, ERROR_CONFLICT,
		    "the token has the %s half only of the key with CKA_ID %s; if it was never "
		    "used, remove it",
		    private_key == CK_INVALID_HANDLE ? "public" : "private", text);
	return true;
}

/* Whether the pair is what was asked for, and the only one of its id. */
static bool
check_made(struct session *s, enum key_alg alg, const uint8_t id[KEY_ID_LEN],
    CK_OBJECT_HANDLE public_key, struct key *key, struct error *e)
{
	CK_OBJECT_HANDLE found[2];
	CK_ULONG count = 0;

	if (!key_check(s, key, e) || !key_read_public(s, public_key, key, e))
		return false;
	if (key->alg != alg)
		return error_set(e, ERROR_INTERNAL,
		    "the token was asked for a key %s and made another", key_alg_name(alg));
	if (!find_objects(s, CKO_PRIVATE_KEY, (struct bytes){id, KEY_ID_LEN}, found,
		COUNT_OF(found), &count, e))
		return false;
	return count == 1 || error_set(e, ERROR_UNAVAILABLE,
				 "another process made the same key at this moment; try again");
}

bool
key_generate(struct session *s, enum key_alg alg, const char *label, const uint8_t id[KEY_ID_LEN],
    struct key *key, struct error *e)
{
	CK_OBJECT_HANDLE public_key = CK_INVALID_HANDLE, private_key = CK_INVALID_HANDLE;

	*key = (struct key){0};
	if (key_alg_name(alg) == NULL)
		return error_set(e, ERROR_INPUT, "a key must be one of " KEY_ALG_TEXT);
	if (!generate_pair(s, alg, label, id, &public_key, &private_key, e))
		return false;
	key->private_key = private_key;
	if (check_made(s, alg, id, public_key, key, e))
		return true;
	(void)error_wrap(e, "a new key, which was destroyed");
	key_clear(key);
	(void)s->f->C_DestroyObject(s->handle, private_key);
	(void)s->f->C_DestroyObject(s->handle, public_key);
	return false;
}

bool
key_find(struct session *s, struct bytes id, struct key *key, struct error *e)
{
	CK_OBJECT_HANDLE public_key = CK_INVALID_HANDLE;

	*key = (struct key){0};
	if (find_one(s, CKO_PRIVATE_KEY, "private", id, &key->private_key, e) &&
	    find_one(s, CKO_PUBLIC_KEY, "public", id, &public_key, e) &&
	    check_halves(key->private_key, public_key, id, e) &&
	    key_read_public(s, public_key, key, e))
		return true;
	key_clear(key);
	return false;
}

bool
key_destroy(struct session *s, struct bytes id, struct error *e)
{
	static const CK_OBJECT_CLASS classes[] = {CKO_PRIVATE_KEY, CKO_PUBLIC_KEY};
	CK_OBJECT_HANDLE found[8];
	CK_ULONG count;
	CK_RV rv;

	for (size_t i = 0; i < COUNT_OF(classes); i++) {
		if (!find_objects(s, classes[i], id, found, COUNT_OF(found), &count, e))
			return false;
		for (CK_ULONG n = 0; n < count; n++) {
			rv = s->f->C_DestroyObject(s->handle, found[n]);
			if (rv != CKR_OK)
				return session_error(s, rv, e, "cannot destroy a key");
		}
	}
	return true;
}

void
key_clear(struct key *key)
{
	EVP_PKEY_free(key->pkey);
	*key = (struct key){0};
}
