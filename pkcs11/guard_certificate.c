/* Rules for every certificate, for a root's own, and for when an issued one may
 * be valid. */

#include <string.h>

#include "daemon/x509/name.h"
#include "pkcs11/guard_int.h"

#define DER_OF(a) ((struct bytes){(a), sizeof(a)})

/* ---- whatever is asked */

static bool
check_kind(struct guard_case *g, struct error *why)
{
	switch (g->r->kind) {
	case SIGNPROTO_TBS_CRL:
		return true;
	case SIGNPROTO_TBS_CERTIFICATE:
	case SIGNPROTO_CSR_INFO:
		/* What is streamed has no octets here. */
		return g->r->tbs.len > 0 || guard_no(why, "only CRLs are signed from a stream");
	}
	return guard_no(why, "nothing of this kind is signed");
}

static bool
check_algorithm(struct guard_case *g, struct error *why)
{
	const char *name = sig_alg_name(g->r->alg);

	if (name == NULL)
		name = "this algorithm";
	if (!sig_alg_fits_key(g->r->alg, g->l->algorithm))
		return guard_no(
		    why, "a key %s does not sign with %s", key_alg_name(g->l->algorithm), name);
	return limits_allows_signature(g->l, g->r->alg) ||
	       guard_no(why, "the key's limits do not allow %s", name);
}

static bool
check_signer(struct guard_case *g, struct error *why)
{
	return limits_allows_signer(g->l, g->r->signer_id) ||
	       guard_no(why, "signer %u is none of those that may use this key", g->r->signer_id);
}

static const struct guard_rule any_rules[] = {
    {"kind", "RFC 5280 4.1, 5.1; RFC 2986 4.1", check_kind, false},
    {"algorithm", "RFC 5280 4.1.1.2; limits, signatures", check_algorithm, false},
    {"signer", "RFC 5280 4.1.2.2; limits, signer-ids", check_signer, false},
};

const struct guard_table guard_any_table = {"any structure", any_rules, COUNT_OF(any_rules)};

/* ---- all certificates */

static bool
take_apart(struct guard_case *g, struct error *why)
{
	struct extension x;

	if (!tbs_certificate_parse(g->r->tbs, &g->c, why) ||
	    !spki_sha256(&g->c.spki, g->spki_sha256, why))
		return false;
	if (g->c.extensions.len == 0)
		return true;
	if (extension_find(g->c.extensions, oid_extended_key_usage, &x) &&
	    !extension_read_extended_key_usage(
		x.value, g->purposes, EKU_MAX, &g->purpose_count, why))
		return false;
	return !extension_find(g->c.extensions, oid_subject_alt_name, &x) ||
	       extension_read_subject_alt_name(
		   x.value, g->names, GUARD_SAN_MAX, &g->name_count, why);
}

/* For good: no later version of the limits takes it back. */
static bool
check_not_retired(struct guard_case *g, struct error *why)
{
	return g->l->retired == LIMITS_IN_USE ||
	       guard_no(why, "operators retired the %s: it signs CRLs and no certificate any more",
		   limits_retired_word(g->l->retired));
}

static bool
check_inner_algorithm(struct guard_case *g, struct error *why)
{
	return bytes_equal(g->c.inner_alg, sig_alg_der(g->r->alg)) ||
	       guard_no(
		   why, "it names another signature algorithm than %s", sig_alg_name(g->r->alg));
}

static bool
check_issuer(struct guard_case *g, struct error *why)
{
	return bytes_equal(g->c.issuer, (struct bytes){g->l->subject, g->l->subject_len}) ||
	       guard_no(
		   why, "the issuer is not, byte for byte, the subject that the key signs for");
}

static bool
check_serial(struct guard_case *g, struct error *why)
{
	uint16_t signer_id;
	int64_t at;

	return serial_parse(g->c.serial, &signer_id, &at) ||
	       guard_no(why,
		   "the serial number has not the layout of ours: %d octets, the first from 0x01 "
		   "to 0x7f",
		   SERIAL_LEN);
}

/* Zeros where it has another layout. */
static void
read_serial(const struct guard_case *g, uint16_t *signer_id, int64_t *at)
{
	if (!serial_parse(g->c.serial, signer_id, at)) {
		*signer_id = 0;
		*at = 0;
	}
}

static bool
check_signer_id(struct guard_case *g, struct error *why)
{
	uint16_t signer_id;
	int64_t at;

	read_serial(g, &signer_id, &at);
	return signer_id == g->r->signer_id ||
	       guard_no(why,
		   "the serial number is of signer %u, and this is signer %u: it would not be kept "
		   "from having two contents",
		   signer_id, g->r->signer_id);
}

/* Around now, as far as clocks and queues allow. */
static bool
check_moment(const struct guard_case *g, int64_t at, const char *what, struct error *why)
{
	if (at > g->r->now + GUARD_AHEAD_MAX_S)
		return guard_no(why, "%s is more than %d s ahead of the signer's clock", what,
		    GUARD_AHEAD_MAX_S);
	return at >= g->r->now - GUARD_AGE_MAX_S ||
	       error_set(why, ERROR_CONFLICT, "%s is more than %d days old: build it anew", what,
		   GUARD_AGE_MAX_S / 86400);
}

static bool
check_serial_time(struct guard_case *g, struct error *why)
{
	uint16_t signer_id;
	int64_t at;

	read_serial(g, &signer_id, &at);
	return check_moment(g, at, "the time in the serial number", why);
}

static bool
check_not_before(struct guard_case *g, struct error *why)
{
	return check_moment(g, g->c.not_before, "notBefore", why);
}

static bool
check_limits_end(struct guard_case *g, struct error *why)
{
	return g->c.not_after <= g->l->not_after ||
	       guard_no(why, "notAfter is later than what the key's limits allow");
}

/* What we write, and nothing else. nameConstraints, inhibitAnyPolicy and the like
 * are in no limits; an unknown extension could mean anything. */
static const struct {
	const struct bytes *oid;
	bool critical; /* RFC 5280 4.2 */
} known_extensions[] = {
    {&oid_subject_key_identifier, false},
    {&oid_authority_key_identifier, false},
    {&oid_key_usage, true},
    {&oid_extended_key_usage, false},
    {&oid_basic_constraints, true},
    {&oid_subject_alt_name, false}, /* unless the subject is empty */
    {&oid_crl_distribution_points, false},
    {&oid_freshest_crl, false},
    {&oid_authority_info_access, false},
    {&oid_certificate_policies, false},
};

static bool
refuse_extension(struct bytes oid, const char *words, struct error *why)
{
	char text[OID_TEXT_MAX];

	oid_to_text(oid, text);
	return guard_no(why, "the extension %.80s %s", text, words);
}

static bool
find_extension(struct bytes oid, size_t *index)
{
	for (size_t i = 0; i < COUNT_OF(known_extensions); i++) {
		*index = i;
		if (bytes_equal(*known_extensions[i].oid, oid))
			return true;
	}
	return false;
}

static bool
check_extensions(struct guard_case *g, struct error *why)
{
	struct extension_iter it;
	struct extension x;
	size_t i;

	extension_iter_init(&it, g->c.extensions);
	while (extension_iter_next(&it, &x)) {
		if (!find_extension(x.oid, &i))
			return refuse_extension(
			    x.oid, "is none that a certificate of ours has", why);
	}
	return true;
}

static bool
check_criticality(struct guard_case *g, struct error *why)
{
	struct extension_iter it;
	struct extension x;
	bool critical;
	size_t i;

	extension_iter_init(&it, g->c.extensions);
	while (extension_iter_next(&it, &x)) {
		if (!find_extension(x.oid, &i))
			continue;
		critical = known_extensions[i].critical ||
			   (bytes_equal(x.oid, oid_subject_alt_name) &&
			       name_is_empty(g->c.subject));
		if (x.critical != critical)
			return refuse_extension(
			    x.oid, critical ? "must be critical" : "must not be critical", why);
	}
	return true;
}

/* Only a certificate that the key signs for itself may go without. */
static bool
check_authority_key_id(struct guard_case *g, struct error *why)
{
	bool own = memcmp(g->spki_sha256, g->key->spki_sha256, sizeof g->spki_sha256) == 0;
	bool only_key_id = false;
	struct extension x;
	struct bytes id;

	if (!extension_find(g->c.extensions, oid_authority_key_identifier, &x))
		return own || guard_no(why, "authorityKeyIdentifier is missing");
	if (!extension_read_authority_key_identifier(x.value, &id, &only_key_id, why))
		return false;
	return (only_key_id && bytes_equal(id, DER_OF(g->key->key_id))) ||
	       guard_no(why, "authorityKeyIdentifier is not that of the signing key alone");
}

static bool
check_subject_key_id(struct guard_case *g, struct error *why)
{
	uint8_t id[SKI_LEN];

	if (!spki_ski(&g->c.spki, id, why))
		return false;
	return bytes_equal(g->c.subject_key_id, DER_OF(id)) ||
	       guard_no(why, "subjectKeyIdentifier is missing, or not that of the key in it");
}

/* Its form and size were the parser's business. That nobody has the private key
 * of numbers that are no key is seen too late by those who rely on it. */
static bool
check_public_key(struct guard_case *g, struct error *why)
{
	static const uint8_t f4[] = {1, 0, 1};

	if (g->c.spki.kind == SPKI_RSA && g->c.spki.exponent.len < sizeof f4)
		return guard_no(why, "the RSA public exponent is less than 65537");
	return spki_check_point(&g->c.spki, why);
}

static bool
check_locations(struct guard_case *g, struct error *why)
{
	struct extension x;

	if (extension_find(g->c.extensions, oid_crl_distribution_points, &x) &&
	    !extension_check_certificate_points(x.value, why))
		return false;
	if (extension_find(g->c.extensions, oid_freshest_crl, &x) &&
	    !extension_check_certificate_points(x.value, why))
		return false;
	return !extension_find(g->c.extensions, oid_authority_info_access, &x) ||
	       extension_check_authority_info_access(x.value, why);
}

static const struct guard_rule certificate_rules[] = {
    {"structure", "RFC 5280 4.1", take_apart, true},
    {"retired", "limits, retired", check_not_retired, false},
    {"inner-algorithm", "RFC 5280 4.1.2.3", check_inner_algorithm, false},
    {"issuer", "RFC 5280 4.1.2.4", check_issuer, false},
    {"serial", "RFC 5280 4.1.2.2", check_serial, false},
    {"signer-id", "RFC 5280 4.1.2.2", check_signer_id, false},
    {"serial-time", "RFC 5280 4.1.2.2", check_serial_time, false},
    {"not-before", "RFC 5280 4.1.2.5", check_not_before, false},
    {"limits-end", "RFC 5280 4.1.2.5; limits, not-after", check_limits_end, false},
    {"extensions", "RFC 5280 4.2", check_extensions, false},
    {"criticality", "RFC 5280 4.2", check_criticality, false},
    {"authority-key-id", "RFC 5280 4.2.1.1", check_authority_key_id, false},
    {"subject-key-id", "RFC 5280 4.2.1.2", check_subject_key_id, false},
    {"public-key", "RFC 5280 4.1.2.7; FIPS 186-5 A.1.1", check_public_key, false},
    {"locations", "RFC 5280 4.2.1.13, 4.2.2.1", check_locations, false},
};

const struct guard_table guard_certificate_table = {
    "certificate", certificate_rules, COUNT_OF(certificate_rules)};

/* ---- a root's own */

static bool
check_root_kind(struct guard_case *g, struct error *why)
{
	return g->l->root ||
	       guard_no(why,
		   "it names no template, and only a root's own certificate goes without one: by "
		   "its limits this key is a subordinate's");
}

static bool
check_root_once(struct guard_case *g, struct error *why)
{
	uint8_t digest[32];

	if (!g->key->installed || g->renewed)
		return true;
	/* The same one may be asked for again, as after a crash. */
	if (!guard_sha256(g->r->tbs, digest, why))
		return false;
	return memcmp(digest, g->key->tbs_sha256, sizeof digest) == 0 ||
	       guard_no(why,
		   "the key has its certificate already, and signs itself no other without an "
		   "order of the operators to renew it");
}

static bool
check_root_key(struct guard_case *g, struct error *why)
{
	return g->rollover ||
	       memcmp(g->spki_sha256, g->key->spki_sha256, sizeof g->spki_sha256) == 0 ||
	       guard_no(why,
		   "it names no template, and only a root's own certificate goes without one: the "
		   "public key in it is another's");
}

static bool
check_root_subject(struct guard_case *g, struct error *why)
{
	return bytes_equal(g->c.subject, (struct bytes){g->l->subject, g->l->subject_len}) ||
	       guard_no(why, "the subject of the root's own certificate is not the issuer");
}

static bool
check_root_constraints(struct guard_case *g, struct error *why)
{
	int limit = g->l->path_length;

	if (!g->c.ca)
		return guard_no(why, "the root's own certificate is none of a CA");
	return limit < 0 || (g->c.path_length >= 0 && g->c.path_length <= limit) ||
	       guard_no(
		   why, "pathLenConstraint is missing, or more than the %d of the limits", limit);
}

static bool
check_root_usage(struct guard_case *g, struct error *why)
{
	return g->c.key_usage == (KU_KEY_CERT_SIGN | KU_CRL_SIGN) ||
	       guard_no(
		   why, "keyUsage of the root's own certificate is not keyCertSign and cRLSign");
}

/* What else a root's certificate could say it would say of itself. */
static bool
check_root_extensions(struct guard_case *g, struct error *why)
{
	static const struct bytes *const own[] = {&oid_subject_key_identifier,
	    &oid_authority_key_identifier, &oid_key_usage, &oid_basic_constraints,
	    &oid_certificate_policies};
	struct extension_iter it;
	struct extension x;
	size_t i;

	extension_iter_init(&it, g->c.extensions);
	while (extension_iter_next(&it, &x)) {
		for (i = 0; i < COUNT_OF(own); i++) {
			if (bytes_equal(x.oid, *own[i]))
				break;
		}
		if (i == COUNT_OF(own))
			return refuse_extension(
			    x.oid, "does not belong into a root's own certificate", why);
	}
	return true;
}

static const struct guard_rule root_rules[] = {
    {"root-kind", "RFC 5280 3.2; limits, kind", check_root_kind, false},
    {"root-once", "RFC 5280 4.1.2.2", check_root_once, false},
    {"root-key", "RFC 5280 3.2", check_root_key, false},
    {"root-subject", "RFC 5280 4.1.2.6", check_root_subject, false},
    {"root-constraints", "RFC 5280 4.2.1.9; limits, path-length", check_root_constraints, false},
    {"root-usage", "RFC 5280 4.2.1.3", check_root_usage, false},
    {"root-extensions", "RFC 5280 4.2", check_root_extensions, false},
};

const struct guard_table guard_root_table = {
    "a root's own certificate", root_rules, COUNT_OF(root_rules)};

/* ---- all others: when, and by which line of the limits */

static bool
check_installed(struct guard_case *g, struct error *why)
{
	return g->key->installed ||
	       guard_no(why, "the signer has not seen the CA's own certificate: install it first "
			     "(chancery ca install)");
}

static bool
check_ca_validity(struct guard_case *g, struct error *why)
{
	if (!g->key->installed)
		return true;
	return (g->c.not_before >= g->key->not_before && g->c.not_after <= g->key->not_after) ||
	       guard_no(why, "its validity is not inside that of the CA's own certificate");
}

static bool
find_line(struct guard_case *g, struct error *why)
{
	g->line = limits_find_template(g->l, g->r->template);
	return g->line != NULL ||
	       guard_no(why, "the key's limits have no template '%.64s'", g->r->template);
}

/* Both ends belong to the validity. */
static bool
check_lifetime(struct guard_case *g, struct error *why)
{
	return g->c.not_after - g->c.not_before + 1 <= g->line->validity_s ||
	       guard_no(why, "it is valid for longer than the %lld s of template '%s'",
		   (long long)g->line->validity_s, g->line->name);
}

static const struct guard_rule issued_rules[] = {
    {"template", "limits, template", find_line, true},
    {"installed", "RFC 5280 6.1; limits, ca-install", check_installed, false},
    {"ca-validity", "RFC 5280 4.1.2.5, 6.1", check_ca_validity, false},
    {"lifetime", "RFC 5280 4.1.2.5; limits, validity", check_lifetime, false},
};

const struct guard_table guard_issued_table = {
    "issued certificate", issued_rules, COUNT_OF(issued_rules)};
