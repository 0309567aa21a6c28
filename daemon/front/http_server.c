#include "daemon/front/http_server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/log.h"
#include "daemon/front/http_server_int.h"

#define ACCEPT_AGAIN_MS 200 /* pause after accept(2) failed, for want of descriptors mostly */

const struct http_limits http_limits_default = {
    .head_ms = 10 * 1000,
    .body_ms = 30 * 1000,
    .idle_ms = 60 * 1000,
    .answer_ms = 180 * 1000,
    .linger_ms = 2 * 1000,
    /* Of its own for each door: crowds at a public one keep no operator out. */
    .connections = {256, 1024, 512, 16},
};

unsigned
door_index(enum http_door door)
{
	switch (door) {
	case HTTP_DOOR_UNIX:
		return 0;
	case HTTP_DOOR_HTTP:
		return 1;
	case HTTP_DOOR_HTTPS:
		return 2;
	default:
		return 3;
	}
}

static void
accept_again(evutil_socket_t fd, short what, void *arg)
{
	struct http_server *s = arg;

	for (size_t i = 0; i < s->listener_count; i++)
		if (s->listeners[i].ev != NULL)
			evconnlistener_enable(s->listeners[i].ev);
}

static void
reap(evutil_socket_t fd, short what, void *arg)
{
	struct http_server *s = arg;
	struct http_connection *c, *next;

	for (c = TAILQ_FIRST(&s->dead); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		connection_free(c);
	}
	TAILQ_INIT(&s->dead);
}

static void
on_drained(evutil_socket_t fd, short what, void *arg)
{
	struct http_server *s = arg;

	if (s->drained != NULL)
		s->drained(s->drained_arg);
}

struct http_server *
http_server_new(struct event_base *base, const struct http_limits *limits,
    const struct http_handler *handler, void *arg, struct error *err)
{
	struct http_server *s = calloc(1, sizeof(*s));

	if (s == NULL)
		goto fail;
	TAILQ_INIT(&s->connections);
	TAILQ_INIT(&s->dead);
	s->base = base;
	s->limits = limits;
	s->handler = handler;
	s->arg = arg;
	s->again = evtimer_new(base, accept_again, s);
	s->reap = evtimer_new(base, reap, s);
	s->drain_event = evtimer_new(base, on_drained, s);
	if (s->again == NULL || s->reap == NULL || s->drain_event == NULL)
		goto fail;
	return s;
fail:
	http_server_free(s);
	error_set(err, ERROR_SYSTEM, "no memory for the HTTP server");
	return NULL;
}

static void
listeners_free(struct http_server *s)
{
	for (size_t i = 0; i < s->listener_count; i++)
		if (s->listeners[i].ev != NULL)
			evconnlistener_free(s->listeners[i].ev);
	s->listener_count = 0;
}

void
http_server_free(struct http_server *s)
{
	struct http_connection *c, *next;

	if (s == NULL)
		return;
	s->drained = NULL;
	listeners_free(s);
	for (c = TAILQ_FIRST(&s->connections); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		connection_close(c);
	}
	reap(-1, 0, s);
	if (s->reap != NULL)
		event_free(s->reap);
	for (size_t i = 0; i < HTTP_TLS_MAX; i++)
		SSL_CTX_free(s->tls[i]);
	if (s->again != NULL)
		event_free(s->again);
	if (s->drain_event != NULL)
		event_free(s->drain_event);
	free(s);
}

size_t
http_server_connections(const struct http_server *s)
{
	return s->count;
}

void
http_server_set_tls(struct http_server *s, unsigned index, SSL_CTX *ctx)
{
	if (index >= HTTP_TLS_MAX) {
		SSL_CTX_free(ctx);
		return;
	}
	SSL_CTX_free(s->tls[index]);
	s->tls[index] = ctx;
}

/* How long the connection is in its phase. */
static uint64_t
phase_age_ms(const struct http_connection *c)
{
	struct timeval end, now, left;
	int64_t left_ms;

	if (!evtimer_pending(c->timer, &end))
		return 0;
	event_base_gettimeofday_cached(c->s->base, &now);
	evutil_timersub(&end, &now, &left);
	left_ms = (int64_t)left.tv_sec * 1000 + left.tv_usec / 1000;
	return left_ms >= (int64_t)c->phase_ms ? 0 : (uint64_t)((int64_t)c->phase_ms - left_ms);
}

/* How ready a connection is to make room, 0: not at all. Whoever idles goes
 * first, then who is slow to begin, then who is slow to read: by being slow at
 * many connections nobody keeps a door shut. */
static unsigned
readiness(const struct http_connection *c)
{
	switch (c->phase) {
	case PHASE_IDLE:
	case PHASE_LINGERING:
		return 3;
	case PHASE_OPENING:
	case PHASE_HEAD:
		return phase_age_ms(c) > HTTP_OPENING_MIN_MS ? 2 : 0;
	case PHASE_SENDING:
		return phase_age_ms(c) > HTTP_SENDING_MIN_MS ? 1 : 0;
	default:
		return 0;
	}
}

/* A full door makes room for the next, by the oldest that may go. */
static bool
make_room(struct http_server *s, enum http_door door)
{
	struct http_connection *c, *best = NULL;
	unsigned best_readiness = 0, r;

	TAILQ_FOREACH(c, &s->connections, link)
	{
		r = c->peer.door == door ? readiness(c) : 0;
		if (r > best_readiness) {
			best = c;
			best_readiness = r;
		}
		if (r == 3)
			break;
	}
	if (best == NULL)
		return false;
	connection_close(best);
	return true;
}

static void
on_accept(struct evconnlistener *ev, evutil_socket_t fd, struct sockaddr *addr, int len, void *arg)
{
	struct http_listener *l = arg;
	struct http_server *s = l->s;
	unsigned d = door_index(l->door);

	if (s->door_count[d] >= s->limits->connections[d] && !make_room(s, l->door)) {
		log_debug("-", "connection refused: %zu are open", s->door_count[d]);
		close(fd);
		return;
	}
	(void)connection_start(s, l, fd);
}

static void
on_accept_error(struct evconnlistener *ev, void *arg)
{
	struct http_listener *l = arg;
	const struct timeval pause = {0, ACCEPT_AGAIN_MS * 1000};

	log_warning("-", "connections cannot be accepted for the moment: %s", strerror(errno));
	evconnlistener_disable(ev);
	evtimer_add(l->s->again, &pause);
}

bool
http_server_listen(
    struct http_server *s, enum http_door door, unsigned index, int fd, struct error *err)
{
	struct http_listener *l;

	if (s->draining || s->listener_count == HTTP_LISTENERS_MAX || index >= HTTP_TLS_MAX) {
		close(fd);
		return error_set(err, ERROR_LIMIT, "no further listening socket is taken");
	}
	l = &s->listeners[s->listener_count];
	*l = (struct http_listener){.s = s, .door = door, .index = index};
	if (evutil_make_socket_nonblocking(fd) == 0)
		l->ev = evconnlistener_new(
		    s->base, on_accept, l, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 0, fd);
	if (l->ev == NULL) {
		close(fd);
		return error_set(err, ERROR_SYSTEM, "the listening socket cannot be watched");
	}
	evconnlistener_set_error_cb(l->ev, on_accept_error);
	s->listener_count++;
	return true;
}

static void
maybe_drained(struct http_server *s)
{
	const struct timeval now = {0, 0};

	if (s->draining && s->count == 0 && s->drained != NULL)
		evtimer_add(s->drain_event, &now);
}

void
server_forget(struct http_connection *c)
{
	const struct timeval now = {0, 0};

	TAILQ_REMOVE(&c->s->connections, c, link);
	TAILQ_INSERT_TAIL(&c->s->dead, c, link);
	evtimer_add(c->s->reap, &now);
	c->s->count--;
	c->s->door_count[door_index(c->peer.door)]--;
	maybe_drained(c->s);
}

void
http_server_drain(struct http_server *s, void (*drained)(void *arg), void *arg)
{
	struct http_connection *c, *next;

	s->drained = drained;
	s->drained_arg = arg;
	s->draining = true;
	listeners_free(s);
	for (c = TAILQ_FIRST(&s->connections); c != NULL; c = next) {
		next = TAILQ_NEXT(c, link);
		if (c->phase == PHASE_IDLE || c->phase == PHASE_OPENING)
			connection_close(c);
	}
	maybe_drained(s);
}
