#include "daemon/issuer/chain_watch.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/issuer/ca_cache.h"

#define LOOK_S 300

bool
chain_pool_add_cas(struct chain_pool *pool, const struct ca_cache *cache, struct error *e)
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

/* Its chain as it was installed first; where that no longer holds, as when a root was
 * renewed, what the CAs here have instead. */
static bool
check(const struct issuing_ca *ca, const struct ca_cache *cache, int64_t now, struct error *e)
{
	struct chain *chain = malloc(sizeof *chain);
	struct chain_pool pool = {.count = 0};
	bool ok;

	if (chain == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a chain");
	ok = chain_pool_add(&pool, ca->row.certificate, e);
	for (size_t i = 0; ok && i < ca->row.chain_len; i++)
		ok = chain_pool_add(&pool, ca->row.chain[i], e);
	ok = ok && chain_pool_add_cas(&pool, cache, e) &&
	     chain_build(&pool, ca->row.spki, now, chain, e);
	chain_pool_free(&pool);
	free(chain);
	return ok;
}

static void
look(struct issuing_ca *ca, const struct ca_cache *cache, int64_t now)
{
	bool first = ca->chain_seen == 0, was = ca->unchained;
	struct error e = ERROR_INIT;

	/* Another reason is another entry. */
	if (first && ca->row.stopped != NULL)
		log_error(ca->row.name, "%s; its CRLs go on", ca->row.stopped);
	if (!first && now >= ca->chain_seen && now - ca->chain_seen < LOOK_S)
		return;
	ca->chain_seen = now;
	ca->unchained = !check(ca, cache, now, &e);
	if (ca->unchained && (first || !was))
		log_error(ca->row.name,
		    "issues nothing until its chain leads to an installed root again; its requests "
		    "wait, and its CRLs go on: %s",
		    e.text);
	else if (!ca->unchained && was)
		log_info(ca->row.name, "its chain leads to an installed root again");
}

void
chain_watch(const struct ca_cache *cache, int64_t now)
{
	struct issuing_ca *const *cas;
	size_t count;

	cas = ca_cache_all(cache, &count);
	for (size_t i = 0; i < count; i++) {
		if (cas[i]->context != NULL)
			look(cas[i], cache, now);
	}
}
