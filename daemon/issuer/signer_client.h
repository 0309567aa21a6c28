#ifndef CHANCERY_ISSUER_SIGNER_CLIENT_H
#define CHANCERY_ISSUER_SIGNER_CLIENT_H

/*
 * The issuer's side of the signer protocol (core/signproto.h): one channel for
 * each token, many calls in flight on each.
 *
 * A call is known by its id, never by a pointer: when the owner has cancelled
 * it, or the signer answers late, the answer is dropped. When a channel is lost
 * every call on it fails with ERROR_UNAVAILABLE; nothing is repeated here,
 * because only the owner knows whether it may be.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/signproto.h"

struct event_base;
struct signer_client;

/* Calls in flight, over all tokens. */
#define SIGNER_CALLS_MAX 4096

/* The answer to a call: failure is NULL, or the reason. Which member of the
 * answer is meant follows from the question; its bytes are borrowed and end
 * with the call. Never called from inside the function that asked. */
struct signer_answer {
	struct signproto_signed sign;
	struct signproto_key_ok key;
	struct signproto_abstract abstract;
	const struct signproto_status_ok *status;
	char done[ERROR_TEXT_MAX]; /* what a signer says of an order beyond that it is done */
};
typedef void signer_answer_fn(
    const struct signer_answer *answer, const struct error *failure, void *arg);

struct signer_client_callbacks {
	/* A signer of this token has come: it can be told, but signs nothing yet. */
	void (*attached)(const char *token, void *arg);
	/* It signs (signer_client_release). */
	void (*up)(const char *token, void *arg);
	/* A channel that was full takes messages again. */
	void (*writable)(const char *token, void *arg);
};

struct signer_client *signer_client_new(struct event_base *base,
    const struct signer_client_callbacks *callbacks, void *arg, struct error *e) MUST_CHECK;
/* Gives all channels up: every call in flight fails now, and so does every later
 * one. Who asked must still live. c may be NULL. */
void signer_client_close(struct signer_client *c);
void signer_client_free(struct signer_client *c); /* closes it, too */

/* A fresh channel to the signer of this token; takes over fd. Calls on the
 * token's former channel fail. */
void signer_client_attach(struct signer_client *c, const char *token, int fd);

/* False when the token has no signer now that signs. */
bool signer_client_is_up(const struct signer_client *c, const char *token);
/* False when it has none at all. */
bool signer_client_is_attached(const struct signer_client *c, const char *token);

/* Until here a signer is not asked for signatures: what operators ordered while it
 * was not there has to reach it first, or it would refuse for good what only has to
 * wait. */
void signer_client_release(struct signer_client *c, const char *token);

/*
 * Questions. Each gives the call's id in *id (for signer_cancel; never 0) and
 * fails at once with ERROR_UNAVAILABLE: no signer, too many in flight, or the
 * channel is full (then `writable` comes). ERROR_LIMIT: too long for a frame.
 */
bool signer_ask_status(struct signer_client *c, const char *token, signer_answer_fn *answer,
    void *arg, uint64_t *id, struct error *e) MUST_CHECK;
bool signer_ask_generate(struct signer_client *c, const char *token,
    const struct signproto_key_generate *m, signer_answer_fn *answer, void *arg, uint64_t *id,
    struct error *e) MUST_CHECK;
/* Whether the signer has the key and limits for it that are in force. */
bool signer_ask_find(struct signer_client *c, const char *token, struct bytes cka_id,
    signer_answer_fn *answer, void *arg, uint64_t *id, struct error *e) MUST_CHECK;
/* These five are answered without contents: the order was carried out. */
bool signer_ask_limits_set(struct signer_client *c, const char *token,
    const struct signproto_limits_set *m, signer_answer_fn *answer, void *arg, uint64_t *id,
    struct error *e) MUST_CHECK;
bool signer_ask_install(struct signer_client *c, const char *token,
    const struct signproto_install *m, signer_answer_fn *answer, void *arg, uint64_t *id,
    struct error *e) MUST_CHECK;
bool signer_ask_destroy(struct signer_client *c, const char *token,
    const struct signproto_key_destroy *m, signer_answer_fn *answer, void *arg, uint64_t *id,
    struct error *e) MUST_CHECK;
bool signer_ask_reseed(struct signer_client *c, const char *token, const struct signproto_reseed *m,
    signer_answer_fn *answer, void *arg, uint64_t *id, struct error *e) MUST_CHECK;
bool signer_ask_pin(struct signer_client *c, const char *token, const struct signproto_pin *m,
    signer_answer_fn *answer, void *arg, uint64_t *id, struct error *e) MUST_CHECK;
bool signer_ask_sign(struct signer_client *c, const char *token, const struct signproto_sign *m,
    signer_answer_fn *answer, void *arg, uint64_t *id, struct error *e) MUST_CHECK;

/* A streamed structure: begin, then data until total_len, then end; the answer
 * comes once, maybe before the end when it is a refusal. Data and end fail with
 * ERROR_LIMIT while the channel is full: give the same again after `writable`. */
bool signer_stream_begin(struct signer_client *c, const char *token,
    const struct signproto_stream_begin *m, signer_answer_fn *answer, void *arg, uint64_t *id,
    struct error *e) MUST_CHECK;
bool signer_stream_data(
    struct signer_client *c, uint64_t id, const void *data, size_t len, struct error *e) MUST_CHECK;
bool signer_stream_end(struct signer_client *c, uint64_t id, struct error *e) MUST_CHECK;
/* Whether data of so many octets would be taken now; if not, `writable` comes, unless the
 * stream has ended, of which its answer tells. */
bool signer_stream_has_room(struct signer_client *c, uint64_t id, size_t len);

/* Forgets the call; its answer will be dropped. A stream before its end is given up by
 * the signer, too, unless the channel has no room to say so: then its deadline ends it.
 * An id that is no longer known is legal. */
void signer_cancel(struct signer_client *c, uint64_t id);

#endif
