#ifndef CHANCERY_PUBLISH_READBACK_H
#define CHANCERY_PUBLISH_READBACK_H

/*
 * Fetches what clients get at a job's read URL (http, https, ldap, ldaps,
 * file) as they would, without any credential, and compares it with the
 * artifact by length and SHA-256. Blocks; runs in a courier.
 */

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/publish/job.h"
#include "daemon/publish/target.h"

/* Octets read beyond the artifact's own length before it is enough: what
 * stands there may be a longer, newer artifact. */
#define READBACK_SLACK ((uint64_t)64 << 20)

/* True when something was read: outcome is PUBLISH_SAME or PUBLISH_DIFFERENT,
 * and read_size and read_sha256 describe it; for PUBLISH_DIFFERENT the result's
 * error is a sentence. False with err set when nothing could be read. */
bool readback_compare(
    const struct target_work *work, struct publish_result *result, struct error *err) MUST_CHECK;

#endif
