#ifndef CHANCERY_PKCS11_LOSSES_H
#define CHANCERY_PKCS11_LOSSES_H

/*
 * A token that opens and then fails at whatever it is asked for ends one signer's process
 * after the other (access: auto). Each of them leaves word of that in the state
 * directory, so that the next ones take more and more time, up to LOSSES_PAUSE_MAX_MS,
 * before they open it, and say since when and why. What an ordinary outage needs, to be
 * opened once more at once, costs no time: pauses begin with the third loss in a row, and a
 * signature, or a minute without a loss, ends the row.
 */

#include <stdint.h>

#include "daemon/core/error.h"

#define LOSSES_FILE "losses"
#define LOSSES_QUIET_S 60
#define LOSSES_FREE 2 /* losses in a row that cost no time */
#define LOSSES_PAUSE_MAX_MS 30000

struct losses {
	unsigned count;		  /* in a row; 0: none */
	int64_t since;		  /* the first, in seconds since 1970 */
	char why[ERROR_TEXT_MAX]; /* the last */
};

/* What is there; a file that is not ours to read counts for nothing. */
void losses_load(struct losses *l, const char *state_dir);

/* Another one. served_s: for how long all went well before it. */
void losses_add(
    struct losses *l, const char *state_dir, int64_t served_s, const char *why, int64_t now);

/* The row is over. */
void losses_end(struct losses *l, const char *state_dir);

/* How long to leave the token alone, with jitter; random: any number. */
unsigned losses_pause_ms(const struct losses *l, uint16_t random);

/* "it opened 5 times since ..., and failed each time: ...". */
void losses_text(const struct losses *l, char out[ERROR_TEXT_MAX]);

#endif
