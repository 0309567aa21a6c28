/* The loop's part of groups: what status says of their tokens, and those that come back. */

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"
#include "pkcs11/anchor.h"
#include "pkcs11/call.h"
#include "pkcs11/group.h"
#include "pkcs11/group_keys.h"
#include "pkcs11/signer_int.h"

/* For what has gone this often, and for the keys of what is refused. */
#define LOOK_MS 1000
#define COMPARE_MS 60000
/* At the end the thread that looks is waited for so long. */
#define LOOK_END_S 2
/* What is under way when a token is to be taken in again has so much time. */
#define LEAVE_MS 60000

static bool
is_group(const struct signer *s)
{
	return group_count(s->token_config) > 1;
}

/* ---- what people read */

static bool
signs(const struct signer *s, size_t member)
{
	return member == token_first(s->token) || s->token_config->spread;
}

static size_t
describe_member(const struct signer *s, size_t i, char *text, size_t size)
{
	struct token_member m;
	int n;

	token_member(s->token, i, &m);
	if (m.standing == TOKEN_OPEN)
		n = snprintf(text, size, "%s'%s' %s", i > 0 ? "; " : "", m.name,
		    signs(s, i) ? "signs" : "stands by");
	else
		n = snprintf(text, size, "%s'%s' is %s: %.200s", i > 0 ? "; " : "", m.name,
		    m.standing == TOKEN_REFUSED ? "refused" : "away", m.why);
	return n < 0 || (size_t)n >= size ? size - 1 : (size_t)n;
}

void
signer_describe_token(const struct signer *s, char *text, size_t size)
{
	const struct token_info *info = token_info(s->token);
	size_t at;

	if (!is_group(s)) {
		(void)snprintf(text, size, "token '%s' (serial %s, %s) with %u signing threads",
		    info->label, info->serial, info->model, pool_threads(s->pool));
		return;
	}
	at = (size_t)snprintf(text, size,
	    "a group of %zu tokens with %u signing threads: ", token_members(s->token),
	    pool_threads(s->pool));
	for (size_t i = 0; i < token_members(s->token) && at < size - 1; i++)
		at += describe_member(s, i, text + at, size - at);
}

/* ---- how it begins */

bool
signer_join_members(const struct signer *s, struct token *token, struct error *e)
{
	struct anchor_mirror mirrors[CONFIG_MEMBERS_MAX];
	size_t count = 0;

	if (!is_group(s))
		return true;
	anchor_set_mirrors(NULL, 0);
	if (!group_check_keys(token, s->state_dir, e))
		return false;
	group_share_floors(token, s->state_dir);
	for (size_t i = 0; i < token_members(token); i++) {
		struct token_member m;

		token_member(token, i, &m);
		if (m.standing == TOKEN_OPEN)
			mirrors[count++] = (struct anchor_mirror){m.info->slot, i};
	}
	anchor_set_mirrors(mirrors, count);
	return true;
}

void
signer_note_members(struct signer *s)
{
	s->noted_ms = s->compared_ms = monotonic_ms();
	group_begin_use(s->token_config, s->state_dir, token_first(s->token));
	for (size_t i = 0; is_group(s) && i < token_members(s->token); i++) {
		struct token_member m;

		token_member(s->token, i, &m);
		s->was_open[i] = m.standing == TOKEN_OPEN;
	}
}

void
signer_blame(const struct signer *s, int member)
{
	if (is_group(s) && member >= 0)
		group_blame(s->token_config, s->state_dir, (size_t)member, (int64_t)time(NULL));
}

/* ---- what changes */

/* Those that only stood by: what signs finds out by itself. */
static void
find_lost(struct signer *s)
{
	struct error why = ERROR_INIT;
	size_t lost;

	while (anchor_mirror_failed(&lost, &why)) {
		if (lost != token_first(s->token))
			token_lose(s->token, lost, &why);
		error_clear(&why);
	}
	for (size_t i = 0; i < token_members(s->token); i++) {
		struct token_member m;

		token_member(s->token, i, &m);
		if (s->was_open[i] && m.standing == TOKEN_AWAY) {
			s->was_open[i] = false;
			log_warning(s->token_config->name, "'%s' is away: %s", m.name, m.why);
			signer_blame(s, (int)i);
		}
	}
}

static void
tell(struct signer *s)
{
	char text[ERROR_TEXT_MAX];

	signer_describe_token(s, text, sizeof text);
	if (s->state == SIGNPROTO_READY && strcmp(text, s->state_text) != 0)
		signer_set_state(s, SIGNPROTO_READY, text);
}

/* ---- what comes back */

static void *
look_main(void *arg)
{
	struct signer *s = arg;
	struct looking *l = &s->looking;
	struct error ignored = ERROR_INIT;
	bool found;

	call_leave_alone();
	found = l->refused ? group_check_member(s->token, s->state_dir, l->member, &ignored)
			   : token_look(s->token, s->state_dir, l->member, &ignored);
	(void)pthread_mutex_lock(&l->lock);
	l->done = true;
	l->found = found;
	(void)pthread_mutex_unlock(&l->lock);
	return NULL;
}

static void
start_looking(struct signer *s, size_t member, bool refused)
{
	struct looking *l = &s->looking;
	sigset_t all, before;

	l->done = l->found = false;
	l->member = member;
	l->refused = refused;
	/* Signals are the loop's. */
	(void)sigfillset(&all);
	(void)sigdelset(&all, SIGSYS); /* the sandbox names the call */
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	l->running = pthread_create(&l->thread, NULL, look_main, s) == 0;
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* In good order, between requests: all sessions and threads are dealt out anew. */
static void
leave(struct signer *s, size_t member, const char *why)
{
	log_info(s->token_config->name, "'%s' %s; starting again",
	    group_name(s->token_config, member), why);
	s->leaving = true;
	s->noted_ms = monotonic_ms();
	signer_end_when_idle(s);
}

/* A module that takes one call at a time cannot be asked beside the one that signs. */
static bool
look_by_starting(struct signer *s, size_t member)
{
	if (token_thread_limit(s->token, 2) > 1)
		return false;
	if (signer_is_idle(s) && monotonic_ms() - s->noted_ms >= COMPARE_MS)
		leave(s, member, "may be back");
	return true;
}

/* The next that is worth it, after the one that was looked at last. */
static void
look_for_one(struct signer *s)
{
	int64_t now_ms = monotonic_ms(), now = (int64_t)time(NULL);
	bool compare = now_ms - s->compared_ms >= COMPARE_MS;
	size_t last = s->looking.member;

	for (size_t k = 1; k <= token_members(s->token) && !s->looking.running; k++) {
		size_t i = (last + k) % token_members(s->token);
		struct token_member m;

		token_member(s->token, i, &m);
		if (m.standing == TOKEN_OPEN || (m.standing == TOKEN_REFUSED && !compare) ||
		    group_is_blamed(s->token_config, s->state_dir, i, now))
			continue;
		if (look_by_starting(s, i))
			return;
		start_looking(s, i, m.standing == TOKEN_REFUSED);
		if (m.standing == TOKEN_REFUSED)
			s->compared_ms = now_ms;
	}
}

static void
take_result(struct signer *s)
{
	struct looking *l = &s->looking;
	bool done, found;

	(void)pthread_mutex_lock(&l->lock);
	done = l->done;
	found = l->found;
	(void)pthread_mutex_unlock(&l->lock);
	if (!done)
		return;
	(void)pthread_join(l->thread, NULL);
	l->running = false;
	if (found)
		leave(s, l->member, "is back");
}

/* The thread that looks is in a call that has used up its time. */
static bool
look_hangs(const struct signer *s, struct call *c)
{
	return s->looking.running && call_worst_alone(s->token_config->call_timeout_s, c) &&
	       c->age_ms >= c->limit_ms;
}

int
signer_hanging_member(const struct signer *s, int member)
{
	struct call c;

	if (!look_hangs(s, &c))
		return member;
	return c.member != CALL_OF_NONE ? c.member : (int)s->looking.member;
}

/* Beside that call neither it nor another one can be looked for: a new process leaves it alone
 * for a while. */
static void
give_up_looking(struct signer *s)
{
	int member = signer_hanging_member(s, CALL_OF_NONE);

	if (member == CALL_OF_NONE)
		return;
	signer_blame(s, member);
	leave(s, (size_t)member, "does not answer who looks for it");
}

static void
on_look(evutil_socket_t fd, short what, void *arg)
{
	struct signer *s = arg;

	if (s->token == NULL || s->pool == NULL || s->lost || s->ending ||
	    role_is_draining(s->role))
		return;
	if (s->leaving) {
		if (monotonic_ms() - s->noted_ms >= LEAVE_MS)
			signer_end(s, ROLE_EXIT_TOKEN_LOST);
		return;
	}
	find_lost(s);
	if (s->looking.running)
		take_result(s);
	if (s->looking.running)
		give_up_looking(s);
	else if (!s->leaving)
		look_for_one(s);
	tell(s);
}

/* ---- */

bool
signer_set_up_group(struct signer *s, struct error *e)
{
	struct timeval period = {.tv_sec = LOOK_MS / 1000, .tv_usec = LOOK_MS % 1000 * 1000};

	if (!is_group(s))
		return true;
	group_look_back(s->token_config, s->state_dir, (int64_t)time(NULL));
	s->look = event_new(role_base(s->role), -1, EV_PERSIST, on_look, s);
	return (s->look != NULL && event_add(s->look, &period) == 0) ||
	       error_set(e, ERROR_SYSTEM, "cannot set the signer's events up");
}

bool
signer_tear_down_group(struct signer *s)
{
	struct timespec until;
	struct call c;

	group_end_use(s->token_config, s->state_dir);
	if (!s->looking.running)
		return true;
	if (look_hangs(s, &c) || clock_gettime(CLOCK_REALTIME, &until) != 0)
		return false;
	until.tv_sec += LOOK_END_S;
	if (pthread_timedjoin_np(s->looking.thread, NULL, &until) != 0)
		return false;
	s->looking.running = false;
	return true;
}
