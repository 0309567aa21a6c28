#include "daemon/issuer/key_end.h"

#include "daemon/core/log.h"
#include "daemon/issuer/ca_order_int.h"
#include "db/key_order.h"

static void
on_destroyed(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct ca_order *o = arg;
	struct error e = ERROR_INIT;

	if (failure != NULL) {
		ca_order_end(o, failure);
		return;
	}
	log_info(o->name, "a key of it is destroyed");
	if (key_end_note(o->env->db, o->key.id, o->key.epoch, ca_order_closed, o, &e) == NULL)
		ca_order_end(o, &e);
}

static bool
ask_signer(struct ca_order *o, const struct key_ending *key, struct error *e)
{
	const struct signproto_key_destroy m = {.cka_id = key->cka_id, .order = o->kept.order};
	enum pin_turn_outcome now = ca_order_turn(o, key->token, o->name, e);
	uint64_t id;

	if (now != PIN_TURN_GO)
		return now == PIN_TURN_WAITS;
	return signer_ask_destroy(o->env->signers, key->token, &m, on_destroyed, o, &id, e);
}

static void
on_begun(const struct key_ending *key, const struct error *err, void *arg)
{
	struct ca_order *o = arg;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		ca_order_end(o, err);
		return;
	}
	if (key->obstacle != NULL)
		(void)error_set(&e, ERROR_CONFLICT, "%s", key->obstacle);
	else if (ask_signer(o, key, &e))
		return;
	ca_order_end(o, &e);
}

bool
key_end_order(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct ca_order *o = ca_order_new(env, row, statement, done, arg, e);

	if (o == NULL)
		return false;
	if (key_end_begin(env->db, row->key.id, row->key.epoch, on_begun, o, e) != NULL)
		return true;
	ca_order_free(o);
	return false;
}
