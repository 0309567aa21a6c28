#ifndef CHANCERY_ISSUER_CHAIN_WATCH_H
#define CHANCERY_ISSUER_CHAIN_WATCH_H

/*
 * Whether the CAs' own certificates lead to a root that is installed here: in their
 * chains, or another CA of this service. One that does not issues nothing, since nobody
 * could verify it: its requests wait. CRLs go on, because what was issued before is still
 * relied upon by those who have the chain. Where a CA issues nothing for another reason
 * (ca_row.stopped), that is said here, too.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/issuer/chain.h"

struct ca_cache;

/* Adds to a pool the certificates of the CAs here, and of their chains, that are the
 * issuers of something in it. */
bool chain_pool_add_cas(
    struct chain_pool *pool, const struct ca_cache *cache, struct error *e) MUST_CHECK;

/* Looks at each CA that is new, or was not looked at for some minutes: notes it in the
 * entry (unchained), and in the log when it has changed. now: seconds since 1970. */
void chain_watch(const struct ca_cache *cache, int64_t now);

#endif
