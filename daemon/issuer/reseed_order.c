#include "daemon/issuer/reseed_order.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/issuer/kept_order.h"
#include "daemon/issuer/pin_turn.h"
#include "daemon/x509/reseed.h"

struct order {
	const struct ca_order_env *env;
	struct decision_key key;
	ca_ordered_fn *done;
	void *arg;
	struct kept_order kept;
	char token[STATEMENT_NAME_MAX + 1];
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
on_applied(const struct error *err, void *arg)
{
	order_end(arg, err);
}

static void
on_reseeded(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct order *o = arg;
	struct error e = ERROR_INIT;

	if (failure != NULL) {
		order_end(o, failure);
		return;
	}
	log_info(o->token, "its journal goes on where the operators said");
	if (decision_apply_reseed(o->env->db, o->key, o->token, o->env->config->issuer.signer_id,
		on_applied, o, &e) == NULL)
		order_end(o, &e);
}

static bool
ask_signer(struct order *o, struct error *e)
{
	const struct signproto_reseed m = {.order = o->kept.order};
	const struct pin_turn turn = {
	    .token = o->token, .ca = "-", .kind = "order", .statement = m.order.statement};
	enum pin_turn_outcome now = pin_turn_take(o->env, o->key, &turn, on_applied, o, e);
	uint64_t id;

	if (now != PIN_TURN_GO)
		return now == PIN_TURN_WAITS;
	return signer_ask_reseed(o->env->signers, o->token, &m, on_reseeded, o, &id, e);
}

/* Whether the document is for a signer of ours. */
static bool
check(const struct ca_order_env *env, const struct decision_row *row, const char *token,
    struct error *e)
{
	struct reseed *r = malloc(sizeof *r);
	bool ok;

	if (r == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a reseed document");
	ok = reseed_parse(row->body, strlen(row->body), r, e);
	if (ok && strcmp(r->token, token) != 0)
		ok = error_set(e, ERROR_INPUT,
		    "the statement is about token %s, the document beside it about %s", token,
		    r->token);
	else if (ok && r->signer_id != env->config->issuer.signer_id)
		ok = error_set(e, ERROR_UNAVAILABLE,
		    "this is for signer %u, whose issuer has to carry it out",
		    (unsigned)r->signer_id);
	else if (ok && config_find_token(env->config, token) == NULL)
		ok = error_set(e, ERROR_INPUT,
		    "the configuration of this host, whose signer is %u, has no token %s",
		    (unsigned)r->signer_id, token);
	free(r);
	return ok;
}

bool
reseed_order(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct order *o;

	if (row->body == NULL || !check(env, row, statement->object, e))
		return false;
	o = calloc(1, sizeof *o);
	if (o == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating an order about a signer");
	*o = (struct order){.env = env, .key = row->key, .done = done, .arg = arg};
	memcpy(o->token, statement->object, sizeof o->token);
	if (kept_order_take(&o->kept, row, e) && ask_signer(o, e))
		return true;
	kept_order_drop(&o->kept);
	free(o);
	return false;
}
