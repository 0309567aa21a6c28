#include "pkcs11/worker_int.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"
#include "pkcs11/ckr.h"

/* Keys that a thread remembers before it starts afresh. */
#define KEYS_KNOWN_MAX 64

/* Who is past the gate is logged in. */
bool
worker_must_be_logged_in(const struct worker *w)
{
	return w->pool->place.stays_logged_in || w->pool->place.gate != NULL;
}

bool
worker_check_login(struct worker *w, struct error *e)
{
	return !worker_must_be_logged_in(w) || session_check_login(&w->session, e);
}

void
worker_forget_key(struct worker *w, struct known_key *k)
{
	limits_cache_put(w->pool->limits, k->limits);
	key_clear(&k->key);
	free(k);
}

void
worker_forget_keys(struct worker *w)
{
	while (w->keys != NULL) {
		struct known_key *k = w->keys;

		w->keys = k->next;
		worker_forget_key(w, k);
	}
	w->key_count = 0;
	free(w->own_keys);
	w->own_keys = NULL;
}

/* A key that is not found is missing only for those who are logged in. */
static bool
find_on_token(struct worker *w, struct bytes id, struct key *key, struct error *e)
{
	struct error why = ERROR_INIT;

	if (key_find(&w->session, id, key, &why))
		return true;
	if (error_is_retryable(&why) || ckr_class_of(&why) != CKR_CLASS_OK ||
	    worker_check_login(w, e))
		(void)error_set_foreign(e, why.code, why.source, why.foreign, "%s", why.text);
	return false;
}

struct known_key *
worker_load_key(struct worker *w, struct bytes id, struct error *e)
{
	struct known_key *k = calloc(1, sizeof *k);
	struct error why = ERROR_INIT;
	uint8_t digest[32];

	if (k == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for a key");
		return NULL;
	}
	k->limits = limits_cache_get(w->pool->limits, &w->session, id, monotonic_ms(), e);
	if (k->limits == NULL || !find_on_token(w, id, &k->key, e) ||
	    !spki_sha256(&k->key.spki, digest, e))
		goto fail;
	if (memcmp(digest, k->limits->spki_sha256, sizeof digest) != 0) {
		(void)error_set(e, ERROR_DENIED,
		    "the key on the token is not the one that its limits were made for; it signs "
		    "nothing");
		goto fail;
	}
	/* Another signer may have made it. Where the journal cannot tell that, the
	 * key stays closed, and every use of it says so. */
	if (!journal_add_key(
		w->pool->place.journal, id, JOURNAL_KEY_FOUND, journal_clock_now(), &why))
		log_failure(LOG_LEVEL_DEBUG, token_info(w->pool->token)->label, &why);
	return k;
fail:
	worker_forget_key(w, k);
	return NULL;
}

const struct known_key *
worker_find_key(struct worker *w, struct bytes id, struct error *e)
{
	uint64_t generation = limits_cache_generation(w->pool->limits);
	uint64_t login = w->pool->place.gate != NULL ? gate_generation(w->pool->place.gate) : 0;
	int64_t now_ms = monotonic_ms();
	struct known_key *k;

	if (w->generation != generation || w->login != login || w->key_count >= KEYS_KNOWN_MAX ||
	    now_ms - w->known_ms >= LIMITS_CACHE_AGE_MS) {
		worker_forget_keys(w);
		w->known_ms = now_ms;
	}
	w->generation = generation;
	w->login = login;
	for (k = w->keys; k != NULL; k = k->next) {
		if (bytes_equal((struct bytes){k->limits->id, KEY_ID_LEN}, id))
			return k;
	}
	k = worker_load_key(w, id, e);
	if (k == NULL)
		return NULL;
	k->next = w->keys;
	w->keys = k;
	w->key_count++;
	return k;
}
