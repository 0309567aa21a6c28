#ifndef CHANCERY_ISSUER_RESEED_ORDER_H
#define CHANCERY_ISSUER_RESEED_ORDER_H

/*
 * The decision signer-reseed: tells a closed signer where its journal goes on. One
 * that is about another host's signer is left to that host's issuer
 * (ERROR_UNAVAILABLE).
 */

#include "daemon/issuer/ca_order.h"

/* Begins; the row is copied. The decision was verified before. done is called
 * once after true, never from inside; false has the failure in e. */
bool reseed_order(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e) MUST_CHECK;

#endif
