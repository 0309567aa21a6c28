#ifndef CHANCERY_ISSUER_KEPT_ORDER_H
#define CHANCERY_ISSUER_KEPT_ORDER_H

/*
 * What operators ordered, kept beyond the call that brought the decision's row:
 * it goes to the signer several turns of the loop later.
 */

#include "daemon/core/signproto.h"
#include "db/decision.h"

struct kept_order {
	struct signproto_order order; /* points into octets */
	uint8_t *octets;	      /* owned */
};

/* Of a decision that decision_check has passed. On failure there is nothing to
 * drop. */
bool kept_order_take(
    struct kept_order *kept, const struct decision_row *row, struct error *e) MUST_CHECK;
/* The same of an order that is read from elsewhere. */
bool kept_order_copy(
    struct kept_order *kept, const struct signproto_order *order, struct error *e) MUST_CHECK;
void kept_order_drop(struct kept_order *kept); /* a zeroed one is legal */

#endif
