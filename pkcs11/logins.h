#ifndef CHANCERY_PKCS11_LOGINS_H
#define CHANCERY_PKCS11_LOGINS_H

/*
 * What the signer remembers of logins, so that no fault and no
 * restart makes it use up the tries that a token allows: a line is on the disk
 * before C_Login is called, and another one says how it ended. Nothing in it is
 * derived from the PIN.
 *
 * The file STATE_DIR/signer-TOKEN/logins is text; each line is
 *
 *	SEQ TIME EVENT PERSON KEY NONCE DETAIL CHAIN
 *
 * with SHA-256 of the person's key, the nonce of the statement, and SHA-256 of the
 * chain so far and the line before it; "-" for what does not apply. A last line
 * without its end was not on the disk when the power went, and counts for nothing.
 *
 * With persons' PINs a wrong one blocks at once; so do two logins in a row whose end nobody knows
 * (the process died inside of them, or the token's answer may mean anything), and
 * a file that is damaged. Only LOGINS_CLEAR ends that. For auditors,
 * to whom a file that can be put back tells little, the same lines go to the journal
 * (journal.h). All functions may be called from any thread.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

#define LOGINS_FILE "logins"
#define LOGINS_SIZE_MAX (256 * 1024)
#define LOGINS_UNFINISHED_MAX 2
#define LOGINS_LINE_SIZE 512 /* of a line without its end, with a NUL */

enum logins_event {
	LOGINS_OPEN,	/* C_Login is about to be called */
	LOGINS_OK,	/* it succeeded */
	LOGINS_WRONG,	/* the token refused the PIN */
	LOGINS_FAILED,	/* something else went wrong, which cost no try */
	LOGINS_UNCLEAR, /* it may have cost one */
	LOGINS_OUT,	/* logged out */
	LOGINS_CLEAR,	/* an operator says that the PIN may be tried again */
	LOGINS_SPLIT,	/* the token is about to get a new PIN, which is split */
	LOGINS_NEW_PIN, /* and that one has opened it */
};

struct logins_who {
	const char *person;
	uint8_t key_sha256[32], nonce[16];
};

struct logins;

/* ERROR_SYSTEM when the disk does not answer, ERROR_UNAVAILABLE while another process has
 * it; a file that is damaged is no error
 * here. */
bool logins_open(const char *state_dir, struct logins **logins, struct error *e) MUST_CHECK;
void logins_close(struct logins *l); /* NULL is legal */

/* Adds a line, durably. who may be NULL; detail is a word, or NULL. */
bool logins_write(struct logins *l, enum logins_event event, const struct logins_who *who,
    const char *detail, int64_t now, struct error *e) MUST_CHECK;

/* The line that was last written, for the journal. */
void logins_last_line(struct logins *l, char line[LOGINS_LINE_SIZE]);

/* True while no login may be tried; the text says why. */
bool logins_blocked(struct logins *l, char text[ERROR_TEXT_MAX]);

/* Who made the last login, or tried to; "" before the first. */
void logins_last_person(struct logins *l, char person[65]);

/* True when the last process ended while logged in, and never said that it logged
 * out: `person` is who had unlocked it, `since` when. */
bool logins_lost(struct logins *l, char person[65], int64_t *since);

#endif
