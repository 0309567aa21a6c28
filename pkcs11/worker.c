#include "pkcs11/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "daemon/core/log.h"
#include "daemon/x509/cert.h"
#include "pkcs11/ckr.h"
#include "pkcs11/duty.h"
#include "pkcs11/journal_anchor.h"
#include "pkcs11/limits_cache.h"
#include "pkcs11/orders.h"
#include "pkcs11/sign.h"

/* Keys that a thread remembers before it starts afresh. */
#define KEYS_KNOWN_MAX 64
/* While more jobs wait, the loop is woken this often and no more; and the disk is
 * asked to take signatures this often. */
#define WAKE_NS 1000000
/* What may pass by itself (CKR_CLASS_RETRY) is tried so often, with growing pauses. */
#define TRIES_MAX 3
#define PAUSE_MS 20
#define RELEASE_NS 2000000

struct known_key {
	struct known_key *next;
	const struct key_limits *limits; /* held in the pool's cache */
	struct key key;
};

struct worker {
	struct pool *pool;
	pthread_t thread;
	bool started;
	struct session session;
	struct known_key *keys;
	unsigned int key_count;
	uint8_t (*own_keys)[32]; /* of all that have limits; NULL: not read yet */
	size_t own_key_count;
	uint64_t generation; /* of the limits that the keys were known under ... */
	uint64_t login;	     /* ... and of the login ... */
	int64_t known_ms;    /* ... and since when */
};

struct pool {
	struct token *token;
	struct pool_place place;
	struct limits_cache *limits;
	pthread_mutex_t orders; /* one at a time */
	pthread_mutex_t crls;	/* likewise, from the duty to the signature */
	int wake_fd;
	struct worker *workers;
	unsigned int count;
	pthread_t releaser;
	bool releasing; /* the releaser was started */

	pthread_mutex_t lock; /* for everything below */
	pthread_cond_t work, release;
	struct job *queue, **queue_end;
	struct job *made, **made_end; /* signed, not yet in the journal */
	struct job *done, **done_end;
	int64_t woken_ns;    /* when the loop was last woken */
	int64_t released_ns; /* when the releaser last began */
	bool stopping;
	bool last_made; /* no thread will sign any more: the releaser may end */
	enum pool_failure failed;
	struct error failure;
};

struct job *
job_new(enum job_kind kind, struct bytes id, struct bytes input)
{
	struct job *job = calloc(1, sizeof *job);

	if (job == NULL || id.len > sizeof job->id)
		goto fail;
	job->kind = kind;
	if (id.len > 0)
		memcpy(job->id, id.p, id.len);
	job->id_len = id.len;
	if (input.len > 0) {
		job->input = malloc(input.len);
		if (job->input == NULL)
			goto fail;
		memcpy(job->input, input.p, input.len);
		job->input_len = input.len;
	}
	return job;
fail:
	free(job);
	return NULL;
}

void
job_free(struct job *job)
{
	if (job == NULL)
		return;
	free(job->input);
	free(job->whole);
	free(job);
}

int64_t
job_clock_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* ---- keys that a thread knows */

/* Who is past the gate is logged in. */
static bool
must_be_logged_in(const struct worker *w)
{
	return w->pool->place.stays_logged_in || w->pool->place.gate != NULL;
}

static bool
check_login(struct worker *w, struct error *e)
{
	return !must_be_logged_in(w) || session_check_login(&w->session, e);
}

static void
forget_key(struct worker *w, struct known_key *k)
{
	limits_cache_put(w->pool->limits, k->limits);
	key_clear(&k->key);
	free(k);
}

static void
forget_keys(struct worker *w)
{
	while (w->keys != NULL) {
		struct known_key *k = w->keys;

		w->keys = k->next;
		forget_key(w, k);
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
	if (error_is_retryable(&why) || ckr_class_of(&why) != CKR_CLASS_OK || check_login(w, e))
		(void)error_set_foreign(e, why.code, why.source, why.foreign, "%s", why.text);
	return false;
}

static struct known_key *
load_key(struct worker *w, struct bytes id, struct error *e)
{
	struct known_key *k = calloc(1, sizeof *k);
	struct error why = ERROR_INIT;
	uint8_t digest[32];

	if (k == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for a key");
		return NULL;
	}
	k->limits = limits_cache_get(w->pool->limits, &w->session, id, job_clock_ms(), e);
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
	forget_key(w, k);
	return NULL;
}

static const struct known_key *
find_key(struct worker *w, struct bytes id, struct error *e)
{
	uint64_t generation = limits_cache_generation(w->pool->limits);
	uint64_t login = w->pool->place.gate != NULL ? gate_generation(w->pool->place.gate) : 0;
	int64_t now_ms = job_clock_ms();
	struct known_key *k;

	if (w->generation != generation || w->login != login || w->key_count >= KEYS_KNOWN_MAX ||
	    now_ms - w->known_ms >= LIMITS_CACHE_AGE_MS) {
		forget_keys(w);
		w->known_ms = now_ms;
	}
	w->generation = generation;
	w->login = login;
	for (k = w->keys; k != NULL; k = k->next) {
		if (bytes_equal((struct bytes){k->limits->id, KEY_ID_LEN}, id))
			return k;
	}
	k = load_key(w, id, e);
	if (k == NULL)
		return NULL;
	k->next = w->keys;
	w->keys = k;
	w->key_count++;
	return k;
}

/* ---- jobs */

static bool
put_output(struct job *job, struct bytes b)
{
	if (b.len > sizeof job->output)
		return error_set(&job->error, ERROR_INTERNAL, "an answer of %zu octets", b.len);
	memcpy(job->output, b.p, b.len);
	job->output_len = b.len;
	return true;
}

static struct orders_env
orders_env_of(const struct pool *p)
{
	return (struct orders_env){
	    .journal = p->place.journal,
	    .state_dir = p->place.state_dir,
	    .token = p->place.token,
	    .signer_id = p->place.signer_id,
	    .now = (int64_t)time(NULL),
	};
}

/* What was let through by other limits than those in force now has to come again. */
static bool
check_limits(const struct known_key *k, const struct job *job, struct error *e)
{
	if (job->kind != JOB_SIGN_DIGEST ||
	    memcmp(job->limits_sha256, k->limits->document_sha256, sizeof job->limits_sha256) == 0)
		return true;
	return error_set(e, ERROR_UNAVAILABLE,
	    "the limits of CA %s changed while the structure came; send it again",
	    k->limits->document.ca);
}

/* A root's own certificate says how long it may sign. */
static bool
note_own_certificate(struct worker *w, struct job *job, struct bytes tbs, struct error *e)
{
	struct orders_env env = orders_env_of(w->pool);
	bool ok;

	(void)pthread_mutex_lock(&w->pool->orders);
	limits_cache_begin_change(w->pool->limits);
	ok = orders_note_root(&w->session, &env, (struct bytes){job->id, job->id_len}, tbs,
	    job->use.has_decision ? job->use.decision_issued : 0, e);
	limits_cache_end_change(w->pool->limits);
	(void)pthread_mutex_unlock(&w->pool->orders);
	return ok;
}

static bool
guard_structure(
    struct worker *w, const struct known_key *k, struct job *job, const struct signproto_sign *m)
{
	struct guard_request r = {
	    .key = k->limits,
	    .signer_id = w->pool->place.signer_id,
	    .now = (int64_t)time(NULL),
	    .kind = m->kind,
	    .alg = job->alg,
	    .tbs = m->tbs,
	    .template = m->template,
	    .csr = m->csr,
	    .statement = m->statement,
	    .signature = m->signature,
	    .spki = m->spki,
	    .order = m->order.signature_count > 0 ? &m->order : NULL,
	};

	if (w->own_keys == NULL && !key_limits_list_keys(w->pool->place.state_dir, &w->own_keys,
				       &w->own_key_count, &job->error))
		return false;
	r.own_keys = (const uint8_t(*)[32])w->own_keys;
	r.own_key_count = w->own_key_count;
	return guard_check(&r, &job->use, &job->error);
}

/* What was streamed has been before the guard already. */
static bool
check_structure(struct worker *w, const struct known_key *k, struct job *job)
{
	struct signproto_sign m;

	if (job->kind == JOB_SIGN_DIGEST)
		return true;
	return signproto_get_sign((struct bytes){job->input, job->input_len}, &m, &job->error) &&
	       guard_structure(w, k, job, &m) &&
	       (!job->use.own || note_own_certificate(w, job, m.tbs, &job->error));
}

/* What is wrong with a key's limits may be put right: what is to be signed waits. */
static const struct known_key *
find_key_to_sign(struct worker *w, struct job *job)
{
	const struct known_key *k = find_key(w, (struct bytes){job->id, job->id_len}, &job->error);

	if (k == NULL && job->error.code == ERROR_DENIED)
		job->error.code = ERROR_UNAVAILABLE;
	return k;
}

/* What the token gets: a digest, but with Ed25519 the structure. */
static struct bytes
input_of(const struct job *job)
{
	struct error ignored = ERROR_INIT;
	struct signproto_sign m;

	if (sig_alg_family(job->alg) != SIG_FAMILY_EDDSA)
		return (struct bytes){job->use.digest.octets, job->use.digest.len};
	if (job->kind == JOB_SIGN &&
	    signproto_get_sign((struct bytes){job->input, job->input_len}, &m, &ignored))
		return m.tbs;
	return (struct bytes){job->whole, job->whole_len};
}

/* duty: of a CRL; NULL otherwise. */
static bool
reserve_and_sign(struct worker *w, const struct known_key *k, struct job *job, struct duty *duty)
{
	struct journal_signature *m = &job->ticket.signed_as;

	if (!journal_reserve(w->pool->place.journal, (struct bytes){job->id, job->id_len},
		&job->use, journal_clock_now(), &job->ticket, &job->error))
		return false;
	job->reserved = true;
	if (!job->ticket.answered && !((duty == NULL || duty_note(duty, &job->error)) &&
					 sign_digest(&w->session, &k->key, job->alg, input_of(job),
					     m->signature, &m->signature_len, &job->error) &&
					 (duty == NULL || duty_confirm(duty, &job->error))))
		return false;
	return put_output(job, (struct bytes){m->signature, m->signature_len});
}

static bool
sign_crl(struct worker *w, const struct known_key *k, struct job *job)
{
	struct duty_place place = {
	    .journal = w->pool->place.journal,
	    .signer_id = w->pool->place.signer_id,
	    .lease_s = w->pool->place.lease_s,
	    .now = journal_clock_now(),
	};
	struct duty duty;
	bool ok;

	(void)pthread_mutex_lock(&w->pool->crls);
	ok = duty_begin(&duty, &w->session, &place, k->limits, &job->use, &job->error) &&
	     reserve_and_sign(w, k, job, &duty);
	duty_end(&duty, &w->session.fatal);
	(void)pthread_mutex_unlock(&w->pool->crls);
	return ok;
}

static bool
run_sign(struct worker *w, struct job *job)
{
	const struct known_key *k = find_key_to_sign(w, job);

	if (k == NULL || !check_limits(k, job, &job->error) || !check_structure(w, k, job))
		return false;
	if (job->use.kind == SIGNPROTO_TBS_CRL)
		return sign_crl(w, k, job);
	return reserve_and_sign(w, k, job, NULL);
}

static bool
run_key_find(struct worker *w, struct job *job)
{
	struct known_key *k = load_key(w, (struct bytes){job->id, job->id_len}, &job->error);
	bool ok;

	if (k == NULL)
		return false;
	ok = put_output(job, k->key.spki.whole);
	forget_key(w, k);
	return ok;
}

static bool
run_key_generate(struct worker *w, struct job *job)
{
	struct orders_env env = orders_env_of(w->pool);
	struct signproto_key_generate m;
	struct session rw = {0};
	struct key key = {0};
	bool ok = false;

	if (!signproto_get_key_generate(
		(struct bytes){job->input, job->input_len}, &m, &job->error))
		return false;
	limits_cache_begin_change(w->pool->limits);
	if (session_open(w->session.f, w->session.slot, true, &rw, &job->error)) {
		rw.pin = w->session.pin;
		ok = orders_make_key(&rw, &env, &m.order, job->id, &key, &job->error) &&
		     put_output(job, key.spki.whole);
		session_close(&rw);
	}
	limits_cache_end_change(w->pool->limits);
	job->id_len = ok ? KEY_ID_LEN : 0;
	key_clear(&key);
	w->session.fatal |= rw.fatal;
	w->session.pin_refused |= rw.pin_refused;
	return ok;
}

static bool
run_limits_set(struct worker *w, struct job *job)
{
	struct orders_env env = orders_env_of(w->pool);
	struct signproto_limits_set m;
	bool ok;

	if (!signproto_get_limits_set((struct bytes){job->input, job->input_len}, &m, &job->error))
		return false;
	limits_cache_begin_change(w->pool->limits);
	ok = orders_set_limits(&w->session, &env, m.cka_id, &m.order, &job->error);
	limits_cache_end_change(w->pool->limits);
	return ok;
}

static bool
run_install(struct worker *w, struct job *job)
{
	struct orders_env env = orders_env_of(w->pool);
	struct signproto_install m;
	bool ok;

	if (!signproto_get_install((struct bytes){job->input, job->input_len}, &m, &job->error))
		return false;
	limits_cache_begin_change(w->pool->limits);
	ok = orders_install(&w->session, &env, m.cka_id, &m.order, &job->error);
	limits_cache_end_change(w->pool->limits);
	return ok;
}

/* The anchor of the journal that was closed is of no use any more. */
static bool
run_reseed(struct worker *w, struct job *job)
{
	struct orders_env env = orders_env_of(w->pool);
	struct signproto_reseed m;

	if (!signproto_get_reseed((struct bytes){job->input, job->input_len}, &m, &job->error) ||
	    !orders_reseed(&w->session, &env, &m.order, &job->error))
		return false;
	journal_anchor_write(w->pool->place.journal, w->session.f, w->session.slot);
	return true;
}

/* Between requests, so that an outage is known before the next one meets it. */
static bool
check_token(struct worker *w, struct error *e)
{
	CK_SESSION_INFO info;
	CK_RV rv;

	if (must_be_logged_in(w))
		return session_check_login(&w->session, e);
	rv = w->session.f->C_GetSessionInfo(w->session.handle, &info);
	return rv == CKR_OK ||
	       session_error(&w->session, rv, e, "cannot ask for the state of a session");
}

static bool
run_order(struct worker *w, struct job *job)
{
	bool ok = false;

	(void)pthread_mutex_lock(&w->pool->orders);
	switch (job->kind) {
	case JOB_KEY_GENERATE:
		ok = run_key_generate(w, job);
		break;
	case JOB_LIMITS_SET:
		ok = run_limits_set(w, job);
		break;
	case JOB_INSTALL:
		ok = run_install(w, job);
		break;
	case JOB_RESEED:
		ok = run_reseed(w, job);
		break;
	default:
		break;
	}
	(void)pthread_mutex_unlock(&w->pool->orders);
	return ok;
}

static bool
run_pin(struct worker *w, struct job *job)
{
	struct signproto_pin m;
	char text[ERROR_TEXT_MAX];

	return signproto_get_pin((struct bytes){job->input, job->input_len}, &m, &job->error) &&
	       gate_order(w->pool->place.gate, &m.order, text, &job->error) &&
	       put_output(job, (struct bytes){(const uint8_t *)text, strlen(text) + 1});
}

static void
run(struct worker *w, struct job *job)
{
	bool ok = false;

	if (job->deadline_ms != 0 && job_clock_ms() >= job->deadline_ms) {
		(void)error_set(&job->error, ERROR_TIMEOUT,
		    "the deadline passed while the request waited for a signing thread");
		return;
	}
	switch (job->kind) {
	case JOB_KEY_GENERATE:
	case JOB_LIMITS_SET:
	case JOB_INSTALL:
	case JOB_RESEED:
		ok = run_order(w, job);
		break;
	case JOB_KEY_FIND:
		ok = run_key_find(w, job);
		break;
	case JOB_SIGN:
	case JOB_SIGN_DIGEST:
		ok = run_sign(w, job);
		break;
	case JOB_CHECK:
		ok = check_token(w, &job->error);
		break;
	case JOB_PIN:
		ok = run_pin(w, job);
		break;
	case JOB_LOCK:
		gate_lock_if_due(w->pool->place.gate);
		ok = true;
		break;
	case JOB_ANCHOR:
		journal_anchor_write(w->pool->place.journal, w->session.f, w->session.slot);
		ok = true;
		break;
	}
	if (!ok)
		(void)error_set(&job->error, ERROR_INTERNAL, "the request failed");
}

/* ---- once more */

static void
take_back(struct worker *w, struct job *job)
{
	if (job->reserved)
		journal_give_up(w->pool->place.journal, &job->ticket);
	job->reserved = false;
	job->output_len = 0;
	error_clear(&job->error);
}

/* What a request has cost already. */
struct patience {
	unsigned int tries; /* on the same session */
	bool renewed;	    /* the session */
};

/* Whether it may be tried again; what that takes has then been done. */
static bool
can_repeat(struct worker *w, const struct job *job, struct patience *p)
{
	unsigned int tries = ++p->tries;
	struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L * tries};
	struct error why = ERROR_INIT;

	switch (ckr_class_of(&job->error)) {
	case CKR_CLASS_RETRY:
		if (tries >= TRIES_MAX)
			return false;
		(void)nanosleep(&pause, NULL);
		return true;
	case CKR_CLASS_SESSION:
		if (p->renewed)
			return false;
		p->renewed = true;
		forget_keys(w);
		log_warning(token_info(w->pool->token)->label, "%s; once more on a new session",
		    job->error.text);
		if (session_renew(&w->session, &why) && check_login(w, &why))
			return true;
		w->session.fatal = true;
		return false;
	default:
		return false;
	}
}

static void
run_patiently(struct worker *w, struct job *job)
{
	struct patience p = {0};

	run(w, job);
	while (error_is_set(&job->error) && can_repeat(w, job, &p)) {
		take_back(w, job);
		run(w, job);
	}
}

/* ---- through the gate */

/* What an operator's list calls an order: SHA-256 of its statement. */
static bool
digest_statement(const struct job *job, uint8_t digest[32])
{
	struct bytes input = {job->input, job->input_len};
	struct error ignored = ERROR_INIT;
	struct signproto_order order;
	union {
		struct signproto_key_generate generate;
		struct signproto_limits_set limits;
		struct signproto_install install;
		struct signproto_reseed reseed;
	} m;

	if (job->kind == JOB_KEY_GENERATE &&
	    signproto_get_key_generate(input, &m.generate, &ignored))
		order = m.generate.order;
	else if (job->kind == JOB_LIMITS_SET &&
		 signproto_get_limits_set(input, &m.limits, &ignored))
		order = m.limits.order;
	else if (job->kind == JOB_INSTALL && signproto_get_install(input, &m.install, &ignored))
		order = m.install.order;
	else if (job->kind == JOB_RESEED && signproto_get_reseed(input, &m.reseed, &ignored))
		order = m.reseed.order;
	else
		return false;
	return EVP_Digest(
		   order.statement.p, order.statement.len, digest, NULL, EVP_sha256(), NULL) == 1;
}

static bool
digest_structure(const struct job *job, uint8_t digest[32])
{
	struct error ignored = ERROR_INIT;
	struct signproto_sign m;

	if (job->kind == JOB_SIGN_DIGEST) {
		memcpy(digest, job->use.tbs_sha256, 32);
		return true;
	}
	return signproto_get_sign((struct bytes){job->input, job->input_len}, &m, &ignored) &&
	       EVP_Digest(m.tbs.p, m.tbs.len, digest, NULL, EVP_sha256(), NULL) == 1;
}

static void
describe_for_gate(const struct job *job, struct gate_job *g)
{
	static const enum pin_operation_kind kinds[] = {
	    [SIGNPROTO_TBS_CERTIFICATE] = PIN_OPERATION_CERTIFICATE,
	    [SIGNPROTO_TBS_CRL] = PIN_OPERATION_CRL,
	    [SIGNPROTO_CSR_INFO] = PIN_OPERATION_CSR_INFO,
	};
	struct pin_operation *o = &g->operation;

	*g = (struct gate_job){.counts = job->kind == JOB_SIGN || job->kind == JOB_SIGN_DIGEST};
	if (!g->counts) {
		o->kind = PIN_OPERATION_ORDER;
		g->listed = digest_statement(job, o->sha256);
		return;
	}
	o->kind = kinds[job->structure];
	memcpy(o->cka_id, job->id, job->id_len);
	o->cka_id_len = job->id_len;
	g->listed = digest_structure(job, o->sha256);
}

/* Entries are past it: they open it, and each is good for one time. */
static void
run_behind_gate(struct worker *w, struct job *job)
{
	struct gate *gate = w->pool->place.gate;
	bool signed_;
	struct gate_job g;

	if (gate == NULL) {
		run_patiently(w, job);
	} else if (job->kind == JOB_PIN || job->kind == JOB_LOCK) {
		run(w, job);
	} else {
		describe_for_gate(job, &g);
		if (gate_enter(gate, &g, &job->error)) {
			w->session.pin = gate_pin(gate);
			w->session.pin_refused = false;
			run_patiently(w, job);
			w->session.pin = (struct bytes){0};
			/* Looking whether the token is there is no use of it. */
			signed_ = g.counts && !error_is_set(&job->error) && !job->ticket.answered;
			gate_leave(gate, &g, signed_, w->session.pin_refused);
		}
	}
	if (gate != NULL && gate_is_lost(gate))
		w->session.fatal = true;
}

/* ---- threads */

static void
wake(struct pool *p)
{
	uint64_t one = 1;

	/* A full counter wakes as well. */
	if (write(p->wake_fd, &one, sizeof one) < 0)
		return;
}

static struct job *
next_job(struct pool *p)
{
	struct job *job = NULL;

	(void)pthread_mutex_lock(&p->lock);
	while (p->queue == NULL && !p->stopping)
		(void)pthread_cond_wait(&p->work, &p->lock);
	if (!p->stopping) {
		job = p->queue;
		p->queue = job->next;
		if (p->queue == NULL)
			p->queue_end = &p->queue;
		job->next = NULL;
	}
	(void)pthread_mutex_unlock(&p->lock);
	return job;
}

static int64_t
clock_ns(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/*
 * The loop takes all finished jobs at once, so one wake-up is enough for many,
 * and each costs as much as half a signature of a quick token. As long as jobs
 * wait, another will be finished soon, and its end is as good for waking. It is
 * the same with the disk.
 */
static bool
is_time(const struct pool *p, int64_t last_ns, int64_t period_ns, int64_t now_ns)
{
	return p->queue == NULL || p->stopping || now_ns - last_ns >= period_ns;
}

static bool
has_to_wake(struct pool *p, int64_t now_ns)
{
	if (p->done == NULL || !is_time(p, p->woken_ns, WAKE_NS, now_ns))
		return false;
	p->woken_ns = now_ns;
	return true;
}

static bool
has_to_release(const struct pool *p, int64_t now_ns)
{
	return p->made != NULL && is_time(p, p->released_ns, RELEASE_NS, now_ns);
}

static void
fail_pool(struct pool *p, enum pool_failure failed, const struct error *why)
{
	if (p->failed != POOL_WORKS)
		return;
	p->failed = failed;
	p->failure = *why;
	p->stopping = true;
	(void)pthread_cond_broadcast(&p->work);
}

/* What was signed has to be in the journal first. */
static void
finish_job(struct worker *w, struct job *job)
{
	bool made = job->reserved && !error_is_set(&job->error), due;
	struct error why = ERROR_INIT;
	struct pool *p = w->pool;
	int64_t now;

	if (job->reserved && !made)
		journal_give_up(p->place.journal, &job->ticket);
	now = clock_ns();
	(void)pthread_mutex_lock(&p->lock);
	if (made) {
		*p->made_end = job;
		p->made_end = &job->next;
	} else {
		*p->done_end = job;
		p->done_end = &job->next;
	}
	if (w->session.fatal) {
		(void)error_set(&why, ERROR_UNAVAILABLE, "%s",
		    error_is_set(&job->error) ? job->error.text : "its sessions have ended");
		fail_pool(p, POOL_TOKEN_LOST, &why);
	}
	if (has_to_release(p, now))
		(void)pthread_cond_signal(&p->release);
	due = has_to_wake(p, now);
	(void)pthread_mutex_unlock(&p->lock);
	if (due)
		wake(p);
}

/* ---- the releaser */

/* All that was signed, once it is time; NULL at the end. */
static struct job *
next_made(struct pool *p)
{
	struct job *jobs;

	(void)pthread_mutex_lock(&p->lock);
	while (!has_to_release(p, clock_ns()) && !p->last_made)
		(void)pthread_cond_wait(&p->release, &p->lock);
	jobs = p->made;
	p->made = NULL;
	p->made_end = &p->made;
	p->released_ns = clock_ns();
	(void)pthread_mutex_unlock(&p->lock);
	return jobs;
}

/* One write and one wait for the disk, for all of them. */
static bool
journal_jobs(struct pool *p, struct job *jobs, struct error *e)
{
	struct journal_clock now = journal_clock_now();

	for (struct job *job = jobs; job != NULL; job = job->next) {
		if (!journal_sign(p->place.journal, &job->ticket, now, &job->error) &&
		    job->error.code != ERROR_DENIED)
			return error_set(e, job->error.code, "%s", job->error.text);
	}
	return journal_sync(p->place.journal, e);
}

static void
release_jobs(struct pool *p, struct job *jobs)
{
	struct error why = ERROR_INIT;
	bool ok = journal_jobs(p, jobs, &why);

	for (struct job *job = jobs; !ok && job != NULL; job = job->next)
		(void)error_set(&job->error, ERROR_UNAVAILABLE,
		    "it was signed, and is not released: %s", why.text);
	(void)pthread_mutex_lock(&p->lock);
	*p->done_end = jobs;
	while (*p->done_end != NULL)
		p->done_end = &(*p->done_end)->next;
	if (!ok)
		fail_pool(p, POOL_JOURNAL_FAILED, &why);
	p->woken_ns = clock_ns();
	(void)pthread_mutex_unlock(&p->lock);
	wake(p);
}

static void *
releaser_main(void *arg)
{
	struct pool *p = arg;
	struct job *jobs;

	while ((jobs = next_made(p)) != NULL)
		release_jobs(p, jobs);
	return NULL;
}

/* ---- starting and stopping */

static void *
worker_main(void *arg)
{
	struct worker *w = arg;
	struct job *job;

	while ((job = next_job(w->pool)) != NULL) {
		run_behind_gate(w, job);
		finish_job(w, job);
	}
	return NULL;
}

static bool
open_sessions(struct pool *p, unsigned int threads, struct error *e)
{
	const CK_FUNCTION_LIST *f = token_functions(p->token);
	const struct token_info *info = token_info(p->token);
	struct error why = ERROR_INIT;

	for (; p->count < threads; p->count++) {
		struct worker *w = &p->workers[p->count];

		w->pool = p;
		if (session_open(f, info->slot, false, &w->session, &why))
			continue;
		if (p->count == 0) {
			*e = why;
			return false;
		}
		log_warning(info->label, "%u signing threads instead of %u: %s", p->count, threads,
		    why.text);
		break;
	}
	return true;
}

static bool
start_threads(struct pool *p, struct error *e)
{
	sigset_t all, before;
	bool ok = true;

	/* Signals are the loop's. */
	(void)sigfillset(&all);
	(void)sigdelset(&all, SIGSYS); /* the sandbox names the call */
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	ok = p->releasing = pthread_create(&p->releaser, NULL, releaser_main, p) == 0;
	for (unsigned int i = 0; i < p->count && ok; i++) {
		ok = pthread_create(&p->workers[i].thread, NULL, worker_main, &p->workers[i]) == 0;
		p->workers[i].started = ok;
	}
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!ok)
		return error_set(e, ERROR_SYSTEM, "cannot start %u signing threads", p->count);
	return true;
}

bool
pool_new(struct token *token, const struct pool_place *place, unsigned int threads, int wake_fd,
    struct pool **pool, struct error *e)
{
	struct pool *p = calloc(1, sizeof *p);

	*pool = NULL;
	if (p == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for the signing threads");
	p->token = token;
	p->place = *place;
	p->wake_fd = wake_fd;
	p->queue_end = &p->queue;
	p->made_end = &p->made;
	p->done_end = &p->done;
	(void)pthread_mutex_init(&p->lock, NULL);
	(void)pthread_mutex_init(&p->orders, NULL);
	(void)pthread_mutex_init(&p->crls, NULL);
	(void)pthread_cond_init(&p->work, NULL);
	(void)pthread_cond_init(&p->release, NULL);
	p->limits = limits_cache_new(p->place.state_dir);
	if (p->place.gate != NULL)
		gate_attach(p->place.gate, &p->place.journal);
	threads = token_thread_limit(token, threads);
	p->workers = calloc(threads, sizeof *p->workers);
	if (p->workers == NULL || p->limits == NULL)
		(void)error_set(e, ERROR_SYSTEM, "no memory for the signing threads");
	else if (open_sessions(p, threads, e) && start_threads(p, e)) {
		*pool = p;
		return true;
	}
	pool_free(p);
	return false;
}

unsigned int
pool_threads(const struct pool *p)
{
	return p->count;
}

bool
pool_has_floors(struct pool *p)
{
	return limits_cache_has_floors(p->limits);
}

void
pool_submit(struct pool *p, struct job *job)
{
	job->next = NULL;
	(void)pthread_mutex_lock(&p->lock);
	*p->queue_end = job;
	p->queue_end = &job->next;
	(void)pthread_cond_signal(&p->work);
	(void)pthread_mutex_unlock(&p->lock);
}

struct job *
pool_take_done(struct pool *p)
{
	struct job *jobs;

	(void)pthread_mutex_lock(&p->lock);
	jobs = p->done;
	p->done = NULL;
	p->done_end = &p->done;
	(void)pthread_mutex_unlock(&p->lock);
	return jobs;
}

struct job *
pool_take_queued(struct pool *p)
{
	struct job *jobs;
	bool due;

	(void)pthread_mutex_lock(&p->lock);
	jobs = p->queue;
	p->queue = NULL;
	p->queue_end = &p->queue;
	/* What was finished may have counted on these for waking. */
	if (has_to_release(p, clock_ns()))
		(void)pthread_cond_signal(&p->release);
	due = has_to_wake(p, clock_ns());
	(void)pthread_mutex_unlock(&p->lock);
	if (due)
		wake(p);
	return jobs;
}

enum pool_failure
pool_failed(struct pool *p, struct error *why)
{
	enum pool_failure failed;

	(void)pthread_mutex_lock(&p->lock);
	failed = p->failed;
	if (failed != POOL_WORKS)
		*why = p->failure;
	(void)pthread_mutex_unlock(&p->lock);
	return failed;
}

static void
free_jobs(struct job *job)
{
	while (job != NULL) {
		struct job *next = job->next;

		job_free(job);
		job = next;
	}
}

void
pool_abandon(struct pool *p)
{
	for (unsigned int i = 0; i < p->count; i++)
		(void)pthread_detach(p->workers[i].thread);
	if (p->releasing)
		(void)pthread_detach(p->releaser);
}

void
pool_free(struct pool *p)
{
	if (p == NULL)
		return;
	(void)pthread_mutex_lock(&p->lock);
	p->stopping = true;
	(void)pthread_cond_broadcast(&p->work);
	(void)pthread_mutex_unlock(&p->lock);
	for (unsigned int i = 0; i < p->count; i++) {
		if (p->workers[i].started)
			(void)pthread_join(p->workers[i].thread, NULL);
		forget_keys(&p->workers[i]);
		session_close(&p->workers[i].session);
	}
	(void)pthread_mutex_lock(&p->lock);
	p->last_made = true;
	(void)pthread_cond_broadcast(&p->release);
	(void)pthread_mutex_unlock(&p->lock);
	if (p->releasing)
		(void)pthread_join(p->releaser, NULL);
	free_jobs(pool_take_queued(p));
	free_jobs(pool_take_done(p));
	(void)pthread_cond_destroy(&p->work);
	(void)pthread_cond_destroy(&p->release);
	(void)pthread_mutex_destroy(&p->lock);
	(void)pthread_mutex_destroy(&p->orders);
	(void)pthread_mutex_destroy(&p->crls);
	limits_cache_free(p->limits);
	free(p->workers);
	free(p);
}
