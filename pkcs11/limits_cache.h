#ifndef CHANCERY_PKCS11_LIMITS_CACHE_H
#define CHANCERY_PKCS11_LIMITS_CACHE_H

/*
 * The limits of keys that are in use, shared by the threads that sign: read and
 * verified once, and anew when an order has changed them. What the token remembers is
 * asked again from time to time: a key may have several signers, on several hosts, and
 * another one may have got newer limits for it.
 */

#include "pkcs11/limits.h"
#include "pkcs11/session.h"

/* What was got is good for so long. */
#define LIMITS_CACHE_AGE_MS (60 * 1000)

struct limits_cache;

/* state_dir must outlive it. NULL when out of memory. */
struct limits_cache *limits_cache_new(const char *state_dir);
/* Nothing may be held any more. NULL is legal. */
void limits_cache_free(struct limits_cache *c);

/* The limits in force, compared with what the token remembers (limits_floor.h). Held
 * until limits_cache_put; NULL with an error. s: the calling thread's. now_ms: a clock
 * that only goes forward. */
const struct key_limits *limits_cache_get(struct limits_cache *c, struct session *s,
    struct bytes id, int64_t now_ms, struct error *e) MUST_CHECK;
void limits_cache_put(struct limits_cache *c, const struct key_limits *l); /* NULL is legal */

/* Between these two the files and what the token remembers may change: nobody reads
 * them, and afterwards all is read anew. */
void limits_cache_begin_change(struct limits_cache *c);
void limits_cache_end_change(struct limits_cache *c);

/* A number that rises with each change: what was got under another one may be out of
 * date. */
uint64_t limits_cache_generation(struct limits_cache *c);

/* False once the token has refused to remember versions. */
bool limits_cache_has_floors(struct limits_cache *c);

#endif
