/* What the token says of PINs; login, logout and change of PIN for a person who has it. */

#include "pkcs11/token_int.h"

bool
token_read_flags(const struct token *t, struct token_opening *o, CK_FLAGS *flags, struct error *e)
{
	CK_TOKEN_INFO info;
	CK_RV rv = CKR_OK;

	for (unsigned int attempt = 0; attempt < TOKEN_CALL_TRIES; attempt++) {
		if (attempt > 0)
			token_stagger(TOKEN_CALL_PAUSE_MS, attempt);
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

bool
token_is_pin_length(const struct token *t, size_t len)
{
	return t->m->info.pin_max == 0 || t->m->info.pin_max < t->m->info.pin_min ||
	       (len >= t->m->info.pin_min && len <= t->m->info.pin_max);
}

CK_USER_TYPE
token_user_type(const struct token *t)
{
	return (CK_USER_TYPE)t->config->user_type;
}

/* ---- with a person's PIN */

static bool
flags_now(const struct token *t, CK_FLAGS *flags, struct error *e)
{
	struct token_opening ignored = {.config = t->config};

	return token_read_flags(t, &ignored, flags, e);
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
	if (pin_len > 0 && !token_is_pin_length(t, pin_len))
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

	for (unsigned int attempt = 0; attempt < TOKEN_CALL_TRIES; attempt++) {
		if (attempt > 0)
			token_stagger(TOKEN_CALL_PAUSE_MS, attempt);
		rv = f->C_Login(t->m->keeper.handle, token_user_type(t),
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
