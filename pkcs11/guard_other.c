/* Rules for CRLs, and for the key's own request. */

#include <string.h>

#include "daemon/x509/attestation.h"
#include "daemon/x509/name.h"
#include "pkcs11/guard_int.h"

/* ---- CRLs. Issuer, key identifier, algorithm, entries and extensions are
 * checked as they stream by (crl_check.h), under the name of the first rule. */

static bool
check_crl(struct guard_case *g, struct error *why)
{
	return g->crl != NULL || guard_no(why, "it was not checked to its end");
}

static bool
check_crl_installed(struct guard_case *g, struct error *why)
{
	return g->key->installed ||
	       guard_no(why, "the signer has not seen the CA's own certificate: install it first "
			     "(chancery ca install)");
}

static bool
check_this_update(struct guard_case *g, struct error *why)
{
	if (g->crl->this_update > g->r->now + GUARD_AHEAD_MAX_S)
		return guard_no(why, "thisUpdate is more than %d s ahead of the signer's clock",
		    GUARD_AHEAD_MAX_S);
	return g->crl->this_update >= g->r->now - GUARD_AGE_MAX_S ||
	       error_set(why, ERROR_CONFLICT,
		   "thisUpdate is more than %d days old: make the CRL anew",
		   GUARD_AGE_MAX_S / 86400);
}

static bool
check_next_update(struct guard_case *g, struct error *why)
{
	return !g->key->installed || g->crl->next_update <= g->key->not_after ||
	       guard_no(why, "nextUpdate is later than notAfter of the CA's own certificate");
}

/* No policy lets a CRL live longer, and an old one hides what is revoked. */
static bool
check_crl_life(struct guard_case *g, struct error *why)
{
	return g->crl->next_update - g->crl->this_update <= GUARD_CRL_LIFE_MAX_S ||
	       guard_no(why, "from thisUpdate to nextUpdate it is more than %lld days",
		   GUARD_CRL_LIFE_MAX_S / 86400);
}

static const struct guard_rule crl_rules[] = {
    {"crl", "RFC 5280 5", check_crl, true},
    {"crl-installed", "RFC 5280 6.3; limits, ca-install", check_crl_installed, false},
    {"this-update", "RFC 5280 5.1.2.4", check_this_update, false},
    {"next-update", "RFC 5280 5.1.2.5", check_next_update, false},
    {"crl-life", "RFC 5280 5.1.2.5", check_crl_life, false},
};

const struct guard_table guard_crl_table = {"CRL", crl_rules, COUNT_OF(crl_rules)};

/* ---- the key's own request */

static bool
take_own_request(struct guard_case *g, struct error *why)
{
	return csr_info_parse(g->r->tbs, &g->csr, why);
}

static bool
check_own_key(struct guard_case *g, struct error *why)
{
	uint8_t digest[32];

	if (!spki_sha256(&g->csr.spki, digest, why))
		return false;
	return memcmp(digest, g->key->spki_sha256, sizeof digest) == 0 ||
	       guard_no(why, "the public key in it is not the key's own");
}

static bool
check_own_subject(struct guard_case *g, struct error *why)
{
	return bytes_equal(g->csr.subject, (struct bytes){g->l->subject, g->l->subject_len}) ||
	       guard_no(why, "the subject in it is not the key's own");
}

/* A certificate for a retired key would only be one to revoke; that it is on its token can
 * be proved all the same. */
static bool
check_own_use(struct guard_case *g, struct error *why)
{
	return g->l->retired == LIMITS_IN_USE || attestation_is(g->r->tbs, &g->csr) ||
	       guard_no(why, "operators retired the %s: it gets no certificate any more",
		   limits_retired_word(g->l->retired));
}

/* extensionRequest is the one attribute that we write, but for the proof that the key is
 * on its token. */
static bool
check_own_attributes(struct guard_case *g, struct error *why)
{
	return g->csr.attribute_count == (g->csr.extensions.len > 0 ? 1 : 0) ||
	       attestation_is(g->r->tbs, &g->csr) ||
	       guard_no(why, "it has an attribute that is not extensionRequest");
}

/* A parent may copy what is asked for. */
static bool
check_own_wishes(struct guard_case *g, struct error *why)
{
	struct extension_iter it;
	struct extension x;

	extension_iter_init(&it, g->csr.extensions);
	while (extension_iter_next(&it, &x)) {
		if (!bytes_equal(x.oid, oid_basic_constraints) &&
		    !bytes_equal(x.oid, oid_key_usage) &&
		    !bytes_equal(x.oid, oid_subject_key_identifier))
			return guard_no(why, "it asks for more than basicConstraints, keyUsage and "
					     "subjectKeyIdentifier");
	}
	if ((g->csr.key_usage & ~(KU_KEY_CERT_SIGN | KU_CRL_SIGN)) != 0)
		return guard_no(why, "it asks for other key usages than keyCertSign and cRLSign");
	return g->csr.extensions.len == 0 || g->l->path_length < 0 ||
	       (g->csr.path_length >= 0 && g->csr.path_length <= g->l->path_length) ||
	       guard_no(
		   why, "it asks for a longer path than the %d of the limits", g->l->path_length);
}

static const struct guard_rule csr_rules[] = {
    {"own-request", "RFC 2986 4.1", take_own_request, true},
    {"own-key", "RFC 2986 3", check_own_key, false},
    {"own-subject", "RFC 2986 4.1; limits, subject", check_own_subject, false},
    {"own-use", "limits, retired", check_own_use, false},
    {"own-attributes", "RFC 2986 4.1", check_own_attributes, false},
    {"own-wishes", "RFC 5280 4.2; limits, path-length", check_own_wishes, false},
};

const struct guard_table guard_csr_table = {
    "the key's own request", csr_rules, COUNT_OF(csr_rules)};
