#include "daemon/issuer/issue_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"

#define BATCHES_WITHOUT_BACKLOG 2
#define SIGN_DEADLINE_MS 30000
/* A batch whose signatures have not come by then is given back; its lease has
 * not ended yet. */
#define BATCH_DEADLINE_S 45
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
#define LOOK_MIN_MS 2
#define LOOK_MAX_MS 40

bool
issuance_is_idle(const struct issuance *s)
{
	for (size_t i = 0; i < s->lane_count * BATCHES; i++) {
		if (s->lanes[i / BATCHES].batches[i % BATCHES].busy)
			return false;
	}
	return true;
}

/* When the look that began then, and ends now, may be repeated. */
static int64_t
next_full_look(int64_t began_ms, int64_t least_ms)
{
	int64_t now = monotonic_ms(), rest = (now - began_ms) * FULL_LOOK_SHARE;

	return now + (rest > least_ms ? rest : least_ms);
}

static void lane_poke(struct lane *l);

/* Keeps the promise to submitters that sent no hint. A look that is due is not put off by
 * what ends meanwhile. */
static void
look_soon(struct issuance *s)
{
	const struct timeval soon = {0, s->look_ms * 1000};

	if (!s->draining && monotonic_ms() < s->look_until &&
	    !event_pending(s->look, EV_TIMEOUT, NULL))
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
	b->busy = b->listed = false;
	issue_claim_listed(s);
	if (b->lane->again)
		lane_poke(b->lane);
	else
		look_soon(s);
	if (issuance_is_idle(s))
		s->idle(s->arg);
}

void
batch_let_go(struct batch *b)
{
	if (--b->holds == 0)
		end_batch(b);
}

/* Zeroed room for something of each item; free it. NULL without memory. */
void *
batch_array(const struct batch *b, size_t size)
{
	return calloc(b->count > 0 ? b->count : 1, size);
}

/* The database cannot be asked: everything stays as it is there, and comes back
 * when the leases end. */
void
batch_abandon(struct batch *b, const struct error *why)
{
	log_failure(LOG_LEVEL_WARNING, "-", why);
	batch_let_go(b);
}

/* -------------------------------------------------------------------- sign */

/* The next batches are larger, or smaller, by how long this one took. */
static void
adapt_limit(const struct batch *b)
{
	struct lane *l = b->lane;
	int64_t took_ms = monotonic_ms() - b->signing_ms;

	if (b->count >= l->limit && took_ms < QUICK_MS)
		l->limit *= 2;
	else if (took_ms > SLOW_MS)
		l->limit /= 2;
	if (l->limit < LIMIT_MIN)
		l->limit = LIMIT_MIN;
	if (l->limit > b->s->env.config->issuer.batch)
		l->limit = b->s->env.config->issuer.batch;
}

/* What a person has to let be signed one by one waits for the next entry; what needs a
 * token unlocked is not asked for until it is. */
static void
fail_signing(struct issue_item *item, const struct error *failure)
{
	struct token_access *access = item->batch->s->env.access;
	const char *token = item->ca->row.token;

	item_fail(item, failure);
	if (failure->code == ERROR_LOCKED)
		token_access_note_locked(access, token, failure);
	if (item->step == ITEM_LATER && token_access_by_operation(access, token))
		item->step = ITEM_PIN;
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
		fail_signing(item, failure);
	else
		item_take_signature(item, answer->sign.signature);
	if (--b->signing > 0)
		return;
	adapt_limit(b);
	batch_close(b);
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
	fail_signing(item, &e);
}

/* Serial and bytes are committed. */
static void
sign_item(struct batch *b, struct issue_item *item)
{
	if (!b->listed && token_access_by_operation(b->s->env.access, item->ca->row.token))
		item->step = ITEM_PIN;
	else
		ask_signature(b, item);
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
		fail_signing(&b->items[i], &e);
	}
	b->signing = 0;
	batch_close(b);
}

/* What was sent comes back, or the batch is over. */
static void
await_signatures(struct batch *b)
{
	const struct timeval deadline = {BATCH_DEADLINE_S, 0};

	if (b->signing == 0)
		batch_close(b);
	else
		(void)event_add(b->deadline, &deadline);
}

static void
on_begun(const int64_t *ids, size_t count, const struct error *err, void *arg)
{
	struct batch *b = arg;

	b->pending = NULL;
	b->signing_ms = monotonic_ms();
	if (err != NULL) {
		batch_abandon(b, err);
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
			sign_item(b, &b->items[i]);
		else
			b->items[i].step = ITEM_GONE;
	}
	await_signatures(b);
}

static bool
begin_signing(struct batch *b, bool *any, struct error *e)
{
	struct request_key *keys = batch_array(b, sizeof *keys);
	struct request_intent *intents = batch_array(b, sizeof *intents);
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
	struct request_check *checks = batch_array(b, sizeof *checks);
	struct db_pending *p = NULL;
	size_t n = 0;

	if (checks == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a batch of checks");
	for (size_t i = 0; i < b->count; i++) {
		struct issue_item *item = &b->items[i];

		if (item->claim->cleared || item->claim->has_intent ||
		    (item->step != ITEM_CHECKED && item->step != ITEM_REFUSED))
			continue;
		item_fill_check(item, &checks[n++]);
		item->step = ITEM_GONE;
	}
	if (n > 0) {
		p = request_finish_checks(b->s->env.db, checks, n, batch_on_told, b, e);
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

/* They were begun before they waited. */
static void
sign_listed(struct batch *b)
{
	struct error e = ERROR_INIT;

	if (!batch_abandon_stale(b, &e)) {
		batch_abandon(b, &e);
		return;
	}
	b->signing_ms = monotonic_ms();
	for (size_t i = 0; i < b->count; i++) {
		if (b->items[i].step == ITEM_BUILT)
			sign_item(b, &b->items[i]);
	}
	await_signatures(b);
}

static void
check_items(struct batch *b)
{
	int64_t now = (int64_t)time(NULL);
	struct error e = ERROR_INIT;
	bool any = false;

	for (size_t i = 0; i < b->count; i++)
		check_item(b->s, &b->items[i], now);
	if (b->listed)
		sign_listed(b);
	else if (!batch_abandon_stale(b, &e) || !tell_checks(b, &e) || !begin_signing(b, &any, &e))
		batch_abandon(b, &e);
	else if (!any)
		batch_close(b);
}

/* -------------------------------------------------------------------- load */

static void
on_templates_loaded(const struct error *err, void *arg)
{
	struct batch *b = arg;

	if (err != NULL)
		batch_abandon(b, err);
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
		batch_abandon(b, &e);
}

static void
on_cas_loaded(const struct error *err, void *arg)
{
	struct batch *b = arg;

	if (err != NULL)
		batch_abandon(b, err);
	else
		load_templates(b);
}

/* Makes sure that every CA and template of the batch is in the cache. */
void
batch_load(struct batch *b)
{
	struct error e = ERROR_INIT;

	for (size_t i = 0; i < b->count; i++) {
		const struct issuing_ca *ca = ca_cache_find(
		    b->s->env.cache, b->claimed->claims[i].ca_id);

		if (ca != NULL && ca->context != NULL)
			continue;
		if (!ca_cache_load(b->s->env.cache, on_cas_loaded, b, &e))
			batch_abandon(b, &e);
		return;
	}
	load_templates(b);
}

/* ------------------------------------------------------------------- claim */

bool
batch_take(struct batch *b, struct request_batch *batch)
{
	b->claimed = batch;
	b->items = calloc(batch->count > 0 ? batch->count : 1, sizeof *b->items);
	if (b->items == NULL || batch->count == 0)
		return false;
	b->count = batch->count;
	for (size_t i = 0; i < b->count; i++)
		b->items[i] = (struct issue_item){.claim = &b->claimed->claims[i], .batch = b};
	return true;
}

static void
on_claimed(struct request_batch *batch, const struct error *err, void *arg)
{
	struct batch *b = arg;
	struct lane *l = b->lane;
	struct issuance *s = b->s;

	b->pending = NULL;
	l->claiming = false;
	if (l->full)
		l->full_ms = next_full_look(l->asked_ms, FULL_LOOK_MS);
	if (err != NULL) {
		batch_abandon(b, err);
		return;
	}
	claim_plan_note(l->plan, l->full, batch, b->limit);
	l->backlog = batch->count >= b->limit;
	if (!batch_take(b, batch)) {
		s->look_ms = s->look_ms * 2 < LOOK_MAX_MS ? s->look_ms * 2 : LOOK_MAX_MS;
		batch_let_go(b);
		return;
	}
	s->look_ms = LOOK_MIN_MS;
	s->crowd += (int64_t)batch->count;
	if (s->crowd > CROWD_MAX)
		s->crowd = CROWD_MAX;
	if (l->promise_ms > 0)
		s->look_until = monotonic_ms() + l->promise_ms + LOOK_MAX_MS;
	/* The other slots go for more. */
	if (l->backlog)
		l->again = true;
	batch_load(b);
	if (l->again)
		lane_poke(l);
	else
		look_soon(s);
}

static bool
is_crowded(struct issuance *s)
{
	int64_t now = monotonic_ms(), left = (now - s->crowd_ms) / CROWD_DRAIN_MS;

	if (left > 0) {
		s->crowd = s->crowd > left ? s->crowd - left : 0;
		s->crowd_ms = now;
	}
	return s->crowd > CROWD;
}

/* Sends the claim; false: there is nobody to ask for, or it could not be sent. */
static bool
claim(struct lane *l, struct batch *b)
{
	struct issuance *s = l->s;
	struct request_source sources[REQUEST_SOURCES_MAX];
	struct error e = ERROR_INIT;
	struct issuing_ca *const *cas;
	size_t count, n;

	l->asked_ms = monotonic_ms();
	l->full = l->asked_ms >= l->full_ms;
	cas = ca_cache_all(s->env.cache, &count);
	n = claim_plan_make(l->plan, cas, count, l->full, sources);
	if (n == 0)
		return false;
	b->limit = l->limit;
	l->promise_ms = is_crowded(s) ? PROMISE_MS : 0;
	b->pending = request_claim(
	    s->env.db, sources, n, b->limit, LEASE_S, l->promise_ms, on_claimed, b, &e);
	if (b->pending == NULL)
		log_failure(LOG_LEVEL_WARNING, "-", &e);
	return b->pending != NULL;
}

/* NULL: enough are on their way. */
static struct batch *
free_batch(struct lane *l)
{
	struct batch *b = NULL;
	size_t busy = 0;

	for (size_t i = 0; i < BATCHES; i++) {
		if (l->batches[i].busy)
			busy++;
		else
			b = &l->batches[i];
	}
	return busy < BATCHES_WITHOUT_BACKLOG || l->backlog ? b : NULL;
}

static void
lane_poke(struct lane *l)
{
	struct issuance *s = l->s;
	struct batch *b;

	l->again = true;
	if (l->claiming || s->draining || s->held || !db_is_up(s->env.db))
		return;
	b = free_batch(l);
	if (b == NULL)
		return;
	l->again = false;
	if (!claim(l, b))
		return;
	b->busy = true;
	b->holds = 1;
	l->claiming = true;
}

void
issuance_hold(struct issuance *s, bool held)
{
	s->held = held;
	if (!held)
		issuance_poke(s);
}

void
issuance_poke(struct issuance *s)
{
	for (size_t i = 0; i < s->lane_count; i++)
		lane_poke(&s->lanes[i]);
}

/* ------------------------------------------------------------------- timers */

static void
on_swept(int64_t count, const struct error *err, void *arg)
{
	struct issuance *s = arg;

	s->sweep_ms = next_full_look(s->swept_ms, 0);
	if (err != NULL || count == 0)
		return;
	for (size_t i = 0; i < s->lane_count; i++)
		s->lanes[i].full_ms = 0; /* they have their old places */
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

	if (!db_is_up(s->env.db) || monotonic_ms() < s->sweep_ms)
		return;
	s->swept_ms = monotonic_ms();
	if (request_sweep(s->env.db, on_swept, s, &e) == NULL)
		log_failure(LOG_LEVEL_DEBUG, "-", &e);
}

static bool
lane_begin(struct issuance *s, struct error *e)
{
	const struct issue_env *env = &s->env;
	struct lane *l = &s->lanes[s->lane_count];

	l->s = s;
	l->limit = env->config->issuer.batch < LIMIT_START ? env->config->issuer.batch
							   : LIMIT_START;
	l->plan = claim_plan_new(env->config, s->lane_count, env->signers, env->access, e);
	s->lane_count++;
	for (size_t i = 0; i < BATCHES; i++) {
		struct batch *b = &l->batches[i];

		b->s = s;
		b->lane = l;
		b->deadline = event_new(env->base, -1, 0, on_deadline, b);
		if (b->deadline == NULL)
			return error_set_errno(e, ERROR_SYSTEM, "allocating a batch");
	}
	return l->plan != NULL;
}

struct issuance *
issuance_new(const struct issue_env *env, void (*idle)(void *arg), void *arg, struct error *e)
{
	struct issuance *s = calloc(1, sizeof *s);
	const struct timeval period = {SWEEP_S, 0};
	bool ok;

	if (s == NULL)
		goto no_memory;
	s->env = *env;
	s->idle = idle;
	s->arg = arg;
	s->look_ms = LOOK_MIN_MS;
	STAILQ_INIT(&s->closing);
	s->verifier = verifier_new(e);
	ok = s->verifier != NULL && lane_begin(s, e);
	while (ok && s->lane_count < env->config->token_count)
		ok = lane_begin(s, e);
	if (!ok) {
		issuance_free(s);
		return NULL;
	}
	s->look = event_new(env->base, -1, 0, on_look, s);
	s->sweep = event_new(env->base, -1, EV_PERSIST, on_sweep, s);
	if (s->look == NULL || s->sweep == NULL || event_add(s->sweep, &period) != 0)
		goto no_memory;
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

static void
lane_end(struct lane *l)
{
	for (size_t i = 0; i < BATCHES; i++) {
		struct batch *b = &l->batches[i];

		db_cancel(b->pending);
		for (size_t k = 0; k < b->count; k++) {
			signer_cancel(l->s->env.signers, b->items[k].call);
			item_free(&b->items[k]);
		}
		free(b->items);
		request_batch_free(b->claimed);
		if (b->deadline != NULL)
			event_free(b->deadline);
	}
	claim_plan_free(l->plan);
}

void
issuance_free(struct issuance *s)
{
	if (s == NULL)
		return;
	s->draining = true;
	for (size_t i = 0; i < s->lane_count; i++)
		lane_end(&s->lanes[i]);
	if (s->look != NULL)
		event_free(s->look);
	if (s->sweep != NULL)
		event_free(s->sweep);
	verifier_free(s->verifier);
	free(s);
}
