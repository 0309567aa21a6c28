/* How long a CRL waits for a signer that reads it along and does not keep up. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/issuer/crl_build_int.h"
#include "tests/unit/signer_end.h"

/* A build whose rows come, at a signer that is this test. What the build does when the lag is
 * over the tests call themselves, so that none depends on the time that it takes. */
struct setting {
	struct signer_end signer;
	struct crl_build_env env;
	struct issuing_ca ca;
	struct crl_build b;
	int fired; /* lags that were over */
	int room;  /* how often there was some again */
	uint8_t chunk[CRL_CHUNK_MAX];
};

static void
on_writable(const char *token, void *arg)
{
	struct setting *s = arg;

	s->room++;
	crl_build_room(&s->b);
}

static void
never_ready(struct db_stream *s, const struct error *err, void *arg)
{
}

static void
on_lag(evutil_socket_t fd, short what, void *arg)
{
	((struct setting *)arg)->fired++;
}

static void
set_up(struct setting *s)
{
	struct error e = ERROR_INIT;

	memset(s, 0, sizeof *s);
	signer_end_open(&s->signer, on_writable, s);
	s->env.base = s->signer.base;
	s->env.signers = s->signer.client;
	memcpy(s->ca.row.token, TOKEN, sizeof TOKEN);
	s->b.env = &s->env;
	s->b.ca = &s->ca;
	s->b.chunk = s->chunk;
	s->b.chunk_len = sizeof s->chunk;
	s->b.lag = event_new(s->env.base, -1, 0, on_lag, s);
	s->b.retry = event_new(s->env.base, -1, 0, on_lag, s);
	s->b.stream = db_stream_open(s->env.base, "host=/nowhere", never_ready, NULL, &e);
	assert_non_null(s->b.lag);
	assert_non_null(s->b.retry);
	assert_non_null(s->b.stream);
	s->b.tbs_len = 1 << 30; /* so long that no gate has to be open yet */
	s->b.call = signer_end_begin(&s->signer, s->b.tbs_len);
	s->b.read_along = true;
}

static void
tear_down(struct setting *s)
{
	signer_cancel(s->env.signers, s->b.call);
	db_stream_close(s->b.stream);
	event_free(s->b.lag);
	event_free(s->b.retry);
	signer_end_close(&s->signer);
}

static bool
waits(const struct setting *s)
{
	return event_pending(s->b.lag, EV_TIMEOUT, NULL) != 0;
}

/* Chunks that the signer does not read, until there is no room for another. */
static void
fill(struct setting *s)
{
	int chunks = 0;

	while (crl_build_along_has_room(&s->b)) {
		crl_build_read_chunk_along(&s->b);
		assert_true(s->b.read_along);
		assert_in_range(++chunks, 1, CHANNEL_OUT_MAX / CRL_CHUNK_MAX + 8);
		/* The socket takes some. */
		(void)event_base_loop(s->env.base, EVLOOP_NONBLOCK);
	}
	assert_true(waits(s));
}

/* The signer reads; false when no more comes. The last frame's type is kept. */
static uint16_t
read_all(struct setting *s)
{
	static uint8_t payload[CHANNEL_FRAME_MAX];
	uint8_t header[CHANNEL_HEADER_LEN];
	uint16_t type = 0;

	for (;;) {
		size_t len;

		(void)event_base_loop(s->env.base, EVLOOP_NONBLOCK);
		if (recv(s->signer.fd, header, sizeof header, MSG_DONTWAIT) < 0)
			return type;
		type = (uint16_t)(header[4] << 8 | header[5]);
		len = (size_t)header[1] << 16 | (size_t)header[2] << 8 | header[3];
		for (size_t got = 0; got < len;) {
			ssize_t n = recv(s->signer.fd, payload, len - got, MSG_DONTWAIT);

			if (n > 0)
				got += (size_t)n;
			else
				(void)event_base_loop(s->env.base, EVLOOP_NONBLOCK);
		}
	}
}

static void
one_that_catches_up_goes_on(void **state)
{
	static struct setting s;

	set_up(&s);
	for (int i = 1; i <= 3; i++) {
		fill(&s);
		assert_false(crl_build_along_has_room(&s.b));
		assert_int_equal(read_all(&s), SIGNPROTO_STREAM_DATA);
		assert_int_equal(s.room, i);
		assert_false(waits(&s));
		assert_true(s.b.read_along && crl_build_along_has_room(&s.b));
	}
	tear_down(&s);
}

static void
one_that_does_not_is_given_up(void **state)
{
	static struct setting s;

	set_up(&s);
	fill(&s);
	while (s.fired == 0)
		assert_int_equal(event_base_loop(s.env.base, EVLOOP_ONCE), 0);
	assert_true(s.b.read_along);
	crl_build_lag_over(&s.b);
	assert_false(s.b.read_along);
	assert_true(s.b.call == 0 && crl_build_along_has_room(&s.b));
	/* It is told, so that the stream does not take one of few places until its deadline. */
	assert_int_equal(read_all(&s), SIGNPROTO_STREAM_DROP);
	tear_down(&s);
}

static void
one_that_caught_up_while_the_database_was_behind_goes_on(void **state)
{
	static struct setting s;

	set_up(&s);
	fill(&s);
	s.b.chunks_in_flight = CHUNKS_IN_FLIGHT_MAX;
	assert_int_equal(read_all(&s), SIGNPROTO_STREAM_DATA);
	crl_build_lag_over(&s.b);
	assert_true(s.b.read_along);
	tear_down(&s);
}

/* Another CRL of the token can leave no room while this one's last rows come. */
static void
one_that_was_given_everything_signs(void **state)
{
	static struct setting s;
	struct error e = ERROR_INIT;

	set_up(&s);
	fill(&s);
	db_stream_close(s.b.stream);
	s.b.stream = NULL;
	s.b.stage = SIGNING;
	if (!signer_stream_end(s.env.signers, s.b.call, &e))
		fail_msg("%s", e.text);
	crl_build_lag_over(&s.b);
	assert_true(s.b.read_along && s.b.call != 0);
	assert_int_equal(read_all(&s), SIGNPROTO_STREAM_END);
	tear_down(&s);
}

static void
one_that_is_gone_holds_nothing_up(void **state)
{
	static struct setting s;

	set_up(&s);
	fill(&s);
	s.b.read_along = false; /* as its end tells */
	crl_build_go_on(&s.b);
	assert_false(waits(&s));
	tear_down(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_that_catches_up_goes_on),
	    cmocka_unit_test(one_that_does_not_is_given_up),
	    cmocka_unit_test(one_that_caught_up_while_the_database_was_behind_goes_on),
	    cmocka_unit_test(one_that_was_given_everything_signs),
	    cmocka_unit_test(one_that_is_gone_holds_nothing_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
