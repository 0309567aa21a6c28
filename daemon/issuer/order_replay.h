#ifndef CHANCERY_ISSUER_ORDER_REPLAY_H
#define CHANCERY_ISSUER_ORDER_REPLAY_H

/*
 * Brings orders about keys to a signer that was not there when they were carried
 * out: one of several hosts, or one that was off. The signer verifies them like
 * fresh ones, and takes an expired one only where the token vouches for it; what it
 * has already it finds done.
 *
 * A signer that has come is released (signer_client_release) when it was told all.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/issuer/signer_client.h"
#include "db/db.h"

struct order_replay;

struct event_base;

struct order_replay *order_replay_new(struct event_base *base, struct db *db,
    struct signer_client *signers, int signer_id, struct error *e) MUST_CHECK;

/* Looks what the database has that the signers were not told; from time to time. */
void order_replay_look(struct order_replay *r);

/* A signer has come: nothing is known of what it knows. Looks at once. */
void order_replay_signer(struct order_replay *r, const char *token);

void order_replay_drain(struct order_replay *r); /* begins nothing more */
/* After the database and the signers were closed. NULL is legal. */
void order_replay_free(struct order_replay *r);

#endif
