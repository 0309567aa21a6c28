#ifndef CHANCERY_ISSUER_POLICY_PLACES_H
#define CHANCERY_ISSUER_POLICY_PLACES_H

/* The scopes and targets that a policy asks for, for one key of its CA, with their
 * addresses written out. */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/x509/capolicy.h"
#include "db/ca_places.h"

/* names: the CA and its generation; what they say of partitions does not count. The
 * caller frees the result; NULL with an error when something cannot be written out. */
struct ca_places *policy_places(
    const struct capolicy *policy, const struct location_names *names, struct error *e) MUST_CHECK;

#endif
