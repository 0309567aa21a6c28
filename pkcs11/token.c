#include "pkcs11/token.h"

#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "daemon/core/log.h"
#include "pkcs11/ckr.h"
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

struct token {
	const struct config_token *config;
	struct module *module;
	struct token_info info;
	struct session keeper;
	bool logged_in;
	char said[CKR_NAME_MAX];
};

/* One token_open, over all its views of the token. */
struct opening {
	const struct config_token *config;
	const char *state_dir;
	enum signproto_state *state;
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

/*
 * A token whose file another process is just rewriting is not there for a
 * module that looks once, when it is initialised: it has to look again.
 */
static bool
find_token(struct token *t, const struct opening *o, struct error *e)
{
	struct error why = ERROR_INIT;

	for (unsigned int attempt = 0; attempt < FIND_TRIES; attempt++) {
		if (attempt > 0)
			stagger(CALL_PAUSE_MS, attempt);
		error_clear(&why);
		module_close(t->module);
		t->module = NULL;
		*o->state = SIGNPROTO_MODULE_BROKEN;
		if (module_open(o->config->module, &t->module, &why)) {
			*o->state = SIGNPROTO_TOKEN_AWAY;
			if (module_select(
				t->module, o->config->select_by, o->config->select, &t->info, &why))
				return true;
		} else if (why.code == ERROR_UNAVAILABLE) {
			*o->state = SIGNPROTO_TOKEN_AWAY;
		}
		if (why.code != ERROR_UNAVAILABLE)
			break;
	}
	*e = why;
	return false;
}

static bool
open_keeper(struct token *t, struct opening *o, struct error *e)
{
	const CK_FUNCTION_LIST *f = module_functions(t->module);
	CK_RV rv = CKR_OK;

	*o->state = SIGNPROTO_TOKEN_AWAY;
	for (unsigned int attempt = 0; attempt < CALL_TRIES; attempt++) {
		if (attempt > 0)
			stagger(CALL_PAUSE_MS, attempt);
		t->keeper = (struct session){.f = f, .slot = t->info.slot};
		rv = f->C_OpenSession(
		    t->info.slot, CKF_SERIAL_SESSION, NULL, NULL, &t->keeper.handle);
		if (rv == CKR_OK)
			return true;
		t->keeper.handle = CK_INVALID_HANDLE;
		if (!ckr_is_start_race(rv))
			break;
	}
	o->raced = ckr_is_start_race(rv);
	return ckr_error(e, rv, "cannot open a session on token '%s'", t->info.label);
}

static bool
is_pin_length(const struct token *t, size_t len)
{
	return t->info.pin_max == 0 || t->info.pin_max < t->info.pin_min ||
	       (len >= t->info.pin_min && len <= t->info.pin_max);
}

static bool
check_pin_length(const struct token *t, const struct pin *pin, struct error *e)
{
	if (is_pin_length(t, pin->len))
		return true;
	return error_set(e, ERROR_CONFIG,
	    "the PIN in %s is not of the length that token '%s' takes (%lu to %lu); it was not "
	    "tried",
	    pin->source, t->info.label, t->info.pin_min, t->info.pin_max);
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
		rv = module_functions(t->module)->C_GetTokenInfo(t->info.slot, &info);
		if (rv == CKR_OK) {
			*flags = info.flags;
			return true;
		}
		if (!ckr_is_start_race(rv))
			break;
	}
	o->raced = ckr_is_start_race(rv);
	o->doubtful = 0; /* it was the view that was broken */
	return ckr_error(e, rv, "cannot read the state of token '%s'", t->info.label);
}

static bool
pin_was_wrong(const struct token *t, struct opening *o, struct error *e)
{
	struct error why = ERROR_INIT;
	char buf[CKR_NAME_MAX];
	const char *name = ckr_name(o->said, buf);

	o->blamed = true;
	if (!pin_mark_wrong(&o->sent, o->state_dir, &why))
		log_failure(LOG_LEVEL_ERROR, t->info.label, &why);
	return error_set_foreign(e, ERROR_DENIED, ERROR_PKCS11, name,
	    "token '%s' refused the PIN in %s (%s); it is not tried again until the file changes",
	    t->info.label, o->sent.source, name);
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

	*o->state = SIGNPROTO_TOKEN_AWAY;
	if (pin_is_proven(&o->sent, o->state_dir) || !ckr_may_count(o->said))
		return ckr_error(e, o->said, "cannot log in to token '%s'", t->info.label);
	*o->state = SIGNPROTO_PIN_WRONG;
	o->blamed = true;
	if (!pin_mark_wrong(&o->sent, o->state_dir, &why))
		log_failure(LOG_LEVEL_ERROR, t->info.label, &why);
	return error_set_foreign(e, ERROR_DENIED, ERROR_PKCS11, name,
	    "token '%s' does not say whether the PIN in %s is right (%s), which it has never taken "
	    "yet; it is not tried again until the file changes, or %s/%s is removed",
	    t->info.label, o->sent.source, name, o->state_dir, PIN_MARK_FILE);
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

	*o->state = SIGNPROTO_TOKEN_AWAY;
	if (!read_flags(t, o, &flags, e))
		return false;
	*o->state = SIGNPROTO_PIN_WRONG;
	if ((flags & CKF_USER_PIN_LOCKED) != 0)
		return error_set(e, ERROR_DENIED,
		    "the PIN of token '%s' is locked; its security officer has to set a new one",
		    t->info.label);
	if (o->pin_sent && !o->was_low && (flags & CKF_USER_PIN_COUNT_LOW) != 0)
		return pin_was_wrong(t, o, e);
	if ((flags & CKF_USER_PIN_FINAL_TRY) != 0)
		return error_set(e, ERROR_DENIED,
		    "token '%s' has one PIN try left, which is not used; log in by hand with the "
		    "right PIN to reset its counter",
		    t->info.label);
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
		o->said = f->C_Login(
		    t->keeper.handle, user_type(t), (unsigned char *)pin->text, (CK_ULONG)pin->len);
		if (o->said == CKR_OK || o->said == CKR_USER_ALREADY_LOGGED_IN)
			return true;
		if (!ckr_is_start_race(o->said))
			break;
		o->doubtful += o->said == CKR_GENERAL_ERROR;
	}
	o->raced = ckr_is_start_race(o->said);
	if (o->said == CKR_USER_PIN_NOT_INITIALIZED) {
		*o->state = SIGNPROTO_NO_PIN;
		return ckr_error(e, o->said, "token '%s' has no user PIN yet", t->info.label);
	}
	if (ckr_class(o->said) == CKR_CLASS_PIN)
		return pin_was_wrong(t, o, e);
	if (!o->raced)
		return login_was_unclear(t, o, e);
	*o->state = SIGNPROTO_TOKEN_AWAY;
	return ckr_error(e, o->said, "cannot log in to token '%s'", t->info.label);
}

/* Should the module crash or hang over it, that counts as a refusal, too. */
static bool
mark_unproven(const struct pin *pin, const struct opening *o, struct error *e)
{
	return pin_is_proven(pin, o->state_dir) || pin_mark_wrong(pin, o->state_dir, e);
}

/* For auditors, and should the PIN become a person's one day. What decides about a PIN
 * that is kept in a file are its marks (pin.h). */
static void
note_login(const struct token *t, struct logins *l, enum logins_event event, const char *detail)
{
	struct error why = ERROR_INIT;

	if (l != NULL && !logins_write(l, event, NULL, detail, (int64_t)time(NULL), &why))
		log_failure(LOG_LEVEL_WARNING, t->info.label, &why);
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
		log_failure(LOG_LEVEL_WARNING, t->info.label, &why);
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

	*o->state = SIGNPROTO_NO_PIN;
	if (!pin_read(o->config, o->state_dir, &pin, &marked, e))
		return false;
	if (marked) {
		*o->state = SIGNPROTO_PIN_WRONG;
		return error_set(e, ERROR_DENIED,
		    "token '%s' refused the PIN in %s, or did not come back from it, before; it is "
		    "not "
		    "tried again until the file changes, or %s/%s is removed",
		    t->info.label, pin.source, o->state_dir, PIN_MARK_FILE);
	}
	ok = check_pin_length(t, &pin, e) && mark_unproven(&pin, o, e) &&
	     login_on_record(t, &pin, o, e);
	pin_clear(&pin);
	if (ok ? !pin_mark_good(&pin, o->state_dir, &why)
	       : !o->blamed && !pin_mark_clear(o->state_dir, &why))
		log_failure(LOG_LEVEL_WARNING, t->info.label, &why);
	return ok;
}

static bool
open_view(struct token *t, struct opening *o, struct error *e)
{
	o->raced = false;
	if (!find_token(t, o, e) || !open_keeper(t, o, e))
		return false;
	if (t->config->access != CONFIG_ACCESS_AUTO) {
		*o->state = SIGNPROTO_LOCKED;
		return true;
	}
	if ((t->info.flags & CKF_LOGIN_REQUIRED) != 0 && !read_pin_and_login(t, o, e))
		return false;
	t->logged_in = true;
	*o->state = SIGNPROTO_READY;
	return true;
}

/* The session is the last one: its end logs out. */
static void
close_view(struct token *t)
{
	session_close(&t->keeper);
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

bool
token_open(const struct config_token *config, const char *state_dir, struct token **token,
    enum signproto_state *state, struct error *e)
{
	struct opening o = {.config = config, .state_dir = state_dir, .state = state};
	int64_t until = seconds_now() + VIEWS_S;
	struct token *t = calloc(1, sizeof *t);
	struct error why = ERROR_INIT;
	bool ok = false;

	*token = NULL;
	*state = SIGNPROTO_MODULE_BROKEN;
	if (t == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for token '%s'", config->name);
	t->config = config;
	for (unsigned int view = 1; !ok; view++) {
		error_clear(&why);
		ok = open_view(t, &o, &why);
		if (ok || !o.raced || view == VIEWS_MAX || seconds_now() >= until)
			break;
		close_view(t);
		stagger(VIEW_PAUSE_MS, view);
	}
	if (ok) {
		*token = t;
	} else {
		*e = why;
		token_close(t);
	}
	return ok;
}

void
token_close(struct token *t)
{
	if (t == NULL)
		return;
	close_view(t);
	free(t);
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
		    t->info.label);
	if ((flags & CKF_USER_PIN_FINAL_TRY) != 0)
		return error_set(e, ERROR_DENIED,
		    "token '%s' has one PIN try left, which is not used; log in by hand with the "
		    "right PIN to reset its counter",
		    t->info.label);
	if (pin_len == 0 && (flags & CKF_PROTECTED_AUTHENTICATION_PATH) == 0)
		return error_set(e, ERROR_DENIED,
		    "the envelope carries no PIN, and token '%s' has no device to enter one at",
		    t->info.label);
	if (pin_len > 0 && !is_pin_length(t, pin_len))
		return error_set(e, ERROR_DENIED,
		    "the PIN is not of the length that token '%s' takes (%lu to %lu); it was not "
		    "tried",
		    t->info.label, t->info.pin_min, t->info.pin_max);
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
		rv = f->C_Login(t->keeper.handle, user_type(t),
		    pin.len > 0 ? (unsigned char *)(uintptr_t)pin.p : NULL, (CK_ULONG)pin.len);
		/* Of whom? Whoever it is, the PIN was not looked at. */
		if (rv == CKR_USER_ALREADY_LOGGED_IN)
			(void)f->C_Logout(t->keeper.handle);
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
	t->keeper.fatal = ckr_is_fatal(rv) && ckr_class(rv) != CKR_CLASS_PIN;
	if ((ckr_class(rv) == CKR_CLASS_PIN && rv != CKR_USER_PIN_NOT_INITIALIZED) ||
	    became_low(t, before)) {
		(void)error_set_foreign(e, ERROR_DENIED, ERROR_PKCS11, *said,
		    "token '%s' refused the PIN (%s)", t->info.label, *said);
		return TOKEN_PIN_WRONG;
	}
	(void)ckr_error(e, rv, "cannot log in to token '%s'", t->info.label);
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
	rv = module_functions(t->module)->C_Logout(t->keeper.handle);
	if (rv != CKR_OK && rv != CKR_USER_NOT_LOGGED_IN) {
		t->keeper.fatal = true;
		return ckr_error(e, rv, "cannot log out of token '%s'", t->info.label);
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

	if (!session_open(f, t->info.slot, true, &rw, e))
		return false;
	rv = f->C_SetPIN(rw.handle, (unsigned char *)old.p, (CK_ULONG)old.len,
	    (unsigned char *)fresh.p, (CK_ULONG)fresh.len);
	if (rv != CKR_OK)
		(void)session_error(
		    &rw, rv, e, "token '%s' does not take the new PIN", t->info.label);
	t->keeper.fatal |= ckr_is_fatal(rv) && ckr_class(rv) != CKR_CLASS_PIN;
	session_close(&rw);
	return rv == CKR_OK;
}

bool
token_is_lost(const struct token *t)
{
	return t->keeper.fatal;
}

bool
token_is_logged_in(const struct token *t)
{
	return t->logged_in;
}

const struct token_info *
token_info(const struct token *t)
{
	return &t->info;
}

const CK_FUNCTION_LIST *
token_functions(const struct token *t)
{
	return module_functions(t->module);
}

unsigned int
token_thread_limit(const struct token *t, unsigned int wanted)
{
	return module_is_thread_safe(t->module) ? wanted : 1;
}
