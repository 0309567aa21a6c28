#include <stdlib.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/front/front_int.h"

#define WAITING_MAX 1000     /* clients; one more is answered at once */
#define WAITING_EACH_MAX 128 /* of one identity: nobody fills a door with his waiting alone */
#define WAIT_POLL_MS 2000    /* without a hint */
#define WAIT_COALESCE_MS 20  /* hints that come closer together are one */

/*
 * Clients that wait for a request or a decision to settle. A hint from the
 * database, or the slow poll when one was missed, leads to one query for all of
 * them; only those that it names ask again for themselves.
 */
struct waiting {
	struct front *f;
	TAILQ_HEAD(, call) calls;
	size_t count;
	struct event *poll;
	bool asking; /* a poll is in flight */
	bool again;  /* a hint came meanwhile */
};

bool
wait_is_settled(const char *state)
{
	static const char *const open[] = {
	    "submitted", "approved", "claimed", "signing", "queued", "working"};

	for (size_t i = 0; i < COUNT_OF(open); i++)
		if (strcmp(state, open[i]) == 0)
			return false;
	return true;
}

static void
poll_in(struct waiting *w, unsigned ms)
{
	const struct timeval tv = {ms / 1000, (suseconds_t)(ms % 1000) * 1000};
	struct timeval left;

	/* An earlier appointment stands. */
	if (evtimer_pending(w->poll, &left)) {
		struct timeval now, wanted;

		event_base_gettimeofday_cached(w->f->base, &now);
		evutil_timeradd(&now, &tv, &wanted);
		if (left.tv_sec < wanted.tv_sec ||
		    (left.tv_sec == wanted.tv_sec && left.tv_usec < wanted.tv_usec))
			return;
	}
	evtimer_add(w->poll, &tv);
}

/* Asks the call's query once more and answers with whatever comes. */
static void
answer_now(struct call *call)
{
	wait_end(call);
	call->waited = true;
	api_ask_wait(call);
}

static void
on_settled(const char *id, size_t len, void *arg)
{
	struct waiting *w = arg;
	struct call *call, *next;

	for (call = TAILQ_FIRST(&w->calls); call != NULL; call = next) {
		next = TAILQ_NEXT(call, wait_link);
		if (strlen(call->wait_id) == len && memcmp(call->wait_id, id, len) == 0)
			answer_now(call);
	}
}

static void
on_polled(const struct error *err, void *arg)
{
	struct waiting *w = arg;

	w->asking = false;
	if (err != NULL)
		log_failure(LOG_LEVEL_DEBUG, "waiting", err);
	if (w->count > 0)
		poll_in(w, w->again ? WAIT_COALESCE_MS : WAIT_POLL_MS);
	w->again = false;
}

static void
on_poll(evutil_socket_t fd, short what, void *arg)
{
	struct waiting *w = arg;
	const char *requests[WAITING_MAX], *decisions[WAITING_MAX];
	struct front_wait_ids ids = {requests, 0, decisions, 0};
	struct error err = ERROR_INIT;
	struct call *call;

	if (w->count == 0 || w->asking)
		return;
	TAILQ_FOREACH(call, &w->calls, wait_link)
	if (call->route->query == FRONT_DECISION)
		decisions[ids.decision_count++] = call->wait_id;
	else
		requests[ids.request_count++] = call->wait_id;
	w->asking = front_ask_settled(w->f->db, &ids, on_settled, on_polled, w, &err);
	if (!w->asking)
		poll_in(w, WAIT_POLL_MS);
}

static void
on_hint(struct db *db, void *arg)
{
	struct waiting *w = arg;

	if (w->asking)
		w->again = true;
	else if (w->count > 0)
		poll_in(w, WAIT_COALESCE_MS);
}

static void
on_time_up(evutil_socket_t fd, short what, void *arg)
{
	answer_now(arg);
}

static void
on_gone(enum http_gone how, void *arg)
{
	struct call *call = arg;

	if (how == HTTP_LEAVING)
		answer_now(call);
	else
		wait_end(call);
}

/* How many wait under the identity of this one. */
static size_t
waiting_alike(const struct waiting *w, const struct call *call)
{
	const char *identity = http_exchange_peer(call->x)->identity;
	const struct call *other;
	size_t n = 0;

	TAILQ_FOREACH(other, &w->calls, wait_link)
	n += strcmp(http_exchange_peer(other->x)->identity, identity) == 0;
	return n;
}

void
wait_begin(struct call *call, const char *id)
{
	struct waiting *w = call->front->waiting;
	const struct timeval tv = {call->wait_s, 0};

	snprintf(call->wait_id, sizeof(call->wait_id), "%s", id);
	call->wait_timer = evtimer_new(call->front->base, on_time_up, call);
	if (w->count >= WAITING_MAX || waiting_alike(w, call) >= WAITING_EACH_MAX ||
	    call->wait_timer == NULL || role_is_draining(w->f->role)) {
		answer_now(call);
		return;
	}
	http_on_gone(call->x, on_gone, call);
	TAILQ_INSERT_TAIL(&w->calls, call, wait_link);
	call->in_waiting = true;
	w->count++;
	evtimer_add(call->wait_timer, &tv);
	/* It may have changed since it was read. */
	if (w->asking)
		w->again = true;
	else
		poll_in(w, WAIT_COALESCE_MS);
}

void
wait_end(struct call *call)
{
	struct waiting *w = call->front->waiting;

	if (call->wait_timer != NULL)
		event_free(call->wait_timer);
	call->wait_timer = NULL;
	if (!call->in_waiting)
		return;
	TAILQ_REMOVE(&w->calls, call, wait_link);
	call->in_waiting = false;
	w->count--;
}

void
waiting_flush(struct waiting *w)
{
	struct call *call;

	while ((call = TAILQ_FIRST(&w->calls)) != NULL)
		answer_now(call);
}

struct waiting *
waiting_new(struct front *f, struct error *err)
{
	struct waiting *w = calloc(1, sizeof(*w));

	if (w != NULL)
		w->poll = evtimer_new(f->base, on_poll, w);
	if (w == NULL || w->poll == NULL) {
		free(w);
		error_set(err, ERROR_SYSTEM, "no memory for waiting clients");
		return NULL;
	}
	w->f = f;
	TAILQ_INIT(&w->calls);
	if (!front_listen(f->db, on_hint, w, err)) {
		waiting_free(w);
		return NULL;
	}
	return w;
}

void
waiting_free(struct waiting *w)
{
	if (w == NULL)
		return;
	event_free(w->poll);
	free(w);
}
