/* What the issuer's side of a signer's channel sends, as seen from its other end. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/signer_end.h"

static uint64_t
begin(struct signer_end *s)
{
	uint64_t id = signer_end_begin(s, 4);
	struct error e = ERROR_INIT;

	if (!signer_stream_data(s->client, id, "data", 4, &e))
		fail_msg("%s", e.text);
	return id;
}

/* The next frame at the signer's end is of this type and call. */
static void
comes(struct signer_end *s, uint16_t type, uint64_t id)
{
	uint8_t header[CHANNEL_HEADER_LEN], payload[256];
	uint64_t got = 0;
	size_t len;

	(void)event_base_loop(s->base, EVLOOP_NONBLOCK);
	assert_int_equal(recv(s->fd, header, sizeof header, MSG_WAITALL), sizeof header);
	len = (size_t)header[2] << 8 | header[3];
	assert_true(len <= sizeof payload);
	if (len > 0)
		assert_int_equal(recv(s->fd, payload, len, MSG_WAITALL), len);
	for (size_t i = 8; i < sizeof header; i++)
		got = got << 8 | header[i];
	assert_int_equal(header[4] << 8 | header[5], type);
	assert_true(got == id);
}

/* It takes one of few places at the signer, and would until its deadline. */
static void
a_stream_before_its_end_is_given_up(void **state)
{
	struct signer_end s;
	uint64_t id;

	signer_end_open(&s, ignore_news, NULL);
	id = begin(&s);
	signer_cancel(s.client, id);
	comes(&s, SIGNPROTO_STREAM_BEGIN, id);
	comes(&s, SIGNPROTO_STREAM_DATA, id);
	comes(&s, SIGNPROTO_STREAM_DROP, id);
	signer_end_close(&s);
}

static void
what_is_with_the_token_is_only_forgotten(void **state)
{
	struct error e = ERROR_INIT;
	uint64_t id, next;
	struct signer_end s;

	signer_end_open(&s, ignore_news, NULL);
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
	signer_end_close(&s);
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
