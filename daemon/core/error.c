#define ERROR_DEFINITIONS
#include "daemon/core/error.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <openssl/err.h>

#include "daemon/core/utf8.h"

static const char *const code_names[] = {
    [ERROR_NONE] = "none",
    [ERROR_USAGE] = "usage",
    [ERROR_CONFIG] = "config",
    [ERROR_INPUT] = "input",
    [ERROR_LIMIT] = "limit",
    [ERROR_DENIED] = "denied",
    [ERROR_NOT_FOUND] = "not-found",
    [ERROR_CONFLICT] = "conflict",
    [ERROR_UNAVAILABLE] = "unavailable",
    [ERROR_TIMEOUT] = "timeout",
    [ERROR_LOCKED] = "locked",
    [ERROR_ELSEWHERE] = "elsewhere",
    [ERROR_BUSY] = "busy",
    [ERROR_SYSTEM] = "system",
    [ERROR_INTERNAL] = "internal",
};

/*
 * Foreign text (a server's message, a file name) may end up in the sentence:
 * control bytes would forge log lines or terminal output, and what is not UTF-8,
 * or was cut inside a character, no database and no JSON takes.
 */
static void
make_printable(char *text)
{
	while (*text != '\0') {
		uint32_t c;
		size_t len = utf8_decode(text, UTF8_MAX, &c);

		if (len == 0 || (c >= 0x80 && c < 0xa0)) { /* nothing, or C1 controls */
			*text = '?';
			len = 1;
		} else if (c < 0x20 || c == 0x7f) {
			*text = ' ';
		}
		text += len;
	}
}

static void
fill(struct error *e, enum error_code code, enum error_source source, const char *foreign,
    const char *fmt, va_list ap)
{
	e->code = code;
	e->source = source;
	(void)snprintf(e->foreign, sizeof e->foreign, "%s", foreign != NULL ? foreign : "");
	(void)vsnprintf(e->text, sizeof e->text, fmt, ap);
	make_printable(e->text);
}

static void
append(struct error *e, const char *text)
{
	size_t used = strlen(e->text);

	(void)snprintf(e->text + used, sizeof e->text - used, ": %s", text);
	make_printable(e->text);
}

bool
error_set(struct error *e, enum error_code code, const char *fmt, ...)
{
	va_list ap;

	if (e == NULL || error_is_set(e))
		return false;
	va_start(ap, fmt);
	fill(e, code, ERROR_OURS, NULL, fmt, ap);
	va_end(ap);
	return false;
}

bool
error_set_foreign(struct error *e, enum error_code code, enum error_source source,
    const char *foreign, const char *fmt, ...)
{
	va_list ap;

	if (e == NULL || error_is_set(e))
		return false;
	va_start(ap, fmt);
	fill(e, code, source, foreign, fmt, ap);
	va_end(ap);
	return false;
}

bool
error_set_errno(struct error *e, enum error_code code, const char *fmt, ...)
{
	int saved = errno;
	va_list ap;

	if (e == NULL || error_is_set(e))
		return false;
	va_start(ap, fmt);
	fill(e, code, ERROR_ERRNO, strerrorname_np(saved), fmt, ap);
	va_end(ap);
	append(e, strerror(saved));
	return false;
}

bool
error_set_openssl(struct error *e, enum error_code code, const char *fmt, ...)
{
	unsigned long last = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(last);
	char number[ERROR_FOREIGN_MAX];
	va_list ap;

	ERR_clear_error();
	if (e == NULL || error_is_set(e))
		return false;
	(void)snprintf(number, sizeof number, "%08lX", last);
	va_start(ap, fmt);
	fill(e, code, ERROR_OPENSSL, number, fmt, ap);
	va_end(ap);
	if (reason != NULL)
		append(e, reason);
	return false;
}

bool
error_wrap(struct error *e, const char *fmt, ...)
{
	char text[ERROR_TEXT_MAX];
	va_list ap;

	if (e == NULL || !error_is_set(e))
		return false;
	memcpy(text, e->text, sizeof text);
	va_start(ap, fmt);
	(void)vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	append(e, text);
	return false;
}

bool
error_is_set(const struct error *e)
{
	return e->code != ERROR_NONE;
}

void
error_clear(struct error *e)
{
	*e = ERROR_INIT;
}

bool
error_is_retryable(const struct error *e)
{
	return e->code == ERROR_UNAVAILABLE || e->code == ERROR_TIMEOUT ||
	       e->code == ERROR_LOCKED || e->code == ERROR_BUSY;
}

const char *
error_code_name(enum error_code code)
{
	if ((size_t)code >= COUNT_OF(code_names))
		return "unknown";
	return code_names[code];
}
