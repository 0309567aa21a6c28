#include "daemon/issuer/clock_watch.h"

#include <stdlib.h>
#include <time.h>

#include <event2/event.h>

#include "daemon/core/log.h"
#include "db/clock.h"

struct clock_watch {
	struct db *db;
	struct event *timer;
	struct db_pending *asked; /* NULL: no answer is owed */
	clock_held_fn *held;
	void *arg;
	bool is_held;
	/* The last readings; passed 0: none yet. */
	struct clock_reading host, database;
	int64_t step_s; /* to be told; 0: none */
};

int64_t
clock_step_s(const struct clock_reading *before, const struct clock_reading *after)
{
	return (after->clock - before->clock) - (after->passed - before->passed);
}

static int64_t
read_clock(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts);
	return ts.tv_sec;
}

static void
note_reading(struct clock_watch *w, struct clock_reading *last, int64_t clock)
{
	struct clock_reading now = {clock, read_clock(CLOCK_BOOTTIME)};
	int64_t step = last->passed > 0 ? clock_step_s(last, &now) : 0;

	*last = now;
	if (llabs(step) > llabs(w->step_s))
		w->step_s = step;
}

static void
note_held(struct clock_watch *w, const char *doubt)
{
	bool held = doubt != NULL;

	if (held == w->is_held)
		return;
	w->is_held = held;
	if (held)
		log_error("clock",
		    "nothing is signed: %s; set the clock right, then \"chancery clock confirm\"",
		    doubt);
	else
		log_info("clock", "signing goes on: the clock is right");
	w->held(held, w->arg);
}

static void
on_watched(const char *doubt, int64_t now, const struct error *err, void *arg)
{
	struct clock_watch *w = arg;

	w->asked = NULL;
	if (err != NULL) {
		log_failure(LOG_LEVEL_DEBUG, "clock", err);
		return;
	}
	w->step_s = 0; /* told */
	note_reading(w, &w->database, now);
	note_held(w, doubt);
}

void
clock_watch_look(struct clock_watch *w)
{
	int64_t host = read_clock(CLOCK_REALTIME);
	struct error e = ERROR_INIT;

	if (w->asked != NULL || !db_is_up(w->db))
		return;
	note_reading(w, &w->host, host);
	w->asked = clock_watch_ask(w->db, host, w->step_s, on_watched, w, &e);
	if (w->asked == NULL)
		log_failure(LOG_LEVEL_DEBUG, "clock", &e);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	clock_watch_look(arg);
}

struct clock_watch *
clock_watch_new(
    struct event_base *base, struct db *db, clock_held_fn *held, void *arg, struct error *e)
{
	struct clock_watch *w = calloc(1, sizeof *w);
	const struct timeval look = {CLOCK_WATCH_S, 0};

	if (w != NULL) {
		w->db = db;
		w->held = held;
		w->arg = arg;
		w->timer = event_new(base, -1, EV_PERSIST, on_timer, w);
		if (w->timer != NULL && event_add(w->timer, &look) == 0)
			return w;
	}
	error_set_errno(e, ERROR_SYSTEM, "allocating the watch over the clock");
	clock_watch_free(w);
	return NULL;
}

void
clock_watch_free(struct clock_watch *w)
{
	if (w == NULL)
		return;
	if (w->timer != NULL)
		event_free(w->timer);
	db_cancel(w->asked);
	free(w);
}
