#ifndef CHANCERY_PUBLISH_NAMED_URL_H
#define CHANCERY_PUBLISH_NAMED_URL_H

/* The URIs that certificates and CRLs name for CRLs and for issuers' certificates. What
 * cannot be read names none; a URI with a NUL, or of PUBLISH_URL_MAX octets and more, is none. */

#include "daemon/publish/job.h"
#include "daemon/x509/cert.h"

typedef void named_url_fn(const char *url, enum artifact_kind kind, void *arg);

/* caIssuers, cRLDistributionPoints and freshestCRL. */
void named_urls_of_certificate(const struct certificate *c, named_url_fn *give, void *arg);
/* The value of an issuingDistributionPoint (RFC 5280 5.2.5), and of an extension like
 * cRLDistributionPoints (4.2.1.13); an empty one names nothing. */
void named_urls_of_idp(struct bytes idp, named_url_fn *give, void *arg);
void named_urls_of_points(
    struct bytes value, enum artifact_kind kind, named_url_fn *give, void *arg);

#endif
