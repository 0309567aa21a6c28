#include "daemon/issuer/kept_order.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/issuer/decision_check.h"

/* Moves a slice to *at and *at behind it. */
static void
keep(uint8_t **at, struct bytes *slice)
{
	if (slice->len > 0)
		memcpy(*at, slice->p, slice->len);
	slice->p = *at;
	*at += slice->len;
}

bool
kept_order_copy(struct kept_order *kept, const struct signproto_order *order, struct error *e)
{
	struct signproto_order *o = &kept->order;
	uint8_t *at;
	size_t len;

	*o = *order;
	len = o->statement.len + o->body.len;
	for (size_t i = 0; i < o->signature_count; i++)
		len += o->signatures[i].spki.len + o->signatures[i].signature.len;
	kept->octets = malloc(len > 0 ? len : 1);
	if (kept->octets == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating what operators ordered");
	at = kept->octets;
	keep(&at, &o->statement);
	keep(&at, &o->body);
	for (size_t i = 0; i < o->signature_count; i++) {
		keep(&at, &o->signatures[i].spki);
		keep(&at, &o->signatures[i].signature);
	}
	return true;
}

bool
kept_order_take(struct kept_order *kept, const struct decision_row *row, struct error *e)
{
	struct signproto_order order;

	decision_order(row, &order);
	return kept_order_copy(kept, &order, e);
}

void
kept_order_drop(struct kept_order *kept)
{
	free(kept->octets);
	*kept = (struct kept_order){0};
}
