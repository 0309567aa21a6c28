#include "pkcs11/worker_int.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"
#include "pkcs11/call.h"

/* While more jobs wait, the loop is woken this often and no more; and a signature
 * waits so long for others that go to the disk with it. */
#define WAKE_NS 1000000
#define RELEASE_NS 2000000

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

/* ---- threads */

static void
wake(struct pool *p)
{
	uint64_t one = 1;

	/* A full counter wakes as well. */
	if (write(p->wake_fd, &one, sizeof one) < 0)
		return;
}

/* Orders, keys and CRLs are the business of the first of a group's tokens, whose data
 * objects are read; certificates need nothing of that. */
static bool
suits(const struct worker *w, const struct job *job)
{
	return !worker_is_aside(w) ||
	       (job->kind == JOB_SIGN && job->structure == SIGNPROTO_TBS_CERTIFICATE);
}

/* The first in the queue that is for this thread; taken out. */
static struct job *
take_job(struct worker *w)
{
	struct pool *p = w->pool;
	struct job **at = &p->queue, *job;

	while (*at != NULL && !suits(w, *at))
		at = &(*at)->next;
	job = *at;
	if (job == NULL)
		return NULL;
	*at = job->next;
	if (*at == NULL)
		p->queue_end = at;
	job->next = NULL;
	p->busy++;
	return job;
}

static struct job *
next_job(struct worker *w)
{
	struct pool *p = w->pool;
	struct job *job = NULL;

	(void)pthread_mutex_lock(&p->lock);
	while (!p->stopping && (job = take_job(w)) == NULL)
		(void)pthread_cond_wait(&p->work, &p->lock);
	(void)pthread_mutex_unlock(&p->lock);
	return job;
}

/*
 * The loop takes all finished jobs at once, so one wake-up is enough for many,
 * and each costs as much as half a signature of a quick token. As long as jobs
 * wait, another will be finished soon, and its end is as good for waking.
 */
static bool
has_to_wake(struct pool *p, int64_t now_ns)
{
	if (p->done == NULL || (p->queue != NULL && !p->stopping && now_ns - p->woken_ns < WAKE_NS))
		return false;
	p->woken_ns = now_ns;
	return true;
}

/* It is the same with the disk, and what another thread is just signing waits for the
 * disk twice if it comes too late for this time. */
static bool
has_to_release(const struct pool *p, int64_t now_ns)
{
	return p->made != NULL && ((p->queue == NULL && p->busy == 0) || p->stopping ||
				      now_ns - p->made_ns >= RELEASE_NS);
}

static void
fail_pool(struct pool *p, enum pool_failure failed, size_t member, const struct error *why)
{
	if (p->failed != POOL_WORKS)
		return;
	p->failed = failed;
	p->failed_member = member;
	p->failure = *why;
	p->stopping = true;
	(void)pthread_cond_broadcast(&p->work);
}

/* What was signed has to be in the journal first. */
static void
finish_job(struct worker *w, struct job *job)
{
	bool made = job->reserved && !error_is_set(&job->error), first, due;
	struct error why = ERROR_INIT;
	struct pool *p = w->pool;
	int64_t now;

	if (job->reserved && !made)
		journal_give_up(p->place.journal, &job->ticket);
	now = monotonic_ns();
	(void)pthread_mutex_lock(&p->lock);
	p->busy--;
	first = made && p->made == NULL;
	if (made) {
		p->made_ns = first ? now : p->made_ns;
		*p->made_end = job;
		p->made_end = &job->next;
	} else {
		*p->done_end = job;
		p->done_end = &job->next;
	}
	if (w->session.fatal) {
		(void)error_set(&why, ERROR_UNAVAILABLE, "%s",
		    error_is_set(&job->error) ? job->error.text : "its sessions have ended");
		fail_pool(p, POOL_TOKEN_LOST, w->member, &why);
	}
	if (first || has_to_release(p, now))
		(void)pthread_cond_signal(&p->release);
	due = has_to_wake(p, now);
	(void)pthread_mutex_unlock(&p->lock);
	if (due)
		wake(p);
}

/* ---- the releaser */

/* Until it may be time. */
static void
await_made(struct pool *p)
{
	int64_t until = p->made_ns + RELEASE_NS;
	struct timespec t = {.tv_sec = until / 1000000000, .tv_nsec = until % 1000000000};

	if (p->made == NULL)
		(void)pthread_cond_wait(&p->release, &p->lock);
	else
		(void)pthread_cond_timedwait(&p->release, &p->lock, &t);
}

/* All that was signed, once it is time; NULL at the end. */
static struct job *
next_made(struct pool *p)
{
	struct job *jobs;

	(void)pthread_mutex_lock(&p->lock);
	while (!has_to_release(p, monotonic_ns()) && !p->last_made)
		await_made(p);
	jobs = p->made;
	p->made = NULL;
	p->made_end = &p->made;
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
		fail_pool(p, POOL_JOURNAL_FAILED, token_first(p->token), &why);
	p->woken_ns = monotonic_ns();
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

	(void)call_about((int)w->member);
	while ((job = next_job(w)) != NULL) {
		worker_run_behind_gate(w, job);
		finish_job(w, job);
	}
	return NULL;
}

/* Of a group that spreads its load they are dealt out to all that are open. */
static size_t
member_of(const struct pool *p, unsigned int thread)
{
	size_t open[CONFIG_MEMBERS_MAX], count = 0;
	struct token_member m;

	if (!token_config(p->token)->spread)
		return token_first(p->token);
	for (size_t i = 0; i < token_members(p->token); i++) {
		token_member(p->token, i, &m);
		if (m.standing == TOKEN_OPEN)
			open[count++] = i;
	}
	return count > 0 ? open[thread % count] : token_first(p->token);
}

static bool
open_session(struct worker *w, struct error *e)
{
	int before = call_about((int)w->member);
	struct token_member m;
	bool ok;

	token_member(w->pool->token, w->member, &m);
	ok = session_open(token_functions(w->pool->token), m.info->slot, false, &w->session, e);
	(void)call_about(before);
	return ok;
}

static bool
open_sessions(struct pool *p, unsigned int threads, struct error *e)
{
	struct error why = ERROR_INIT;

	for (; p->count < threads; p->count++) {
		struct worker *w = &p->workers[p->count];

		w->pool = p;
		w->member = member_of(p, p->count);
		if (open_session(w, &why))
			continue;
		if (p->count == 0) {
			*e = why;
			return false;
		}
		log_warning(token_info(p->token)->label, "%u signing threads instead of %u: %s",
		    p->count, threads, why.text);
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
	pthread_condattr_t monotonic;

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
	(void)pthread_condattr_init(&monotonic);
	(void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&p->release, &monotonic);
	(void)pthread_condattr_destroy(&monotonic);
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
	/* Not each of a group's threads can take each job. */
	if (token_config(p->token)->spread)
		(void)pthread_cond_broadcast(&p->work);
	else
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
	if (has_to_release(p, monotonic_ns()))
		(void)pthread_cond_signal(&p->release);
	due = has_to_wake(p, monotonic_ns());
	(void)pthread_mutex_unlock(&p->lock);
	if (due)
		wake(p);
	return jobs;
}

enum pool_failure
pool_failed(struct pool *p, size_t *member, struct error *why)
{
	enum pool_failure failed;

	(void)pthread_mutex_lock(&p->lock);
	failed = p->failed;
	if (failed != POOL_WORKS)
		*why = p->failure;
	if (failed != POOL_WORKS && member != NULL)
		*member = p->failed_member;
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
		worker_forget_keys(&p->workers[i]);
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
