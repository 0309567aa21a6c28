#ifndef CHANCERY_FRONT_HTTP_PARSER_H
#define CHANCERY_FRONT_HTTP_PARSER_H

/*
 * HTTP/1.1 requests out of a stream of bytes (RFC 9110, RFC 9112): strict,
 * bounded, incremental, and pure: no I/O, no clock.
 *
 * Strict means that whatever two implementations could read differently is
 * refused instead of repaired: a message whose end is disputed is how a second
 * request is smuggled past a proxy. After a refusal the stream has no known
 * boundary any more, so the connection has to be closed.
 *
 * Beyond what the RFCs demand, these are refused: a repeated Content-Length
 * (also with equal values), any transfer coding but a single "chunked", line
 * ends other than CRLF, an empty Host, a Host that differs from the authority
 * of an absolute target, and a fragment or any byte in the target that RFC 3986
 * wants percent-encoded.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"

#define HTTP_METHOD_MAX 16	     /* octets */
#define HTTP_TARGET_MAX (48 * 1024)  /* enrolment protocols put 40 kB into a query */
#define HTTP_HEAD_MAX (64 * 1024)    /* request line and fields, with line ends */
#define HTTP_FIELDS_MAX 96	     /* field lines */
#define HTTP_FIELD_NAME_MAX 128	     /* octets */
#define HTTP_HOST_MAX 261	     /* a name of 255, ":" and a port */
#define HTTP_CHUNK_DIGITS_MAX 8	     /* hex digits of a chunk's size, leading zeros too */
#define HTTP_CHUNK_EXTENSION_MAX 256 /* octets of one chunk's extensions */
#define HTTP_TRAILER_MAX 4096	     /* octets of all trailer fields */
#define HTTP_REASON_MAX 160

struct http_field {
	const char *name;  /* as received; compare without case */
	const char *value; /* without surrounding white space */
};

/* A request; every string is borrowed from the parser and valid until the next
 * http_parser_next or http_parser_free. */
struct http_request {
	const char *method;
	const char *path;  /* begins with "/", not decoded; "*" for OPTIONS * */
	const char *query; /* after "?", not decoded; NULL when there is none */
	const char *host;  /* authority; NULL for an HTTP/1.0 request without one */
	int minor;	   /* of HTTP/1.x: 0 or 1 */
	bool keep_alive;   /* the client wants the connection to go on */
	bool expect_continue;
	bool has_body; /* framing announces content, perhaps of length 0 */
	const struct http_field *fields;
	size_t field_count;
	const uint8_t *body; /* NUL-terminated for convenience; NULL when empty */
	size_t body_len;
};

enum http_event {
	HTTP_MORE,    /* everything was taken; feed more */
	HTTP_HEAD,    /* the head is complete: look at it, call http_parser_allow_body, go on */
	HTTP_REQUEST, /* the request is complete; bytes behind it were not taken */
	HTTP_REFUSED, /* http_parser_status and _reason say why; close */
};

struct http_parser;

/* NULL when memory is out. */
struct http_parser *http_parser_new(void) MUST_CHECK;
void http_parser_free(struct http_parser *p);

/* Makes ready for the next request of the connection. */
void http_parser_next(struct http_parser *p);

/* Takes bytes until an event; *used says how many. len may be 0 after
 * HTTP_HEAD, to learn whether the request is complete already. */
enum http_event http_parser_feed(
    struct http_parser *p, const void *data, size_t len, size_t *used) MUST_CHECK;

/* The body's cap in octets, 0 (no body at all) until this is called. Called
 * between HTTP_HEAD and the next feed. */
void http_parser_allow_body(struct http_parser *p, size_t max);

/* True while no byte of a request has come. */
bool http_parser_is_idle(const struct http_parser *p);

/* Valid from HTTP_HEAD on; the body from HTTP_REQUEST on. */
const struct http_request *http_parser_request(const struct http_parser *p);

/* After HTTP_REFUSED: 400, 413, 414, 417, 431, 501, 503 or 505, and one sentence. */
int http_parser_status(const struct http_parser *p);
const char *http_parser_reason(const struct http_parser *p);

/* The value of the first field of that name, or NULL. */
const char *http_request_field(const struct http_request *r, const char *name);

#endif
