#ifndef CHANCERY_PKCS11_GROUP_KEYS_H
#define CHANCERY_PKCS11_GROUP_KEYS_H

/*
 * Whether the members of a group really have the same keys: those that this signer has
 * limits for (limits.h), each with the CKA_ID and the public key that it had when they
 * were made, and a private half that cannot leave the token.
 */

#include "pkcs11/token.h"

/*
 * Asks each member that is open, and refuses (token_refuse) one that has another key
 * under such an id, or lacks one that another member has. A key that was brought there
 * from outside, under another id, gets the right one once it has signed; one whose end
 * operators ordered (orders.h) is destroyed where it still is. Does nothing for a single
 * token. False when none is left.
 */
bool group_check_keys(struct token *t, const char *state_dir, struct error *e) MUST_CHECK;

/* The same of one member, beside the first that is open; nothing is refused. From any thread. */
bool group_check_member(
    struct token *t, const char *state_dir, size_t member, struct error *e) MUST_CHECK;

/* Each member that is open remembers of the keys' limits what the newest of them does
 * (limits_floor.h), also what it missed while it was away. Who cannot is found out later. */
void group_share_floors(struct token *t, const char *state_dir);

/* Of all but the first, when that has got a key, or lost one: those that do not follow are
 * refused. */
void group_check_others(struct token *t, const char *state_dir);

#endif
