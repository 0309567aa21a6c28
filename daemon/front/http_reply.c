#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/buffer.h>
#include <jansson.h>

#include "daemon/core/log.h"
#include "daemon/front/http_chars.h"
#include "daemon/front/http_field.h"
#include "daemon/front/http_server_int.h"

#define SEND_BASE_MS (60 * 1000)

static const struct {
	int status;
	const char *phrase;
	const char *code; /* of an error document */
} statuses[] = {
    {200, "OK", NULL},
    {201, "Created", NULL},
    {202, "Accepted", NULL},
    {206, "Partial Content", NULL},
    {304, "Not Modified", NULL},
    {400, "Bad Request", "input"},
    {401, "Unauthorized", "unauthenticated"},
    {403, "Forbidden", "denied"},
    {404, "Not Found", "not-found"},
    {405, "Method Not Allowed", "method-not-allowed"},
    {408, "Request Timeout", "timeout"},
    {409, "Conflict", "conflict"},
    {413, "Content Too Large", "limit"},
    {414, "URI Too Long", "limit"},
    {415, "Unsupported Media Type", "input"},
    {416, "Range Not Satisfiable", "input"},
    {417, "Expectation Failed", "input"},
    {431, "Request Header Fields Too Large", "limit"},
    {500, "Internal Server Error", "internal"},
    {501, "Not Implemented", "not-implemented"},
    {503, "Service Unavailable", "unavailable"},
    {505, "HTTP Version Not Supported", "input"},
};

static size_t
status_find(int status)
{
	for (size_t i = 0; i < COUNT_OF(statuses); i++)
		if (statuses[i].status == status)
			return i;
	return status_find(500);
}

/* ---------------------------------------------------------- the exchange */

struct http_exchange *
exchange_new(struct http_connection *c)
{
	struct http_exchange *x = calloc(1, sizeof(*x));

	if (x != NULL)
		x->c = c;
	return x;
}

bool
exchange_hold(struct http_exchange *x, size_t more)
{
	size_t *held = &x->c->s->held[door_index(x->c->peer.door)];

	if (more > HTTP_HELD_FREE && (*held > HTTP_HELD_MAX || more > HTTP_HELD_MAX - *held))
		return false;
	*held += more;
	x->held += more;
	return true;
}

void
exchange_release(struct http_exchange *x, size_t less)
{
	x->c->s->held[door_index(x->c->peer.door)] -= less;
	x->held -= less;
}

void
exchange_drop(struct http_exchange *x)
{
	exchange_release(x, x->held);
	if (x->source != NULL)
		x->source->done(x->source_arg);
	else if (x->gone != NULL)
		x->gone(HTTP_GONE, x->gone_arg);
	free(x->data);
	free(x);
}

const struct http_request *
http_exchange_request(const struct http_exchange *x)
{
	return http_parser_request(x->c->parser);
}

const struct http_peer *
http_exchange_peer(const struct http_exchange *x)
{
	return &x->c->peer;
}

void
http_exchange_set_data(struct http_exchange *x, void *data)
{
	free(x->data);
	x->data = data;
}

void *
http_exchange_data(const struct http_exchange *x)
{
	return x->data;
}

void
http_on_gone(struct http_exchange *x, void (*gone)(enum http_gone how, void *arg), void *arg)
{
	x->gone = gone;
	x->gone_arg = arg;
}

/* -------------------------------------------------------------- the head */

void
http_reply_field(struct http_exchange *x, const char *name, const char *fmt, ...)
{
	char value[1024];
	int n, room = (int)(sizeof(x->fields) - x->fields_len);
	va_list ap;

	va_start(ap, fmt);
	n = vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof(value))
		x->fields_bad = true;
	for (const char *s = value; *s != '\0'; s++)
		if (http_is_control(*s))
			x->fields_bad = true;
	if (x->fields_bad)
		return;
	n = snprintf(x->fields + x->fields_len, (size_t)room, "%s: %s\r\n", name, value);
	if (n < 0 || n >= room) {
		x->fields[x->fields_len] = '\0';
		x->fields_bad = true;
		return;
	}
	x->fields_len += (size_t)n;
}

static bool
is_head(const struct http_exchange *x)
{
	const char *method = http_exchange_request(x)->method;

	return method != NULL && strcmp(method, "HEAD") == 0;
}

/* Writes the head of the reply; NULL fields of the request are those of a
 * request that was refused before its head was whole. */
static void
write_head(struct http_exchange *x, int status, const char *content_type, uint64_t len)
{
	struct evbuffer *out = bufferevent_get_output(x->c->bev);
	const struct http_request *r = http_exchange_request(x);
	char date[HTTP_DATE_SIZE];
	size_t i = status_find(status);

	x->will_close = x->will_close || x->c->s->draining;
	http_date_format(time(NULL), date);
	evbuffer_add_printf(
	    out, "HTTP/1.1 %d %s\r\nDate: %s\r\n", statuses[i].status, statuses[i].phrase, date);
	if (status != 304)
		evbuffer_add_printf(out, "Content-Length: %llu\r\n", (unsigned long long)len);
	if (content_type != NULL)
		evbuffer_add_printf(
		    out, "Content-Type: %s\r\nX-Content-Type-Options: nosniff\r\n", content_type);
	if (x->will_close)
		evbuffer_add_printf(out, "Connection: close\r\n");
	else if (r->minor == 0)
		evbuffer_add_printf(out, "Connection: keep-alive\r\n");
	evbuffer_add(out, x->fields, x->fields_len);
	evbuffer_add(out, "\r\n", 2);
	x->answered = true;
}

static void
start_sending(struct http_exchange *x, uint64_t len)
{
	x->gone = NULL;
	connection_set_phase(x->c, PHASE_SENDING, SEND_BASE_MS + len / HTTP_DRAIN_RATE_MIN * 1000);
	bufferevent_setwatermark(x->c->bev, EV_WRITE, x->source == NULL ? 0 : HTTP_OUTPUT_LOW, 0);
}

/* -------------------------------------------------------------- the body */

void
http_reply(
    struct http_exchange *x, int status, const char *content_type, const void *body, size_t len)
{
	if (x->fields_bad) {
		log_error("-", "a reply's field was malformed: answered with 500");
		x->fields_bad = false;
		x->fields_len = 0;
		http_reply_error(x, 500, NULL, "The reply could not be made.");
		return;
	}
	if (!exchange_hold(x, len)) {
		x->fields_len = 0;
		http_reply_error(x, 503, NULL, "Too much is being read here at once.");
		return;
	}
	write_head(x, status, content_type, len);
	if (!is_head(x) && status != 304 && len > 0)
		bufferevent_write(x->c->bev, body, len);
	start_sending(x, len);
}

void
http_reply_error(struct http_exchange *x, int status, const char *code, const char *fmt, ...)
{
	char message[ERROR_TEXT_MAX + 64];
	json_t *doc;
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(message, sizeof(message), fmt, ap);
	va_end(ap);
	if (code == NULL)
		code = statuses[status_find(status)].code;
	doc = json_pack("{s:{s:s, s:s}}", "error", "code", code == NULL ? "internal" : code,
	    "message", message);
	if (doc == NULL) /* the sentence was not UTF-8, or was cut inside a character */
		doc = json_pack("{s:{s:s, s:s}}", "error", "code", code == NULL ? "internal" : code,
		    "message", "The reason is not valid UTF-8.");
	if (doc != NULL)
		text = json_dumps(doc, JSON_COMPACT);
	json_decref(doc);
	if (status == 503)
		http_reply_field(x, "Retry-After", "5");
	http_reply(x, status, "application/json", text == NULL ? "{}" : text,
	    text == NULL ? 2 : strlen(text));
	free(text);
}

void
exchange_more(struct http_exchange *x)
{
	if (x->source == NULL || x->pulling)
		return;
	x->pulling = true;
	x->source->pull(x, x->source_arg);
}

void
http_reply_stream(struct http_exchange *x, int status, const char *content_type, uint64_t len,
    const struct http_source *source, void *arg)
{
	if (x->fields_bad) {
		x->gone = NULL;
		http_reply(x, 500, NULL, NULL, 0);
		source->done(arg);
		return;
	}
	write_head(x, status, content_type, len);
	x->source = source;
	x->source_arg = arg;
	x->left = is_head(x) ? 0 : len;
	start_sending(x, len);
	if (x->left > 0)
		exchange_more(x);
}

/* False: the reply is cut off, and x is gone. */
static bool
take_piece(struct http_exchange *x, size_t len, size_t max)
{
	if (!x->pulling || len == 0 || len > x->left || len > max) {
		log_error("-", "a streamed reply was given a piece of a wrong size: it is cut off");
		http_reply_abort(x);
		return false;
	}
	x->pulling = false;
	x->left -= len;
	if (x->left == 0)
		bufferevent_setwatermark(x->c->bev, EV_WRITE, 0, 0);
	return true;
}

void
http_reply_piece(struct http_exchange *x, const void *data, size_t len)
{
	if (take_piece(x, len, HTTP_PIECE_MAX) && bufferevent_write(x->c->bev, data, len) != 0)
		http_reply_abort(x);
}

bool
http_reply_takes_files(const struct http_exchange *x)
{
	return !x->c->is_tls;
}

void
http_reply_file(struct http_exchange *x, int fd, uint64_t offset, size_t len)
{
	struct evbuffer_file_segment *segment;
	bool ok;

	if (!take_piece(x, len, HTTP_FILE_PIECE_MAX))
		return;
	/* A socket's output buffer drains to a descriptor: the kernel copies by itself. */
	segment = evbuffer_file_segment_new(fd, (ev_off_t)offset, (ev_off_t)len, 0);
	ok = segment != NULL && evbuffer_add_file_segment(bufferevent_get_output(x->c->bev),
				    segment, 0, (ev_off_t)len) == 0;
	if (segment != NULL)
		evbuffer_file_segment_free(segment);
	if (!ok)
		http_reply_abort(x);
}

void
http_reply_abort(struct http_exchange *x)
{
	connection_close(x->c);
}
