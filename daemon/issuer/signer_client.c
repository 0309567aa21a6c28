#include "daemon/issuer/signer_client.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/channel.h"
#include "daemon/core/config.h"
#include "daemon/core/log.h"

/*
 * A call's id is its slot and a count of how often the slot was used, so that
 * an answer to a cancelled call cannot reach the slot's next user.
 */
#define SLOT_BITS 12
#define SLOT_MASK ((1u << SLOT_BITS) - 1)
_Static_assert(SIGNER_CALLS_MAX == 1 << SLOT_BITS, "one slot for each call");

struct call {
	uint64_t id;   /* 0: the slot is free */
	uint64_t uses; /* of the slot */
	struct signer *signer;
	uint16_t wanted; /* type of the answer */
	bool streaming;	 /* the signer waits for more of it */
	signer_answer_fn *answer;
	void *arg;
	uint16_t next_free;
};

struct signer {
	struct signer_client *client;
	char token[CONFIG_TOKEN_NAME_MAX + 1];
	struct channel *channel; /* NULL while there is none */
	bool released;
};

struct signer_client {
	struct event_base *base;
	const struct signer_client_callbacks *callbacks;
	void *arg;
	struct signer signers[CONFIG_TOKENS_MAX];
	size_t signer_count;
	struct call calls[SIGNER_CALLS_MAX];
	uint32_t first_free; /* SIGNER_CALLS_MAX: none */
	bool closed;
};

struct signer_client *
signer_client_new(struct event_base *base, const struct signer_client_callbacks *callbacks,
    void *arg, struct error *e)
{
	struct signer_client *c = calloc(1, sizeof *c);

	if (c == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating the signer client");
		return NULL;
	}
	c->base = base;
	c->callbacks = callbacks;
	c->arg = arg;
	for (uint32_t i = 0; i < SIGNER_CALLS_MAX; i++)
		c->calls[i].next_free = (uint16_t)(i + 1);
	return c;
}

static void drop_channel(struct signer *s, const struct error *why);

void
signer_client_close(struct signer_client *c)
{
	if (c == NULL)
		return;
	c->closed = true;
	for (size_t i = 0; i < c->signer_count; i++) {
		if (c->signers[i].channel != NULL)
			drop_channel(&c->signers[i], NULL);
	}
}

void
signer_client_free(struct signer_client *c)
{
	signer_client_close(c);
	free(c);
}

static struct signer *
find_signer(const struct signer_client *c, const char *token)
{
	for (size_t i = 0; i < c->signer_count; i++) {
		if (strcmp(c->signers[i].token, token) == 0)
			return (struct signer *)&c->signers[i];
	}
	return NULL;
}

bool
signer_client_is_up(const struct signer_client *c, const char *token)
{
	const struct signer *s = find_signer(c, token);

	return s != NULL && s->channel != NULL && s->released;
}

bool
signer_client_is_attached(const struct signer_client *c, const char *token)
{
	const struct signer *s = find_signer(c, token);

	return s != NULL && s->channel != NULL;
}

static struct call *
take_call(struct signer_client *c)
{
	struct call *call;
	uint32_t slot = c->first_free;

	if (slot >= SIGNER_CALLS_MAX)
		return NULL;
	call = &c->calls[slot];
	c->first_free = call->next_free;
	call->uses++;
	call->id = call->uses << SLOT_BITS | slot;
	return call;
}

static void
give_back(struct signer_client *c, struct call *call)
{
	call->id = 0;
	call->next_free = (uint16_t)c->first_free;
	c->first_free = (uint32_t)(call - c->calls);
}

static struct call *
find_call(struct signer_client *c, uint64_t id)
{
	struct call *call = &c->calls[id & SLOT_MASK];

	return id != 0 && call->id == id ? call : NULL;
}

/* Frees the slot first: the owner may ask again from inside its callback. */
static void
answer_call(struct signer_client *c, struct call *call, const struct signer_answer *answer,
    const struct error *failure)
{
	signer_answer_fn *fn = call->answer;
	void *arg = call->arg;

	give_back(c, call);
	fn(answer, failure, arg);
}

static void
fail_calls(struct signer_client *c, const struct signer *s, const struct error *failure)
{
	uint64_t last[SIGNER_CALLS_MAX];
	size_t n = 0;

	/* Collected first: callbacks may put new calls into freed slots. */
	for (size_t i = 0; i < SIGNER_CALLS_MAX; i++) {
		if (c->calls[i].id != 0 && c->calls[i].signer == s)
			last[n++] = c->calls[i].id;
	}
	for (size_t i = 0; i < n; i++) {
		struct call *call = find_call(c, last[i]);

		if (call != NULL)
			answer_call(c, call, NULL, failure);
	}
}

static bool
decode_answer(uint16_t type, struct bytes payload, struct signer_answer *answer,
    struct signproto_status_ok *status, struct error *e)
{
	switch (type) {
	case SIGNPROTO_SIGNED:
		return signproto_get_signed(payload, &answer->sign, e);
	case SIGNPROTO_ABSTRACT:
		return signproto_get_abstract(payload, &answer->abstract, e);
	case SIGNPROTO_KEY_OK:
		return signproto_get_key_ok(payload, &answer->key, e);
	case SIGNPROTO_STATUS_OK:
		answer->status = status;
		return signproto_get_status_ok(payload, status, e);
	case SIGNPROTO_DONE:
		return signproto_get_done(payload, answer->done, e);
	default:
		return error_set(e, ERROR_INTERNAL, "no decoder for the signer's message %u", type);
	}
}

/* That somebody mistyped a PIN is no fault of what was to be signed with it: that waits. */
static bool
is_about_pin(const struct error *e)
{
	return e->source == ERROR_PKCS11 && strncmp(e->foreign, "CKR_PIN_", 8) == 0;
}

static void
on_frame(struct channel *ch, uint16_t type, uint64_t id, struct bytes payload, void *arg)
{
	struct signer *s = arg;
	struct signer_client *c = s->client;
	struct call *call = find_call(c, id);
	struct signer_answer answer = {0};
	struct signproto_status_ok status;
	struct error failure = ERROR_INIT, e = ERROR_INIT;

	if (call == NULL || call->signer != s)
		return; /* cancelled meanwhile */
	if (type == SIGNPROTO_FAILED) {
		if (!signproto_get_failed(payload, &failure, &e))
			failure = e;
	} else if (type != call->wanted) {
		error_set(&failure, ERROR_INTERNAL, "the signer answered %s where %s was due",
		    signproto_type_name(type), signproto_type_name(call->wanted));
	} else if (!decode_answer(type, payload, &answer, &status, &e)) {
		failure = e;
	}
	if (is_about_pin(&failure))
		failure.code = ERROR_LOCKED;
	if (error_is_set(&failure))
		answer_call(c, call, NULL, &failure);
	else
		answer_call(c, call, &answer, NULL);
}

static void
drop_channel(struct signer *s, const struct error *why)
{
	struct error failure = ERROR_INIT;

	channel_free(s->channel);
	s->channel = NULL;
	error_set(&failure, ERROR_UNAVAILABLE, "the signer of token %s is gone%s%s", s->token,
	    why != NULL && error_is_set(why) ? ": " : "", why != NULL ? why->text : "");
	fail_calls(s->client, s, &failure);
}

static void
on_closed(struct channel *ch, const struct error *why, void *arg)
{
	struct signer *s = arg;

	log_warning(s->token, "lost the signer%s%s", error_is_set(why) ? ": " : "", why->text);
	drop_channel(s, why);
}

static void
on_writable(struct channel *ch, void *arg)
{
	struct signer *s = arg;

	s->client->callbacks->writable(s->token, s->client->arg);
}

static const struct channel_callbacks channel_callbacks = {
    .frame = on_frame,
    .closed = on_closed,
    .writable = on_writable,
};

void
signer_client_attach(struct signer_client *c, const char *token, int fd)
{
	struct signer *s = find_signer(c, token);
	struct error e = ERROR_INIT;

	if (c->closed) {
		(void)close(fd);
		return;
	}
	if (s == NULL) {
		if (c->signer_count == CONFIG_TOKENS_MAX || strlen(token) >= sizeof s->token) {
			log_error(token, "one token too many: its signer is not used");
			(void)close(fd);
			return;
		}
		s = &c->signers[c->signer_count++];
		s->client = c;
		memcpy(s->token, token, strlen(token) + 1);
	}
	if (s->channel != NULL)
		drop_channel(s, NULL);
	s->channel = channel_new(c->base, fd, &channel_callbacks, s, &e);
	if (s->channel == NULL) {
		log_failure(LOG_LEVEL_ERROR, token, &e);
		return;
	}
	s->released = false;
	c->callbacks->attached(token, c->arg);
}

void
signer_client_release(struct signer_client *c, const char *token)
{
	struct signer *s = find_signer(c, token);

	if (s == NULL || s->channel == NULL || s->released)
		return;
	s->released = true;
	c->callbacks->up(token, c->arg);
}

/* Books a call and sends its first message; w is freed in any case. */
static bool
ask(struct signer_client *c, const char *token, uint16_t type, struct wire_writer *w,
    uint16_t wanted, signer_answer_fn *answer, void *arg, uint64_t *id, struct error *e)
{
	struct signer *s = find_signer(c, token);
	struct error why = ERROR_INIT;
	struct call *call;
	bool fits = wire_writer_ok(w);

	if (s == NULL || s->channel == NULL) {
		wire_writer_free(w);
		return error_set(e, ERROR_UNAVAILABLE, "token %s has no signer running", token);
	}
	if (!s->released && (type == SIGNPROTO_SIGN || type == SIGNPROTO_STREAM_BEGIN)) {
		wire_writer_free(w);
		return error_set(e, ERROR_UNAVAILABLE,
		    "the signer of token %s is still being told what operators ordered", token);
	}
	call = take_call(c);
	if (call == NULL) {
		wire_writer_free(w);
		return error_set(e, ERROR_UNAVAILABLE,
		    "%d calls to signers are in flight, and no more are allowed", SIGNER_CALLS_MAX);
	}
	call->signer = s;
	call->wanted = wanted;
	call->streaming = type == SIGNPROTO_STREAM_BEGIN;
	call->answer = answer;
	call->arg = arg;
	if (!channel_send_writer(s->channel, type, call->id, w, &why)) {
		give_back(c, call);
		if (why.code == ERROR_LIMIT && fits)
			why.code = ERROR_UNAVAILABLE; /* what is queued goes out some time */
		*e = why;
		return false;
	}
	*id = call->id;
	return true;
}

bool
signer_ask_status(struct signer_client *c, const char *token, signer_answer_fn *answer, void *arg,
    uint64_t *id, struct error *e)
{
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_status(&w);
	return ask(c, token, SIGNPROTO_STATUS, &w, SIGNPROTO_STATUS_OK, answer, arg, id, e);
}

bool
signer_ask_generate(struct signer_client *c, const char *token,
    const struct signproto_key_generate *m, signer_answer_fn *answer, void *arg, uint64_t *id,
    struct error *e)
{
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_key_generate(&w, m);
	return ask(c, token, SIGNPROTO_KEY_GENERATE, &w, SIGNPROTO_KEY_OK, answer, arg, id, e);
}

bool
signer_ask_find(struct signer_client *c, const char *token, struct bytes cka_id,
    signer_answer_fn *answer, void *arg, uint64_t *id, struct error *e)
{
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_key_find(&w, &(struct signproto_key_find){cka_id});
	return ask(c, token, SIGNPROTO_KEY_FIND, &w, SIGNPROTO_KEY_OK, answer, arg, id, e);
}

bool
signer_ask_limits_set(struct signer_client *c, const char *token,
    const struct signproto_limits_set *m, signer_answer_fn *answer, void *arg, uint64_t *id,
    struct error *e)
{
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_limits_set(&w, m);
	return ask(c, token, SIGNPROTO_LIMITS_SET, &w, SIGNPROTO_DONE, answer, arg, id, e);
}

bool
signer_ask_install(struct signer_client *c, const char *token, const struct signproto_install *m,
    signer_answer_fn *answer, void *arg, uint64_t *id, struct error *e)
{
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_install(&w, m);
	return ask(c, token, SIGNPROTO_INSTALL, &w, SIGNPROTO_DONE, answer, arg, id, e);
}

bool
signer_ask_destroy(struct signer_client *c, const char *token,
    const struct signproto_key_destroy *m, signer_answer_fn *answer, void *arg, uint64_t *id,
    struct error *e)
{
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_key_destroy(&w, m);
	return ask(c, token, SIGNPROTO_KEY_DESTROY, &w, SIGNPROTO_DONE, answer, arg, id, e);
}

bool
signer_ask_reseed(struct signer_client *c, const char *token, const struct signproto_reseed *m,
    signer_answer_fn *answer, void *arg, uint64_t *id, struct error *e)
{
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_reseed(&w, m);
	return ask(c, token, SIGNPROTO_RESEED, &w, SIGNPROTO_DONE, answer, arg, id, e);
}

bool
signer_ask_pin(struct signer_client *c, const char *token, const struct signproto_pin *m,
    signer_answer_fn *answer, void *arg, uint64_t *id, struct error *e)
{
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_pin(&w, m);
	return ask(c, token, SIGNPROTO_PIN, &w, SIGNPROTO_DONE, answer, arg, id, e);
}

bool
signer_ask_sign(struct signer_client *c, const char *token, const struct signproto_sign *m,
    signer_answer_fn *answer, void *arg, uint64_t *id, struct error *e)
{
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_sign(&w, m);
	return ask(c, token, SIGNPROTO_SIGN, &w, SIGNPROTO_SIGNED, answer, arg, id, e);
}

bool
signer_stream_begin(struct signer_client *c, const char *token,
    const struct signproto_stream_begin *m, signer_answer_fn *answer, void *arg, uint64_t *id,
    struct error *e)
{
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_stream_begin(&w, m);
	return ask(c, token, SIGNPROTO_STREAM_BEGIN, &w,
	    m->abstract ? SIGNPROTO_ABSTRACT : SIGNPROTO_SIGNED, answer, arg, id, e);
}

/* A further message of a stream; w is freed in any case. */
static bool
stream_send(
    struct signer_client *c, uint64_t id, uint16_t type, struct wire_writer *w, struct error *e)
{
	struct call *call = find_call(c, id);

	if (call == NULL || call->signer->channel == NULL) {
		wire_writer_free(w);
		return error_set(e, ERROR_UNAVAILABLE, "the stream to the signer has ended");
	}
	return channel_send_writer(call->signer->channel, type, id, w, e);
}

bool
signer_stream_data(
    struct signer_client *c, uint64_t id, const void *data, size_t len, struct error *e)
{
	struct signproto_stream_data m = {.data = {data, len}};
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_stream_data(&w, &m);
	return stream_send(c, id, SIGNPROTO_STREAM_DATA, &w, e);
}

bool
signer_stream_has_room(struct signer_client *c, uint64_t id, size_t len)
{
	struct call *call = find_call(c, id);

	/* A frame has the data's length, too. */
	return call != NULL && call->signer->channel != NULL &&
	       channel_has_room(call->signer->channel, sizeof(uint32_t) + len);
}

bool
signer_stream_end(struct signer_client *c, uint64_t id, struct error *e)
{
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_stream_end(&w);
	if (!stream_send(c, id, SIGNPROTO_STREAM_END, &w, e))
		return false;
	find_call(c, id)->streaming = false;
	return true;
}

static void
give_stream_up(struct signer_client *c, uint64_t id)
{
	struct error e = ERROR_INIT;
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_stream_drop(&w);
	if (!stream_send(c, id, SIGNPROTO_STREAM_DROP, &w, &e))
		log_failure(LOG_LEVEL_DEBUG, "signer", &e);
}

void
signer_cancel(struct signer_client *c, uint64_t id)
{
	struct call *call = find_call(c, id);

	if (call == NULL)
		return;
	if (call->streaming)
		give_stream_up(c, id);
	give_back(c, call);
}
