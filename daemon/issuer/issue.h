#ifndef CHANCERY_ISSUER_ISSUE_H
#define CHANCERY_ISSUER_ISSUE_H

/*
 * Issuance: requests are claimed in batches, checked, given a serial and
 * to-be-signed bytes, signed, and completed.
 *
 *   claim ─► check ─► (told the database) ─► build ─► begin ─► sign ─► complete
 *
 * Serial and bytes are committed (begin) before the token is asked, so that no
 * signature exists that the database has not heard of. A request that was left
 * in between goes on with the very same bytes. Two batches are in flight, while a
 * backlog waits up to four: one is being signed, the others are checked or
 * committed.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"
#include "daemon/issuer/ca_cache.h"
#include "daemon/issuer/signer_client.h"
#include "db/db.h"

struct event_base;
struct issuance;

struct issue_env {
	struct event_base *base;
	struct db *db;
	struct signer_client *signers;
	struct ca_cache *cache;
	const struct config *config; /* tokens, signer_id, batch */
};

/* env is copied; what it points to must outlive the issuance. idle is called
 * whenever no batch is left. */
struct issuance *issuance_new(
    const struct issue_env *env, void (*idle)(void *arg), void *arg, struct error *e) MUST_CHECK;

/* There may be work: after a hint, on a timer, when a signer came up. */
void issuance_poke(struct issuance *s);

/* Claims nothing more; batches in flight go on. */
void issuance_drain(struct issuance *s);
bool issuance_is_idle(const struct issuance *s);

/* Drops what is in flight; leases end by themselves. NULL is legal. */
void issuance_free(struct issuance *s);

#endif
