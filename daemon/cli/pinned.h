#ifndef CHANCERY_CLI_PINNED_H
#define CHANCERY_CLI_PINNED_H

/*
 * The signers that an operator knows: fingerprints of their identity keys, as read
 * at their consoles, in a private file beside the operator's own key. Nothing that
 * the service says ever gets in there.
 *
 *	main 0 5f0c...	(token, signer's id or 0 for any, SHA-256 in hex)
 */

#include <stdint.h>

#include "daemon/cli/options.h"

#define PINNED_SUFFIX ".signers" /* after the name of the operator's key file */
#define PINNED_MAX 256		 /* signers in the file */

/* The file's path. */
bool pinned_path(const struct options *options, char *out, size_t size, struct error *e) MUST_CHECK;

/* The fingerprint of the token's signer of that id, or of the token's signer whatever its
 * id. ERROR_DENIED, with what to do, when the operator has pinned none. */
bool pinned_find(const struct options *options, const char *token, unsigned signer_id,
    uint8_t fingerprint[32], struct error *e) MUST_CHECK;

/* Adds one. Another one in its place is ERROR_CONFLICT, unless force; the same again is
 * not. *added: it was not there before. */
bool pinned_add(const struct options *options, const char *token, unsigned signer_id,
    const uint8_t fingerprint[32], bool force, bool *added, struct error *e) MUST_CHECK;

#endif
