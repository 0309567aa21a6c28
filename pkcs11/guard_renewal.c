/* Rules for a root's own certificate that takes the place of another one: operators
 * ordered it. */

#include <string.h>

#include "daemon/x509/order.h"
#include "pkcs11/guard_int.h"

static bool
verify_order(struct guard_case *g, enum statement_action action, struct error *why)
{
	const struct order_rules rules = {
	    .action = action,
	    .object = g->l->ca,
	    .limits = g->l,
	    .right = LIMITS_RIGHT_LIMITS,
	    .needed = g->l->quorum,
	};
	struct bytes body = g->r->order->body;

	if (!order_verify(g->r->order, &rules, &g->statement, why) ||
	    !renewal_parse((const char *)body.p, body.len, &g->renewal, why))
		return false;
	/* Each of a CA's keys has limits of its own, maybe by the same operators. */
	if (!g->renewal.has_signer ||
	    memcmp(g->renewal.signer, g->key->spki_sha256, sizeof g->renewal.signer) != 0)
		return guard_no(why, "the operators ordered another key to sign it");
	g->renewed = true;
	return true;
}

static bool
take_order(struct guard_case *g, struct error *why)
{
	return verify_order(g, STATEMENT_CA_RENEW, why);
}

/* A bound on how long the journal has to remember it. */
static bool
check_order_time(struct guard_case *g, struct error *why)
{
	if (g->statement.issued > g->r->now + GUARD_AHEAD_MAX_S)
		return guard_no(why,
		    "the order is of a time more than %d s ahead of the signer's clock",
		    GUARD_AHEAD_MAX_S);
	return g->statement.issued >= g->r->now - GUARD_AGE_MAX_S ||
	       guard_no(why, "the order is more than %d days old: order the renewal again",
		   GUARD_AGE_MAX_S / 86400);
}

/* The one that stands now; or, as after a crash, the same one again, which has taken
 * its place already. */
static bool
check_replaced(struct guard_case *g, struct error *why)
{
	uint8_t digest[32];

	if (!g->key->installed)
		return guard_no(why, "the key has no certificate that could be renewed");
	if (g->renewal.has_replaces &&
	    memcmp(g->renewal.replaces, g->key->tbs_sha256, sizeof digest) == 0)
		return true;
	if (!guard_sha256(g->r->tbs, digest, why))
		return false;
	return memcmp(digest, g->key->tbs_sha256, sizeof digest) == 0 ||
	       guard_no(why, "the operators ordered to replace another certificate than the one "
			     "that is in force");
}

static bool
check_renewed_key(struct guard_case *g, struct error *why)
{
	return memcmp(g->renewal.key, g->spki_sha256, sizeof g->spki_sha256) == 0 ||
	       guard_no(why, "the operators ordered a certificate for another key");
}

static bool
check_renewed_end(struct guard_case *g, struct error *why)
{
	return g->c.not_after <= g->renewal.not_after ||
	       guard_no(why, "notAfter is later than the operators ordered");
}

static const struct guard_rule renewal_rules[] = {
    {"renewal-order", "limits, operator: limits", take_order, true},
    {"renewal-time", "limits, operator: limits", check_order_time, false},
    {"renewal-replaces", "RFC 5280 4.1.2.2", check_replaced, false},
    {"renewal-key", "RFC 5280 4.1.2.7", check_renewed_key, false},
    {"renewal-end", "RFC 5280 4.1.2.5", check_renewed_end, false},
};

const struct guard_table guard_renewal_table = {
    "a root's own certificate anew", renewal_rules, COUNT_OF(renewal_rules)};

/* ---- by which one of a root's keys vouches for another */

static bool
take_rollover_order(struct guard_case *g, struct error *why)
{
	g->rollover = verify_order(g, STATEMENT_CA_ROLLOVER, why);
	return g->rollover;
}

static bool
check_rollover_key(struct guard_case *g, struct error *why)
{
	if (memcmp(g->renewal.key, g->spki_sha256, sizeof g->spki_sha256) != 0)
		return guard_no(why, "the operators ordered a certificate for another key");
	return memcmp(g->spki_sha256, g->key->spki_sha256, sizeof g->spki_sha256) != 0 ||
	       guard_no(why, "the public key in it is the signing key's own");
}

static bool
check_rollover_validity(struct guard_case *g, struct error *why)
{
	return (g->key->installed && g->c.not_before >= g->key->not_before &&
		   g->c.not_after <= g->key->not_after) ||
	       guard_no(why, "its validity is not inside that of the signing key's certificate");
}

static const struct guard_rule rollover_rules[] = {
    {"rollover-order", "RFC 4210 4.4; limits, operator: limits", take_rollover_order, true},
    {"rollover-time", "limits, operator: limits", check_order_time, false},
    {"rollover-key", "RFC 4210 4.4.1", check_rollover_key, false},
    {"rollover-validity", "RFC 4210 4.4.1", check_rollover_validity, false},
    {"rollover-end", "RFC 5280 4.1.2.5", check_renewed_end, false},
};

const struct guard_table guard_rollover_table = {
    "a root's for another key of its own", rollover_rules, COUNT_OF(rollover_rules)};
