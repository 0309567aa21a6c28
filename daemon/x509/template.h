#ifndef CHANCERY_X509_TEMPLATE_H
#define CHANCERY_X509_TEMPLATE_H

/*
 * Certificate templates: what may be asked for, and what the certificate then
 * says. The format is YAML (chancery-template(5)); a template is parsed once,
 * its fixed extensions are encoded then, and it never changes afterwards.
 * Several threads may use one.
 *
 * Who can decide what: subject, alternative names and key come from the request,
 * within the template's rules; all other contents come from the template and
 * the CA.
 */

#include "daemon/core/error.h"
#include "daemon/x509/ca_context.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/csr.h"

#define TEMPLATE_TEXT_MAX 65536 /* bytes of YAML */
#define TEMPLATE_NAME_MAX 64	/* bytes of its name: [a-z0-9][a-z0-9-]* */
#define TEMPLATE_VALIDITY_MAX_S (50LL * 365 * 86400)
#define TEMPLATE_POLICY_MAX 16

struct template;

/* Parses YAML text. source names it in errors ("FILE:LINE:COL: ..."). *out is
 * owned by the caller. ERROR_CONFIG, ERROR_LIMIT. */
bool template_parse(const char *text, size_t len, const char *source, struct template **out,
    struct error *err) MUST_CHECK;
void template_free(struct template *t); /* NULL is legal */

/* Borrowed. */
const char *template_name(const struct template *t);
/* True for approval: automatic, so that no operator decides. */
bool template_is_automatic(const struct template *t);
/* True when it makes CA certificates. */
bool template_makes_ca(const struct template *t);
/* The partition of the CA's CRLs that its certificates are for; "": none. */
const char *template_crl_attribute(const struct template *t);
int64_t template_validity_s(const struct template *t);
/* How long before its end a certificate may be renewed; 0: not said. */
int64_t template_renewal_s(const struct template *t);

/* Checks a parsed request (its signature is csr_verify's business) against the
 * template: key, subject, alternative names, and that it asks for no power
 * that the template does not give. Errors are ERROR_INPUT and cite the rule:
 * "template 'tls-server', subject.allowed: ...". */
bool template_check_csr(
    const struct template *t, const struct csr *csr, struct error *err) MUST_CHECK;

/* Checks that this CA can issue by this template: path lengths (RFC 5280
 * 4.2.1.9), and for a CA certificate that there is still a path to give. */
bool template_check_ca(
    const struct template *t, const struct ca_context *ca, struct error *err) MUST_CHECK;

/* notBefore is now; notAfter the last second of the template's validity, or the
 * CA's own notAfter when that is earlier and the template cuts. Refused
 * (ERROR_CONFLICT) when the template says so, or when the CA's certificate is
 * not valid at now. */
bool template_validity(const struct template *t, const struct ca_context *ca, int64_t now,
    int64_t *not_before, int64_t *not_after, struct error *err) MUST_CHECK;

/* One certificate to build; everything is borrowed. */
struct template_order {
	const struct template *t;
	const struct csr *csr;
	const struct ca_context *ca;
	struct bytes serial; /* SERIAL_LEN octets */
	int64_t now;	     /* unix seconds: notBefore */
};

struct template_built {
	struct bytes tbs; /* points to the end of the caller's buffer */
	int64_t not_before, not_after;
};

/* Checks request and CA against the template, all over again, and encodes the
 * TBSCertificate into buf (CERTIFICATE_MAX octets always do). */
bool template_build(const struct template_order *order, void *buf, size_t size,
    struct template_built *built, struct error *err) MUST_CHECK;

#endif
