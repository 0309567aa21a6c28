/* A CRL's build: from stage to stage, its lease, what it waits for, and its ends. */

#include "daemon/issuer/crl_build_int.h"

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"

#define LEASE_RENEW_S 10
#define RETRY_S 1

void
crl_build_enter(struct crl_build *b, enum stage stage)
{
	b->stage = stage;
	b->began_s[stage] = (double)monotonic_us() * 1e-6;
}

int64_t
crl_build_scope(const struct crl_build *b)
{
	return b->job.scope_id;
}

struct issuing_ca *
crl_build_ca(const struct crl_build *b)
{
	return b->ca;
}

/* Lets go of everything that could still call back. A gate that waits for the signature
 * stays: a token that is away is asked again every second, the events are read once. */
static void
quiesce(struct crl_build *b)
{
	db_cancel(b->pending);
	b->pending = NULL;
	for (size_t i = 0; i < COUNT_OF(b->chunks); i++) {
		db_cancel(b->chunks[i]);
		b->chunks[i] = NULL;
	}
	b->chunks_in_flight = 0;
	db_stream_close(b->stream);
	b->stream = NULL;
	signer_cancel(b->env->signers, b->call);
	b->call = 0;
	b->read_along = false;
	(void)event_del(b->lag);
	db_result_free(b->held);
	b->held = NULL;
	b->end_held = false;
	if (b->stage == GATING) {
		crl_gate_free(b->gate);
		b->gate = NULL;
	}
}

void
crl_build_free(struct crl_build *b)
{
	if (b == NULL)
		return;
	quiesce(b);
	crl_gate_free(b->gate);
	db_cancel(b->keeping);
	if (b->retry != NULL)
		event_free(b->retry);
	if (b->lease != NULL)
		event_free(b->lease);
	if (b->lag != NULL)
		event_free(b->lag);
	EVP_MD_CTX_free(b->md);
	ca_release(b->ca);
	free(b->chunk);
	free(b);
}

static void
ignore_done(bool held, const struct error *err, void *arg)
{
}

void
crl_build_finish(struct crl_build *b, const struct crl_job *together, const struct error *err)
{
	quiesce(b);
	b->built(b, together, err, b->arg);
}

/* The lease goes back: who looks next goes on where this one stood. */
static void
give_back(struct crl_build *b, const struct error *why)
{
	struct error e = ERROR_INIT;

	if (crl_keep_lease(b->env->db, &b->job, 0, ignore_done, NULL, &e) == NULL)
		log_failure(LOG_LEVEL_DEBUG, b->job.ca_name, &e);
	crl_build_finish(b, NULL, why);
}

void
crl_build_burn(struct crl_build *b, const struct error *why, bool final)
{
	struct error e = ERROR_INIT;

	quiesce(b);
	if (crl_burn(b->env->db, &b->job, why->text, final, ignore_done, NULL, &e) == NULL)
		log_failure(LOG_LEVEL_WARNING, b->job.ca_name, &e);
	crl_build_finish(b, NULL, why);
}

/* Tries the stage again in a moment, or as soon as it is poked. */
static void
wait_for_better(struct crl_build *b, const struct error *why)
{
	const struct timeval later = {RETRY_S, 0};

	if (strcmp(why->text, b->last.text) != 0)
		log_failure(LOG_LEVEL_WARNING, b->job.ca_name, why);
	b->last = *why;
	if (b->draining)
		give_back(b, why);
	else if (event_add(b->retry, &later) != 0)
		crl_build_burn(b, why, false);
}

static void
on_waits(const struct crl_job *together, const struct error *err, void *arg)
{
	struct crl_build *b = arg;

	b->pending = NULL;
	crl_build_finish(b, together, err);
}

/* Of the delta that goes with this CRL; 0: there is none. Where the CA's end cut
 * the one's life, it cuts the other's. */
static int64_t
life_of_delta(const struct crl_build *b)
{
	const struct capolicy *policy = &b->ca->policy;
	int64_t own_s = b->job.next_update - b->job.this_update;
	int64_t life_s = policy->delta_period_s + policy->delta_overlap_s;

	if (policy->delta_period_s == 0)
		return 0;
	return life_s < own_s ? life_s : own_s;
}

void
crl_build_wait_for_pin(
    struct crl_build *b, const struct error *said, const struct signproto_abstract *about)
{
	struct error e = ERROR_INIT;

	b->pending = crl_await_pin(b->env->db, &b->job, b->env->signer_id,
	    said != NULL ? said->text : NULL, life_of_delta(b), CRL_BUILD_LEASE_S, about, on_waits,
	    b, &e);
	if (b->pending == NULL)
		wait_for_better(b, &e);
}

void
crl_build_fail(struct crl_build *b, const struct error *why)
{
	struct error e = *why; /* may live in what is let go now */
	bool retryable = error_is_retryable(why);

	quiesce(b);
	if (e.code == ERROR_LOCKED)
		token_access_note_locked(b->env->access, b->ca->row.token, &e);
	/* The issuer whose signer signs this CA's CRLs goes on with these bytes. */
	if (e.code == ERROR_ELSEWHERE)
		give_back(b, &e);
	else if (retryable && b->stage == SIGNING &&
		 token_access_by_operation(b->env->access, b->ca->row.token))
		crl_build_wait_for_pin(b, &e, NULL);
	else if (retryable && b->stage >= SIGNING)
		wait_for_better(b, &e);
	else if (retryable && b->stage == COMMITTING)
		crl_build_finish(b, NULL, &e);
	else
		crl_build_burn(b, &e, !retryable);
}

void
crl_build_fail_now(struct crl_build *b, struct error *e)
{
	error_wrap(e, "CRL of %s", b->job.ca_name);
	crl_build_fail(b, e);
}

/* ------------------------------------------------------------- completing */

/* Where the time of a long list went. */
static void
log_issued(const struct crl_build *b)
{
	const char *kind = b->job.delta ? "delta CRL" : "CRL";
	const double *began = b->began_s;
	char number[64];

	if (!crl_number_to_text(
		(struct bytes){b->job.number, b->job.number_len}, number, sizeof number))
		return;
	if (began[SPOOLING] == 0)
		log_info(b->job.ca_name, "issued %s number %s", kind, number);
	else
		log_info(b->job.ca_name,
		    "issued %s number %s: %lld entries, spooled in %.3f s, signed in %.3f s, "
		    "checked in %.3f s",
		    kind, number, (long long)b->entries, began[SIGNING] - began[SPOOLING],
		    began[GATING] - began[SIGNING], began[COMPLETING] - began[GATING]);
}

static void
on_completed(const struct crl_job *together, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct crl_job next;

	b->pending = NULL;
	if (err != NULL) {
		crl_build_fail(b, err);
		return;
	}
	log_issued(b);
	if (together == NULL) {
		crl_build_finish(b, NULL, NULL);
		return;
	}
	/* The entry that let this one be signed may list that one, too. */
	next = *together;
	next.listed = b->job.listed && next.resume;
	crl_build_finish(b, &next, NULL);
}

void
crl_build_complete(struct crl_build *b)
{
	const struct capolicy *policy = &b->ca->policy;
	struct crl_completion completion = {
	    .head = b->head,
	    .head_len = b->head_len,
	    .tail = b->tail.p,
	    .tail_len = b->tail.len,
	    .period_s = policy->crl_period_s,
	    .delta_period_s = policy->delta_period_s,
	    .delta_life_s = life_of_delta(b),
	    .align_unit_s = policy->align_unit_s,
	    .align_offset_s = policy->align_offset_s,
	    .jitter_s = policy->crl_jitter_s,
	};
	struct error e = ERROR_INIT;

	memcpy(completion.sha256, b->sha256, sizeof completion.sha256);
	b->pending = crl_complete(
	    b->env->db, &b->job, &completion, CRL_BUILD_LEASE_S, on_completed, b, &e);
	if (b->pending == NULL)
		crl_build_fail_now(b, &e);
}

/* ------------------------------------------------------------------ timers */

void
crl_build_drain(struct crl_build *b)
{
	b->draining = true;
	error_set(&b->last, ERROR_UNAVAILABLE, "the issuer stops");
	if (event_pending(b->retry, EV_TIMEOUT, NULL))
		give_back(b, &b->last);
}

/* What stands is kept: a signature is not asked for again. */
static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	if (b->stage == COMPLETING)
		crl_build_complete(b);
	else if (b->stage != GATING)
		crl_build_sign(b);
	else if (!crl_build_show_to_gate(b, &e))
		crl_build_fail(b, &e);
}

static void
on_lag(evutil_socket_t fd, short what, void *arg)
{
	crl_build_lag_over(arg);
}

static void
on_lease_kept(bool held, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	b->keeping = NULL;
	/* When it failed the lease runs out, which the epoch makes harmless. While
	 * it is being completed, the answer to that says more. */
	if (err != NULL || held || b->stage == COMPLETING)
		return;
	error_set(&e, ERROR_CONFLICT, "another issuer took this CRL over");
	crl_build_finish(b, NULL, &e);
}

static void
on_lease(evutil_socket_t fd, short what, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	if (b->keeping != NULL)
		return;
	b->keeping = crl_keep_lease(b->env->db, &b->job, CRL_BUILD_LEASE_S, on_lease_kept, b, &e);
	if (b->keeping == NULL)
		log_failure(LOG_LEVEL_DEBUG, b->job.ca_name, &e);
}

struct crl_build *
crl_build_start(const struct crl_build_env *env, struct issuing_ca *ca, const struct crl_job *job,
    crl_built_fn *built, void *arg, struct error *e)
{
	struct crl_build *b = calloc(1, sizeof *b);
	const struct timeval renew = {LEASE_RENEW_S, 0}, at_once = {0, 0};

	if (b == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating a CRL's build");
		return NULL;
	}
	b->env = env;
	b->ca = ca_hold(ca);
	b->job = *job;
	b->built = built;
	b->arg = arg;
	b->md = EVP_MD_CTX_new();
	b->retry = event_new(env->base, -1, 0, on_retry, b);
	b->lease = event_new(env->base, -1, EV_PERSIST, on_lease, b);
	b->lag = event_new(env->base, -1, 0, on_lag, b);
	if (b->md == NULL || b->retry == NULL || b->lease == NULL || b->lag == NULL ||
	    event_add(b->lease, &renew) != 0) {
		error_set(e, ERROR_SYSTEM, "allocating a CRL's build");
	} else if (job->resume) {
		memcpy(b->tbs_sha256, job->tbs_sha256, sizeof b->tbs_sha256);
		b->stage = SIGNING;
		if (event_add(b->retry, &at_once) == 0)
			return b;
		error_set(e, ERROR_SYSTEM, "starting a CRL's build");
	} else if (crl_build_spool(b, e)) {
		return b;
	}
	crl_build_free(b);
	return NULL;
}
