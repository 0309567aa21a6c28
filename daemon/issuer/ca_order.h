#ifndef CHANCERY_ISSUER_CA_ORDER_H
#define CHANCERY_ISSUER_CA_ORDER_H

/*
 * The decisions ca-create and ca-install, which take several steps with the
 * token in between. Each step is noted in the database before the next, so that
 * an issuer that takes the decision over goes on where the last one stood: no
 * second key, no second serial.
 */

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"
#include "daemon/issuer/ca_cache.h"
#include "daemon/issuer/signer_client.h"
#include "daemon/x509/statement.h"
#include "db/db.h"
#include "db/decision.h"

struct ca_order_env {
	struct db *db;
	struct signer_client *signers;
	struct ca_cache *cache;
	const struct config *config;
};

/* The order is over; its decision is closed, refused or back in the queue. */
typedef void ca_ordered_fn(void *arg);

/* Begins; the row is copied. The decision was verified before. Failures end in
 * the decision's outcome; e is set only when not even that could be begun. */
bool ca_order_create(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e) MUST_CHECK;
bool ca_order_install(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e) MUST_CHECK;

#endif
