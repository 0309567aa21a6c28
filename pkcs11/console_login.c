#include "pkcs11/console_login.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "daemon/core/log.h"

#define CONSOLE "console" /* in the record, in place of a person */

static bool
check_blocked(const struct console_login *l, struct error *e)
{
	char text[ERROR_TEXT_MAX];

	return !logins_blocked(l->logins, text) || error_set(e, ERROR_DENIED,
						       "token '%s' is blocked: %.300s; \"chancery "
						       "token clear %s\" says that it has been "
						       "seen to, when its signer runs again",
						       l->config->name, text, l->config->name);
}

static bool
open_record(struct console_login *l, struct error *e)
{
	if (!logins_open(l->state_dir, &l->logins, e))
		return e->code == ERROR_UNAVAILABLE
			   ? error_wrap(e,
				 "the PIN of token '%s' is with its operators: by hand it takes a "
				 "signer that is stopped, which keeps the record of logins",
				 l->config->name)
			   : false;
	return check_blocked(l, e);
}

static bool
read_descriptor(int fd, struct pin *pin, struct error *e)
{
	const char *end;
	size_t len = 0;
	ssize_t n = 1;

	/* One octet at a time: what follows the line is somebody else's. */
	while (len < PIN_MAX && n > 0) {
		n = read(fd, pin->text + len, 1);
		if (n < 0)
			return error_set_errno(e, ERROR_INPUT, "cannot read the PIN");
		if (n > 0 && pin->text[len] == '\n')
			break;
		len += n > 0;
	}
	if (len == PIN_MAX)
		return error_set(e, ERROR_LIMIT, "the PIN is longer than %d octets", PIN_MAX - 1);
	end = memchr(pin->text, '\0', len);
	if (end != NULL)
		return error_set(e, ERROR_INPUT, "the PIN has a NUL in it");
	pin->len = len;
	return true;
}

/* An empty one is entered at the token's own device. */
static bool
ask(const struct console_login *l, struct pin *pin, struct error *e)
{
	char prompt[128];

	(void)snprintf(prompt, sizeof prompt, "PIN of token %.64s: ", l->config->name);
	if (EVP_read_pw_string(pin->text, PIN_MAX, prompt, 0) != 0)
		return error_set(
		    e, ERROR_INPUT, "no PIN was given: it takes a terminal, or --pin-fd");
	pin->len = strlen(pin->text);
	return true;
}

bool
console_login_begin(struct console_login *l, const struct config_token *config,
    const char *state_dir, int pin_fd, struct error *e)
{
	*l = (struct console_login){.config = config, .state_dir = state_dir};
	if (config->access == CONFIG_ACCESS_AUTO)
		return pin_fd < 0 ||
		       error_set(e, ERROR_USAGE, "token '%s' has access: auto, and its PIN from %s",
			   config->name, "the configuration");
	if (!open_record(l, e) || !pin_make(&l->pin, e))
		return false;
	return pin_fd >= 0 ? read_descriptor(pin_fd, &l->pin, e) : ask(l, &l->pin, e);
}

static void
note(const struct console_login *l, enum logins_event event, const char *detail)
{
	struct error why = ERROR_INIT;

	if (!logins_write(l->logins, event, NULL, detail, (int64_t)time(NULL), &why))
		log_failure(LOG_LEVEL_ERROR, l->config->name, &why);
}

static bool
log_in(struct console_login *l, struct token *token, struct error *e)
{
	static const enum logins_event events[] = {
	    [TOKEN_LOGGED_IN] = LOGINS_OK,
	    [TOKEN_PIN_WRONG] = LOGINS_WRONG,
	    [TOKEN_LOGIN_FAILED] = LOGINS_FAILED,
	    [TOKEN_LOGIN_UNCLEAR] = LOGINS_UNCLEAR,
	};
	struct bytes pin = {(const uint8_t *)l->pin.text, l->pin.len};
	enum token_login end;
	const char *said;

	/* Of an earlier call, too. */
	if (!check_blocked(l, e) || !token_check_login(token, pin.len, e) ||
	    !logins_write(l->logins, LOGINS_OPEN, NULL, CONSOLE, (int64_t)time(NULL), e))
		return false;
	end = token_login(token, pin, &said, e);
	note(l, events[end], said);
	return end == TOKEN_LOGGED_IN;
}

bool
console_login_open(
    struct console_login *l, const char *member, struct token **token, struct error *e)
{
	enum signproto_state state;

	if (!token_open_member(l->config, l->state_dir, member, token, &state, e))
		return false;
	if (l->logins == NULL || log_in(l, *token, e))
		return true;
	token_close(*token);
	*token = NULL;
	return false;
}

void
console_login_close(struct console_login *l, struct token *token)
{
	struct error why = ERROR_INIT;

	if (token != NULL && l->logins != NULL && token_is_logged_in(token)) {
		if (token_logout(token, &why))
			note(l, LOGINS_OUT, CONSOLE);
		else
			log_failure(LOG_LEVEL_WARNING, l->config->name, &why);
	}
	token_close(token);
}

void
console_login_end(struct console_login *l)
{
	pin_clear(&l->pin);
	logins_close(l->logins);
	l->logins = NULL;
}
