#ifndef CHANCERY_ISSUER_KEY_ATTEST_H
#define CHANCERY_ISSUER_KEY_ATTEST_H

/*
 * The decision key-attest: the key of a CA shows that it is on its token, by a signature
 * of what follows from the CA's name, its key and the statement's nonce
 * (daemon/x509/attestation.h). The signature is the decision's outcome, for the operator
 * to verify.
 */

#include "daemon/issuer/ca_order.h"

/* done: as of the other orders about a CA. */
bool key_attest(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e) MUST_CHECK;

#endif
