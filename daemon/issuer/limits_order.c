#include "daemon/issuer/limits_order.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/issuer/ca_order_int.h"
#include "daemon/x509/limits_policy.h"
#include "db/ca.h"

static void
on_applied(const struct error *err, void *arg)
{
	struct ca_order *o = arg;

	if (err != NULL) {
		ca_order_end(o, err);
		return;
	}
	log_info(o->name, "its limits are at version %u", (unsigned)o->limits->version);
	ca_order_reload(o);
}

static bool
apply(struct ca_order *o, struct error *e)
{
	const struct capolicy *p = &o->policy;
	const struct ca_calendar calendar = {
	    .period_s = p->crl_period_s,
	    .delta_period_s = p->delta_period_s,
	    .align_unit_s = p->align_unit_s,
	    .align_offset_s = p->align_offset_s,
	    .jitter_s = p->crl_jitter_s,
	};
	const struct ca_limits_change change = {
	    .decision_id = o->key.id,
	    .epoch = o->key.epoch,
	    .version = (int)o->limits->version,
	    .document = o->limits_text,
	    .policy = o->policy_text,
	    .templates = p->templates,
	    .template_count = p->template_count,
	    .places = o->change.places,
	    .calendar = o->change.calendar ? &calendar : NULL,
	    .divide = o->change.divide,
	    .keep_expired = p->expired_certificates,
	    .keep_places = p->keep_old,
	};

	return ca_change_limits(o->env->db, &change, on_applied, o, e) != NULL;
}

static void
on_limits_set(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct ca_order *o = arg;
	struct error e = ERROR_INIT;

	if (failure != NULL)
		ca_order_end(o, failure);
	else if (!apply(o, &e))
		ca_order_end(o, &e);
}

static bool
ask_signer(struct ca_order *o, const struct issuing_ca *ca, struct error *e)
{
	const struct signproto_limits_set m = {.cka_id = ca->row.cka_id, .order = o->kept.order};
	enum pin_turn_outcome now = ca_order_turn(o, ca->row.token, o->name, e);
	uint64_t id;

	if (now != PIN_TURN_GO)
		return now == PIN_TURN_WAITS;
	return signer_ask_limits_set(o->env->signers, ca->row.token, &m, on_limits_set, o, &id, e);
}

/* ------------------------------------------------------------- the beginning */

/* The policy that came with the limits, or the CA's own, must allow them. */
static bool
check_policy(struct ca_order *o, const struct issuing_ca *ca, struct error *e)
{
	if (o->policy_text == NULL)
		return limits_check_policy(o->limits, &ca->policy, e);
	if (ca->row.superseded)
		return error_set(e, ERROR_CONFLICT,
		    "an older key of CA %s keeps its policy: it signs CRLs at the places that its "
		    "certificates name, and nothing else",
		    o->name);
	return limits_check_next_policy(&ca->policy, &o->policy, e) &&
	       limits_check_policy(o->limits, &o->policy, e) &&
	       policy_places_change(
		   &ca->row, &ca->policy, &o->policy, o->limits->version, &o->change, e);
}

static bool
check(struct ca_order *o, const struct issuing_ca *ca, struct error *e)
{
	/* Whose limits an old key has need not speak for the CA any more. */
	if (o->limits->retired == LIMITS_CA_RETIRED && ca->row.superseded)
		return error_set(e, ERROR_CONFLICT,
		    "CA %s is retired by the limits of the key that it signs with, and these are "
		    "of an older one",
		    o->name);
	return limits_check_change(o->old_limits, o->old_sha256, o->limits->key, o->limits, e) &&
	       check_policy(o, ca, e);
}

static void
on_loaded(const struct error *err, void *arg)
{
	struct ca_order *o = arg;
	const struct issuing_ca *ca;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		ca_order_end(o, err);
		return;
	}
	ca = ca_cache_find_digest(o->env->cache, o->name, o->limits->key);
	if (ca == NULL)
		error_set(&e, ERROR_NOT_FOUND,
		    "CA %s has no such key that signs certificates or CRLs", o->name);
	else if (check(o, ca, &e) && ask_signer(o, ca, &e))
		return;
	ca_order_end(o, &e);
}

static bool
take_body(struct ca_order *o, const struct decision_row *row, struct error *e)
{
	const char *old = (const char *)row->limits[0].p;
	struct limits_body parts;

	o->old_limits = malloc(sizeof *o->old_limits);
	o->limits = malloc(sizeof *o->limits);
	if (o->old_limits == NULL || o->limits == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating limits");
	if (!limits_parse(old, row->limits[0].len, o->old_limits, e) ||
	    !limits_body_parse(
		(struct bytes){(const uint8_t *)o->body, strlen(o->body)}, &parts, o->limits, e))
		return false;
	limits_sha256(old, row->limits[0].len, o->old_sha256);
	o->limits_text = strndup((const char *)parts.document.p, parts.document.len);
	if (o->limits_text == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating limits");
	if (!o->limits->has_policy)
		return true;
	o->policy_text = strndup((const char *)parts.policy.p, parts.policy.len);
	if (o->policy_text == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating limits");
	return capolicy_parse(o->policy_text, parts.policy.len, o->name, &o->policy, e);
}

bool
limits_order_change(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct ca_order *o = ca_order_new(env, row, statement, done, arg, e);

	if (o == NULL)
		return false;
	if (row->limits_count != 1 || row->body == NULL)
		error_set(e, ERROR_CONFLICT, "CA %s has no limits that could change", o->name);
	else if (take_body(o, row, e) && ca_cache_load(env->cache, on_loaded, o, e))
		return true;
	ca_order_free(o);
	return false;
}
