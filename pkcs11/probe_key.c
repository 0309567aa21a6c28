#include <openssl/rand.h>
#include <string.h>

#include "daemon/core/monotonic.h"
#include "pkcs11/ability.h"
#include "pkcs11/anchor.h"
#include "pkcs11/key_int.h"
#include "pkcs11/probe_int.h"
#include "pkcs11/sign.h"

#define ATTRIBUTES_MAX 12
#define LEFT_MAX 64   /* objects removed in one go ... */
#define ROUNDS_MAX 64 /* ... and how often */

static const enum key_alg algorithms[] = {
    KEY_RSA2048, KEY_RSA3072, KEY_RSA4096, KEY_P256, KEY_P384, KEY_P521, KEY_ED25519};

static const enum sig_alg signatures[] = {SIG_RSA_SHA256, SIG_RSA_SHA384, SIG_RSA_SHA512,
    SIG_PSS_SHA256, SIG_PSS_SHA384, SIG_PSS_SHA512, SIG_ECDSA_SHA256, SIG_ECDSA_SHA384,
    SIG_ECDSA_SHA512, SIG_ED25519};

/* ---- scratch keys */

/* The least that is needed, so that it is the algorithm that is tried. */
static CK_RV
generate(struct probe *p, enum key_alg alg, bool always, struct scratch *k)
{
	static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	static uint8_t exponent[] = {0x01, 0x00, 0x01};
	CK_BBOOL on_token = p->token_objects ? CK_TRUE : CK_FALSE;
	CK_MECHANISM mechanism = {ability_generator(alg), NULL, 0};
	CK_ULONG bits = key_alg_bits(alg), public_count = 3, private_count = 6;
	struct bytes curve = {0};
	CK_ATTRIBUTE public[ATTRIBUTES_MAX] = {
	    {CKA_TOKEN, &on_token, sizeof on_token},
	    {CKA_PRIVATE, &no, sizeof no},
	    {CKA_LABEL, p->label, strlen(p->label)},
	};
	CK_ATTRIBUTE private[ATTRIBUTES_MAX] = {
	    {CKA_TOKEN, &on_token, sizeof on_token},
	    {CKA_PRIVATE, &yes, sizeof yes},
	    {CKA_SENSITIVE, &yes, sizeof yes},
	    {CKA_EXTRACTABLE, &no, sizeof no},
	    {CKA_SIGN, &yes, sizeof yes},
	    {CKA_LABEL, p->label, strlen(p->label)},
	};

	if (key_alg_is_rsa(alg)) {
		public[public_count++] = (CK_ATTRIBUTE){CKA_MODULUS_BITS, &bits, sizeof bits};
		public[public_count++] = (CK_ATTRIBUTE){
		    CKA_PUBLIC_EXPONENT, exponent, sizeof exponent};
	} else {
		if (!key_curve_params(alg, &curve))
			return CKR_CURVE_NOT_SUPPORTED;
		public[public_count++] = (CK_ATTRIBUTE){
		    CKA_EC_PARAMS, (void *)(uintptr_t)curve.p, curve.len};
	}
	if (always) {
		private[private_count++] = (CK_ATTRIBUTE){
		    CKA_ALWAYS_AUTHENTICATE, &yes, sizeof yes};
	}
	return p->session.f->C_GenerateKeyPair(p->session.handle, &mechanism, public, public_count,
	    private, private_count, &k->public_key, &k->key.private_key);
}

bool
probe_make_key(struct probe *p, enum key_alg alg, bool always, struct scratch *k, struct error *e)
{
	CK_RV rv;

	*k = (struct scratch){0};
	rv = generate(p, alg, always, k);
	if (rv != CKR_OK && !p->token_objects) {
		p->token_objects = true; /* a TPM has no others */
		rv = generate(p, alg, always, k);
		if (rv != CKR_OK)
			p->token_objects = false;
	}
	if (rv != CKR_OK)
		return session_error(&p->session, rv, e, "cannot make it");
	if (key_read_public(&p->session, k->public_key, &k->key, e))
		return true;
	probe_drop_key(p, k);
	return false;
}

void
probe_drop_key(struct probe *p, struct scratch *k)
{
	/* Where they lie on the token they go at the end: tpm2-pkcs11 mistakes one object
	 * for another when some were removed. */
	if (!p->token_objects && k->key.private_key != CK_INVALID_HANDLE)
		(void)p->session.f->C_DestroyObject(p->session.handle, k->key.private_key);
	if (!p->token_objects && k->public_key != CK_INVALID_HANDLE)
		(void)p->session.f->C_DestroyObject(p->session.handle, k->public_key);
	key_clear(&k->key);
	*k = (struct scratch){0};
}

/* ---- trials */

/* In a session of its own: a failed signature may leave one that is of no use. */
static bool
sign_once(
    struct probe *p, const struct key *key, enum sig_alg alg, int64_t *took_us, struct error *e)
{
	uint8_t digest[DIGEST_MAX], signature[SIG_MAX];
	struct session own;
	int64_t begun;
	size_t len;
	bool ok;

	if (RAND_bytes(digest, sizeof digest) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "no random octets");
	if (!session_open(p->session.f, p->session.slot, false, &own, e))
		return false;
	begun = monotonic_us();
	ok = sign_digest(
	    &own, key, alg, (struct bytes){digest, sign_trial_len(alg)}, signature, &len, e);
	*took_us = monotonic_us() - begun;
	session_close(&own);
	return ok;
}

static void
try_signature(struct probe *p, const struct key *key, enum sig_alg alg, int64_t *best_us,
    char *list, size_t size)
{
	struct error why = ERROR_INIT;
	int64_t took_us;

	if (!sig_alg_fits_key(alg, key->alg) || !ability_check_signature(&p->session, alg, &why) ||
	    !sign_once(p, key, alg, &took_us, &why))
		return;
	if (*best_us == 0 || took_us < *best_us)
		*best_us = took_us;
	(void)snprintf(list + strlen(list), size - strlen(list), " %s", sig_alg_name(alg));
}

static void
try_key(struct probe *p, enum key_alg alg, int64_t *best_us, enum key_alg *best)
{
	char list[256] = "", name[32];
	struct error why = ERROR_INIT;
	struct scratch k = {0};
	int64_t us = 0;

	(void)snprintf(name, sizeof name, "key %s", key_alg_name(alg));
	if (!ability_check_key(&p->session, alg, &why) ||
	    !probe_make_key(p, alg, false, &k, &why)) {
		probe_line(p, name, "no: %s", why.text);
		return;
	}
	for (size_t i = 0; i < COUNT_OF(signatures); i++)
		try_signature(p, &k.key, signatures[i], &us, list, sizeof list);
	probe_drop_key(p, &k);
	if (list[0] == '\0') {
		probe_line(p, name, "no: it is made, and signs nothing");
		return;
	}
	probe_line(p, name, "yes:%s", list);
	if (*best_us == 0 || us < *best_us) {
		*best_us = us;
		*best = alg;
	}
}

static void
try_always_authenticate(struct probe *p, enum key_alg alg)
{
	static const char name[] = "always-authenticate";
	struct error why = ERROR_INIT;
	enum sig_alg signature;
	struct scratch k = {0};
	int64_t us;

	if (!probe_make_key(p, alg, true, &k, &why)) {
		probe_line(p, name, "refused: %s", why.text);
		return;
	}
	if (!sig_alg_choose(alg, NULL, false, &signature))
		probe_line(p, name, "not tried");
	else if (sign_once(p, &k.key, signature, &us, &why))
		probe_line(p, name, "ignored: it signs without a login of its own");
	else if (strcmp(why.foreign, "CKR_USER_NOT_LOGGED_IN") == 0)
		probe_line(p, name, "enforced");
	else
		probe_line(p, name, "unclear: %s", why.text);
	probe_drop_key(p, &k);
}

void
probe_keys(struct probe *p, enum key_alg *best)
{
	int64_t best_us = 0;

	*best = KEY_NONE;
	for (size_t i = 0; i < COUNT_OF(algorithms) && !probe_is_interrupted(); i++)
		try_key(p, algorithms[i], &best_us, best);
	probe_line(p, "session objects", p->token_objects ? "no" : "yes");
	if (*best != KEY_NONE)
		try_always_authenticate(p, *best);
}

void
probe_data_objects(struct probe *p)
{
	uint8_t value[ANCHOR_VALUE_MAX] = {0};
	struct error why = ERROR_INIT;
	size_t len;
	bool ok;

	ok = anchor_write(&p->session, p->label, (struct bytes){value, 64}, &why) &&
	     anchor_read(&p->session, p->label, value, &len, &why);
	if (ok && len == 64)
		probe_line(p, "data objects", "yes: the token remembers limits and journal");
	else
		probe_line(p, "data objects", "no: %s", why.text);
	/* probe_clean removes it. */
}

/* ---- the end */

static bool
find_left(struct probe *p, CK_OBJECT_HANDLE found[LEFT_MAX], CK_ULONG *count, struct error *e)
{
	CK_ATTRIBUTE label = {CKA_LABEL, p->label, strlen(p->label)};
	const CK_FUNCTION_LIST *f = p->session.f;
	CK_RV rv = f->C_FindObjectsInit(p->session.handle, &label, 1);

	*count = 0;
	if (rv == CKR_OK) {
		rv = f->C_FindObjects(p->session.handle, found, LEFT_MAX, count);
		(void)f->C_FindObjectsFinal(p->session.handle);
	}
	return rv == CKR_OK ||
	       session_error(&p->session, rv, e, "cannot see what is left on the token");
}

/* *count: what is left after that. */
static bool
remove_left(struct probe *p, CK_ULONG *count, struct error *e)
{
	CK_OBJECT_HANDLE found[LEFT_MAX];

	for (unsigned round = 0; round < ROUNDS_MAX; round++) {
		if (!find_left(p, found, count, e))
			return false;
		for (CK_ULONG i = 0; i < *count; i++)
			(void)p->session.f->C_DestroyObject(p->session.handle, found[i]);
		if (*count < LEFT_MAX)
			break;
	}
	return *count == 0 || find_left(p, found, count, e);
}

/* What was in use when a call failed some modules remove only after a new start. */
bool
probe_clean(struct probe *p, struct error *e)
{
	CK_ULONG count;

	if (!remove_left(p, &count, e))
		return false;
	if (count > 0) {
		probe_close(p);
		if (!probe_open(p, e) || !remove_left(p, &count, e))
			return false;
	}
	if (count > 0)
		return error_set(e, ERROR_CONFLICT,
		    "%lu objects are left on the token and cannot be removed: their label is '%s'",
		    count, p->label);
	probe_line(p, "left on the token", "nothing");
	return true;
}
