/* The decision ca-cross: a CA elsewhere has certified the key of one of ours, and whoever
 * trusts that CA alone is to find the way to what ours issues (RFC 5280 3.2). The
 * certificate is handed out beside the CA's own; what ours signs under stays what it is,
 * so that its signer need not know. */

#include <time.h>

#include "daemon/issuer/ca_order_int.h"

/* The first one for the CA's key that is not the one it issues under. */
static bool
find_cross(
    struct ca_order *o, const struct issuing_ca *ca, struct certificate *out, struct error *e)
{
	struct error unread = ERROR_INIT;

	for (size_t i = 0; i < o->pool.count; i++) {
		if (!certificate_parse(o->pool.der[i], out, &unread))
			return error_set(e, ERROR_INPUT,
			    "one of the certificates cannot be read: %s", unread.text);
		if (bytes_equal(out->spki.whole, ca->row.spki) &&
		    !bytes_equal(out->whole, ca->row.certificate))
			return true;
	}
	return error_set(e, ERROR_INPUT,
	    "none of the certificates is another one for the key that CA %s signs with: was "
	    "another CSR certified?",
	    o->name);
}

/* It must lead from our key to another CA, and hold: what is wrong with it is found by
 * everybody who follows it, and by nobody here. */
static bool
check(struct ca_order *o, const struct issuing_ca *ca, const struct certificate *cross,
    struct error *e)
{
	int64_t now = (int64_t)time(NULL);
	struct certificate issuer;
	char end[CANON_TIME_SIZE];

	if (!capolicy_check_certificate(&ca->policy, ca->row.spki, cross, e))
		return false;
	if (certificate_is_self_issued(cross))
		return error_set(e, ERROR_INPUT,
		    "the certificate's issuer is CA %s itself: that is no cross-certificate (RFC "
		    "5280 "
		    "3.2); keys of one CA vouch for each other by \"chancery ca rollover %s\"",
		    o->name, o->name);
	canon_time_text(cross->not_after, end);
	if (now > cross->not_after)
		return error_set(e, ERROR_INPUT, "the cross-certificate ended at %s", end);
	return chain_find_issuer(&o->pool, cross, 1, now, &issuer, e) ||
	       error_wrap(e, "the cross-certificate's signature could not be verified; give its "
			     "issuer's certificate in the same file, or in another one");
}

static bool
keep(struct ca_order *o, const struct issuing_ca *ca, struct error *e)
{
	struct ca_crossed crossed = {.decision_id = o->key.id, .epoch = o->key.epoch};
	struct certificate cross;

	if (ca->context == NULL)
		return error_set(
		    e, ERROR_CONFLICT, "CA %s has no certificate of its own yet", o->name);
	if (!chain_pool_add_pem(&o->pool, o->body, e) || !find_cross(o, ca, &cross, e) ||
	    !check(o, ca, &cross, e) ||
	    !name_to_text(cross.issuer, o->readable, sizeof o->readable, e))
		return false;
	crossed.certificate = cross.whole;
	crossed.issuer = o->readable;
	crossed.not_after = cross.not_after;
	return ca_cross(o->env->db, &crossed, ca_order_closed, o, e) != NULL;
}

bool
ca_order_cross(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct ca_order *o = ca_order_new(env, row, statement, done, arg, e);

	if (o == NULL)
		return false;
	if (ca_order_load(o, keep, e))
		return true;
	ca_order_free(o);
	return false;
}
