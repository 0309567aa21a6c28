#include "daemon/issuer/reseed_order.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/issuer/ca_order_int.h"
#include "daemon/x509/reseed.h"

static void
on_reseeded(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct ca_order *o = arg;
	struct error e = ERROR_INIT;

	if (failure != NULL) {
		ca_order_end(o, failure);
		return;
	}
	log_info(o->name, "its journal goes on where the operators said");
	if (decision_apply_reseed(o->env->db, o->key, o->name, o->env->config->issuer.signer_id,
		ca_order_closed, o, &e) == NULL)
		ca_order_end(o, &e);
}

static bool
ask_signer(struct ca_order *o, struct error *e)
{
	const struct signproto_reseed m = {.order = o->kept.order};
	enum pin_turn_outcome now = ca_order_turn(o, o->name, "-", e);
	uint64_t id;

	if (now != PIN_TURN_GO)
		return now == PIN_TURN_WAITS;
	return signer_ask_reseed(o->env->signers, o->name, &m, on_reseeded, o, &id, e);
}

/* Whether the document is for a signer of ours. */
static bool
check(const struct ca_order *o, struct error *e)
{
	const struct config *config = o->env->config;
	struct reseed *r = malloc(sizeof *r);
	bool ok;

	if (r == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a reseed document");
	ok = reseed_parse(o->body, strlen(o->body), r, e);
	if (ok && strcmp(r->token, o->name) != 0)
		ok = error_set(e, ERROR_INPUT,
		    "the statement is about token %s, the document beside it about %s", o->name,
		    r->token);
	else if (ok && r->signer_id != config->issuer.signer_id)
		ok = error_set(e, ERROR_UNAVAILABLE,
		    "this is for signer %u, whose issuer has to carry it out",
		    (unsigned)r->signer_id);
	else if (ok && config_find_token(config, o->name) == NULL)
		ok = error_set(e, ERROR_INPUT,
		    "the configuration of this host, whose signer is %u, has no token %s",
		    (unsigned)r->signer_id, o->name);
	free(r);
	return ok;
}

bool
reseed_order(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct ca_order *o = ca_order_new(env, row, statement, done, arg, e);

	if (o == NULL)
		return false;
	if (check(o, e) && ask_signer(o, e))
		return true;
	ca_order_free(o);
	return false;
}
