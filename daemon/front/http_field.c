#include "daemon/front/http_field.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/core/encode.h"
#include "daemon/front/http_chars.h"

static const char *
skip_blanks(const char *s)
{
	return s + strspn(s, " \t");
}

bool
http_list_has(const char *list, const char *word)
{
	size_t len = strlen(word), n;

	for (const char *s = list; *s != '\0'; s += n + (s[n] == ',')) {
		s = skip_blanks(s);
		n = strcspn(s, ",");
		if (n >= len && strncasecmp(s, word, len) == 0 && strspn(s + len, " \t") == n - len)
			return true;
	}
	return false;
}

void
http_date_format(time_t t, char out[HTTP_DATE_SIZE])
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	struct tm tm;

	gmtime_r(&t, &tm);
	snprintf(out, HTTP_DATE_SIZE, "%.3s, %02d %.3s %04d %02d:%02d:%02d GMT",
	    days + 3 * (tm.tm_wday % 7), tm.tm_mday % 100, months + 3 * (tm.tm_mon % 12),
	    (tm.tm_year + 1900) % 10000, tm.tm_hour % 100, tm.tm_min % 100, tm.tm_sec % 100);
}

bool
http_date_parse(const char *s, time_t *t)
{
	static const char *const forms[] = {
	    "%a, %d %b %Y %H:%M:%S GMT", "%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"};

	for (size_t i = 0; i < COUNT_OF(forms); i++) {
		struct tm tm = {0};
		const char *end = strptime(s, forms[i], &tm);

		if (end != NULL && *end == '\0') {
			*t = timegm(&tm);
			return true;
		}
	}
	return false;
}

bool
http_etag_listed(const char *list, const char *etag)
{
	size_t len = strlen(etag);
	const char *s = skip_blanks(list), *end;

	if (*s == '*')
		return true;
	while (*s != '\0') {
		if (strncmp(s, "W/", 2) == 0)
			s += 2;
		if (*s != '"' || (end = strchr(s + 1, '"')) == NULL)
			return false;
		end++;
		if ((size_t)(end - s) == len && memcmp(s, etag, len) == 0)
			return true;
		s = skip_blanks(end);
		if (*s == ',')
			s = skip_blanks(s + 1);
		else if (*s != '\0')
			return false;
	}
	return false;
}

/* Digits of at most 18 places; NULL when there is none or are more. */
static const char *
read_number(const char *s, uint64_t *n)
{
	const char *start = s;

	for (*n = 0; *s >= '0' && *s <= '9'; s++)
		*n = *n * 10 + (uint64_t)(*s - '0');
	return s == start || s - start > 18 ? NULL : s;
}

enum http_range
http_range_parse(const char *value, uint64_t size, uint64_t *first, uint64_t *last)
{
	uint64_t a, b;
	const char *s;

	if (strncasecmp(value, "bytes=", 6) != 0)
		return HTTP_RANGE_NONE;
	s = skip_blanks(value + 6);
	if (*s == '-') { /* the last b octets */
		s = read_number(s + 1, &b);
		if (s == NULL || *skip_blanks(s) != '\0')
			return HTTP_RANGE_NONE;
		if (b == 0 || size == 0)
			return HTTP_RANGE_UNSATISFIABLE;
		*first = b >= size ? 0 : size - b;
		*last = size - 1;
		return HTTP_RANGE_PART;
	}
	s = read_number(s, &a);
	if (s == NULL || *s != '-')
		return HTTP_RANGE_NONE;
	b = UINT64_MAX;
	if (*skip_blanks(++s) != '\0') {
		s = read_number(s, &b);
		if (s == NULL || *skip_blanks(s) != '\0' || b < a)
			return HTTP_RANGE_NONE;
	}
	if (a >= size)
		return HTTP_RANGE_UNSATISFIABLE;
	*first = a;
	*last = b >= size ? size - 1 : b;
	return HTTP_RANGE_PART;
}

bool
http_percent_decode(const char *s, size_t len, bool plus, char *out, size_t out_size)
{
	size_t n = 0;

	for (size_t i = 0; i < len; i++) {
		char c = s[i];
		uint8_t octet;

		if (c == '%') {
			if (len - i < 3 || !hex_decode(s + i + 1, 1, &octet))
				return false;
			c = (char)octet;
			i += 2;
		} else if (c == '+' && plus) {
			c = ' ';
		}
		if ((uint8_t)c < 0x20 || c == 0x7f || n + 1 >= out_size)
			return false;
		out[n++] = c;
	}
	if (out_size == 0)
		return false;
	out[n] = '\0';
	return true;
}

enum http_param
http_query_get(const char *query, const char *name, char *out, size_t out_size)
{
	enum http_param found = HTTP_PARAM_ABSENT;
	size_t n, name_len = strlen(name);

	for (const char *s = query == NULL ? "" : query; *s != '\0'; s += n + (s[n] == '&')) {
		n = strcspn(s, "&");
		if (n <= name_len || s[name_len] != '=' || memcmp(s, name, name_len) != 0)
			continue;
		if (found != HTTP_PARAM_ABSENT)
			return HTTP_PARAM_BAD;
		if (!http_percent_decode(s + name_len + 1, n - name_len - 1, true, out, out_size))
			return HTTP_PARAM_BAD;
		found = HTTP_PARAM_FOUND;
	}
	return found;
}

bool
http_query_each(const char *query, bool (*each)(const char *name, size_t len, void *arg), void *arg)
{
	size_t n;

	for (const char *s = query == NULL ? "" : query; *s != '\0'; s += n + (s[n] == '&')) {
		n = strcspn(s, "&");
		if (n > 0 && !each(s, strcspn(s, "=&"), arg))
			return false;
	}
	return true;
}

bool
http_type_is(const char *content_type, const char *media_type)
{
	size_t len = strlen(media_type);
	const char *rest;

	if (strncasecmp(content_type, media_type, len) != 0)
		return false;
	rest = skip_blanks(content_type + len);
	return *rest == '\0' || *rest == ';';
}
