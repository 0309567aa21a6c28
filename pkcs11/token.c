/* A token, or a group's, opened by one view of the module after the other, and closed. */

#include "pkcs11/token_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "daemon/core/monotonic.h"
#include "pkcs11/call.h"

#define VIEWS_MAX 5
#define VIEW_PAUSE_MS 100
#define VIEWS_S 10 /* no further view after this, however slow the module is */

void
token_stagger(unsigned int pause_ms, unsigned int attempt)
{
	uint16_t random = 0;
	unsigned int ms;

	if (getrandom(&random, sizeof random, 0) < 0)
		random = (uint16_t)getpid();
	ms = pause_ms * attempt + random % (pause_ms * attempt);
	(void)nanosleep(
	    &(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

/* ---- a view of the token */

/* Should the module die over this one, the next process begins with the others. */
static bool
open_on_record(struct token *t, struct token_opening *o, size_t i, struct error *e)
{
	bool ok;

	t->m = &t->members[i];
	(void)call_about((int)i);
	group_begin_opening(t->config, o->state_dir, i);
	ok = token_open_alone(t, o, e);
	group_end_opening(t->config, o->state_dir, i);
	return ok;
}

static bool
open_view(struct token *t, struct token_opening *os, struct error *e)
{
	struct error first = ERROR_INIT;

	for (size_t i = 0; i < t->count; i++)
		os[i].raced = false;
	if (!token_find_members(t, os, e))
		return false;
	for (size_t i = 0; i < t->count; i++) {
		struct error why = ERROR_INIT;

		if (!os[i].found)
			continue;
		if (open_on_record(t, &os[i], i, &why)) {
			t->m->standing = TOKEN_OPEN;
			continue;
		}
		token_keep_reason(t, i, &why);
		if (!error_is_set(&first))
			first = why;
	}
	(void)call_about(CALL_OF_NONE);
	if (token_choose_first(t))
		return true;
	*e = first;
	return false;
}

/* The session is the last one: its end logs out. */
static void
close_view(struct token *t)
{
	for (size_t i = 0; i < t->count; i++) {
		(void)call_about((int)i);
		session_close(&t->members[i].keeper);
		t->members[i].standing = TOKEN_AWAY;
	}
	(void)call_about(CALL_OF_NONE);
	module_close(t->module);
	t->module = NULL;
}

/* Who is under blame is left alone, as long as that is not all of them. */
static bool
begin_members(struct token *t, const char *state_dir, const char *only, struct token_opening *os,
    struct error *e)
{
	int64_t now = (int64_t)time(NULL);
	size_t wanted = 0;

	for (size_t i = 0; i < t->count; i++) {
		os[i] = (struct token_opening){
		    .config = t->config, .state_dir = state_dir, .state = SIGNPROTO_MODULE_BROKEN};
		if (!group_dir(t->config, state_dir, i, os[i].dir, e))
			return false;
		os[i].skipped = only != NULL ? strcmp(group_name(t->config, i), only) != 0
					     : group_is_blamed(t->config, state_dir, i, now);
		wanted += !os[i].skipped;
		if (os[i].skipped)
			(void)snprintf(t->members[i].why, sizeof t->members[i].why,
			    "it failed a moment ago and is left alone for a while");
	}
	if (wanted == 0 && only != NULL)
		return error_set(
		    e, ERROR_CONFIG, "token '%s' has no member '%s'", t->config->name, only);
	for (size_t i = 0; i < t->count && wanted == 0; i++)
		os[i].skipped = false;
	return true;
}

static bool
has_raced(const struct token *t, const struct token_opening *os)
{
	for (size_t i = 0; i < t->count; i++) {
		if (os[i].raced)
			return true;
	}
	return false;
}

static bool
open_views(struct token *t, struct token_opening *os, struct error *e)
{
	int64_t until = monotonic_s() + VIEWS_S;
	struct error why = ERROR_INIT;

	for (unsigned int view = 1;; view++) {
		error_clear(&why);
		if (open_view(t, os, &why))
			return true;
		if (!has_raced(t, os) || view == VIEWS_MAX || monotonic_s() >= until)
			break;
		close_view(t);
		token_stagger(VIEW_PAUSE_MS, view);
	}
	*e = why;
	return false;
}

/* ---- opening and closing */

/* What was there and did not open would be tried again as soon as somebody looks. */
static void
note_members(const struct token *t, const struct token_opening *os)
{
	for (size_t i = 0; i < t->count; i++) {
		if (!os[i].found)
			continue;
		group_note_slot(t->config, os[i].state_dir, i, t->members[i].info.slot);
		if (t->members[i].standing != TOKEN_OPEN)
			group_blame(t->config, os[i].state_dir, i, (int64_t)time(NULL));
	}
}

/* Of all that were tried the first one's state stands for them. */
static enum signproto_state
state_of(const struct token *t, const struct token_opening *os, bool ok)
{
	for (size_t i = 0; i < t->count; i++) {
		if (ok ? &t->members[i] == t->m : !os[i].skipped)
			return os[i].state;
	}
	return SIGNPROTO_TOKEN_AWAY;
}

bool
token_open_member(const struct config_token *config, const char *state_dir, const char *only,
    struct token **token, enum signproto_state *state, struct error *e)
{
	struct token_opening *os = calloc(group_count(config), sizeof *os);
	struct token *t = calloc(1, sizeof *t);
	bool ok = false;

	*token = NULL;
	*state = SIGNPROTO_MODULE_BROKEN;
	if (t == NULL || os == NULL) {
		free(t);
		free(os);
		return error_set(e, ERROR_SYSTEM, "no memory for token '%s'", config->name);
	}
	(void)pthread_mutex_init(&t->lock, NULL);
	t->config = config;
	t->count = group_count(config);
	t->m = &t->members[0];
	if (begin_members(t, state_dir, only, os, e)) {
		ok = open_views(t, os, e);
		*state = state_of(t, os, ok);
		if (ok && only == NULL)
			note_members(t, os);
	}
	free(os);
	if (ok)
		*token = t;
	else
		token_close(t);
	return ok;
}

bool
token_open(const struct config_token *config, const char *state_dir, struct token **token,
    enum signproto_state *state, struct error *e)
{
	return token_open_member(config, state_dir, NULL, token, state, e);
}

void
token_close(struct token *t)
{
	if (t == NULL)
		return;
	close_view(t);
	(void)pthread_mutex_destroy(&t->lock);
	free(t);
}

/* ---- what is asked of it */

bool
token_is_lost(const struct token *t)
{
	return t->m->keeper.fatal;
}

bool
token_is_logged_in(const struct token *t)
{
	return t->logged_in;
}

const struct config_token *
token_config(const struct token *t)
{
	return t->config;
}

const struct token_info *
token_info(const struct token *t)
{
	return &t->m->info;
}

const CK_FUNCTION_LIST *
token_functions(const struct token *t)
{
	return module_functions(t->module);
}

const char *
token_login_record(const struct token *t, size_t number)
{
	return number < t->record_count ? t->record[number] : NULL;
}

unsigned int
token_thread_limit(const struct token *t, unsigned int wanted)
{
	return module_is_thread_safe(t->module) ? wanted : 1;
}
