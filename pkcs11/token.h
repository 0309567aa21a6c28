#ifndef CHANCERY_PKCS11_TOKEN_H
#define CHANCERY_PKCS11_TOKEN_H

/*
 * A token, opened, and with access: auto logged in to: the module is loaded, the
 * token selected, and one session kept that does nothing but hold the login, so that
 * no signing session's end can be the last one's and log us out.
 */

#include "daemon/core/config.h"
#include "daemon/core/signproto.h"
#include "daemon/core/wire.h"
#include "pkcs11/module.h"
#include "pkcs11/session.h"

struct token;

/*
 * Does the whole way from the module's path to the login, or, where persons have
 * the PIN, to just before it; may block as long as the module likes. On failure everything is
 * undone, *state says which of the states a signer is then in, and the error why.
 *
 * The PIN is tried once. CKR codes that several processes starting at one
 * moment give each other are waited out for some seconds, with growing and
 * random pauses, as long as the token does not count them as a wrong PIN: the
 * call is made again, and when that does not help, the module is finalised and
 * opened anew. No login is attempted when the token says that the PIN is locked
 * or that one try is left, nor when state_dir holds the mark of a wrong PIN for
 * the same file (pin.h), which is also left by an answer that does not say, or a
 * process that ended meanwhile, as long as the token has never taken that PIN.
 */
bool token_open(const struct config_token *config, const char *state_dir, struct token **token,
    enum signproto_state *state, struct error *e) MUST_CHECK;

/* The same with one member of a group alone, whatever it is blamed for; NULL: with all of
 * them. Of a group those are opened that are there, work, and are not under blame (group.h): at
 * least one, or it is a failure. The first of them in the order of the configuration is
 * what is meant where a token is spoken of. */
bool token_open_member(const struct config_token *config, const char *state_dir, const char *only,
    struct token **token, enum signproto_state *state, struct error *e) MUST_CHECK;

/* ---- members of a group; from any thread unless something else is said */

enum token_standing {
	TOKEN_AWAY,    /* it is not there, or failed */
	TOKEN_REFUSED, /* it is open, and not to be used: its keys are not those of the others */
	TOKEN_OPEN,
};

struct token_member {
	const char *name; /* in the configuration */
	enum token_standing standing;
	char why[ERROR_TEXT_MAX];      /* it is not open */
	const struct token_info *info; /* valid of one that was there */
};

size_t token_members(const struct token *t);
void token_member(struct token *t, size_t i, struct token_member *out);
size_t token_first(const struct token *t);

/* It is not used. False when none is left. Before any other thread has the token. */
bool token_refuse(struct token *t, size_t i, const struct error *why);

/* The same with one of the others, later on; what is under way there goes on. */
void token_set_aside(struct token *t, size_t i, const struct error *why);

/* One of the others failed. */
void token_lose(struct token *t, size_t i, const struct error *why);

/* Asks all others that are open whether they still are. Not for the loop. */
void token_check_others(struct token *t);

/* Whether one that is away could be opened; costs no try of its PIN, and may never come
 * back. It changes nothing: who wants it opens everything anew. */
bool token_look(struct token *t, const char *state_dir, size_t i, struct error *e) MUST_CHECK;

/* How a login with a person's PIN ended. */
enum token_login {
	TOKEN_LOGGED_IN,
	TOKEN_PIN_WRONG,     /* the token refused it */
	TOKEN_LOGIN_FAILED,  /* something else; it cost no try */
	TOKEN_LOGIN_UNCLEAR, /* it may have cost one */
};

/* Refuses (ERROR_DENIED) what must not be tried: a PIN of a length that the token does
 * not take, one for a token whose PIN is locked, or has one try left; and an empty one
 * for a token without a device to enter it at. */
bool token_check_login(struct token *t, size_t pin_len, struct error *e) MUST_CHECK;

/* Logs in with this PIN, which is sent once; an empty one makes the token ask at its
 * own device, which may take as long as people do. *said is the token's last word. */
enum token_login token_login(
    struct token *t, struct bytes pin, const char **said, struct error *e) MUST_CHECK;

/* Afterwards no private object can be used, in no session. False when the token may
 * still be logged in to: then only the end of the process helps. */
bool token_logout(struct token *t, struct error *e) MUST_CHECK;

/* The user who is logged in gets another PIN. False: the token did not say that it has
 * it, and may have it all the same. */
bool token_set_pin(
    struct token *t, struct bytes old, struct bytes fresh, struct error *e) MUST_CHECK;

/* True when one of these three said that the token, or its sessions, are gone. */
bool token_is_lost(const struct token *t);

bool token_is_logged_in(const struct token *t);

/* Logs out, finalises, unloads; all other sessions must be closed. NULL is
 * legal. */
void token_close(struct token *t);

const struct config_token *token_config(const struct token *t);
/* The lines on record (logins.h) of the login with a PIN from a file, for the journal, which
 * is opened after it; from 0, NULL behind the last. */
#define TOKEN_RECORD_MAX (2 * CONFIG_MEMBERS_MAX)
const char *token_login_record(const struct token *t, size_t number);

const struct token_info *token_info(const struct token *t);
const CK_FUNCTION_LIST *token_functions(const struct token *t);
/* How many threads may use it: `wanted`, or 1 when the module is not thread-safe. */
unsigned int token_thread_limit(const struct token *t, unsigned int wanted);

#endif
