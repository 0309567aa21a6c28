#ifndef CHANCERY_ISSUER_TOKEN_ACCESS_H
#define CHANCERY_ISSUER_TOKEN_ACCESS_H

/*
 * Whether each token signs now, as its signer last said: whether it is there, what has
 * to wait for people, and the orders that an entry has just listed. It spares the signer
 * questions that it would refuse; nothing is safe because of it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"
#include "daemon/core/signproto.h"
#include "db/pin.h"

#define TOKEN_INSTANCE_SIZE 33 /* hex of a start's 16 octets, with the NUL */

struct token_access;

struct token_access *token_access_new(const struct config *config, struct error *e) MUST_CHECK;
void token_access_free(struct token_access *a); /* NULL is legal */

/* What a signer answered to STATUS. True when the token can sign now, and could not
 * before. */
bool token_access_note(
    struct token_access *a, const char *token, const struct signproto_status_ok *status);
/* The signer is gone, or another one has come: nothing is known. */
void token_access_forget(struct token_access *a, const char *token);

/* Refuses (ERROR_CONFLICT) a token that another item of the configuration turned out to be
 * as well, by its serial number, with another access: the looser one would undo the
 * other. What is away cannot be told apart. */
bool token_access_check_mixed(
    const struct token_access *a, const char *token, struct error *e) MUST_CHECK;

/* True when each signature needs an entry that lists it (access: operation). */
bool token_access_by_operation(const struct token_access *a, const char *token);

/* True, with ERROR_LOCKED and the signer's own sentence in e (may be NULL), while nothing
 * is signed until an operator comes (access: session). */
bool token_access_is_locked(const struct token_access *a, const char *token, struct error *e);
/* True, with ERROR_UNAVAILABLE and the signer's own sentence in e (may be NULL), while the
 * token is away, or its signer cannot use it for any other reason that no PIN ends. */
bool token_access_is_away(const struct token_access *a, const char *token, struct error *e);
/* How the token is, as its signer last said; while it waits for people, with their names. */
const char *token_access_words(const struct token_access *a, const char *token);
/* The signer has just refused something with ERROR_LOCKED. */
void token_access_note_locked(struct token_access *a, const char *token, const struct error *why);

/* True while an entry lists operations that are still to come (access: operation): no
 * other one is taken meanwhile. */
bool token_access_is_busy(const struct token_access *a, const char *token);
/* The signer has just said so. */
void token_access_note_busy(struct token_access *a, const char *token);

/* The start of the signer to which an entry may be handed, in hex; NULL when nobody gives
 * it a PIN, or it is not known. */
const char *token_access_instance(const struct token_access *a, const char *token);

/* An entry was accepted that lists these. */
void token_access_list(
    struct token_access *a, const char *token, const struct pin_digests *digests);
/* Whether something may be sent: no entry has to list it, or one did, which counts once. */
bool token_access_take(
    struct token_access *a, const char *token, const uint8_t sha256[PIN_DIGEST_LEN]) MUST_CHECK;

#endif
