#include "daemon/x509/ca_context.h"

#include <stdlib.h>
#include <string.h>

static bool
check_certificate(const struct certificate *c, struct error *err)
{
	if (!c->has_basic_constraints || !c->ca)
		return error_set(err, ERROR_INPUT,
		    "the CA's certificate is none of a CA: basicConstraints does not say cA (RFC "
		    "5280 4.2.1.9)");
	if (c->has_key_usage && (c->key_usage & KU_KEY_CERT_SIGN) == 0)
		return error_set(err, ERROR_INPUT,
		    "the CA's certificate has a keyUsage without keyCertSign (RFC 5280 4.2.1.3)");
	if (c->subject_key_id.len == 0 || c->subject_key_id.len > CA_CONTEXT_KEY_ID_MAX)
		return error_set(err, ERROR_INPUT,
		    "the CA's certificate must have a subject key identifier of 1 to %d octets "
		    "(RFC "
		    "5280 4.2.1.2)",
		    CA_CONTEXT_KEY_ID_MAX);
	return true;
}

/* Copies b to *at and moves it on. */
static struct bytes
keep(uint8_t **at, struct bytes b)
{
	struct bytes kept = {*at, b.len};

	if (b.len > 0)
		memcpy(*at, b.p, b.len);
	*at += b.len;
	return kept;
}

static bool
encode_extensions(
    struct ca_context *ca, const struct ca_context_source *s, uint8_t *at, struct error *err)
{
	struct extensions x;

	extensions_init(&x, at, CA_CONTEXT_EXTENSIONS_MAX);
	extensions_add_authority_key_identifier(&x, ca->key_id);
	extensions_add_crl_distribution_points(&x, s->cdp, s->cdp_count);
	if (s->ca_issuer_count + s->ocsp_count > 0)
		extensions_add_authority_info_access(
		    &x, s->ca_issuers, s->ca_issuer_count, s->ocsp, s->ocsp_count);
	extensions_add_freshest_crl(&x, s->freshest, s->freshest_count);
	if (!extensions_ok(&x))
		return error_set(err, ERROR_LIMIT,
		    "the CA's URLs take more than %d octets of extensions",
		    CA_CONTEXT_EXTENSIONS_MAX);
	ca->extensions = extensions_result(&x);
	return true;
}

bool
ca_context_new(const struct ca_context_source *source, struct ca_context **out, struct error *err)
{
	struct ca_context *ca = NULL;
	struct certificate c;
	uint8_t *at;
	bool ok = false;

	*out = NULL;
	if (!certificate_parse(source->certificate, &c, err) || !check_certificate(&c, err))
		return false;
	if (!sig_alg_fits_key(source->sig_alg, spki_key_alg(&c.spki)))
		return error_set(err, ERROR_INPUT,
		    "the CA's key cannot sign with the policy's signature algorithm");
	ca = calloc(1, sizeof *ca);
	if (ca == NULL)
		return error_set(err, ERROR_SYSTEM, "out of memory");
	ca->memory = malloc(
	    c.subject.len + c.subject_key_id.len + c.spki.whole.len + CA_CONTEXT_EXTENSIONS_MAX);
	if (ca->memory == NULL) {
		(void)error_set(err, ERROR_SYSTEM, "out of memory");
		goto out;
	}
	at = ca->memory;
	ca->issuer = keep(&at, c.subject);
	ca->key_id = keep(&at, c.subject_key_id);
	ca->spki = keep(&at, c.spki.whole);
	ca->key_alg = spki_key_alg(&c.spki);
	ca->sig_alg = source->sig_alg;
	ca->not_before = c.not_before;
	ca->not_after = c.not_after;
	ca->path_length = c.path_length;
	if (!encode_extensions(ca, source, at, err))
		goto out;
	*out = ca;
	ca = NULL;
	ok = true;
out:
	ca_context_free(ca);
	return ok;
}

void
ca_context_free(struct ca_context *ca)
{
	if (ca == NULL)
		return;
	free(ca->memory);
	free(ca);
}
