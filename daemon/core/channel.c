#include "daemon/core/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/util.h>

struct channel {
	struct bufferevent *bev;
	struct event *kick; /* hands frames on after a resume, from the loop */
	const struct channel_callbacks *callbacks;
	void *arg;
	unsigned int busy; /* callbacks on the stack: free waits for them */
	bool freed;
	bool paused;
	bool refused; /* a send was; the owner waits for `writable` */
	bool dead;    /* `closed` was called, or is being called */
	bool ended;   /* the end came while frames were still held back */
	struct error end_reason;
};

static void
destroy(struct channel *c)
{
	if (c->bev != NULL)
		bufferevent_free(c->bev);
	if (c->kick != NULL)
		event_free(c->kick);
	free(c);
}

static void
leave(struct channel *c)
{
	if (--c->busy == 0 && c->freed)
		destroy(c);
}

/* Only from inside dispatch, which keeps c alive. */
static void
die(struct channel *c, const struct error *why)
{
	if (c->dead || c->freed)
		return;
	c->dead = true;
	(void)bufferevent_disable(c->bev, EV_READ | EV_WRITE);
	c->callbacks->closed(c, why, c->arg);
}

static uint64_t
big_endian(const uint8_t *p, size_t len)
{
	uint64_t v = 0;

	for (size_t i = 0; i < len; i++)
		v = v << 8 | p[i];
	return v;
}

/*
 * Hands the oldest whole frame on. False when there is none, or the channel
 * died over a broken one.
 */
static bool
dispatch_one(struct channel *c, struct evbuffer *in)
{
	uint8_t header[CHANNEL_HEADER_LEN];
	struct error why = ERROR_INIT;
	struct bytes payload;
	const uint8_t *frame;
	uint64_t id;
	uint16_t type;

	if (evbuffer_copyout(in, header, sizeof header) < (ev_ssize_t)sizeof header)
		return false;
	payload.len = (size_t)big_endian(header, 4);
	type = (uint16_t)big_endian(header + 4, 2);
	id = big_endian(header + 8, 8);
	if (payload.len > CHANNEL_FRAME_MAX || big_endian(header + 6, 2) != 0) {
		(void)error_set(&why, ERROR_INPUT,
		    "the peer sent a message that is no frame (%zu bytes announced, at most %d "
		    "allowed); the channel is closed",
		    payload.len, CHANNEL_FRAME_MAX);
		die(c, &why);
		return false;
	}
	if (evbuffer_get_length(in) < sizeof header + payload.len)
		return false;
	frame = evbuffer_pullup(in, (ev_ssize_t)(sizeof header + payload.len));
	if (frame == NULL) {
		(void)error_set(
		    &why, ERROR_SYSTEM, "no memory for a message of %zu bytes", payload.len);
		die(c, &why);
		return false;
	}
	payload.p = frame + sizeof header;
	c->callbacks->frame(c, type, id, payload, c->arg);
	(void)evbuffer_drain(in, sizeof header + payload.len);
	return true;
}

static void
dispatch(struct channel *c)
{
	struct evbuffer *in = bufferevent_get_input(c->bev);

	c->busy++;
	while (!c->paused && !c->dead && !c->freed && dispatch_one(c, in))
		;
	if (c->ended && !c->paused && !c->dead && !c->freed) {
		if (evbuffer_get_length(in) > 0)
			(void)error_set(&c->end_reason, ERROR_UNAVAILABLE,
			    "the peer went away in the middle of a message");
		die(c, &c->end_reason);
	}
	leave(c);
}

static void
on_read(struct bufferevent *bev, void *arg)
{
	dispatch(arg);
}

static void
on_kick(evutil_socket_t fd, short events, void *arg)
{
	dispatch(arg);
}

static void
on_write(struct bufferevent *bev, void *arg)
{
	struct channel *c = arg;

	if (!c->refused || c->dead || c->freed)
		return;
	c->refused = false;
	if (c->callbacks->writable == NULL)
		return;
	c->busy++;
	c->callbacks->writable(c, c->arg);
	leave(c);
}

static void
on_event(struct bufferevent *bev, short events, void *arg)
{
	struct channel *c = arg;

	if ((events & BEV_EVENT_ERROR) != 0) {
		errno = EVUTIL_SOCKET_ERROR();
		/* A peer that died with our bytes unread is an end like another. */
		if (errno != ECONNRESET && errno != EPIPE)
			(void)error_set_errno(
			    &c->end_reason, ERROR_UNAVAILABLE, "the channel to the peer failed");
	}
	if ((events & (BEV_EVENT_ERROR | BEV_EVENT_EOF)) == 0)
		return;
	c->ended = true;
	dispatch(c);
}

struct channel *
channel_new(struct event_base *base, int fd, const struct channel_callbacks *callbacks, void *arg,
    struct error *e)
{
	struct channel *c = calloc(1, sizeof *c);

	if (c == NULL || evutil_make_socket_nonblocking(fd) != 0)
		goto fail;
	c->callbacks = callbacks;
	c->arg = arg;
	c->kick = event_new(base, -1, 0, on_kick, c);
	c->bev = bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE);
	if (c->kick == NULL || c->bev == NULL)
		goto fail;
	bufferevent_setcb(c->bev, on_read, on_write, on_event, c);
	bufferevent_setwatermark(c->bev, EV_WRITE, CHANNEL_OUT_LOW, 0);
	if (bufferevent_enable(c->bev, EV_READ | EV_WRITE) == 0)
		return c;
fail:
	(void)error_set_errno(e, ERROR_SYSTEM, "cannot set up the channel on descriptor %d", fd);
	if (c == NULL || c->bev == NULL)
		(void)close(fd);
	if (c != NULL)
		destroy(c);
	return NULL;
}

void
channel_free(struct channel *c)
{
	if (c == NULL)
		return;
	c->freed = true;
	if (c->busy == 0)
		destroy(c);
}

bool
channel_has_room(struct channel *c, size_t len)
{
	bool room = channel_queued(c) + CHANNEL_HEADER_LEN + len <= CHANNEL_OUT_MAX;

	c->refused |= !room;
	return room;
}

bool
channel_send(
    struct channel *c, uint16_t type, uint64_t id, const void *payload, size_t len, struct error *e)
{
	uint8_t header[CHANNEL_HEADER_LEN] = {0};
	struct evbuffer *out;

	if (c->dead || c->freed)
		return error_set(e, ERROR_UNAVAILABLE, "the channel to the peer is closed");
	if (len > CHANNEL_FRAME_MAX)
		return error_set(e, ERROR_LIMIT,
		    "a message of %zu bytes does not fit a frame of %d", len, CHANNEL_FRAME_MAX);
	out = bufferevent_get_output(c->bev);
	if (!channel_has_room(c, len))
		return error_set(e, ERROR_LIMIT,
		    "the peer does not read: %zu bytes wait to be sent, at most %d may",
		    evbuffer_get_length(out), CHANNEL_OUT_MAX);
	for (size_t i = 0; i < 4; i++)
		header[i] = (uint8_t)(len >> 8 * (3 - i));
	header[4] = (uint8_t)(type >> 8);
	header[5] = (uint8_t)type;
	for (size_t i = 0; i < 8; i++)
		header[8 + i] = (uint8_t)(id >> 8 * (7 - i));
	/* Room for both first, so that a header never goes out alone. */
	if (evbuffer_expand(out, sizeof header + len) != 0 ||
	    evbuffer_add(out, header, sizeof header) != 0 ||
	    (len > 0 && evbuffer_add(out, payload, len) != 0))
		return error_set(e, ERROR_SYSTEM, "no memory to send a message of %zu bytes", len);
	return true;
}

bool
channel_send_writer(
    struct channel *c, uint16_t type, uint64_t id, struct wire_writer *w, struct error *e)
{
	bool ok;

	if (wire_writer_ok(w))
		ok = channel_send(c, type, id, w->buf, w->len, e);
	else
		ok = error_set(
		    e, ERROR_LIMIT, "a message is longer than a frame of %d", CHANNEL_FRAME_MAX);
	wire_writer_free(w);
	return ok;
}

void
channel_pause(struct channel *c)
{
	/* Not by a high watermark: libevent 2.1 then calls back without end. */
	c->paused = true;
	(void)bufferevent_disable(c->bev, EV_READ);
}

void
channel_resume(struct channel *c)
{
	if (!c->paused || c->dead || c->freed)
		return;
	c->paused = false;
	(void)bufferevent_enable(c->bev, EV_READ);
	event_active(c->kick, EV_TIMEOUT, 0);
}

size_t
channel_queued(const struct channel *c)
{
	return evbuffer_get_length(bufferevent_get_output(c->bev));
}
