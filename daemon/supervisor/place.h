#ifndef CHANCERY_SUPERVISOR_PLACE_H
#define CHANCERY_SUPERVISOR_PLACE_H

/*
 * Where root writes for others. A directory in which another user may make and
 * rename things can lead root anywhere by a link, so root works only where
 * nobody else can change the way there, and gives a directory away only while it
 * is empty.
 */

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"

/* Makes state_dir when it is missing. With users of their own for the roles also a
 * directory for each signer, and the issuer's spool, which are theirs; mode 0711
 * lets them pass. A directory that belongs to somebody else is left as it is
 * (ERROR_CONFIG says whose it must be). */
bool place_state(const struct config *cfg, struct error *err) MUST_CHECK;

/* True when every directory on the way to path, and path itself when it is one,
 * belongs to us or to root and can be changed by nobody else. One that everybody
 * may write (as /tmp) is as good if it is sticky. ERROR_CONFIG names the one that
 * is not. */
bool place_is_safe(const char *path, struct error *err) MUST_CHECK;

#endif
