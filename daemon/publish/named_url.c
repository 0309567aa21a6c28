#include "daemon/publish/named_url.h"

#include <string.h>

#include "daemon/x509/der.h"
#include "daemon/x509/extension.h"
#include "daemon/x509/oid.h"

static void
give_uri(struct bytes uri, enum artifact_kind kind, named_url_fn *give, void *arg)
{
	char text[PUBLISH_URL_MAX];

	/* What is no text is no place to look at. */
	if (uri.len >= sizeof text || memchr(uri.p, '\0', uri.len) != NULL)
		return;
	memcpy(text, uri.p, uri.len);
	text[uri.len] = '\0';
	give(text, kind, arg);
}

/* GeneralNames: one of another form says the same place in another way. */
static void
give_uris(struct der names, enum artifact_kind kind, named_url_fn *give, void *arg)
{
	struct bytes content;
	uint8_t tag;

	while (!der_end(&names) && der_read_any(&names, &tag, &content, NULL))
		if (tag == DER_CONTEXT(6))
			give_uri(content, kind, give, arg);
}

/* DistributionPoint [0] DistributionPointName [0] fullName: GeneralNames. */
void
named_urls_of_points(struct bytes value, enum artifact_kind kind, named_url_fn *give, void *arg)
{
	struct der points, point, name, names;

	if (value.len == 0 || !der_enter_only(value, DER_SEQUENCE, &points))
		return;
	while (der_enter(&points, DER_SEQUENCE, &point)) {
		if (!der_enter(&point, DER_CONTEXT_CONSTRUCTED(0), &name) ||
		    !der_enter(&name, DER_CONTEXT_CONSTRUCTED(0), &names))
			continue;
		give_uris(names, kind, give, arg);
	}
}

/* IssuingDistributionPoint: [0] DistributionPointName [0] fullName, and flags. */
void
named_urls_of_idp(struct bytes idp, named_url_fn *give, void *arg)
{
	struct der parts, name, names;

	if (idp.len == 0 || !der_enter_only(idp, DER_SEQUENCE, &parts) ||
	    !der_enter(&parts, DER_CONTEXT_CONSTRUCTED(0), &name) ||
	    !der_enter(&name, DER_CONTEXT_CONSTRUCTED(0), &names))
		return;
	give_uris(names, ARTIFACT_CRL, give, arg);
}

static void
each_issuer(struct bytes value, named_url_fn *give, void *arg)
{
	struct der list, access;
	struct bytes method, uri;

	if (!der_enter_only(value, DER_SEQUENCE, &list))
		return;
	while (der_enter(&list, DER_SEQUENCE, &access)) {
		if (der_read_oid(&access, &method) && bytes_equal(method, oid_ad_ca_issuers) &&
		    der_read(&access, DER_CONTEXT(6), &uri))
			give_uri(uri, ARTIFACT_CA_CERTIFICATE, give, arg);
	}
}

void
named_urls_of_certificate(const struct certificate *c, named_url_fn *give, void *arg)
{
	struct extension x;

	if (c->extensions.len == 0)
		return;
	if (extension_find(c->extensions, oid_authority_info_access, &x))
		each_issuer(x.value, give, arg);
	if (extension_find(c->extensions, oid_crl_distribution_points, &x))
		named_urls_of_points(x.value, ARTIFACT_CRL, give, arg);
	if (extension_find(c->extensions, oid_freshest_crl, &x))
		named_urls_of_points(x.value, ARTIFACT_DELTA_CRL, give, arg);
}
