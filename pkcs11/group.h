#ifndef CHANCERY_PKCS11_GROUP_H
#define CHANCERY_PKCS11_GROUP_H

/*
 * A group: several tokens of one module that have the same keys, of which the signer
 * prefers the first that works. What is kept of each over starts of the process, in a
 * directory of its own below the signer's: the marks of its PIN (pin.h), and the blame
 * for what went wrong with it last. A member under blame is left alone for a while, so
 * that a token that can be opened, and then fails or hangs each time, does not keep the
 * others from signing.
 *
 * A single token is a group of one: its directory is the signer's own, and it gets no
 * blame.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"

#define GROUP_DIR_MAX 4096
/* How long a member is left alone: this long, and twice as long each time that it fails
 * again soon after. */
#define GROUP_PAUSE_MIN_S 2
#define GROUP_PAUSE_MAX_S 3600

/* How many tokens the item of the configuration names, and the name of one. */
size_t group_count(const struct config_token *config);
const char *group_name(const struct config_token *config, size_t member);

/* Of that name; group_count when there is none. */
size_t group_find(const struct config_token *config, const char *name);

/* The member's directory, which is made when it is not there. */
bool group_dir(const struct config_token *config, const char *state_dir, size_t member,
    char out[GROUP_DIR_MAX], struct error *e) MUST_CHECK;

/* True while it is to be left alone. */
bool group_is_blamed(
    const struct config_token *config, const char *state_dir, size_t member, int64_t now);

/* Something went wrong with it just now. What the disk does not take is logged. */
void group_blame(
    const struct config_token *config, const char *state_dir, size_t member, int64_t now);

/* The process uses this member from now on; none any more, nor opens one, at its end. */
void group_begin_use(const struct config_token *config, const char *state_dir, size_t member);
void group_end_use(const struct config_token *config, const char *state_dir);

/* It is just being opened; no more. */
void group_begin_opening(const struct config_token *config, const char *state_dir, size_t member);
void group_end_opening(const struct config_token *config, const char *state_dir, size_t member);

/* At the next start: who was in use, or being opened, when a process came to no end of its own is
 * blamed for it. */
void group_look_back(const struct config_token *config, const char *state_dir, int64_t now);

/* The slot where it was last seen (a hint, to know whose it is when asking there hangs). */
void group_note_slot(
    const struct config_token *config, const char *state_dir, size_t member, unsigned long slot);
bool group_last_slot(
    const struct config_token *config, const char *state_dir, size_t member, unsigned long *slot);

#endif
