#ifndef CHANCERY_PUBLISH_LOOK_PLACE_H
#define CHANCERY_PUBLISH_LOOK_PLACE_H

/*
 * Whose address may be looked at: one that a CA of ours names to its clients, so that nobody
 * sends this host elsewhere. Certificates, CRLs and policies are read by their own readers, and
 * an address is named when it stands there byte for byte.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "db/look.h"

/* Whether the CA of the order names its address: a certificate of the CA or above it, one
 * of its CRLs, or one of its policies. ERROR_DENIED. */
bool look_place_check(const struct db_look *order, struct error *err) MUST_CHECK;

#endif
