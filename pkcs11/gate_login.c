/* Logging in and out with a person's PIN, and what is written down about it. */

#include <string.h>

#include "daemon/core/log.h"
#include "pkcs11/gate_int.h"
#include "pkcs11/journal_anchor.h"

static const char *
name_of(const struct gate *g)
{
	return g->o.access->config->name;
}

static void
set_lost(struct gate *g)
{
	(void)pthread_mutex_lock(&g->lock);
	g->lost |= token_is_lost(g->o.token);
	(void)pthread_mutex_unlock(&g->lock);
}

/* The journal's failure ends the process; by itself it is none of the login's. */
static void
tell_journal(struct gate *g, const char *line)
{
	struct error why = ERROR_INIT;

	if (!journal_note_login(g->journal, line, journal_clock_now(), &why))
		log_failure(LOG_LEVEL_ERROR, name_of(g), &why);
}

static void
keep_for_journal(struct gate *g, const char *line)
{
	(void)pthread_mutex_lock(&g->lock);
	if (g->missed_count == GATE_MISSED_MAX) {
		memmove(g->missed[0], g->missed[1], sizeof g->missed - sizeof g->missed[0]);
		g->missed_count--;
	}
	memcpy(g->missed[g->missed_count++], line, LOGINS_LINE_SIZE);
	(void)pthread_mutex_unlock(&g->lock);
}

bool
gate_record(struct gate *g, enum logins_event event, const struct logins_who *who,
    const char *detail, struct error *e)
{
	char line[LOGINS_LINE_SIZE];

	if (!logins_write(g->o.logins, event, who, detail, gate_clock_now().wall_s, e))
		return false;
	logins_last_line(g->o.logins, line);
	if (g->journal != NULL)
		tell_journal(g, line);
	else
		keep_for_journal(g, line);
	return true;
}

/* What cannot be written down any more is in the log at least. */
static void
note(struct gate *g, enum logins_event event, const char *detail)
{
	struct error why = ERROR_INIT;

	if (!gate_record(g, event, &g->who, detail, &why))
		log_failure(LOG_LEVEL_ERROR, name_of(g), &why);
}

void
gate_note_wrong(struct gate *g)
{
	log_error(name_of(g),
	    "the token refused the PIN of %s for a key; it is blocked until an operator clears it",
	    g->who.person);
	note(g, LOGINS_WRONG, "context");
}

void
gate_set_who(struct gate *g, const struct access_entry *entry)
{
	g->who.person = entry->person->name;
	memcpy(g->who.key_sha256, entry->person->key_sha256, sizeof g->who.key_sha256);
	memcpy(g->who.nonce, entry->nonce, sizeof g->who.nonce);
}

static void
set_at_device(struct gate *g, bool at_device)
{
	(void)pthread_mutex_lock(&g->lock);
	g->at_device = at_device;
	(void)pthread_mutex_unlock(&g->lock);
}

static enum token_login
call_token(struct gate *g, const char **said, struct error *e)
{
	struct bytes pin = {(const uint8_t *)g->pin.text, g->pin.len};
	enum token_login end;

	set_at_device(g, pin.len == 0);
	end = token_login(g->o.token, pin, said, e);
	set_at_device(g, false);
	set_lost(g);
	return end;
}

static bool
open_journal(struct gate *g, struct error *e)
{
	struct journal *journal = g->journal;

	if (journal == NULL && !g->o.open_journal(g->o.arg, &journal, e))
		return false;
	(void)pthread_mutex_lock(&g->lock);
	g->journal = journal;
	(void)pthread_mutex_unlock(&g->lock);
	if (g->attached != NULL)
		*g->attached = journal;
	for (size_t i = 0; i < g->missed_count; i++)
		tell_journal(g, g->missed[i]);
	g->missed_count = 0;
	return true;
}

bool
gate_log_in(struct gate *g, struct error *e)
{
	static const enum logins_event events[] = {
	    [TOKEN_LOGGED_IN] = LOGINS_OK,
	    [TOKEN_PIN_WRONG] = LOGINS_WRONG,
	    [TOKEN_LOGIN_FAILED] = LOGINS_FAILED,
	    [TOKEN_LOGIN_UNCLEAR] = LOGINS_UNCLEAR,
	};
	enum token_login end;
	const char *said;

	/* Flags change: what was looked at when the envelope came may be over. */
	if (!token_check_login(g->o.token, g->pin.len, e) ||
	    !gate_record(g, LOGINS_OPEN, &g->who, NULL, e))
		return false;
	end = call_token(g, &said, e);
	note(g, events[end], said);
	if (end != TOKEN_LOGGED_IN) {
		log_error(name_of(g), "login of %s: %s", g->who.person, e->text);
		return false;
	}
	atomic_fetch_add(&g->generation, 1);
	if (!open_journal(g, e))
		return false;
	gate_settle_split(g);
	return true;
}

static void
write_anchor(struct gate *g)
{
	struct journal_report r;

	if (g->journal == NULL)
		return;
	journal_report(g->journal, &r);
	if (r.closed == JOURNAL_OPEN)
		journal_anchor_write(
		    g->journal, token_functions(g->o.token), token_info(g->o.token)->slot);
}

void
gate_close(struct gate *g, const char *why)
{
	struct error failure = ERROR_INIT;

	if (token_is_logged_in(g->o.token)) {
		write_anchor(g);
		if (!token_logout(g->o.token, &failure))
			log_failure(LOG_LEVEL_ERROR, name_of(g), &failure);
		else
			note(g, LOGINS_OUT, why);
		atomic_fetch_add(&g->generation, 1);
		set_lost(g);
		log_info(name_of(g), "locked (%s)", why);
	}
	pin_clear(&g->pin);
	(void)pthread_mutex_lock(&g->lock);
	g->person = NULL;
	g->until = 0;
	g->left = 0;
	g->operation_count = 0;
	(void)pthread_mutex_unlock(&g->lock);
}

void
gate_abandon(struct gate *g)
{
	bool at_device;

	(void)pthread_mutex_lock(&g->lock);
	at_device = g->at_device;
	(void)pthread_mutex_unlock(&g->lock);
	/* Its own device counts the tries. */
	if (at_device)
		note(g, LOGINS_FAILED, "nobody-came");
}
