/* Rules for a root's own certificate that takes the place of another one: operators
 * ordered it. */

#include <string.h>

#include "daemon/x509/order.h"
#include "pkcs11/guard_int.h"

static bool
take_order(struct guard_case *g, struct error *why)
{
	const struct order_rules rules = {
	    .action = STATEMENT_CA_RENEW,
	    .object = g->l->ca,
	    .limits = g->l,
	    .right = LIMITS_RIGHT_LIMITS,
	    .needed = g->l->quorum,
	};
	struct bytes body = g->r->order->body;

	if (!order_verify(g->r->order, &rules, &g->statement, why) ||
	    !renewal_parse((const char *)body.p, body.len, &g->renewal, why))
		return false;
	g->renewed = true;
	return true;
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
	if (memcmp(g->renewal.replaces, g->key->tbs_sha256, sizeof digest) == 0)
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
