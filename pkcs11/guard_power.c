/* Rules for what an issued certificate may be used for. */

#include <string.h>

#include "daemon/x509/oid.h"
#include "pkcs11/guard_int.h"

static bool
check_basic_constraints(struct guard_case *g, struct error *why)
{
	if (g->c.ca == g->line->ca)
		return true;
	return guard_no(why,
	    g->c.ca ? "it is a CA's, and template '%s' makes none of a CA"
		    : "it is none of a CA, and template '%s' makes CA certificates",
	    g->line->name);
}

/* Less of two lengths, -1 meaning none. */
static int
shorter(int a, int b)
{
	if (a < 0 || (b >= 0 && b < a))
		return b;
	return a;
}

/* What the line gives, and one less than what the CA's own certificate, and its
 * limits, leave. */
static bool
check_path_length(struct guard_case *g, struct error *why)
{
	int own = g->l->path_length, most;

	if (!g->c.ca)
		return true;
	if (g->key->installed)
		own = shorter(own, g->key->path_length);
	if (own == 0)
		return guard_no(
		    why, "the CA's own path length is 0: it issues to end entities only");
	most = shorter(g->line->path_length, own > 0 ? own - 1 : -1);
	return most < 0 || (g->c.path_length >= 0 && g->c.path_length <= most) ||
	       guard_no(why, "pathLenConstraint is missing, or more than %d", most);
}

/* Without the extension a key may be used for everything. */
static bool
check_key_usage(struct guard_case *g, struct error *why)
{
	if (!g->c.has_key_usage)
		return guard_no(
		    why, "keyUsage is missing, so that nothing would bound the key's use");
	return (g->c.key_usage & ~g->line->key_usage) == 0 ||
	       guard_no(why, "keyUsage has more than template '%s' gives", g->line->name);
}

/* keyCertSign goes with cA, and cRLSign too: a CRL is signed by a CA, since we
 * name no other CRL issuers. */
static bool
check_ca_usage(struct guard_case *g, struct error *why)
{
	const uint16_t signing = KU_KEY_CERT_SIGN | KU_CRL_SIGN;

	if (!g->c.ca && (g->c.key_usage & signing) != 0)
		return guard_no(why, "keyUsage has keyCertSign or cRLSign without cA");
	return !g->c.ca || (g->c.key_usage & KU_KEY_CERT_SIGN) != 0 ||
	       guard_no(why, "keyUsage lacks keyCertSign, which a CA needs");
}

static bool
line_has_purpose(const struct limits_template *line, struct bytes oid)
{
	for (size_t i = 0; i < line->purpose_count; i++) {
		if (bytes_equal((struct bytes){line->purposes[i].oid, line->purposes[i].len}, oid))
			return true;
	}
	return false;
}

static const char *
purpose_text(struct bytes oid, char buf[OID_TEXT_MAX])
{
	const char *name = oid_purpose_name(oid);

	if (name != NULL)
		return name;
	oid_to_text(oid, buf);
	return buf;
}

/* Without the extension a certificate serves every purpose that does not ask for
 * it by name. */
static bool
check_extended_key_usage(struct guard_case *g, struct error *why)
{
	char buf[OID_TEXT_MAX];

	if (g->purpose_count == 0 && g->line->purpose_count > 0)
		return guard_no(why,
		    "extKeyUsage is missing, so that nothing would bound the purposes to those of "
		    "template '%s'",
		    g->line->name);
	for (size_t i = 0; i < g->purpose_count; i++) {
		if (!line_has_purpose(g->line, g->purposes[i]))
			return guard_no(why,
			    "extKeyUsage has %.80s, which template '%s' does not give",
			    purpose_text(g->purposes[i], buf), g->line->name);
	}
	return true;
}

static bool
answers_ocsp(const struct guard_case *g)
{
	struct bytes ocsp;

	if (!oid_purpose_from_name("OCSPSigning", &ocsp))
		return false;
	for (size_t i = 0; i < g->purpose_count; i++) {
		if (bytes_equal(g->purposes[i], ocsp))
			return true;
	}
	return false;
}

/* Whoever has this purpose can call any certificate of the CA good. */
static bool
check_ocsp_signing(struct guard_case *g, struct error *why)
{
	return !answers_ocsp(g) || limits_allows_responder(g->l, g->spki_sha256) ||
	       guard_no(why,
		   "extKeyUsage has OCSPSigning, and the key in it is none of the responders of "
		   "the key's limits");
}

/* One purpose for each key. */
static bool
check_responder_key(struct guard_case *g, struct error *why)
{
	if (!limits_allows_responder(g->l, g->spki_sha256))
		return true;
	return (answers_ocsp(g) && g->purpose_count == 1 && !g->c.ca) ||
	       guard_no(why,
		   "the key in it is an OCSP responder's by the key's limits, and gets OCSPSigning "
		   "and no other purpose");
}

static bool
is_own_key(const struct guard_case *g)
{
	for (size_t i = 0; i < g->r->own_key_count; i++) {
		if (memcmp(g->r->own_keys[i], g->spki_sha256, sizeof g->spki_sha256) == 0)
			return true;
	}
	return false;
}

/* Another certificate for the CA's own key would be another CA; a key on the
 * token that signs for a CA serves nothing else. */
static bool
check_own_keys(struct guard_case *g, struct error *why)
{
	if (memcmp(g->spki_sha256, g->key->spki_sha256, sizeof g->spki_sha256) == 0)
		return guard_no(why, "the public key in it is that of the CA itself");
	return g->c.ca || !is_own_key(g) ||
	       guard_no(why, "the public key in it is that of a CA of this signer");
}

static const struct guard_rule power_rules[] = {
    {"basic-constraints", "RFC 5280 4.2.1.9; limits, ca", check_basic_constraints, false},
    {"path-length", "RFC 5280 4.2.1.9; limits, path-length", check_path_length, false},
    {"key-usage", "RFC 5280 4.2.1.3; limits, key-usage", check_key_usage, false},
    {"ca-usage", "RFC 5280 4.2.1.3, 4.2.1.9", check_ca_usage, false},
    {"extended-key-usage", "RFC 5280 4.2.1.12; limits, eku", check_extended_key_usage, false},
    {"ocsp-signing", "RFC 6960 4.2.2.2; limits, responders", check_ocsp_signing, false},
    {"responder-key", "RFC 6960 4.2.2.2; limits, responders", check_responder_key, false},
    {"own-keys", "RFC 5280 4.2.1.3", check_own_keys, false},
};

const struct guard_table guard_power_table = {
    "issued certificate", power_rules, COUNT_OF(power_rules)};
