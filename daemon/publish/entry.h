#ifndef CHANCERY_PUBLISH_ENTRY_H
#define CHANCERY_PUBLISH_ENTRY_H

/*
 * A certificate of a person or a machine, in the directory entry of its subject: added to
 * the values that are there (RFC 4523 2.1, userCertificate) or taken out again, and read
 * back. Blocks; runs in a courier.
 */

#include "daemon/publish/job.h"
#include "daemon/publish/target.h"

/* Fills in the result. PUBLISH_SAME: it stands there, or no longer does, as the job wants.
 * PUBLISH_NOWHERE: there is no entry that is its subject's, or not just one, or nobody has
 * vouched for the names that choose it. */
void entry_deliver(const struct target_work *work, struct publish_result *result);

#endif
