/* The URIs that a certificate names for its issuer's CRLs and certificate. */

#include <string.h>

#include "daemon/cli/doctor.h"
#include "daemon/x509/der.h"
#include "daemon/x509/extension.h"
#include "daemon/x509/oid.h"

static void
give_uri(struct bytes uri, enum artifact_kind kind, doctor_url_fn *look, void *arg)
{
	char text[PUBLISH_URL_MAX];

	/* What is no text is no place to look at. */
	if (uri.len >= sizeof text || memchr(uri.p, '\0', uri.len) != NULL)
		return;
	memcpy(text, uri.p, uri.len);
	text[uri.len] = '\0';
	look(text, kind, arg);
}

/* DistributionPoint [0] DistributionPointName [0] fullName: GeneralNames. */
void
doctor_each_point_url(struct bytes value, enum artifact_kind kind, doctor_url_fn *look, void *arg)
{
	struct der points, point, name, names;
	struct bytes uri;

	if (value.len == 0 || !der_enter_only(value, DER_SEQUENCE, &points))
		return;
	while (der_enter(&points, DER_SEQUENCE, &point)) {
		if (!der_enter(&point, DER_CONTEXT_CONSTRUCTED(0), &name) ||
		    !der_enter(&name, DER_CONTEXT_CONSTRUCTED(0), &names))
			continue;
		while (der_read(&names, DER_CONTEXT(6), &uri))
			give_uri(uri, kind, look, arg);
	}
}

/* IssuingDistributionPoint: [0] DistributionPointName [0] fullName, and flags. */
void
doctor_each_idp_url(struct bytes idp, doctor_url_fn *look, void *arg)
{
	struct der parts, name, names;
	struct bytes uri;

	if (idp.len == 0 || !der_enter_only(idp, DER_SEQUENCE, &parts) ||
	    !der_enter(&parts, DER_CONTEXT_CONSTRUCTED(0), &name) ||
	    !der_enter(&name, DER_CONTEXT_CONSTRUCTED(0), &names))
		return;
	while (der_read(&names, DER_CONTEXT(6), &uri))
		give_uri(uri, ARTIFACT_CRL, look, arg);
}

static void
each_issuer(struct bytes value, doctor_url_fn *look, void *arg)
{
	struct der list, access;
	struct bytes method, uri;

	if (!der_enter_only(value, DER_SEQUENCE, &list))
		return;
	while (der_enter(&list, DER_SEQUENCE, &access)) {
		if (der_read_oid(&access, &method) && bytes_equal(method, oid_ad_ca_issuers) &&
		    der_read(&access, DER_CONTEXT(6), &uri))
			give_uri(uri, ARTIFACT_CA_CERTIFICATE, look, arg);
	}
}

void
doctor_each_url(const struct certificate *c, doctor_url_fn *look, void *arg)
{
	struct extension x;

	if (c->extensions.len == 0)
		return;
	if (extension_find(c->extensions, oid_authority_info_access, &x))
		each_issuer(x.value, look, arg);
	if (extension_find(c->extensions, oid_crl_distribution_points, &x))
		doctor_each_point_url(x.value, ARTIFACT_CRL, look, arg);
	if (extension_find(c->extensions, oid_freshest_crl, &x))
		doctor_each_point_url(x.value, ARTIFACT_DELTA_CRL, look, arg);
}
