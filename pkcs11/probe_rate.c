#include <openssl/rand.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/core/monotonic.h"
#include "daemon/x509/canon.h"
#include "pkcs11/probe_int.h"
#include "pkcs11/sign.h"

#define RATE_MS 500
#define LATENCIES_MAX 100000 /* kept by each thread of a soak; later ones are counted only */
#define PAUSE_MS 500	     /* between two looks at a token that is away */

/* ---- how many sessions */

void
probe_sessions(struct probe *p)
{
	struct session all[PROBE_THREADS_MAX];
	struct error why = ERROR_INIT;
	size_t n = 0;

	while (
	    n < COUNT_OF(all) && session_open(p->session.f, p->session.slot, false, &all[n], &why))
		n++;
	if (n == COUNT_OF(all))
		probe_line(p, "sessions, by trial", "%zu and perhaps more", n);
	else
		probe_line(p, "sessions, by trial", "%zu: %s", n, why.text);
	while (n > 0)
		session_close(&all[--n]);
}

/* ---- signing with several threads */

struct signers; /* one crowd */

struct one {
	struct signers *all;
	pthread_t thread;
	bool started;
	struct session session;
	uint64_t made;
	uint32_t *latency_us; /* LATENCIES_MAX; NULL: nobody wants to know */
	struct error error;
};

struct signers {
	const struct key *key;
	enum sig_alg alg;
	int64_t until_us;
	bool failed; /* one of them did; relaxed, all look at it */
	struct one one[PROBE_THREADS_MAX];
	unsigned count;
};

/* Each signature is verified, as the signer does it. */
static void *
sign_on(void *arg)
{
	struct one *o = arg;
	uint8_t digest[DIGEST_MAX], signature[SIG_MAX];
	size_t digest_len = sign_trial_len(o->all->alg), len;
	int64_t begun = monotonic_us();

	while (begun < o->all->until_us && !probe_is_interrupted() &&
	       !__atomic_load_n(&o->all->failed, __ATOMIC_RELAXED)) {
		int64_t end;

		if (RAND_bytes(digest, sizeof digest) != 1 ||
		    !sign_digest(&o->session, o->all->key, o->all->alg,
			(struct bytes){digest, digest_len}, signature, &len, &o->error)) {
			__atomic_store_n(&o->all->failed, true, __ATOMIC_RELAXED);
			break;
		}
		end = monotonic_us();
		if (o->latency_us != NULL && o->made < LATENCIES_MAX)
			o->latency_us[o->made] = (uint32_t)(end - begun);
		o->made++;
		begun = end;
	}
	return NULL;
}

/* Runs until until_us, or the first failure, which is then in *e. *made counts also what
 * was made before a failure. */
static bool
sign_together(struct probe *p, struct signers *all, uint64_t *made, struct error *e)
{
	struct error none = ERROR_INIT;
	bool ok = true;

	*made = 0;
	for (unsigned i = 0; i < all->count && ok; i++) {
		struct one *o = &all->one[i];

		o->all = all;
		o->made = 0;
		o->error = none;
		ok = session_open(p->session.f, p->session.slot, false, &o->session, e);
		if (ok && pthread_create(&o->thread, NULL, sign_on, o) != 0)
			ok = error_set(e, ERROR_SYSTEM, "cannot start a thread");
		o->started = ok;
	}
	if (!ok)
		__atomic_store_n(&all->failed, true, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < all->count; i++) {
		struct one *o = &all->one[i];

		if (o->started)
			(void)pthread_join(o->thread, NULL);
		o->started = false;
		*made += o->made;
		if (error_is_set(&o->error))
			ok = error_set(e, o->error.code, "%s", o->error.text);
		session_close(&o->session);
	}
	return ok;
}

static bool
begin(struct probe *p, enum key_alg alg, struct scratch *k, struct signers **all, struct error *e)
{
	*all = calloc(1, sizeof **all);
	if (*all == NULL || !sig_alg_choose(alg, NULL, false, &(*all)->alg))
		return error_set(e, ERROR_SYSTEM, "no memory for a probe");
	return probe_make_key(p, alg, false, k, e);
}

void
probe_rates(struct probe *p, enum key_alg alg)
{
	unsigned most = token_thread_limit(p->token, p->config->threads);
	struct error why = ERROR_INIT;
	struct signers *all = NULL;
	struct scratch k = {0};
	uint64_t made;

	if (!begin(p, alg, &k, &all, &why)) {
		probe_line(p, "signatures", "not tried: %s", why.text);
		goto out;
	}
	for (unsigned n = 1; !probe_is_interrupted(); n = n * 2 < most ? n * 2 : most) {
		char name[64];
		int64_t begun = monotonic_us();

		all->key = &k.key;
		all->count = n;
		all->until_us = begun + RATE_MS * 1000;
		(void)snprintf(
		    name, sizeof name, "%s, %u session%s", key_alg_name(alg), n, n > 1 ? "s" : "");
		if (sign_together(p, all, &made, &why)) {
			probe_line(p, name, "%.0f signatures/s",
			    (double)made * 1e6 / (double)(monotonic_us() - begun));
		} else {
			probe_line(p, name, "fails: %s", why.text);
			break;
		}
		if (n >= most)
			break;
	}
out:
	probe_drop_key(p, &k);
	free(all);
}

/* ---- soaking */

struct soak {
	int64_t until_us;
	uint64_t made, outages;
	int64_t longest_us; /* outage */
	uint32_t *latency_us;
	struct error said; /* of the last attempt; told once */
};

static void
note(struct probe *p, const char *what, const char *text)
{
	char now[CANON_TIME_SIZE];

	canon_time_text((int64_t)time(NULL), now);
	(void)fprintf(p->notes, "%s %s: %s\n", now, what, text);
	(void)fflush(p->notes);
}

/* Until the token is back, the time is over, or somebody interrupts. */
static bool
come_back(struct probe *p, struct soak *s, const struct error *lost)
{
	int64_t since = monotonic_us();
	char text[64];
	bool back = false;

	s->outages++;
	s->said = ERROR_INIT;
	note(p, "away", lost->text);
	while (!back && monotonic_us() < s->until_us && !probe_is_interrupted()) {
		struct error why = ERROR_INIT;

		probe_close(p);
		back = probe_open(p, &why);
		if (!back && strcmp(why.text, s->said.text) != 0)
			note(p, "still away", why.text);
		s->said = why;
		if (!back)
			(void)nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
	}
	if (monotonic_us() - since > s->longest_us)
		s->longest_us = monotonic_us() - since;
	(void)snprintf(text, sizeof text, "after %.1f s", (double)(monotonic_us() - since) / 1e6);
	if (back)
		note(p, "back", text);
	return back;
}

static int
compare_latency(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void
summarise(struct probe *p, const struct soak *s, const struct signers *all)
{
	size_t n = all->one[0].made < LATENCIES_MAX ? all->one[0].made : LATENCIES_MAX;

	probe_line(p, "soak, signatures", "%llu, all verified", (unsigned long long)s->made);
	probe_line(p, "soak, outages", "%llu, the longest %.1f s", (unsigned long long)s->outages,
	    (double)s->longest_us / 1e6);
	if (n == 0)
		return;
	qsort(s->latency_us, n, sizeof s->latency_us[0], compare_latency);
	probe_line(p, "soak, latency", "median %.2f ms, 99%% %.2f ms, worst %.2f ms",
	    s->latency_us[n / 2] / 1e3, s->latency_us[n * 99 / 100] / 1e3,
	    s->latency_us[n - 1] / 1e3);
}

bool
probe_soak(struct probe *p, enum key_alg alg, struct error *e)
{
	struct soak s = {.until_us = monotonic_us() + (int64_t)p->options->soak_s * 1000000};
	struct error lost = ERROR_INIT;
	struct signers *all = NULL;
	struct scratch k = {0};
	uint64_t made = 0;
	bool here = true;

	s.latency_us = calloc(LATENCIES_MAX, sizeof *s.latency_us);
	if (s.latency_us == NULL || !begin(p, alg, &k, &all, e)) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for a soak");
		here = false;
		goto out;
	}
	all->until_us = s.until_us;
	all->one[0].latency_us = s.latency_us;
	while (here && monotonic_us() < s.until_us && !probe_is_interrupted()) {
		all->key = &k.key;
		all->count = token_thread_limit(p->token, p->config->threads);
		all->failed = false;
		error_clear(&lost);
		if (k.key.pkey != NULL || probe_make_key(p, alg, false, &k, &lost)) {
			here = sign_together(p, all, &made, &lost);
			s.made += made;
		} else {
			here = false;
		}
		if (here)
			continue;
		key_clear(&k.key);
		k = (struct scratch){0};
		here = come_back(p, &s, &lost);
	}
	summarise(p, &s, all);
	if (!here)
		(void)error_set(e, ERROR_CONFLICT, "the soak ended without the token: %s",
		    error_is_set(&s.said) ? s.said.text : lost.text);
out:
	if (p->token != NULL)
		probe_drop_key(p, &k);
	free(s.latency_us);
	free(all);
	return here;
}
