#include "pkcs11/token.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "daemon/core/log.h"
#include "pkcs11/call.h"
#include "pkcs11/ckr.h"
#include "pkcs11/group.h"
#include "pkcs11/logins.h"
#include "pkcs11/pin.h"

/*
 * Codes of a start race (ckr_is_start_race) are met in two ways. The same call
 * is made again at once, for what passes by itself. And SoftHSM keeps what it
 * read when it was initialised: a module that met the half-written token never
 * sees it whole again, so that it has to be finalised and opened anew, each
 * time a new view of the token. With all pauses that takes two to four seconds;
 * what is not over then is left to whoever opens the token the next time.
 */
#define CALL_TRIES 3
#define CALL_PAUSE_MS 40
/*
 * CKR_GENERAL_ERROR from C_Login may mean anything, a wrong PIN that is counted
 * without a flag to tell it included: a token that can be read all the while gets
 * the PIN no more often than this.
 */
#define DOUBTFUL_MAX 2
#define FIND_TRIES 4
#define VIEWS_MAX 5
#define VIEW_PAUSE_MS 100
#define VIEWS_S 10 /* no further view after this, however slow the module is */

/* One of a group's tokens; a single one is a group of one. */
struct member {
	struct token_info info;
	struct session keeper;
	enum token_standing standing; /* this and the next under the token's lock */
	char why[ERROR_TEXT_MAX];     /* it is not in use */
};

struct token {
	const struct config_token *config;
	struct module *module;
	struct member members[CONFIG_MEMBERS_MAX];
	size_t count;
	struct member *m; /* the first that is open; while opening the one whose turn it is */
	pthread_mutex_t lock;
	bool logged_in;
	char said[CKR_NAME_MAX];
	/* Of the login with a PIN from a file: that it begins, and how it ended. */
	char record[TOKEN_RECORD_MAX][LOGINS_LINE_SIZE];
	size_t record_count;
};

/* One member in one token_open, over all its views of the token. */
struct opening {
	const struct config_token *config;
	const char *state_dir;	 /* of the signer */
	char dir[GROUP_DIR_MAX]; /* of the member: marks of its PIN */
	bool skipped, found;
	enum signproto_state state;
	bool raced;	       /* this view failed by a start race: another may not */
	bool pin_sent;	       /* C_Login was called, in whatever view */
	bool was_low;	       /* CKF_USER_PIN_COUNT_LOW, as the token said before that */
	struct pin sent;       /* the PIN's file as it was then; no text */
	CK_RV said;	       /* the token's answer to it */
	bool blamed;	       /* the mark of a wrong PIN was left for that */
	unsigned int doubtful; /* how often that was CKR_GENERAL_ERROR, and the token fine */
};

/* Processes that collided once must not collide again in step. */
static void
stagger(unsigned int pause_ms, unsigned int attempt)
{
	uint16_t random = 0;
	unsigned int ms;

	if (getrandom(&random, sizeof random, 0) < 0)
		random = (uint16_t)getpid();
	ms = pause_ms * attempt + random % (pause_ms * attempt);
	(void)nanosleep(
	    &(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

/* ---- finding the members */

/* Slots where members were seen last: whose it is when asking there hangs; and one that is
 * under blame for that is not asked again. */
struct asking {
	const struct token *t;
	const struct opening *os;
	bool skips, skipped;
};

static bool
before_slot(CK_SLOT_ID slot, void *arg)
{
	struct asking *a = arg;
	unsigned long last;

	(void)call_about(CALL_OF_NONE);
	for (size_t i = 0; i < a->t->count; i++) {
		if (!group_last_slot(a->t->config, a->os[i].state_dir, i, &last) || last != slot)
			continue;
		(void)call_about((int)i);
		if (!a->os[i].skipped || !a->skips)
			continue;
		a->skipped = true;
		return false;
	}
	return true;
}

static bool
select_member(struct token *t, const struct opening *os, size_t i, struct error *e)
{
	struct asking a = {.t = t, .os = os, .skips = true};
	enum config_select by = t->config->select_by;
	const char *what = group_name(t->config, i);
	struct error why = ERROR_INIT;
	bool ok;

	if (t->count == 1)
		return module_select(t->module, by, what, &t->members[i].info, e);
	ok = module_select_among(t->module, by, what, before_slot, &a, &t->members[i].info, &why);
	if (!ok && a.skipped) {
		/* The slots have other numbers now, perhaps. */
		a.skips = false;
		error_clear(&why);
		ok = module_select_among(
		    t->module, by, what, before_slot, &a, &t->members[i].info, &why);
	}
	(void)call_about(CALL_OF_NONE);
	return ok || error_set_foreign(e, why.code, why.source, why.foreign, "%s", why.text);
}

static void
keep_reason(struct token *t, size_t i, const struct error *why)
{
	(void)pthread_mutex_lock(&t->lock);
	memcpy(t->members[i].why, why->text, sizeof t->members[i].why);
	(void)pthread_mutex_unlock(&t->lock);
}

/* How many of those that are wanted are there; *e is the first one's reason. */
static size_t
select_members(struct token *t, struct opening *os, struct error *e)
{
	size_t found = 0;

	for (size_t i = 0; i < t->count; i++) {
		struct error why = ERROR_INIT;

		os[i].state = SIGNPROTO_TOKEN_AWAY;
		if (os[i].skipped)
			continue;
		os[i].found = select_member(t, os, i, &why);
		found += os[i].found;
		if (os[i].found)
			continue;
		keep_reason(t, i, &why);
		(void)error_set_foreign(e, why.code, why.source, why.foreign, "%s", why.text);
	}
	return found;
}

static bool
open_module(struct token *t, struct opening *os, struct error *e)
{
	bool ok;

	module_close(t->module);
	t->module = NULL;
	ok = module_open(t->config->module, &t->module, e);
	for (size_t i = 0; i < t->count; i++) {
		os[i].state = ok || e->code == ERROR_UNAVAILABLE ? SIGNPROTO_TOKEN_AWAY
								 : SIGNPROTO_MODULE_BROKEN;
		os[i].found = false;
	}
	return ok;
}

/*
 * A token whose file another process is just rewriting is not there for a
 * module that looks once, when it is initialised: it has to look again.
 */
static bool
find_members(struct token *t, struct opening *os, struct error *e)
{
	struct error why = ERROR_INIT;
	size_t wanted = 0, found = 0;

	for (size_t i = 0; i < t->count; i++)
		wanted += !os[i].skipped;
	for (unsigned int attempt = 0; attempt < FIND_TRIES; attempt++) {
		if (attempt > 0)
			stagger(CALL_PAUSE_MS, attempt);
		error_clear(&why);
		found = open_module(t, os, &why) ? select_members(t, os, &why) : 0;
		if (found == wanted || (found > 0 && attempt > 0))
			return true;
		if (why.code != ERROR_UNAVAILABLE)
			break;
	}
	if (found == 0)
		*e = why;
	return found > 0;
}

/* ---- one member's login */

static bool
open_keeper(struct token *t, struct opening *o, struct error *e)
{
	const CK_FUNCTION_LIST *f = module_functions(t->module);
	CK_RV rv = CKR_OK;

	o->state = SIGNPROTO_TOKEN_AWAY;
	for (unsigned int attempt = 0; attempt < CALL_TRIES; attempt++) {
		if (attempt > 0)
			stagger(CALL_PAUSE_MS, attempt);
		t->m->keeper = (struct session){.f = f, .slot = t->m->info.slot};
		rv = f->C_OpenSession(
		    t->m->info.slot, CKF_SERIAL_SESSION, NULL, NULL, &t->m->keeper.handle);
		if (rv == CKR_OK)
			return true;
		t->m->keeper.handle = CK_INVALID_HANDLE;
		if (!ckr_is_start_race(rv))
			break;
	}
	o->raced = ckr_is_start_race(rv);
	return ckr_error(e, rv, "cannot open a session on token '%s'", t->m->info.label);
}

static bool
is_pin_length(const struct token *t, size_t len)
{
	return t->m->info.pin_max == 0 || t->m->info.pin_max < t->m->info.pin_min ||
	       (len >= t->m->info.pin_min && len <= t->m->info.pin_max);
}

static bool
check_pin_length(const struct token *t, const struct pin *pin, struct error *e)
{
	if (is_pin_length(t, pin->len))
		return true;
	return error_set(e, ERROR_CONFIG,
	    "the PIN in %s is not of the length that token '%s' takes (%lu to %lu); it was not "
	    "tried",
	    pin->source, t->m->info.label, t->m->info.pin_min, t->m->info.pin_max);
}

/* Asks the token anew: flags change with every login. */
static bool
read_flags(const struct token *t, struct opening *o, CK_FLAGS *flags, struct error *e)
{
	CK_TOKEN_INFO info;
	CK_RV rv = CKR_OK;

	for (unsigned int attempt = 0; attempt < CALL_TRIES; attempt++) {
		if (attempt > 0)
			stagger(CALL_PAUSE_MS, attempt);
		rv = module_functions(t->module)->C_GetTokenInfo(t->m->info.slot, &info);
		if (rv == CKR_OK) {
			*flags = info.flags;
			return true;
		}
		if (!ckr_is_start_race(rv))
			break;
	}
	o->raced = ckr_is_start_race(rv);
	o->doubtful = 0; /* it was the view that was broken */
	return ckr_error(e, rv, "cannot read the state of token '%s'", t->m->info.label);
}

static bool
pin_was_wrong(const struct token *t, struct opening *o, struct error *e)
{
	struct error why = ERROR_INIT;
	char buf[CKR_NAME_MAX];
	const char *name = ckr_name(o->said, buf);

	o->blamed = true;
	if (!pin_mark_wrong(&o->sent, o->dir, &why))
		log_failure(LOG_LEVEL_ERROR, t->m->info.label, &why);
	return error_set_foreign(e, ERROR_DENIED, ERROR_PKCS11, name,
	    "token '%s' refused the PIN in %s (%s); it is not tried again until the file changes",
	    t->m->info.label, o->sent.source, name);
}

/*
 * The token does not say what it thinks of the PIN. One that it took before is right
 * and may be sent again; any other may have been counted as wrong.
 */
static bool
login_was_unclear(const struct token *t, struct opening *o, struct error *e)
{
	struct error why = ERROR_INIT;
	char buf[CKR_NAME_MAX];
	const char *name = ckr_name(o->said, buf);

	o->state = SIGNPROTO_TOKEN_AWAY;
	if (pin_is_proven(&o->sent, o->dir) || !ckr_may_count(o->said))
		return ckr_error(e, o->said, "cannot log in to token '%s'", t->m->info.label);
	o->state = SIGNPROTO_PIN_WRONG;
	o->blamed = true;
	if (!pin_mark_wrong(&o->sent, o->dir, &why))
		log_failure(LOG_LEVEL_ERROR, t->m->info.label, &why);
	return error_set_foreign(e, ERROR_DENIED, ERROR_PKCS11, name,
	    "token '%s' does not say whether the PIN in %s is right (%s), which it has never taken "
	    "yet; it is not tried again until the file changes, or %s/%s is removed",
	    t->m->info.label, o->sent.source, name, o->dir, PIN_MARK_FILE);
}

/*
 * Reads the flags and refuses to risk the token's last try, or a second one of
 * a PIN that the token counted as wrong, whatever it called that. That the
 * flags cannot be read says nothing about the PIN.
 */
static bool
check_tries_left(const struct token *t, struct opening *o, struct error *e)
{
	CK_FLAGS flags = 0;

	o->state = SIGNPROTO_TOKEN_AWAY;
	if (!read_flags(t, o, &flags, e))
		return false;
	o->state = SIGNPROTO_PIN_WRONG;
	if ((flags & CKF_USER_PIN_LOCKED) != 0)
		return error_set(e, ERROR_DENIED,
		    "the PIN of token '%s' is locked; its security officer has to set a new one",
		    t->m->info.label);
	if (o->pin_sent && !o->was_low && (flags & CKF_USER_PIN_COUNT_LOW) != 0)
		return pin_was_wrong(t, o, e);
	if ((flags & CKF_USER_PIN_FINAL_TRY) != 0)
		return error_set(e, ERROR_DENIED,
		    "token '%s' has one PIN try left, which is not used; log in by hand with the "
		    "right PIN to reset its counter",
		    t->m->info.label);
	if (o->doubtful >= DOUBTFUL_MAX)
		return login_was_unclear(t, o, e);
	if (!o->pin_sent)
		o->was_low = (flags & CKF_USER_PIN_COUNT_LOW) != 0;
	return true;
}

static CK_USER_TYPE
user_type(const struct token *t)
{
	return (CK_USER_TYPE)t->config->user_type;
}

static bool
login(struct token *t, const struct pin *pin, struct opening *o, struct error *e)
{
	const CK_FUNCTION_LIST *f = module_functions(t->module);

	for (unsigned int attempt = 0; attempt < CALL_TRIES; attempt++) {
		if (attempt > 0)
			stagger(CALL_PAUSE_MS, attempt);
		if (!check_tries_left(t, o, e))
			return false;
		o->pin_sent = true;
		o->sent = *pin;
		o->sent.text = NULL;
		o->said = f->C_Login(t->m->keeper.handle, user_type(t), (unsigned char *)pin->text,
		    (CK_ULONG)pin->len);
		if (o->said == CKR_OK || o->said == CKR_USER_ALREADY_LOGGED_IN)
			return true;
		if (!ckr_is_start_race(o->said))
			break;
		o->doubtful += o->said == CKR_GENERAL_ERROR;
	}
	o->raced = ckr_is_start_race(o->said);
	if (o->said == CKR_USER_PIN_NOT_INITIALIZED) {
		o->state = SIGNPROTO_NO_PIN;
		return ckr_error(e, o->said, "token '%s' has no user PIN yet", t->m->info.label);
	}
	if (ckr_class(o->said) == CKR_CLASS_PIN)
		return pin_was_wrong(t, o, e);
	if (!o->raced)
		return login_was_unclear(t, o, e);
	o->state = SIGNPROTO_TOKEN_AWAY;
	return ckr_error(e, o->said, "cannot log in to token '%s'", t->m->info.label);
}

/* Should the module crash or hang over it, that counts as a refusal, too. */
static bool
mark_unproven(const struct pin *pin, const struct opening *o, struct error *e)
{
	return pin_is_proven(pin, o->dir) || pin_mark_wrong(pin, o->dir, e);
}

/* For auditors, and should the PIN become a person's one day. What decides about a PIN
 * that is kept in a file are its marks (pin.h). */
static void
note_login(struct token *t, struct logins *l, enum logins_event event, const char *detail)
{
	struct error why = ERROR_INIT;

	if (l == NULL)
		return;
	if (!logins_write(l, event, NULL, detail, (int64_t)time(NULL), &why))
		log_failure(LOG_LEVEL_WARNING, t->m->info.label, &why);
	else if (t->record_count < TOKEN_RECORD_MAX)
		logins_last_line(l, t->record[t->record_count++]);
}

static enum logins_event
event_of(const struct opening *o, bool ok)
{
	if (ok)
		return LOGINS_OK;
	if (o->blamed && ckr_class(o->said) == CKR_CLASS_PIN)
		return LOGINS_WRONG;
	return o->blamed ? LOGINS_UNCLEAR : LOGINS_FAILED;
}

static bool
login_on_record(struct token *t, const struct pin *pin, struct opening *o, struct error *e)
{
	struct error why = ERROR_INIT;
	struct logins *l = NULL;
	char buf[CKR_NAME_MAX];
	bool ok;

	if (!logins_open(o->state_dir, &l, &why))
		log_failure(LOG_LEVEL_WARNING, t->m->info.label, &why);
	note_login(t, l, LOGINS_OPEN, NULL);
	ok = login(t, pin, o, e);
	note_login(t, l, event_of(o, ok), o->pin_sent ? ckr_name(o->said, buf) : "not-sent");
	logins_close(l);
	return ok;
}

/* Reads the PIN only now that there is somebody to tell it to. */
static bool
read_pin_and_login(struct token *t, struct opening *o, struct error *e)
{
	struct error why = ERROR_INIT;
	bool marked, ok = false;
	struct pin pin = {0};

	o->state = SIGNPROTO_NO_PIN;
	if (!pin_read(o->config, o->dir, &pin, &marked, e))
		return false;
	if (marked) {
		o->state = SIGNPROTO_PIN_WRONG;
		return error_set(e, ERROR_DENIED,
		    "token '%s' refused the PIN in %s, or did not come back from it, before; it is "
		    "not "
		    "tried again until the file changes, or %s/%s is removed",
		    t->m->info.label, pin.source, o->dir, PIN_MARK_FILE);
	}
	ok = check_pin_length(t, &pin, e) && mark_unproven(&pin, o, e) &&
	     login_on_record(t, &pin, o, e);
	pin_clear(&pin);
	if (ok ? !pin_mark_good(&pin, o->dir, &why) : !o->blamed && !pin_mark_clear(o->dir, &why))
		log_failure(LOG_LEVEL_WARNING, t->m->info.label, &why);
	return ok;
}

static bool
open_member(struct token *t, struct opening *o, struct error *e)
{
	if (!open_keeper(t, o, e))
		return false;
	if (t->config->access != CONFIG_ACCESS_AUTO) {
		o->state = SIGNPROTO_LOCKED;
		return true;
	}
	if ((t->m->info.flags & CKF_LOGIN_REQUIRED) != 0 && !read_pin_and_login(t, o, e)) {
		session_close(&t->m->keeper);
		return false;
	}
	t->logged_in = true;
	o->state = SIGNPROTO_READY;
	return true;
}

/* ---- all of them */

/* The first that is open is the one that everything is asked of. False: none is. */
static bool
choose_first(struct token *t)
{
	t->m = &t->members[0];
	for (size_t i = 0; i < t->count; i++) {
		if (t->members[i].standing != TOKEN_OPEN)
			continue;
		t->m = &t->members[i];
		return true;
	}
	return false;
}

static bool
open_view(struct token *t, struct opening *os, struct error *e)
{
	struct error first = ERROR_INIT;

	for (size_t i = 0; i < t->count; i++)
		os[i].raced = false;
	if (!find_members(t, os, e))
		return false;
	for (size_t i = 0; i < t->count; i++) {
		struct error why = ERROR_INIT;

		if (!os[i].found)
			continue;
		t->m = &t->members[i];
		(void)call_about((int)i);
		if (open_member(t, &os[i], &why)) {
			t->m->standing = TOKEN_OPEN;
			continue;
		}
		keep_reason(t, i, &why);
		if (!error_is_set(&first))
			first = why;
	}
	(void)call_about(CALL_OF_NONE);
	if (choose_first(t))
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

static int64_t
seconds_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* Who is under blame is left alone, as long as that is not all of them. */
static bool
begin_members(
    struct token *t, const char *state_dir, const char *only, struct opening *os, struct error *e)
{
	int64_t now = (int64_t)time(NULL);
	size_t wanted = 0;

	for (size_t i = 0; i < t->count; i++) {
		os[i] = (struct opening){
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
has_raced(const struct token *t, const struct opening *os)
{
	for (size_t i = 0; i < t->count; i++) {
		if (os[i].raced)
			return true;
	}
	return false;
}

static bool
open_views(struct token *t, struct opening *os, struct error *e)
{
	int64_t until = seconds_now() + VIEWS_S;
	struct error why = ERROR_INIT;

	for (unsigned int view = 1;; view++) {
		error_clear(&why);
		if (open_view(t, os, &why))
			return true;
		if (!has_raced(t, os) || view == VIEWS_MAX || seconds_now() >= until)
			break;
		close_view(t);
		stagger(VIEW_PAUSE_MS, view);
	}
	*e = why;
	return false;
}

/* What was there and did not open would be tried again as soon as somebody looks. */
static void
note_members(const struct token *t, const struct opening *os)
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
state_of(const struct token *t, const struct opening *os, bool ok)
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
	struct opening *os = calloc(group_count(config), sizeof *os);
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

/* ---- members */

size_t
token_members(const struct token *t)
{
	return t->count;
}

size_t
token_first(const struct token *t)
{
	return (size_t)(t->m - t->members);
}

void
token_member(struct token *t, size_t i, struct token_member *out)
{
	const struct member *m = &t->members[i];

	*out = (struct token_member){.name = group_name(t->config, i), .info = &m->info};
	(void)pthread_mutex_lock(&t->lock);
	out->standing = m->standing;
	memcpy(out->why, m->why, sizeof out->why);
	(void)pthread_mutex_unlock(&t->lock);
}

static void
set_standing(struct token *t, size_t i, enum token_standing standing, const struct error *why)
{
	(void)pthread_mutex_lock(&t->lock);
	t->members[i].standing = standing;
	memcpy(t->members[i].why, why->text, sizeof t->members[i].why);
	(void)pthread_mutex_unlock(&t->lock);
}

bool
token_refuse(struct token *t, size_t i, const struct error *why)
{
	set_standing(t, i, TOKEN_REFUSED, why);
	return choose_first(t);
}

void
token_set_aside(struct token *t, size_t i, const struct error *why)
{
	set_standing(t, i, TOKEN_REFUSED, why);
}

void
token_lose(struct token *t, size_t i, const struct error *why)
{
	set_standing(t, i, TOKEN_AWAY, why);
}

void
token_check_others(struct token *t)
{
	int before = call_about(CALL_OF_NONE);

	for (size_t i = 0; i < t->count; i++) {
		struct error why = ERROR_INIT;
		struct token_member m;

		token_member(t, i, &m);
		if (m.standing != TOKEN_OPEN || i == token_first(t))
			continue;
		(void)call_about((int)i);
		if (!session_check_login(&t->members[i].keeper, &why))
			token_lose(t, i, &why);
	}
	(void)call_about(before);
}

/* Nothing of the token's own is touched: this may hang for ever. */
bool
token_look(struct token *t, size_t i, struct error *e)
{
	struct token_info info;
	struct session s;

	if (!module_select_among(
		t->module, t->config->select_by, group_name(t->config, i), NULL, NULL, &info, e) ||
	    !session_open(module_functions(t->module), info.slot, false, &s, e))
		return false;
	session_close(&s);
	return true;
}

/* ---- with a person's PIN */

static bool
flags_now(const struct token *t, CK_FLAGS *flags, struct error *e)
{
	struct opening ignored = {.config = t->config};

	return read_flags(t, &ignored, flags, e);
}

bool
token_check_login(struct token *t, size_t pin_len, struct error *e)
{
	CK_FLAGS flags = 0;

	if (!flags_now(t, &flags, e))
		return false;
	if ((flags & CKF_USER_PIN_LOCKED) != 0)
		return error_set(e, ERROR_DENIED,
		    "the PIN of token '%s' is locked; its security officer has to set a new one",
		    t->m->info.label);
	if ((flags & CKF_USER_PIN_FINAL_TRY) != 0)
		return error_set(e, ERROR_DENIED,
		    "token '%s' has one PIN try left, which is not used; log in by hand with the "
		    "right PIN to reset its counter",
		    t->m->info.label);
	if (pin_len == 0 && (flags & CKF_PROTECTED_AUTHENTICATION_PATH) == 0)
		return error_set(e, ERROR_DENIED,
		    "the envelope carries no PIN, and token '%s' has no device to enter one at",
		    t->m->info.label);
	if (pin_len > 0 && !is_pin_length(t, pin_len))
		return error_set(e, ERROR_DENIED,
		    "the PIN is not of the length that token '%s' takes (%lu to %lu); it was not "
		    "tried",
		    t->m->info.label, t->m->info.pin_min, t->m->info.pin_max);
	return true;
}

/* Codes of a start race that no token gives for a wrong PIN. */
static bool
may_call_again(CK_RV rv)
{
	return ckr_is_start_race(rv) && rv != CKR_GENERAL_ERROR;
}

static CK_RV
call_login(struct token *t, struct bytes pin)
{
	const CK_FUNCTION_LIST *f = module_functions(t->module);
	CK_RV rv = CKR_OK;

	for (unsigned int attempt = 0; attempt < CALL_TRIES; attempt++) {
		if (attempt > 0)
			stagger(CALL_PAUSE_MS, attempt);
		rv = f->C_Login(t->m->keeper.handle, user_type(t),
		    pin.len > 0 ? (unsigned char *)(uintptr_t)pin.p : NULL, (CK_ULONG)pin.len);
		/* Of whom? Whoever it is, the PIN was not looked at. */
		if (rv == CKR_USER_ALREADY_LOGGED_IN)
			(void)f->C_Logout(t->m->keeper.handle);
		else if (!may_call_again(rv))
			break;
	}
	return rv;
}

/* A wrong PIN that the token calls something else shows in its flags. */
static bool
became_low(const struct token *t, CK_FLAGS before)
{
	struct error ignored = ERROR_INIT;
	CK_FLAGS now = 0;

	return (before & CKF_USER_PIN_COUNT_LOW) == 0 && flags_now(t, &now, &ignored) &&
	       (now & CKF_USER_PIN_COUNT_LOW) != 0;
}

enum token_login
token_login(struct token *t, struct bytes pin, const char **said, struct error *e)
{
	struct error ignored = ERROR_INIT;
	CK_FLAGS before = 0;
	CK_RV rv;

	(void)flags_now(t, &before, &ignored);
	rv = call_login(t, pin);
	*said = ckr_name(rv, t->said);
	if (rv == CKR_OK) {
		t->logged_in = true;
		return TOKEN_LOGGED_IN;
	}
	t->m->keeper.fatal = ckr_is_fatal(rv) && ckr_class(rv) != CKR_CLASS_PIN;
	if ((ckr_class(rv) == CKR_CLASS_PIN && rv != CKR_USER_PIN_NOT_INITIALIZED) ||
	    became_low(t, before)) {
		(void)error_set_foreign(e, ERROR_DENIED, ERROR_PKCS11, *said,
		    "token '%s' refused the PIN (%s)", t->m->info.label, *said);
		return TOKEN_PIN_WRONG;
	}
	(void)ckr_error(e, rv, "cannot log in to token '%s'", t->m->info.label);
	/* Somebody pressed the key for that, at the device. */
	if (rv == CKR_FUNCTION_CANCELED)
		return TOKEN_LOGIN_FAILED;
	return ckr_may_count(rv) ? TOKEN_LOGIN_UNCLEAR : TOKEN_LOGIN_FAILED;
}

bool
token_logout(struct token *t, struct error *e)
{
	CK_RV rv;

	if (!t->logged_in)
		return true;
	rv = module_functions(t->module)->C_Logout(t->m->keeper.handle);
	if (rv != CKR_OK && rv != CKR_USER_NOT_LOGGED_IN) {
		t->m->keeper.fatal = true;
		return ckr_error(e, rv, "cannot log out of token '%s'", t->m->info.label);
	}
	t->logged_in = false;
	return true;
}

bool
token_set_pin(struct token *t, struct bytes old, struct bytes fresh, struct error *e)
{
	const CK_FUNCTION_LIST *f = module_functions(t->module);
	struct session rw;
	CK_RV rv;

	if (!session_open(f, t->m->info.slot, true, &rw, e))
		return false;
	rv = f->C_SetPIN(rw.handle, (unsigned char *)old.p, (CK_ULONG)old.len,
	    (unsigned char *)fresh.p, (CK_ULONG)fresh.len);
	if (rv != CKR_OK)
		(void)session_error(
		    &rw, rv, e, "token '%s' does not take the new PIN", t->m->info.label);
	t->m->keeper.fatal |= ckr_is_fatal(rv) && ckr_class(rv) != CKR_CLASS_PIN;
	session_close(&rw);
	return rv == CKR_OK;
}

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
