/* What the issuer's side of a signer's channel sends, as seen from its other end. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/core/channel.h"
#include "daemon/issuer/signer_client.h"

#define TOKEN "main"

struct setting {
	struct event_base *base;
	struct signer_client *client;
	int signer; /* the other end */
};

static void
ignore_news(const char *token, void *arg)
{
}

static const struct signer_client_callbacks callbacks = {
    .attached = ignore_news,
    .up = ignore_news,
    .writable = ignore_news,
};

static void
never(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	fail_msg("an answer came");
}

static void
set_up(struct setting *s)
{
	struct error e = ERROR_INIT;
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	s->base = event_base_new();
	assert_non_null(s->base);
	s->client = signer_client_new(s->base, &callbacks, s, &e);
	assert_non_null(s->client);
	s->signer = ends[1];
	signer_client_attach(s->client, TOKEN, ends[0]);
	signer_client_release(s->client, TOKEN);
}

static void
tear_down(struct setting *s)
{
	signer_client_free(s->client);
	event_base_free(s->base);
	assert_int_equal(close(s->signer), 0);
}

static uint64_t
begin(struct setting *s)
{
	static const uint8_t key[16] = {1};
	const struct signproto_stream_begin m = {
	    .cka_id = {key, sizeof key},
	    .sig_alg = 1,
	    .kind = SIGNPROTO_TBS_CRL,
	    .total_len = 4,
	    .deadline_ms = 60000,
	};
	struct error e = ERROR_INIT;
	uint64_t id = 0;

	if (!signer_stream_begin(s->client, TOKEN, &m, never, NULL, &id, &e) ||
	    !signer_stream_data(s->client, id, "data", 4, &e))
		fail_msg("%s", e.text);
	return id;
}

/* The next frame at the signer's end is of this type and call. */
static void
comes(struct setting *s, uint16_t type, uint64_t id)
{
	uint8_t header[CHANNEL_HEADER_LEN], payload[256];
	uint64_t got = 0;
	size_t len;

	(void)event_base_loop(s->base, EVLOOP_NONBLOCK);
	assert_int_equal(recv(s->signer, header, sizeof header, MSG_WAITALL), sizeof header);
	len = (size_t)header[2] << 8 | header[3];
	assert_true(len <= sizeof payload);
	if (len > 0)
		assert_int_equal(recv(s->signer, payload, len, MSG_WAITALL), len);
	for (size_t i = 8; i < sizeof header; i++)
		got = got << 8 | header[i];
	assert_int_equal(header[4] << 8 | header[5], type);
	assert_true(got == id);
}

/* It takes one of few places at the signer, and would until its deadline. */
static void
a_stream_before_its_end_is_given_up(void **state)
{
	struct setting s;
	uint64_t id;

	set_up(&s);
	id = begin(&s);
	signer_cancel(s.client, id);
	comes(&s, SIGNPROTO_STREAM_BEGIN, id);
	comes(&s, SIGNPROTO_STREAM_DATA, id);
	comes(&s, SIGNPROTO_STREAM_DROP, id);
	tear_down(&s);
}

static void
what_is_with_the_token_is_only_forgotten(void **state)
{
	struct error e = ERROR_INIT;
	uint64_t id, next;
	struct setting s;

	set_up(&s);
	id = begin(&s);
	assert_true(signer_stream_end(s.client, id, &e));
	signer_cancel(s.client, id);
	signer_cancel(s.client, id);
	next = begin(&s);
	comes(&s, SIGNPROTO_STREAM_BEGIN, id);
	comes(&s, SIGNPROTO_STREAM_DATA, id);
	comes(&s, SIGNPROTO_STREAM_END, id);
	comes(&s, SIGNPROTO_STREAM_BEGIN, next);
	signer_cancel(s.client, next);
	tear_down(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_stream_before_its_end_is_given_up),
	    cmocka_unit_test(what_is_with_the_token_is_only_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
