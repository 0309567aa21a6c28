#include "daemon/issuer/decide.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/issuer/decision_check.h"
#include "daemon/x509/template.h"
#include "db/decision.h"

#define LEASE_S 60
#define RETRY_S 1

struct decider {
	struct decide_env env;
	void (*idle)(void *arg);
	void *arg;
	bool claiming, again, draining;
	size_t working; /* decisions claimed and not yet closed */
};

/* A crl-issue whose CRL is not begun yet. */
struct ordered_crl {
	struct decider *d;
	struct decision_key key;
};

bool
decider_is_idle(const struct decider *d)
{
	return d->working == 0 && !d->claiming;
}

static void
one_done(struct decider *d)
{
	d->working--;
	if (d->again)
		decider_poke(d);
	if (decider_is_idle(d))
		d->idle(d->arg);
}

static void
on_done(const struct error *err, void *arg)
{
	struct decider *d = arg;

	/* Not written: the lease ends and it is decided again. */
	if (err != NULL)
		log_failure(LOG_LEVEL_WARNING, "decision", err);
	one_done(d);
}

/* The database could not even be asked. */
static void
give_up(struct decider *d, const struct error *e)
{
	log_failure(LOG_LEVEL_WARNING, "decision", e);
	one_done(d);
}

static void
settle(struct decider *d, struct decision_key key, const struct error *why)
{
	struct error e = ERROR_INIT;
	struct db_pending *p;

	if (error_is_retryable(why))
		p = decision_retry(d->env.db, key, RETRY_S, why->text, on_done, d, &e);
	else
		p = decision_refuse(d->env.db, key, why->text, on_done, d, &e);
	if (p == NULL)
		give_up(d, &e);
}

/* ------------------------------------------------------------------ actions
 *
 * Each returns false with the reason when the decision cannot be applied; after
 * true somebody calls one_done.
 */

static bool
apply_revocation(
    struct decider *d, const struct decision_row *row, const struct statement *s, struct error *e)
{
	unsigned reason = 0;

	if (s->action == STATEMENT_REVOKE && !statement_reason_code(s->reason, &reason))
		return error_set(
		    e, ERROR_INPUT, "RFC 5280 5.3.1: %s is no reason for a revocation", s->reason);
	return decision_apply_revocation(d->env.db, row->key, reason, on_done, d, e) != NULL;
}

static void
on_crl_begun(bool begun, const struct error *err, void *arg)
{
	struct ordered_crl *o = arg;
	struct decider *d = o->d;
	struct decision_key key = o->key;
	struct error e = ERROR_INIT;

	free(o);
	if (err == NULL && begun) {
		one_done(d); /* the CRL closes the decision when it is issued */
		return;
	}
	if (err == NULL) {
		error_set(&e, ERROR_UNAVAILABLE, "another CRL of this CA is under way");
		err = &e;
	}
	settle(d, key, err);
}

static bool
apply_crl_issue(
    struct decider *d, const struct decision_row *row, const struct statement *s, struct error *e)
{
	struct issuing_ca *ca = ca_cache_find_name(d->env.cache, s->ca);
	struct ordered_crl *o;

	if (ca == NULL)
		return error_set(e, ERROR_NOT_FOUND, "there is no CA named %s", s->ca);
	o = calloc(1, sizeof *o);
	if (o == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating an order for a CRL");
	*o = (struct ordered_crl){d, row->key};
	if (crl_calendar_order(d->env.calendar, ca, strcmp(s->object, "delta") == 0, row->key.id,
		on_crl_begun, o, e))
		return true;
	free(o);
	return false;
}

static bool
apply_template(
    struct decider *d, const struct decision_row *row, const struct statement *s, struct error *e)
{
	struct template *t = NULL;
	bool ok;

	if (!template_parse(row->body, strlen(row->body), s->object, &t, e))
		return false;
	if (strcmp(template_name(t), s->object) != 0)
		ok = error_set(e, ERROR_INPUT, "the template calls itself %s and not %s",
		    template_name(t), s->object);
	else
		ok = decision_apply_template(d->env.db, row->key, s->object,
			 template_is_automatic(t), on_done, d, e) != NULL;
	template_free(t);
	return ok;
}

static bool
apply_operator(
    struct decider *d, const struct decision_row *row, const struct statement *s, struct error *e)
{
	const char *roles[OPERATOR_ROLES_MAX];
	struct operator_body body;

	if (!operator_body_parse(row->body, &body, e))
		return false;
	if (strcmp(body.person, s->object) != 0)
		return error_set(e, ERROR_INPUT, "the description is of %s and not of %s",
		    body.person, s->object);
	for (size_t i = 0; i < body.role_count; i++)
		roles[i] = body.roles[i];
	return decision_apply_operator(d->env.db, row->key, body.person, roles, body.role_count,
		   body.kind, (struct bytes){body.spki, body.spki_len}, on_done, d, e) != NULL;
}

static void
on_ordered(void *arg)
{
	one_done(arg);
}

static bool
apply(struct decider *d, const struct decision_row *row, const struct statement *s, struct error *e)
{
	switch (s->action) {
	case STATEMENT_APPROVE:
	case STATEMENT_DENY:
		return decision_apply_request(d->env.db, row->key, on_done, d, e) != NULL;
	case STATEMENT_REVOKE:
	case STATEMENT_HOLD:
	case STATEMENT_RELEASE:
		return apply_revocation(d, row, s, e);
	case STATEMENT_CA_CREATE:
		return ca_order_create(&d->env.orders, row, s, on_ordered, d, e);
	case STATEMENT_CA_INSTALL:
		return ca_order_install(&d->env.orders, row, s, on_ordered, d, e);
	case STATEMENT_CRL_ISSUE:
		return apply_crl_issue(d, row, s, e);
	case STATEMENT_TEMPLATE_APPLY:
		return apply_template(d, row, s, e);
	case STATEMENT_OPERATOR_ADD:
		return apply_operator(d, row, s, e);
	}
	return error_set(e, ERROR_INTERNAL, "no way to apply %s", row->action);
}

static void
decide(struct decider *d, const struct decision_row *row)
{
	struct statement statement;
	struct error e = ERROR_INIT;

	if (!decision_check(row, d->env.own_uid, &statement, &e)) {
		log_warning(row->public_id, "refused %s received via %s: %s", row->action,
		    row->received_via, e.text);
		settle(d, row->key, &e);
	} else if (!apply(d, row, &statement, &e)) {
		log_failure(LOG_LEVEL_WARNING, row->public_id, &e);
		settle(d, row->key, &e);
	} else {
		log_info(row->public_id, "%s of %s by %s", row->action, statement.object,
		    row->person != NULL ? row->person : row->received_via);
	}
}

/* ------------------------------------------------------------------- claim */

static void
on_claimed(const struct decision_row *rows, size_t n, const struct error *err, void *arg)
{
	struct decider *d = arg;

	d->claiming = false;
	if (err != NULL) {
		log_failure(LOG_LEVEL_WARNING, "decision", err);
	} else {
		d->working += n;
		d->again = d->again || n == DECISION_BATCH_MAX;
		for (size_t i = 0; i < n; i++)
			decide(d, &rows[i]);
		if (d->again)
			decider_poke(d);
	}
	if (decider_is_idle(d))
		d->idle(d->arg);
}

void
decider_poke(struct decider *d)
{
	struct error e = ERROR_INIT;

	d->again = true;
	if (d->claiming || d->draining || !db_is_up(d->env.db) || d->working > DECISION_BATCH_MAX)
		return;
	d->again = false;
	if (decision_claim(d->env.db, DECISION_BATCH_MAX, LEASE_S, on_claimed, d, &e) == NULL)
		log_failure(LOG_LEVEL_WARNING, "decision", &e);
	else
		d->claiming = true;
}

struct decider *
decider_new(const struct decide_env *env, void (*idle)(void *arg), void *arg, struct error *e)
{
	struct decider *d = calloc(1, sizeof *d);

	if (d == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating the queue of decisions");
		return NULL;
	}
	*d = (struct decider){.env = *env, .idle = idle, .arg = arg};
	return d;
}

void
decider_drain(struct decider *d)
{
	d->draining = true;
}

void
decider_free(struct decider *d)
{
	free(d);
}
