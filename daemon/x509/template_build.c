/* From template, request and CA to the to-be-signed certificate. */

#include <string.h>

#include "daemon/x509/name.h"
#include "daemon/x509/template_int.h"

/*
 * What a key can be used for: RSA encrypts keys and data but agrees on nothing
 * (RFC 3279 2.3.1); an EC key agrees but must not be said to encipher (RFC 8813
 * 3); Ed25519 only signs (RFC 8410 5).
 */
uint16_t
template_usage_for(enum template_key key, uint16_t usage)
{
	const uint16_t agreement = KU_KEY_AGREEMENT | KU_ENCIPHER_ONLY | KU_DECIPHER_ONLY;
	const uint16_t encipherment = KU_KEY_ENCIPHERMENT | KU_DATA_ENCIPHERMENT;

	switch (key) {
	case TEMPLATE_RSA:
		return usage & (uint16_t)~agreement;
	case TEMPLATE_EC:
		return usage & (uint16_t)~encipherment;
	default:
		return usage & (uint16_t) ~(agreement | encipherment);
	}
}

bool
template_encode_fixed(struct template *t, struct error *err)
{
	for (int k = 0; k < TEMPLATE_KEY_COUNT; k++) {
		struct extensions x;

		if (!t->key_allowed[k])
			continue;
		extensions_init(&x, t->fixed_buf[k], TEMPLATE_FIXED_MAX);
		if (t->has_basic_constraints)
			extensions_add_basic_constraints(&x, t->ca, t->path_length, true);
		extensions_add_key_usage(
		    &x, template_usage_for((enum template_key)k, t->key_usage));
		if (t->purpose_count > 0)
			extensions_add_extended_key_usage(&x, t->purposes, t->purpose_count, false);
		if (t->policy_count > 0)
			extensions_add_certificate_policies(&x, t->policies, t->policy_count);
		if (!extensions_ok(&x))
			return error_set(err, ERROR_LIMIT,
			    "template '%s': its fixed extensions take more than %d octets", t->name,
			    TEMPLATE_FIXED_MAX);
		t->fixed[k] = extensions_result(&x);
	}
	return true;
}

bool
template_validity(const struct template *t, const struct ca_context *ca, int64_t now,
    int64_t *not_before, int64_t *not_after, struct error *err)
{
	/* Both ends belong to the validity (RFC 5280 4.1.2.5). */
	int64_t last = now + t->validity_s - 1;

	if (now < ca->not_before || now > ca->not_after)
		return error_set(err, ERROR_CONFLICT,
		    "the CA's own certificate %s; a certificate it issues now would never be valid",
		    now > ca->not_after ? "has expired" : "is not valid yet");
	if (last > ca->not_after) {
		if (!t->cut)
			return error_set(err, ERROR_CONFLICT,
			    "template '%s', exceed_issuer: the certificate would outlive the CA's "
			    "own; "
			    "renew the CA, or let the template cut",
			    t->name);
		last = ca->not_after;
	}
	*not_before = now;
	*not_after = last;
	return true;
}

/* A certificate with the CA's own name or key could pass for the CA. */
static bool
check_impostor(const struct template_order *o, struct error *err)
{
	if (bytes_equal(o->csr->subject, o->ca->issuer))
		return error_set(
		    err, ERROR_INPUT, "the request's subject is the name of the issuing CA itself");
	if (bytes_equal(o->csr->spki.whole, o->ca->spki))
		return error_set(
		    err, ERROR_INPUT, "the request's key is the key of the issuing CA itself");
	return true;
}

/* Prebuilt ones are copied, only SKI and SAN are encoded anew. */
static bool
assemble_extensions(
    const struct template_order *o, uint8_t *buf, size_t size, struct bytes *out, struct error *err)
{
	struct bytes fixed = o->t->fixed[template_key_of(&o->csr->spki)];
	struct bytes shared = o->ca->extensions;
	uint8_t ski[SKI_LEN];
	struct extensions x;
	struct bytes own;

	if (!spki_ski(&o->csr->spki, ski, err))
		return false;
	if (fixed.len + shared.len > size)
		return error_set(err, ERROR_LIMIT, "the certificate's extensions are too long");
	memcpy(buf, fixed.p, fixed.len);
	memcpy(buf + fixed.len, shared.p, shared.len);
	extensions_init(&x, buf + fixed.len + shared.len, size - fixed.len - shared.len);
	extensions_add_subject_key_identifier(&x, (struct bytes){ski, sizeof ski});
	if (o->csr->name_count > 0)
		extensions_add_subject_alt_name(
		    &x, o->csr->names, o->csr->name_count, name_is_empty(o->csr->subject));
	if (!extensions_ok(&x))
		return error_set(err, ERROR_LIMIT,
		    "the certificate's extensions take more than %zu octets", size);
	own = extensions_result(&x);
	*out = (struct bytes){buf, fixed.len + shared.len + own.len};
	return true;
}

bool
template_build(const struct template_order *o, void *buf, size_t size, struct template_built *built,
    struct error *err)
{
	uint8_t extension_buf[EXTENSIONS_MAX];
	struct tbs_certificate tbs = {
	    .serial = o->serial,
	    .sig_alg = o->ca->sig_alg,
	    .issuer = o->ca->issuer,
	    .subject = o->csr->subject,
	    .spki = o->csr->spki.whole,
	};

	if (!template_check_csr(o->t, o->csr, err) || !template_check_ca(o->t, o->ca, err) ||
	    !check_impostor(o, err) ||
	    !template_validity(o->t, o->ca, o->now, &tbs.not_before, &tbs.not_after, err) ||
	    !assemble_extensions(o, extension_buf, sizeof extension_buf, &tbs.extensions, err) ||
	    !tbs_certificate_build(&tbs, buf, size, &built->tbs, err))
		return false;
	built->not_before = tbs.not_before;
	built->not_after = tbs.not_after;
	return true;
}
