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
 * in between goes on with the very same bytes. Where a person's PIN is wanted for each
 * signature it waits between begin and sign, and an entry of a PIN claims what it lists. Two
 * batches are in flight, while a backlog waits up to four: one is being signed, the others are
 * checked or committed.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"
#include "daemon/issuer/ca_cache.h"
#include "daemon/issuer/signer_client.h"
#include "daemon/issuer/token_access.h"
#include "db/db.h"

struct event_base;
struct issuance;

struct issue_env {
	struct event_base *base;
	struct db *db;
	struct signer_client *signers;
	struct ca_cache *cache;
	const struct config *config; /* tokens, signer_id, batch */
	struct token_access *access;
};

/* env is copied; what it points to must outlive the issuance. idle is called
 * whenever no batch is left. */
struct issuance *issuance_new(
    const struct issue_env *env, void (*idle)(void *arg), void *arg, struct error *e) MUST_CHECK;

/* The clock is in doubt: nothing more is claimed while this holds. */
void issuance_hold(struct issuance *s, bool held);

/* There may be work: after a hint, on a timer, when a signer came up. */
void issuance_poke(struct issuance *s);

/* An entry was accepted for this token that lists these: what waits here of it is signed,
 * within ISSUANCE_LISTED_S. */
#define ISSUANCE_LISTED_S 50
bool issuance_sign_listed(struct issuance *s, const char *token, const struct pin_digests *digests,
    struct error *e) MUST_CHECK;

/* Claims nothing more; batches in flight go on. */
void issuance_drain(struct issuance *s);
bool issuance_is_idle(const struct issuance *s);

/* Drops what is in flight; leases end by themselves. NULL is legal. */
void issuance_free(struct issuance *s);

#endif
