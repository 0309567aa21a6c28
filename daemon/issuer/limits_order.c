#include "daemon/issuer/limits_order.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "daemon/core/log.h"
#include "daemon/issuer/kept_order.h"
#include "daemon/issuer/pin_turn.h"
#include "daemon/issuer/policy_places.h"
#include "daemon/x509/limits_policy.h"
#include "db/ca.h"

struct limits_order {
	const struct ca_order_env *env;
	struct decision_key key;
	ca_ordered_fn *done;
	void *arg;
	char name[STATEMENT_NAME_MAX + 1];
	struct kept_order kept;
	struct limits old, fresh;
	uint8_t old_sha256[32];	      /* of the document in force */
	char *document, *policy_text; /* of the body; policy_text NULL: it stays */
	struct capolicy policy;
	struct policy_change change; /* what the policy comes to */
};

/* ---------------------------------------------------------------- the end */

static void
order_free(struct limits_order *o)
{
	kept_order_drop(&o->kept);
	ca_places_free(o->change.places);
	capolicy_free(&o->policy);
	free(o->document);
	free(o->policy_text);
	free(o);
}

/* why: NULL when the decision is closed. */
static void
order_end(struct limits_order *o, const struct error *why)
{
	ca_ordered_fn *done = o->done;
	void *arg = o->arg;

	order_free(o);
	done(why, arg);
}

/* What was done is done, also when the cache could not be read again. */
static void
on_reloaded(const struct error *err, void *arg)
{
	if (err != NULL)
		log_failure(LOG_LEVEL_DEBUG, "-", err);
	order_end(arg, NULL);
}

static void
on_applied(const struct error *err, void *arg)
{
	struct limits_order *o = arg;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		order_end(o, err);
		return;
	}
	log_info(o->name, "its limits are at version %u", (unsigned)o->fresh.version);
	if (!ca_cache_load(o->env->cache, on_reloaded, o, &e))
		order_end(o, NULL);
}

static bool
apply(struct limits_order *o, struct error *e)
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
	    .version = (int)o->fresh.version,
	    .document = o->document,
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
	struct limits_order *o = arg;
	struct error e = ERROR_INIT;

	if (failure != NULL)
		order_end(o, failure);
	else if (!apply(o, &e))
		order_end(o, &e);
}

static void
on_waits(const struct error *err, void *arg)
{
	order_end(arg, err);
}

static bool
ask_signer(struct limits_order *o, const struct issuing_ca *ca, struct error *e)
{
	const struct signproto_limits_set m = {.cka_id = ca->row.cka_id, .order = o->kept.order};
	const struct pin_turn turn = {
	    .token = ca->row.token, .ca = o->name, .kind = "order", .statement = m.order.statement};
	enum pin_turn_outcome now = pin_turn_take(o->env, o->key, &turn, on_waits, o, e);
	uint64_t id;

	if (now != PIN_TURN_GO)
		return now == PIN_TURN_WAITS;
	return signer_ask_limits_set(o->env->signers, ca->row.token, &m, on_limits_set, o, &id, e);
}

/* ------------------------------------------------------------- the beginning */

/* The policy that came with the limits, or the CA's own, must allow them. */
static bool
check_policy(struct limits_order *o, const struct issuing_ca *ca, struct error *e)
{
	if (o->policy_text == NULL)
		return limits_check_policy(&o->fresh, &ca->policy, e);
	if (ca->row.superseded)
		return error_set(e, ERROR_CONFLICT,
		    "an older key of CA %s keeps its policy: it signs CRLs at the places that its "
		    "certificates name, and nothing else",
		    o->name);
	return limits_check_next_policy(&ca->policy, &o->policy, e) &&
	       limits_check_policy(&o->fresh, &o->policy, e) &&
	       policy_places_change(
		   &ca->row, &ca->policy, &o->policy, o->fresh.version, &o->change, e);
}

static bool
check(struct limits_order *o, const struct issuing_ca *ca, struct error *e)
{
	uint8_t key[SHA256_DIGEST_LENGTH];

	SHA256(ca->row.spki.p, ca->row.spki.len, key);
	/* Whose limits an old key has need not speak for the CA any more. */
	if (o->fresh.retired == LIMITS_CA_RETIRED && ca->row.superseded)
		return error_set(e, ERROR_CONFLICT,
		    "CA %s is retired by the limits of the key that it signs with, and these are "
		    "of an older one",
		    o->name);
	return limits_check_change(&o->old, o->old_sha256, key, &o->fresh, e) &&
	       check_policy(o, ca, e);
}

/* The CA with the key that the limits are of, maybe a superseded one. */
static const struct issuing_ca *
find_key(const struct limits_order *o)
{
	const struct issuing_ca *ca = ca_cache_first(o->env->cache);
	uint8_t key[SHA256_DIGEST_LENGTH];

	for (; ca != NULL; ca = ca_cache_next(o->env->cache, ca)) {
		SHA256(ca->row.spki.p, ca->row.spki.len, key);
		if (strcmp(ca->row.name, o->name) == 0 &&
		    memcmp(key, o->fresh.key, sizeof key) == 0)
			return ca;
	}
	return NULL;
}

static void
on_loaded(const struct error *err, void *arg)
{
	struct limits_order *o = arg;
	const struct issuing_ca *ca;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		order_end(o, err);
		return;
	}
	ca = find_key(o);
	if (ca == NULL)
		error_set(&e, ERROR_NOT_FOUND,
		    "CA %s has no such key that signs certificates or CRLs", o->name);
	else if (check(o, ca, &e) && ask_signer(o, ca, &e))
		return;
	order_end(o, &e);
}

static bool
take_body(struct limits_order *o, const struct decision_row *row, struct error *e)
{
	struct limits_body parts;

	if (!limits_parse((const char *)row->limits[0].p, row->limits[0].len, &o->old, e) ||
	    !limits_body_parse((struct bytes){(const uint8_t *)row->body, strlen(row->body)},
		&parts, &o->fresh, e))
		return false;
	limits_sha256((const char *)row->limits[0].p, row->limits[0].len, o->old_sha256);
	o->document = strndup((const char *)parts.document.p, parts.document.len);
	if (o->document == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating limits");
	if (!o->fresh.has_policy)
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
	struct limits_order *o = calloc(1, sizeof *o);

	if (o == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating an order about limits");
	o->env = env;
	o->key = row->key;
	o->done = done;
	o->arg = arg;
	memcpy(o->name, statement->object, sizeof o->name);
	if (row->limits_count != 1 || row->body == NULL)
		error_set(e, ERROR_CONFLICT, "CA %s has no limits that could change", o->name);
	else if (kept_order_take(&o->kept, row, e) && take_body(o, row, e) &&
		 ca_cache_load(env->cache, on_loaded, o, e))
		return true;
	order_free(o);
	return false;
}
