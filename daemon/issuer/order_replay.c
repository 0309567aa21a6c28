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

/* A token's signer, and what it is being told: each has its own pass over its keys, so
 * that one that hangs keeps no other from being told, and from signing. */
struct lane {
	struct order_replay *replay;
	char token[CONFIG_TOKEN_NAME_MAX + 1];
	bool waiting; /* it has come and was not told all yet */
	bool in_pass; /* ... and was there before the database was asked for this pass */
	bool failed;  /* in this pass, for a reason that may pass */
	bool busy;    /* a pass is under way */
	/* The key that is being worked on, by its place, which does not change. */
	size_t current;
	struct replay_step *steps; /* owned */
	size_t step_count, step;
	bool newest_first; /* the last limits alone are tried before all of them */
};

struct order_replay {
	struct db *db;
	struct signer_client *signers;
	int signer_id;
	bool loading, again, draining;
	struct event *retry;
	struct lane lanes[CONFIG_TOKENS_MAX];
	size_t lane_count;
	struct told_key *keys; /* owned */
	size_t key_count;
};

static void work_on_next(struct lane *l);

/* -------------------------------------------------------------------- memory */

static void
drop_steps(struct lane *l)
{
	for (size_t i = 0; i < l->step_count; i++)
		kept_order_drop(&l->steps[i].kept);
	free(l->steps);
	l->steps = NULL;
	l->step_count = l->step = 0;
}

static struct told_key *
current_key(const struct lane *l)
{
	return &l->replay->keys[l->current];
}

static bool
is_of(const struct told_key *k, const struct lane *l)
{
	return strcmp(k->token, l->token) == 0;
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

static struct lane *
find_lane(struct order_replay *r, const char *token)
{
	for (size_t i = 0; i < r->lane_count; i++) {
		if (strcmp(r->lanes[i].token, token) == 0)
			return &r->lanes[i];
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

/* A signer that was there from the pass's beginning signs from now on. One whose token
 * is away, or whose journal is closed, says so itself to who asks it, and is told later. */
static void
end_pass(struct lane *l)
{
	bool release = l->waiting && l->in_pass;

	l->busy = false;
	if (release && !l->failed)
		l->waiting = false;
	if (l->waiting)
		retry_soon(l->replay);
	if (release)
		signer_client_release(l->replay->signers, l->token);
}

/* --------------------------------------------------------------- one key's end */

static void
end_key(struct lane *l)
{
	drop_steps(l);
	work_on_next(l);
}

static void
give_up(struct lane *l, const struct error *why)
{
	struct order_replay *r = l->replay;
	struct told_key *k = current_key(l);

	log_failure(error_is_retryable(why) ? LOG_LEVEL_DEBUG : LOG_LEVEL_WARNING, k->ca, why);
	/* A token that waits for a person may do so for days. */
	if (!error_is_retryable(why) || why->code == ERROR_LOCKED)
		k->not_before = (int64_t)time(NULL) + PAUSE_S;
	else
		l->failed = true;
	k->skipped = true;
	/* The others of that token would hear the same. */
	for (size_t i = 0; error_is_retryable(why) && i < r->key_count; i++)
		r->keys[i].skipped |= is_of(&r->keys[i], l);
	end_key(l);
}

/* All was told, or as much as one answer of the database has: then the rest comes
 * with the next look. */
static void
complete(struct lane *l)
{
	struct told_key *k = current_key(l);

	if (l->step_count < KEY_ORDERS_MAX) {
		k->version = k->wanted_version;
		k->install = k->wanted_install;
	}
	for (size_t i = 0; i < l->step_count; i++) {
		if (l->steps[i].kind != KEY_ORDER_INSTALL)
			k->version = l->steps[i].version;
		else
			k->install = l->steps[i].decision;
	}
	end_key(l);
}

/* --------------------------------------------------------------------- orders */

static void on_told(const struct signer_answer *answer, const struct error *failure, void *arg);

static bool
tell(struct lane *l, struct error *e)
{
	const struct told_key *k = current_key(l);
	const struct replay_step *s = &l->steps[l->step];
	uint64_t id;

	switch (s->kind) {
	case KEY_ORDER_CREATE:
		return signer_ask_generate(l->replay->signers, k->token,
		    &(struct signproto_key_generate){.order = s->kept.order}, on_told, l, &id, e);
	case KEY_ORDER_LIMITS:
		return signer_ask_limits_set(l->replay->signers, k->token,
		    &(struct signproto_limits_set){id_of(k), s->kept.order}, on_told, l, &id, e);
	default:
		return signer_ask_install(l->replay->signers, k->token,
		    &(struct signproto_install){id_of(k), s->kept.order}, on_told, l, &id, e);
	}
}

/* The place of the last limits, or of the creation where there are no others. */
static size_t
newest_limits(const struct lane *l)
{
	size_t place = 0;

	for (size_t i = 0; i < l->step_count; i++) {
		if (l->steps[i].kind == KEY_ORDER_LIMITS)
			place = i;
	}
	return place;
}

static void
go_on(struct lane *l)
{
	struct error e = ERROR_INIT;

	if (l->step == l->step_count)
		complete(l);
	else if (!tell(l, &e))
		give_up(l, &e);
}

/* Newest first: a signer that has it needs none of those before, and would not
 * take them; one that has not refuses it, and gets all of them in their order. */
static void
on_told(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct lane *l = arg;
	const struct replay_step *s = &l->steps[l->step];

	if (failure != NULL && error_is_retryable(failure)) {
		give_up(l, failure);
		return;
	}
	if (l->newest_first && failure != NULL) {
		l->newest_first = false;
		l->step = 0;
	} else if (failure != NULL &&
		   (s->kind != KEY_ORDER_LIMITS || l->step == newest_limits(l))) {
		give_up(l, failure);
		return;
	} else {
		l->newest_first = false;
		l->step++;
	}
	go_on(l);
}

static bool
keep_steps(struct lane *l, const struct key_order *rows, size_t n, struct error *e)
{
	l->steps = calloc(n > 0 ? n : 1, sizeof *l->steps);
	if (l->steps == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating orders about a key");
	for (size_t i = 0; i < n; i++) {
		struct replay_step *s = &l->steps[i];

		*s = (struct replay_step){
		    .kind = rows[i].kind, .version = rows[i].version, .decision = rows[i].decision};
		if (!kept_order_copy(&s->kept, &rows[i].order, e))
			return false;
		l->step_count++;
	}
	return true;
}

static void
on_orders(const struct key_order *rows, size_t n, const struct error *err, void *arg)
{
	struct lane *l = arg;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		give_up(l, err);
		return;
	}
	if (!keep_steps(l, rows, n, &e)) {
		give_up(l, &e);
		return;
	}
	if (l->newest_first) {
		l->step = newest_limits(l);
		/* What it was made with it has. */
		l->step += l->step < l->step_count && l->steps[l->step].kind == KEY_ORDER_CREATE;
	}
	go_on(l);
}

static bool
load_orders(struct lane *l, struct error *e)
{
	const struct told_key *k = current_key(l);

	return key_orders_load(l->replay->db, id_of(k), k->version, k->install, on_orders, l, e) !=
	       NULL;
}

/* The signer has the key and limits for it, or it does not. */
static void
on_found(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct lane *l = arg;
	struct error e = ERROR_INIT;

	l->newest_first = failure == NULL;
	if (failure != NULL && error_is_retryable(failure))
		give_up(l, failure);
	else if (!load_orders(l, &e))
		give_up(l, &e);
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
begin_key(struct lane *l, struct error *e)
{
	const struct told_key *k = current_key(l);
	uint64_t id;

	l->newest_first = false;
	return k->version > 0
		   ? load_orders(l, e)
		   : signer_ask_find(l->replay->signers, k->token, id_of(k), on_found, l, &id, e);
}

static void
work_on_next(struct lane *l)
{
	struct order_replay *r = l->replay;
	int64_t now = (int64_t)time(NULL);
	struct error e = ERROR_INIT;

	for (size_t i = 0; i < r->key_count && !r->draining; i++) {
		struct told_key *k = &r->keys[i];

		if (!is_of(k, l) || !is_behind(r, k, now))
			continue;
		l->current = i;
		if (begin_key(l, &e))
			return;
		log_failure(LOG_LEVEL_DEBUG, k->ca, &e);
		error_clear(&e);
		k->skipped = true;
		l->failed = true;
	}
	end_pass(l);
}

/* Not while another is under way; and a signer that came while the database was asked
 * has to wait until it is asked again. */
static void
begin_pass(struct lane *l)
{
	struct order_replay *r = l->replay;

	if (l->busy || (l->waiting && !l->in_pass))
		return;
	l->busy = true;
	l->failed = false;
	for (size_t i = 0; i < r->key_count; i++) {
		if (is_of(&r->keys[i], l))
			r->keys[i].skipped = false;
	}
	work_on_next(l);
}

static void
note_version(struct order_replay *r, const struct key_version *row)
{
	struct told_key *k;

	if (row->token == NULL || row->ca == NULL)
		return;
	k = find_key(r, row);
	if (k == NULL)
		k = add_key(r, row);
	if (k != NULL) {
		k->wanted_version = row->version;
		k->wanted_install = row->install;
	}
}

static void
on_versions(const struct key_version *rows, size_t n, const struct error *err, void *arg)
{
	struct order_replay *r = arg;

	r->loading = false;
	if (err != NULL) {
		log_failure(LOG_LEVEL_DEBUG, "keys", err);
		for (size_t i = 0; i < r->lane_count; i++)
			if (r->lanes[i].waiting)
				retry_soon(r);
		return;
	}
	for (size_t i = 0; i < n; i++)
		note_version(r, &rows[i]);
	for (size_t i = 0; i < r->lane_count; i++)
		begin_pass(&r->lanes[i]);
	if (r->again)
		order_replay_look(r);
}

void
order_replay_look(struct order_replay *r)
{
	struct error e = ERROR_INIT;

	r->again = r->loading;
	if (r->loading || r->draining || !db_is_up(r->db))
		return;
	for (size_t i = 0; i < r->lane_count; i++)
		r->lanes[i].in_pass |= !r->lanes[i].busy;
	if (key_versions_load(r->db, r->signer_id, on_versions, r, &e) != NULL)
		r->loading = true;
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
	struct lane *l = find_lane(r, token);

	if (l == NULL && r->lane_count < CONFIG_TOKENS_MAX && strlen(token) < sizeof l->token) {
		l = &r->lanes[r->lane_count++];
		l->replay = r;
		memcpy(l->token, token, strlen(token) + 1);
	}
	if (l == NULL)
		return;
	for (size_t i = 0; i < r->key_count; i++) {
		if (!is_of(&r->keys[i], l))
			continue;
		r->keys[i].version = 0;
		r->keys[i].install = 0;
		r->keys[i].not_before = 0;
	}
	l->waiting = true;
	l->in_pass = l->failed = false;
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
	for (size_t i = 0; i < r->lane_count; i++)
		drop_steps(&r->lanes[i]);
	event_free(r->retry);
	free(r->keys);
	free(r);
}
