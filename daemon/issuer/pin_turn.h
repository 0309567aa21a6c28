#ifndef CHANCERY_ISSUER_PIN_TURN_H
#define CHANCERY_ISSUER_PIN_TURN_H

/*
 * Orders of operators whose token wants a person's PIN for each operation: they
 * are sent when an entry lists them, and wait in the database until then.
 */

#include "daemon/issuer/ca_order.h"
#include "db/pin.h"

/* What an order is about to ask of the signer. */
struct pin_turn {
	const char *token, *ca;
	struct bytes cka_id;	/* that is to sign; empty for an order */
	const char *kind;	/* "order", "csr-info", "certificate" */
	struct bytes tbs;	/* of the last two */
	struct bytes statement; /* of an order */
};

enum pin_turn_outcome {
	PIN_TURN_GO,	 /* ask the signer */
	PIN_TURN_WAITS,	 /* `done` is called once it stands: the decision is then out of hand */
	PIN_TURN_FAILED, /* e says why */
};
enum pin_turn_outcome pin_turn_take(const struct ca_order_env *env, struct decision_key key,
    const struct pin_turn *turn, pin_done_fn *done, void *arg, struct error *e) MUST_CHECK;

#endif
