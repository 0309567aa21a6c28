#include "daemon/issuer/issue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "daemon/core/log.h"
#include "daemon/issuer/claim_plan.h"
#include "daemon/issuer/issue_item.h"
#include "db/request.h"

/* While a backlog waits, more batches are on their way, so that the token always has
 * one: of a quick token with many sessions commits take longer than signatures.
 * Otherwise two, so that few requests do not come in ever smaller batches. */
#define BATCHES 4
#define BATCHES_WITHOUT_BACKLOG 2
#define LEASE_S 60
#define SIGN_DEADLINE_MS 30000
/* A batch whose signatures have not come by then is given back; its lease has
 * not ended yet. */
#define BATCH_DEADLINE_S 45
#define RETRY_MS 500
#define SWEEP_S 5
/* Looks at all that is open, by a claim or a sweep, come this often, and take no
 * more than a part of the time. */
#define FULL_LOOK_MS 1000
#define FULL_LOOK_SHARE 20

/* A batch is as large as the token signs in some tenths of a second, so that
 * commits are shared by many, and nobody waits long for the others. */
#define LIMIT_START 64
#define LIMIT_MIN 8
#define QUICK_MS 250
#define SLOW_MS 1000

/* When requests come in numbers, submitters are told to send no hints for a
 * while (request_claim), and the queue is looked at this often instead: more than
 * CROWD at once, or for long more than one in CROWD_DRAIN_MS. */
#define CROWD 8
#define CROWD_MAX 100
#define CROWD_DRAIN_MS 10
#define PROMISE_MS 2000
#define LOOK_MIN_MS 5
#define LOOK_MAX_MS 40

struct batch {
	struct issuance *s;
	bool busy;
	unsigned limit;		       /* of its claim */
	struct request_batch *claimed; /* owned */
	struct issue_item *items;
	size_t count;
	size_t signing;	    /* items that wait for the signer */
	int64_t signing_ms; /* since when */
	/* What has to end before the batch can: its own course, and questions to the
	 * database that nothing waits for. */
	size_t holds;
	struct db_pending *pending;
	struct event *deadline;
};

struct issuance {
	struct issue_env env;
	void (*idle)(void *arg);
	void *arg;
	struct batch batches[BATCHES];
	bool claiming; /* one claim at a time */
	bool again;    /* a hint came while nobody could claim */
	bool backlog;  /* the last claim was full */
	bool draining;
	unsigned limit; /* of the next claim */
	int64_t crowd;	/* requests found lately, less one each CROWD_DRAIN_MS */
	int64_t crowd_ms;
	unsigned promise_ms; /* of the claim under way */
	int64_t asked_ms;    /* when */
	bool full;	     /* the claim under way is a full look */
	int64_t full_ms;     /* when the next one is due */
	int64_t swept_ms;    /* when the last sweep began */
	int64_t sweep_ms;    /* when the next one is due */
	struct claim_plan *plan;
	struct verifier *verifier;
	int64_t look_until; /* what was promised */
	int look_ms;	    /* longer while nothing is found */
	struct event *look;
	struct event *sweep;
};

static void close_batch(struct batch *b);

bool
issuance_is_idle(const struct issuance *s)
{
	for (size_t i = 0; i < BATCHES; i++) {
		if (s->batches[i].busy)
			return false;
	}
	return true;
}

static int64_t
clock_ms(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* When the look that began then, and ends now, may be repeated. */
static int64_t
next_full_look(int64_t began_ms, int64_t least_ms)
{
	int64_t now = clock_ms(), rest = (now - began_ms) * FULL_LOOK_SHARE;

	return now + (rest > least_ms ? rest : least_ms);
}

/* Keeps the promise to submitters that sent no hint. */
static void
look_soon(struct issuance *s)
{
	const struct timeval soon = {0, s->look_ms * 1000};

	if (!s->draining && clock_ms() < s->look_until)
		(void)event_add(s->look, &soon);
}

static void
end_batch(struct batch *b)
{
	struct issuance *s = b->s;

	event_del(b->deadline);
	for (size_t i = 0; b->items != NULL && i < b->count; i++) {
		signer_cancel(s->env.signers, b->items[i].call);
		item_free(&b->items[i]);
	}
	free(b->items);
	request_batch_free(b->claimed);
	b->claimed = NULL;
	b->items = NULL;
	b->count = b->signing = b->holds = 0;
	b->busy = false;
	if (s->again)
		issuance_poke(s);
	else
		look_soon(s);
	if (issuance_is_idle(s))
		s->idle(s->arg);
}

static void
let_go(struct batch *b)
{
	if (--b->holds == 0)
		end_batch(b);
}

/* Zeroed room for something of each item; free it. NULL without memory. */
static void *
item_array(const struct batch *b, size_t size)
{
	return calloc(b->count > 0 ? b->count : 1, size);
}

/* The database cannot be asked: everything stays as it is there, and comes back
 * when the leases end. */
static void
abandon(struct batch *b, const struct error *why)
{
	log_failure(LOG_LEVEL_WARNING, "-", why);
	let_go(b);
}

/* ------------------------------------------------------------------- close */

static void
on_closed(const int64_t *ids, size_t count, const struct error *err, void *arg)
{
	struct batch *b = arg;

	if (err != NULL)
		log_failure(LOG_LEVEL_WARNING, "-", err);
	let_go(b);
}

static bool
complete_signed(struct batch *b, struct error *e)
{
	struct request_certificate *done = item_array(b, sizeof *done);
	struct db_pending *p = NULL;
	size_t n = 0;

	if (done == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a batch of certificates");
	for (size_t i = 0; i < b->count; i++) {
		struct issue_item *item = &b->items[i];

		if (item->step != ITEM_SIGNED)
			continue;
		done[n++] = (struct request_certificate){
		    .key = item->claim->key,
		    .subject = item->listed.subject,
		    .names = (const char *const *)item->listed.names,
		    .names_count = item->listed.count,
		    .key_type = item->key_type,
		    .not_before = item->not_before,
		    .not_after = item->not_after,
		    .spki_sha256 = {item->spki_sha256, sizeof item->spki_sha256},
		    .der = {item->der, item->der_len},
		};
	}
	if (n > 0) {
		p = request_complete(b->s->env.db, done, n, on_closed, b, e);
		b->holds += p != NULL;
	}
	free(done);
	return n == 0 || p != NULL;
}

/* Gives back what could not be signed now; reason is the first one's. */
static bool
release_later(struct batch *b, struct error *e)
{
	struct request_key *keys = item_array(b, sizeof *keys);
	const char *reason = NULL;
	struct db_pending *p = NULL;
	size_t n = 0;

	if (keys == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a batch of requests");
	for (size_t i = 0; i < b->count; i++) {
		if (b->items[i].step != ITEM_LATER)
			continue;
		if (reason == NULL)
			reason = b->items[i].failure.text;
		keys[n++] = b->items[i].claim->key;
	}
	if (n > 0) {
		log_warning("-", "%zu requests wait: %s", n, reason);
		p = request_release(b->s->env.db, keys, n, RETRY_MS, reason, on_closed, b, e);
		b->holds += p != NULL;
	}
	free(keys);
	return n == 0 || p != NULL;
}

static void
on_told(const struct request_checked *checked, size_t count, const struct error *err, void *arg)
{
	on_closed(NULL, 0, err, arg);
}

static void
fill_check(const struct issue_item *item, struct request_check *c)
{
	*c = (struct request_check){.key = item->claim->key};
	if (item->step == ITEM_REFUSED) {
		/* A CA that is out of operation is no fault of the request. */
		c->outcome = item->failure.code == ERROR_INPUT || item->failure.code == ERROR_LIMIT
				 ? REQUEST_REJECTED
				 : REQUEST_FAILED;
		c->reason = item->failure.text;
	}
	if (item->listed.subject == NULL)
		return;
	c->subject = item->listed.subject;
	c->names = (const char *const *)item->listed.names;
	c->names_count = item->listed.count;
	c->key_type = item->key_type;
	c->spki_sha256 = (struct bytes){item->spki_sha256, sizeof item->spki_sha256};
	c->csr_sha256 = (struct bytes){item->csr_sha256, sizeof item->csr_sha256};
}

/* What was being signed, and cannot be. */
static bool
fail_refused(struct batch *b, struct error *e)
{
	struct request_check *checks = item_array(b, sizeof *checks);
	struct db_pending *p = NULL;
	size_t n = 0;

	if (checks == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a batch of requests");
	for (size_t i = 0; i < b->count; i++) {
		if (b->items[i].step != ITEM_REFUSED)
			continue;
		log_failure(LOG_LEVEL_WARNING, b->items[i].claim->public_id, &b->items[i].failure);
		fill_check(&b->items[i], &checks[n]);
		checks[n++].outcome = REQUEST_FAILED;
	}
	if (n > 0) {
		p = request_finish_checks(b->s->env.db, checks, n, on_told, b, e);
		b->holds += p != NULL;
	}
	free(checks);
	return n == 0 || p != NULL;
}

static void
on_abandoned(const int64_t *ids, size_t count, const struct error *err, void *arg)
{
	if (err != NULL)
		log_failure(LOG_LEVEL_WARNING, "-", err);
}

/* Intents that are not to be signed any more; their requests are released with
 * all that wait, after this. */
static bool
abandon_stale(struct batch *b, struct error *e)
{
	struct request_key keys[REQUEST_BATCH_MAX];
	size_t n = 0;

	for (size_t i = 0; i < b->count; i++) {
		if (b->items[i].stale)
			keys[n++] = b->items[i].claim->key;
		b->items[i].stale = false;
	}
	return n == 0 ||
	       request_abandon_intents(b->s->env.db, keys, n, on_abandoned, NULL, e) != NULL;
}

/* Every item has its outcome: tell the database, each kind in one transaction. */
static void
close_batch(struct batch *b)
{
	struct error e = ERROR_INIT;

	event_del(b->deadline);
	if (!complete_signed(b, &e) || !abandon_stale(b, &e) || !release_later(b, &e) ||
	    !fail_refused(b, &e))
		log_failure(LOG_LEVEL_WARNING, "-", &e);
	let_go(b);
}

/* -------------------------------------------------------------------- sign */

/* The next batches are larger, or smaller, by how long this one took. */
static void
adapt_limit(const struct batch *b)
{
	struct issuance *s = b->s;
	int64_t took_ms = clock_ms() - b->signing_ms;

	if (b->count >= s->limit && took_ms < QUICK_MS)
		s->limit *= 2;
	else if (took_ms > SLOW_MS)
		s->limit /= 2;
	if (s->limit < LIMIT_MIN)
		s->limit = LIMIT_MIN;
	if (s->limit > s->env.config->issuer.batch)
		s->limit = s->env.config->issuer.batch;
}

static void
on_signed(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct issue_item *item = arg;
	struct batch *b = item->batch;

	item->call = 0;
	if (failure != NULL && failure->code == ERROR_CONFLICT)
		item_refused_as_stale(item, failure);
	else if (failure != NULL)
		item_fail(item, failure);
	else
		item_take_signature(item, answer->sign.signature);
	if (--b->signing > 0)
		return;
	adapt_limit(b);
	close_batch(b);
}

static void
ask_signature(struct batch *b, struct issue_item *item)
{
	struct signproto_sign m = {
	    .cka_id = item->ca->row.cka_id,
	    .sig_alg = (uint16_t)item->ca->policy.sig_alg,
	    .kind = SIGNPROTO_TBS_CERTIFICATE,
	    .deadline_ms = SIGN_DEADLINE_MS,
	    .tbs = item->intent.tbs,
	};
	struct error e = ERROR_INIT;

	if (item->template != NULL)
		(void)snprintf(m.template, sizeof m.template, "%s", template_name(item->template));
	if (item->claim->statement.len > 0) {
		m.csr = item->claim->csr;
		m.statement = item->claim->statement;
		m.signature = item->claim->signature;
		m.spki = item->claim->spki;
	}
	if (signer_ask_sign(
		b->s->env.signers, item->ca->row.token, &m, on_signed, item, &item->call, &e)) {
		item->step = ITEM_SIGNING;
		b->signing++;
		return;
	}
	item_fail(item, &e);
}

static void
on_deadline(evutil_socket_t fd, short what, void *arg)
{
	struct batch *b = arg;
	struct error e = ERROR_INIT;

	error_set(
	    &e, ERROR_TIMEOUT, "the signer has not answered within %d seconds", BATCH_DEADLINE_S);
	for (size_t i = 0; i < b->count; i++) {
		if (b->items[i].step != ITEM_SIGNING)
			continue;
		signer_cancel(b->s->env.signers, b->items[i].call);
		b->items[i].call = 0;
		item_fail(&b->items[i], &e);
	}
	b->signing = 0;
	close_batch(b);
}

static void
on_begun(const int64_t *ids, size_t count, const struct error *err, void *arg)
{
	const struct timeval deadline = {BATCH_DEADLINE_S, 0};
	struct batch *b = arg;

	b->pending = NULL;
	b->signing_ms = clock_ms();
	if (err != NULL) {
		abandon(b, err);
		return;
	}
	/* What is not in the answer has been claimed by somebody else. */
	for (size_t i = 0; i < b->count; i++) {
		bool held = false;

		if (b->items[i].step != ITEM_BUILT)
			continue;
		for (size_t k = 0; k < count && !held; k++)
			held = ids[k] == b->items[i].claim->key.id;
		if (held)
			ask_signature(b, &b->items[i]);
		else
			b->items[i].step = ITEM_GONE;
	}
	if (b->signing == 0)
		close_batch(b);
	else
		(void)event_add(b->deadline, &deadline);
}

static bool
begin_signing(struct batch *b, bool *any, struct error *e)
{
	struct request_key *keys = item_array(b, sizeof *keys);
	struct request_intent *intents = item_array(b, sizeof *intents);
	size_t n = 0;
	bool ok = false;

	if (keys == NULL || intents == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating a batch of intents");
		goto out;
	}
	for (size_t i = 0; i < b->count; i++) {
		struct issue_item *item = &b->items[i];

		if (item->step != ITEM_BUILT)
			continue;
		keys[n] = item->claim->key;
		intents[n++] = item->intent;
	}
	*any = n > 0;
	if (n > 0)
		b->pending = request_begin_signing(b->s->env.db, keys, intents, n, on_begun, b, e);
	ok = n == 0 || b->pending != NULL;
out:
	free(keys);
	free(intents);
	return ok;
}

/* ------------------------------------------------------------------- check */

/* Requests that end here, or wait for an operator: what was found goes to the
 * database, and nothing here waits for the answer. What was not told comes back
 * when the lease ends. */
static bool
tell_checks(struct batch *b, struct error *e)
{
	struct request_check *checks = item_array(b, sizeof *checks);
	struct db_pending *p = NULL;
	size_t n = 0;

	if (checks == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a batch of checks");
	for (size_t i = 0; i < b->count; i++) {
		struct issue_item *item = &b->items[i];

		if (item->claim->cleared || item->claim->has_intent ||
		    (item->step != ITEM_CHECKED && item->step != ITEM_REFUSED))
			continue;
		fill_check(item, &checks[n++]);
		item->step = ITEM_GONE;
	}
	if (n > 0) {
		p = request_finish_checks(b->s->env.db, checks, n, on_told, b, e);
		b->holds += p != NULL;
	}
	free(checks);
	return n == 0 || p != NULL;
}

static void
check_item(struct issuance *s, struct issue_item *item, int64_t now)
{
	struct issuing_ca *ca = ca_cache_find(s->env.cache, item->claim->ca_id);

	item->ca = ca != NULL ? ca_hold(ca) : NULL;
	item->template = ca_cache_template(s->env.cache, item->claim->template_version_id);
	if (item->claim->has_intent) {
		item_resume(item, s->env.config->issuer.signer_id, now);
		return;
	}
	item_check(item, s->verifier);
	if (item->step == ITEM_CHECKED && (item->claim->cleared || item->claim->automatic))
		item_build(item, s->env.config->issuer.signer_id, now);
}

static void
check_items(struct batch *b)
{
	int64_t now = (int64_t)time(NULL);
	struct error e = ERROR_INIT;
	bool any = false;

	for (size_t i = 0; i < b->count; i++)
		check_item(b->s, &b->items[i], now);
	if (!abandon_stale(b, &e) || !tell_checks(b, &e) || !begin_signing(b, &any, &e))
		abandon(b, &e);
	else if (!any)
		close_batch(b);
}

/* -------------------------------------------------------------------- load */

static void
on_templates_loaded(const struct error *err, void *arg)
{
	struct batch *b = arg;

	if (err != NULL)
		abandon(b, err);
	else
		check_items(b);
}

static void
load_templates(struct batch *b)
{
	int64_t missing[REQUEST_BATCH_MAX];
	struct error e = ERROR_INIT;
	size_t n = 0;

	for (size_t i = 0; i < b->count; i++) {
		int64_t id = b->claimed->claims[i].template_version_id;
		bool known = ca_cache_template(b->s->env.cache, id) != NULL;

		for (size_t k = 0; k < n && !known; k++)
			known = missing[k] == id;
		if (!known)
			missing[n++] = id;
	}
	if (n == 0)
		check_items(b);
	else if (!ca_cache_load_templates(b->s->env.cache, missing, n, on_templates_loaded, b, &e))
		abandon(b, &e);
}

static void
on_cas_loaded(const struct error *err, void *arg)
{
	struct batch *b = arg;

	if (err != NULL)
		abandon(b, err);
	else
		load_templates(b);
}

/* Makes sure that every CA and template of the batch is in the cache. */
static void
load(struct batch *b)
{
	struct error e = ERROR_INIT;

	for (size_t i = 0; i < b->count; i++) {
		const struct issuing_ca *ca = ca_cache_find(
		    b->s->env.cache, b->claimed->claims[i].ca_id);

		if (ca != NULL && ca->context != NULL)
			continue;
		if (!ca_cache_load(b->s->env.cache, on_cas_loaded, b, &e))
			abandon(b, &e);
		return;
	}
	load_templates(b);
}

/* ------------------------------------------------------------------- claim */

static void
on_claimed(struct request_batch *batch, const struct error *err, void *arg)
{
	struct batch *b = arg;
	struct issuance *s = b->s;

	b->pending = NULL;
	s->claiming = false;
	if (s->full)
		s->full_ms = next_full_look(s->asked_ms, FULL_LOOK_MS);
	if (err != NULL) {
		abandon(b, err);
		return;
	}
	claim_plan_note(s->plan, s->full, batch, b->limit);
	s->backlog = batch->count >= b->limit;
	b->claimed = batch;
	b->items = calloc(batch->count > 0 ? batch->count : 1, sizeof *b->items);
	if (b->items == NULL || batch->count == 0) {
		s->look_ms = s->look_ms * 2 < LOOK_MAX_MS ? s->look_ms * 2 : LOOK_MAX_MS;
		let_go(b);
		return;
	}
	s->look_ms = LOOK_MIN_MS;
	s->crowd += (int64_t)batch->count;
	if (s->crowd > CROWD_MAX)
		s->crowd = CROWD_MAX;
	if (s->promise_ms > 0)
		s->look_until = clock_ms() + s->promise_ms + LOOK_MAX_MS;
	b->count = batch->count;
	for (size_t i = 0; i < b->count; i++)
		b->items[i] = (struct issue_item){.claim = &b->claimed->claims[i], .batch = b};
	/* The other slots go for more. */
	if (s->backlog)
		s->again = true;
	load(b);
	if (s->again)
		issuance_poke(s);
	else
		look_soon(s);
}

static bool
is_crowded(struct issuance *s)
{
	int64_t now = clock_ms(), left = (now - s->crowd_ms) / CROWD_DRAIN_MS;

	if (left > 0) {
		s->crowd = s->crowd > left ? s->crowd - left : 0;
		s->crowd_ms = now;
	}
	return s->crowd > CROWD;
}

/* Sends the claim; false: there is nobody to ask for, or it could not be sent. */
static bool
claim(struct issuance *s, struct batch *b)
{
	struct request_source sources[REQUEST_SOURCES_MAX];
	struct error e = ERROR_INIT;
	struct issuing_ca *const *cas;
	size_t count, n;

	s->asked_ms = clock_ms();
	s->full = s->asked_ms >= s->full_ms;
	cas = ca_cache_all(s->env.cache, &count);
	n = claim_plan_make(s->plan, cas, count, s->full, sources);
	if (n == 0)
		return false;
	b->limit = s->limit;
	s->promise_ms = is_crowded(s) ? PROMISE_MS : 0;
	b->pending = request_claim(
	    s->env.db, sources, n, b->limit, LEASE_S, s->promise_ms, on_claimed, b, &e);
	if (b->pending == NULL)
		log_failure(LOG_LEVEL_WARNING, "-", &e);
	return b->pending != NULL;
}

/* NULL: enough are on their way. */
static struct batch *
free_batch(struct issuance *s)
{
	struct batch *b = NULL;
	size_t busy = 0;

	for (size_t i = 0; i < BATCHES; i++) {
		if (s->batches[i].busy)
			busy++;
		else
			b = &s->batches[i];
	}
	return busy < BATCHES_WITHOUT_BACKLOG || s->backlog ? b : NULL;
}

void
issuance_poke(struct issuance *s)
{
	struct batch *b;

	s->again = true;
	if (s->claiming || s->draining || !db_is_up(s->env.db))
		return;
	b = free_batch(s);
	if (b == NULL)
		return;
	s->again = false;
	if (!claim(s, b))
		return;
	b->busy = true;
	b->holds = 1;
	s->claiming = true;
}

/* ------------------------------------------------------------------- timers */

static void
on_swept(int64_t count, const struct error *err, void *arg)
{
	struct issuance *s = arg;

	s->sweep_ms = next_full_look(s->swept_ms, 0);
	if (err != NULL || count == 0)
		return;
	s->full_ms = 0; /* they have their old places */
	issuance_poke(s);
}

static void
on_look(evutil_socket_t fd, short what, void *arg)
{
	issuance_poke(arg);
}

static void
on_sweep(evutil_socket_t fd, short what, void *arg)
{
	struct issuance *s = arg;
	struct error e = ERROR_INIT;

	if (!db_is_up(s->env.db) || clock_ms() < s->sweep_ms)
		return;
	s->swept_ms = clock_ms();
	if (request_sweep(s->env.db, on_swept, s, &e) == NULL)
		log_failure(LOG_LEVEL_DEBUG, "-", &e);
}

struct issuance *
issuance_new(const struct issue_env *env, void (*idle)(void *arg), void *arg, struct error *e)
{
	struct issuance *s = calloc(1, sizeof *s);
	const struct timeval period = {SWEEP_S, 0};

	if (s == NULL)
		goto no_memory;
	s->env = *env;
	s->idle = idle;
	s->arg = arg;
	s->look_ms = LOOK_MIN_MS;
	s->limit = env->config->issuer.batch < LIMIT_START ? env->config->issuer.batch
							   : LIMIT_START;
	s->plan = claim_plan_new(env->config, env->signers, e);
	s->verifier = verifier_new(e);
	if (s->plan == NULL || s->verifier == NULL) {
		issuance_free(s);
		return NULL;
	}
	s->look = event_new(env->base, -1, 0, on_look, s);
	s->sweep = event_new(env->base, -1, EV_PERSIST, on_sweep, s);
	if (s->look == NULL || s->sweep == NULL || event_add(s->sweep, &period) != 0)
		goto no_memory;
	for (size_t i = 0; i < BATCHES; i++) {
		s->batches[i].s = s;
		s->batches[i].deadline = event_new(env->base, -1, 0, on_deadline, &s->batches[i]);
		if (s->batches[i].deadline == NULL)
			goto no_memory;
	}
	return s;
no_memory:
	error_set_errno(e, ERROR_SYSTEM, "allocating the issuance");
	issuance_free(s);
	return NULL;
}

void
issuance_drain(struct issuance *s)
{
	s->draining = true;
}

void
issuance_free(struct issuance *s)
{
	if (s == NULL)
		return;
	s->draining = true;
	s->again = false;
	for (size_t i = 0; i < BATCHES; i++) {
		struct batch *b = &s->batches[i];

		db_cancel(b->pending);
		for (size_t k = 0; k < b->count; k++) {
			signer_cancel(s->env.signers, b->items[k].call);
			item_free(&b->items[k]);
		}
		free(b->items);
		request_batch_free(b->claimed);
		if (b->deadline != NULL)
			event_free(b->deadline);
	}
	if (s->look != NULL)
		event_free(s->look);
	if (s->sweep != NULL)
		event_free(s->sweep);
	claim_plan_free(s->plan);
	verifier_free(s->verifier);
	free(s);
}
