/* One member opened: the session that keeps the login, and the login with the PIN that is
 * kept in a file, whose tries are not for spending. */

#include "pkcs11/token_int.h"

#include <time.h>

#include "daemon/core/log.h"

/*
 * CKR_GENERAL_ERROR from C_Login may mean anything, a wrong PIN that is counted
 * without a flag to tell it included: a token that can be read all the while gets
 * the PIN no more often than this.
 */
#define DOUBTFUL_MAX 2

/* ---- one member's login */

static bool
open_keeper(struct token *t, struct token_opening *o, struct error *e)
{
	const CK_FUNCTION_LIST *f = module_functions(t->module);
	CK_RV rv = CKR_OK;

	o->state = SIGNPROTO_TOKEN_AWAY;
	for (unsigned int attempt = 0; attempt < TOKEN_CALL_TRIES; attempt++) {
		if (attempt > 0)
			token_stagger(TOKEN_CALL_PAUSE_MS, attempt);
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
check_pin_length(const struct token *t, const struct pin *pin, struct error *e)
{
	if (token_is_pin_length(t, pin->len))
		return true;
	return error_set(e, ERROR_CONFIG,
	    "the PIN in %s is not of the length that token '%s' takes (%lu to %lu); it was not "
	    "tried",
	    pin->source, t->m->info.label, t->m->info.pin_min, t->m->info.pin_max);
}

static bool
pin_was_wrong(const struct token *t, struct token_opening *o, struct error *e)
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
login_was_unclear(const struct token *t, struct token_opening *o, struct error *e)
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
check_tries_left(const struct token *t, struct token_opening *o, struct error *e)
{
	CK_FLAGS flags = 0;

	o->state = SIGNPROTO_TOKEN_AWAY;
	if (!token_read_flags(t, o, &flags, e))
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

static bool
login(struct token *t, const struct pin *pin, struct token_opening *o, struct error *e)
{
	const CK_FUNCTION_LIST *f = module_functions(t->module);

	for (unsigned int attempt = 0; attempt < TOKEN_CALL_TRIES; attempt++) {
		if (attempt > 0)
			token_stagger(TOKEN_CALL_PAUSE_MS, attempt);
		if (!check_tries_left(t, o, e))
			return false;
		o->pin_sent = true;
		o->sent = *pin;
		o->sent.text = NULL;
		o->said = f->C_Login(t->m->keeper.handle, token_user_type(t),
		    (unsigned char *)pin->text, (CK_ULONG)pin->len);
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
mark_unproven(const struct pin *pin, const struct token_opening *o, struct error *e)
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
event_of(const struct token_opening *o, bool ok)
{
	if (ok)
		return LOGINS_OK;
	if (o->blamed && ckr_class(o->said) == CKR_CLASS_PIN)
		return LOGINS_WRONG;
	return o->blamed ? LOGINS_UNCLEAR : LOGINS_FAILED;
}

static bool
login_on_record(struct token *t, const struct pin *pin, struct token_opening *o, struct error *e)
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
read_pin_and_login(struct token *t, struct token_opening *o, struct error *e)
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

bool
token_open_alone(struct token *t, struct token_opening *o, struct error *e)
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
