#ifndef CHANCERY_ISSUER_CA_TARGETS_H
#define CHANCERY_ISSUER_CA_TARGETS_H

/* The publication targets of a CA's policy, with their addresses written out. */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/x509/capolicy.h"
#include "db/ca.h"

/* One allocation; free() ends it. What is no address is borrowed from the policy. */
struct ca_targets {
	struct ca_target list[CAPOLICY_TARGET_MAX];
	size_t count;
	char write[CAPOLICY_TARGET_MAX][LOCATION_URL_MAX + 1];
	char read[CAPOLICY_TARGET_MAX][LOCATION_URL_MAX + 1];
};

/* NULL with an error when an address cannot be written out. */
struct ca_targets *ca_targets_new(
    const struct capolicy *policy, const struct location_names *names, struct error *e) MUST_CHECK;

#endif
