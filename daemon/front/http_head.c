/* What a complete head means: target, host, framing, connection. */

#include <string.h>
#include <strings.h>

#include "daemon/core/encode.h"
#include "daemon/front/http_chars.h"
#include "daemon/front/http_parser_int.h"

/* ---------------------------------------------------------- request line */

static bool
target_is_clean(struct http_parser *p, const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == '%') {
			if (hex_value(s[1]) < 0 || hex_value(s[2]) < 0)
				return http_parser_refuse(p, 400,
				    "RFC 3986 2.1: a percent sign in the target "
				    "is not followed by two hex digits.");
			s += 2;
		} else if (!http_is_uri(*s)) {
			return http_parser_refuse(p, 400,
			    "RFC 3986 2: the target holds an octet that must be "
			    "percent-encoded.");
		}
	}
	return true;
}

/* uri-host [ ":" port ], without user information. */
static bool
authority_is_clean(const char *s, size_t len)
{
	size_t i = 0, digits = 0;

	if (len == 0 || len > HTTP_HOST_MAX)
		return false;
	if (s[0] == '[') {
		for (i = 1; i < len && s[i] != ']'; i++)
			if (hex_value(s[i]) < 0 && s[i] != ':' && s[i] != '.')
				return false;
		if (i >= len || i < 3)
			return false;
		i++;
	} else {
		for (; i < len && s[i] != ':'; i++)
			if (!http_is_host(s[i]))
				return false;
		if (i == 0)
			return false;
	}
	if (i == len)
		return true;
	if (s[i++] != ':')
		return false;
	for (; i < len; i++, digits++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return digits <= 5;
}

/* Splits an absolute-form target (RFC 9112 3.2.2); *path keeps the rest. The
 * authority moves one octet to the left, over the slash before it, to make
 * room for its NUL. */
static bool
target_split_absolute(struct http_parser *p, char **path, const char **authority)
{
	char *t = *path, *slash;
	size_t len, scheme = strncasecmp(t, "http://", 7) == 0 ? 7 : 8;

	t += scheme;
	slash = t + strcspn(t, "/?");
	len = (size_t)(slash - t);
	if (!authority_is_clean(t, len))
		return http_parser_refuse(
		    p, 400, "RFC 9112 3.2.2: the absolute target has no valid authority.");
	if (*slash != '/')
		return http_parser_refuse(
		    p, 400, "RFC 9112 3.2.1: the absolute target has no path.");
	memmove(t - 1, t, len);
	t[len - 1] = '\0';
	*authority = t - 1;
	*path = slash;
	return true;
}

static bool
request_line_finish(struct http_parser *p)
{
	struct http_request *r = &p->request;
	const char *version = p->head + p->version_at;
	char *path = p->head + p->target_at, *mark;

	r->method = p->head;
	if (strcmp(version, "HTTP/1.1") == 0)
		r->minor = 1;
	else if (strcmp(version, "HTTP/1.0") == 0)
		r->minor = 0;
	else if (strncmp(version, "HTTP/", 5) == 0)
		return http_parser_refuse(p, 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.");
	else
		return http_parser_refuse(
		    p, 400, "RFC 9112 3: the request line does not end in a version.");

	r->host = NULL;
	if (strcmp(path, "*") == 0 && strcmp(r->method, "OPTIONS") == 0) {
		r->path = path;
		return true;
	}
	if (!target_is_clean(p, path))
		return false;
	if (strncasecmp(path, "http://", 7) == 0 || strncasecmp(path, "https://", 8) == 0) {
		if (!target_split_absolute(p, &path, &r->host))
			return false;
	} else if (path[0] != '/') {
		return http_parser_refuse(
		    p, 400, "RFC 9112 3.2: the target is neither a path nor an http URI.");
	}
	r->path = path;
	mark = strchr(path, '?');
	if (mark != NULL) {
		*mark = '\0';
		r->query = mark + 1;
	}
	return true;
}

/* ---------------------------------------------------------------- fields */

/* Fields that stand once at most, and change the meaning when they stand twice. */
static const char *const once[] = {"Host", "Content-Length", "Transfer-Encoding", "Expect",
    "Content-Type", "Content-Encoding", "Authorization", "Range", "If-Range", "If-Modified-Since"};

static bool
fields_check_once(struct http_parser *p)
{
	for (size_t o = 0; o < COUNT_OF(once); o++) {
		int seen = 0;

		for (size_t i = 0; i < p->field_count; i++)
			seen += strcasecmp(p->fields[i].name, once[o]) == 0;
		if (seen > 1)
			return http_parser_refuse(
			    p, 400, "RFC 9110 5.3: the field %s stands more than once.", once[o]);
	}
	return true;
}

static bool
host_check(struct http_parser *p)
{
	struct http_request *r = &p->request;
	const char *host = http_request_field(r, "Host");

	if (host == NULL) {
		if (r->minor == 1)
			return http_parser_refuse(
			    p, 400, "RFC 9112 3.2: the field Host is missing.");
		return true;
	}
	if (!authority_is_clean(host, strlen(host)))
		return http_parser_refuse(
		    p, 400, "RFC 9112 3.2: the field Host is not a host with a port.");
	if (r->host != NULL && strcasecmp(r->host, host) != 0)
		return http_parser_refuse(
		    p, 400, "RFC 9112 3.2.2: the field Host and the target disagree.");
	r->host = host;
	return true;
}

static bool
content_length_parse(struct http_parser *p, const char *s)
{
	p->length = 0;
	if (*s == '\0')
		return http_parser_refuse(p, 400, "RFC 9110 8.6: Content-Length is empty.");
	for (const char *c = s; *c != '\0'; c++) {
		if (*c < '0' || *c > '9')
			return http_parser_refuse(
			    p, 400, "RFC 9110 8.6: Content-Length is not a number.");
		if (p->length > (UINT64_MAX - 9) / 10)
			return http_parser_refuse(p, 413, "Content-Length is beyond every limit.");
		p->length = p->length * 10 + (uint64_t)(*c - '0');
	}
	return true;
}

static bool
framing_check(struct http_parser *p)
{
	struct http_request *r = &p->request;
	const char *length = http_request_field(r, "Content-Length");
	const char *coding = http_request_field(r, "Transfer-Encoding");

	if (coding != NULL) {
		if (length != NULL)
			return http_parser_refuse(p, 400,
			    "RFC 9112 6.3: Transfer-Encoding and Content-Length "
			    "stand together.");
		if (r->minor == 0)
			return http_parser_refuse(
			    p, 400, "RFC 9112 6.1: HTTP/1.0 has no Transfer-Encoding.");
		if (strcasecmp(coding, "chunked") != 0)
			return http_parser_refuse(
			    p, 501, "RFC 9112 6.1: the only transfer coding is chunked.");
		p->chunked = true;
	} else if (length != NULL && !content_length_parse(p, length)) {
		return false;
	}
	r->has_body = coding != NULL || length != NULL;
	return true;
}

static bool
connection_check(struct http_parser *p)
{
	struct http_request *r = &p->request;
	const char *expect = http_request_field(r, "Expect");
	bool close = false, keep = false;

	for (size_t i = 0; i < p->field_count; i++)
		if (strcasecmp(p->fields[i].name, "Connection") == 0) {
			close = close || http_list_has(p->fields[i].value, "close");
			keep = keep || http_list_has(p->fields[i].value, "keep-alive");
		}
	r->keep_alive = !close && (r->minor == 1 || keep);
	/* RFC 9110 10.1.1: an expectation in an HTTP/1.0 request is ignored. */
	if (expect != NULL && r->minor == 1) {
		if (strcasecmp(expect, "100-continue") != 0)
			return http_parser_refuse(
			    p, 417, "RFC 9110 10.1.1: the only expectation is 100-continue.");
		r->expect_continue = true;
	}
	return true;
}

bool
http_parser_finish_head(struct http_parser *p)
{
	struct http_request *r = &p->request;

	for (size_t i = 0; i < p->field_count; i++) {
		p->fields[i].name = p->head + p->spans[i].name;
		p->fields[i].value = p->head + p->spans[i].value;
		p->head[p->spans[i].value_end] = '\0';
	}
	r->fields = p->fields;
	r->field_count = p->field_count;
	return request_line_finish(p) && fields_check_once(p) && host_check(p) &&
	       framing_check(p) && connection_check(p);
}
