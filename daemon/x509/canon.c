#include "daemon/x509/canon.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/core/encode.h"

#define TIME_LEN 20
#define TIME_MIN 946684800LL	/* 2000-01-01 */
#define TIME_MAX 253402300799LL /* 9999-12-31T23:59:59Z */

/* ---- lines */

void
canon_reader_init(struct canon_reader *r, char *text, const char *what)
{
	*r = (struct canon_reader){.at = text, .what = what, .line = 1};
}

bool
canon_next_is(const struct canon_reader *r, const char *key)
{
	size_t len = strlen(key);

	return strncmp(r->at, key, len) == 0 && strncmp(r->at + len, ": ", 2) == 0;
}

bool
canon_take(struct canon_reader *r, const char *key, char **value, struct error *err)
{
	char *end = strchr(r->at, '\n');

	if (end == NULL || !canon_next_is(r, key))
		return error_set(err, ERROR_INPUT,
		    "%s, line %u: must read '%s: ' and a value, and end with a line feed", r->what,
		    r->line, key);
	*end = '\0';
	*value = r->at + strlen(key) + 2;
	if (**value == '\0')
		return error_set(err, ERROR_INPUT,
		    "%s, line %u: '%s' has no value; an absent one is '-'", r->what, r->line, key);
	r->at = end + 1;
	r->line++;
	return true;
}

bool
canon_take_text(struct canon_reader *r, const char *key, char *out, size_t size, struct error *err)
{
	size_t len;
	char *v;

	if (!canon_take(r, key, &v, err))
		return false;
	len = strlen(v);
	if (len >= size)
		return error_set(err, ERROR_LIMIT,
		    "%s, field '%s': %zu bytes; allowed: at most %zu", r->what, key, len, size - 1);
	memcpy(out, v, len + 1);
	return true;
}

bool
canon_take_hex(struct canon_reader *r, const char *key, uint8_t *out, size_t len, bool *given,
    struct error *err)
{
	char *v;

	if (!canon_take(r, key, &v, err))
		return false;
	if (given != NULL) {
		*given = strcmp(v, "-") != 0;
		if (!*given)
			return true;
	}
	return canon_hex(v, out, len) ||
	       error_set(err, ERROR_INPUT, "%s, field '%s': must be %zu lower-case hex digits%s",
		   r->what, key, 2 * len, given != NULL ? " or '-'" : "");
}

bool
canon_take_number(
    struct canon_reader *r, const char *key, uint64_t max, uint64_t *number, struct error *err)
{
	char *v;

	return canon_take(r, key, &v, err) &&
	       (canon_number(v, max, number) ||
		   error_set(err, ERROR_INPUT, "%s, field '%s': must be a number up to %llu",
		       r->what, key, (unsigned long long)max));
}

bool
canon_take_time(struct canon_reader *r, const char *key, int64_t *t, struct error *err)
{
	char *v;

	return canon_take(r, key, &v, err) &&
	       (canon_time(v, t) ||
		   error_set(err, ERROR_INPUT, "%s, field '%s': must be like 2026-11-22T12:00:00Z",
		       r->what, key));
}

bool
canon_end(const struct canon_reader *r, struct error *err)
{
	if (*r->at == '\0')
		return true;
	return error_set(err, ERROR_INPUT,
	    "%s, line %u: something stands where the text should end, or a line is out of its "
	    "order",
	    r->what, r->line);
}

void
canon_writer_init(struct canon_writer *w, char *buf, size_t size)
{
	*w = (struct canon_writer){.buf = buf, .size = size};
	buf[0] = '\0';
}

void
canon_put(struct canon_writer *w, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (w->failed)
		return;
	va_start(ap, fmt);
	n = vsnprintf(w->buf + w->len, w->size - w->len, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= w->size - w->len)
		w->failed = true;
	else
		w->len += (size_t)n;
}

void
canon_put_hex(struct canon_writer *w, const uint8_t *octets, size_t len)
{
	if (w->failed || 2 * len >= w->size - w->len) {
		w->failed = true;
		return;
	}
	hex_encode(octets, len, w->buf + w->len);
	w->len += 2 * len;
}

void
canon_put_hex_line(
    struct canon_writer *w, const char *key, bool given, const uint8_t *octets, size_t len)
{
	canon_put(w, "%s: ", key);
	if (given)
		canon_put_hex(w, octets, len);
	canon_put(w, given ? "\n" : "-\n");
}

bool
canon_written(const struct canon_writer *w, const char *what, size_t *len, struct error *err)
{
	*len = w->len;
	return !w->failed ||
	       error_set(err, ERROR_LIMIT, "%s of more than %zu bytes", what, w->size - 1);
}

char *
canon_next_word(char **list, char separator)
{
	char *word = *list, *end;

	if (word == NULL)
		return NULL;
	end = strchr(word, separator);
	if (end != NULL)
		*end++ = '\0';
	*list = end;
	return word;
}

/* ---- the whole */

static bool
read_lines(const struct canon_form *form, char *text, void *to, struct error *err)
{
	struct canon_reader r;
	char *version;

	canon_reader_init(&r, text, form->what);
	if (!canon_take(&r, form->key, &version, err))
		return false;
	if (strcmp(version, "1") != 0)
		return error_set(err, ERROR_INPUT,
		    "%s of version '%.20s'; this program knows version 1", form->what, version);
	return form->read(&r, to, err) && canon_end(&r, err);
}

bool
canon_parse(
    const struct canon_form *form, const char *text, size_t len, void *to, struct error *err)
{
	char *copy = NULL, *again = NULL;
	size_t again_len = 0;
	bool ok = false;

	if (len > form->max)
		return error_set(err, ERROR_LIMIT, "%s of %zu bytes; allowed: at most %zu",
		    form->what, len, form->max);
	if (len == 0 || memchr(text, '\0', len) != NULL)
		return error_set(
		    err, ERROR_INPUT, "%s: the text is empty or has a NUL byte", form->what);
	copy = malloc(len + 1);
	again = malloc(form->max + 1);
	if (copy == NULL || again == NULL) {
		(void)error_set(err, ERROR_SYSTEM, "no memory for: %s", form->what);
		goto out;
	}
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (!read_lines(form, copy, to, err) || !form->write(to, again, &again_len, err))
		goto out;
	ok = again_len == len && memcmp(again, text, len) == 0;
	if (!ok)
		(void)error_set(
		    err, ERROR_INPUT, "%s: the text is not in its one canonical form", form->what);
out:
	free(copy);
	free(again);
	return ok;
}

/* ---- values */

bool
canon_is_name(const char *s, const char *extra, bool lower_only)
{
	size_t len = strlen(s);

	if (len == 0 || len > CANON_NAME_MAX || strchr(extra, s[0]) != NULL)
		return false;
	for (size_t i = 0; i < len; i++) {
		bool lower = (s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9');
		bool upper = s[i] >= 'A' && s[i] <= 'Z';

		if (!lower && !(upper && !lower_only) && strchr(extra, s[i]) == NULL)
			return false;
	}
	return true;
}

bool
canon_number(const char *s, uint64_t max, uint64_t *number)
{
	uint64_t v = 0;

	if (*s == '\0' || (s[0] == '0' && s[1] != '\0'))
		return false;
	for (; *s != '\0'; s++) {
		if (*s < '0' || *s > '9' || v > (UINT64_MAX - 9) / 10)
			return false;
		v = v * 10 + (uint64_t)(*s - '0');
	}
	*number = v;
	return v <= max;
}

bool
canon_hex(const char *s, uint8_t *out, size_t len)
{
	if (strlen(s) != 2 * len || strspn(s, "0123456789abcdef") != 2 * len)
		return false;
	return hex_decode(s, len, out);
}

bool
canon_hex_upto(const char *s, uint8_t *out, size_t max, size_t *len)
{
	*len = strlen(s) / 2;
	return *len >= 1 && *len <= max && canon_hex(s, out, *len);
}

void
canon_time_text(int64_t t, char out[CANON_TIME_SIZE])
{
	time_t when = (time_t)t;
	struct tm tm = {0};

	(void)gmtime_r(&when, &tm);
	if (strftime(out, CANON_TIME_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		(void)snprintf(out, CANON_TIME_SIZE, "?");
}

static int
decimal(const char *s, size_t digits)
{
	int v = 0;

	for (size_t i = 0; i < digits; i++)
		v = v * 10 + (s[i] - '0');
	return v;
}

bool
canon_time_valid(int64_t t)
{
	return t >= TIME_MIN && t <= TIME_MAX;
}

bool
canon_time_shape(const char *s, int64_t *t)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:ddZ";
	struct tm tm = {0};

	if (strlen(s) != TIME_LEN)
		return false;
	for (size_t i = 0; i < TIME_LEN; i++)
		if (shape[i] == 'd' ? s[i] < '0' || s[i] > '9' : s[i] != shape[i])
			return false;
	tm.tm_year = decimal(s, 4) - 1900;
	tm.tm_mon = decimal(s + 5, 2) - 1;
	tm.tm_mday = decimal(s + 8, 2);
	tm.tm_hour = decimal(s + 11, 2);
	tm.tm_min = decimal(s + 14, 2);
	tm.tm_sec = decimal(s + 17, 2);
	*t = (int64_t)timegm(&tm);
	return true;
}

bool
canon_time(const char *s, int64_t *t)
{
	char again[CANON_TIME_SIZE];

	if (!canon_time_shape(s, t) || !canon_time_valid(*t))
		return false;
	/* The 31st of February has become another day. */
	canon_time_text(*t, again);
	return strcmp(again, s) == 0;
}
