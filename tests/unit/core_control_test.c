/* The control channel's messages, and a role at its far end. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "daemon/core/control.h"
#include "daemon/core/role.h"
#include "daemon/core/sandbox.h"

static void
every_type_survives_the_wire(void **state)
{
	static const struct control_message messages[] = {
	    {.type = CONTROL_SIGNER_CHANNEL, .text = "main", .fd = 9},
	    {.type = CONTROL_LISTENER, .text = "https", .index = 300, .fd = 9},
	    {.type = CONTROL_RELOAD, .fd = -1},
	    {.type = CONTROL_DRAIN, .fd = -1},
	    {.type = CONTROL_READY, .fd = -1},
	    {.type = CONTROL_STATUS, .text = "the token is away", .fd = -1},
	    {.type = CONTROL_SANDBOX, .text = "profile=none", .fd = -1},
	    {.type = CONTROL_PROCESS, .text = "issuer 12 running -", .fd = -1},
	};
	struct control_message got;
	struct wire_writer w;
	struct error err;

	for (size_t i = 0; i < COUNT_OF(messages); i++) {
		err = ERROR_INIT;
		wire_writer_init(&w, CONTROL_FRAME_MAX);
		assert_true(control_encode(&messages[i], &w, &err));
		assert_true(control_decode(w.buf, w.len, messages[i].fd, &got, &err));
		assert_int_equal(got.type, messages[i].type);
		assert_string_equal(got.text, messages[i].text);
		assert_int_equal(got.index, messages[i].index);
		assert_int_equal(got.fd, messages[i].fd);

		/* Cut anywhere, with a byte too many, with the descriptor wrong. */
		for (size_t len = 0; len < w.len; len++) {
			err = ERROR_INIT;
			assert_false(control_decode(w.buf, len, messages[i].fd, &got, &err));
			assert_int_equal(err.code, ERROR_INPUT);
		}
		wire_put_u8(&w, 0);
		err = ERROR_INIT;
		assert_false(control_decode(w.buf, w.len, messages[i].fd, &got, &err));
		err = ERROR_INIT;
		assert_false(
		    control_decode(w.buf, w.len - 1, messages[i].fd < 0 ? 9 : -1, &got, &err));
		assert_int_equal(err.code, ERROR_INPUT);
		wire_writer_free(&w);
	}
}

static void
nonsense_is_refused(void **state)
{
	struct control_message m = {.type = CONTROL_LISTENER, .text = "http", .fd = -1}, got;
	struct error err = ERROR_INIT;
	struct wire_writer w;

	assert_false(control_decode("\x00", 1, -1, &got, &err));
	err = ERROR_INIT;
	assert_false(control_decode("\xff", 1, -1, &got, &err));
	assert_int_equal(err.code, ERROR_INPUT);

	err = ERROR_INIT;
	wire_writer_init(&w, CONTROL_FRAME_MAX);
	assert_false(control_encode(&m, &w, &err));
	assert_int_equal(err.code, ERROR_INTERNAL);
	wire_writer_free(&w);
}

struct seen {
	struct control *control;
	struct event_base *base;
	int messages, closes;
	bool free_at_once;
	struct control_message last;
	struct error err;
};

static void
see_message(const struct control_message *m, void *arg)
{
	struct seen *s = arg;

	s->messages++;
	if (m->fd >= 0) {
		assert_true((fcntl(m->fd, F_GETFD) & FD_CLOEXEC) != 0);
		(void)close(m->fd);
	}
	s->last = *m;
	if (s->free_at_once) {
		control_free(s->control);
		s->control = NULL;
	}
}

static void
see_close(const struct error *err, void *arg)
{
	struct seen *s = arg;

	s->closes++;
	s->err = *err;
	control_free(s->control);
	s->control = NULL;
}

static const struct control_callbacks seeing = {see_message, see_close};

static void
open_seen(struct seen *s, int *peer)
{
	struct error err = ERROR_INIT;
	int fds[2];

	*s = (struct seen){.base = event_base_new()};
	assert_non_null(s->base);
	assert_true(control_pair(fds, &err));
	s->control = control_new(s->base, fds[0], &seeing, s, &err);
	assert_non_null(s->control);
	*peer = fds[1];
}

static void
close_seen(struct seen *s)
{
	control_free(s->control);
	event_base_free(s->base);
}

static int
count_descriptors(void)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void
send_descriptors(int to, const char *bytes, size_t len, int count)
{
	union {
		char bytes[CMSG_SPACE(4 * sizeof(int))];
		struct cmsghdr align;
	} ancillary = {0};
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = len};
	struct msghdr header = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[4] = {0, 0, 0, 0};

	if (count > 0) {
		header.msg_control = ancillary.bytes;
		header.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
		CMSG_FIRSTHDR(&header)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&header)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&header)->cmsg_len = CMSG_LEN((size_t)count * sizeof(int));
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&header)), fds, (size_t)count * sizeof(int));
	}
	assert_int_equal(sendmsg(to, &header, 0), len);
}

static void
descriptors_travel_and_none_leaks(void **state)
{
	int before = count_descriptors(), peer;
	struct error err = ERROR_INIT;
	struct control *sender;
	struct seen s;
	struct control_message m = {.type = CONTROL_SIGNER_CHANNEL, .text = "main", .fd = 0};

	open_seen(&s, &peer);
	sender = control_new(s.base, peer, &seeing, &s, &err);
	assert_true(control_send(sender, &m, &err));
	assert_int_equal(event_base_loop(s.base, EVLOOP_ONCE), 0);
	assert_int_equal(s.messages, 1);
	assert_string_equal(s.last.text, "main");
	assert_int_not_equal(s.last.fd, 0);

	/* A callback may free the control while more messages wait. */
	s.free_at_once = true;
	assert_true(control_send(sender, &m, &err));
	assert_true(control_send(sender, &m, &err));
	assert_int_equal(event_base_loop(s.base, EVLOOP_ONCE), 0);
	assert_int_equal(s.messages, 2);
	error_clear(&err);
	assert_false(control_send(sender, &m, &err));
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	control_free(sender);
	close_seen(&s);
	assert_int_equal(count_descriptors(), before);
}

static void
a_broken_peer_is_closed(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		int fds;
	} bad[] = {
	    {"\x03", 1, 1}, /* RELOAD with a descriptor */
	    {"\x01\x00\x00\x00\x01"
	     "a",
		6, 0}, /* SIGNER_CHANNEL without one */
	    {"\x01\x00\x00\x00\x01"
	     "a",
		6, 3}, /* with three */
	    {"\x06\x00\x00\x00\x02"
	     "a",
		6, 0}, /* a text that is not all there */
	    {"\x77", 1, 2},
	};
	int before = count_descriptors(), peer;
	char big[CONTROL_FRAME_MAX + 1];
	struct seen s;

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		open_seen(&s, &peer);
		send_descriptors(peer, bad[i].bytes, bad[i].len, bad[i].fds);
		assert_int_equal(event_base_loop(s.base, EVLOOP_ONCE), 0);
		assert_int_equal(s.messages, 0);
		assert_int_equal(s.closes, 1);
		assert_int_equal(s.err.code, ERROR_INPUT);
		(void)close(peer);
		close_seen(&s);
	}
	open_seen(&s, &peer);
	memset(big, 3, sizeof big);
	send_descriptors(peer, big, sizeof big, 0);
	assert_int_equal(event_base_loop(s.base, EVLOOP_ONCE), 0);
	assert_int_equal(s.err.code, ERROR_INPUT);
	(void)close(peer);
	close_seen(&s);

	open_seen(&s, &peer);
	(void)close(peer);
	assert_int_equal(event_base_loop(s.base, EVLOOP_ONCE), 0);
	assert_int_equal(s.closes, 1);
	assert_false(error_is_set(&s.err));
	close_seen(&s);
	assert_int_equal(count_descriptors(), before);
}

static void
a_peer_that_does_not_read_is_refused(void **state)
{
	struct control_message m = {.type = CONTROL_STATUS, .text = "x", .fd = -1};
	struct error err = ERROR_INIT;
	struct seen s;
	int peer, sent = 0;

	open_seen(&s, &peer);
	while (sent < 100000 && control_send(s.control, &m, &err))
		sent++;
	assert_int_equal(err.code, ERROR_LIMIT);
	assert_true(sent > 50);
	(void)close(peer);
	close_seen(&s);
}

struct role_seen {
	struct role *role;
	int channels, listeners, reloads, drains;
	int processes;
};

static void
on_signer_channel(const char *token, int fd, void *arg)
{
	struct role_seen *s = arg;

	assert_string_equal(token, "main");
	(void)close(fd);
	s->channels++;
}

static void
on_listener(const char *kind, unsigned index, int fd, void *arg)
{
	struct role_seen *s = arg;

	assert_string_equal(kind, "http");
	assert_int_equal(index, 2);
	(void)close(fd);
	s->listeners++;
}

static void
on_reload(void *arg)
{
	struct role_seen *s = arg;

	s->reloads++;
	role_status(s->role, "reloaded");
	role_status(s->role, "reloaded");
	role_ready(s->role);
	role_ready(s->role);
}

static void
on_drain(void *arg)
{
	struct role_seen *s = arg;

	s->drains++;
	assert_true(role_is_draining(s->role));
	role_stop(s->role, 0);
	role_stop(s->role, 7);
}

static void
on_process(const char *text, void *arg)
{
	struct role_seen *s = arg;

	s->processes++;
	assert_string_equal(text, "front 1 running -");
}

static const struct role_callbacks role_handlers = {.on_signer_channel = on_signer_channel,
    .on_listener = on_listener,
    .on_process = on_process,
    .on_reload = on_reload,
    .on_drain = on_drain};

static void
put(int to, const struct control_message *m)
{
	struct error err = ERROR_INIT;
	struct wire_writer w;

	wire_writer_init(&w, CONTROL_FRAME_MAX);
	assert_true(control_encode(m, &w, &err));
	send_descriptors(to, (const char *)w.buf, w.len, m->fd >= 0);
	wire_writer_free(&w);
}

static void
a_role_hears_and_answers(void **state)
{
	static const struct control_message said[] = {
	    {.type = CONTROL_SIGNER_CHANNEL, .text = "main", .fd = 0},
	    {.type = CONTROL_LISTENER, .text = "http", .index = 2, .fd = 0},
	    {.type = CONTROL_PROCESS, .text = "front 1 running -", .fd = -1},
	    {.type = CONTROL_RELOAD, .fd = -1},
	    {.type = CONTROL_DRAIN, .fd = -1},
	    {.type = CONTROL_DRAIN, .fd = -1},
	};
	struct role_seen s = {0};
	struct error err = ERROR_INIT;
	struct sandbox_report report;
	struct control_message m;
	uint8_t buf[CONTROL_FRAME_MAX];
	ssize_t n;
	int fds[2];

	assert_true(control_pair(fds, &err));
	s.role = role_new("test", fds[0], &role_handlers, &s, &err);
	assert_non_null(s.role);
	assert_non_null(role_base(s.role));
	for (size_t i = 0; i < COUNT_OF(said); i++)
		put(fds[1], &said[i]);
	assert_int_equal(role_run(s.role), 0);
	assert_int_equal(s.channels, 1);
	assert_int_equal(s.listeners, 1);
	assert_int_equal(s.processes, 1);
	assert_int_equal(s.reloads, 1);
	assert_int_equal(s.drains, 1);
	role_free(s.role);

	/* What it said: its sandbox, the sentence once, READY once, the end. */
	n = recv(fds[1], buf, sizeof buf, 0);
	assert_true(control_decode(buf, (size_t)n, -1, &m, &err));
	assert_int_equal(m.type, CONTROL_SANDBOX);
	assert_true(sandbox_report_parse(m.text, &report, &err));
	assert_string_equal(report.profile, "none");
	assert_int_equal(report.uid, geteuid());
	n = recv(fds[1], buf, sizeof buf, 0);
	assert_true(control_decode(buf, (size_t)n, -1, &m, &err));
	assert_int_equal(m.type, CONTROL_STATUS);
	assert_string_equal(m.text, "reloaded");
	n = recv(fds[1], buf, sizeof buf, 0);
	assert_true(control_decode(buf, (size_t)n, -1, &m, &err));
	assert_int_equal(m.type, CONTROL_READY);
	assert_int_equal(recv(fds[1], buf, sizeof buf, 0), 0);
	(void)close(fds[1]);
}

static void
a_role_ends_with_its_supervisor_and_on_sigterm(void **state)
{
	static const struct role_callbacks nothing = {0};
	struct error err = ERROR_INIT;
	struct role *role;
	int fds[2];

	assert_true(control_pair(fds, &err));
	role = role_new("test", fds[0], &nothing, NULL, &err);
	assert_non_null(role);
	/* Without callbacks descriptors are closed and a reload passes. */
	put(fds[1], &(struct control_message){.type = CONTROL_LISTENER, .text = "unix", .fd = 0});
	put(fds[1], &(struct control_message){.type = CONTROL_RELOAD, .fd = -1});
	(void)close(fds[1]);
	assert_int_equal(role_run(role), 1);
	role_free(role);

	assert_true(control_pair(fds, &err));
	role = role_new("test", fds[0], &nothing, NULL, &err);
	assert_non_null(role);
	assert_int_equal(raise(SIGPIPE), 0);
	assert_int_equal(raise(SIGINT), 0);
	assert_int_equal(raise(SIGTERM), 0);
	assert_int_equal(role_run(role), 0);
	role_free(role);
	(void)close(fds[1]);

	/* Started by hand, without a control channel. */
	assert_null(role_new("test", 250, &nothing, NULL, &err));
	assert_int_equal(err.code, ERROR_USAGE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_type_survives_the_wire),
	    cmocka_unit_test(nonsense_is_refused),
	    cmocka_unit_test(descriptors_travel_and_none_leaks),
	    cmocka_unit_test(a_broken_peer_is_closed),
	    cmocka_unit_test(a_peer_that_does_not_read_is_refused),
	    cmocka_unit_test(a_role_hears_and_answers),
	    cmocka_unit_test(a_role_ends_with_its_supervisor_and_on_sigterm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
