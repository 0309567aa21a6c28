#ifndef CHANCERY_SUPERVISOR_INSTALL_H
#define CHANCERY_SUPERVISOR_INSTALL_H

/*
 * Where the parts of an installation, or of a build tree, are.
 */

#include <limits.h>
#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

/* The running executable's path. */
bool install_find_self(char path[PATH_MAX], struct error *err) MUST_CHECK;

/* chancery-signer: beside self, else in CHANCERY_LIBEXECDIR. */
bool install_find_signer(const char *self, char path[PATH_MAX], struct error *err) MUST_CHECK;

/* The migrations: in the source tree when self is in its build directory, else
 * in CHANCERY_DATADIR. */
bool install_find_migrations(const char *self, char path[PATH_MAX], struct error *err) MUST_CHECK;

#endif
