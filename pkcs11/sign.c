#include "pkcs11/sign.h"

#include <string.h>

#include "pkcs11/ckr.h"
#include "pkcs11/verify.h"

#define DIGEST_INFO_MAX (32 + DIGEST_MAX)

bool
sign_make_digest(
    enum sig_alg alg, struct bytes bytes, uint8_t digest[DIGEST_MAX], size_t *len, struct error *e)
{
	const EVP_MD *md = sig_alg_md(alg);
	unsigned int n = 0;

	if (md == NULL || EVP_Digest(bytes.p, bytes.len, digest, &n, md, NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "cannot digest what is to be signed");
	*len = n;
	return true;
}

static bool
pss_parameters(enum sig_alg alg, CK_RSA_PKCS_PSS_PARAMS *p)
{
	static const struct {
		enum sig_alg alg;
		CK_MECHANISM_TYPE hash;
		CK_ULONG mgf;
	} table[] = {
	    {SIG_PSS_SHA256, CKM_SHA256, CKG_MGF1_SHA256},
	    {SIG_PSS_SHA384, CKM_SHA384, CKG_MGF1_SHA384},
	    {SIG_PSS_SHA512, CKM_SHA512, CKG_MGF1_SHA512},
	};

	for (size_t i = 0; i < COUNT_OF(table); i++) {
		if (table[i].alg != alg)
			continue;
		*p = (CK_RSA_PKCS_PSS_PARAMS){
		    .hash_alg = table[i].hash,
		    .mgf = table[i].mgf,
		    .s_len = sig_alg_digest_len(alg),
		};
		return true;
	}
	return false;
}

/* A signature that was begun and not made is over only with its session. */
static void
drop_operation(struct session *s)
{
	struct error ignored = ERROR_INIT;
	bool fatal = s->fatal;

	s->fatal = !session_renew(s, &ignored) || fatal;
}

/* A token that keeps CKA_ALWAYS_AUTHENTICATE, and does not know what it means, knows no
 * such login. */
static bool
is_unknown_login(CK_RV rv)
{
	return rv == CKR_USER_TYPE_INVALID || rv == CKR_OPERATION_NOT_INITIALIZED ||
	       rv == CKR_USER_ALREADY_LOGGED_IN || rv == CKR_FUNCTION_NOT_SUPPORTED;
}

/* The PIN for this one signature. */
static bool
login_for_key(struct session *s, struct error *e)
{
	CK_RV rv;

	rv = s->f->C_Login(s->handle, CKU_CONTEXT_SPECIFIC, (unsigned char *)(uintptr_t)s->pin.p,
	    (CK_ULONG)s->pin.len);
	if (rv == CKR_OK || is_unknown_login(rv))
		return true;
	s->pin_refused = ckr_class(rv) == CKR_CLASS_PIN;
	if (s->pin_refused)
		(void)error_set(e, ERROR_DENIED, "the token refused the PIN for a signature");
	else
		(void)session_error(s, rv, e, "the token does not take the PIN for a signature");
	drop_operation(s);
	return false;
}

static bool
fail_without_pin(struct session *s, struct error *e)
{
	drop_operation(s);
	return error_set(e, ERROR_UNAVAILABLE,
	    "the key wants the PIN for each signature (CKA_ALWAYS_AUTHENTICATE): its token needs "
	    "access: operation");
}

static bool
sign_raw(struct session *s, const struct key *key, CK_MECHANISM *mechanism, struct bytes in,
    uint8_t *out, size_t size, size_t *len, struct error *e)
{
	CK_ULONG n = (CK_ULONG)size;
	CK_RV rv;

	rv = s->f->C_SignInit(s->handle, mechanism, key->private_key);
	if (rv != CKR_OK)
		return session_error(s, rv, e, "the token does not begin a signature");
	if (key->always_authenticate && s->pin.len > 0 && !login_for_key(s, e))
		return false;
	rv = s->f->C_Sign(s->handle, (unsigned char *)(uintptr_t)in.p, (CK_ULONG)in.len, out, &n);
	if (rv == CKR_USER_NOT_LOGGED_IN && key->always_authenticate && s->pin.len == 0)
		return fail_without_pin(s, e);
	if (rv != CKR_OK)
		return session_error(s, rv, e, "the token does not sign");
	*len = n;
	return true;
}

static bool
sign_rsa(struct session *s, const struct key *key, enum sig_alg alg, struct bytes digest,
    uint8_t *signature, size_t *len, struct error *e)
{
	CK_MECHANISM mechanism = {CKM_RSA_PKCS, NULL, 0};
	struct bytes prefix = sig_alg_digest_info(alg), in = digest;
	uint8_t info[DIGEST_INFO_MAX];
	CK_RSA_PKCS_PSS_PARAMS pss;

	if (pss_parameters(alg, &pss)) {
		mechanism = (CK_MECHANISM){CKM_RSA_PKCS_PSS, &pss, sizeof pss};
	} else {
		if (prefix.len == 0 || prefix.len + digest.len > sizeof info)
			return error_set(
			    e, ERROR_INTERNAL, "no DigestInfo for %s", sig_alg_name(alg));
		memcpy(info, prefix.p, prefix.len);
		memcpy(info + prefix.len, digest.p, digest.len);
		in = (struct bytes){info, prefix.len + digest.len};
	}
	return sign_raw(s, key, &mechanism, in, signature, SIG_MAX, len, e);
}

static bool
sign_ecdsa(struct session *s, const struct key *key, struct bytes digest, uint8_t *signature,
    size_t *len, struct error *e)
{
	CK_MECHANISM mechanism = {CKM_ECDSA, NULL, 0};
	size_t field_len = key_alg_field_len(key->alg), raw_len = 0;
	uint8_t raw[256], buf[256];
	struct bytes der;

	/* FIPS 186-5 6.4.1 takes the leftmost bits; not every module does it. */
	if (digest.len > field_len)
		digest.len = field_len;
	if (!sign_raw(s, key, &mechanism, digest, raw, sizeof raw, &raw_len, e))
		return false;
	if (raw_len != 2 * field_len)
		return error_set(e, ERROR_INTERNAL,
		    "the token made an ECDSA signature of %zu octets instead of %zu", raw_len,
		    2 * field_len);
	if (!ecdsa_signature_from_raw((struct bytes){raw, raw_len}, buf, sizeof buf, &der, e))
		return false;
	memcpy(signature, der.p, der.len);
	*len = der.len;
	return true;
}

/* RFC 8410 6: the 64 octets as they are; parameters would mean another variant. */
static bool
sign_eddsa(struct session *s, const struct key *key, struct bytes message, uint8_t *signature,
    size_t *len, struct error *e)
{
	CK_MECHANISM mechanism = {CKM_EDDSA, NULL, 0};

	if (!sign_raw(s, key, &mechanism, message, signature, SIG_MAX, len, e))
		return false;
	return *len == key_alg_sig_max(key->alg) ||
	       error_set(
		   e, ERROR_INTERNAL, "the token made an Ed25519 signature of %zu octets", *len);
}

size_t
sign_trial_len(enum sig_alg alg)
{
	size_t len = sig_alg_digest_len(alg);

	return len > 0 ? len : DIGEST_MAX;
}

bool
sign_digest(struct session *s, const struct key *key, enum sig_alg alg, struct bytes digest,
    uint8_t signature[SIG_MAX], size_t *len, struct error *e)
{
	struct error why = ERROR_INIT;
	bool ok;

	if (!sig_alg_fits_key(alg, key->alg))
		return error_set(e, ERROR_DENIED, "a key %s cannot sign with %s",
		    key_alg_name(key->alg), sig_alg_name(alg));
	if (key_alg_is_rsa(key->alg))
		ok = sign_rsa(s, key, alg, digest, signature, len, e);
	else if (key->alg == KEY_ED25519)
		ok = sign_eddsa(s, key, digest, signature, len, e);
	else
		ok = sign_ecdsa(s, key, digest, signature, len, e);
	if (!ok)
		return false;
	if (verify_made(key, alg, digest, (struct bytes){signature, *len}, &why))
		return true;
	/* That is no fault of the request. Who does not sign rightly is opened anew. */
	s->fatal = true;
	return error_set(e, ERROR_UNAVAILABLE,
	    "the token made a signature that does not verify with its own public key: %s",
	    why.text);
}
