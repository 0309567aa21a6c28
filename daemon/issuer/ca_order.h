#ifndef CHANCERY_ISSUER_CA_ORDER_H
#define CHANCERY_ISSUER_CA_ORDER_H

/*
 * The decisions ca-create, ca-renew, ca-rekey, ca-rollover and ca-install, which take several steps
 * with the signer in between: it gets the statement, what came beside it and all signatures, and
 * verifies them itself. Each step is noted in the database before the next, so that an issuer that
 * takes the decision over goes on where the last one stood: no second key, no second serial.
 */

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"
#include "daemon/issuer/ca_cache.h"
#include "daemon/issuer/signer_client.h"
#include "daemon/issuer/token_access.h"
#include "daemon/x509/statement.h"
#include "db/db.h"
#include "db/decision.h"

struct ca_order_env {
	struct db *db;
	struct signer_client *signers;
	struct ca_cache *cache;
	const struct config *config;
	struct token_access *access;
};

/* The order is over: err is NULL when its decision is closed, otherwise it has to
 * be refused, or tried again when the failure may pass by itself. */
typedef void ca_ordered_fn(const struct error *err, void *arg);

/* Begins; the row is copied. The decision was verified before. done is called
 * once after true, never from inside; false has the failure in e. */
bool ca_order_create(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e) MUST_CHECK;
bool ca_order_renew(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e) MUST_CHECK;
bool ca_order_rekey(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e) MUST_CHECK;
bool ca_order_rollover(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e) MUST_CHECK;
bool ca_order_cross(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e) MUST_CHECK;
bool ca_order_install(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e) MUST_CHECK;

#endif
