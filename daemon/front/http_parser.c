#include "daemon/front/http_parser.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/core/encode.h"
#include "daemon/front/http_chars.h"
#include "daemon/front/http_parser_int.h"

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

bool
http_parser_refuse(struct http_parser *p, int status, const char *fmt, ...)
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
		return http_parser_refuse(
		    p, 431, "The header block is longer than %d octets.", HTTP_HEAD_MAX);
	if (p->head_len == p->head_cap) {
		cap = p->head_cap == 0 ? 1024 : p->head_cap * 2;
		bigger = realloc(p->head, cap);
		if (bigger == NULL)
			return http_parser_refuse(p, 503, "There is no memory for the request.");
		p->head = bigger;
		p->head_cap = cap;
	}
	p->head[p->head_len++] = c;
	return true;
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
			return http_parser_refuse(
			    p, 400, "RFC 9112 2.2: a CR is not followed by LF.");
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
			return http_parser_refuse(
			    p, 400, "RFC 9112 3: the request line has no valid method.");
		if (p->head_len >= HTTP_METHOD_MAX)
			return http_parser_refuse(
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
			return http_parser_refuse(p, 400,
			    "RFC 9112 3.2: the target holds white space, a control "
			    "octet or an octet beyond ASCII.");
		if (p->head_len - p->target_at >= HTTP_TARGET_MAX)
			return http_parser_refuse(
			    p, 414, "The target is longer than %d octets.", HTTP_TARGET_MAX);
		return head_put(p, c);
	}
	/* S_VERSION */
	if (c == '\r') {
		p->state = S_LINE_LF;
		return head_put(p, '\0');
	}
	if ((uint8_t)c <= ' ' || (uint8_t)c >= 0x7f || p->head_len - p->version_at >= 8)
		return http_parser_refuse(
		    p, 400, "RFC 9112 3: the request line does not end in a version.");
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
			return http_parser_refuse(
			    p, 400, "RFC 9112 5.2: a field is folded over two lines.");
		if (p->field_count == HTTP_FIELDS_MAX)
			return http_parser_refuse(
			    p, 431, "There are more than %d fields.", HTTP_FIELDS_MAX);
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
		return http_parser_refuse(
		    p, 400, "RFC 9112 5.1: white space stands in or after a field's name.");
	if (!http_is_token(c))
		return http_parser_refuse(
		    p, 400, "RFC 9112 5: a field's name is not a token followed by a colon.");
	if (p->head_len - f->name >= HTTP_FIELD_NAME_MAX)
		return http_parser_refuse(
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
		return http_parser_refuse(
		    p, 400, "RFC 9110 5.5: a field's value holds a control octet.");
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
			return http_parser_refuse(
			    p, 400, "RFC 9112 2.2: a CR is not followed by LF.");
		p->state = S_FIELD_START;
		return true;
	case S_HEAD_LF:
		if (c != '\n')
			return http_parser_refuse(
			    p, 400, "RFC 9112 2.2: a CR is not followed by LF.");
		if (!http_parser_finish_head(p))
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
		return http_parser_refuse(
		    p, 413, "The body is longer than the %zu octets allowed here.", p->body_max);
	if (p->body_len + more + 1 <= p->body_cap)
		return true;
	while (cap < p->body_len + more + 1)
		cap *= 2;
	if (cap > p->body_max + 1)
		cap = p->body_max + 1;
	bigger = realloc(p->body, cap);
	if (bigger == NULL)
		return http_parser_refuse(p, 503, "There is no memory for the request.");
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
	if (hex_value(c) >= 0) {
		if (++p->chunk_digits > HTTP_CHUNK_DIGITS_MAX)
			return http_parser_refuse(p, 400,
			    "RFC 9112 7.1: a chunk's size has more than %d digits.",
			    HTTP_CHUNK_DIGITS_MAX);
		p->length = p->length * 16 + (unsigned)hex_value(c);
		return true;
	}
	if (p->chunk_digits == 0 || (c != '\r' && c != ';'))
		return http_parser_refuse(
		    p, 400, "RFC 9112 7.1: a chunk's size is not a hex number.");
	if (p->length > p->body_max - p->body_len)
		return http_parser_refuse(
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
		return http_parser_refuse(
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
				return http_parser_refuse(
				    p, 400, "RFC 9112 7.1.2: a trailer field is malformed.");
			p->trailer_name[p->trailer_name_len++] = c;
			return true;
		}
		p->trailer_name[p->trailer_name_len] = '\0';
		for (size_t i = 0; i < COUNT_OF(banned); i++)
			if (strcasecmp(p->trailer_name, banned[i]) == 0)
				return http_parser_refuse(
				    p, 400, "RFC 9110 6.5.1: %s stands in the trailer.", banned[i]);
		if (p->trailer_name_len == 0)
			return http_parser_refuse(
			    p, 400, "RFC 9112 7.1.2: a trailer field is malformed.");
		p->state = S_TRAILER_VALUE;
		return true;
	}
	if (c == '\r')
		p->state = S_TRAILER_LF;
	else if (http_is_control(c))
		return http_parser_refuse(
		    p, 400, "RFC 9110 5.5: a field's value holds a control octet.");
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
			return http_parser_refuse(p, 400,
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
			return http_parser_refuse(
			    p, 400, "RFC 9112 7.1: a chunk is longer than its size.");
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
		return http_parser_refuse(p, 400, "RFC 9112 2.2: a CR is not followed by LF.");
	return true;
}

/* From the head to the body, once the caller has said how much it takes. */
static void
body_begin(struct http_parser *p)
{
	if (p->chunked) {
		if (p->body_max == 0)
			http_parser_refuse(p, 413, "A body is not allowed here.");
		else
			chunk_begin(p);
	} else if (p->length == 0) {
		p->state = S_DONE;
	} else if (p->body_max == 0) {
		http_parser_refuse(p, 413, "A body is not allowed here.");
	} else if (p->length > p->body_max) {
		http_parser_refuse(
		    p, 413, "The body is longer than the %zu octets allowed here.", p->body_max);
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
