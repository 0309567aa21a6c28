#include "pkcs11/signer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include <event2/event.h>

#include "daemon/core/log.h"
#include "pkcs11/call.h"
#include "pkcs11/group.h"
#include "pkcs11/signer_int.h"
#include "pkcs11/signer_watch.h"
#include "pkcs11/store.h"

/* What comes back by itself is looked for this often. */
#define RETRY_TOKEN_MS 300
#define RETRY_MODULE_MS 2000
#define RETRY_JOURNAL_MS 10000
/* How long the issuer's first requests wait for the token to be opened. */
#define PATIENCE_S 5
/* The anchor on the token follows the journal this often. */
#define ANCHOR_S 60
/* While nothing is to be signed, the token is asked this often whether it is there. */
#define CHECK_S 5
/* At the end: rounds to get the last answers out. */
#define FLUSH_ROUND_MS 10
#define FLUSH_ROUNDS 50
/* And for a module that is just opening the token to come to its end. */
#define OPENING_END_S 10

#define EXIT_JOURNAL_FAILED 4

void
signer_set_state(struct signer *s, enum signproto_state state, const char *text)
{
	if (s->state != state || s->since == 0)
		s->since = (uint64_t)time(NULL);
	s->state = state;
	(void)snprintf(s->state_text, sizeof s->state_text, "%s", text);
	role_status(s->role, "%s: %s", signproto_state_name(state), s->state_text);
}

/* Ends the process once the last answers are on their way. */
static void
flush(struct signer *s)
{
	struct timeval round = {.tv_usec = FLUSH_ROUND_MS * 1000};

	if (s->flush_left > 0 && s->channel != NULL && channel_queued(s->channel) > 0) {
		s->flush_left--;
		(void)event_add(s->flush, &round);
	} else {
		role_stop(s->role, s->exit_status);
	}
}

static void
on_flush(evutil_socket_t fd, short what, void *arg)
{
	flush(arg);
}

void
signer_end(struct signer *s, int status)
{
	if (s->ending)
		return;
	s->ending = true;
	s->exit_status = status;
	s->flush_left = FLUSH_ROUNDS;
	flush(s);
}

void
signer_end_when_idle(struct signer *s)
{
	if (!signer_is_idle(s))
		return;
	if (role_is_draining(s->role))
		signer_end(s, 0);
	else if (s->leaving)
		signer_end(s, ROLE_EXIT_TOKEN_LOST);
}

/* ---- the issuer's channel */

static void
on_frame(struct channel *c, uint16_t type, uint64_t id, struct bytes payload, void *arg)
{
	signer_request(arg, type, id, payload);
}

static void
on_closed(struct channel *c, const struct error *why, void *arg)
{
	struct signer *s = arg;

	if (error_is_set(why))
		signer_give_up_channel(s, why);
	channel_free(c);
	s->channel = NULL;
	signer_forget_requests(s);
	log_info(s->token_config->name, "the issuer closed its channel");
	signer_end_when_idle(s);
}

static const struct channel_callbacks channel_handlers = {.frame = on_frame, .closed = on_closed};

void
signer_give_up_channel(struct signer *s, const struct error *why)
{
	log_failure(LOG_LEVEL_ERROR, s->token_config->name, why);
	role_stop(s->role, 1);
}

static void
on_signer_channel(const char *token, int fd, void *arg)
{
	struct error why = ERROR_INIT;
	struct signer *s = arg;

	if (strcmp(token, s->token_config->name) != 0) {
		log_error(s->token_config->name, "got a channel for token '%s'", token);
		(void)close(fd);
		return;
	}
	/* A fresh one: whoever had the old one is gone. */
	channel_free(s->channel);
	signer_forget_requests(s);
	s->channel = channel_new(role_base(s->role), fd, &channel_handlers, s, &why);
	if (s->channel == NULL)
		signer_give_up_channel(s, &why);
	else if (!s->tried)
		channel_pause(s->channel);
}

/* ---- opening the token */

static void
wake(const struct signer *s)
{
	uint64_t one = 1;

	if (write(s->wake_fd, &one, sizeof one) < 0)
		return;
}

static void *
opening_main(void *arg)
{
	struct signer *s = arg;
	struct opening *o = &s->opening;
	struct pool_place place = {
	    .state_dir = s->state_dir,
	    .token = s->token_config->name,
	    .signer_id = s->config->issuer.signer_id,
	    .lease_s = s->token_config->crl_lease_s,
	};

	o->ok = token_open(s->token_config, s->state_dir, &o->token, &o->state, &o->why);
	if (o->ok)
		(void)call_about((int)token_first(o->token));
	if (o->ok && !signer_join_members(s, o->token, &o->why)) {
		o->ok = false;
		o->state = SIGNPROTO_TOKEN_AWAY;
	}
	if (o->ok && signer_has_gate(s)) {
		o->ok = signer_new_gate(s, o->token, &o->gate, &o->why);
		o->state = SIGNPROTO_TOKEN_AWAY;
	} else if (o->ok && !signer_open_journal(s, o->token, &o->journal, &o->why)) {
		o->ok = false;
		o->state = o->why.source == ERROR_PKCS11 ? SIGNPROTO_TOKEN_AWAY : SIGNPROTO_CLOSED;
	}
	place.journal = o->journal;
	place.stays_logged_in = o->ok && s->token_config->access == CONFIG_ACCESS_AUTO &&
				(token_info(o->token)->flags & CKF_LOGIN_REQUIRED) != 0;
	place.gate = o->gate;
	if (o->ok &&
	    !pool_new(o->token, &place, s->token_config->threads, s->wake_fd, &o->pool, &o->why)) {
		o->ok = false;
		o->state = SIGNPROTO_TOKEN_AWAY;
	}
	if (!o->ok) {
		gate_free(o->gate);
		o->gate = NULL;
		journal_free(o->journal);
		token_close(o->token);
		o->journal = NULL;
		o->token = NULL;
	}
	(void)pthread_mutex_lock(&o->lock);
	o->done = true;
	(void)pthread_mutex_unlock(&o->lock);
	wake(s);
	return NULL;
}

static void
open_token(struct signer *s)
{
	struct opening *o = &s->opening;
	sigset_t all, before;
	bool started;

	o->done = o->ok = false;
	o->why = ERROR_INIT;
	/* Signals are the loop's. */
	(void)sigfillset(&all);
	(void)sigdelset(&all, SIGSYS); /* the sandbox names the call */
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	started = pthread_create(&o->thread, NULL, opening_main, s) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
	o->running = started;
	if (!started) {
		log_error(s->token_config->name, "cannot start a thread to open the token");
		signer_end(s, 1);
	}
}

/* From now on the process serves, one way or the other. */
static void
end_patience(struct signer *s)
{
	if (s->tried)
		return;
	s->tried = true;
	role_ready(s->role);
	if (s->channel != NULL)
		channel_resume(s->channel);
}

static void
schedule_retry(struct signer *s)
{
	unsigned int ms = s->state == SIGNPROTO_MODULE_BROKEN ? RETRY_MODULE_MS
			  : s->state == SIGNPROTO_CLOSED      ? RETRY_JOURNAL_MS
							      : RETRY_TOKEN_MS;
	struct timeval after = {.tv_sec = ms / 1000, .tv_usec = (long)(ms % 1000) * 1000};

	(void)event_add(s->retry, &after);
}

/* The same failure again and again is one line in the log. */
static void
opening_failed(struct signer *s, const struct opening *o)
{
	bool news = s->state != o->state || strcmp(s->state_text, o->why.text) != 0;

	if (news)
		log_failure(LOG_LEVEL_ERROR, s->token_config->name, &o->why);
	signer_set_state(s, o->state, o->why.text);
	schedule_retry(s);
}

static void
take_opened(struct signer *s, struct opening *o)
{
	s->token = o->token;
	s->journal = o->journal;
	s->gate = o->gate;
	s->pool = o->pool;
	o->token = NULL;
	o->gate = NULL;
	o->journal = NULL;
	o->pool = NULL;
}

static void
opening_succeeded(struct signer *s, struct opening *o)
{
	take_opened(s, o);
	signer_note_members(s);
	if (s->gate == NULL) {
		signer_look_at_journal(s);
	} else {
		signer_announce(s);
		signer_look_at_gate(s);
	}
}

void
signer_look_at_journal(struct signer *s)
{
	char text[ERROR_TEXT_MAX];

	if (signer_describe_journal(s, text) == SIGNPROTO_CLOSED) {
		log_error(s->token_config->name, "%s", text);
		signer_set_state(s, SIGNPROTO_CLOSED, text);
		return;
	}
	signer_describe_token(s, text, sizeof text);
	log_info(s->token_config->name, "ready: %s", text);
	signer_set_state(s, SIGNPROTO_READY, text);
}

static void
check_opening(struct signer *s)
{
	struct opening *o = &s->opening;
	bool done;

	if (!o->running)
		return;
	(void)pthread_mutex_lock(&o->lock);
	done = o->done;
	(void)pthread_mutex_unlock(&o->lock);
	if (!done)
		return;
	(void)pthread_join(o->thread, NULL);
	o->running = false;
	if (o->ok)
		opening_succeeded(s, o);
	else
		opening_failed(s, o);
	end_patience(s);
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	open_token(arg);
}

static void
on_patience(evutil_socket_t fd, short what, void *arg)
{
	struct signer *s = arg;

	if (!s->tried)
		log_warning(s->token_config->name, "the module has been opening the token for %d s",
		    PATIENCE_S);
	end_patience(s);
}

/* ---- losing the token, and the end */

/* Where persons have the PIN, nothing goes round without them; and of a group another one
 * is taken. */
static bool
counts_losses(const struct signer *s)
{
	return s->token_config->access == CONFIG_ACCESS_AUTO && group_count(s->token_config) == 1;
}

void
signer_note_success(struct signer *s)
{
	if (s->losses.count > 0)
		losses_end(&s->losses, s->state_dir);
}

static void
lose_token(struct signer *s, const struct error *seen, int member, int status)
{
	struct error why = ERROR_INIT;

	signer_blame(s, member);
	if (counts_losses(s))
		losses_add(&s->losses, s->state_dir,
		    s->state == SIGNPROTO_READY ? (int64_t)time(NULL) - (int64_t)s->since : 0,
		    seen->text, (int64_t)time(NULL));
	s->lost = true;
	(void)error_set_foreign(&why, ERROR_UNAVAILABLE, seen->source, seen->foreign,
	    "token '%s' was lost: %s", s->token_config->name, seen->text);
	log_error(s->token_config->name, "%s; starting again", why.text);
	signer_set_state(s, SIGNPROTO_TOKEN_AWAY, why.text);
	signer_fail_all(s, &why);
	signer_end(s, status);
}

/* Nobody knows any more what the disk has; a new process reads it back. */
static void
lose_journal(struct signer *s, const struct error *seen)
{
	struct error why = ERROR_INIT;

	s->lost = true;
	(void)error_set_foreign(&why, ERROR_UNAVAILABLE, seen->source, seen->foreign,
	    "token '%s': %s", s->token_config->name, seen->text);
	log_error(s->token_config->name, "%s; starting again", why.text);
	signer_set_state(s, SIGNPROTO_CLOSED, why.text);
	signer_fail_all(s, &why);
	signer_end(s, EXIT_JOURNAL_FAILED);
}

static void
on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct signer *s = arg;
	int hanging = CALL_OF_NONE;
	struct error why;
	size_t failed = 0;
	uint64_t count;

	if (read(fd, &count, sizeof count) < 0 && errno != EAGAIN)
		log_error(s->token_config->name, "cannot read the signing threads' eventfd");
	check_opening(s);
	if (s->lost)
		return;
	if (signer_watch_is_late(s->watch, &hanging, &why)) {
		if (s->gate != NULL)
			gate_abandon(s->gate);
		lose_token(s, &why, signer_hanging_member(s, hanging), ROLE_EXIT_MODULE_HUNG);
		return;
	}
	if (s->pool == NULL)
		return;
	signer_answer_done(s);
	switch (pool_failed(s->pool, &failed, &why)) {
	case POOL_TOKEN_LOST:
		lose_token(s, &why, (int)failed, ROLE_EXIT_TOKEN_LOST);
		break;
	case POOL_JOURNAL_FAILED:
		lose_journal(s, &why);
		break;
	case POOL_WORKS:
		signer_end_when_idle(s);
		break;
	}
}

static void
on_anchor(evutil_socket_t fd, short what, void *arg)
{
	signer_anchor_soon(arg);
}

/* Requests find out themselves. */
static void
on_check(evutil_socket_t fd, short what, void *arg)
{
	struct signer *s = arg;
	struct job *job;

	if (s->pool == NULL || s->state != SIGNPROTO_READY || s->lost || s->ending || s->checking ||
	    s->pending_count > 0)
		return;
	job = job_new(JOB_CHECK, (struct bytes){0}, (struct bytes){0});
	if (job == NULL)
		return;
	s->checking = true;
	signer_submit(s, job);
}

static void
on_drain(void *arg)
{
	signer_end_when_idle(arg);
}

static void
on_reload(void *arg)
{
	struct error why = ERROR_INIT;
	struct signer *s = arg;
	struct config fresh;

	/* What concerns the token itself makes the supervisor restart us. */
	if (!config_load_for_role(s->config->path, &fresh, &why)) {
		log_failure(LOG_LEVEL_ERROR, s->token_config->name, &why);
		return;
	}
	log_init("signer", fresh.log_level);
	config_free(&fresh);
}

static const struct role_callbacks role_handlers = {
    .on_signer_channel = on_signer_channel,
    .on_reload = on_reload,
    .on_drain = on_drain,
};

/* ---- life */

static bool
make_state_dir(struct signer *s, struct error *e)
{
	return store_signer_dir(
		   s->config, s->token_config->name, s->state_dir, sizeof s->state_dir, e) &&
	       store_make_dir(s->state_dir, e);
}

static bool
set_up(struct signer *s, int control_fd, struct error *e)
{
	struct timeval patience = {.tv_sec = PATIENCE_S}, period = {.tv_sec = ANCHOR_S};
	struct timeval check = {.tv_sec = CHECK_S};
	struct event_base *base;

	s->role = role_new("signer", control_fd, &role_handlers, s, e);
	if (s->role == NULL || !make_state_dir(s, e) || !signer_set_up_pin(s, e) ||
	    !signer_set_up_group(s, e))
		return false;
	base = role_base(s->role);
	s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake_fd < 0 || getrandom(&s->instance, sizeof s->instance, 0) < 0)
		return error_set_errno(e, ERROR_SYSTEM, "cannot set the signer up");
	s->watch = signer_watch_new(s->token_config->name, s->token_config->call_timeout_s,
	    s->wake_fd, ROLE_EXIT_MODULE_HUNG, e);
	if (s->watch == NULL)
		return false;
	s->wake = event_new(base, s->wake_fd, EV_READ | EV_PERSIST, on_wake, s);
	s->retry = evtimer_new(base, on_retry, s);
	s->patience = evtimer_new(base, on_patience, s);
	s->flush = evtimer_new(base, on_flush, s);
	s->anchor = event_new(base, -1, EV_PERSIST, on_anchor, s);
	s->check = event_new(base, -1, EV_PERSIST, on_check, s);
	if (s->wake == NULL || s->retry == NULL || s->patience == NULL || s->flush == NULL ||
	    s->anchor == NULL || s->check == NULL || event_add(s->check, &check) != 0 ||
	    event_add(s->wake, NULL) != 0 || event_add(s->patience, &patience) != 0 ||
	    event_add(s->anchor, &period) != 0)
		return error_set(e, ERROR_SYSTEM, "cannot set the signer's events up");
	return true;
}

static void
free_event(struct event *ev)
{
	if (ev != NULL)
		event_free(ev);
}

static void
tear_down(struct signer *s)
{
	channel_free(s->channel);
	signer_forget_requests(s);
	pool_free(s->pool);
	signer_close_gate(s);
	signer_close_journal(s, s->journal, s->token);
	token_close(s->token);
	signer_tear_down_pin(s);
	signer_watch_free(s->watch);
	free_event(s->wake);
	free_event(s->retry);
	free_event(s->patience);
	free_event(s->flush);
	free_event(s->anchor);
	free_event(s->check);
	free_event(s->look);
	if (s->wake_fd >= 0)
		(void)close(s->wake_fd);
	role_free(s->role);
	(void)pthread_mutex_destroy(&s->opening.lock);
	(void)pthread_mutex_destroy(&s->looking.lock);
	free(s);
}

/*
 * SoftHSM writes the token's file anew at each login: a process that ends in
 * that moment leaves an empty one, and the token is gone.
 */
static void
end_opening(struct signer *s)
{
	struct opening *o = &s->opening;
	struct timespec until;

	if (!o->running || s->lost || clock_gettime(CLOCK_REALTIME, &until) != 0)
		return;
	until.tv_sec += OPENING_END_S;
	if (pthread_timedjoin_np(o->thread, NULL, &until) != 0)
		return;
	o->running = false;
	if (o->ok)
		take_opened(s, o);
}

/*
 * A thread may be inside the module and never come back; joining it, or
 * unloading the module under it, would be worse than leaving at once.
 */
static NORETURN void
leave_at_once(struct signer *s, int status)
{
	if (s->pool != NULL)
		pool_abandon(s->pool);
	if (s->opening.running)
		(void)pthread_detach(s->opening.thread);
	_exit(status);
}

/* At once; later, if that was of no use again and again. */
static void
begin(struct signer *s)
{
	char text[ERROR_TEXT_MAX];
	struct timeval pause;
	uint16_t random = 0;
	unsigned ms;

	if (counts_losses(s))
		losses_load(&s->losses, s->state_dir);
	if (getrandom(&random, sizeof random, 0) < 0)
		random = (uint16_t)getpid();
	ms = losses_pause_ms(&s->losses, random);
	if (ms == 0) {
		signer_set_state(s, SIGNPROTO_TOKEN_AWAY, "the token is being opened");
		open_token(s);
		return;
	}
	losses_text(&s->losses, text);
	log_error(s->token_config->name, "%s; next in %u ms", text, ms);
	signer_set_state(s, SIGNPROTO_TOKEN_AWAY, text);
	s->since = (uint64_t)s->losses.since;
	pause = (struct timeval){.tv_sec = ms / 1000, .tv_usec = (long)(ms % 1000) * 1000};
	(void)event_add(s->retry, &pause);
	end_patience(s);
}

int
signer_main(const struct config *config, const struct config_token *token, int control_fd)
{
	struct signer *s = calloc(1, sizeof *s);
	struct error why = ERROR_INIT;
	int status = 1;

	if (s == NULL)
		return 1;
	s->config = config;
	s->token_config = token;
	s->wake_fd = -1;
	(void)pthread_mutex_init(&s->opening.lock, NULL);
	(void)pthread_mutex_init(&s->looking.lock, NULL);
	if (!set_up(s, control_fd, &why)) {
		log_failure(LOG_LEVEL_ERROR, token->name, &why);
		tear_down(s);
		return 1;
	}
	begin(s);
	status = role_run(s->role);
	end_opening(s);
	if (!signer_tear_down_group(s) || s->lost || s->opening.running || s->pending_count > 0)
		leave_at_once(s, status);
	tear_down(s);
	return status;
}
