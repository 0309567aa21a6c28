#include "pkcs11/worker_int.h"

#include <string.h>
#include <time.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"
#include "pkcs11/ckr.h"
#include "pkcs11/duty.h"
#include "pkcs11/group_keys.h"
#include "pkcs11/journal_anchor.h"
#include "pkcs11/orders.h"
#include "pkcs11/sign.h"

/* What may pass by itself (CKR_CLASS_RETRY) is tried so often, with growing pauses. */
#define TRIES_MAX 3
#define PAUSE_MS 20

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

/* Another of the group's tokens, which is not there, may have what this one has not. */
static bool
lacks_members(struct token *t)
{
	struct token_member m;

	for (size_t i = 0; i < token_members(t); i++) {
		token_member(t, i, &m);
		if (m.standing != TOKEN_OPEN)
			return true;
	}
	return false;
}

/* What is wrong with a key's limits may be put right: what is to be signed waits. */
static const struct known_key *
find_key_to_sign(struct worker *w, struct job *job)
{
	const struct known_key *k = worker_find_key(
	    w, (struct bytes){job->id, job->id_len}, &job->error);

	if (k != NULL)
		return k;
	if (job->error.code == ERROR_DENIED)
		job->error.code = ERROR_UNAVAILABLE;
	if (job->error.code == ERROR_NOT_FOUND && lacks_members(w->pool->token))
		job->error.code = ERROR_UNAVAILABLE;
	/* The tokens are compared at the next start. */
	if (job->error.code == ERROR_NOT_FOUND && worker_is_aside(w)) {
		job->error.code = ERROR_UNAVAILABLE;
		w->session.fatal = true;
	}
	return NULL;
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
	    .in_group = token_members(w->pool->token) > 1,
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
	struct known_key *k = worker_load_key(w, (struct bytes){job->id, job->id_len}, &job->error);
	bool ok;

	if (k == NULL)
		return false;
	ok = put_output(job, k->key.spki.whole);
	worker_forget_key(w, k);
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
	if (ok)
		group_check_others(w->pool->token, w->pool->place.state_dir);
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

static bool
run_key_destroy(struct worker *w, struct job *job)
{
	struct orders_env env = orders_env_of(w->pool);
	struct signproto_key_destroy m;
	struct session rw = {0};
	bool ok = false;

	if (!signproto_get_key_destroy((struct bytes){job->input, job->input_len}, &m, &job->error))
		return false;
	limits_cache_begin_change(w->pool->limits);
	if (session_open(w->session.f, w->session.slot, true, &rw, &job->error)) {
		ok = orders_destroy_key(&rw, &env, m.cka_id, &m.order, &job->error);
		session_close(&rw);
	}
	if (ok)
		group_check_others(w->pool->token, w->pool->place.state_dir);
	limits_cache_end_change(w->pool->limits);
	w->session.fatal |= rw.fatal;
	return ok;
}

/* Between requests, so that an outage is known before the next one meets it. */
static bool
check_token(struct worker *w, struct error *e)
{
	CK_SESSION_INFO info;
	CK_RV rv;

	token_check_others(w->pool->token);
	if (worker_must_be_logged_in(w))
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
	case JOB_KEY_DESTROY:
		ok = run_key_destroy(w, job);
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

void
worker_run(struct worker *w, struct job *job)
{
	bool ok = false;

	if (job->deadline_ms != 0 && monotonic_ms() >= job->deadline_ms) {
		(void)error_set(&job->error, ERROR_TIMEOUT,
		    "the deadline passed while the request waited for a signing thread");
		return;
	}
	switch (job->kind) {
	case JOB_KEY_GENERATE:
	case JOB_LIMITS_SET:
	case JOB_INSTALL:
	case JOB_RESEED:
	case JOB_KEY_DESTROY:
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
		worker_forget_keys(w);
		log_warning(token_info(w->pool->token)->label, "%s; once more on a new session",
		    job->error.text);
		if (session_renew(&w->session, &why) && worker_check_login(w, &why))
			return true;
		w->session.fatal = true;
		return false;
	default:
		return false;
	}
}

void
worker_run_patiently(struct worker *w, struct job *job)
{
	struct patience p = {0};

	worker_run(w, job);
	while (error_is_set(&job->error) && can_repeat(w, job, &p)) {
		take_back(w, job);
		worker_run(w, job);
	}
}
