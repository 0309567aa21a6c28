#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "daemon/core/channel.h"

struct end {
	struct channel *channel;
	int frames, closed, writable;
	int free_after; /* frees the channel inside its n-th frame */
	uint16_t type;
	uint64_t id;
	size_t total;
	uint32_t sum;
	struct error why;
};

struct pair {
	struct event_base *base;
	struct end a, b;
	int raw; /* b's side as a plain descriptor, when there is no channel b */
};

static void
on_frame(struct channel *c, uint16_t type, uint64_t id, struct bytes payload, void *arg)
{
	struct end *end = arg;

	assert_ptr_equal(c, end->channel);
	end->frames++;
	end->type = type;
	end->id = id;
	end->total += payload.len;
	for (size_t i = 0; i < payload.len; i++)
		end->sum = end->sum * 31 + payload.p[i];
	if (end->frames == end->free_after) {
		channel_free(c);
		end->channel = NULL;
	}
}

static void
on_closed(struct channel *c, const struct error *why, void *arg)
{
	struct end *end = arg;

	end->closed++;
	end->why = *why;
	channel_free(c);
	end->channel = NULL;
}

static void
on_writable(struct channel *c, void *arg)
{
	((struct end *)arg)->writable++;
}

static const struct channel_callbacks callbacks = {on_frame, on_closed, on_writable};

static void
turn(struct pair *p, int times)
{
	for (int i = 0; i < times; i++)
		(void)event_base_loop(p->base, EVLOOP_NONBLOCK);
}

static void
pair_open(struct pair *p, bool both)
{
	struct error e = ERROR_INIT;
	int fd[2];

	*p = (struct pair){.raw = -1};
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	p->base = event_base_new();
	p->a.channel = channel_new(p->base, fd[0], &callbacks, &p->a, &e);
	assert_non_null(p->a.channel);
	if (both) {
		p->b.channel = channel_new(p->base, fd[1], &callbacks, &p->b, &e);
		assert_non_null(p->b.channel);
	} else {
		p->raw = fd[1];
	}
}

static void
pair_close(struct pair *p)
{
	channel_free(p->a.channel);
	channel_free(p->b.channel);
	if (p->raw >= 0)
		(void)close(p->raw);
	event_base_free(p->base);
}

static void
frames_pass_both_ways(void **state)
{
	struct error e = ERROR_INIT;
	struct pair p;

	pair_open(&p, true);
	for (uint64_t id = 1; id <= 100; id++)
		assert_true(channel_send(p.a.channel, 4, id << 32, "abc", 3, &e));
	assert_true(channel_send(p.b.channel, 0x8001, 7, NULL, 0, &e));
	turn(&p, 10);
	assert_int_equal(p.b.frames, 100);
	assert_int_equal(p.b.type, 4);
	assert_true(p.b.id == 100ULL << 32);
	assert_int_equal(p.b.total, 300);
	assert_int_equal(p.a.frames, 1);
	assert_int_equal(p.a.type, 0x8001);
	assert_int_equal(p.a.total, 0);
	pair_close(&p);
}

static void
the_longest_frame_passes_and_a_longer_is_refused(void **state)
{
	struct error e = ERROR_INIT;
	uint8_t *big = malloc(CHANNEL_FRAME_MAX + 1);
	uint32_t sum = 0;
	struct pair p;

	assert_non_null(big);
	for (size_t i = 0; i <= CHANNEL_FRAME_MAX; i++)
		big[i] = (uint8_t)(i * 7);
	for (size_t i = 0; i < CHANNEL_FRAME_MAX; i++)
		sum = sum * 31 + big[i];
	pair_open(&p, true);
	assert_true(channel_send(p.a.channel, 6, 1, big, CHANNEL_FRAME_MAX, &e));
	assert_false(channel_send(p.a.channel, 6, 1, big, CHANNEL_FRAME_MAX + 1, &e));
	assert_int_equal(e.code, ERROR_LIMIT);
	while (p.b.frames == 0)
		turn(&p, 1);
	assert_int_equal(p.b.total, CHANNEL_FRAME_MAX);
	assert_int_equal(p.b.sum, sum);
	pair_close(&p);
	free(big);
}

static void
a_byte_at_a_time(void **state)
{
	static const uint8_t frame[] = {
	    0, 0, 0, 2, 0x80, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 9, 'h', 'i'};
	struct pair p;

	pair_open(&p, false);
	for (size_t i = 0; i < sizeof frame; i++) {
		assert_int_equal(p.a.frames, 0);
		assert_int_equal(write(p.raw, frame + i, 1), 1);
		turn(&p, 2);
	}
	assert_int_equal(p.a.frames, 1);
	assert_int_equal(p.a.type, 0x8003);
	assert_int_equal(p.a.id, 0x109);
	assert_int_equal(p.a.total, 2);
	pair_close(&p);
}

static void
broken_frames_close_the_channel(void **state)
{
	static const uint8_t bad[][CHANNEL_HEADER_LEN] = {
	    {0xff, 0xff, 0xff, 0xff, 0, 1},
	    {0x00, 0x11, 0x00, 0x01, 0, 1}, /* CHANNEL_FRAME_MAX + 1 */
	    {0, 0, 0, 0, 0, 1, 0, 1},	    /* the reserved field */
	};

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		struct pair p;

		pair_open(&p, false);
		assert_int_equal(write(p.raw, bad[i], sizeof bad[i]), sizeof bad[i]);
		turn(&p, 4);
		assert_int_equal(p.a.closed, 1);
		assert_int_equal(p.a.frames, 0);
		assert_int_equal(p.a.why.code, ERROR_INPUT);
		pair_close(&p);
	}
}

static void
ends_are_reported_once(void **state)
{
	static const uint8_t frames[] = {0, 0, 0, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'x', 0, 0};
	struct pair p;

	/* Orderly: what was sent before the end arrives first. */
	pair_open(&p, false);
	assert_int_equal(write(p.raw, frames, 17), 17);
	(void)close(p.raw);
	p.raw = -1;
	turn(&p, 6);
	assert_int_equal(p.a.frames, 1);
	assert_int_equal(p.a.closed, 1);
	assert_false(error_is_set(&p.a.why));
	pair_close(&p);

	pair_open(&p, false);
	assert_int_equal(write(p.raw, frames, sizeof frames), sizeof frames);
	(void)close(p.raw);
	p.raw = -1;
	turn(&p, 6);
	assert_int_equal(p.a.frames, 1);
	assert_int_equal(p.a.closed, 1);
	assert_int_equal(p.a.why.code, ERROR_UNAVAILABLE);
	pair_close(&p);
}

static void
a_peer_that_does_not_read_is_back_pressure(void **state)
{
	struct error e = ERROR_INIT;
	uint8_t *piece = calloc(1, 1024 * 1024);
	int sent = 0, before;
	struct pair p;

	assert_non_null(piece);
	pair_open(&p, true);
	channel_pause(p.b.channel);
	while (sent < 100 && channel_send(p.a.channel, 6, 1, piece, 1024 * 1024, &e)) {
		sent++;
		turn(&p, 2000);
	}
	/* What fits: the sender's queue, the receiver's, and the sockets'. */
	assert_int_equal(e.code, ERROR_LIMIT);
	assert_in_range(sent, 8, 12);
	assert_true(channel_queued(p.a.channel) <= CHANNEL_OUT_MAX);
	assert_int_equal(p.b.frames, 0);
	assert_int_equal(p.a.writable, 0);

	channel_resume(p.b.channel);
	before = sent;
	for (int i = 0; i < 20000 && p.b.frames < sent; i++)
		turn(&p, 1);
	assert_int_equal(p.b.frames, before);
	assert_int_equal(p.a.writable, 1);
	assert_int_equal(channel_queued(p.a.channel), 0);
	error_clear(&e);
	assert_true(channel_send(p.a.channel, 6, 1, piece, 1, &e));
	pair_close(&p);
	free(piece);
}

/* What it says of a frame is what a send of it does; and who was told that there is none
 * hears when there is, once, also if he did not send. */
static void
room_is_told_before_a_send(void **state)
{
	struct error e = ERROR_INIT;
	uint8_t *piece = calloc(1, CHANNEL_FRAME_MAX);
	size_t left;
	struct pair p;

	assert_non_null(piece);
	pair_open(&p, true);
	assert_true(channel_has_room(p.a.channel, CHANNEL_FRAME_MAX));
	channel_pause(p.b.channel);
	while (channel_has_room(p.a.channel, 300000)) {
		assert_true(channel_send(p.a.channel, 6, 1, piece, 300000, &e));
		turn(&p, 1);
	}
	left = CHANNEL_OUT_MAX - channel_queued(p.a.channel) - CHANNEL_HEADER_LEN;
	assert_in_range(left, 1, 299999);
	assert_false(channel_has_room(p.a.channel, left + 1));
	assert_false(channel_send(p.a.channel, 6, 1, piece, left + 1, &e));
	assert_int_equal(e.code, ERROR_LIMIT);
	e = (struct error)ERROR_INIT;
	assert_true(channel_has_room(p.a.channel, left));
	assert_true(channel_send(p.a.channel, 6, 1, piece, left, &e));
	assert_true(channel_queued(p.a.channel) == CHANNEL_OUT_MAX);
	assert_false(channel_has_room(p.a.channel, 0));
	assert_int_equal(p.a.writable, 0);

	for (int round = 1; round <= 2; round++) {
		channel_resume(p.b.channel);
		for (int i = 0; i < 20000 && channel_queued(p.a.channel) > 0; i++)
			turn(&p, 1);
		assert_int_equal(p.a.writable, 1); /* nobody asked in the second round */
		channel_pause(p.b.channel);
		assert_true(channel_send(p.a.channel, 6, 1, piece, 300000, &e));
	}
	pair_close(&p);
	free(piece);
}

static void
an_end_while_paused_waits(void **state)
{
	static const uint8_t frame[] = {0, 0, 0, 1, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 'x'};
	struct pair p;

	pair_open(&p, false);
	channel_pause(p.a.channel);
	assert_int_equal(write(p.raw, frame, sizeof frame), sizeof frame);
	(void)close(p.raw);
	p.raw = -1;
	turn(&p, 6);
	assert_int_equal(p.a.frames + p.a.closed, 0);
	channel_resume(p.a.channel);
	assert_int_equal(p.a.frames + p.a.closed, 0);
	turn(&p, 2);
	assert_int_equal(p.a.frames, 1);
	assert_int_equal(p.a.closed, 1);
	pair_close(&p);
}

static void
free_inside_a_callback(void **state)
{
	struct error e = ERROR_INIT;
	struct pair p;

	pair_open(&p, true);
	p.b.free_after = 2;
	for (int i = 0; i < 5; i++)
		assert_true(channel_send(p.a.channel, 4, 1, "x", 1, &e));
	turn(&p, 6);
	assert_int_equal(p.b.frames, 2);
	assert_int_equal(p.b.closed, 0);
	assert_int_equal(p.a.closed, 1);
	pair_close(&p);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(frames_pass_both_ways),
	    cmocka_unit_test(the_longest_frame_passes_and_a_longer_is_refused),
	    cmocka_unit_test(a_byte_at_a_time),
	    cmocka_unit_test(broken_frames_close_the_channel),
	    cmocka_unit_test(ends_are_reported_once),
	    cmocka_unit_test(a_peer_that_does_not_read_is_back_pressure),
	    cmocka_unit_test(room_is_told_before_a_send),
	    cmocka_unit_test(an_end_while_paused_waits),
	    cmocka_unit_test(free_inside_a_callback),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
