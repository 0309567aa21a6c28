#include "daemon/issuer/key_end.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/issuer/kept_order.h"
#include "daemon/issuer/pin_turn.h"
#include "db/key_order.h"

struct order {
	const struct ca_order_env *env;
	struct decision_key key;
	ca_ordered_fn *done;
	void *arg;
	struct kept_order kept;
	char ca[STATEMENT_NAME_MAX + 1];
};

static void
order_end(struct order *o, const struct error *why)
{
	ca_ordered_fn *done = o->done;
	void *arg = o->arg;

	kept_order_drop(&o->kept);
	free(o);
	done(why, arg);
}

static void
on_noted(const struct error *err, void *arg)
{
	order_end(arg, err);
}

static void
on_destroyed(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct order *o = arg;
	struct error e = ERROR_INIT;

	if (failure != NULL) {
		order_end(o, failure);
		return;
	}
	log_info(o->ca, "a key of it is destroyed");
	if (key_end_note(o->env->db, o->key.id, o->key.epoch, on_noted, o, &e) == NULL)
		order_end(o, &e);
}

static bool
ask_signer(struct order *o, const struct key_ending *key, struct error *e)
{
	const struct signproto_key_destroy m = {.cka_id = key->cka_id, .order = o->kept.order};
	const struct pin_turn turn = {
	    .token = key->token, .ca = o->ca, .kind = "order", .statement = m.order.statement};
	enum pin_turn_outcome now = pin_turn_take(o->env, o->key, &turn, on_noted, o, e);
	uint64_t id;

	if (now != PIN_TURN_GO)
		return now == PIN_TURN_WAITS;
	return signer_ask_destroy(o->env->signers, key->token, &m, on_destroyed, o, &id, e);
}

static void
on_begun(const struct key_ending *key, const struct error *err, void *arg)
{
	struct order *o = arg;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		order_end(o, err);
		return;
	}
	if (key->obstacle != NULL)
		(void)error_set(&e, ERROR_CONFLICT, "%s", key->obstacle);
	else if (ask_signer(o, key, &e))
		return;
	order_end(o, &e);
}

bool
key_end_order(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct order *o = calloc(1, sizeof *o);

	if (o == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating an order about a key");
	*o = (struct order){.env = env, .key = row->key, .done = done, .arg = arg};
	memcpy(o->ca, statement->object, sizeof o->ca);
	if (kept_order_take(&o->kept, row, e) &&
	    key_end_begin(env->db, row->key.id, row->key.epoch, on_begun, o, e) != NULL)
		return true;
	kept_order_drop(&o->kept);
	free(o);
	return false;
}
