#ifndef CHANCERY_PUBLISH_STANDING_H
#define CHANCERY_PUBLISH_STANDING_H

/*
 * The gate at the target: before a CRL is written, what stands there is looked
 * at. A CRL that the CA's key signed is never replaced by an older one, whoever
 * wrote it and whatever the database says: it may have been put back to an older
 * state, and clients take a step back of a CRL for an attack (RFC 5280 5.2.3).
 */

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/publish/job.h"
#include "daemon/publish/target.h"

enum standing {
	STANDING_FREE,	/* nothing, or what the artifact may take the place of */
	STANDING_SAME,	/* the artifact itself */
	STANDING_NEWER, /* a newer CRL of ours: described in result, as PUBLISH_DIFFERENT */
};

/* Looks at the write place, or where that cannot be read, at the read URL. A place
 * that cannot be read at all is free: a list that clients wait for must not
 * depend on it. False when the artifact itself is no CRL that the CA's key
 * signed: then nothing may be written. */
bool standing_look(const struct target_work *work, enum standing *standing,
    struct publish_result *result, struct error *err) MUST_CHECK;

#endif
