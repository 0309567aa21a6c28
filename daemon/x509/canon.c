#include "daemon/x509/canon.h"

#include <stdarg.h>
#include <stdio.h>
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
canon_time(const char *s, int64_t *t)
{
	static const char shape[] = "dddd-dd-ddTdd:dd:ddZ";
	char again[CANON_TIME_SIZE];
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
	if (!canon_time_valid(*t))
		return false;
	/* The 31st of February has become another day. */
	canon_time_text(*t, again);
	return strcmp(again, s) == 0;
}
