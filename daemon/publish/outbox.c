#include "daemon/publish/outbox.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <event2/event.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"
#include "daemon/publish/attempt.h"
#include "daemon/publish/spool.h"
#include "db/publish.h"

#define SELF_PROGRAM "/proc/self/exe"
#define SOON_MS 1000	    /* the database is away, or what is due cannot be started yet */
#define REPORT_AGAIN_MS 500 /* the database was away */

/* An attempt, and after its end what is left of it until it is reported. */
struct task {
	struct outbox *outbox;
	struct attempt *attempt;
	struct publish_result result; /* once ended */
	bool ended;
	bool reporting; /* the database owes an answer */
	int64_t lease_end_ms;
	struct event *again; /* reports once more */
	TAILQ_ENTRY(task) link;
};

struct outbox {
	struct event_base *base;
	struct db *db;
	struct spool *spool;
	char *program, *credentials_dir, *commands_dir, *ca_file, *krb5_config;
	const struct config_publish_dirs *publish_dirs;
	struct writers *writers;
	enum sandbox_mode sandbox;
	unsigned signer_id, attempt_s, watch_s;
	bool released;	 /* the predecessor's claims are */
	bool asking;	 /* claim, release or next is on its way */
	bool poked;	 /* meanwhile */
	bool filling;	 /* publish_before is on its way */
	bool draining;	 /* nothing is claimed any more */
	bool stopped;	 /* the rest goes with the last answer */
	size_t pending;	 /* answers that the database owes */
	size_t count;	 /* tasks */
	int64_t sent_ms; /* when the claim was sent */
	void (*drained)(void *arg);
	void *drained_arg;
	struct event *poll, *watch, *fill;
	TAILQ_HEAD(task_list, task) tasks;
};

static void pump(struct outbox *o);

static void
set_timer(struct event *timer, int64_t ms)
{
	struct timeval tv = {
	    .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000) * 1000};

	(void)event_add(timer, &tv);
}

static void
free_if_idle(struct outbox *o)
{
	if (!o->stopped || o->pending > 0)
		return;
	free(o->program);
	free(o->credentials_dir);
	free(o->commands_dir);
	free(o->ca_file);
	free(o->krb5_config);
	free(o);
}

/* One answer came. False: nobody is interested any more, and o may be gone. */
static bool
answered(struct outbox *o)
{
	o->pending--;
	if (!o->stopped)
		return true;
	free_if_idle(o);
	return false;
}

static void
tell_drained(struct outbox *o)
{
	void (*drained)(void *arg) = o->drained;

	if (drained == NULL || o->count > 0 || o->asking)
		return;
	o->drained = NULL;
	drained(o->drained_arg);
}

/* ----------------------------------------------------------------- reports */

static void
task_free(struct task *t)
{
	TAILQ_REMOVE(&t->outbox->tasks, t, link);
	t->outbox->count--;
	attempt_free(t->attempt);
	event_free(t->again);
	free(t);
}

static void
task_done(struct task *t)
{
	struct outbox *o = t->outbox;

	task_free(t);
	if (o->draining)
		tell_drained(o);
	else
		pump(o);
}

static void
log_outcome(const struct task *t, const char *outcome, int64_t retry_ms)
{
	const char *target = attempt_target(t->attempt);
	const char *kind = attempt_kind(t->attempt);
	const struct error *e = &t->result.error;

	if (strcmp(outcome, "done") == 0 && attempt_takes_out(t->attempt))
		log_info(target, "%s is out of its entry", kind);
	else if (strcmp(outcome, "done") == 0)
		log_info(target, "%s is published and was read back", kind);
	else if (strcmp(outcome, "nowhere") == 0)
		log_info(target, "%s has no place there: %s", kind, e->text);
	else if (strcmp(outcome, "superseded") == 0)
		log_info(target, "a newer %s stands there already", kind);
	else if (strcmp(outcome, "retry") == 0)
		log_warning(target, "%s is not published: %s%s%s%s; next attempt in %lld s", kind,
		    e->text, e->foreign[0] != '\0' ? " [" : "", e->foreign,
		    e->foreign[0] != '\0' ? "]" : "", (long long)((retry_ms + 999) / 1000));
	else if (strcmp(outcome, "replaced") == 0)
		log_info(target, "a newer %s is wanted meanwhile", kind);
	else
		log_warning(
		    target, "the lease on this %s was lost; its report does not count", kind);
}

static void
on_reported(const char *outcome, int64_t retry_ms, const struct error *err, void *arg)
{
	struct task *t = arg;
	struct outbox *o = t->outbox;

	if (o->stopped) {
		task_free(t);
		(void)answered(o);
		return;
	}
	(void)answered(o);
	t->reporting = false;
	if (outcome != NULL) {
		log_outcome(t, outcome, retry_ms);
		task_done(t);
		return;
	}
	if (error_is_retryable(err) && monotonic_ms() < t->lease_end_ms) {
		set_timer(t->again, REPORT_AGAIN_MS);
		return;
	}
	log_failure(LOG_LEVEL_WARNING, attempt_target(t->attempt), err);
	task_done(t);
}

static void
report(evutil_socket_t fd, short what, void *arg)
{
	static const char *const outcomes[] = {
	    [PUBLISH_FAILED] = "failed",
	    [PUBLISH_SAME] = "done",
	    [PUBLISH_DIFFERENT] = "different",
	    [PUBLISH_NOWHERE] = "nowhere",
	};
	struct task *t = arg;
	struct outbox *o = t->outbox;
	const struct publish_result *r = &t->result;
	struct error err = ERROR_INIT;
	struct db_publish_end end = {
	    .publication = attempt_publication(t->attempt),
	    .epoch = attempt_epoch(t->attempt),
	    .artifact_id = attempt_artifact(t->attempt),
	    .outcome = outcomes[r->outcome],
	    .error = r->outcome != PUBLISH_SAME ? r->error.text : NULL,
	    .read_sha256 = r->outcome == PUBLISH_DIFFERENT ? r->read_sha256 : NULL,
	    .entry = r->entry[0] != '\0' ? r->entry : NULL,
	};

	(void)fd;
	(void)what;
	if (db_publish_report(o->db, &end, on_reported, t, &err)) {
		o->pending++;
		t->reporting = true;
		return;
	}
	if (monotonic_ms() < t->lease_end_ms) {
		set_timer(t->again, REPORT_AGAIN_MS);
		return;
	}
	/* The lease has ended: whoever claims it next finds out how it went. */
	log_failure(LOG_LEVEL_WARNING, attempt_target(t->attempt), &err);
	task_done(t);
}

static void
on_end(struct attempt *a, const struct publish_result *result, void *arg)
{
	struct task *t = arg;

	(void)a;
	t->result = *result;
	t->ended = true;
	report(-1, 0, t);
}

/* ------------------------------------------------------------------ claims */

void
outbox_settings(const struct outbox *o, struct attempt_settings *settings)
{
	*settings = (struct attempt_settings){
	    .base = o->base,
	    .spool = o->spool,
	    .program = o->program,
	    .credentials_dir = o->credentials_dir,
	    .commands_dir = o->commands_dir,
	    .ca_file = o->ca_file,
	    .krb5_config = o->krb5_config,
	    .publish_dirs = o->publish_dirs,
	    .writers = o->writers,
	    .sandbox = o->sandbox,
	};
}

static void
start_task(struct outbox *o, const struct db_publish_claim *c)
{
	struct attempt_settings settings;
	struct task *t = calloc(1, sizeof *t);
	struct error err = ERROR_INIT;

	if (t == NULL || (t->again = evtimer_new(o->base, report, t)) == NULL) {
		error_set(&err, ERROR_SYSTEM, "no memory for a publication");
		goto fail;
	}
	outbox_settings(o, &settings);
	t->outbox = o;
	t->lease_end_ms = o->sent_ms + c->lease_ms;
	t->attempt = attempt_start(
	    &settings, c, t->lease_end_ms - (int64_t)OUTBOX_LEASE_MARGIN_S * 1000, on_end, t, &err);
	if (t->attempt == NULL)
		goto fail;
	TAILQ_INSERT_TAIL(&o->tasks, t, link);
	o->count++;
	return;
fail:
	log_failure(LOG_LEVEL_ERROR, c->target, &err);
	if (t != NULL && t->again != NULL)
		event_free(t->again);
	free(t);
}

static void
on_next(int64_t ms, const struct error *err, void *arg)
{
	struct outbox *o = arg;

	if (!answered(o))
		return;
	o->asking = false;
	if (o->draining) {
		tell_drained(o);
		return;
	}
	if (err != NULL || ms == 0)
		ms = SOON_MS;
	else if (ms < 0 || ms > OUTBOX_POLL_S * 1000)
		ms = OUTBOX_POLL_S * 1000;
	set_timer(o->poll, ms);
	if (o->poked)
		pump(o);
}

static void
on_claimed(const struct db_publish_claim *rows, size_t count, const struct error *err, void *arg)
{
	struct outbox *o = arg;
	struct error ignored = ERROR_INIT;

	if (!answered(o))
		return;
	o->asking = false;
	if (err != NULL && !error_is_retryable(err))
		log_failure(LOG_LEVEL_ERROR, "-", err);
	for (size_t i = 0; i < count; i++)
		start_task(o, &rows[i]);
	if (o->draining) {
		tell_drained(o);
		return;
	}
	if (err == NULL && db_publish_next(o->db, on_next, o, &ignored)) {
		o->pending++;
		o->asking = true;
		return;
	}
	set_timer(o->poll, SOON_MS);
}

static void
on_released(int64_t n, const struct error *err, void *arg)
{
	struct outbox *o = arg;

	if (!answered(o))
		return;
	o->asking = false;
	if (o->draining) {
		tell_drained(o);
		return;
	}
	if (err != NULL) {
		if (!error_is_retryable(err))
			log_failure(LOG_LEVEL_ERROR, "-", err);
		set_timer(o->poll, SOON_MS);
		return;
	}
	if (n > 0)
		log_info(
		    "-", "%lld publications go on where this issuer was interrupted", (long long)n);
	o->released = true;
	pump(o);
}

static bool
send_claim(struct outbox *o, struct error *err)
{
	unsigned room = OUTBOX_COURIERS_MAX - (unsigned)o->count, retries = OUTBOX_RETRIES_MAX;
	int64_t busy[OUTBOX_COURIERS_MAX];
	struct task *t;
	size_t n = 0;

	for (t = TAILQ_FIRST(&o->tasks); t != NULL; t = TAILQ_NEXT(t, link)) {
		busy[n++] = attempt_target_id(t->attempt);
		if (attempt_is_retry(t->attempt) && retries > 0)
			retries--;
	}
	o->sent_ms = monotonic_ms();
	return db_publish_claim(o->db, o->signer_id, room, retries < room ? retries : room,
	    o->attempt_s + OUTBOX_LEASE_MARGIN_S, busy, n, on_claimed, o, err);
}

/* Asks for work if there is room for it. */
static void
pump(struct outbox *o)
{
	struct error err = ERROR_INIT;
	bool sent;

	if (o->draining)
		return;
	if (o->asking || o->count >= OUTBOX_COURIERS_MAX) {
		o->poked = true;
		return;
	}
	o->poked = false;
	if (!o->released)
		sent = db_publish_release(o->db, o->signer_id, on_released, o, &err);
	else
		sent = send_claim(o, &err);
	if (!sent) {
		set_timer(o->poll, SOON_MS);
		return;
	}
	o->pending++;
	o->asking = true;
}

static void
on_poll(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	pump(arg);
}

/* ------------------------------------------------------------------- watch */

static void
on_expiring(
    const struct db_publish_expiring *rows, size_t count, const struct error *err, void *arg)
{
	struct outbox *o = arg;

	(void)err;
	if (!answered(o))
		return;
	for (size_t i = 0; i < count; i++) {
		const struct db_publish_expiring *r = &rows[i];
		const char *why = r->last_error != NULL ? r->last_error
							: "no attempt has ended yet";

		if (r->left_s > 0)
			log_warning(r->target,
			    "what clients get as %s ends in %lld min, and its successor is not "
			    "published "
			    "after %d attempts: %s",
			    r->artifact, (long long)(r->left_s / 60), r->attempts, why);
		else
			log_error(r->target,
			    "what clients get as %s has ended, and its successor is not published "
			    "after "
			    "%d attempts: %s",
			    r->artifact, r->attempts, why);
	}
}

static void
on_rechecked(int64_t n, const struct error *err, void *arg)
{
	struct outbox *o = arg;

	(void)err;
	if (answered(o) && n > 0)
		pump(o);
}

static void
on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct error ignored = ERROR_INIT;
	struct outbox *o = arg;

	(void)fd;
	(void)what;
	if (db_publish_expiring(o->db, on_expiring, o, &ignored))
		o->pending++;
	if (db_publish_recheck(
		o->db, OUTBOX_RECHECK_S, OUTBOX_RECHECK_MAX, on_rechecked, o, &ignored))
		o->pending++;
	if (db_publish_expire(o->db, OUTBOX_EXPIRE_MAX, on_rechecked, o, &ignored))
		o->pending++;
	set_timer(o->watch, (int64_t)o->watch_s * 1000);
}

/* ---------------------------------------------- certificates from before */

static void
on_filled(int64_t ms, const struct error *err, void *arg)
{
	struct outbox *o = arg;

	if (!answered(o))
		return;
	o->filling = false;
	if (err != NULL && !error_is_retryable(err))
		log_failure(LOG_LEVEL_ERROR, "-", err);
	if (!o->draining)
		set_timer(o->fill, err != NULL || ms < 0 ? OUTBOX_POLL_S * 1000 : ms);
}

static void
on_fill(evutil_socket_t fd, short what, void *arg)
{
	struct error ignored = ERROR_INIT;
	struct outbox *o = arg;

	(void)fd;
	(void)what;
	if (o->draining || o->filling)
		return;
	if (db_publish_before(o->db, OUTBOX_BEFORE_MAX, on_filled, o, &ignored)) {
		o->pending++;
		o->filling = true;
	} else {
		set_timer(o->fill, SOON_MS);
	}
}

/* -------------------------------------------------------------------- face */

static bool
copy_string(char **out, const char *text, struct error *err)
{
	*out = NULL;
	if (text != NULL && (*out = strdup(text)) == NULL)
		return error_set_errno(err, ERROR_SYSTEM, "memory for the outbox");
	return true;
}

static bool
keep_config(struct outbox *o, const struct outbox_config *config, struct error *err)
{
	const char *program = config->program != NULL ? config->program : SELF_PROGRAM;

	o->signer_id = config->signer_id;
	o->publish_dirs = config->publish_dirs;
	o->writers = config->writers;
	o->sandbox = config->sandbox;
	o->attempt_s = config->attempt_s > 0 ? config->attempt_s : OUTBOX_ATTEMPT_S;
	o->watch_s = config->watch_s > 0 ? config->watch_s : OUTBOX_WATCH_S;
	return copy_string(&o->program, program, err) &&
	       copy_string(&o->credentials_dir, config->credentials_dir, err) &&
	       copy_string(&o->commands_dir, config->commands_dir, err) &&
	       copy_string(&o->ca_file, config->ca_file, err) &&
	       copy_string(&o->krb5_config, config->krb5_config, err);
}

struct outbox *
outbox_start(
    struct event_base *base, struct db *db, const struct outbox_config *config, struct error *err)
{
	struct outbox *o = calloc(1, sizeof *o);
	char folder[PUBLISH_PATH_MAX];
	int n;

	if (o == NULL) {
		error_set_errno(err, ERROR_SYSTEM, "memory for the outbox");
		return NULL;
	}
	TAILQ_INIT(&o->tasks);
	o->base = base;
	o->db = db;
	n = snprintf(folder, sizeof folder, "%s/spool", config->state_dir);
	if (n < 0 || (size_t)n >= sizeof folder) {
		error_set(err, ERROR_LIMIT, "the path of state_dir is too long");
		goto fail;
	}
	if (!keep_config(o, config, err) || (o->spool = spool_open(base, db, folder, err)) == NULL)
		goto fail;
	if ((o->poll = evtimer_new(base, on_poll, o)) == NULL ||
	    (o->watch = evtimer_new(base, on_watch, o)) == NULL ||
	    (o->fill = evtimer_new(base, on_fill, o)) == NULL) {
		error_set(err, ERROR_SYSTEM, "no memory for the outbox");
		goto fail;
	}
	set_timer(o->poll, 0);
	set_timer(o->fill, 0);
	set_timer(o->watch, (int64_t)o->watch_s * 1000);
	return o;
fail:
	outbox_stop(o);
	return NULL;
}

void
outbox_poke(struct outbox *o)
{
	pump(o);
	if (!o->draining && !o->filling)
		set_timer(o->fill, 0);
}

void
outbox_drain(struct outbox *o, void (*drained)(void *arg), void *arg)
{
	o->draining = true;
	o->drained = drained;
	o->drained_arg = arg;
	(void)event_del(o->poll);
	tell_drained(o);
}

void
outbox_stop(struct outbox *o)
{
	struct task *t, *next;

	if (o == NULL)
		return;
	o->stopped = true;
	for (t = TAILQ_FIRST(&o->tasks); t != NULL; t = next) {
		next = TAILQ_NEXT(t, link);
		/* One that waits for an answer goes with it. */
		if (!t->reporting)
			task_free(t);
	}
	spool_close(o->spool);
	if (o->poll != NULL)
		event_free(o->poll);
	if (o->watch != NULL)
		event_free(o->watch);
	if (o->fill != NULL)
		event_free(o->fill);
	free_if_idle(o);
}
