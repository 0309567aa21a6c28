#include "pkcs11/key.h"

#include <openssl/rand.h>
#include <string.h>

#include "daemon/core/log.h"
#include "pkcs11/ability.h"
#include "pkcs11/key_adopt.h"
#include "pkcs11/key_int.h"
#include "pkcs11/limits.h"
#include "pkcs11/sign.h"

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

/*
 * What is said of the uses of a pair, beyond that it signs. The public half is used by us
 * and not by the token. A TPM knows of one use for both halves, so that there a public
 * half that verifies and a private one that does not decrypt exclude each other; and with
 * RSA it signs a DigestInfo only if it may decrypt as well, which for RSA is the same
 * operation. So a token that does not take all is asked for less.
 */
enum said {
	SAID_OF_BOTH,
	SAID_OF_PRIVATE,
	SAID_NOTHING,
};

static void
private_template(struct attributes *t, const struct key_wanted *w, enum said said)
{
	*t = (struct attributes){.n = 0};
	add_bool(t, CKA_TOKEN, true);
	add_bool(t, CKA_PRIVATE, true);
	/* Said outright: what is left out comes as the module likes. */
	add_bool(t, CKA_SENSITIVE, true);
	add_bool(t, CKA_EXTRACTABLE, false);
	add_bool(t, CKA_SIGN, true);
	if (said <= SAID_OF_PRIVATE) {
		add_bool(t, CKA_DECRYPT, false);
		add_bool(t, CKA_UNWRAP, false);
		if (!key_alg_is_rsa(w->alg))
			add_bool(t, CKA_DERIVE, false);
	}
	if (w->always_authenticate)
		add_bool(t, CKA_ALWAYS_AUTHENTICATE, true);
	add(t, CKA_LABEL, w->label, strlen(w->label));
	add(t, CKA_ID, w->id, KEY_ID_LEN);
}

static void
public_template(struct attributes *t, const struct key_wanted *w, enum said said,
    const CK_ULONG *bits, const struct bytes *curve)
{
	static const uint8_t exponent[] = {0x01, 0x00, 0x01};

	*t = (struct attributes){.n = 0};
	add_bool(t, CKA_TOKEN, true);
	add_bool(t, CKA_PRIVATE, false);
	if (said == SAID_OF_BOTH) {
		add_bool(t, CKA_VERIFY, true);
		add_bool(t, CKA_ENCRYPT, false);
		add_bool(t, CKA_WRAP, false);
	}
	add(t, CKA_LABEL, w->label, strlen(w->label));
	add(t, CKA_ID, w->id, KEY_ID_LEN);
	if (key_alg_is_rsa(w->alg)) {
		add(t, CKA_MODULUS_BITS, bits, sizeof *bits);
		add(t, CKA_PUBLIC_EXPONENT, exponent, sizeof exponent);
	} else {
		add(t, CKA_EC_PARAMS, curve->p, curve->len);
	}
}

/* Those that a key has which was made elsewhere stand first. */
static const struct {
	CK_ATTRIBUTE_TYPE type;
	CK_BBOOL value;
	const char *name;
} guarded[] = {
    {CKA_TOKEN, CK_TRUE, "CKA_TOKEN"},
    {CKA_PRIVATE, CK_TRUE, "CKA_PRIVATE"},
    {CKA_SENSITIVE, CK_TRUE, "CKA_SENSITIVE"},
    {CKA_EXTRACTABLE, CK_FALSE, "CKA_EXTRACTABLE"},
    {CKA_ALWAYS_SENSITIVE, CK_TRUE, "CKA_ALWAYS_SENSITIVE"},
    {CKA_NEVER_EXTRACTABLE, CK_TRUE, "CKA_NEVER_EXTRACTABLE"},
    {CKA_LOCAL, CK_TRUE, "CKA_LOCAL"},
};
#define GUARDED_ELSEWHERE 4

static bool
check_guarded(struct session *s, const struct key *key, size_t count, struct error *e)
{
	for (size_t i = 0; i < count; i++) {
		/* Neither true nor false, should the module not write it. */
		CK_BBOOL value = 0xaa;
		CK_ATTRIBUTE a = {guarded[i].type, &value, sizeof value};
		CK_RV rv = s->f->C_GetAttributeValue(s->handle, key->private_key, &a, 1);

		if (rv != CKR_OK)
			return session_error(s, rv, e, "cannot check %s of a key", guarded[i].name);
		if (a.ulValueLen != sizeof value || value != guarded[i].value)
			return error_set(e, ERROR_DENIED,
			    "the token has a key for a CA whose %s is not %s, so it is not used",
			    guarded[i].name, guarded[i].value == CK_TRUE ? "true" : "false");
	}
	return true;
}

bool
key_check(struct session *s, const struct key *key, struct error *e)
{
	return check_guarded(s, key, COUNT_OF(guarded), e);
}

bool
key_check_adopted(struct session *s, const struct key *key, struct error *e)
{
	return check_guarded(s, key, GUARDED_ELSEWHERE, e);
}

/* Codes for a template that the token does not take as it is. */
static bool
is_about_template(CK_RV rv)
{
	return rv == CKR_TEMPLATE_INCONSISTENT || rv == CKR_ATTRIBUTE_TYPE_INVALID ||
	       rv == CKR_ATTRIBUTE_VALUE_INVALID || rv == CKR_GENERAL_ERROR;
}

static CK_RV
generate_pair(struct session *s, const struct key_wanted *w, enum said said,
    CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
	CK_MECHANISM mechanism = {ability_generator(w->alg), NULL, 0};
	CK_ULONG bits = key_alg_bits(w->alg);
	struct attributes public, private;
	struct bytes curve = {0};

	if (!key_alg_is_rsa(w->alg) && !key_curve_params(w->alg, &curve))
		return CKR_CURVE_NOT_SUPPORTED;
	private_template(&private, w, said);
	public_template(&public, w, said, &bits, &curve);
	return s->f->C_GenerateKeyPair(s->handle, &mechanism, public.a, public.n, private.a,
	    private.n, public_key, private_key);
}

/* Up to max objects of this class and id; an empty id: of all. */
static bool
find_objects(struct session *s, CK_OBJECT_CLASS class, struct bytes id, CK_OBJECT_HANDLE *found,
    CK_ULONG max, CK_ULONG *count, struct error *e)
{
	struct attributes t = {.n = 0};
	CK_RV rv, end;

	*count = 0;
	add(&t, CKA_CLASS, &class, sizeof class);
	if (id.len > 0)
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

bool
key_find_private(struct session *s, struct bytes id, CK_OBJECT_HANDLE *handle, struct error *e)
{
	return find_one(s, CKO_PRIVATE_KEY, "private", id, handle, e);
}

bool
key_find_public_half(struct session *s, struct bytes id, CK_OBJECT_HANDLE *handle, struct error *e)
{
	return find_one(s, CKO_PUBLIC_KEY, "public", id, handle, e);
}

bool
key_list_objects(struct session *s, CK_OBJECT_CLASS class, CK_OBJECT_HANDLE found[KEY_OBJECTS_MAX],
    CK_ULONG *count, struct error *e)
{
	if (!find_objects(s, class, (struct bytes){0}, found, KEY_OBJECTS_MAX, count, e))
		return false;
	return *count < KEY_OBJECTS_MAX ||
	       error_set(e, ERROR_LIMIT, "the token has %d or more keys", KEY_OBJECTS_MAX);
}

bool
key_read_id(struct session *s, CK_OBJECT_HANDLE handle, uint8_t id[SIGNPROTO_ID_MAX], size_t *len,
    struct error *e)
{
	CK_ATTRIBUTE a = {CKA_ID, id, SIGNPROTO_ID_MAX};
	CK_RV rv = s->f->C_GetAttributeValue(s->handle, handle, &a, 1);

	*len = 0;
	if (rv == CKR_ATTRIBUTE_TYPE_INVALID || rv == CKR_BUFFER_TOO_SMALL)
		return true; /* none, or none of ours */
	if (rv != CKR_OK)
		return session_error(s, rv, e, "cannot read CKA_ID of a key");
	if (a.ulValueLen <= SIGNPROTO_ID_MAX)
		*len = a.ulValueLen;
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

bool
key_is_possible(struct session *s, const struct key_wanted *w, struct error *e)
{
	if (key_alg_name(w->alg) == NULL)
		return error_set(e, ERROR_INPUT, "a key must be one of " KEY_ALG_TEXT);
	if (!ability_check_key(s, w->alg, e))
		return false;
	for (size_t i = 0; i < w->signature_count; i++) {
		if (!ability_check_signature(s, w->signatures[i], e))
			return false;
	}
	return true;
}

/*
 * By trial, since a list of mechanisms is a promise. In a session of its own, whose end
 * ends what a failed signature may leave under way, and with it the use of the key.
 */
bool
key_try(struct session *s, const struct key_wanted *w, const struct key *key, struct error *e)
{
	uint8_t digest[DIGEST_MAX], signature[SIG_MAX];
	struct session own;
	bool ok = true;
	size_t len;

	if (RAND_bytes(digest, sizeof digest) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "no random octets");
	if (!session_open(s->f, s->slot, false, &own, e)) {
		s->fatal |= own.fatal;
		return false;
	}
	own.pin = s->pin;
	for (size_t i = 0; i < w->signature_count && ok; i++) {
		enum sig_alg alg = w->signatures[i];

		ok = sign_digest(&own, key, alg, (struct bytes){digest, sign_trial_len(alg)},
			 signature, &len, e) ||
		     error_wrap(e, "a signature %s on trial", sig_alg_name(alg));
	}
	s->fatal |= own.fatal;
	s->pin_refused |= own.pin_refused;
	session_close(&own);
	return ok;
}

/* A token that does not know the attribute asks for nothing. */
void
key_read_always_authenticate(struct session *s, struct key *key)
{
	CK_BBOOL value = CK_FALSE;
	CK_ATTRIBUTE a = {CKA_ALWAYS_AUTHENTICATE, &value, sizeof value};
	CK_RV rv = s->f->C_GetAttributeValue(s->handle, key->private_key, &a, 1);

	key->always_authenticate = rv == CKR_OK && a.ulValueLen == sizeof value &&
				   value != CK_FALSE;
}

/* Some tokens keep the attribute and sign without the PIN all the same: said once, so
 * that nobody relies on it. The login around each operation stays. */
static void
tell_enforcement(struct session *s, const struct key_wanted *w, const struct key *key)
{
	struct error why = ERROR_INIT;
	uint8_t digest[DIGEST_MAX] = {0}, signature[SIG_MAX];
	struct session own;
	size_t len;

	if (!session_open(s->f, s->slot, false, &own, &why))
		return;
	if (sign_digest(&own, key, w->signatures[0],
		(struct bytes){digest, sign_trial_len(w->signatures[0])}, signature, &len, &why))
		log_warning(w->label,
		    "the token signs with its key without the PIN, whatever "
		    "CKA_ALWAYS_AUTHENTICATE says: it is only logged in to around each operation");
	else
		log_info(w->label, "the token wants the PIN for each signature with its key");
	session_close(&own);
}

/* Whether the pair is what was asked for, and the only one of its id. */
static bool
check_made(struct session *s, const struct key_wanted *w, CK_OBJECT_HANDLE public_key,
    struct key *key, struct error *e)
{
	CK_OBJECT_HANDLE found[2];
	CK_ULONG count = 0;

	if (!key_check(s, key, e) || !key_read_public(s, public_key, key, e))
		return false;
	key_read_always_authenticate(s, key);
	if (key->alg != w->alg)
		return error_set(e, ERROR_INTERNAL,
		    "the token was asked for a key %s and made another", key_alg_name(w->alg));
	if (!find_objects(s, CKO_PRIVATE_KEY, (struct bytes){w->id, KEY_ID_LEN}, found,
		COUNT_OF(found), &count, e))
		return false;
	return count == 1 || error_set(e, ERROR_UNAVAILABLE,
				 "another process made the same key at this moment; try again");
}

static bool
is_pair(struct session *s, const struct key_wanted *w, CK_OBJECT_HANDLE public_key,
    CK_OBJECT_HANDLE private_key, struct error *e)
{
	struct bytes id = {w->id, KEY_ID_LEN};

	return session_check_object(s, private_key, CKO_PRIVATE_KEY, CKA_ID, id, NULL, e) &&
	       session_check_object(s, public_key, CKO_PUBLIC_KEY, CKA_ID, id, NULL, e);
}

static void
destroy_pair(struct session *s, CK_OBJECT_HANDLE public_key, CK_OBJECT_HANDLE private_key)
{
	(void)s->f->C_DestroyObject(s->handle, private_key);
	(void)s->f->C_DestroyObject(s->handle, public_key);
}

/* *again: the token takes no such template, and asking for less may help. */
static bool
generate(struct session *s, const struct key_wanted *w, enum said said, struct key *key,
    bool *again, struct error *e)
{
	CK_OBJECT_HANDLE public_key = CK_INVALID_HANDLE, private_key = CK_INVALID_HANDLE;
	CK_RV rv = generate_pair(s, w, said, &public_key, &private_key);

	*key = (struct key){.private_key = private_key};
	*again = is_about_template(rv);
	if (rv != CKR_OK)
		return session_error(s, rv, e, "cannot make a key pair %s", key_alg_name(w->alg));
	if (!is_pair(s, w, public_key, private_key, e))
		return false;
	if (check_made(s, w, public_key, key, e) && key_try(s, w, key, e))
		return true;
	(void)error_wrap(e, "a new key, which was destroyed");
	key_clear(key);
	destroy_pair(s, public_key, private_key);
	return false;
}

static bool
generate_as_taken(
    struct session *s, const struct key_wanted *w, struct key *key, bool *refused, struct error *e)
{
	enum said less = SAID_OF_BOTH;
	struct error why = ERROR_INIT;
	bool again = true;

	for (enum said said = SAID_OF_BOTH; again; said = less) {
		bool fatal = s->fatal;

		error_clear(&why);
		if (generate(s, w, said, key, &again, &why))
			return true;
		*refused = again;
		again = again && said != SAID_NOTHING;
		if (again)
			s->fatal = fatal;
		less = said == SAID_OF_BOTH && !key_alg_is_rsa(w->alg) ? SAID_OF_PRIVATE
								       : SAID_NOTHING;
	}
	*e = why;
	return false;
}

bool
key_generate(struct session *s, const struct key_wanted *w, struct key *key, struct error *e)
{
	struct key_wanted plain = *w;
	struct error why = ERROR_INIT;
	bool refused = false, fatal = s->fatal;

	plain.always_authenticate = false;
	if (!w->always_authenticate)
		return generate_as_taken(s, w, key, &refused, e);
	if (generate_as_taken(s, w, key, &refused, &why)) {
		tell_enforcement(s, w, key);
		return true;
	}
	if (!refused) {
		*e = why;
		return false;
	}
	s->fatal = fatal;
	log_warning(w->label, "the token takes no CKA_ALWAYS_AUTHENTICATE (%s)", why.foreign);
	return generate_as_taken(s, &plain, key, &refused, e);
}

bool
key_find(struct session *s, struct bytes id, struct key *key, struct error *e)
{
	CK_OBJECT_HANDLE public_key = CK_INVALID_HANDLE;

	*key = (struct key){0};
	if (find_one(s, CKO_PRIVATE_KEY, "private", id, &key->private_key, e) &&
	    find_one(s, CKO_PUBLIC_KEY, "public", id, &public_key, e) &&
	    check_halves(key->private_key, public_key, id, e) &&
	    key_read_public(s, public_key, key, e)) {
		key_read_always_authenticate(s, key);
		return true;
	}
	key_clear(key);
	return false;
}

void
key_clear(struct key *key)
{
	EVP_PKEY_free(key->pkey);
	*key = (struct key){0};
}
