/* Rules for who approved a certificate, and what was approved. */

#include <string.h>

#include "pkcs11/guard_int.h"

static bool
is_approved(const struct guard_case *g)
{
	return g->r->statement.len > 0;
}

/* A CA certificate is never issued without a person. */
static bool
check_approval(struct guard_case *g, struct error *why)
{
	if (is_approved(g))
		return true;
	if (g->c.ca)
		return guard_no(why, "a CA certificate takes an operator's decision");
	return g->line->automatic ||
	       guard_no(why,
		   "template '%s' takes an operator's decision by the key's limits, and there is "
		   "none",
		   g->line->name);
}

/* What comes with a decision is looked at whatever the template. */
static bool
take_request(struct guard_case *g, struct error *why)
{
	return !is_approved(g) || csr_parse(g->r->csr, &g->csr, why);
}

static bool
take_statement(struct guard_case *g, struct error *why)
{
	struct bytes text = g->r->statement;

	if (!is_approved(g))
		return true;
	if (!statement_parse((const char *)text.p, text.len, &g->statement, why))
		return false;
	g->decided = true;
	return true;
}

static bool
check_action(struct guard_case *g, struct error *why)
{
	return !g->decided || g->statement.action == STATEMENT_APPROVE ||
	       guard_no(why, "the operator's decision is to %s, not to approve",
		   statement_action_name(g->statement.action));
}

static bool
check_decided_ca(struct guard_case *g, struct error *why)
{
	return !g->decided || strcmp(g->statement.ca, g->l->ca) == 0 ||
	       guard_no(why, "the operator's decision is about CA '%s', and this is '%s'",
		   g->statement.ca, g->l->ca);
}

static bool
check_decided_template(struct guard_case *g, struct error *why)
{
	return !g->decided || strcmp(g->statement.template_name, g->r->template) == 0 ||
	       guard_no(why, "the operator's decision is about template '%s', and this is '%s'",
		   g->statement.template_name, g->r->template);
}

static bool
check_decided_request(struct guard_case *g, struct error *why)
{
	uint8_t digest[32];

	if (!g->decided)
		return true;
	if (!guard_sha256(g->r->csr, digest, why))
		return false;
	return (g->statement.has_csr &&
		   memcmp(digest, g->statement.csr_sha256, sizeof digest) == 0) ||
	       guard_no(why, "the operator's decision is about another CSR");
}

static bool
check_decider(struct guard_case *g, struct error *why)
{
	const struct limits_operator *o;

	if (!g->decided)
		return true;
	o = limits_find_operator(g->l, g->r->spki);
	if (o == NULL)
		return guard_no(why,
		    "the key that signed the decision is none of the operators' in the key's "
		    "limits");
	return (o->rights & LIMITS_RIGHT_DECIDE) != 0 ||
	       guard_no(why, "%s may not decide by the key's limits", o->person);
}

static bool
check_decision_signature(struct guard_case *g, struct error *why)
{
	const struct guard_request *r = g->r;

	return !g->decided || statement_verify((const char *)r->statement.p, r->statement.len,
				  r->signature.p, r->signature.len, r->spki.p, r->spki.len, why);
}

/* It was handed in while it was fresh, which the issuer sees to; here it is a
 * bound on how long the journal has to remember it. */
static bool
check_decision_time(struct guard_case *g, struct error *why)
{
	if (!g->decided)
		return true;
	if (g->statement.issued > g->r->now + GUARD_AHEAD_MAX_S)
		return guard_no(why,
		    "the operator's decision is of a time more than %d s ahead of the signer's "
		    "clock",
		    GUARD_AHEAD_MAX_S);
	return g->statement.issued >= g->r->now - GUARD_AGE_MAX_S ||
	       guard_no(why,
		   "the operator's decision is more than %d days old: submit the request again",
		   GUARD_AGE_MAX_S / 86400);
}

static bool
check_request_key(struct guard_case *g, struct error *why)
{
	return !g->decided || bytes_equal(g->c.spki.whole, g->csr.spki.whole) ||
	       guard_no(why, "the public key in it is not the one of the CSR that was approved");
}

static bool
check_request_subject(struct guard_case *g, struct error *why)
{
	return !g->decided || bytes_equal(g->c.subject, g->csr.subject) ||
	       guard_no(why, "the subject is not the one of the CSR that was approved");
}

static struct bytes
names_of(struct bytes extensions)
{
	struct extension x;

	if (extensions.len > 0 && extension_find(extensions, oid_subject_alt_name, &x))
		return x.value;
	return (struct bytes){0};
}

static bool
check_request_names(struct guard_case *g, struct error *why)
{
	return !g->decided || bytes_equal(names_of(g->c.extensions), names_of(g->csr.extensions)) ||
	       guard_no(why, "the alternative names are not those of the CSR that was approved");
}

static const struct guard_rule decision_rules[] = {
    {"approval", "limits, template: manual", check_approval, false},
    {"request", "RFC 2986 4", take_request, true},
    {"statement", "limits, operator", take_statement, true},
    {"action", "limits, operator", check_action, false},
    {"decided-ca", "limits, ca", check_decided_ca, false},
    {"decided-template", "limits, template", check_decided_template, false},
    {"decided-request", "RFC 2986 4", check_decided_request, false},
    {"decider", "limits, operator: decide", check_decider, false},
    {"decision-signature", "limits, operator", check_decision_signature, false},
    {"decision-time", "limits, operator", check_decision_time, false},
    {"request-key", "RFC 2986 3, RFC 5280 4.1.2.7", check_request_key, false},
    {"request-subject", "RFC 2986 3, RFC 5280 4.1.2.6", check_request_subject, false},
    {"request-names", "RFC 2986 3, RFC 5280 4.2.1.6", check_request_names, false},
};

const struct guard_table guard_decision_table = {
    "issued certificate", decision_rules, COUNT_OF(decision_rules)};
