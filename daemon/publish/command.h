#ifndef CHANCERY_PUBLISH_COMMAND_H
#define CHANCERY_PUBLISH_COMMAND_H

/*
 * Kind "command": a program of this host's operators that brings an artifact to
 * where none of our own kinds reaches. The database names it, the folder
 * issuer.commands_dir holds it; it is run without a shell, as
 *
 *   PROGRAM TARGET ARTIFACT SIZE SHA256 READ_URL
 *
 * with the artifact on its standard input, in the issuer's sandbox, and killed
 * when the attempt's time is over. Exit status 0 says that it is done, which
 * counts only when it was read back.
 */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

/* folder + "/" + name, with the rules of a credential's name. ERROR_INPUT,
 * ERROR_CONFIG, ERROR_LIMIT. */
bool command_path(
    const char *folder, const char *name, char *out, size_t size, struct error *err) MUST_CHECK;

#endif
