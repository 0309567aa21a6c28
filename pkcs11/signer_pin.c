/* The loop's part of tokens whose PIN persons have: their entries, the time that an
 * unlock has, and what status says of it. */

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>

#include "daemon/core/log.h"
#include "pkcs11/pin_split.h"
#include "pkcs11/signer_int.h"

/* What ends by time ends at once for who asks, and is locked this much later. */
#define TICK_MS 500

bool
signer_has_gate(const struct signer *s)
{
	return s->token_config->access != CONFIG_ACCESS_AUTO;
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct signer *s = arg;
	struct job *job;

	if (s->gate == NULL || s->lost || s->ending)
		return;
	signer_look_at_gate(s);
	if (s->locking || !gate_is_due(s->gate))
		return;
	job = job_new(JOB_LOCK, (struct bytes){0}, (struct bytes){0});
	if (job == NULL)
		return;
	s->locking = true;
	signer_submit(s, job);
}

bool
signer_set_up_pin(struct signer *s, struct error *e)
{
	struct timeval period = {.tv_usec = TICK_MS * 1000};

	if (!signer_has_gate(s))
		return true;
	if (!logins_open(s->state_dir, &s->logins, e) ||
	    !access_open(s->token_config, s->state_dir, s->config->issuer.signer_id,
		(int64_t)time(NULL), &s->access, e))
		return false;
	s->tick = event_new(role_base(s->role), -1, EV_PERSIST, on_tick, s);
	return (s->tick != NULL && event_add(s->tick, &period) == 0) ||
	       error_set(e, ERROR_SYSTEM, "cannot set the signer's events up");
}

static bool
open_journal(void *arg, struct journal **journal, struct error *e)
{
	struct signer_opener *opener = arg;

	return signer_open_journal(opener->signer, opener->token, journal, e);
}

bool
signer_new_gate(struct signer *s, struct token *token, struct gate **gate, struct error *e)
{
	struct gate_options options = {
	    .access = s->access,
	    .token = token,
	    .logins = s->logins,
	    .state_dir = s->state_dir,
	    .open_journal = open_journal,
	    .arg = &s->opener,
	};

	s->opener = (struct signer_opener){s, token};
	return gate_new(&options, gate, e);
}

void
signer_announce(struct signer *s)
{
	struct error why = ERROR_INIT;

	if (!access_announce(s->access, token_info(s->token)->serial, &why))
		log_failure(LOG_LEVEL_ERROR, s->token_config->name, &why);
}

/* The PIN is there; the login comes with the first operation, or is over already. */
static void
describe_entry(const struct signer *s, struct gate_report *r)
{
	if (s->journal != NULL && signer_describe_journal(s, r->text) == SIGNPROTO_CLOSED)
		r->state = SIGNPROTO_CLOSED;
	else
		(void)snprintf(r->text, sizeof r->text,
		    "the PIN is there, and waits for %llu operations", (unsigned long long)r->left);
}

void
signer_look_at_gate(struct signer *s)
{
	struct gate_report r;

	gate_report(s->gate, &r);
	if (r.journal != NULL)
		s->journal = r.journal;
	if (r.state == SIGNPROTO_READY && s->token_config->access == CONFIG_ACCESS_SESSION) {
		if (s->state != SIGNPROTO_READY && s->state != SIGNPROTO_CLOSED)
			signer_look_at_journal(s);
		return;
	}
	if (r.state == SIGNPROTO_READY)
		describe_entry(s, &r);
	else if (s->state != r.state)
		log_warning(s->token_config->name, "%s: %s", signproto_state_name(r.state), r.text);
	if (s->state != r.state || strcmp(s->state_text, r.text) != 0)
		signer_set_state(s, r.state, r.text);
}

bool
signer_request_pin(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_pin m;

	if (!signproto_get_pin(payload, &m, e))
		return false;
	if (!signer_has_gate(s))
		return error_set(e, ERROR_CONFLICT,
		    "token '%s' has access: auto, and takes no PIN from persons",
		    s->token_config->name);
	return signer_take_order(s, request, JOB_PIN, (struct bytes){0}, payload, e);
}

bool
signer_may_stream(const struct signer *s, struct error *e)
{
	return s->gate == NULL || s->state == SIGNPROTO_READY ||
	       error_set(e, ERROR_LOCKED, "%s", s->state_text);
}

void
signer_describe_access(const struct signer *s, struct signproto_status_ok *m)
{
	struct gate_report r;

	m->access = (enum signproto_access)s->token_config->access;
	if (s->access == NULL)
		return;
	(void)snprintf(m->start, sizeof m->start, "%s", s->access->text);
	m->start_signature = (struct bytes){s->access->signature, sizeof s->access->signature};
	m->identity = (struct bytes){s->access->identity_spki, sizeof s->access->identity_spki};
	pin_split_text(s->state_dir, s->access->shares);
	m->pin_shares = (struct bytes){
	    (const uint8_t *)s->access->shares, strlen(s->access->shares)};
	if (s->gate == NULL)
		return;
	gate_report(s->gate, &r);
	(void)snprintf(m->unlocked_by, sizeof m->unlocked_by, "%s", r.unlocked_by);
	m->unlocked_until = (uint64_t)r.until;
	m->unlocked_idle_s = r.idle_s;
	m->signatures_left = r.left;
}

void
signer_close_gate(struct signer *s)
{
	struct gate_report r;

	if (s->gate != NULL) {
		gate_report(s->gate, &r);
		s->journal = r.journal;
	}
	gate_free(s->gate);
	s->gate = NULL;
}

void
signer_tear_down_pin(struct signer *s)
{
	access_free(s->access);
	logins_close(s->logins);
	if (s->tick != NULL)
		event_free(s->tick);
}
