/*
 * libFuzzer target: the frames between issuer and signer, as a channel reads them
 * from a socket. The first octet chooses the pieces in which they arrive. Every
 * whole frame before the first broken one is handed on as it was sent, and the
 * channel ends once.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "daemon/core/channel.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is still expected. */
struct reader {
	struct bytes rest;
	unsigned int closed;
	bool failed; /* why was set */
};

static uint64_t
number(const uint8_t *p, size_t len)
{
	uint64_t v = 0;

	for (size_t i = 0; i < len; i++)
		v = v << 8 | p[i];
	return v;
}

/* False when no whole frame stands at the beginning; *broken: nor ever will. */
static bool
next_frame(struct bytes rest, size_t *len, bool *broken)
{
	*broken = false;
	if (rest.len < CHANNEL_HEADER_LEN)
		return false;
	*len = (size_t)number(rest.p, 4);
	*broken = *len > CHANNEL_FRAME_MAX || number(rest.p + 6, 2) != 0;
	return !*broken && rest.len - CHANNEL_HEADER_LEN >= *len;
}

static void
on_frame(struct channel *c, uint16_t type, uint64_t id, struct bytes payload, void *arg)
{
	struct reader *r = arg;
	size_t len;
	bool broken;

	if (r->closed > 0 || !next_frame(r->rest, &len, &broken) || payload.len != len ||
	    type != number(r->rest.p + 4, 2) || id != number(r->rest.p + 8, 8) ||
	    (len > 0 && memcmp(payload.p, r->rest.p + CHANNEL_HEADER_LEN, len) != 0))
		abort();
	r->rest.p += CHANNEL_HEADER_LEN + len;
	r->rest.len -= CHANNEL_HEADER_LEN + len;
}

static void
on_closed(struct channel *c, const struct error *why, void *arg)
{
	struct reader *r = arg;

	r->closed++;
	r->failed = error_is_set(why);
}

static const struct channel_callbacks callbacks = {.frame = on_frame, .closed = on_closed};

static void
send_pieces(struct event_base *base, int fd, const uint8_t *p, size_t len, unsigned int seed)
{
	while (len > 0) {
		size_t n = seed == 0 ? len : 1 + (seed = seed * 1103515245 + 12345) / 65536 % 40;

		if (n > len)
			n = len;
		/* The channel may have ended already. */
		if (send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			return;
		p += n;
		len -= n;
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct event_base *base;
	struct reader r = {0};
	struct channel *c;
	size_t len;
	bool broken;
	int fd[2];

	if (size == 0)
		return 0;
	if (base == NULL)
		base = event_base_new();
	r.rest = (struct bytes){data + 1, size - 1};
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd) != 0 ||
	    (c = channel_new(base, fd[1], &callbacks, &r, NULL)) == NULL)
		abort();
	send_pieces(base, fd[0], data + 1, size - 1, data[0]);
	(void)close(fd[0]);
	for (int i = 0; i < 4 && r.closed == 0; i++)
		(void)event_base_loop(base, EVLOOP_NONBLOCK);
	if (r.closed != 1 || next_frame(r.rest, &len, &broken))
		abort();
	/* Cleanly only behind a whole frame. */
	if (r.failed != (broken || r.rest.len > 0))
		abort();
	channel_free(c);
	return 0;
}
