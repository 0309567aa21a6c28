#include "pkcs11/ability.h"

#define MECHANISMS_MAX 1024

/* No key of a CA has fewer bits, so that a smaller upper bound is of octets: some
 * modules mistake the unit. */
#define BITS_MIN 256
#define RSA_BITS_MIN 1024

CK_MECHANISM_TYPE
ability_generator(enum key_alg alg)
{
	if (alg == KEY_ED25519)
		return CKM_EC_EDWARDS_KEY_PAIR_GEN;
	return key_alg_is_rsa(alg) ? CKM_RSA_PKCS_KEY_PAIR_GEN : CKM_EC_KEY_PAIR_GEN;
}

CK_MECHANISM_TYPE
ability_signer(enum sig_alg alg)
{
	switch (sig_alg_family(alg)) {
	case SIG_FAMILY_RSA:
		return CKM_RSA_PKCS;
	case SIG_FAMILY_PSS:
		return CKM_RSA_PKCS_PSS;
	case SIG_FAMILY_ECDSA:
		return CKM_ECDSA;
	case SIG_FAMILY_EDDSA:
		return CKM_EDDSA;
	default:
		return CK_UNAVAILABLE_INFORMATION;
	}
}

const char *
ability_mechanism_name(CK_MECHANISM_TYPE type)
{
	switch (type) {
	case CKM_RSA_PKCS_KEY_PAIR_GEN:
		return "CKM_RSA_PKCS_KEY_PAIR_GEN";
	case CKM_EC_KEY_PAIR_GEN:
		return "CKM_EC_KEY_PAIR_GEN";
	case CKM_RSA_PKCS:
		return "CKM_RSA_PKCS";
	case CKM_RSA_PKCS_PSS:
		return "CKM_RSA_PKCS_PSS";
	case CKM_ECDSA:
		return "CKM_ECDSA";
	case CKM_EC_EDWARDS_KEY_PAIR_GEN:
		return "CKM_EC_EDWARDS_KEY_PAIR_GEN";
	case CKM_EDDSA:
		return "CKM_EDDSA";
	default:
		return "a mechanism without a name here";
	}
}

static bool
is_listed(struct session *s, CK_MECHANISM_TYPE type, bool *found, struct error *e)
{
	CK_MECHANISM_TYPE list[MECHANISMS_MAX];
	CK_ULONG count = COUNT_OF(list);
	CK_RV rv = s->f->C_GetMechanismList(s->slot, list, &count);

	*found = false;
	if (rv == CKR_BUFFER_TOO_SMALL)
		return error_set(
		    e, ERROR_LIMIT, "the token has more than %d mechanisms", MECHANISMS_MAX);
	if (rv != CKR_OK)
		return session_error(s, rv, e, "the token does not list its mechanisms");
	for (CK_ULONG i = 0; i < count; i++)
		*found |= list[i] == type;
	return true;
}

/* *found is false when the token does not have the mechanism for that use. */
static bool
read_mechanism(struct session *s, CK_MECHANISM_TYPE type, CK_FLAGS use, CK_MECHANISM_INFO *info,
    bool *found, struct error *e)
{
	CK_RV rv;

	/* Both are asked: some modules have an answer about what they do not list. */
	if (!is_listed(s, type, found, e))
		return false;
	if (!*found)
		return true;
	rv = s->f->C_GetMechanismInfo(s->slot, type, info);
	/* Some modules give no flags at all. */
	*found = rv == CKR_OK && ((info->flags & use) != 0 || (info->flags & ~CKF_HW) == 0);
	if (rv == CKR_OK || rv == CKR_MECHANISM_INVALID)
		return true;
	return session_error(
	    s, rv, e, "cannot ask the token about %s", ability_mechanism_name(type));
}

static bool
is_within(CK_ULONG bits, bool rsa, CK_ULONG least, CK_ULONG most)
{
	if (most != 0 && most < (rsa ? RSA_BITS_MIN : BITS_MIN)) {
		least *= 8;
		most *= 8;
	}
	/* Modules that do not know say 0. */
	return bits >= least && (most == 0 || bits <= most);
}

bool
ability_check_key(struct session *s, enum key_alg alg, struct error *e)
{
	CK_MECHANISM_TYPE type = ability_generator(alg);
	CK_MECHANISM_INFO info = {0};
	bool found;

	if (!read_mechanism(s, type, CKF_GENERATE_KEY_PAIR, &info, &found, e))
		return false;
	if (!found)
		return error_set(e, ERROR_INPUT,
		    "the token cannot make a key %s: it has no %s; choose another token or key",
		    key_alg_name(alg), ability_mechanism_name(type));
	if (!is_within(
		key_alg_bits(alg), key_alg_is_rsa(alg), info.ulMinKeySize, info.ulMaxKeySize))
		return error_set(e, ERROR_INPUT,
		    "the token cannot make a key %s: its %s goes from %lu to %lu bits",
		    key_alg_name(alg), ability_mechanism_name(type), info.ulMinKeySize,
		    info.ulMaxKeySize);
	return true;
}

bool
ability_check_signature(struct session *s, enum sig_alg alg, struct error *e)
{
	CK_MECHANISM_TYPE type = ability_signer(alg);
	CK_MECHANISM_INFO info = {0};
	bool found;

	if (!read_mechanism(s, type, CKF_SIGN, &info, &found, e))
		return false;
	return found || error_set(e, ERROR_INPUT,
			    "the token cannot sign with %s: it has no %s; choose another token or "
			    "signature",
			    sig_alg_name(alg), ability_mechanism_name(type));
}
