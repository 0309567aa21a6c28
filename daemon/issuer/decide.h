#ifndef CHANCERY_ISSUER_DECIDE_H
#define CHANCERY_ISSUER_DECIDE_H

/*
 * The queue of operators' decisions: each is claimed, verified
 * (decision_check.h), and then applied or refused, with the reason in its row.
 */

#include <sys/types.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/issuer/ca_cache.h"
#include "daemon/issuer/ca_order.h"
#include "daemon/issuer/crl_calendar.h"
#include "db/db.h"

struct event_base;
struct decider;

struct decide_env {
	struct event_base *base;
	struct db *db;
	struct ca_cache *cache;
	struct crl_calendar *calendar;
	struct ca_order_env orders;
	uid_t own_uid;
};

/* env is copied; what it points to must outlive the decider. idle is called
 * whenever nothing is being worked on. */
struct decider *decider_new(
    const struct decide_env *env, void (*idle)(void *arg), void *arg, struct error *e) MUST_CHECK;
/* There may be work. */
void decider_poke(struct decider *d);
/* The clock is in doubt, or right again: orders by which a CA signs something with the
 * time, or judges a certificate by it, wait meanwhile. */
void decider_hold(struct decider *d, bool held);
/* Claims nothing more; what is in hand goes on. */
void decider_drain(struct decider *d);
bool decider_is_idle(const struct decider *d);
/* After the database and the signers were closed, which ends what is in hand.
 * NULL is legal. */
void decider_free(struct decider *d);

#endif
