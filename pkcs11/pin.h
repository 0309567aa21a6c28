#ifndef CHANCERY_PKCS11_PIN_H
#define CHANCERY_PKCS11_PIN_H

/*
 * The PIN: read anew for each login from where the configuration says, or out of
 * an operator's envelope; held in locked memory for the moment of the login, wiped
 * after it.
 *
 * A PIN that the token refused is never tried a second time. So that a restart
 * knows, a mark is left in the signer's state directory: which file it was
 * (device, inode, time of its last change) and nothing of what stood in it.
 * The mark stops counting when the file was changed; a person may also remove
 * it. Another mark of the same kind says which file the token took last: its PIN is
 * right, and costs no try however often the token is too ill to say so.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"

#define PIN_MAX 256 /* bytes */
#define PIN_MARK_FILE "pin-wrong"
#define PIN_GOOD_FILE "pin-good"

struct pin {
	char *text; /* locked page of its own; no NUL at its end */
	size_t len;
	char source[256];   /* path of the file, for sentences */
	struct stat status; /* of the file it came from */
};

/* Opens the source, and reads the PIN from it unless a mark in state_dir names
 * this very file: then *marked is true, pin holds no text and the result is
 * still true. One final newline is not part of the PIN. ERROR_CONFIG when the
 * file is missing, not private, empty or too long. */
bool pin_read(const struct config_token *token, const char *state_dir, struct pin *pin,
    bool *marked, struct error *e) MUST_CHECK;

/* Room for PIN_MAX bytes in locked memory, for a PIN from elsewhere: text is set, len
 * is 0. */
bool pin_make(struct pin *pin, struct error *e) MUST_CHECK;

/* Wipes and unlocks; pin may be all zero. */
void pin_clear(struct pin *pin);

/* Writes the mark for the file that pin was read from, durably. */
bool pin_mark_wrong(const struct pin *pin, const char *state_dir, struct error *e) MUST_CHECK;

/* True when the token took the PIN of this very file before. */
bool pin_is_proven(const struct pin *pin, const char *state_dir);

/* Notes that it did; the other mark goes. */
bool pin_mark_good(const struct pin *pin, const char *state_dir, struct error *e) MUST_CHECK;

/* Removes the mark; that there is none is no error. */
bool pin_mark_clear(const char *state_dir, struct error *e) MUST_CHECK;

#endif
