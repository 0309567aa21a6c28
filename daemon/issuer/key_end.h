#ifndef CHANCERY_ISSUER_KEY_END_H
#define CHANCERY_ISSUER_KEY_END_H

/*
 * The decision key-destroy: a key of a CA that no certificate and no CRL needs any more is
 * destroyed on its token. The database says whether it is needed; the signer verifies the
 * order, and destroys it.
 */

#include "daemon/issuer/ca_order.h"

/* Begins; the row is copied. The decision was verified before. done is called
 * once after true, never from inside; false has the failure in e. */
bool key_end_order(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e) MUST_CHECK;

#endif
