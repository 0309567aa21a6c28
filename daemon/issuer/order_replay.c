#include "daemon/issuer/order_replay.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "daemon/core/config.h"
#include "daemon/core/log.h"
#include "daemon/issuer/kept_order.h"
#include "db/ca.h"
#include "db/key_order.h"

/* After a refusal the same key is left alone for so long. */
#define PAUSE_S 30
/* While a signer waits for what its token, or the database, does not give now. */
#define RETRY_MS 300

/* What the signer of a token is known to have of a key. */
struct told_key {
	char token[CA_TOKEN_SIZE], ca[CA_NAME_SIZE];
	uint8_t cka_id[SIGNPROTO_ID_MAX];
	size_t cka_id_len;
	int version;	    /* of its limits; 0: not known */
	int64_t install;    /* the last order of that kind */
	int64_t not_before; /* seconds since 1970: after a refusal */
	bool skipped;	    /* in this pass */
	/* What the database has. */
	int wanted_version;
	int64_t wanted_install;
};

/* An order on its way. */
struct replay_step {
	enum key_order_kind kind;
	int version;
	int64_t decision;
	struct kept_order kept;
};

/* A signer that has come and was not told all yet. */
struct waiting_signer {
	char token[CONFIG_TOKEN_NAME_MAX + 1];
	bool in_pass; /* it was there when this pass began */
	bool failed;  /* in this pass, for a reason that may pass */
};

struct order_replay {
	struct db *db;
	struct signer_client *signers;
	int signer_id;
	bool busy, again, draining;
	struct event *retry;
	struct waiting_signer waiting[CONFIG_TOKENS_MAX];
	size_t waiting_count;
	struct told_key *keys; /* owned */
	size_t key_count;
	/* The key that is being worked on, by its place, which does not change. */
	size_t current;
	struct replay_step *steps; /* owned */
	size_t step_count, step;
	bool newest_first; /* the last limits alone are tried before all of them */
};

static void work_on_next(struct order_replay *r);

/* -------------------------------------------------------------------- memory */

static void
drop_steps(struct order_replay *r)
{
	for (size_t i = 0; i < r->step_count; i++)
		kept_order_drop(&r->steps[i].kept);
	free(r->steps);
	r->steps = NULL;
	r->step_count = r->step = 0;
}

static struct told_key *
find_key(struct order_replay *r, const struct key_version *row)
{
	for (size_t i = 0; i < r->key_count; i++) {
		struct told_key *k = &r->keys[i];

		if (k->cka_id_len == row->cka_id.len &&
		    memcmp(k->cka_id, row->cka_id.p, row->cka_id.len) == 0 &&
		    strcmp(k->token, row->token) == 0)
			return k;
	}
	return NULL;
}

static struct told_key *
add_key(struct order_replay *r, const struct key_version *row)
{
	struct told_key *keys, *k;

	if (strlen(row->token) >= sizeof k->token || strlen(row->ca) >= sizeof k->ca ||
	    row->cka_id.len > sizeof k->cka_id)
		return NULL;
	keys = realloc(r->keys, (r->key_count + 1) * sizeof *keys);
	if (keys == NULL)
		return NULL;
	r->keys = keys;
	k = &keys[r->key_count++];
	*k = (struct told_key){.cka_id_len = row->cka_id.len};
	memcpy(k->token, row->token, strlen(row->token) + 1);
	memcpy(k->ca, row->ca, strlen(row->ca) + 1);
	memcpy(k->cka_id, row->cka_id.p, row->cka_id.len);
	return k;
}

static struct bytes
id_of(const struct told_key *k)
{
	return (struct bytes){k->cka_id, k->cka_id_len};
}

/* ------------------------------------------------------------------- signers */

static struct waiting_signer *
find_waiting(struct order_replay *r, const char *token)
{
	for (size_t i = 0; i < r->waiting_count; i++) {
		if (strcmp(r->waiting[i].token, token) == 0)
			return &r->waiting[i];
	}
	return NULL;
}

static void
retry_soon(struct order_replay *r)
{
	const struct timeval pause = {0, RETRY_MS * 1000};

	if (!r->draining && !event_pending(r->retry, EV_TIMEOUT, NULL))
		(void)event_add(r->retry, &pause);
}

/* The pass is over: who was there from its beginning signs from now on. One whose
 * token is away, or whose journal is closed, says so itself to who asks it, and is
 * told later. */
static void
release(struct order_replay *r)
{
	struct waiting_signer done[CONFIG_TOKENS_MAX];
	size_t count = 0, kept = 0;

	for (size_t i = 0; i < r->waiting_count; i++) {
		struct waiting_signer w = r->waiting[i];

		if (w.in_pass)
			done[count++] = w;
		if (!w.in_pass || w.failed)
			r->waiting[kept++] = w;
	}
	r->waiting_count = kept;
	for (size_t i = 0; i < count; i++)
		signer_client_release(r->signers, done[i].token);
	if (kept > 0)
		retry_soon(r);
}

/* --------------------------------------------------------------- one key's end */

static void
end_key(struct order_replay *r)
{
	drop_steps(r);
	work_on_next(r);
}

static void
give_up(struct order_replay *r, const struct error *why)
{
	struct told_key *k = &r->keys[r->current];
	struct waiting_signer *w = find_waiting(r, k->token);

	log_failure(error_is_retryable(why) ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, k->ca, why);
	/* A token that waits for a person may do so for days. */
	if (!error_is_retryable(why) || why->code == ERROR_LOCKED)
		k->not_before = (int64_t)time(NULL) + PAUSE_S;
	else if (w != NULL)
		w->failed = true;
	k->skipped = true;
	/* The others of that token would hear the same. */
	for (size_t i = 0; error_is_retryable(why) && i < r->key_count; i++)
		r->keys[i].skipped |= strcmp(r->keys[i].token, k->token) == 0;
	end_key(r);
}

/* All was told, or as much as one answer of the database has: then the rest comes
 * with the next look. */
static void
complete(struct order_replay *r)
{
	struct told_key *k = &r->keys[r->current];

	if (r->step_count < KEY_ORDERS_MAX) {
		k->version = k->wanted_version;
		k->install = k->wanted_install;
	}
	for (size_t i = 0; i < r->step_count; i++) {
		if (r->steps[i].kind != KEY_ORDER_INSTALL)
			k->version = r->steps[i].version;
		else
			k->install = r->steps[i].decision;
	}
	end_key(r);
}

/* --------------------------------------------------------------------- orders */

static void on_told(const struct signer_answer *answer, const struct error *failure, void *arg);

static bool
tell(struct order_replay *r, struct error *e)
{
	const struct told_key *k = &r->keys[r->current];
	const struct replay_step *s = &r->steps[r->step];
	uint64_t id;

	switch (s->kind) {
	case KEY_ORDER_CREATE:
		return signer_ask_generate(r->signers, k->token,
		    &(struct signproto_key_generate){.order = s->kept.order}, on_told, r, &id, e);
	case KEY_ORDER_LIMITS:
		return signer_ask_limits_set(r->signers, k->token,
		    &(struct signproto_limits_set){id_of(k), s->kept.order}, on_told, r, &id, e);
	default:
		return signer_ask_install(r->signers, k->token,
		    &(struct signproto_install){id_of(k), s->kept.order}, on_told, r, &id, e);
	}
}

/* The place of the last limits, or of the creation where there are no others. */
static size_t
newest_limits(const struct order_replay *r)
{
	size_t place = 0;

	for (size_t i = 0; i < r->step_count; i++) {
		if (r->steps[i].kind == KEY_ORDER_LIMITS)
			place = i;
	}
	return place;
}

static void
go_on(struct order_replay *r)
{
	struct error e = ERROR_INIT;

	if (r->step == r->step_count)
		complete(r);
	else if (!tell(r, &e))
		give_up(r, &e);
}

/* Newest first: a signer that has it needs none of those before, and would not
 * take them; one that has not refuses it, and gets all of them in their order. */
static void
on_told(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct order_replay *r = arg;
	const struct replay_step *s = &r->steps[r->step];

	if (failure != NULL && error_is_retryable(failure)) {
		give_up(r, failure);
		return;
	}
	if (r->newest_first && failure != NULL) {
		r->newest_first = false;
		r->step = 0;
	} else if (failure != NULL &&
		   (s->kind != KEY_ORDER_LIMITS || r->step == newest_limits(r))) {
		give_up(r, failure);
		return;
	} else {
		r->newest_first = false;
		r->step++;
	}
	go_on(r);
}

static bool
keep_steps(struct order_replay *r, const struct key_order *rows, size_t n, struct error *e)
{
	r->steps = calloc(n > 0 ? n : 1, sizeof *r->steps);
	if (r->steps == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating orders about a key");
	for (size_t i = 0; i < n; i++) {
		struct replay_step *s = &r->steps[i];

		*s = (struct replay_step){
		    .kind = rows[i].kind, .version = rows[i].version, .decision = rows[i].decision};
		if (!kept_order_copy(&s->kept, &rows[i].order, e))
			return false;
		r->step_count++;
	}
	return true;
}

static void
on_orders(const struct key_order *rows, size_t n, const struct error *err, void *arg)
{
	struct order_replay *r = arg;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		give_up(r, err);
		return;
	}
	if (!keep_steps(r, rows, n, &e)) {
		give_up(r, &e);
		return;
	}
	if (r->newest_first) {
		r->step = newest_limits(r);
		/* What it was made with it has. */
		r->step += r->step < r->step_count && r->steps[r->step].kind == KEY_ORDER_CREATE;
	}
	go_on(r);
}

static bool
load_orders(struct order_replay *r, struct error *e)
{
	const struct told_key *k = &r->keys[r->current];

	return key_orders_load(r->db, id_of(k), k->version, k->install, on_orders, r, e) != NULL;
}

/* The signer has the key and limits for it, or it does not. */
static void
on_found(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct order_replay *r = arg;
	struct error e = ERROR_INIT;

	r->newest_first = failure == NULL;
	if (failure != NULL && error_is_retryable(failure))
		give_up(r, failure);
	else if (!load_orders(r, &e))
		give_up(r, &e);
}

/* ----------------------------------------------------------------- which key */

static bool
is_behind(const struct order_replay *r, const struct told_key *k, int64_t now)
{
	return (k->version < k->wanted_version || k->install < k->wanted_install) && !k->skipped &&
	       k->not_before <= now && signer_client_is_attached(r->signers, k->token);
}

/* Of a signer that has just come it is not known what it has. */
static bool
begin_key(struct order_replay *r, struct error *e)
{
	const struct told_key *k = &r->keys[r->current];
	uint64_t id;

	r->newest_first = false;
	return k->version > 0
		   ? load_orders(r, e)
		   : signer_ask_find(r->signers, k->token, id_of(k), on_found, r, &id, e);
}

static void
work_on_next(struct order_replay *r)
{
	int64_t now = (int64_t)time(NULL);
	struct error e = ERROR_INIT;

	for (size_t i = 0; i < r->key_count && !r->draining; i++) {
		struct told_key *k = &r->keys[i];
		struct waiting_signer *w;

		if (!is_behind(r, k, now))
			continue;
		r->current = i;
		if (begin_key(r, &e))
			return;
		log_failure(LOG_LEVEL_DEBUG, k->ca, &e);
		error_clear(&e);
		k->skipped = true;
		w = find_waiting(r, k->token);
		if (w != NULL)
			w->failed = true;
	}
	r->busy = false;
	release(r);
	if (r->again)
		order_replay_look(r);
}

static void
on_versions(const struct key_version *rows, size_t n, const struct error *err, void *arg)
{
	struct order_replay *r = arg;

	if (err != NULL) {
		log_failure(LOG_LEVEL_DEBUG, "keys", err);
		r->busy = false;
		if (r->waiting_count > 0)
			retry_soon(r);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		struct told_key *k;

		if (rows[i].token == NULL || rows[i].ca == NULL)
			continue;
		k = find_key(r, &rows[i]);
		if (k == NULL)
			k = add_key(r, &rows[i]);
		if (k != NULL) {
			k->wanted_version = rows[i].version;
			k->wanted_install = rows[i].install;
		}
	}
	work_on_next(r);
}

void
order_replay_look(struct order_replay *r)
{
	struct error e = ERROR_INIT;

	r->again = r->busy;
	if (r->busy || r->draining || !db_is_up(r->db))
		return;
	for (size_t i = 0; i < r->waiting_count; i++) {
		r->waiting[i].in_pass = true;
		r->waiting[i].failed = false;
	}
	for (size_t i = 0; i < r->key_count; i++)
		r->keys[i].skipped = false;
	if (key_versions_load(r->db, r->signer_id, on_versions, r, &e) != NULL)
		r->busy = true;
	else
		log_failure(LOG_LEVEL_DEBUG, "keys", &e);
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	order_replay_look(arg);
}

void
order_replay_signer(struct order_replay *r, const char *token)
{
	struct waiting_signer *w;

	for (size_t i = 0; i < r->key_count; i++) {
		if (strcmp(r->keys[i].token, token) != 0)
			continue;
		r->keys[i].version = 0;
		r->keys[i].install = 0;
		r->keys[i].not_before = 0;
	}
	w = find_waiting(r, token);
	if (w == NULL && r->waiting_count < CONFIG_TOKENS_MAX && strlen(token) < sizeof w->token)
		w = &r->waiting[r->waiting_count++];
	if (w != NULL) {
		*w = (struct waiting_signer){0};
		memcpy(w->token, token, strlen(token) + 1);
	}
	order_replay_look(r);
}

struct order_replay *
order_replay_new(struct event_base *base, struct db *db, struct signer_client *signers,
    int signer_id, struct error *e)
{
	struct order_replay *r = calloc(1, sizeof *r);

	if (r == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating the orders about keys");
		return NULL;
	}
	*r = (struct order_replay){.db = db, .signers = signers, .signer_id = signer_id};
	r->retry = evtimer_new(base, on_retry, r);
	if (r->retry == NULL) {
		error_set(e, ERROR_SYSTEM, "setting a timer for orders about keys");
		free(r);
		return NULL;
	}
	return r;
}

void
order_replay_drain(struct order_replay *r)
{
	r->draining = true;
}

void
order_replay_free(struct order_replay *r)
{
	if (r == NULL)
		return;
	drop_steps(r);
	event_free(r->retry);
	free(r->keys);
	free(r);
}
