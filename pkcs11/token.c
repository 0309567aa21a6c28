#include "pkcs11/token.h"

#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "daemon/core/log.h"
#include "pkcs11/ckr.h"
#include "pkcs11/pin.h"

/* Together at most some three seconds. */
#define RACE_TRIES 8
#define RACE_PAUSE_MS 40
#define FIND_TRIES 4

struct token {
	struct module *module;
	struct token_info info;
	struct session keeper;
};

/* Processes that collided once must not collide again in step. */
static void
stagger(unsigned int attempt)
{
	uint16_t random = 0;
	unsigned int ms;

	if (getrandom(&random, sizeof random, 0) < 0)
		random = (uint16_t)getpid();
	ms = RACE_PAUSE_MS * (attempt + 1) + random % (RACE_PAUSE_MS * (attempt + 1));
	(void)nanosleep(
	    &(struct timespec){.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000}, NULL);
}

/*
 * A token whose file another process is just rewriting is not there for a
 * module that looks once, when it is initialised: it has to look again.
 */
static bool
find_token(struct token *t, const struct config_token *config, enum signproto_state *state,
    struct error *e)
{
	struct error why = ERROR_INIT;

	for (unsigned int attempt = 0; attempt < FIND_TRIES; attempt++) {
		if (attempt > 0)
			stagger(attempt);
		error_clear(&why);
		module_close(t->module);
		t->module = NULL;
		*state = SIGNPROTO_MODULE_BROKEN;
		if (module_open(config->module, &t->module, &why)) {
			*state = SIGNPROTO_TOKEN_AWAY;
			if (module_select(
				t->module, config->select_by, config->select, &t->info, &why))
				return true;
		}
		if (why.code != ERROR_UNAVAILABLE)
			break;
	}
	*e = why;
	return false;
}

static bool
open_keeper(struct token *t, struct error *e)
{
	const CK_FUNCTION_LIST *f = module_functions(t->module);
	CK_RV rv = CKR_OK;

	for (unsigned int attempt = 0; attempt < RACE_TRIES; attempt++) {
		t->keeper = (struct session){.f = f, .slot = t->info.slot};
		rv = f->C_OpenSession(
		    t->info.slot, CKF_SERIAL_SESSION, NULL, NULL, &t->keeper.handle);
		if (rv == CKR_OK)
			return true;
		t->keeper.handle = CK_INVALID_HANDLE;
		if (!ckr_is_start_race(rv))
			break;
		stagger(attempt);
	}
	return ckr_error(e, rv, "cannot open a session on token '%s'", t->info.label);
}

static bool
check_pin_length(const struct token *t, const struct pin *pin, struct error *e)
{
	if (t->info.pin_max == 0 || t->info.pin_max < t->info.pin_min ||
	    (pin->len >= t->info.pin_min && pin->len <= t->info.pin_max))
		return true;
	return error_set(e, ERROR_CONFIG,
	    "the PIN in %s is not of the length that token '%s' takes (%lu to %lu); it was not "
	    "tried",
	    pin->source, t->info.label, t->info.pin_min, t->info.pin_max);
}

/* Asks the token anew: flags change with every login. */
static bool
read_flags(const struct token *t, CK_FLAGS *flags, struct error *e)
{
	CK_TOKEN_INFO info;
	CK_RV rv = CKR_OK;

	for (unsigned int attempt = 0; attempt < RACE_TRIES; attempt++) {
		rv = module_functions(t->module)->C_GetTokenInfo(t->info.slot, &info);
		if (rv == CKR_OK) {
			*flags = info.flags;
			return true;
		}
		if (!ckr_is_start_race(rv))
			break;
		stagger(attempt);
	}
	return ckr_error(e, rv, "cannot read the state of token '%s'", t->info.label);
}

/*
 * Reads the flags and refuses to risk the token's last try. That the flags
 * cannot be read says nothing about the PIN.
 */
static bool
check_tries_left(
    const struct token *t, CK_FLAGS *flags, enum signproto_state *state, struct error *e)
{
	*state = SIGNPROTO_TOKEN_AWAY;
	if (!read_flags(t, flags, e))
		return false;
	*state = SIGNPROTO_PIN_WRONG;
	if ((*flags & CKF_USER_PIN_LOCKED) != 0)
		return error_set(e, ERROR_DENIED,
		    "the PIN of token '%s' is locked; its security officer has to set a new one",
		    t->info.label);
	if ((*flags & CKF_USER_PIN_FINAL_TRY) != 0)
		return error_set(e, ERROR_DENIED,
		    "token '%s' has one PIN try left, which is not used; log in by hand with the "
		    "right PIN to reset its counter",
		    t->info.label);
	return true;
}

static bool
pin_was_wrong(
    const struct token *t, const struct pin *pin, const char *state_dir, CK_RV rv, struct error *e)
{
	struct error why = ERROR_INIT;
	char buf[CKR_NAME_MAX];
	const char *name = ckr_name(rv, buf);

	if (!pin_mark_wrong(pin, state_dir, &why))
		log_failure(LOG_LEVEL_ERROR, t->info.label, &why);
	return error_set_foreign(e, ERROR_DENIED, ERROR_PKCS11, name,
	    "token '%s' refused the PIN in %s (%s); it is not tried again until the file changes",
	    t->info.label, pin->source, name);
}

static bool
login(struct token *t, const struct pin *pin, const char *state_dir, enum signproto_state *state,
    struct error *e)
{
	const CK_FUNCTION_LIST *f = module_functions(t->module);
	CK_FLAGS before, now;
	CK_RV rv = CKR_OK;

	if (!check_tries_left(t, &before, state, e))
		return false;
	for (unsigned int attempt = 0; attempt < RACE_TRIES; attempt++) {
		rv = f->C_Login(
		    t->keeper.handle, CKU_USER, (unsigned char *)pin->text, (CK_ULONG)pin->len);
		if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN)
			return true;
		if (!ckr_is_start_race(rv))
			break;
		stagger(attempt);
		if (!check_tries_left(t, &now, state, e))
			return false;
		/* The token did count it, whatever it called it. */
		if ((now & ~before & CKF_USER_PIN_COUNT_LOW) != 0)
			return pin_was_wrong(t, pin, state_dir, rv, e);
	}
	if (rv == CKR_USER_PIN_NOT_INITIALIZED) {
		*state = SIGNPROTO_NO_PIN;
		return ckr_error(e, rv, "token '%s' has no user PIN yet", t->info.label);
	}
	if (ckr_class(rv) == CKR_CLASS_PIN)
		return pin_was_wrong(t, pin, state_dir, rv, e);
	*state = SIGNPROTO_TOKEN_AWAY;
	return ckr_error(e, rv, "cannot log in to token '%s'", t->info.label);
}

/* Reads the PIN only now that there is somebody to tell it to. */
static bool
read_pin_and_login(struct token *t, const struct config_token *config, const char *state_dir,
    enum signproto_state *state, struct error *e)
{
	struct error why = ERROR_INIT;
	bool marked, ok = false;
	struct pin pin = {0};

	*state = SIGNPROTO_NO_PIN;
	if (!pin_read(config, state_dir, &pin, &marked, e))
		return false;
	if (marked) {
		*state = SIGNPROTO_PIN_WRONG;
		return error_set(e, ERROR_DENIED,
		    "token '%s' refused the PIN in %s before; it is not tried again until the file "
		    "changes, or %s/%s is removed",
		    t->info.label, pin.source, state_dir, PIN_MARK_FILE);
	}
	ok = check_pin_length(t, &pin, e) && login(t, &pin, state_dir, state, e);
	pin_clear(&pin);
	if (ok && !pin_mark_clear(state_dir, &why))
		log_failure(LOG_LEVEL_WARNING, t->info.label, &why);
	return ok;
}

bool
token_open(const struct config_token *config, const char *state_dir, struct token **token,
    enum signproto_state *state, struct error *e)
{
	struct token *t = calloc(1, sizeof *t);
	bool ok = false;

	*token = NULL;
	*state = SIGNPROTO_MODULE_BROKEN;
	if (t == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for token '%s'", config->name);
		goto out;
	}
	if (!find_token(t, config, state, e) || !open_keeper(t, e))
		goto out;
	if ((t->info.flags & CKF_LOGIN_REQUIRED) != 0 &&
	    !read_pin_and_login(t, config, state_dir, state, e))
		goto out;
	*state = SIGNPROTO_READY;
	*token = t;
	ok = true;
out:
	if (!ok)
		token_close(t);
	return ok;
}

void
token_close(struct token *t)
{
	if (t == NULL)
		return;
	/* The last session: this logs out. */
	session_close(&t->keeper);
	module_close(t->module);
	free(t);
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
