#include "daemon/x509/cert.h"

#include "daemon/x509/derw.h"
#include "daemon/x509/name.h"

#define VERSION_3 2 /* RFC 5280 4.1.2.1 */

static bool
is_sequence(struct bytes b)
{
	struct der d;

	return b.len > 0 && der_enter_only(b, DER_SEQUENCE, &d);
}

/* What must hold of every certificate, whoever asks for it. */
static bool
check_parts(const struct tbs_certificate *t, struct error *err)
{
	if (sig_alg_der(t->sig_alg).len == 0)
		return error_set(err, ERROR_INTERNAL, "no signature algorithm was given");
	if (!is_sequence(t->issuer) || !is_sequence(t->subject) || !is_sequence(t->spki))
		return error_set(
		    err, ERROR_INTERNAL, "issuer, subject or public key is no DER SEQUENCE");
	if (t->not_after < t->not_before)
		return error_set(err, ERROR_INPUT, "notAfter is before notBefore");
	if (t->extensions.len > 0 && !extensions_check(t->extensions, "certificate", err))
		return false;
	return true;
}

/* INTEGER, positive, at most 20 octets (RFC 5280 4.1.2.2). */
static bool
put_serial(struct derw *w, struct bytes serial, struct error *err)
{
	size_t mark = derw_mark(w);
	bool zero = true;

	for (size_t i = 0; i < serial.len; i++)
		zero = zero && serial.p[i] == 0;
	derw_unsigned_octets(w, DER_INTEGER, serial);
	if (zero || (derw_ok(w) && derw_mark(w) - mark > 2 + SERIAL_LEN))
		return error_set(err, ERROR_INPUT,
		    "a serial number must be positive and at most %d octets long (RFC 5280 "
		    "4.1.2.2)",
		    SERIAL_LEN);
	return true;
}

bool
tbs_certificate_build(
    const struct tbs_certificate *t, void *buf, size_t size, struct bytes *tbs, struct error *err)
{
	struct derw w;
	size_t mark;

	if (!check_parts(t, err))
		return false;
	derw_init(&w, buf, size);
	if (t->extensions.len > 0) {
		derw_raw(&w, t->extensions);
		derw_wrap(&w, 0, DER_SEQUENCE);
		derw_wrap(&w, 0, DER_CONTEXT_CONSTRUCTED(3));
	}
	derw_raw(&w, t->spki);
	derw_raw(&w, t->subject);
	mark = derw_mark(&w);
	derw_time(&w, t->not_after);
	derw_time(&w, t->not_before);
	derw_wrap(&w, mark, DER_SEQUENCE);
	derw_raw(&w, t->issuer);
	derw_raw(&w, sig_alg_der(t->sig_alg));
	if (!put_serial(&w, t->serial, err))
		return false;
	mark = derw_mark(&w);
	derw_unsigned(&w, VERSION_3);
	derw_wrap(&w, mark, DER_CONTEXT_CONSTRUCTED(0));
	derw_wrap(&w, 0, DER_SEQUENCE);
	if (!derw_ok(&w))
		return error_set(err, ERROR_LIMIT,
		    "the certificate is longer than %zu octets, or its times are beyond the year "
		    "9999",
		    size);
	*tbs = derw_result(&w);
	return true;
}

bool
certificate_assemble(struct bytes tbs, enum sig_alg alg, struct bytes signature, void *buf,
    size_t size, struct bytes *der, struct error *err)
{
	struct derw w;

	if (!is_sequence(tbs) || sig_alg_der(alg).len == 0 || signature.len == 0)
		return error_set(
		    err, ERROR_INTERNAL, "to-be-signed bytes, algorithm or signature are missing");
	derw_init(&w, buf, size);
	derw_bit_octets(&w, signature);
	derw_raw(&w, sig_alg_der(alg));
	derw_raw(&w, tbs);
	derw_wrap(&w, 0, DER_SEQUENCE);
	if (!derw_ok(&w))
		return error_set(
		    err, ERROR_LIMIT, "the certificate is longer than %zu octets", size);
	*der = derw_result(&w);
	return true;
}

static bool
bad(struct error *err, const char *what)
{
	return error_set(err, ERROR_INPUT, "certificate: %s", what);
}

static bool
parse_serial(struct der *d, struct certificate *c, struct error *err)
{
	struct bytes content;

	if (!der_read_integer(d, &content) || content.p[0] >= 0x80 || content.len > SERIAL_LEN ||
	    (content.len == 1 && content.p[0] == 0))
		return bad(err,
		    "the serial number is not positive or longer than 20 octets (RFC 5280 "
		    "4.1.2.2)");
	if (content.p[0] == 0) {
		content.p++;
		content.len--;
	}
	c->serial = content;
	return true;
}

static bool
parse_validity(struct der *d, struct certificate *c, struct error *err)
{
	struct der validity;

	if (!der_enter(d, DER_SEQUENCE, &validity) || !der_read_time(&validity, &c->not_before) ||
	    !der_read_time(&validity, &c->not_after) || !der_end(&validity))
		return bad(err, "the validity is not two times as RFC 5280 4.1.2.5 has them");
	if (c->not_after < c->not_before)
		return bad(err, "notAfter is before notBefore");
	return true;
}

/* Reads the extensions that struct certificate has fields for. */
static bool
read_known_extension(const struct extension *x, struct certificate *c, struct error *err)
{
	if (bytes_equal(x->oid, oid_subject_key_identifier))
		return extension_read_subject_key_identifier(x->value, &c->subject_key_id, err);
	if (bytes_equal(x->oid, oid_authority_key_identifier))
		return extension_read_authority_key_identifier(
		    x->value, &c->authority_key_id, NULL, err);
	if (bytes_equal(x->oid, oid_key_usage)) {
		c->has_key_usage = true;
		return extension_read_key_usage(x->value, &c->key_usage, err);
	}
	if (bytes_equal(x->oid, oid_basic_constraints)) {
		c->has_basic_constraints = true;
		c->basic_constraints_critical = x->critical;
		return extension_read_basic_constraints(x->value, &c->ca, &c->path_length, err);
	}
	return true;
}

static bool
parse_extensions(struct der *d, struct certificate *c, struct error *err)
{
	struct extension_iter it;
	struct extension x;
	struct der tagged;

	if (der_end(d))
		return true;
	if (!der_enter(d, DER_CONTEXT_CONSTRUCTED(3), &tagged) ||
	    !der_read(&tagged, DER_SEQUENCE, &c->extensions) || !der_end(&tagged) || !der_end(d))
		return bad(err,
		    "something other than the extensions stands after the public key (RFC 5280 "
		    "4.1; unique identifiers are not allowed, 4.1.2.8)");
	if (!extensions_check(c->extensions, "certificate", err))
		return false;
	extension_iter_init(&it, c->extensions);
	while (extension_iter_next(&it, &x)) {
		if (!read_known_extension(&x, c, err))
			return error_wrap(err, "certificate");
	}
	return true;
}

static bool
parse_name(struct der *d, struct bytes *name, const char *which, struct error *err)
{
	if (!der_read_whole(d, DER_SEQUENCE, name))
		return error_set(err, ERROR_INPUT, "certificate: the %s is no DER Name", which);
	if (!name_check_structure(*name, err))
		return error_wrap(err, "certificate: %s", which);
	return true;
}

bool
tbs_certificate_parse(struct bytes tbs, struct certificate *c, struct error *err)
{
	struct bytes spki;
	struct der d, tagged;
	uint32_t version;

	*c = (struct certificate){.tbs = tbs, .path_length = -1};
	if (tbs.len > CERTIFICATE_MAX)
		return error_set(err, ERROR_LIMIT, "certificate: %zu octets; at most %d", tbs.len,
		    CERTIFICATE_MAX);
	if (!der_enter_only(tbs, DER_SEQUENCE, &d))
		return bad(err, "the to-be-signed part is no DER SEQUENCE");
	if (!der_enter(&d, DER_CONTEXT_CONSTRUCTED(0), &tagged) ||
	    !der_read_small(&tagged, 255, &version) || !der_end(&tagged) || version != VERSION_3)
		return bad(err, "the version is not 3 (RFC 5280 4.1.2.1)");
	if (!parse_serial(&d, c, err))
		return false;
	if (!der_read_whole(&d, DER_SEQUENCE, &c->inner_alg) || !der_well_formed(c->inner_alg))
		return bad(err, "the signature algorithm is no AlgorithmIdentifier");
	if (!sig_alg_parse(c->inner_alg, &c->sig_alg, &c->salt_len))
		c->sig_alg = SIG_NONE;
	if (!parse_name(&d, &c->issuer, "issuer", err) || !parse_validity(&d, c, err) ||
	    !parse_name(&d, &c->subject, "subject", err))
		return false;
	if (name_is_empty(c->issuer))
		return bad(err, "the issuer is empty (RFC 5280 4.1.2.4)");
	if (!der_read_whole(&d, DER_SEQUENCE, &spki))
		return bad(err, "the public key is missing");
	if (!spki_parse(spki, &c->spki, err))
		return error_wrap(err, "certificate");
	return parse_extensions(&d, c, err);
}

bool
certificate_parse(struct bytes der, struct certificate *c, struct error *err)
{
	struct bytes tbs, alg, signature;
	struct der d;

	*c = (struct certificate){0};
	if (der.len > CERTIFICATE_MAX)
		return error_set(err, ERROR_LIMIT, "certificate: %zu octets; at most %d", der.len,
		    CERTIFICATE_MAX);
	if (!der_enter_only(der, DER_SEQUENCE, &d) || !der_read_whole(&d, DER_SEQUENCE, &tbs) ||
	    !der_read_whole(&d, DER_SEQUENCE, &alg) || !der_read_bit_octets(&d, &signature) ||
	    !der_end(&d) || signature.len == 0 || signature.len > SIG_MAX)
		return bad(err, "it is no DER Certificate, or something follows it (RFC 5280 4.1)");
	if (!tbs_certificate_parse(tbs, c, err))
		return false;
	if (!bytes_equal(alg, c->inner_alg))
		return bad(err,
		    "the two signature algorithms differ (RFC 5280 4.1.1.2: they must be the "
		    "same)");
	c->whole = der;
	c->signature = signature;
	return true;
}

bool
certificate_verify(const struct certificate *c, const struct spki *issuer_key, struct error *err)
{
	EVP_PKEY *key = NULL;
	bool ok = false;

	if (c->sig_alg == SIG_NONE || c->signature.len == 0)
		return bad(err, "its signature algorithm is not one that is verified here");
	key = spki_to_pkey(issuer_key, err);
	if (key != NULL)
		ok = pkey_verify(key, c->sig_alg, c->salt_len, c->tbs, c->signature, err);
	EVP_PKEY_free(key);
	return ok || error_wrap(err, "certificate");
}

bool
certificate_is_self_issued(const struct certificate *c)
{
	return bytes_equal(c->subject, c->issuer);
}

bool
certificate_sha256(const struct certificate *c, uint8_t digest[32], struct error *err)
{
	if (EVP_Digest(c->whole.p, c->whole.len, digest, NULL, EVP_sha256(), NULL) != 1)
		return error_set_openssl(err, ERROR_INTERNAL, "cannot compute SHA-256");
	return true;
}
