/* What follows from a CA policy: the CA's own certificate, its request, the
 * context of its certificates. */

#include <stdlib.h>
#include <string.h>

#include "daemon/x509/capolicy.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/csr.h"

#define OWN_EXTENSIONS_MAX 8192 /* octets of the extensions of a CA's own certificate */

/* The key must be what the policy asked the token for. */
static bool
check_key(const struct capolicy *policy, struct bytes der, struct spki *spki, struct error *err)
{
	if (!spki_parse(der, spki, err))
		return false;
	if (spki_key_alg(spki) != policy->key_alg)
		return error_set(err, ERROR_INPUT,
		    "the CA's key is none of type %s, as its policy says",
		    key_alg_name(policy->key_alg));
	return true;
}

static bool
own_extensions(const struct capolicy *policy, const struct spki *spki, bool with_policies,
    struct bytes authority_key_id, uint8_t buf[OWN_EXTENSIONS_MAX], struct bytes *out,
    struct error *err)
{
	uint8_t ski[SKI_LEN];
	struct extensions x;

	if (!spki_ski(spki, ski, err))
		return false;
	extensions_init(&x, buf, OWN_EXTENSIONS_MAX);
	extensions_add_basic_constraints(&x, true, policy->path_length, true);
	extensions_add_key_usage(&x, KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	extensions_add_subject_key_identifier(&x, (struct bytes){ski, sizeof ski});
	if (authority_key_id.len > 0)
		extensions_add_authority_key_identifier(&x, authority_key_id);
	if (with_policies && policy->policy_count > 0)
		extensions_add_certificate_policies(&x, policy->policies, policy->policy_count);
	if (!extensions_ok(&x))
		return error_set(err, ERROR_LIMIT,
		    "the extensions of the CA's own certificate take more than %d octets",
		    OWN_EXTENSIONS_MAX);
	*out = extensions_result(&x);
	return true;
}

bool
capolicy_build_root(const struct capolicy *policy, struct bytes spki, struct bytes serial,
    int64_t now, int64_t until, void *buf, size_t size, struct bytes *tbs, int64_t *not_after,
    struct error *err)
{
	uint8_t extensions[OWN_EXTENSIONS_MAX];
	struct tbs_certificate t = {
	    .serial = serial,
	    .sig_alg = policy->sig_alg,
	    .issuer = policy->subject,
	    .not_before = now,
	    /* Both ends belong to the validity (RFC 5280 4.1.2.5). */
	    .not_after = now + policy->validity_s - 1,
	    .subject = policy->subject,
	    .spki = spki,
	};
	struct spki key;

	if (t.not_after > until)
		t.not_after = until;
	if (policy->kind != CA_ROOT)
		return error_set(err, ERROR_INPUT,
		    "the CA's policy says 'kind: subordinate'; only a root signs its own "
		    "certificate");
	if (!check_key(policy, spki, &key, err) ||
	    !own_extensions(
		policy, &key, true, (struct bytes){0}, extensions, &t.extensions, err) ||
	    !tbs_certificate_build(&t, buf, size, tbs, err))
		return false;
	if (not_after != NULL)
		*not_after = t.not_after;
	return true;
}

bool
capolicy_build_rollover(const struct capolicy *policy, enum sig_alg sig_alg, struct bytes spki,
    struct bytes authority_key_id, struct bytes serial, int64_t not_before, int64_t not_after,
    void *buf, size_t size, struct bytes *tbs, struct error *err)
{
	uint8_t extensions[OWN_EXTENSIONS_MAX];
	struct tbs_certificate t = {
	    .serial = serial,
	    .sig_alg = sig_alg,
	    .issuer = policy->subject,
	    .not_before = not_before,
	    .not_after = not_after,
	    .subject = policy->subject,
	    .spki = spki,
	};
	struct spki key;

	return check_key(policy, spki, &key, err) &&
	       own_extensions(
		   policy, &key, true, authority_key_id, extensions, &t.extensions, err) &&
	       tbs_certificate_build(&t, buf, size, tbs, err);
}

bool
capolicy_build_request(const struct capolicy *policy, struct bytes spki, void *buf, size_t size,
    struct bytes *info, struct error *err)
{
	uint8_t extensions[OWN_EXTENSIONS_MAX];
	struct bytes asked = {0};
	struct spki key;

	return check_key(policy, spki, &key, err) &&
	       own_extensions(policy, &key, false, (struct bytes){0}, extensions, &asked, err) &&
	       csr_info_build(policy->subject, spki, asked, buf, size, info, err);
}

bool
capolicy_check_certificate(const struct capolicy *policy, struct bytes spki,
    const struct certificate *c, struct error *err)
{
	uint8_t ski[SKI_LEN];

	if (!bytes_equal(c->subject, policy->subject))
		return error_set(err, ERROR_INPUT,
		    "the certificate's subject is not byte for byte the one this CA asked for "
		    "(%s); its "
		    "CRLs and certificates would not chain to it (RFC 5280 4.1.2.6)",
		    policy->subject_text);
	if (!bytes_equal(c->spki.whole, spki))
		return error_set(err, ERROR_INPUT,
		    "the certificate is for another key than the one this CA has on its token");
	if (!c->has_basic_constraints || !c->ca)
		return error_set(err, ERROR_INPUT,
		    "the certificate is none of a CA: basicConstraints does not say cA (RFC 5280 "
		    "4.2.1.9)");
	if (c->has_key_usage &&
	    (c->key_usage & (KU_KEY_CERT_SIGN | KU_CRL_SIGN)) != (KU_KEY_CERT_SIGN | KU_CRL_SIGN))
		return error_set(err, ERROR_INPUT,
		    "the certificate's keyUsage lacks keyCertSign or cRLSign, both of which this "
		    "CA "
		    "needs (RFC 5280 4.2.1.3)");
	if (!spki_ski(&c->spki, ski, err))
		return false;
	if (!bytes_equal(c->subject_key_id, (struct bytes){ski, sizeof ski}))
		return error_set(err, ERROR_INPUT,
		    "the certificate's subject key identifier is not the one that the request asks "
		    "for; let the parent CA copy it from the request, or compute it as RFC 5280 "
		    "4.2.1.2 (1) says");
	return true;
}

/* Where certificates say that things are. */
struct context_urls {
	struct capolicy_urls cdp[1 + CAPOLICY_REASON_SET_MAX];
	struct capolicy_urls freshest[1 + CAPOLICY_REASON_SET_MAX];
	struct distribution_point cdp_points[1 + CAPOLICY_REASON_SET_MAX];
	struct distribution_point freshest_points[1 + CAPOLICY_REASON_SET_MAX];
	size_t count;
	struct capolicy_urls aia, ocsp;
};

/* The CRL of these names. */
static bool
add_points(const struct capolicy *policy, const struct location_names *names, unsigned reasons,
    struct context_urls *u, struct error *err)
{
	struct capolicy_urls *cdp = &u->cdp[u->count], *freshest = &u->freshest[u->count];

	if (!capolicy_cdp_urls(policy, LOCATION_IN_CERTIFICATES, names, cdp, err) ||
	    !capolicy_cdp_urls(policy, LOCATION_IN_CERTIFICATE_FRESHEST, names, freshest, err))
		return false;
	u->cdp_points[u->count] = (struct distribution_point){cdp->urls, cdp->count, reasons};
	u->freshest_points[u->count++] = (struct distribution_point){
	    freshest->urls, freshest->count, reasons};
	return true;
}

bool
capolicy_context(const struct capolicy *policy, const struct location_names *names,
    const char *const *labels, struct bytes certificate, struct ca_context **out, struct error *err)
{
	struct context_urls *urls = calloc(1, sizeof *urls);
	struct ca_context_source source = {.certificate = certificate, .sig_alg = policy->sig_alg};
	struct location_names of = *names;
	bool ok;

	if (urls == NULL)
		return error_set(err, ERROR_SYSTEM, "no memory for the URLs of CA %s", names->ca);
	/* That of all reasons first: a client that does not read reasons takes the first. */
	ok = add_points(policy, &of, 0, urls, err);
	for (size_t i = 0; ok && labels != NULL && i < policy->reason_count; i++) {
		of.partition = labels[i];
		ok = add_points(policy, &of, policy->reasons[i].reasons, urls, err);
	}
	ok = ok && capolicy_aia_urls(policy, LOCATION_IN_CERTIFICATES, names, &urls->aia, err) &&
	     capolicy_aia_urls(policy, LOCATION_AS_OCSP, names, &urls->ocsp, err);
	if (ok) {
		source.cdp = urls->cdp_points;
		source.freshest = urls->freshest_points;
		source.cdp_count = source.freshest_count = urls->count;
		source.ca_issuers = urls->aia.urls;
		source.ca_issuer_count = urls->aia.count;
		source.ocsp = urls->ocsp.urls;
		source.ocsp_count = urls->ocsp.count;
		ok = ca_context_new(&source, out, err);
	}
	free(urls);
	return ok;
}
