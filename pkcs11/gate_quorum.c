/* The shares of a PIN that several operators bring for one and the same thing. */

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "daemon/core/log.h"
#include "pkcs11/gate_int.h"
#include "pkcs11/store.h"

/* What they agree about: an unlock is as short as the shortest of them says. */
static bool
digest_request(const struct access_entry *entry, uint8_t out[32])
{
	const struct pin_envelope *env = &entry->envelope;
	EVP_MD_CTX *md = EVP_MD_CTX_new();
	uint8_t action = (uint8_t)entry->action;
	bool ok;

	ok = md != NULL && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1 &&
	     EVP_DigestUpdate(md, &action, 1) == 1;
	for (size_t i = 0; i < env->operation_count && ok; i++) {
		const struct pin_operation *o = &env->operations[i];
		uint8_t head[2] = {(uint8_t)o->kind, (uint8_t)o->cka_id_len};

		ok = EVP_DigestUpdate(md, head, sizeof head) == 1 &&
		     EVP_DigestUpdate(md, o->cka_id, o->cka_id_len) == 1 &&
		     EVP_DigestUpdate(md, o->sha256, sizeof o->sha256) == 1;
	}
	ok = ok && EVP_DigestUpdate(md, &env->need, 1) == 1;
	for (size_t i = 0; i < env->holder_count && ok; i++)
		ok = EVP_DigestUpdate(md, env->holders[i], sizeof env->holders[i]) == 1;
	ok = ok && EVP_DigestFinal_ex(md, out, NULL) == 1;
	EVP_MD_CTX_free(md);
	return ok;
}

static void
set_end(struct gate *g, int64_t until_ms)
{
	(void)pthread_mutex_lock(&g->lock);
	g->shares_until_ms = until_ms;
	(void)pthread_mutex_unlock(&g->lock);
}

void
gate_forget_shares(struct gate *g)
{
	OPENSSL_cleanse(&g->quorum, sizeof g->quorum);
	set_end(g, 0);
}

bool
gate_shares_ended(const struct gate *g, struct gate_clock now)
{
	return g->shares_until_ms != 0 && now.boot_ms >= g->shares_until_ms;
}

/* What was brought for something else, or too long ago, or for another split, is over. */
static void
begin_anew(struct gate *g, const uint8_t request[32], const struct pin_shares *s)
{
	struct gate_quorum *q = &g->quorum;
	int64_t now_ms = gate_clock_now().boot_ms;

	if (q->count > 0 && memcmp(q->request, request, sizeof q->request) == 0 &&
	    memcmp(q->split, s->split, sizeof q->split) == 0 &&
	    now_ms - q->begun_ms < STATEMENT_LIFE_PIN_S * 1000)
		return;
	gate_forget_shares(g);
	memcpy(q->request, request, sizeof q->request);
	memcpy(q->split, s->split, sizeof q->split);
	q->begun_ms = now_ms;
	set_end(g, now_ms + STATEMENT_LIFE_PIN_S * 1000);
}

static uint64_t
smaller(uint64_t a, uint64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* 0 stands for no limit. */
static void
shorten(struct gate_quorum *q, const struct pin_envelope *env)
{
	q->until = q->count == 0 || env->until < q->until ? env->until : q->until;
	q->idle_s = (uint32_t)smaller(q->idle_s, env->idle_s);
	q->signatures = smaller(q->signatures, env->signatures);
}

static bool
check_share(const struct access_entry *entry, const struct pin_shares *s, const struct pin *share,
    struct error *e)
{
	const struct pin_envelope *env = &entry->envelope;
	struct bytes octets = {(const uint8_t *)share->text, share->len};

	if (env->share == 0)
		return error_set(e, ERROR_DENIED,
		    "the PIN of token '%s' is split: %u of %zu operators each bring a share",
		    s->token, s->need, s->count);
	if (memcmp(env->split, s->split, sizeof env->split) != 0 || env->share > s->count)
		return error_set(e, ERROR_DENIED, "the share is of another split of the PIN");
	if (memcmp(s->holders[env->share - 1].key_sha256, entry->person->key_sha256, 32) != 0)
		return error_set(
		    e, ERROR_DENIED, "share %u is not that of %s", env->share, entry->person->name);
	return pin_share_check(s, env->share, octets) ||
	       error_set(e, ERROR_DENIED,
		   "the share of %s is not what was committed to when the PIN was split; the token "
		   "was not asked",
		   entry->person->name);
}

static bool
add_share(struct gate_quorum *q, const struct access_entry *entry, const struct pin *share,
    struct error *e)
{
	for (size_t i = 0; i < q->count; i++)
		if (strcmp(q->persons[i], entry->person->name) == 0)
			return error_set(e, ERROR_CONFLICT,
			    "%s has brought a share for this already: two of one person are one",
			    entry->person->name);
	shorten(q, &entry->envelope);
	(void)snprintf(q->persons[q->count], sizeof q->persons[0], "%s", entry->person->name);
	q->numbers[q->count] = entry->envelope.share;
	memcpy(q->octets[q->count], share->text, share->len);
	q->count++;
	return true;
}

/* The shares are wiped, whatever comes of it. */
static bool
combine(struct gate *g, const struct pin_shares *s, struct access_entry *entry, struct pin *pin,
    struct error *e)
{
	struct gate_quorum *q = &g->quorum;
	bool ok;

	pin_clear(pin);
	ok = pin_make(pin, e) && pin_split_combine(s, q->numbers,
				     (const uint8_t(*)[PIN_SHARE_MAX_LEN])q->octets, pin, e);
	entry->envelope.until = q->until;
	entry->envelope.idle_s = q->idle_s;
	entry->envelope.signatures = q->signatures;
	for (size_t i = 0; i < q->count; i++)
		log_info(s->token, "share of the PIN by %s", q->persons[i]);
	gate_forget_shares(g);
	return ok;
}

bool
gate_take_share(struct gate *g, struct access_entry *entry, struct pin *pin, bool *whole,
    char text[ERROR_TEXT_MAX], struct error *e)
{
	const struct pin_envelope *env = &entry->envelope;
	struct error why = ERROR_INIT;
	struct pin_shares s;
	uint8_t request[32];

	/* Of a split that did not come to its end nobody knows which PIN is right: who
	 * entered it says which one it is. */
	g->next = env->share > 0 && pin_split_read(g->o.state_dir, PIN_SHARES_NEXT, &s, &why) &&
		  memcmp(env->split, s.split, sizeof s.split) == 0;
	error_clear(&why);
	*whole = false;
	if (!g->next && !pin_split_read(g->o.state_dir, PIN_SHARES_FILE, &s, &why)) {
		*whole = why.code == ERROR_NOT_FOUND && env->share == 0;
		if (why.code == ERROR_NOT_FOUND)
			return *whole || error_set(e, ERROR_DENIED,
					     "the PIN is not split, and takes no share");
		return error_set(e, why.code, "%s", why.text);
	}
	if (!check_share(entry, &s, pin, e) || !digest_request(entry, request))
		return error_set(e, ERROR_INTERNAL, "cannot digest an entry");
	begin_anew(g, request, &s);
	if (!add_share(&g->quorum, entry, pin, e))
		return false;
	*whole = g->quorum.count >= s.need;
	if (*whole)
		return combine(g, &s, entry, pin, e);
	(void)snprintf(text, ERROR_TEXT_MAX,
	    "the signer took the share of %s: %zu of %u, and the others within ten minutes",
	    entry->person->name, g->quorum.count, s.need);
	return true;
}
