#ifndef CHANCERY_ISSUER_LIMITS_ORDER_H
#define CHANCERY_ISSUER_LIMITS_ORDER_H

/*
 * The decision ca-limits: the next version of the limits of a CA's key. The signer
 * decides, and keeps it, before the database does: what is lost in between is
 * ordered again and finds it there.
 */

#include "daemon/issuer/ca_order.h"

/* Begins; the row is copied. The decision was verified before. done is called
 * once after true, never from inside; false has the failure in e. */
bool limits_order_change(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e) MUST_CHECK;

#endif
