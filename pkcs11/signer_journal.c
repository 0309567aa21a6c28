#include <stdio.h>
#include <string.h>

#include "daemon/core/encode.h"
#include "daemon/core/log.h"
#include "pkcs11/call.h"
#include "pkcs11/duty.h"
#include "pkcs11/journal_anchor.h"
#include "pkcs11/signer_int.h"

static bool
read_anchor_of(struct token *token, size_t member, struct journal_options *options, struct error *e)
{
	int before = call_about((int)member);
	struct token_member m;
	struct session s;
	bool ok;

	token_member(token, member, &m);
	ok = session_open(token_functions(token), m.info->slot, false, &s, e);
	if (ok) {
		ok = journal_anchor_read(&s, options, e);
		/* Who is not logged in does not see it. */
		if (ok && options->anchor == JOURNAL_ANCHOR_ABSENT &&
		    (m.info->flags & CKF_LOGIN_REQUIRED) != 0)
			ok = session_check_login(&s, e);
		session_close(&s);
	}
	(void)call_about(before);
	return ok;
}

/* What says more about the journal. */
static bool
is_better(const struct journal_options *a, const struct journal_options *b)
{
	if (a->anchor != b->anchor)
		return a->anchor == JOURNAL_ANCHOR_MARK ||
		       (a->anchor == JOURNAL_ANCHOR_DAMAGED && b->anchor != JOURNAL_ANCHOR_MARK);
	return a->anchor == JOURNAL_ANCHOR_MARK &&
	       (a->mark.time > b->mark.time ||
		   (a->mark.time == b->mark.time && a->mark.seq > b->mark.seq));
}

/* Of a group's tokens the one that saw the journal last: the others were away then. */
static bool
read_anchor(struct token *token, struct journal_options *options, struct error *e)
{
	struct journal_options one = *options;

	if (!read_anchor_of(token, token_first(token), options, e))
		return false;
	for (size_t i = 0; i < token_members(token); i++) {
		struct error why = ERROR_INIT;
		struct token_member m;

		token_member(token, i, &m);
		if (i == token_first(token) || m.standing != TOKEN_OPEN)
			continue;
		if (!read_anchor_of(token, i, &one, &why))
			token_lose(token, i, &why);
		else if (is_better(&one, options))
			*options = one;
	}
	return true;
}

static void
write_anchor(struct token *token, struct journal *j)
{
	journal_anchor_write(j, token_functions(token), token_info(token)->slot);
}

/* For auditors; what is on record is so without it. */
static void
tell_login(const struct signer *s, const struct token *token, struct journal *journal)
{
	struct error why = ERROR_INIT;
	const char *line;

	for (size_t i = 0; (line = token_login_record(token, i)) != NULL; i++)
		if (!journal_note_login(journal, line, journal_clock_now(), &why))
			log_failure(LOG_LEVEL_ERROR, s->token_config->name, &why);
}

bool
signer_open_journal(
    const struct signer *s, struct token *token, struct journal **journal, struct error *e)
{
	struct journal_options options = {
	    .state_dir = s->state_dir,
	    .token = s->token_config->name,
	    .signer_id = (uint16_t)s->config->issuer.signer_id,
	    .now = journal_clock_now(),
	};
	struct journal_report report;

	*journal = NULL;
	if (!key_limits_any(s->state_dir, &options.has_keys, e) ||
	    !read_anchor(token, &options, e) || !journal_open(&options, journal, e))
		return error_wrap(e, "the journal of token '%s'", s->token_config->name);
	journal_report(*journal, &report);
	if (report.closed == JOURNAL_OPEN)
		tell_login(s, token, *journal);
	if (report.closed == JOURNAL_OPEN)
		write_anchor(token, *journal);
	if (report.closed != JOURNAL_AHEAD)
		return true;
	journal_free(*journal);
	*journal = NULL;
	return error_set(e, ERROR_UNAVAILABLE, "the journal of token '%s' is closed: %s",
	    s->token_config->name, report.text);
}

static void
give_up_duty(const struct signer *s, struct token *token)
{
	struct session session = {
	    .f = token_functions(token),
	    .slot = token_info(token)->slot,
	};

	duty_give_up(
	    &session, s->state_dir, s->config->issuer.signer_id, journal_clock_now().wall_s);
}

void
signer_close_journal(const struct signer *s, struct journal *journal, struct token *token)
{
	struct error why = ERROR_INIT;
	struct journal_report report;

	if (journal == NULL)
		return;
	journal_report(journal, &report);
	if (!journal_stop(journal, journal_clock_now(), &why))
		log_failure(LOG_LEVEL_ERROR, "journal", &why);
	else if (token != NULL && token_is_logged_in(token) && report.closed == JOURNAL_OPEN) {
		give_up_duty(s, token);
		write_anchor(token, journal);
	}
	journal_free(journal);
}

enum signproto_state
signer_describe_journal(const struct signer *s, char text[ERROR_TEXT_MAX])
{
	struct journal_report r;

	journal_report(s->journal, &r);
	if (r.closed == JOURNAL_OPEN) {
		(void)snprintf(text, ERROR_TEXT_MAX,
		    "open, %s an anchor on the token; %u keys, record %llu in segment %u%s%.240s",
		    r.anchored ? "with" : "without", r.keys, (unsigned long long)r.seq, r.segment,
		    r.anchor_failure[0] != '\0' ? "; the anchor is behind: " : "",
		    r.anchor_failure);
		return SIGNPROTO_READY;
	}
	(void)snprintf(text, ERROR_TEXT_MAX,
	    "the journal is closed: %.360s; its operators open it with `chancery signer reseed %s`",
	    r.text, s->token_config->name);
	return SIGNPROTO_CLOSED;
}

void
signer_describe_challenge(const struct signer *s, char hex[SIGNPROTO_CHALLENGE_SIZE])
{
	struct journal_report r;

	journal_report(s->journal, &r);
	hex_encode(r.challenge, sizeof r.challenge, hex);
}

/* ---- the anchor, from time to time */

void
signer_anchor_soon(struct signer *s)
{
	struct journal_mark mark;
	struct journal_report r;
	struct job *job;

	/* Who logs in for single operations writes it before he logs out. */
	if (s->pool == NULL || s->state != SIGNPROTO_READY || s->lost || s->anchoring ||
	    s->token_config->access == CONFIG_ACCESS_OPERATION)
		return;
	journal_report(s->journal, &r);
	if (!journal_mark(s->journal, &mark) ||
	    (mark.seq == s->anchored_seq && r.anchor_failure[0] == '\0'))
		return;
	job = job_new(JOB_ANCHOR, (struct bytes){0}, (struct bytes){0});
	if (job == NULL)
		return;
	s->anchoring = true;
	s->anchored_seq = mark.seq;
	signer_submit(s, job);
}
