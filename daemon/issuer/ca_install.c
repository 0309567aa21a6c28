/* The decision ca-install: the certificate of a CA that waits for it. */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/core/log.h"
#include "daemon/issuer/ca_order_int.h"

/* -------------------------------------------------------------- ca-install */

/* Issuers of ours need not be handed over: those that something in the pool
 * names, until nothing new is found. */
static bool
add_own_issuers(struct chain_pool *pool, const struct ca_cache *cache, struct error *e)
{
	size_t before;

	do {
		before = pool->count;
		for (const struct issuing_ca *own = ca_cache_first(cache); own != NULL;
		     own = ca_cache_next(cache, own)) {
			if (own->context != NULL &&
			    !chain_pool_add_issuer(pool, own->row.certificate, e))
				return false;
			for (size_t i = 0; i < own->row.chain_len; i++) {
				if (!chain_pool_add_issuer(pool, own->row.chain[i], e))
					return false;
			}
		}
	} while (pool->count > before);
	return true;
}

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

/* The signer has to know the certificate before anybody is told that the CA is active. */
static bool
install(struct ca_order *o, const struct issuing_ca *ca, struct error *e)
{
	struct signproto_install m = {.cka_id = ca->row.cka_id, .order = o->kept.order};
	uint64_t id;

	o->chain = calloc(1, sizeof *o->chain);
	if (o->chain == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a chain");
	o->generation_id = ca->row.generation_id;
	return chain_pool_add_pem(&o->pool, o->body, e) &&
	       add_own_issuers(&o->pool, o->env->cache, e) &&
	       chain_build(&o->pool, ca->row.spki, (int64_t)time(NULL), o->chain, e) &&
	       capolicy_check_certificate(&ca->policy, ca->row.spki, &o->chain->certs[0], e) &&
	       signer_ask_install(o->env->signers, ca->row.token, &m, on_installed, o, &id, e);
}

static void
on_loaded(const struct error *err, void *arg)
{
	struct ca_order *o = arg;
	const struct issuing_ca *ca;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		ca_order_end(o, err);
		return;
	}
	ca = ca_cache_find_name(o->env->cache, o->name);
	if (ca == NULL)
		error_set(&e, ERROR_NOT_FOUND, "there is no CA named %s", o->name);
	else if (ca->context != NULL)
		error_set(&e, ERROR_CONFLICT, "CA %s has its certificate already", o->name);
	else if (install(o, ca, &e))
		return;
	ca_order_end(o, &e);
}

bool
ca_order_install(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct ca_order *o = ca_order_new(env, row, statement, done, arg, e);

	if (o == NULL)
		return false;
	if (ca_cache_load(env->cache, on_loaded, o, e))
		return true;
	ca_order_free(o);
	return false;
}
