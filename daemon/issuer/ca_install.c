/* The decision ca-install: the certificate of a CA that waits for it. */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/core/log.h"
#include "daemon/issuer/ca_order_int.h"
#include "daemon/issuer/chain_watch.h"

/* -------------------------------------------------------------- ca-install */

static void
on_installed(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct ca_order *o = arg;
	struct error e = ERROR_INIT;

	if (failure != NULL)
		ca_order_end(o, failure);
	else if (!ca_order_activate(o, o->chain, false, &e))
		ca_order_end(o, &e);
}

/* What is installed in place of another one must be as good. */
static bool
check_renewed(const struct ca_order *o, const struct certificate *old,
    const struct certificate *fresh, struct error *e)
{
	char ends[CANON_TIME_SIZE], ended[CANON_TIME_SIZE];

	if (bytes_equal(old->whole, fresh->whole))
		return error_set(e, ERROR_CONFLICT,
		    "this is the certificate of CA %s that is in force already", o->name);
	canon_time_text(fresh->not_after, ends);
	canon_time_text(old->not_after, ended);
	if (fresh->not_after < old->not_after)
		return error_set(e, ERROR_INPUT,
		    "the certificate ends at %s, earlier than the one in force, which ends at %s",
		    ends, ended);
	if (fresh->path_length >= 0 &&
	    (old->path_length < 0 || fresh->path_length < old->path_length))
		return error_set(e, ERROR_INPUT,
		    "RFC 5280 4.2.1.9: the certificate's pathLenConstraint is %d, and that of the "
		    "one in force %s: what CA %s issued would no longer be valid",
		    fresh->path_length, old->path_length < 0 ? "is absent" : "is greater", o->name);
	return true;
}

static bool
check_certificate(
    struct ca_order *o, const struct issuing_ca *ca, struct bytes spki, struct error *e)
{
	const struct certificate *fresh = &o->chain->certs[0];
	struct certificate old;

	if (!capolicy_check_certificate(&o->policy, spki, fresh, e))
		return false;
	return ca->context == NULL || (certificate_parse(ca->row.certificate, &old, e) &&
					  check_renewed(o, &old, fresh, e));
}

static bool
ask_signer(struct ca_order *o, const struct ca_waiting *w, struct error *e)
{
	const struct signproto_install m = {.cka_id = w->cka_id, .order = o->kept.order};
	enum pin_turn_outcome now = ca_order_turn(o, w->token, o->name, e);
	uint64_t id;

	if (now != PIN_TURN_GO)
		return now == PIN_TURN_WAITS;
	return signer_ask_install(o->env->signers, w->token, &m, on_installed, o, &id, e);
}

/* The signer has to know the certificate before anybody is told that the CA is active. */
static bool
install(struct ca_order *o, const struct ca_waiting *w, struct error *e)
{
	const struct issuing_ca *ca = ca_cache_find_name(o->env->cache, o->name);
	struct certificate own;

	if (ca == NULL)
		return error_set(e, ERROR_NOT_FOUND, "there is no CA named %s", o->name);
	if (w->generation_id == 0)
		return error_set(
		    e, ERROR_CONFLICT, "CA %s does not wait for a certificate", o->name);
	o->chain = calloc(1, sizeof *o->chain);
	if (o->chain == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a chain");
	o->generation_id = w->generation_id;
	o->certificate_index = w->certificate_index;
	o->key_index = w->key_index;
	if (!capolicy_parse(w->policy, strlen(w->policy), o->name, &o->policy, e))
		return false;
	/* It is among what was handed over, and not one that the CA had before. */
	return chain_pool_add_pem(&o->pool, o->body, e) &&
	       chain_find_own(&o->pool, w->spki, &own, e) &&
	       /* Issuers of ours need not be handed over. */
	       chain_pool_add_cas(&o->pool, o->env->cache, e) &&
	       chain_build(&o->pool, w->spki, (int64_t)time(NULL), o->chain, e) &&
	       check_certificate(o, ca, w->spki, e) && ask_signer(o, w, e);
}

static void
on_waiting(const struct ca_waiting *waiting, const struct error *err, void *arg)
{
	struct ca_order *o = arg;
	struct error e = ERROR_INIT;

	if (err != NULL)
		ca_order_end(o, err);
	else if (!install(o, waiting, &e))
		ca_order_end(o, &e);
}

static bool
find_waiting(struct ca_order *o, const struct issuing_ca *ca, struct error *e)
{
	return ca_find_waiting(o->env->db, ca->row.ca_id, on_waiting, o, e) != NULL;
}

bool
ca_order_install(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct ca_order *o = ca_order_new(env, row, statement, done, arg, e);

	if (o == NULL)
		return false;
	if (ca_order_load(o, find_waiting, e))
		return true;
	ca_order_free(o);
	return false;
}
