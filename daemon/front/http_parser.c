#include "daemon/front/http_parser.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/front/http_chars.h"

enum state {
	S_START,
	S_START_LF, /* after the CR of one empty line before the request line */
	S_METHOD,
	S_TARGET,
	S_VERSION,
	S_LINE_LF, /* after the CR of the request line or of a field line */
	S_FIELD_START,
	S_FIELD_NAME,
	S_VALUE_START,
	S_VALUE,
	S_HEAD_LF,
	S_HEAD_DONE, /* HTTP_HEAD was told; framing follows */
	S_BODY,
	S_CHUNK_SIZE,
	S_CHUNK_EXTENSION,
	S_CHUNK_SIZE_LF,
	S_CHUNK_DATA,
	S_CHUNK_DATA_CR,
	S_CHUNK_DATA_LF,
	S_TRAILER_START,
	S_TRAILER_NAME,
	S_TRAILER_VALUE,
	S_TRAILER_LF,
	S_END_LF,
	S_DONE,
	S_REFUSED,
};

/* Offsets into head, which moves while it grows. */
struct span {
	uint32_t name, value, value_end;
};

struct http_parser {
	enum state state;
	char *head; /* request line and fields; separators become NULs */
	size_t head_len, head_cap;
	uint32_t target_at, version_at;
	struct span spans[HTTP_FIELDS_MAX];
	struct http_field fields[HTTP_FIELDS_MAX];
	size_t field_count;

	bool chunked;
	uint64_t length; /* Content-Length; rest of the body or of the chunk */
	unsigned chunk_digits, chunk_extension, trailer_len;
	char trailer_name[HTTP_FIELD_NAME_MAX + 1];
	size_t trailer_name_len;

	uint8_t *body;
	size_t body_len, body_cap, body_max;

	struct http_request request;
	int status;
	char reason[HTTP_REASON_MAX];
};

struct http_parser *
http_parser_new(void)
{
	return calloc(1, sizeof(struct http_parser));
}

void
http_parser_free(struct http_parser *p)
{
	if (p == NULL)
		return;
	free(p->head);
	free(p->body);
	free(p);
}

void
http_parser_next(struct http_parser *p)
{
	free(p->head);
	free(p->body);
	memset(p, 0, sizeof(*p));
}

bool
http_parser_is_idle(const struct http_parser *p)
{
	return p->state == S_START;
}

void
http_parser_allow_body(struct http_parser *p, size_t max)
{
	p->body_max = max;
}

const struct http_request *
http_parser_request(const struct http_parser *p)
{
	return &p->request;
}

int
http_parser_status(const struct http_parser *p)
{
	return p->status;
}

const char *
http_parser_reason(const struct http_parser *p)
{
	return p->reason;
}

const char *
http_request_field(const struct http_request *r, const char *name)
{
	for (size_t i = 0; i < r->field_count; i++)
		if (strcasecmp(r->fields[i].name, name) == 0)
			return r->fields[i].value;
	return NULL;
}

static bool PRINTF(3, 4) refuse(struct http_parser *p, int status, const char *fmt, ...)
{
	va_list ap;

	if (p->state == S_REFUSED)
		return false;
	p->state = S_REFUSED;
	p->status = status;
	va_start(ap, fmt);
	vsnprintf(p->reason, sizeof(p->reason), fmt, ap);
	va_end(ap);
	return false;
}

static bool
head_put(struct http_parser *p, char c)
{
	char *bigger;
	size_t cap;

	if (p->head_len >= HTTP_HEAD_MAX)
		return refuse(p, 431, "The header block is longer than %d octets.", HTTP_HEAD_MAX);
	if (p->head_len == p->head_cap) {
		cap = p->head_cap == 0 ? 1024 : p->head_cap * 2;
		bigger = realloc(p->head, cap);
		if (bigger == NULL)
			return refuse(p, 503, "There is no memory for the request.");
		p->head = bigger;
		p->head_cap = cap;
	}
	p->head[p->head_len++] = c;
	return true;
}

/* ---------------------------------------------------------- request line */

static bool
target_is_clean(struct http_parser *p, const char *s)
{
	for (; *s != '\0'; s++) {
		if (*s == '%') {
			if (!http_is_hex(s[1]) || !http_is_hex(s[2]))
				return refuse(p, 400,
				    "RFC 3986 2.1: a percent sign in the target "
				    "is not followed by two hex digits.");
			s += 2;
		} else if (!http_is_uri(*s)) {
			return refuse(p, 400,
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
			if (!http_is_hex(s[i]) && s[i] != ':' && s[i] != '.')
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
		return refuse(
		    p, 400, "RFC 9112 3.2.2: the absolute target has no valid authority.");
	if (*slash != '/')
		return refuse(p, 400, "RFC 9112 3.2.1: the absolute target has no path.");
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
		return refuse(p, 505, "Only HTTP/1.1 and HTTP/1.0 are spoken here.");
	else
		return refuse(p, 400, "RFC 9112 3: the request line does not end in a version.");

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
		return refuse(
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
			return refuse(
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
			return refuse(p, 400, "RFC 9112 3.2: the field Host is missing.");
		return true;
	}
	if (!authority_is_clean(host, strlen(host)))
		return refuse(p, 400, "RFC 9112 3.2: the field Host is not a host with a port.");
	if (r->host != NULL && strcasecmp(r->host, host) != 0)
		return refuse(p, 400, "RFC 9112 3.2.2: the field Host and the target disagree.");
	r->host = host;
	return true;
}

static bool
content_length_parse(struct http_parser *p, const char *s)
{
	p->length = 0;
	if (*s == '\0')
		return refuse(p, 400, "RFC 9110 8.6: Content-Length is empty.");
	for (const char *c = s; *c != '\0'; c++) {
		if (*c < '0' || *c > '9')
			return refuse(p, 400, "RFC 9110 8.6: Content-Length is not a number.");
		if (p->length > (UINT64_MAX - 9) / 10)
			return refuse(p, 413, "Content-Length is beyond every limit.");
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
			return refuse(p, 400,
			    "RFC 9112 6.3: Transfer-Encoding and Content-Length "
			    "stand together.");
		if (r->minor == 0)
			return refuse(p, 400, "RFC 9112 6.1: HTTP/1.0 has no Transfer-Encoding.");
		if (strcasecmp(coding, "chunked") != 0)
			return refuse(p, 501, "RFC 9112 6.1: the only transfer coding is chunked.");
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
			return refuse(
			    p, 417, "RFC 9110 10.1.1: the only expectation is 100-continue.");
		r->expect_continue = true;
	}
	return true;
}

static bool
head_finish(struct http_parser *p)
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

/* ---------------------------------------------------------- the head, by octet */

static bool
step_request_line(struct http_parser *p, char c)
{
	switch (p->state) {
	case S_START:
		if (c == '\r') {
			/* RFC 9112 2.2: one empty line before a request is skipped. */
			p->state = S_START_LF;
			return true;
		}
		p->state = S_METHOD;
		break;
	case S_START_LF:
		if (c != '\n')
			return refuse(p, 400, "RFC 9112 2.2: a CR is not followed by LF.");
		p->state = S_METHOD;
		return true;
	default:
		break;
	}
	if (p->state == S_METHOD) {
		if (c == ' ' && p->head_len > 0) {
			p->state = S_TARGET;
			p->target_at = (uint32_t)p->head_len + 1;
			return head_put(p, '\0');
		}
		if (!http_is_token(c))
			return refuse(p, 400, "RFC 9112 3: the request line has no valid method.");
		if (p->head_len >= HTTP_METHOD_MAX)
			return refuse(
			    p, 501, "The method is longer than %d octets.", HTTP_METHOD_MAX);
		return head_put(p, c);
	}
	if (p->state == S_TARGET) {
		if (c == ' ' && p->head_len > p->target_at) {
			p->state = S_VERSION;
			p->version_at = (uint32_t)p->head_len + 1;
			return head_put(p, '\0');
		}
		if ((uint8_t)c <= ' ' || (uint8_t)c >= 0x7f)
			return refuse(p, 400,
			    "RFC 9112 3.2: the target holds white space, a control "
			    "octet or an octet beyond ASCII.");
		if (p->head_len - p->target_at >= HTTP_TARGET_MAX)
			return refuse(
			    p, 414, "The target is longer than %d octets.", HTTP_TARGET_MAX);
		return head_put(p, c);
	}
	/* S_VERSION */
	if (c == '\r') {
		p->state = S_LINE_LF;
		return head_put(p, '\0');
	}
	if ((uint8_t)c <= ' ' || (uint8_t)c >= 0x7f || p->head_len - p->version_at >= 8)
		return refuse(p, 400, "RFC 9112 3: the request line does not end in a version.");
	return head_put(p, c);
}

static bool
step_field_name(struct http_parser *p, char c)
{
	struct span *f;

	if (p->state == S_FIELD_START) {
		if (c == '\r') {
			p->state = S_HEAD_LF;
			return true;
		}
		if (c == ' ' || c == '\t')
			return refuse(p, 400, "RFC 9112 5.2: a field is folded over two lines.");
		if (p->field_count == HTTP_FIELDS_MAX)
			return refuse(p, 431, "There are more than %d fields.", HTTP_FIELDS_MAX);
		p->spans[p->field_count].name = (uint32_t)p->head_len;
		p->state = S_FIELD_NAME;
	}
	f = &p->spans[p->field_count];
	if (c == ':' && p->head_len > f->name) {
		if (!head_put(p, '\0'))
			return false;
		f->value = f->value_end = (uint32_t)p->head_len;
		p->state = S_VALUE_START;
		return true;
	}
	if (c == ' ' || c == '\t')
		return refuse(
		    p, 400, "RFC 9112 5.1: white space stands in or after a field's name.");
	if (!http_is_token(c))
		return refuse(
		    p, 400, "RFC 9112 5: a field's name is not a token followed by a colon.");
	if (p->head_len - f->name >= HTTP_FIELD_NAME_MAX)
		return refuse(
		    p, 431, "A field's name is longer than %d octets.", HTTP_FIELD_NAME_MAX);
	return head_put(p, c);
}

static bool
step_field_value(struct http_parser *p, char c)
{
	struct span *f = &p->spans[p->field_count];

	if (c == '\r') {
		p->field_count++;
		p->state = S_LINE_LF;
		return head_put(p, '\0');
	}
	if (p->state == S_VALUE_START && (c == ' ' || c == '\t')) {
		/* Kept, so that the cap counts every octet received. */
		f->value = f->value_end = (uint32_t)p->head_len + 1;
		return head_put(p, c);
	}
	if (http_is_control(c))
		return refuse(p, 400, "RFC 9110 5.5: a field's value holds a control octet.");
	p->state = S_VALUE;
	if (!head_put(p, c))
		return false;
	if (c != ' ' && c != '\t')
		f->value_end = (uint32_t)p->head_len;
	return true;
}

static bool
step_head(struct http_parser *p, char c)
{
	switch (p->state) {
	case S_FIELD_START:
	case S_FIELD_NAME:
		return step_field_name(p, c);
	case S_VALUE_START:
	case S_VALUE:
		return step_field_value(p, c);
	case S_LINE_LF:
		if (c != '\n')
			return refuse(p, 400, "RFC 9112 2.2: a CR is not followed by LF.");
		p->state = S_FIELD_START;
		return true;
	case S_HEAD_LF:
		if (c != '\n')
			return refuse(p, 400, "RFC 9112 2.2: a CR is not followed by LF.");
		if (!head_finish(p))
			return false;
		p->state = S_HEAD_DONE;
		return true;
	default:
		return step_request_line(p, c);
	}
}

/* ------------------------------------------------------------------ body */

static bool
body_reserve(struct http_parser *p, size_t more)
{
	size_t cap = p->body_cap == 0 ? 4096 : p->body_cap;
	uint8_t *bigger;

	if (more > p->body_max - p->body_len)
		return refuse(
		    p, 413, "The body is longer than the %zu octets allowed here.", p->body_max);
	if (p->body_len + more + 1 <= p->body_cap)
		return true;
	while (cap < p->body_len + more + 1)
		cap *= 2;
	bigger = realloc(p->body, cap);
	if (bigger == NULL)
		return refuse(p, 503, "There is no memory for the request.");
	p->body = bigger;
	p->body_cap = cap;
	return true;
}

/* Takes up to the rest of the body or chunk; returns how many. */
static size_t
body_take(struct http_parser *p, const uint8_t *data, size_t len)
{
	size_t n = len < p->length ? len : (size_t)p->length;

	if (n == 0 || !body_reserve(p, n))
		return n;
	memcpy(p->body + p->body_len, data, n);
	p->body_len += n;
	p->length -= n;
	return n;
}

static bool
step_chunk_size(struct http_parser *p, char c)
{
	if (http_is_hex(c)) {
		if (++p->chunk_digits > HTTP_CHUNK_DIGITS_MAX)
			return refuse(p, 400,
			    "RFC 9112 7.1: a chunk's size has more than %d digits.",
			    HTTP_CHUNK_DIGITS_MAX);
		p->length = p->length * 16 + http_hex_value(c);
		return true;
	}
	if (p->chunk_digits == 0 || (c != '\r' && c != ';'))
		return refuse(p, 400, "RFC 9112 7.1: a chunk's size is not a hex number.");
	if (p->length > p->body_max - p->body_len)
		return refuse(
		    p, 413, "The body is longer than the %zu octets allowed here.", p->body_max);
	p->state = c == ';' ? S_CHUNK_EXTENSION : S_CHUNK_SIZE_LF;
	return true;
}

/* A trailer field is checked like any other and dropped; one that would change
 * framing or routing has no business here (RFC 9110 6.5.1). */
static bool
step_trailer(struct http_parser *p, char c)
{
	static const char *const banned[] = {"Content-Length", "Transfer-Encoding", "Host",
	    "Authorization", "Content-Type", "Content-Encoding", "Connection", "Expect", "TE",
	    "Trailer"};

	if (++p->trailer_len > HTTP_TRAILER_MAX)
		return refuse(
		    p, 431, "The trailer fields are longer than %d octets.", HTTP_TRAILER_MAX);
	if (p->state == S_TRAILER_START) {
		if (c == '\r') {
			p->state = S_END_LF;
			return true;
		}
		p->trailer_name_len = 0;
		p->state = S_TRAILER_NAME;
	}
	if (p->state == S_TRAILER_NAME) {
		if (c != ':') {
			if (!http_is_token(c) || p->trailer_name_len == HTTP_FIELD_NAME_MAX)
				return refuse(
				    p, 400, "RFC 9112 7.1.2: a trailer field is malformed.");
			p->trailer_name[p->trailer_name_len++] = c;
			return true;
		}
		p->trailer_name[p->trailer_name_len] = '\0';
		for (size_t i = 0; i < COUNT_OF(banned); i++)
			if (strcasecmp(p->trailer_name, banned[i]) == 0)
				return refuse(
				    p, 400, "RFC 9110 6.5.1: %s stands in the trailer.", banned[i]);
		if (p->trailer_name_len == 0)
			return refuse(p, 400, "RFC 9112 7.1.2: a trailer field is malformed.");
		p->state = S_TRAILER_VALUE;
		return true;
	}
	if (c == '\r')
		p->state = S_TRAILER_LF;
	else if (http_is_control(c))
		return refuse(p, 400, "RFC 9110 5.5: a field's value holds a control octet.");
	return true;
}

static void
chunk_begin(struct http_parser *p)
{
	p->state = S_CHUNK_SIZE;
	p->length = 0;
	p->chunk_digits = 0;
	p->chunk_extension = 0;
}

static bool
step_chunked(struct http_parser *p, char c)
{
	bool lf = c == '\n';

	switch (p->state) {
	case S_CHUNK_SIZE:
		return step_chunk_size(p, c);
	case S_CHUNK_EXTENSION:
		if (c == '\r')
			p->state = S_CHUNK_SIZE_LF;
		else if (http_is_control(c) || ++p->chunk_extension > HTTP_CHUNK_EXTENSION_MAX)
			return refuse(p, 400,
			    "RFC 9112 7.1.1: a chunk's extension is malformed or longer "
			    "than %d octets.",
			    HTTP_CHUNK_EXTENSION_MAX);
		return true;
	case S_CHUNK_SIZE_LF:
		if (lf)
			p->state = p->length == 0 ? S_TRAILER_START : S_CHUNK_DATA;
		break;
	case S_CHUNK_DATA_CR:
		if (c != '\r')
			return refuse(p, 400, "RFC 9112 7.1: a chunk is longer than its size.");
		p->state = S_CHUNK_DATA_LF;
		return true;
	case S_CHUNK_DATA_LF:
		if (lf)
			chunk_begin(p);
		break;
	case S_TRAILER_LF:
		if (lf)
			p->state = S_TRAILER_START;
		break;
	case S_END_LF:
		if (lf)
			p->state = S_DONE;
		break;
	default:
		return step_trailer(p, c);
	}
	if (!lf)
		return refuse(p, 400, "RFC 9112 2.2: a CR is not followed by LF.");
	return true;
}

/* From the head to the body, once the caller has said how much it takes. */
static void
body_begin(struct http_parser *p)
{
	if (p->chunked) {
		if (p->body_max == 0)
			refuse(p, 413, "A body is not allowed here.");
		else
			chunk_begin(p);
	} else if (p->length == 0) {
		p->state = S_DONE;
	} else if (p->body_max == 0) {
		refuse(p, 413, "A body is not allowed here.");
	} else if (p->length > p->body_max) {
		refuse(p, 413, "The body is longer than the %zu octets allowed here.", p->body_max);
	} else {
		p->state = S_BODY;
	}
}

static enum http_event
finish(struct http_parser *p)
{
	if (p->body_len > 0) {
		p->body[p->body_len] = '\0';
		p->request.body = p->body;
		p->request.body_len = p->body_len;
	}
	return HTTP_REQUEST;
}

enum http_event
http_parser_feed(struct http_parser *p, const void *data, size_t len, size_t *used)
{
	const uint8_t *in = data;
	size_t at = 0;

	*used = 0;
	if (p->state == S_HEAD_DONE)
		body_begin(p);
	while (at < len && p->state < S_HEAD_DONE)
		if (step_head(p, (char)in[at++]) && p->state == S_HEAD_DONE) {
			*used = at;
			return HTTP_HEAD;
		}
	while (at < len && p->state > S_HEAD_DONE && p->state < S_DONE) {
		if (p->state == S_BODY) {
			at += body_take(p, in + at, len - at);
			if (p->state == S_BODY && p->length == 0)
				p->state = S_DONE;
		} else if (p->state == S_CHUNK_DATA) {
			at += body_take(p, in + at, len - at);
			if (p->state == S_CHUNK_DATA && p->length == 0)
				p->state = S_CHUNK_DATA_CR;
		} else {
			(void)step_chunked(p, (char)in[at++]);
		}
	}
	*used = at;
	if (p->state == S_REFUSED)
		return HTTP_REFUSED;
	return p->state == S_DONE ? finish(p) : HTTP_MORE;
}
