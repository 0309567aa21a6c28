#ifndef CHANCERY_TESTS_SIGNER_END_H
#define CHANCERY_TESTS_SIGNER_END_H

/*
 * For cmocka tests of the issuer, which include that first: the issuer's side of a signer's
 * channel, whose other end the test holds.
 */

#include <event2/event.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/core/channel.h"
#include "daemon/issuer/signer_client.h"

#define TOKEN "main"

struct signer_end {
	struct event_base *base;
	struct signer_client *client;
	int fd; /* the other end */
	struct signer_client_callbacks callbacks;
};

static void
ignore_news(const char *token, void *arg)
{
}

static void
never_answered(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	fail_msg("an answer came");
}

/* What is full calls writable with arg, once there is room. */
static void
signer_end_open(struct signer_end *s, void (*writable)(const char *token, void *arg), void *arg)
{
	struct error e = ERROR_INIT;
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	s->base = event_base_new();
	assert_non_null(s->base);
	s->callbacks = (struct signer_client_callbacks){
	    .attached = ignore_news, .up = ignore_news, .writable = writable};
	s->client = signer_client_new(s->base, &s->callbacks, arg, &e);
	assert_non_null(s->client);
	s->fd = ends[1];
	signer_client_attach(s->client, TOKEN, ends[0]);
	signer_client_release(s->client, TOKEN);
}

static void
signer_end_close(struct signer_end *s)
{
	signer_client_free(s->client);
	event_base_free(s->base);
	assert_int_equal(close(s->fd), 0);
}

/* A CRL of that length begins: its call, which is never answered. */
static uint64_t
signer_end_begin(struct signer_end *s, uint64_t total_len)
{
	static const uint8_t key[16] = {1};
	const struct signproto_stream_begin m = {
	    .cka_id = {key, sizeof key},
	    .sig_alg = 1,
	    .kind = SIGNPROTO_TBS_CRL,
	    .total_len = total_len,
	    .deadline_ms = 60000,
	};
	struct error e = ERROR_INIT;
	uint64_t id = 0;

	if (!signer_stream_begin(s->client, TOKEN, &m, never_answered, NULL, &id, &e))
		fail_msg("%s", e.text);
	return id;
}

#endif
