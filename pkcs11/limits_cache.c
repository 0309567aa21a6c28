#include "pkcs11/limits_cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/log.h"
#include "pkcs11/limits_floor.h"

/* Held by threads or not: more are only in memory while they are held. */
#define KEPT_MAX 64

/* One key's limits. Never changed: what changed becomes another entry. */
struct entry {
	struct key_limits limits; /* first, so that it gives the entry back */
	struct entry *next;
	int64_t compared_ms; /* with what the token remembers */
	unsigned int held;
	bool listed; /* to be found by the next who asks */
};

struct limits_cache {
	const char *state_dir;
	_Atomic uint64_t generation;
	pthread_mutex_t lock; /* for everything below */
	struct entry *entries;
	unsigned int count;
	bool refused;
	char told[ERROR_TEXT_MAX]; /* the last reason in the log: it is there once */
};

struct limits_cache *
limits_cache_new(const char *state_dir)
{
	struct limits_cache *c = calloc(1, sizeof *c);

	if (c == NULL)
		return NULL;
	c->state_dir = state_dir;
	(void)pthread_mutex_init(&c->lock, NULL);
	return c;
}

/* With the lock: off the list; freed now, or by who holds it. */
static void
unlist_all(struct limits_cache *c)
{
	while (c->entries != NULL) {
		struct entry *entry = c->entries;

		c->entries = entry->next;
		entry->listed = false;
		if (entry->held == 0)
			free(entry);
	}
	c->count = 0;
}

void
limits_cache_free(struct limits_cache *c)
{
	if (c == NULL)
		return;
	unlist_all(c);
	(void)pthread_mutex_destroy(&c->lock);
	free(c);
}

/* With the lock. Others that want a key wait: it happens once for each. */
static struct entry *
load(struct limits_cache *c, struct session *s, struct bytes id, int64_t now_ms, struct error *e)
{
	struct entry *entry = malloc(sizeof *entry);

	if (entry == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for a key's limits");
		return NULL;
	}
	if (!limits_floor_load(s, c->state_dir, id, &entry->limits, &c->refused, e)) {
		free(entry);
		return NULL;
	}
	if (c->count >= KEPT_MAX)
		unlist_all(c);
	entry->compared_ms = now_ms;
	entry->held = 0;
	entry->listed = true;
	entry->next = c->entries;
	c->entries = entry;
	c->count++;
	return entry;
}

/* With the lock. What is no longer in force stays listed: it is compared again by the
 * next who asks, and a change takes it off. */
static bool
compare(
    struct limits_cache *c, struct session *s, struct entry *entry, int64_t now_ms, struct error *e)
{
	if (now_ms - entry->compared_ms < LIMITS_CACHE_AGE_MS)
		return true;
	if (!limits_floor_check(s, &entry->limits, &c->refused, e))
		return false;
	entry->compared_ms = now_ms;
	return true;
}

/* With the lock. What waits for it asks again and again. */
static void
tell(struct limits_cache *c, const struct error *why)
{
	if (strcmp(c->told, why->text) == 0)
		return;
	memcpy(c->told, why->text, sizeof c->told);
	log_warning("limits", "%s", why->text);
}

const struct key_limits *
limits_cache_get(
    struct limits_cache *c, struct session *s, struct bytes id, int64_t now_ms, struct error *e)
{
	struct entry *entry;

	struct error why = ERROR_INIT;

	(void)pthread_mutex_lock(&c->lock);
	for (entry = c->entries; entry != NULL; entry = entry->next) {
		if (bytes_equal((struct bytes){entry->limits.id, KEY_ID_LEN}, id))
			break;
	}
	if (entry == NULL)
		entry = load(c, s, id, now_ms, &why);
	else if (!compare(c, s, entry, now_ms, &why))
		entry = NULL;
	if (entry != NULL)
		entry->held++;
	else
		tell(c, &why);
	(void)pthread_mutex_unlock(&c->lock);
	if (entry == NULL)
		(void)error_set_foreign(e, why.code, why.source, why.foreign, "%s", why.text);
	return entry != NULL ? &entry->limits : NULL;
}

void
limits_cache_put(struct limits_cache *c, const struct key_limits *l)
{
	struct entry *entry = (struct entry *)(uintptr_t)l;

	if (l == NULL)
		return;
	(void)pthread_mutex_lock(&c->lock);
	entry->held--;
	if (entry->held == 0 && !entry->listed)
		free(entry);
	(void)pthread_mutex_unlock(&c->lock);
}

uint64_t
limits_cache_generation(struct limits_cache *c)
{
	return atomic_load(&c->generation);
}

void
limits_cache_begin_change(struct limits_cache *c)
{
	(void)pthread_mutex_lock(&c->lock);
}

void
limits_cache_end_change(struct limits_cache *c)
{
	unlist_all(c);
	atomic_fetch_add(&c->generation, 1);
	(void)pthread_mutex_unlock(&c->lock);
}

bool
limits_cache_has_floors(struct limits_cache *c)
{
	bool has;

	(void)pthread_mutex_lock(&c->lock);
	has = !c->refused;
	(void)pthread_mutex_unlock(&c->lock);
	return has;
}
