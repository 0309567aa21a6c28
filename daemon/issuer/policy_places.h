#ifndef CHANCERY_ISSUER_POLICY_PLACES_H
#define CHANCERY_ISSUER_POLICY_PLACES_H

/* The scopes and targets that a policy asks for, for one key of its CA, with their
 * addresses written out. */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/x509/capolicy.h"
#include "db/ca.h"
#include "db/ca_places.h"

/* names: the CA and its generation; what they say of partitions does not count. The
 * caller frees the result; NULL with an error when something cannot be written out. */
struct ca_places *policy_places(
    const struct capolicy *policy, const struct location_names *names, struct error *e) MUST_CHECK;

/* What a new policy changes for a key that stands. */
struct policy_change {
	struct ca_places *places; /* owned: ca_places_free */
	bool calendar;		  /* is another one */
	bool divide;		  /* the scopes are new ones, beside those that stand */
};

/* row: of the CA, with its policy `old`; version: of the limits that come with the
 * policy `fresh`, a part of new scopes' labels. ERROR_CONFLICT with the rule when the
 * key's CRLs cannot be divided as the policy says. */
bool policy_places_change(const struct ca_row *row, const struct capolicy *old,
    const struct capolicy *fresh, unsigned version, struct policy_change *change,
    struct error *e) MUST_CHECK;

#endif
