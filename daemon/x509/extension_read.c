#include "daemon/x509/extension.h"

#include <limits.h>

static bool
read_extension(struct der *list, struct extension *x)
{
	struct der d;

	*x = (struct extension){0};
	if (!der_next_is(list, DER_SEQUENCE) || !der_read_any(list, NULL, NULL, &x->whole) ||
	    !der_enter_only(x->whole, DER_SEQUENCE, &d) || !der_read_oid(&d, &x->oid))
		return false;
	/* DEFAULT FALSE: in DER, FALSE is never written (X.690 11.5). */
	if (der_next_is(&d, DER_BOOLEAN) && (!der_read_boolean(&d, &x->critical) || !x->critical))
		return false;
	return der_read(&d, DER_OCTET_STRING, &x->value) && der_end(&d);
}

/* The name of an extension is for people: it is made only where it is shown. */
static bool
refuse(struct bytes oid, const char *what, const char *fault, struct error *err)
{
	char text[OID_TEXT_MAX];

	oid_to_text(oid, text);
	return error_set(err, ERROR_INPUT, "%s: the extension %.80s %s", what, text, fault);
}

bool
extensions_check(struct bytes list, const char *what, struct error *err)
{
	struct bytes seen[EXTENSION_COUNT_MAX];
	struct extension x;
	size_t count = 0;
	struct der d;

	der_init(&d, list);
	do {
		if (!read_extension(&d, &x))
			return error_set(err, ERROR_INPUT,
			    "%s: the extensions are no DER sequence of Extension (RFC 5280 4.1)",
			    what);
		if (count == EXTENSION_COUNT_MAX)
			return error_set(err, ERROR_LIMIT, "%s: there are more than %d extensions",
			    what, EXTENSION_COUNT_MAX);
		for (size_t i = 0; i < count; i++) {
			if (bytes_equal(seen[i], x.oid))
				return refuse(x.oid, what, "stands twice (RFC 5280 4.2)", err);
		}
		if (!der_well_formed(x.value))
			return refuse(x.oid, what, "has a value that is no DER", err);
		seen[count++] = x.oid;
	} while (!der_end(&d));
	return true;
}

void
extension_iter_init(struct extension_iter *it, struct bytes list)
{
	der_init(&it->rest, list);
}

bool
extension_iter_next(struct extension_iter *it, struct extension *extension)
{
	return !der_end(&it->rest) && read_extension(&it->rest, extension);
}

bool
extension_find(struct bytes list, struct bytes oid, struct extension *extension)
{
	struct extension_iter it;

	extension_iter_init(&it, list);
	while (extension_iter_next(&it, extension)) {
		if (bytes_equal(extension->oid, oid))
			return true;
	}
	return false;
}

static const struct {
	const char *name;
	uint16_t bit;
} usages[] = {
    {"digitalSignature", KU_DIGITAL_SIGNATURE},
    {"nonRepudiation", KU_NON_REPUDIATION},
    {"keyEncipherment", KU_KEY_ENCIPHERMENT},
    {"dataEncipherment", KU_DATA_ENCIPHERMENT},
    {"keyAgreement", KU_KEY_AGREEMENT},
    {"keyCertSign", KU_KEY_CERT_SIGN},
    {"cRLSign", KU_CRL_SIGN},
    {"encipherOnly", KU_ENCIPHER_ONLY},
    {"decipherOnly", KU_DECIPHER_ONLY},
};

bool
key_usage_from_name(const char *name, uint16_t *bit)
{
	/* X.509's newer name for nonRepudiation. */
	if (strcmp(name, "contentCommitment") == 0)
		name = "nonRepudiation";
	for (size_t i = 0; i < COUNT_OF(usages); i++) {
		if (strcmp(usages[i].name, name) == 0) {
			*bit = usages[i].bit;
			return true;
		}
	}
	return false;
}

const char *
key_usage_name(uint16_t bit)
{
	for (size_t i = 0; i < COUNT_OF(usages); i++) {
		if (usages[i].bit == bit)
			return usages[i].name;
	}
	return NULL;
}

bool
extension_read_key_usage(struct bytes value, uint16_t *bits, struct error *err)
{
	struct der d;

	der_init(&d, value);
	if (!der_read_named_bits(&d, DER_BIT_STRING, bits) || !der_end(&d) || *bits == 0 ||
	    *bits > KU_DECIPHER_ONLY * 2 - 1)
		return error_set(err, ERROR_INPUT,
		    "keyUsage is no DER BIT STRING of its nine bits, at least one of them set "
		    "(RFC 5280 4.2.1.3)");
	return true;
}

bool
extension_read_extended_key_usage(
    struct bytes value, struct bytes *oids, size_t max, size_t *count, struct error *err)
{
	struct der d;

	*count = 0;
	if (!der_enter_only(value, DER_SEQUENCE, &d) || der_end(&d))
		goto bad;
	while (!der_end(&d)) {
		if (*count == max)
			return error_set(err, ERROR_LIMIT,
			    "extKeyUsage lists more than the %zu purposes allowed", max);
		if (!der_read_oid(&d, &oids[*count]))
			goto bad;
		++*count;
	}
	return true;
bad:
	return error_set(err, ERROR_INPUT,
	    "extKeyUsage is no DER sequence of object identifiers (RFC 5280 4.2.1.12)");
}

bool
extension_read_basic_constraints(struct bytes value, bool *ca, int *path_length, struct error *err)
{
	uint32_t length;
	struct der d;

	*ca = false;
	*path_length = -1;
	if (!der_enter_only(value, DER_SEQUENCE, &d))
		goto bad;
	if (der_next_is(&d, DER_BOOLEAN) && (!der_read_boolean(&d, ca) || !*ca))
		goto bad;
	if (der_next_is(&d, DER_INTEGER)) {
		if (!*ca || !der_read_small(&d, INT_MAX, &length))
			goto bad;
		*path_length = (int)length;
	}
	if (der_end(&d))
		return true;
bad:
	return error_set(err, ERROR_INPUT,
	    "basicConstraints is not what RFC 5280 4.2.1.9 says in DER (cA FALSE left out, "
	    "pathLenConstraint only with cA)");
}

bool
extension_read_subject_alt_name(
    struct bytes value, struct san *names, size_t max, size_t *count, struct error *err)
{
	static const enum san_type types[] = {
	    [1] = SAN_EMAIL, [2] = SAN_DNS, [6] = SAN_URI, [7] = SAN_IP, [8] = SAN_UNSUPPORTED};
	struct bytes content, whole;
	struct san *name;
	struct der d;
	uint8_t tag;

	*count = 0;
	if (!der_enter_only(value, DER_SEQUENCE, &d) || der_end(&d))
		goto bad;
	while (!der_end(&d)) {
		if (*count == max)
			return error_set(err, ERROR_LIMIT,
			    "subjectAltName lists more than the %zu names allowed", max);
		if (!der_read_any(&d, &tag, &content, &whole) || (tag & 0xc0) != 0x80 ||
		    (tag & 0x1f) > 8)
			goto bad;
		name = &names[(*count)++];
		name->type = (tag & 0x20) != 0 ? SAN_UNSUPPORTED : types[tag & 0x1f];
		if (name->type == 0)
			name->type = SAN_UNSUPPORTED;
		name->value = name->type == SAN_UNSUPPORTED ? whole : content;
		if (!san_check(name, err))
			return false;
	}
	return true;
bad:
	return error_set(err, ERROR_INPUT,
	    "subjectAltName is no DER sequence of GeneralName (RFC 5280 4.2.1.6)");
}

bool
extension_read_subject_key_identifier(struct bytes value, struct bytes *key_id, struct error *err)
{
	struct der d;

	der_init(&d, value);
	if (!der_read(&d, DER_OCTET_STRING, key_id) || !der_end(&d) || key_id->len == 0)
		return error_set(
		    err, ERROR_INPUT, "subjectKeyIdentifier is no OCTET STRING (RFC 5280 4.2.1.2)");
	return true;
}

bool
extension_read_authority_key_identifier(
    struct bytes value, struct bytes *key_id, bool *only_key_id, struct error *err)
{
	bool issuer, serial;
	struct bytes b;
	struct der d;

	*key_id = (struct bytes){0};
	if (!der_enter_only(value, DER_SEQUENCE, &d))
		goto bad;
	if (der_next_is(&d, DER_CONTEXT(0)) &&
	    (!der_read(&d, DER_CONTEXT(0), key_id) || key_id->len == 0))
		goto bad;
	issuer = der_next_is(&d, DER_CONTEXT_CONSTRUCTED(1));
	if (issuer && !der_read(&d, DER_CONTEXT_CONSTRUCTED(1), &b))
		goto bad;
	serial = der_next_is(&d, DER_CONTEXT(2));
	if (serial && !der_read(&d, DER_CONTEXT(2), &b))
		goto bad;
	if (!der_end(&d) || issuer != serial)
		goto bad;
	if (only_key_id != NULL)
		*only_key_id = key_id->len > 0 && !issuer;
	return true;
bad:
	return error_set(
	    err, ERROR_INPUT, "authorityKeyIdentifier is not what RFC 5280 4.2.1.1 says in DER");
}

bool
extension_read_crl_number(struct bytes value, struct bytes *number, struct error *err)
{
	struct der d;

	der_init(&d, value);
	if (!der_read_unsigned(&d, number) || !der_end(&d) || value.len > 2 + CRL_NUMBER_MAX)
		return error_set(err, ERROR_INPUT,
		    "the CRL number is no INTEGER of at most %d octets, zero or more (RFC 5280 "
		    "5.2.3)",
		    CRL_NUMBER_MAX);
	return true;
}

bool
extension_read_expired_certs_on_crl(struct bytes value, int64_t *since, struct error *err)
{
	struct der d;

	der_init(&d, value);
	return (der_read_generalized_time(&d, since) && der_end(&d)) ||
	       error_set(
		   err, ERROR_INPUT, "expiredCertsOnCRL is no GeneralizedTime (X.509 9.5.2.8)");
}

/* ---- locations */

/* One GeneralName that is a URI. */
static bool
read_uri(struct der *d, struct error *err)
{
	struct san uri = {.type = SAN_URI};

	if (!der_read(d, DER_CONTEXT(6), &uri.value))
		return error_set(err, ERROR_INPUT,
		    "a location is no URI (RFC 5280 4.2.1.6: uniformResourceIdentifier)");
	return san_check(&uri, err);
}

bool
extension_check_full_name(struct bytes content, struct error *err)
{
	struct der d, names;
	size_t count = 0;

	der_init(&d, content);
	if (!der_enter(&d, DER_CONTEXT_CONSTRUCTED(0), &names) || !der_end(&d) || der_end(&names))
		return error_set(
		    err, ERROR_INPUT, "a distribution point has no full name (RFC 5280 4.2.1.13)");
	while (!der_end(&names)) {
		if (++count > EXTENSION_URL_COUNT_MAX)
			return error_set(err, ERROR_LIMIT,
			    "a distribution point has more than %d names", EXTENSION_URL_COUNT_MAX);
		if (!read_uri(&names, err))
			return false;
	}
	return true;
}

bool
extension_read_reasons(struct bytes content, unsigned *reasons, struct error *err)
{
	unsigned flags = 0, last = 0;

	if (content.len < 2 || content.len > 3 || content.p[0] > 7)
		goto bad;
	for (unsigned bit = 0; bit < 8 * (content.len - 1); bit++) {
		if ((content.p[1 + bit / 8] & 0x80 >> bit % 8) == 0)
			continue;
		flags |= 1u << bit;
		last = bit;
	}
	/* The list ends with its last bit that is set (X.690 11.2.2). */
	if (last + 1 != 8 * (content.len - 1) - content.p[0])
		goto bad;
	*reasons = (flags & 0x7e) | (flags & 0x180) << 2;
	if ((flags & ~0x1feu) == 0 && *reasons != 0)
		return true;
bad:
	return error_set(err, ERROR_INPUT,
	    "the reasons of a distribution point are no ReasonFlags (RFC 5280 4.2.1.13)");
}

/* *reasons: of one point; 0: all. */
static bool
read_point(struct der *d, unsigned *reasons, struct error *err)
{
	struct bytes name, flags;
	struct der point;

	*reasons = 0;
	if (!der_enter(d, DER_SEQUENCE, &point) ||
	    !der_read(&point, DER_CONTEXT_CONSTRUCTED(0), &name))
		return error_set(
		    err, ERROR_INPUT, "a distribution point has no name (RFC 5280 4.2.1.13)");
	if (der_next_is(&point, DER_CONTEXT(1)) &&
	    (!der_read(&point, DER_CONTEXT(1), &flags) ||
		!extension_read_reasons(flags, reasons, err)))
		return error_set(
		    err, ERROR_INPUT, "the reasons of a distribution point are no DER");
	if (!der_end(&point))
		return error_set(err, ERROR_INPUT,
		    "a distribution point has more than a name and reasons: cRLIssuer does not "
		    "belong there (RFC 5280 4.2.1.13)");
	return extension_check_full_name(name, err);
}

/* some: points for some reasons may stand beside one for all. */
static bool
check_points(struct bytes value, bool some, struct error *err)
{
	unsigned reasons;
	struct der d;
	size_t count = 0;
	bool all = false;

	if (!der_enter_only(value, DER_SEQUENCE, &d) || der_end(&d))
		return error_set(err, ERROR_INPUT,
		    "the distribution points are no DER sequence (RFC 5280 4.2.1.13)");
	while (!der_end(&d)) {
		if (++count > EXTENSION_URL_COUNT_MAX)
			return error_set(err, ERROR_LIMIT,
			    "there are more than %d distribution points", EXTENSION_URL_COUNT_MAX);
		if (!read_point(&d, &reasons, err))
			return false;
		if (reasons != 0 && !some)
			return error_set(err, ERROR_INPUT,
			    "a distribution point in a CRL has reasons (RFC 5280 5.2.6)");
		all |= reasons == 0;
	}
	return all || error_set(err, ERROR_INPUT,
			  "no distribution point is for all reasons (RFC 5280 4.2.1.13)");
}

bool
extension_check_distribution_points(struct bytes value, struct error *err)
{
	return check_points(value, false, err);
}

bool
extension_check_certificate_points(struct bytes value, struct error *err)
{
	return check_points(value, true, err);
}

bool
extension_check_authority_info_access(struct bytes value, struct error *err)
{
	struct der d, access;
	struct bytes method;
	size_t count = 0;

	if (!der_enter_only(value, DER_SEQUENCE, &d) || der_end(&d))
		return error_set(
		    err, ERROR_INPUT, "authorityInfoAccess is no DER sequence (RFC 5280 4.2.2.1)");
	while (!der_end(&d)) {
		if (++count > EXTENSION_URL_COUNT_MAX)
			return error_set(err, ERROR_LIMIT,
			    "authorityInfoAccess has more than %d locations",
			    EXTENSION_URL_COUNT_MAX);
		if (!der_enter(&d, DER_SEQUENCE, &access) || !der_read_oid(&access, &method) ||
		    !(bytes_equal(method, oid_ad_ocsp) || bytes_equal(method, oid_ad_ca_issuers)))
			return error_set(err, ERROR_INPUT,
			    "authorityInfoAccess has another access method than caIssuers and ocsp "
			    "(RFC 5280 4.2.2.1)");
		if (!read_uri(&access, err))
			return false;
		if (!der_end(&access))
			return error_set(err, ERROR_INPUT,
			    "an access description is not just a method and a location (RFC 5280 "
			    "4.2.2.1)");
	}
	return true;
}
