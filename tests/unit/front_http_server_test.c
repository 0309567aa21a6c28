#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "daemon/core/monotonic.h"
#include "daemon/front/http_server.h"

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"
#define STREAM_LEN (3 * 1000 * 1000)
#define PATIENCE_MS 60000 /* for what comes at once, on a busy machine, too */

/* A server at an abstract Unix socket, a handler chosen by each test, and what
 * was seen of it. Clients are descriptors of the same thread. */
struct world {
	struct event_base *base;
	struct http_server *server;
	struct http_limits limits;
	struct sockaddr_un address;
	socklen_t address_len;
	void (*handle)(struct http_exchange *x, struct world *w);
	struct http_exchange *held; /* an exchange that is not answered yet */
	unsigned requests, gone, leaving, done, drained;
	uint64_t sent;
	size_t piece;
};

static size_t
on_head(struct http_exchange *x, void *arg)
{
	return 100;
}

static void
on_request(struct http_exchange *x, void *arg)
{
	struct world *w = arg;

	w->requests++;
	w->handle(x, w);
}

static const struct http_handler handler = {on_head, on_request};

static int
setup_with(void **state, const struct http_limits *limits)
{
	struct world *w = calloc(1, sizeof(*w));
	struct error err = ERROR_INIT;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	w->base = event_base_new();
	w->limits = *limits;
	w->limits.linger_ms = 100;
	w->limits.connections[0] = 3;
	w->address.sun_family = AF_UNIX;
	/* Autobind: an abstract address of the kernel's choice. */
	assert_int_equal(bind(fd, (struct sockaddr *)&w->address, sizeof(sa_family_t)), 0);
	w->address_len = sizeof(w->address);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&w->address, &w->address_len), 0);
	assert_int_equal(listen(fd, 16), 0);
	w->server = http_server_new(w->base, &w->limits, &handler, w, &err);
	assert_non_null(w->server);
	assert_true(http_server_listen(w->server, HTTP_DOOR_UNIX, 0, fd, &err));
	*state = w;
	return 0;
}

/* No deadline passes by chance. */
static int
setup(void **state)
{
	struct http_limits limits = http_limits_default;

	limits.head_ms = limits.body_ms = limits.idle_ms = limits.answer_ms = 2 * PATIENCE_MS;
	return setup_with(state, &limits);
}

/* For what waits for them. */
static int
setup_hasty(void **state)
{
	struct http_limits limits = http_limits_default;

	limits.head_ms = 200;
	limits.body_ms = 300;
	limits.idle_ms = 400;
	limits.answer_ms = 500;
	return setup_with(state, &limits);
}

static int
teardown(void **state)
{
	struct world *w = *state;

	http_server_free(w->server);
	event_base_free(w->base);
	free(w);
	return 0;
}

/* Turns the loop often enough for all that needs no waiting. */
static void
spin(struct world *w)
{
	for (int i = 0; i < 40; i++) {
		event_base_loop(w->base, EVLOOP_NONBLOCK);
		usleep(500);
	}
}

#define SPIN_UNTIL(w, condition)                                                 \
	do {                                                                     \
		int64_t end_ = monotonic_ms() + PATIENCE_MS;                     \
                                                                                 \
		while (!(condition)) {                                           \
			if (monotonic_ms() > end_)                               \
				fail_msg("waited too long for: %s", #condition); \
			event_base_loop((w)->base, EVLOOP_NONBLOCK);             \
			usleep(500);                                             \
		}                                                                \
	} while (0)

static int
client(struct world *w, const char *text)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&w->address, w->address_len), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

/* Turns the loop and reads until the server closes or wanted octets came.
 * *closed may be NULL. Returns a string to free. */
static char *
receive(struct world *w, int fd, size_t wanted, size_t *len, bool *closed)
{
	size_t cap = STREAM_LEN + 10000;
	char *text = malloc(cap + 1);
	int64_t end = monotonic_ms() + PATIENCE_MS;
	size_t n = 0;

	if (closed != NULL)
		*closed = false;
	while (n < wanted && monotonic_ms() < end) {
		ssize_t got;

		event_base_loop(w->base, EVLOOP_NONBLOCK);
		got = read(fd, text + n, cap - n);
		if (got > 0) {
			n += (size_t)got;
		} else if (got == 0 || errno != EAGAIN) {
			if (closed != NULL)
				*closed = true;
			break;
		} else {
			usleep(200);
		}
	}
	text[n] = '\0';
	if (len != NULL)
		*len = n;
	return text;
}

static void
expect_reply(struct world *w, int fd, const char *start, const char *part)
{
	char *text = receive(w, fd, 100, NULL, NULL);

	if (strncmp(text, start, strlen(start)) != 0 || strstr(text, part) == NULL)
		fail_msg("wanted %s ... %s, got:\n%s", start, part, text);
	free(text);
}

/* ---------------------------------------------------------------- handlers */

static void
answer_identity(struct http_exchange *x, struct world *w)
{
	const char *identity = http_exchange_peer(x)->identity;

	http_reply_field(x, "X-Good", "a\tb");
	http_reply(x, 200, "text/plain", identity, strlen(identity));
}

static void
answer_split(struct http_exchange *x, struct world *w)
{
	http_reply_field(x, "X-Bad", "%s", "a\r\nX-Injected: yes");
	http_reply(x, 200, "text/plain", "body", 4);
}

static void
answer_long_field(struct http_exchange *x, struct world *w)
{
	for (int i = 0; i < 10; i++)
		http_reply_field(x, "X-Long", "%0900d", 1);
	http_reply(x, 200, "text/plain", "body", 4);
}

static void
on_gone(enum http_gone how, void *arg)
{
	struct world *w = arg;

	if (how == HTTP_LEAVING)
		w->leaving++;
	else
		w->gone++;
}

static void
hold(struct http_exchange *x, struct world *w)
{
	w->held = x;
	http_on_gone(x, on_gone, w);
}

static void
pull(struct http_exchange *x, void *arg)
{
	static const char block[HTTP_PIECE_MAX];
	struct world *w = arg;
	size_t n = w->piece;

	if (n > STREAM_LEN - w->sent && n <= HTTP_PIECE_MAX)
		n = STREAM_LEN - (size_t)w->sent;
	w->sent += n;
	http_reply_piece(x, block, n);
}

static void
done(void *arg)
{
	struct world *w = arg;

	w->done++;
}

static const struct http_source source = {pull, done};

static void
answer_stream(struct http_exchange *x, struct world *w)
{
	http_reply_stream(x, 200, "text/plain", STREAM_LEN, &source, w);
}

/* ------------------------------------------------------------------- tests */

static void
test_identity(void **state)
{
	struct world *w = *state;
	char identity[32];
	int fd;

	w->handle = answer_identity;
	snprintf(identity, sizeof(identity), "uid:%u", (unsigned)geteuid());
	fd = client(w, GET);
	expect_reply(w, fd, "HTTP/1.1 200 OK\r\nDate: ", identity);
	close(fd);
}

/* A field with line ends, or more of them than fit, splits no response. */
static void
test_no_splitting(void **state)
{
	struct world *w = *state;
	char *text;
	int fd;

	w->handle = answer_split;
	fd = client(w, GET);
	text = receive(w, fd, 100, NULL, NULL);
	assert_true(strncmp(text, "HTTP/1.1 500 ", 13) == 0);
	assert_null(strstr(text, "Injected"));
	free(text);
	w->handle = answer_long_field;
	assert_int_equal(write(fd, GET, strlen(GET)), (ssize_t)strlen(GET));
	expect_reply(w, fd, "HTTP/1.1 500 ", "could not be made");
	close(fd);
}

static void
test_stream(void **state)
{
	struct world *w = *state;
	size_t len;
	char *text;
	int fd;

	w->handle = answer_stream;
	w->piece = HTTP_PIECE_MAX;
	fd = client(w, GET);
	SPIN_UNTIL(w, w->sent > 0);
	spin(w);
	/* Nobody reads: what was pulled is bounded. */
	assert_true(w->sent <= 4 * HTTP_PIECE_MAX);
	assert_int_equal(w->done, 0);
	text = receive(w, fd, STREAM_LEN, &len, NULL);
	SPIN_UNTIL(w, w->done == 1);
	len += (size_t)read(fd, text + len, 300);
	assert_true(len > STREAM_LEN && len < STREAM_LEN + 300);
	free(text);
	close(fd);
}

/* The client leaves in the middle: the source is told, once. */
static void
test_stream_gone(void **state)
{
	struct world *w = *state;
	int fd;

	w->handle = answer_stream;
	w->piece = 1000;
	fd = client(w, GET);
	SPIN_UNTIL(w, w->sent > 0);
	close(fd);
	SPIN_UNTIL(w, w->done == 1);
	SPIN_UNTIL(w, http_server_connections(w->server) == 0);
	spin(w);
	assert_int_equal(w->done, 1);
}

/* A source that gives more than it announced is cut off, not sent. */
static void
test_stream_too_long(void **state)
{
	struct world *w = *state;
	bool closed;
	int fd;

	w->handle = answer_stream;
	w->piece = HTTP_PIECE_MAX + 1;
	fd = client(w, GET);
	free(receive(w, fd, SIZE_MAX, NULL, &closed));
	assert_true(closed);
	assert_int_equal(w->done, 1);
	close(fd);
}

static void
test_gone(void **state)
{
	struct world *w = *state;
	int fd;

	w->handle = hold;
	fd = client(w, GET GET);
	SPIN_UNTIL(w, w->requests > 0);
	spin(w);
	assert_int_equal(w->requests, 1); /* the second waits for the first's reply */
	shutdown(fd, SHUT_WR);
	SPIN_UNTIL(w, w->leaving == 1);
	http_reply(w->held, 200, "text/plain", "one", 3);
	expect_reply(w, fd, "HTTP/1.1 200 OK", "one");
	SPIN_UNTIL(w, w->requests == 2 && w->leaving == 2);
	assert_int_equal(w->gone, 0);
	close(fd);
}

/* answer_ms: a handler that never answers holds nothing for ever. */
static void
test_never_answered(void **state)
{
	struct world *w = *state;
	int fd;

	w->handle = hold;
	fd = client(w, GET);
	SPIN_UNTIL(w, w->gone == 1);
	SPIN_UNTIL(w, http_server_connections(w->server) == 0);
	close(fd);
}

struct deadline {
	const char *text, *start;
	int min_ms;
};

/* Each deadline counts from the start: it passes, however many octets trickle in. */
static void
test_deadlines(void **state)
{
	static const struct deadline cases[] = {
	    {"G", "HTTP/1.1 408 ", 150},
	    {"\r\n", "HTTP/1.1 408 ", 150},
	    {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n", "HTTP/1.1 408 ", 250},
	    {GET, "HTTP/1.1 200 ", 350},
	};
	struct world *w = *state;

	w->handle = answer_identity;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		int64_t start = monotonic_ms(), took;
		int fd = client(w, cases[i].text);
		bool closed = false, trickles = i != 3;
		char text[1000] = "";
		size_t n = 0;

		while (!closed && monotonic_ms() < start + PATIENCE_MS) {
			ssize_t got;

			spin(w);
			if (trickles && send(fd, "a", 1, MSG_NOSIGNAL) < 0)
				trickles = false;
			got = read(fd, text + n, sizeof(text) - 1 - n);
			if (got > 0)
				n += (size_t)got;
			closed = got == 0 || (got < 0 && errno != EAGAIN);
		}
		took = monotonic_ms() - start;
		text[n] = '\0';
		if (!closed || strncmp(text, cases[i].start, 13) != 0 || took < cases[i].min_ms)
			fail_msg(
			    "case %zu: closed %d after %d ms:\n%s", i, closed, (int)took, text);
		close(fd);
	}
}

/* A full door closes who has idled longest, never one that is being served. */
static void
test_connection_cap(void **state)
{
	struct world *w = *state;
	int fd[4];
	bool closed;

	w->handle = answer_identity;
	for (int i = 0; i < 3; i++) {
		fd[i] = client(w, GET);
		free(receive(w, fd[i], 100, NULL, NULL));
	}
	assert_int_equal(http_server_connections(w->server), 3);
	fd[3] = client(w, GET);
	expect_reply(w, fd[3], "HTTP/1.1 200 ", "uid:");
	free(receive(w, fd[0], 1, NULL, &closed));
	assert_true(closed);
	w->handle = hold;
	for (int i = 1; i < 4; i++)
		assert_int_equal(write(fd[i], GET, strlen(GET)), (ssize_t)strlen(GET));
	SPIN_UNTIL(w, w->requests == 7);
	close(fd[0]);
	fd[0] = client(w, GET);
	free(receive(w, fd[0], 1, NULL, &closed));
	assert_true(closed);
	assert_int_equal(http_server_connections(w->server), 3);
	for (int i = 0; i < 4; i++)
		close(fd[i]);
	spin(w);
}

static void
on_drained(void *arg)
{
	struct world *w = arg;

	w->drained++;
}

static void
test_drain(void **state)
{
	struct world *w = *state;
	int idle, held;
	bool closed;

	w->handle = answer_identity;
	idle = client(w, GET);
	free(receive(w, idle, 100, NULL, NULL));
	w->handle = hold;
	held = client(w, GET);
	SPIN_UNTIL(w, w->requests == 2);
	http_server_drain(w->server, on_drained, w);
	free(receive(w, idle, 1, NULL, &closed));
	assert_true(closed);
	spin(w);
	assert_int_equal(w->drained, 0);
	http_reply(w->held, 200, "text/plain", "last", 4);
	expect_reply(w, held, "HTTP/1.1 200 ", "Connection: close");
	SPIN_UNTIL(w, w->drained > 0);
	spin(w);
	assert_int_equal(w->drained, 1);
	close(idle);
	close(held);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
#define HASTY_TEST(f) cmocka_unit_test_setup_teardown(f, setup_hasty, teardown)
	const struct CMUnitTest tests[] = {
	    TEST(test_identity),
	    TEST(test_no_splitting),
	    TEST(test_stream),
	    TEST(test_stream_gone),
	    TEST(test_stream_too_long),
	    TEST(test_gone),
	    HASTY_TEST(test_never_answered),
	    HASTY_TEST(test_deadlines),
	    TEST(test_connection_cap),
	    TEST(test_drain),
	};
	signal(SIGPIPE, SIG_IGN); /* as in every role */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
