#include "daemon/x509/csr.h"

#include "daemon/x509/derw.h"
#include "daemon/x509/name.h"
#include "daemon/x509/pem.h"
#include "daemon/x509/verifier.h"

static bool
bad(struct error *err, const char *what)
{
	return error_set(err, ERROR_INPUT, "CSR: %s", what);
}

/* Reads what the request asks for, where struct csr has a field for it. */
static bool
read_wish(const struct extension *x, struct csr *csr, struct error *err)
{
	if (bytes_equal(x->oid, oid_key_usage)) {
		csr->has_key_usage = true;
		csr->key_usage_critical = x->critical;
		return extension_read_key_usage(x->value, &csr->key_usage, err);
	}
	if (bytes_equal(x->oid, oid_extended_key_usage))
		return extension_read_extended_key_usage(
		    x->value, csr->purposes, EKU_MAX, &csr->purpose_count, err);
	if (bytes_equal(x->oid, oid_basic_constraints)) {
		csr->has_basic_constraints = true;
		return extension_read_basic_constraints(x->value, &csr->ca, &csr->path_length, err);
	}
	if (bytes_equal(x->oid, oid_subject_alt_name)) {
		csr->has_subject_alt_name = true;
		return extension_read_subject_alt_name(
		    x->value, csr->names, CSR_SAN_MAX, &csr->name_count, err);
	}
	return true;
}

/* RFC 2985 5.4.2: extensionRequest has one value, an Extensions. */
static bool
parse_extension_request(struct der *values, struct csr *csr, struct error *err)
{
	struct extension_iter it;
	struct extension x;
	size_t count = 0;

	if (!der_read(values, DER_SEQUENCE, &csr->extensions) || !der_end(values))
		return bad(err, "the attribute extensionRequest must have one value, a sequence of "
				"extensions (RFC 2985 5.4.2)");
	if (!extensions_check(csr->extensions, "CSR", err))
		return false;
	extension_iter_init(&it, csr->extensions);
	while (extension_iter_next(&it, &x)) {
		if (++count > CSR_EXTENSION_MAX)
			return error_set(err, ERROR_LIMIT,
			    "CSR: it asks for more than %d extensions", CSR_EXTENSION_MAX);
		if (!read_wish(&x, csr, err))
			return error_wrap(err, "CSR");
	}
	return true;
}

/* [0] IMPLICIT SET OF Attribute (RFC 2986 4.1). */
static bool
parse_attributes(struct der *info, struct csr *csr, struct error *err)
{
	struct bytes seen[CSR_ATTRIBUTE_MAX], oid, whole;
	struct der attributes, attribute, values;
	size_t count = 0;

	if (!der_enter(info, DER_CONTEXT_CONSTRUCTED(0), &attributes))
		return bad(err, "the attributes are missing (RFC 2986 4.1: [0], may be empty)");
	while (!der_end(&attributes)) {
		if (!der_next_is(&attributes, DER_SEQUENCE) ||
		    !der_read_any(&attributes, NULL, NULL, &whole) || !der_well_formed(whole) ||
		    !der_enter_only(whole, DER_SEQUENCE, &attribute) ||
		    !der_read_oid(&attribute, &oid) || !der_enter(&attribute, DER_SET, &values) ||
		    !der_end(&attribute) || der_end(&values))
			return bad(err, "an attribute is not what RFC 2986 4.1 says in DER");
		if (count == CSR_ATTRIBUTE_MAX)
			return error_set(err, ERROR_LIMIT, "CSR: it has more than %d attributes",
			    CSR_ATTRIBUTE_MAX);
		for (size_t i = 0; i < count; i++) {
			if (bytes_equal(seen[i], oid))
				return bad(err, bytes_equal(oid, oid_extension_request)
						    ? "the attribute extensionRequest stands twice"
						    : "an attribute stands twice");
		}
		seen[count++] = oid;
		csr->attribute_count = count;
		if (bytes_equal(oid, oid_extension_request) &&
		    !parse_extension_request(&values, csr, err))
			return false;
	}
	return true;
}

bool
csr_info_parse(struct bytes info, struct csr *csr, struct error *err)
{
	struct bytes spki;
	uint32_t version;
	struct der d;

	*csr = (struct csr){.info = info, .path_length = -1};
	if (info.len > CSR_MAX)
		return error_set(
		    err, ERROR_LIMIT, "CSR: %zu octets; at most %d", info.len, CSR_MAX);
	if (!der_enter_only(info, DER_SEQUENCE, &d))
		return bad(err, "CertificationRequestInfo is no DER SEQUENCE (RFC 2986 4.1)");
	if (!der_read_small(&d, 255, &version) || version != 0)
		return bad(err, "the version is not 0 (RFC 2986 4.1)");
	if (!der_read_whole(&d, DER_SEQUENCE, &csr->subject))
		return bad(err, "the subject is no DER Name");
	if (!name_check(csr->subject, err))
		return error_wrap(err, "CSR: subject");
	if (!der_read_whole(&d, DER_SEQUENCE, &spki))
		return bad(err, "the public key is missing");
	if (!spki_parse(spki, &csr->spki, err))
		return error_wrap(err, "CSR");
	if (!parse_attributes(&d, csr, err))
		return false;
	if (!der_end(&d))
		return bad(err, "something stands after the attributes (RFC 2986 4.1)");
	return true;
}

/* SHA-1, MD5, or something of the future: named by its number. */
static bool
unknown_algorithm(struct bytes alg, struct error *err)
{
	char text[OID_TEXT_MAX] = "(none)";
	struct bytes oid;
	struct der d;

	if (der_enter_only(alg, DER_SEQUENCE, &d) && der_read_oid(&d, &oid))
		oid_to_text(oid, text);
	return error_set(err, ERROR_INPUT,
	    "CSR: the signature algorithm %.80s is not accepted; use RSA or ECDSA with SHA-256, "
	    "SHA-384 or SHA-512, or Ed25519",
	    text);
}

/* What is taken for a request by mistake, by how it begins; NULL: something else. */
static const char *
other_structure(struct bytes der)
{
	struct der all, d, inner;
	uint32_t version;

	if (!der_enter_only(der, DER_SEQUENCE, &all))
		return NULL;
	if (der_next_is(&all, DER_INTEGER)) /* RFC 5958 2, RFC 8017 A.1.2, RFC 5915 3 */
		return der_read_small(&all, 1, &version) ? "a private key" : NULL;
	if (!der_enter(&all, DER_SEQUENCE, &d))
		return NULL;
	if (der_next_is(&d, DER_CONTEXT_CONSTRUCTED(0))) /* RFC 5280 4.1: version */
		return "a certificate";
	/* RFC 5280 5.1: an algorithm behind the version, where a request has its subject. */
	if (der_read_small(&d, 1, &version) && version == 1 &&
	    der_enter(&d, DER_SEQUENCE, &inner) && der_next_is(&inner, DER_OID))
		return "a CRL";
	return NULL;
}

static bool
check_structure(struct bytes der, struct error *err)
{
	const char *what = other_structure(der);

	return what == NULL || error_set(err, ERROR_INPUT,
				   "CSR: it is %s, no certificate request (RFC 2986 4.2)", what);
}

bool
csr_parse(struct bytes der, struct csr *csr, struct error *err)
{
	struct bytes info, alg, signature;
	struct der d;

	*csr = (struct csr){0};
	if (der.len > CSR_MAX)
		return error_set(err, ERROR_LIMIT, "CSR: %zu octets; at most %d", der.len, CSR_MAX);
	if (!check_structure(der, err))
		return false;
	if (!der_enter_only(der, DER_SEQUENCE, &d) || !der_read_whole(&d, DER_SEQUENCE, &info) ||
	    !der_read_whole(&d, DER_SEQUENCE, &alg) || !der_read_bit_octets(&d, &signature) ||
	    !der_end(&d) || signature.len == 0 || signature.len > SIG_MAX)
		return bad(err,
		    "it is no DER CertificationRequest, or something follows it (RFC 2986 4.2)");
	if (!csr_info_parse(info, csr, err))
		return false;
	if (!sig_alg_parse(alg, &csr->sig_alg, &csr->salt_len))
		return unknown_algorithm(alg, err);
	csr->whole = der;
	csr->signature = signature;
	return true;
}

static bool
possessed(bool verified, struct error *err)
{
	return verified ||
	       error_wrap(err, "CSR: its maker did not prove to have the private key (RFC 2986 3)");
}

bool
csr_verify(const struct csr *csr, struct error *err)
{
	EVP_PKEY *key = spki_to_pkey(&csr->spki, err);
	bool ok = key != NULL &&
		  pkey_verify(key, csr->sig_alg, csr->salt_len, csr->info, csr->signature, err);

	EVP_PKEY_free(key);
	return possessed(ok, err);
}

bool
csr_verify_with(const struct csr *csr, struct verifier *verifier, struct error *err)
{
	return possessed(verifier_check(verifier, &csr->spki, csr->sig_alg, csr->salt_len,
			     csr->info, csr->signature, err),
	    err);
}

bool
csr_sha256(const struct csr *csr, uint8_t digest[32], struct error *err)
{
	if (EVP_Digest(csr->whole.p, csr->whole.len, digest, NULL, EVP_sha256(), NULL) != 1)
		return error_set_openssl(err, ERROR_INTERNAL, "cannot compute SHA-256");
	return true;
}

/* Names what PEM there is instead. */
static bool
no_request(struct bytes text, struct error *err)
{
	static const char begin[] = "-----BEGIN ";
	const char *label = text.len > 0 ? memmem(text.p, text.len, begin, sizeof begin - 1) : NULL;
	const char *end = (const char *)text.p + text.len;
	size_t len = 0;

	if (label != NULL)
		for (label += sizeof begin - 1;
		     label + len < end && len < PEM_LABEL_MAX &&
		     ((label[len] >= 'A' && label[len] <= 'Z') ||
			 (label[len] >= '0' && label[len] <= '9') || label[len] == ' ');
		     len++)
			;
	if (len > 0)
		return error_set(err, ERROR_INPUT,
		    "CSR: it is PEM of a %.*s; a request has '-----BEGIN CERTIFICATE REQUEST-----' "
		    "(RFC 7468 7)",
		    (int)len, label);
	return bad(err, "it is neither DER nor PEM with '-----BEGIN CERTIFICATE REQUEST-----'");
}

bool
csr_from_input(struct bytes input, uint8_t *buf, size_t size, struct bytes *der, struct error *err)
{
	struct error pem_error = ERROR_INIT;
	struct bytes rest = input;
	size_t len;

	if (input.len > CSR_PEM_MAX)
		return error_set(err, ERROR_LIMIT, "CSR: %zu octets; at most %d as PEM, %d as DER",
		    input.len, CSR_PEM_MAX, CSR_MAX);
	if (input.len > 0 && input.p[0] == DER_SEQUENCE) {
		*der = input;
		return check_structure(input, err);
	}
	if (!pem_decode(&rest, PEM_CERTIFICATE_REQUEST, buf, size < CSR_MAX ? size : CSR_MAX, &len,
		&pem_error)) {
		if (pem_error.code == ERROR_NOT_FOUND)
			return no_request(input, err);
		return error_set(err, pem_error.code, "CSR: %s", pem_error.text);
	}
	*der = (struct bytes){buf, len};
	/* Of two requests in a file, which one was meant? */
	if (memmem(rest.p, rest.len, "CERTIFICATE REQUEST-----", 24) != NULL)
		return bad(err, "there is more than one PEM block; give one request at a time");
	return true;
}

bool
csr_info_build(struct bytes subject, struct bytes spki, struct bytes extensions, void *buf,
    size_t size, struct bytes *info, struct error *err)
{
	struct derw w;

	if (extensions.len > 0 && !extensions_check(extensions, "CSR", err))
		return false;
	derw_init(&w, buf, size);
	if (extensions.len > 0) {
		derw_raw(&w, extensions);
		derw_wrap(&w, 0, DER_SEQUENCE);
		derw_wrap(&w, 0, DER_SET);
		derw_oid(&w, oid_extension_request);
		derw_wrap(&w, 0, DER_SEQUENCE);
	}
	derw_wrap(&w, 0, DER_CONTEXT_CONSTRUCTED(0));
	derw_raw(&w, spki);
	derw_raw(&w, subject);
	derw_unsigned(&w, 0);
	derw_wrap(&w, 0, DER_SEQUENCE);
	if (!derw_ok(&w))
		return error_set(err, ERROR_LIMIT, "the CSR is longer than %zu octets", size);
	*info = derw_result(&w);
	return true;
}

bool
csr_assemble(struct bytes info, enum sig_alg alg, struct bytes signature, void *buf, size_t size,
    struct bytes *der, struct error *err)
{
	struct derw w;

	if (info.len == 0 || sig_alg_der(alg).len == 0 || signature.len == 0)
		return error_set(
		    err, ERROR_INTERNAL, "request info, algorithm or signature are missing");
	derw_init(&w, buf, size);
	derw_bit_octets(&w, signature);
	derw_raw(&w, sig_alg_der(alg));
	derw_raw(&w, info);
	derw_wrap(&w, 0, DER_SEQUENCE);
	if (!derw_ok(&w))
		return error_set(err, ERROR_LIMIT, "the CSR is longer than %zu octets", size);
	*der = derw_result(&w);
	return true;
}
