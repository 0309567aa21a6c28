#ifndef CHANCERY_PUBLISH_CONFINE_H
#define CHANCERY_PUBLISH_CONFINE_H

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/publish/job.h"

/* The courier's own sandbox, inside the issuer's: it executes nothing, reads its
 * credential and CA file, and of files writes only the folder of its own target.
 * Enters it. */
bool confine_courier(const struct publish_job *job, struct error *err) MUST_CHECK;

#endif
