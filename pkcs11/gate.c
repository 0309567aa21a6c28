#include "pkcs11/gate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "daemon/core/log.h"
#include "pkcs11/gate_int.h"

struct gate_clock
gate_clock_now(void)
{
	struct timespec wall, boot;

	(void)clock_gettime(CLOCK_REALTIME, &wall);
	(void)clock_gettime(CLOCK_BOOTTIME, &boot);
	return (struct gate_clock){
	    .wall_s = wall.tv_sec,
	    .boot_ms = (int64_t)boot.tv_sec * 1000 + boot.tv_nsec / 1000000,
	};
}

static bool
is_operation(const struct gate *g)
{
	return g->o.access->config->access == CONFIG_ACCESS_OPERATION;
}

static const char *
name_of(const struct gate *g)
{
	return g->o.access->config->name;
}

bool
gate_new(const struct gate_options *options, struct gate **gate, struct error *e)
{
	struct gate *g = calloc(1, sizeof *g);
	pthread_rwlockattr_t attr;

	*gate = NULL;
	if (g == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for the gate before a token");
	g->o = *options;
	if (mlock(&g->quorum, sizeof g->quorum) != 0) {
		(void)error_set_errno(e, ERROR_SYSTEM,
		    "cannot lock memory for the shares of a PIN; raise RLIMIT_MEMLOCK");
		free(g);
		return false;
	}
	atomic_store(&g->unsettled, pin_split_is_open(options->state_dir));
	/* Locking must not wait until nobody wants to sign. */
	(void)pthread_rwlockattr_init(&attr);
	(void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	(void)pthread_rwlock_init(&g->use, &attr);
	(void)pthread_rwlockattr_destroy(&attr);
	(void)pthread_mutex_init(&g->lock, NULL);
	*gate = g;
	return true;
}

void
gate_free(struct gate *g)
{
	if (g == NULL)
		return;
	(void)pthread_rwlock_wrlock(&g->use);
	gate_close(g, "stop");
	gate_forget_shares(g);
	(void)pthread_rwlock_unlock(&g->use);
	(void)pthread_rwlock_destroy(&g->use);
	(void)pthread_mutex_destroy(&g->lock);
	(void)munlock(&g->quorum, sizeof g->quorum);
	free(g);
}

void
gate_attach(struct gate *g, struct journal **journal)
{
	g->attached = journal;
}

/* ---- is it open */

bool
gate_ended(const struct gate *g, struct gate_clock now)
{
	int64_t open_ms = now.boot_ms - g->opened.boot_ms;

	if (g->person == NULL)
		return true;
	if (now.wall_s >= g->until || open_ms >= (g->until - g->opened.wall_s) * 1000)
		return true;
	if (g->idle_s > 0 && now.boot_ms - g->used.boot_ms >= (int64_t)g->idle_s * 1000)
		return true;
	return g->counted && g->left == 0;
}

static bool
has_to_close(struct gate *g)
{
	bool due;

	(void)pthread_mutex_lock(&g->lock);
	due = g->person != NULL && gate_ended(g, gate_clock_now());
	(void)pthread_mutex_unlock(&g->lock);
	return due;
}

static bool
has_to_forget(struct gate *g)
{
	bool due;

	(void)pthread_mutex_lock(&g->lock);
	due = gate_shares_ended(g, gate_clock_now());
	(void)pthread_mutex_unlock(&g->lock);
	return due;
}

bool
gate_is_due(struct gate *g)
{
	return has_to_close(g) || has_to_forget(g);
}

/* Why it ended, for the record. */
static const char *
end_of(struct gate *g)
{
	struct gate_clock now = gate_clock_now();
	const char *why = "time";

	(void)pthread_mutex_lock(&g->lock);
	if (g->counted && g->left == 0)
		why = "count";
	else if (g->idle_s > 0 && now.boot_ms - g->used.boot_ms >= (int64_t)g->idle_s * 1000)
		why = "idle";
	(void)pthread_mutex_unlock(&g->lock);
	return why;
}

void
gate_lock_if_due(struct gate *g)
{
	(void)pthread_rwlock_wrlock(&g->use);
	if (has_to_forget(g))
		gate_forget_shares(g);
	if (has_to_close(g))
		gate_close(g, end_of(g));
	(void)pthread_rwlock_unlock(&g->use);
}

bool
gate_is_lost(struct gate *g)
{
	bool lost;

	(void)pthread_mutex_lock(&g->lock);
	lost = g->lost;
	(void)pthread_mutex_unlock(&g->lock);
	return lost;
}

uint64_t
gate_generation(const struct gate *g)
{
	return atomic_load(&g->generation);
}

struct bytes
gate_pin(const struct gate *g)
{
	return is_operation(g) ? (struct bytes){(const uint8_t *)g->pin.text, g->pin.len}
			       : (struct bytes){0};
}

/* ---- passing */

static bool
fail_locked(const struct gate *g, struct error *e)
{
	char text[ERROR_TEXT_MAX];

	if (logins_blocked(g->o.logins, text))
		return error_set(e, ERROR_LOCKED,
		    "token '%s' is blocked: %s; an operator who has seen to it says so with "
		    "`chancery token clear %s`",
		    name_of(g), text, name_of(g));
	if (is_operation(g))
		return error_set(e, ERROR_LOCKED,
		    "token '%s' waits for an operator to enter its PIN for this operation "
		    "(`chancery pin enter`)",
		    name_of(g));
	return error_set(e, ERROR_LOCKED,
	    "token '%s' is locked; an operator opens it with `chancery token unlock %s`",
	    name_of(g), name_of(g));
}

/* Takes one signature of the count; g->use is held for reading. */
static bool
pass_session(struct gate *g, const struct gate_job *job, struct error *e)
{
	bool may;

	(void)pthread_mutex_lock(&g->lock);
	may = !gate_ended(g, gate_clock_now());
	if (may && job->counts && g->counted)
		g->left--;
	(void)pthread_mutex_unlock(&g->lock);
	return may || fail_locked(g, e);
}

/* Takes the operation off the list; g->use is held for writing. */
static bool
take_operation(struct gate *g, const struct gate_job *job)
{
	bool found = false;

	(void)pthread_mutex_lock(&g->lock);
	if (job->listed && !gate_ended(g, gate_clock_now()))
		for (size_t i = 0; i < g->operation_count && !found; i++)
			if (!g->done[i] &&
			    pin_operation_equal(&g->operations[i], &job->operation)) {
				g->done[i] = found = true;
				g->left--;
			}
	(void)pthread_mutex_unlock(&g->lock);
	return found;
}

static bool
pass_operation(struct gate *g, const struct gate_job *job, struct error *e)
{
	if (!take_operation(g, job))
		return fail_locked(g, e);
	if (token_is_logged_in(g->o.token) || gate_log_in(g, e))
		return true;
	/* The next one would meet the same, and cost a try. */
	gate_close(g, "failed");
	return false;
}

bool
gate_enter(struct gate *g, const struct gate_job *job, struct error *e)
{
	bool may;

	if (is_operation(g)) {
		(void)pthread_rwlock_wrlock(&g->use);
		may = pass_operation(g, job, e);
	} else {
		(void)pthread_rwlock_rdlock(&g->use);
		may = pass_session(g, job, e);
	}
	if (!may)
		(void)pthread_rwlock_unlock(&g->use);
	return may;
}

void
gate_leave(struct gate *g, const struct gate_job *job, bool signed_, bool wrong)
{
	(void)pthread_mutex_lock(&g->lock);
	if (signed_)
		g->used = gate_clock_now();
	else if (job->counts && g->counted && !is_operation(g))
		g->left++;
	(void)pthread_mutex_unlock(&g->lock);
	if (wrong)
		gate_note_wrong(g);
	if (is_operation(g) && (wrong || has_to_close(g)))
		gate_close(g, wrong ? "wrong" : "done");
	(void)pthread_rwlock_unlock(&g->use);
}

/* ---- orders */

/* A clock that is set back must not make one valid again that is forgotten: for
 * envelopes it stands still then. */
static int64_t
time_for_envelopes(struct gate *g)
{
	int64_t now = gate_clock_now().wall_s;

	(void)pthread_mutex_lock(&g->lock);
	if (now < g->latest_s)
		now = g->latest_s;
	(void)pthread_mutex_unlock(&g->lock);
	return now;
}

/* Statements are short-lived, and so is the memory of them: one that had to wait for its turn may
 * be over by now, and forgotten. */
static bool
take_nonce(struct gate *g, const struct access_entry *entry, struct error *e)
{
	int64_t now = time_for_envelopes(g);
	size_t kept = 0;
	bool seen = false;

	if (now >= entry->expires)
		return error_set(e, ERROR_DENIED,
		    "the envelope of %s expired while it waited for its turn; seal a new one",
		    entry->person->name);
	(void)pthread_mutex_lock(&g->lock);
	for (size_t i = 0; i < g->nonce_count; i++) {
		const struct gate_nonce *n = &g->nonces[i];

		seen |= memcmp(n->nonce, entry->nonce, sizeof n->nonce) == 0;
		if (n->expires > now)
			g->nonces[kept++] = *n;
	}
	g->nonce_count = kept;
	g->latest_s = now;
	if (!seen && kept < GATE_NONCES_MAX) {
		memcpy(g->nonces[kept].nonce, entry->nonce, sizeof entry->nonce);
		g->nonces[kept].expires = entry->expires;
		g->nonce_count++;
	}
	(void)pthread_mutex_unlock(&g->lock);
	if (seen)
		return error_set(e, ERROR_DENIED,
		    "this envelope of %s was used already; each is good for one time",
		    entry->person->name);
	return kept < GATE_NONCES_MAX ||
	       error_set(e, ERROR_LIMIT,
		   "more than %d envelopes within minutes; wait for some to expire",
		   GATE_NONCES_MAX);
}

static bool
open_envelope(struct gate *g, const struct access_entry *entry, struct pin *pin, struct error *e)
{
	if (!pin_make(pin, e))
		return false;
	return pin_envelope_open(
	    &entry->envelope, entry->nonce, g->o.access->key, (uint8_t *)pin->text, &pin->len, e);
}

static bool
check_blocked(struct gate *g, struct error *e)
{
	char text[ERROR_TEXT_MAX];

	return !logins_blocked(g->o.logins, text) || fail_locked(g, e);
}

/* The PIN is checked even if the token is unlocked already: whoever does not know it
 * must not make the time longer. */
static bool
unlock(struct gate *g, const struct access_entry *entry, struct pin *pin, struct error *e)
{
	const struct pin_envelope *env = &entry->envelope;

	g->pin = *pin;
	*pin = (struct pin){0};
	if (!gate_log_in(g, e)) {
		gate_close(g, "failed");
		return false;
	}
	pin_clear(&g->pin);
	(void)pthread_mutex_lock(&g->lock);
	g->person = entry->person;
	g->opened = g->used = gate_clock_now();
	g->until = env->until;
	g->idle_s = env->idle_s;
	g->counted = env->signatures > 0;
	g->left = env->signatures;
	(void)pthread_mutex_unlock(&g->lock);
	log_info(name_of(g), "unlocked by %s", entry->person->name);
	return true;
}

/* Logs in only when the first of the operations comes. */
static void
begin_entry(struct gate *g, const struct access_entry *entry, struct pin *pin)
{
	const struct pin_envelope *env = &entry->envelope;

	g->pin = *pin;
	*pin = (struct pin){0};
	(void)pthread_mutex_lock(&g->lock);
	g->person = entry->person;
	g->opened = g->used = gate_clock_now();
	g->until = g->opened.wall_s + GATE_ENTRY_S;
	g->idle_s = 0;
	g->counted = true;
	g->left = g->operation_count = env->operation_count;
	memcpy(g->operations, env->operations, sizeof g->operations);
	memset(g->done, 0, sizeof g->done);
	(void)pthread_mutex_unlock(&g->lock);
	log_info(name_of(g), "%s entered the PIN for %zu operations", entry->person->name,
	    env->operation_count);
}

/* Until it is through, an entry keeps others out. */
static bool
check_busy(struct gate *g, struct error *e)
{
	uint64_t left = 0;

	(void)pthread_mutex_lock(&g->lock);
	if (is_operation(g) && !gate_ended(g, gate_clock_now()))
		left = g->left;
	(void)pthread_mutex_unlock(&g->lock);
	return left == 0 || error_set(e, ERROR_BUSY, "another PIN entry has %llu operations to go",
				(unsigned long long)left);
}

/* Else one key, stolen, could use up all tries, wrong PIN by wrong PIN. */
static bool
check_other_person(struct gate *g, const struct access_entry *entry, struct error *e)
{
	const struct access *a = g->o.access;
	char last[65], text[ERROR_TEXT_MAX];
	bool alone = true;

	for (size_t i = 0; i < a->operator_count; i++)
		alone &= strcmp(a->operators[i].name, entry->person->name) == 0;
	logins_last_person(g->o.logins, last);
	return alone || !logins_blocked(g->o.logins, text) ||
	       strcmp(last, entry->person->name) != 0 ||
	       error_set(e, ERROR_DENIED,
		   "the login that went wrong was that of %s: another operator has to see to it",
		   last);
}

static bool
clear(struct gate *g, const struct access_entry *entry, struct error *e)
{
	struct logins_who who = {.person = entry->person->name};

	if (!check_other_person(g, entry, e))
		return false;
	memcpy(who.key_sha256, entry->person->key_sha256, sizeof who.key_sha256);
	memcpy(who.nonce, entry->nonce, sizeof who.nonce);
	if (!gate_record(g, LOGINS_CLEAR, &who, NULL, e))
		return false;
	log_info(name_of(g), "%s says that the PIN may be tried again", entry->person->name);
	return true;
}

static bool
use_pin(struct gate *g, const struct access_entry *entry, struct pin *pin,
    char text[ERROR_TEXT_MAX], struct error *e)
{
	if (!check_blocked(g, e) || !token_check_login(g->o.token, pin->len, e))
		return false;
	gate_close(g, "again");
	gate_set_who(g, entry);
	switch (entry->action) {
	case STATEMENT_PIN_SPLIT:
		return gate_split(g, entry, pin, text, e);
	case STATEMENT_PIN_UNLOCK:
		return unlock(g, entry, pin, e);
	default:
		begin_entry(g, entry, pin);
		return true;
	}
}

/* An unlock, an entry, or a new split: with the whole PIN, or the last share of it that was
 * missing. */
static bool
take_pin(struct gate *g, struct access_entry *entry, char text[ERROR_TEXT_MAX], struct error *e)
{
	struct pin pin = {0};
	bool whole, ok;

	ok = open_envelope(g, entry, &pin, e) && gate_take_share(g, entry, &pin, &whole, text, e);
	if (ok && whole)
		ok = use_pin(g, entry, &pin, text, e);
	pin_clear(&pin);
	return ok;
}

/* g->use is held for writing. */
static bool
carry_out(struct gate *g, struct access_entry *entry, char text[ERROR_TEXT_MAX], struct error *e)
{
	switch (entry->action) {
	case STATEMENT_PIN_LOCK:
		if (!take_nonce(g, entry, e))
			return false;
		log_info(name_of(g), "locked by %s", entry->person->name);
		gate_forget_shares(g);
		gate_close(g, "command");
		return true;
	case STATEMENT_PIN_CLEAR:
		return take_nonce(g, entry, e) && clear(g, entry, e);
	default:
		return check_busy(g, e) && take_nonce(g, entry, e) && take_pin(g, entry, text, e);
	}
}

bool
gate_order(
    struct gate *g, const struct signproto_order *order, char text[ERROR_TEXT_MAX], struct error *e)
{
	struct access_entry *entry = malloc(sizeof *entry);
	bool ok = false;

	text[0] = '\0';
	if (entry == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for a PIN envelope");
	if (access_check(g->o.access, order, time_for_envelopes(g), entry, e)) {
		(void)pthread_rwlock_wrlock(&g->use);
		ok = carry_out(g, entry, text, e);
		(void)pthread_rwlock_unlock(&g->use);
	}
	free(entry);
	return ok;
}

/* ---- the loop's view */

/* True, with words, for a session that the end of the process has ended. */
static bool
describe_lost(struct gate *g, struct gate_report *r)
{
	char person[65], time[CANON_TIME_SIZE];
	int64_t since;

	if (is_operation(g) || r->state != SIGNPROTO_LOCKED ||
	    !logins_lost(g->o.logins, person, &since))
		return false;
	canon_time_text(since, time);
	(void)snprintf(r->text, sizeof r->text,
	    "token '%s' was unlocked by %s at %s, and its signer had to be started anew, which "
	    "ended the login: it is locked, and nothing is signed; an operator opens it with "
	    "`chancery token unlock %s`",
	    name_of(g), person, time, name_of(g));
	return true;
}

static void
describe(struct gate *g, struct gate_report *r)
{
	static const char unsettled[] =
	    "; its PIN was being split when the signer ended: if the shares of the new one do not "
	    "open it, the old PIN does";
	struct error why = ERROR_INIT;
	size_t len;

	if (!describe_lost(g, r)) {
		(void)fail_locked(g, &why);
		(void)snprintf(r->text, sizeof r->text, "%s", why.text);
	}
	len = strlen(r->text);
	if (atomic_load(&g->unsettled))
		(void)snprintf(r->text + len, sizeof r->text - len, "%s", unsettled);
}

void
gate_report(struct gate *g, struct gate_report *r)
{
	char text[ERROR_TEXT_MAX];
	bool open;

	*r = (struct gate_report){.state = SIGNPROTO_LOCKED};
	(void)pthread_mutex_lock(&g->lock);
	open = !gate_ended(g, gate_clock_now());
	r->journal = g->journal;
	if (open) {
		r->state = SIGNPROTO_READY;
		(void)snprintf(r->unlocked_by, sizeof r->unlocked_by, "%.64s", g->person->name);
		r->until = g->until;
		r->idle_s = g->idle_s;
		r->left = g->left;
	}
	if (g->at_device)
		r->state = SIGNPROTO_AT_DEVICE;
	(void)pthread_mutex_unlock(&g->lock);
	if (r->state == SIGNPROTO_LOCKED && logins_blocked(g->o.logins, text))
		r->state = SIGNPROTO_BLOCKED;
	if (r->state == SIGNPROTO_AT_DEVICE)
		(void)snprintf(r->text, sizeof r->text,
		    "token '%s' waits for somebody to enter the PIN at its own device", name_of(g));
	else if (r->state != SIGNPROTO_READY)
		describe(g, r);
}
