#ifndef CHANCERY_PKCS11_TOKEN_INT_H
#define CHANCERY_PKCS11_TOKEN_INT_H

/*
 * Between the files of a token: token.c opens all that a group has and closes it,
 * token_find.c finds the members, token_auto.c opens one, with the PIN from its file;
 * token_login.c has the PIN of a person, token_member.c who is in use and who is not.
 */

#include <pthread.h>

#include "pkcs11/ckr.h"
#include "pkcs11/group.h"
#include "pkcs11/logins.h"
#include "pkcs11/pin.h"
#include "pkcs11/token.h"

/*
 * Codes of a start race (ckr_is_start_race) are met in two ways. The same call
 * is made again at once, for what passes by itself. And SoftHSM keeps what it
 * read when it was initialised: a module that met the half-written token never
 * sees it whole again, so that it has to be finalised and opened anew, each
 * time a new view of the token. With all pauses that takes two to four seconds;
 * what is not over then is left to whoever opens the token the next time.
 */
#define TOKEN_CALL_TRIES 3
#define TOKEN_CALL_PAUSE_MS 40

/* One of a group's tokens; a single one is a group of one. */
struct token_place {
	struct token_info info;
	struct session keeper;
	enum token_standing standing; /* this and the next under the token's lock */
	char why[ERROR_TEXT_MAX];     /* it is not in use */
};

struct token {
	const struct config_token *config;
	struct module *module;
	struct token_place members[CONFIG_MEMBERS_MAX];
	size_t count;
	struct token_place *m; /* the first that is open; while opening the one whose turn it is */
	pthread_mutex_t lock;
	bool logged_in;
	char said[CKR_NAME_MAX];
	/* Of the login with a PIN from a file: that it begins, and how it ended. */
	char record[TOKEN_RECORD_MAX][LOGINS_LINE_SIZE];
	size_t record_count;
};

/* One member in one token_open, over all its views of the token. */
struct token_opening {
	const struct config_token *config;
	const char *state_dir;	 /* of the signer */
	char dir[GROUP_DIR_MAX]; /* of the member: marks of its PIN */
	bool skipped, found;
	enum signproto_state state;
	bool raced;	       /* this view failed by a start race: another may not */
	bool pin_sent;	       /* C_Login was called, in whatever view */
	bool was_low;	       /* CKF_USER_PIN_COUNT_LOW, as the token said before that */
	struct pin sent;       /* the PIN's file as it was then; no text */
	CK_RV said;	       /* the token's answer to it */
	bool blamed;	       /* the mark of a wrong PIN was left for that */
	unsigned int doubtful; /* how often that was CKR_GENERAL_ERROR, and the token fine */
};

/* ---- token.c */

/* Waits so long, times the attempt, and as long again at most: processes that collided once
 * must not collide again in step. */
void token_stagger(unsigned int pause_ms, unsigned int attempt);

/* ---- token_find.c */

/* Opens the module anew and looks for all that are not skipped; os has one for each member.
 * False: none is there. */
bool token_find_members(struct token *t, struct token_opening *os, struct error *e) MUST_CHECK;

/* Looks for one of them, in the module as it is. left_alone: by the member; where such a one was
 * seen last nobody is asked. */
bool token_find_member(const struct token *t, const char *state_dir, size_t i,
    const bool left_alone[], struct token_info *info, struct error *e) MUST_CHECK;

/* ---- token_auto.c: the member whose turn it is, t->m */

/* A session and, with access: auto, the login. On failure the session is closed; o->state
 * says what that means. */
bool token_open_alone(struct token *t, struct token_opening *o, struct error *e) MUST_CHECK;

/* ---- token_login.c: likewise */

/* Asks the token anew: flags change with every login. */
bool token_read_flags(
    const struct token *t, struct token_opening *o, CK_FLAGS *flags, struct error *e) MUST_CHECK;

/* The token takes PINs of this length, as far as it says. */
bool token_is_pin_length(const struct token *t, size_t len);

CK_USER_TYPE token_user_type(const struct token *t);

/* ---- token_member.c */

/* Why the member is not in use. */
void token_keep_reason(struct token *t, size_t i, const struct error *why);

/* The first that is open is the one that everything is asked of: t->m. False: none is. */
bool token_choose_first(struct token *t) MUST_CHECK;

#endif
