#ifndef CHANCERY_PUBLISH_TARGET_LDAP_H
#define CHANCERY_PUBLISH_TARGET_LDAP_H

/* What else is done as the writer of a directory. */

#include "daemon/publish/ldap_session.h"
#include "daemon/publish/target.h"

/* A session with the place's server as whom the job names; passwords only go over TLS or
 * stay on this machine. *ld is the caller's to close (ldap_session_close). */
bool target_ldap_open(const struct target_work *work, const struct ldap_place *place, LDAP **ld,
    struct error *err) MUST_CHECK;

#endif
