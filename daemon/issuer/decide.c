#include "daemon/issuer/decide.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>
#include <openssl/sha.h>

#include "daemon/core/log.h"
#include "daemon/issuer/decision_check.h"
#include "daemon/issuer/key_attest.h"
#include "daemon/issuer/key_end.h"
#include "daemon/issuer/limits_order.h"
#include "daemon/issuer/reseed_order.h"
#include "daemon/x509/crl.h"
#include "daemon/x509/template.h"
#include "db/ca.h"
#include "db/decision.h"

#define LEASE_S 30
#define LEASE_RENEW_S 10
/* A decision that has to wait is tried again after as many seconds as it was
 * tried before, at most these. */
#define RETRY_MAX_S 5
/* An order that waits for another, of a CRL or at its token, asks again for its turn. */
#define TURN_S 1
/* Orders in hand for one token, which may hang for as long as a call of its module takes. */
#define TOKEN_ORDERS_MAX 4
/* Decisions in hand: a batch can be claimed also while every token hangs. */
#define WORKING_MAX ((size_t)CONFIG_TOKENS_MAX * TOKEN_ORDERS_MAX + DECISION_BATCH_MAX)

/* A decision in hand: from its claim until the database has the outcome. */
struct task {
	TAILQ_ENTRY(task) link;
	struct decider *d;
	struct decision_key key;
	char public_id[DB_UUID_TEXT_SIZE];
	const struct config_token *token; /* that an order waits for; NULL: for none */
	/* crl-issue: until its CRL is begun */
	char ca[STATEMENT_NAME_MAX + 1];
	bool delta;
	bool of_ca; /* a revocation: of the certificate of a CA here */
};

TAILQ_HEAD(task_list, task);

struct decider {
	struct decide_env env;
	void (*idle)(void *arg);
	void *arg;
	bool claiming, again, draining;
	bool held; /* the clock is in doubt */
	struct task_list tasks;
	size_t working; /* tasks */
	struct event *lease;
	struct event *retry; /* the next moment at which one that waits is due */
};

bool
decider_is_idle(const struct decider *d)
{
	return d->working == 0 && !d->claiming;
}

static void
end_task(struct task *t)
{
	struct decider *d = t->d;

	TAILQ_REMOVE(&d->tasks, t, link);
	free(t);
	d->working--;
	if (d->again)
		decider_poke(d);
	if (decider_is_idle(d))
		d->idle(d->arg);
}

/* Not written: the lease ends and it is decided again. */
static void
on_settled(const struct error *err, void *arg)
{
	struct task *t = arg;

	if (err != NULL)
		log_failure(LOG_LEVEL_WARNING, t->public_id, err);
	end_task(t);
}

static void
look_again(struct decider *d, int after_s)
{
	const struct timeval then = {after_s, 10000};

	if (!event_pending(d->retry, EV_TIMEOUT, NULL))
		(void)event_add(d->retry, &then);
}

/* Back into the queue for so long. */
static void
put_back(struct task *t, const struct error *why, int after_s)
{
	struct decider *d = t->d;
	struct error e = ERROR_INIT;

	if (decision_retry(d->env.db, t->key, after_s, why->text, on_settled, t, &e) != NULL) {
		look_again(d, after_s);
		return;
	}
	log_failure(LOG_LEVEL_WARNING, t->public_id, &e);
	end_task(t);
}

/* Ends the task with the reason why the decision is not applied: it is refused,
 * or goes back into the queue. */
static void
settle(struct task *t, const struct error *why)
{
	struct error e = ERROR_INIT;

	if (error_is_retryable(why)) {
		put_back(t, why, t->key.epoch < RETRY_MAX_S ? t->key.epoch : RETRY_MAX_S);
	} else if (decision_refuse(t->d->env.db, t->key, why->text, on_settled, t, &e) == NULL) {
		log_failure(LOG_LEVEL_WARNING, t->public_id, &e);
		end_task(t);
	}
}

/* What the database refuses for good would be refused in an hour, too. */
static void
on_applied(const struct error *err, void *arg)
{
	struct task *t = arg;

	if (err == NULL) {
		end_task(t);
		return;
	}
	log_failure(LOG_LEVEL_WARNING, t->public_id, err);
	settle(t, err);
}

/* ------------------------------------------------------------------ actions
 *
 * Each returns false with the reason when the decision cannot be applied; after
 * true somebody ends the task.
 */

static void
on_cas_read(const struct error *err, void *arg)
{
	if (err != NULL)
		log_failure(LOG_LEVEL_DEBUG, "decision", err);
}

/* Which of them may issue is another question now. */
static void
reload_cas(struct decider *d)
{
	struct error e = ERROR_INIT;

	if (!ca_cache_load(d->env.cache, on_cas_read, d, &e))
		log_failure(LOG_LEVEL_DEBUG, "decision", &e);
}

/* Whoever fetches a CRL after it must learn of it soon: a CRL that was made
 * because of it may be looked for at once. */
static void
on_revoked(const struct error *err, void *arg)
{
	struct task *t = arg;
	struct crl_calendar *calendar = t->d->env.calendar;

	if (err == NULL && t->of_ca)
		reload_cas(t->d);
	on_applied(err, t);
	if (err == NULL)
		crl_calendar_poke(calendar);
}

/* A CA's own certificate, or one above it. */
static bool
is_of_ca(const struct decider *d, struct bytes sha256)
{
	const struct issuing_ca *ca = ca_cache_first(d->env.cache);
	uint8_t own[SHA256_DIGEST_LENGTH];

	for (; ca != NULL; ca = ca_cache_next(d->env.cache, ca)) {
		for (size_t i = 0; i <= ca->row.chain_len; i++) {
			struct bytes c = i == 0 ? ca->row.certificate : ca->row.chain[i - 1];

			SHA256(c.p, c.len, own);
			if (bytes_equal(sha256, (struct bytes){own, sizeof own}))
				return true;
		}
	}
	return false;
}

/* Seconds until a CRL is wanted that says so; -1: when the calendar makes one. */
static int64_t
publish_after(const struct decider *d, const struct statement *s, unsigned reason)
{
	const struct issuing_ca *ca = ca_cache_find_name(d->env.cache, s->ca);

	if (ca == NULL)
		return -1;
	return reason == CRL_KEY_COMPROMISE || reason == CRL_CA_COMPROMISE
		   ? ca->policy.on_compromise_s
		   : ca->policy.on_revocation_s;
}

static bool
apply_revocation(
    struct task *t, const struct decision_row *row, const struct statement *s, struct error *e)
{
	unsigned reason = 0;
	int64_t since = -1;

	if (s->action == STATEMENT_REVOKE && !statement_revocation(s->reason, &reason, &since))
		return error_set(
		    e, ERROR_INPUT, "RFC 5280 5.3.1: %s is no reason for a revocation", s->reason);
	t->of_ca = is_of_ca(t->d, row->certificate_sha256);
	return decision_apply_revocation(t->d->env.db, row->key, reason, since,
		   publish_after(t->d, s, reason), on_revoked, t, e) != NULL;
}

static void
on_crl_begun(bool begun, const struct error *err, void *arg)
{
	struct task *t = arg;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		settle(t, err);
	} else if (begun) {
		end_task(t); /* the CRL closes the decision when it is issued */
	} else {
		error_set(&e, ERROR_UNAVAILABLE,
		    "another CRL of this CA is under way, or was issued this very second");
		put_back(t, &e, TURN_S);
	}
}

static bool
order_crl(struct task *t, struct error *e)
{
	struct issuing_ca *ca = ca_cache_find_name(t->d->env.cache, t->ca);

	if (ca == NULL)
		return error_set(e, ERROR_NOT_FOUND, "there is no CA named %s", t->ca);
	return crl_calendar_order(t->d->env.calendar, ca, t->delta, &t->key, on_crl_begun, t, e);
}

static void
on_cas_loaded(const struct error *err, void *arg)
{
	struct task *t = arg;
	struct error e = ERROR_INIT;

	if (err != NULL)
		settle(t, err);
	else if (!order_crl(t, &e))
		settle(t, &e);
}

static bool
apply_crl_issue(struct task *t, const struct statement *s, struct error *e)
{
	const struct issuing_ca *ca = ca_cache_find_name(t->d->env.cache, s->ca);

	memcpy(t->ca, s->ca, sizeof t->ca);
	t->delta = strcmp(s->object, "delta") == 0;
	if (ca != NULL && ca->context != NULL)
		return order_crl(t, e);
	/* It may have got its certificate since, here or from another issuer. */
	return ca_cache_load(t->d->env.cache, on_cas_loaded, t, e);
}

static bool
apply_template(
    struct task *task, const struct decision_row *row, const struct statement *s, struct error *e)
{
	struct template *t = NULL;
	bool ok;

	if (!template_parse(row->body, strlen(row->body), s->object, &t, e))
		return false;
	if (strcmp(template_name(t), s->object) != 0)
		ok = error_set(e, ERROR_INPUT, "the template calls itself %s and not %s",
		    template_name(t), s->object);
	else
		ok = decision_apply_template(task->d->env.db, row->key, s->object,
			 template_is_automatic(t), on_applied, task, e) != NULL;
	template_free(t);
	return ok;
}

static bool
apply_operator(
    struct task *t, const struct decision_row *row, const struct statement *s, struct error *e)
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
	return decision_apply_operator(t->d->env.db, row->key, body.person, roles, body.role_count,
		   body.kind, (struct bytes){body.spki, body.spki_len}, on_applied, t, e) != NULL;
}

static bool
apply(struct task *t, const struct decision_row *row, const struct statement *s, struct error *e)
{
	struct decider *d = t->d;

	switch (s->action) {
	case STATEMENT_APPROVE:
	case STATEMENT_DENY:
		return decision_apply_request(d->env.db, row->key, on_applied, t, e) != NULL;
	case STATEMENT_REVOKE:
	case STATEMENT_HOLD:
	case STATEMENT_RELEASE:
		return apply_revocation(t, row, s, e);
	case STATEMENT_CA_CREATE:
		return ca_order_create(&d->env.orders, row, s, on_applied, t, e);
	case STATEMENT_CA_INSTALL:
		return ca_order_install(&d->env.orders, row, s, on_applied, t, e);
	case STATEMENT_CRL_ISSUE:
		return apply_crl_issue(t, s, e);
	case STATEMENT_TEMPLATE_APPLY:
		return apply_template(t, row, s, e);
	case STATEMENT_OPERATOR_ADD:
		return apply_operator(t, row, s, e);
	case STATEMENT_CA_LIMITS:
		return limits_order_change(&d->env.orders, row, s, on_applied, t, e);
	case STATEMENT_CA_RENEW:
		return ca_order_renew(&d->env.orders, row, s, on_applied, t, e);
	case STATEMENT_CA_ROLLOVER:
		return ca_order_rollover(&d->env.orders, row, s, on_applied, t, e);
	case STATEMENT_CA_CROSS:
		return ca_order_cross(&d->env.orders, row, s, on_applied, t, e);
	case STATEMENT_CA_REKEY:
		return ca_order_rekey(&d->env.orders, row, s, on_applied, t, e);
	case STATEMENT_KEY_ATTEST:
		return key_attest(&d->env.orders, row, s, on_applied, t, e);
	case STATEMENT_KEY_DESTROY:
		return key_end_order(&d->env.orders, row, s, on_applied, t, e);
	case STATEMENT_SIGNER_RESEED:
		return reseed_order(&d->env.orders, row, s, on_applied, t, e);
	case STATEMENT_PIN_UNLOCK:
	case STATEMENT_PIN_OPERATE:
	case STATEMENT_PIN_LOCK:
	case STATEMENT_PIN_CLEAR:
	case STATEMENT_PIN_SPLIT:
		break; /* no decisions: decision_check has refused them */
	}
	return error_set(e, ERROR_INTERNAL, "no way to apply %s", row->action);
}

/* One token that hangs keeps no decisions from being taken up but the orders for it. */
static bool
take_turn(
    struct task *t, const struct decision_row *row, const struct statement *s, struct error *e)
{
	const struct config_token *token = NULL;
	const struct task *other;
	size_t count = 0;

	/* Whoever builds the CRL waits for the token. */
	if (row->token != NULL && s->action != STATEMENT_CRL_ISSUE)
		token = config_find_token(t->d->env.orders.config, row->token);
	TAILQ_FOREACH(other, &t->d->tasks, link)
	{
		count += token != NULL && other->token == token;
	}
	if (count >= TOKEN_ORDERS_MAX)
		return error_set(e, ERROR_UNAVAILABLE,
		    "%d other orders wait for token %s, and no more are taken up at a time",
		    TOKEN_ORDERS_MAX, token->name);
	t->token = token;
	return true;
}

static void
decide(struct task *t, const struct decision_row *row)
{
	struct statement statement;
	struct error e = ERROR_INIT;

	if (!decision_check(row, t->d->env.own_uid, &statement, &e)) {
		log_warning(row->public_id, "refused %s received via %s: %s", row->action,
		    row->received_via, e.text);
		settle(t, &e);
		return;
	}
	if (row->key.epoch == 1)
		log_info(row->public_id, "%s of %s by %s%s", row->action, statement.object,
		    row->person != NULL ? row->person : row->received_via,
		    row->more_count > 0 ? " and others" : "");
	if (!take_turn(t, row, &statement, &e)) {
		put_back(t, &e, TURN_S);
		return;
	}
	if (!apply(t, row, &statement, &e)) {
		log_failure(LOG_LEVEL_WARNING, row->public_id, &e);
		settle(t, &e);
	}
}

/* ------------------------------------------------------------------- claim */

static struct task *
add_task(struct decider *d, const struct decision_row *row)
{
	struct task *t = calloc(1, sizeof *t);

	if (t == NULL) {
		log_error(row->public_id, "no memory for this decision; its lease will end");
		return NULL;
	}
	t->d = d;
	t->key = row->key;
	memcpy(t->public_id, row->public_id, sizeof t->public_id);
	TAILQ_INSERT_TAIL(&d->tasks, t, link);
	d->working++;
	return t;
}

static void
on_claimed(const struct decision_row *rows, size_t n, const struct error *err, void *arg)
{
	struct decider *d = arg;
	struct task *tasks[DECISION_BATCH_MAX];

	d->claiming = false;
	if (err != NULL)
		log_failure(LOG_LEVEL_WARNING, "decision", err);
	d->again = d->again || n == DECISION_BATCH_MAX;
	/* All first, so that the end of one is not taken for the end of all. */
	for (size_t i = 0; i < n; i++)
		tasks[i] = add_task(d, &rows[i]);
	for (size_t i = 0; i < n; i++) {
		if (tasks[i] != NULL)
			decide(tasks[i], &rows[i]);
	}
	if (d->again)
		decider_poke(d);
	if (decider_is_idle(d))
		d->idle(d->arg);
}

void
decider_poke(struct decider *d)
{
	const struct config *config = d->env.orders.config;
	const char *tokens[CONFIG_TOKENS_MAX];
	struct error e = ERROR_INIT;

	d->again = true;
	if (d->claiming || d->draining || !db_is_up(d->env.db) ||
	    d->working + DECISION_BATCH_MAX > WORKING_MAX)
		return;
	d->again = false;
	for (size_t i = 0; i < config->token_count; i++)
		tokens[i] = config->tokens[i].name;
	if (decision_claim(d->env.db, DECISION_BATCH_MAX, LEASE_S, tokens, config->token_count,
		!d->held, on_claimed, d, &e) == NULL)
		log_failure(LOG_LEVEL_WARNING, "decision", &e);
	else
		d->claiming = true;
}

/* Keys are made and tokens waited for while their decisions are in hand. */
static void
on_kept(const struct error *err, void *arg)
{
	if (err != NULL)
		log_failure(LOG_LEVEL_DEBUG, "decision", err);
}

static void
on_expired(const struct error *err, void *arg)
{
	if (err != NULL)
		log_failure(
		    error_is_retryable(err) ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, "decision", err);
}

static void
on_reminders(const struct ca_reminder *rows, size_t n, const struct error *err, void *arg)
{
	for (size_t i = 0; i < n; i++)
		log_warning(rows[i].name,
		    "half of the life of its certificate is over, which ends at %s: renew it "
		    "(chancery ca renew)",
		    rows[i].not_after);
	on_expired(err, arg);
}

/* Ceremonies that nobody came to the end of; and generations of CAs. */
static void
expire(struct decider *d)
{
	struct error e = ERROR_INIT;

	if (!d->draining && db_is_up(d->env.db) &&
	    (decision_expire(d->env.db, on_expired, d, &e) == NULL ||
		ca_retire(d->env.db, on_expired, d, &e) == NULL ||
		ca_remind(d->env.db, on_reminders, d, &e) == NULL))
		log_failure(LOG_LEVEL_DEBUG, "decision", &e);
}

static void
on_lease(evutil_socket_t fd, short what, void *arg)
{
	struct decider *d = arg;
	struct decision_key keys[WORKING_MAX];
	struct error e = ERROR_INIT;
	const struct task *t;
	size_t n = 0;

	TAILQ_FOREACH(t, &d->tasks, link)
	{
		if (n < WORKING_MAX)
			keys[n++] = t->key;
	}
	if (n > 0 && decision_keep(d->env.db, keys, n, LEASE_S, on_kept, d, &e) == NULL)
		log_failure(LOG_LEVEL_DEBUG, "decision", &e);
	expire(d);
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	decider_poke(arg);
}

struct decider *
decider_new(const struct decide_env *env, void (*idle)(void *arg), void *arg, struct error *e)
{
	struct decider *d = calloc(1, sizeof *d);
	const struct timeval renew = {LEASE_RENEW_S, 0};

	if (d == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating the queue of decisions");
		return NULL;
	}
	*d = (struct decider){.env = *env, .idle = idle, .arg = arg};
	TAILQ_INIT(&d->tasks);
	d->lease = event_new(env->base, -1, EV_PERSIST, on_lease, d);
	d->retry = event_new(env->base, -1, 0, on_retry, d);
	if (d->lease == NULL || d->retry == NULL || event_add(d->lease, &renew) != 0) {
		error_set(e, ERROR_SYSTEM, "setting a timer for decisions");
		decider_free(d);
		return NULL;
	}
	return d;
}

void
decider_hold(struct decider *d, bool held)
{
	d->held = held;
	if (!held)
		decider_poke(d);
}

void
decider_drain(struct decider *d)
{
	d->draining = true;
}

void
decider_free(struct decider *d)
{
	if (d == NULL)
		return;
	if (d->lease != NULL)
		event_free(d->lease);
	if (d->retry != NULL)
		event_free(d->retry);
	while (!TAILQ_EMPTY(&d->tasks)) {
		struct task *t = TAILQ_FIRST(&d->tasks);

		TAILQ_REMOVE(&d->tasks, t, link);
		free(t);
	}
	free(d);
}
