#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/front/http_field.h"
#include "daemon/front/http_parser.h"

#define BODY_MAX 64

/* Feeds text in pieces of step octets until a request or a refusal; *taken is
 * the count of octets used. */
static enum http_event
run(struct http_parser *p, const char *text, size_t len, size_t step, size_t *taken)
{
	enum http_event event = HTTP_MORE;
	size_t at = 0, used;

	while (at < len || event == HTTP_HEAD) {
		size_t n = len - at < step ? len - at : step;

		event = http_parser_feed(p, text + at, n, &used);
		assert_true(used <= n);
		at += used;
		if (event == HTTP_HEAD)
			http_parser_allow_body(p, BODY_MAX);
		if (event == HTTP_REQUEST || event == HTTP_REFUSED)
			break;
	}
	*taken = at;
	return event;
}

static const size_t steps[] = {1, 2, 3, 7, 1 << 20};

struct refusal {
	int status;
	const char *word; /* stands in the reason */
	const char *text;
};

#define H "Host: a\r\n"
#define POST "POST /v1/requests HTTP/1.1\r\n" H
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"

static const struct refusal refusals[] = {
    /* request line */
    {400, "method", " GET / HTTP/1.1\r\n" H "\r\n"},
    {400, "method", "GE(T / HTTP/1.1\r\n" H "\r\n"},
    {400, "method", "\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n"},
    {501, "method", "GETGETGETGETGETGETGET / HTTP/1.1\r\n" H "\r\n"},
    {400, "target", "GET  / HTTP/1.1\r\n" H "\r\n"},
    {400, "version", "GET / HTTP/1.1 \r\n" H "\r\n"},
    {400, "target", "GET /\tHTTP/1.1\r\n" H "\r\n"},
    {400, "version", "GET / x HTTP/1.1\r\n" H "\r\n"},
    {400, "target", "GET /\r\n" H "\r\n"},
    {505, "HTTP/1.1", "GET / HTTP/2.0\r\n" H "\r\n"},
    {505, "HTTP/1.1", "GET / HTTP/1.2\r\n" H "\r\n"},
    {505, "HTTP/1.1", "PRI * HTTP/2.0\r\n\r\n"},
    {400, "version", "GET / http/1.1\r\n" H "\r\n"},
    {400, "version", "GET / HTTP/1.11\r\n" H "\r\n"},
    {400, "version", "GET / HTTP/1.1\n" H "\r\n"},
    {400, "CR is not", "GET / HTTP/1.1\rX" H "\r\n"},
    {400, "target", "GET /\x01 HTTP/1.1\r\n" H "\r\n"},
    {400, "target", "GET /\x7f HTTP/1.1\r\n" H "\r\n"},
    {400, "target", "GET /\xc3\xa4 HTTP/1.1\r\n" H "\r\n"},
    {400, "percent", "GET /%4 HTTP/1.1\r\n" H "\r\n"},
    {400, "percent", "GET /%zz HTTP/1.1\r\n" H "\r\n"},
    {400, "target", "GET /a#b HTTP/1.1\r\n" H "\r\n"},
    {400, "target", "GET /a\"b HTTP/1.1\r\n" H "\r\n"},
    {400, "target", "GET a HTTP/1.1\r\n" H "\r\n"},
    {400, "target", "GET * HTTP/1.1\r\n" H "\r\n"},
    {400, "target", "CONNECT a:1 HTTP/1.1\r\n" H "\r\n"},
    {400, "authority", "GET http:///x HTTP/1.1\r\n" H "\r\n"},
    {400, "authority", "GET http://u@a/x HTTP/1.1\r\n" H "\r\n"},
    {400, "no path", "GET http://a HTTP/1.1\r\n" H "\r\n"},
    {400, "disagree", "GET http://b/x HTTP/1.1\r\n" H "\r\n"},
    /* fields */
    {400, "Host is missing", "GET / HTTP/1.1\r\n\r\n"},
    {400, "more than once", "GET / HTTP/1.1\r\n" H H "\r\n"},
    {400, "Host is not", "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
    {400, "Host is not", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"},
    {400, "Host is not", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"},
    {400, "Host is not", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
    {400, "Host is not", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"},
    {400, "white space", "GET / HTTP/1.1\r\nHost : a\r\n\r\n"},
    {400, "white space", POST "Content-Length : 3\r\n\r\nabc"},
    {400, "white space", POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"},
    {400, "white space", POST "Content Length: 3\r\n\r\nabc"},
    {400, "folded", "GET / HTTP/1.1\r\n" H "X: a\r\n b\r\n\r\n"},
    {400, "folded", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"},
    {400, "token", "GET / HTTP/1.1\r\n" H ": a\r\n\r\n"},
    {400, "token", "GET / HTTP/1.1\r\n" H "novalue\r\n\r\n"},
    {400, "token", "GET / HTTP/1.1\r\n" H "X\x01: a\r\n\r\n"},
    {400, "control", "GET / HTTP/1.1\r\n" H "X: a\x01\r\n\r\n"},
    {400, "control", "GET / HTTP/1.1\r\n" H "X: a\nY: b\r\n\r\n"},
    {400, "CR is not", "GET / HTTP/1.1\r\n" H "X: a\rY: b\r\n\r\n"},
    {400, "CR is not", "GET / HTTP/1.1\r\n" H "\rX"},
    {417, "expectation", POST "Expect: 200-ok\r\n\r\n"},
    {400, "more than once", POST "Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n"},
    /* framing */
    {400, "more than once", POST "Content-Length: 3\r\nContent-Length: 5\r\n\r\nabcde"},
    {400, "more than once", POST "Content-Length: 3\r\ncontent-length: 3\r\n\r\nabc"},
    {400, "not a number", POST "Content-Length: 3, 3\r\n\r\nabc"},
    {400, "not a number", POST "Content-Length: +3\r\n\r\nabc"},
    {400, "not a number", POST "Content-Length: -3\r\n\r\nabc"},
    {400, "not a number", POST "Content-Length: 0x3\r\n\r\nabc"},
    {400, "not a number", POST "Content-Length: 3 3\r\n\r\nabc"},
    {400, "empty", POST "Content-Length:\r\n\r\nabc"},
    {413, "limit", POST "Content-Length: 99999999999999999999999\r\n\r\nabc"},
    {413, "longer", POST "Content-Length: 65\r\n\r\n"},
    {400, "together", POST "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    {400, "together", POST "Transfer-Encoding: identity\r\nContent-Length: 3\r\n\r\nabc"},
    {400, "more than once",
	POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {501, "coding", POST "Transfer-Encoding: gzip\r\n\r\n"},
    {501, "coding", POST "Transfer-Encoding: gzip, chunked\r\n\r\n"},
    {501, "coding", POST "Transfer-Encoding: xchunked\r\n\r\n"},
    {501, "coding", POST "Transfer-Encoding: chunked, identity\r\n\r\n"},
    {501, "coding", POST "Transfer-Encoding:\r\n\r\n"},
    {400, "HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
    /* chunks */
    {400, "hex", CHUNKED "0x3\r\nabc\r\n0\r\n\r\n"},
    {400, "hex", CHUNKED "+3\r\nabc\r\n0\r\n\r\n"},
    {400, "hex", CHUNKED "-3\r\nabc\r\n0\r\n\r\n"},
    {400, "hex", CHUNKED " 3\r\nabc\r\n0\r\n\r\n"},
    {400, "hex", CHUNKED "3 \r\nabc\r\n0\r\n\r\n"},
    {400, "hex", CHUNKED "\r\nabc\r\n0\r\n\r\n"},
    {400, "hex", CHUNKED ";x\r\nabc\r\n0\r\n\r\n"},
    {400, "hex", CHUNKED "3\nabc\r\n0\r\n\r\n"},
    {400, "digits", CHUNKED "100000003\r\nabc\r\n0\r\n\r\n"},
    {400, "digits", CHUNKED "FFFFFFFFFFFFFFFFF\r\nabc\r\n0\r\n\r\n"},
    {413, "longer", CHUNKED "FFFFFFFF\r\nabc\r\n0\r\n\r\n"},
    {413, "longer",
	CHUNKED "40\r\n0123456789012345678901234567890123456789012345678901234567890123"
		"\r\n1\r\na\r\n0\r\n\r\n"},
    {400, "longer than its size", CHUNKED "3\r\nabcd\r\n0\r\n\r\n"},
    {400, "longer than its size", CHUNKED "3\r\nabc0\r\n\r\n"},
    {400, "CR is not", CHUNKED "3\rXabc\r\n0\r\n\r\n"},
    {400, "CR is not", CHUNKED "3\r\nabc\rX0\r\n\r\n"},
    {400, "extension", CHUNKED "3;a=\x01\r\nabc\r\n0\r\n\r\n"},
    {400, "extension", CHUNKED "3;a\nabc\r\n0\r\n\r\n"},
    {400, "trailer", CHUNKED "0\r\nContent-Length: 3\r\n\r\n"},
    {400, "trailer", CHUNKED "0\r\nHost: b\r\n\r\n"},
    {400, "malformed", CHUNKED "0\r\n X: b\r\n\r\n"},
    {400, "malformed", CHUNKED "0\r\nX : b\r\n\r\n"},
    {400, "malformed", CHUNKED "0\r\n:b\r\n\r\n"},
    {400, "malformed", CHUNKED "0\r\nX\r\n\r\n"},
    {400, "control", CHUNKED "0\r\nX: \x02\r\n\r\n"},
    {400, "CR is not", CHUNKED "0\r\nX: a\rb\r\n\r\n"},
    {400, "CR is not", CHUNKED "0\r\n\rX"},
};

static void
test_refusals(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(refusals); i++)
		for (size_t s = 0; s < COUNT_OF(steps); s++) {
			struct http_parser *p = http_parser_new();
			const struct refusal *r = &refusals[i];
			size_t taken;
			enum http_event event;

			assert_non_null(p);
			event = run(p, r->text, strlen(r->text), steps[s], &taken);
			if (event != HTTP_REFUSED || http_parser_status(p) != r->status ||
			    strstr(http_parser_reason(p), r->word) == NULL)
				fail_msg("case %zu step %zu: event %d status %d (%s), wanted %d "
					 "(%s):\n%s",
				    i, steps[s], (int)event, http_parser_status(p),
				    http_parser_reason(p), r->status, r->word, r->text);
			/* Nothing takes a refusal back. */
			assert_int_equal(http_parser_feed(p, "x", 1, &taken), HTTP_REFUSED);
			http_parser_free(p);
		}
}

/* Every head, cut at every octet, is incomplete and not refused. */
static void
test_truncated(void **state)
{
	static const char text[] = CHUNKED
	    "3;x=\"y\"\r\nabc\r\n00a\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n";
	(void)state;

	for (size_t len = 0; len < sizeof(text) - 1; len++) {
		struct http_parser *p = http_parser_new();
		size_t taken;

		assert_non_null(p);
		assert_int_not_equal(run(p, text, len, 1, &taken), HTTP_REFUSED);
		assert_int_equal(taken, len);
		http_parser_free(p);
	}
}

static void
test_get(void **state)
{
	static const char text[] =
	    "\r\nGET /crl/a%20b.crl?x=1&y=%41 HTTP/1.1\r\nHost: [::1]:80\r\n"
	    "If-None-Match:\t \"a\" \t\r\nEmpty:\r\nEmpty2:   \r\n\r\nGET /next";
	(void)state;

	for (size_t s = 0; s < COUNT_OF(steps); s++) {
		struct http_parser *p = http_parser_new();
		const struct http_request *r;
		size_t taken;

		assert_true(http_parser_is_idle(p));
		assert_int_equal(run(p, text, sizeof(text) - 1, steps[s], &taken), HTTP_REQUEST);
		assert_int_equal(taken, sizeof(text) - 1 - strlen("GET /next"));
		r = http_parser_request(p);
		assert_string_equal(r->method, "GET");
		assert_string_equal(r->path, "/crl/a%20b.crl");
		assert_string_equal(r->query, "x=1&y=%41");
		assert_string_equal(r->host, "[::1]:80");
		assert_int_equal(r->minor, 1);
		assert_true(r->keep_alive);
		assert_false(r->has_body);
		assert_null(r->body);
		assert_string_equal(http_request_field(r, "if-none-match"), "\"a\"");
		assert_string_equal(http_request_field(r, "empty"), "");
		assert_string_equal(http_request_field(r, "empty2"), "");
		assert_null(http_request_field(r, "nothing"));
		http_parser_free(p);
	}
}

static void
test_bodies(void **state)
{
	static const char *const texts[] = {
	    POST "Content-Length: 13\r\nExpect: 100-Continue\r\n\r\nabc0123456789" POST,
	    POST "Content-Length: 0000013\r\nExpect: 100-continue\r\n\r\nabc0123456789" POST,
	    POST "transfer-encoding: Chunked\r\nExpect: 100-continue\r\n\r\n"
		 "3;x=\"y\"\r\nabc\r\n0000000A\r\n0123456789\r\n000\r\nX-Sum: 1\r\n\r\n" POST,
	};
	(void)state;

	for (size_t i = 0; i < COUNT_OF(texts); i++)
		for (size_t s = 0; s < COUNT_OF(steps); s++) {
			struct http_parser *p = http_parser_new();
			const struct http_request *r;
			size_t taken;

			assert_int_equal(
			    run(p, texts[i], strlen(texts[i]), steps[s], &taken), HTTP_REQUEST);
			assert_string_equal(texts[i] + taken, POST);
			r = http_parser_request(p);
			assert_true(r->expect_continue);
			assert_true(r->has_body);
			assert_int_equal(r->body_len, 13);
			assert_string_equal((const char *)r->body, "abc0123456789");
			/* The same parser takes the next one. */
			http_parser_next(p);
			assert_true(http_parser_is_idle(p));
			assert_int_equal(
			    run(p, "GET / HTTP/1.0\r\n\r\n", 18, steps[s], &taken), HTTP_REQUEST);
			assert_null(http_parser_request(p)->body);
			http_parser_free(p);
		}
}

static void
test_empty_bodies(void **state)
{
	static const char *const texts[] = {
	    POST "Content-Length: 0\r\n\r\n", CHUNKED "0\r\n\r\n", "GET / HTTP/1.1\r\n" H "\r\n"};
	(void)state;

	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct http_parser *p = http_parser_new();
		size_t taken;

		assert_int_equal(run(p, texts[i], strlen(texts[i]), 1, &taken), HTTP_REQUEST);
		assert_int_equal(http_parser_request(p)->body_len, 0);
		assert_null(http_parser_request(p)->body);
		assert_int_equal(http_parser_request(p)->has_body, i < 2);
		http_parser_free(p);
	}
}

/* A body where the caller allows none. */
static void
test_no_body_allowed(void **state)
{
	static const char *const texts[] = {POST "Content-Length: 1\r\n\r\n", CHUNKED};
	(void)state;

	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct http_parser *p = http_parser_new();
		size_t used;

		assert_int_equal(http_parser_feed(p, texts[i], strlen(texts[i]), &used), HTTP_HEAD);
		assert_int_equal(http_parser_feed(p, "", 0, &used), HTTP_REFUSED);
		assert_int_equal(http_parser_status(p), 413);
		http_parser_free(p);
	}
}

struct connection {
	bool keep_alive;
	const char *text;
};

static void
test_connection(void **state)
{
	static const struct connection cases[] = {
	    {true, "GET / HTTP/1.1\r\n" H "\r\n"},
	    {false, "GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n"},
	    {false, "GET / HTTP/1.1\r\n" H "Connection: keep-alive, CLOSE\r\n\r\n"},
	    {false, "GET / HTTP/1.1\r\n" H "Connection: te\r\nConnection: x ,close \r\n\r\n"},
	    {true, "GET / HTTP/1.1\r\n" H "Connection: closed\r\n\r\n"},
	    {false, "GET / HTTP/1.0\r\n\r\n"},
	    {true, "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"},
	    {false, "GET / HTTP/1.0\r\nExpect: 200-ok\r\n\r\n"},
	    {true, "GET http://A:80/x?y HTTP/1.1\r\nHost: a:80\r\n\r\n"},
	    {true, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
	};
	(void)state;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct http_parser *p = http_parser_new();
		size_t taken;

		assert_int_equal(
		    run(p, cases[i].text, strlen(cases[i].text), 1, &taken), HTTP_REQUEST);
		assert_int_equal(http_parser_request(p)->keep_alive, cases[i].keep_alive);
		http_parser_free(p);
	}
}

static void
test_absolute_form(void **state)
{
	static const char text[] = "GET HTTP://example.test:8080/crl/a.crl?z HTTP/1.0\r\n\r\n";
	struct http_parser *p = http_parser_new();
	size_t taken;
	(void)state;

	assert_int_equal(run(p, text, sizeof(text) - 1, 1, &taken), HTTP_REQUEST);
	assert_string_equal(http_parser_request(p)->host, "example.test:8080");
	assert_string_equal(http_parser_request(p)->path, "/crl/a.crl");
	assert_string_equal(http_parser_request(p)->query, "z");
	http_parser_free(p);
}

/* Each limit: the last size that passes and the first that does not. */
static void
test_limits(void **state)
{
	size_t target, taken, n;
	char *text = malloc(4 * HTTP_HEAD_MAX);
	struct http_parser *p;
	(void)state;

	assert_non_null(text);
	for (target = HTTP_TARGET_MAX; target <= HTTP_TARGET_MAX + 1; target++) {
		n = (size_t)sprintf(text, "GET /");
		memset(text + n, 'a', target - 1);
		n += target - 1;
		n += (size_t)sprintf(text + n, " HTTP/1.1\r\n" H "\r\n");
		p = http_parser_new();
		assert_int_equal(run(p, text, n, 1000, &taken),
		    target == HTTP_TARGET_MAX ? HTTP_REQUEST : HTTP_REFUSED);
		if (target > HTTP_TARGET_MAX)
			assert_int_equal(http_parser_status(p), 414);
		http_parser_free(p);
	}

	for (size_t fields = HTTP_FIELDS_MAX; fields <= HTTP_FIELDS_MAX + 1; fields++) {
		n = (size_t)sprintf(text, "GET / HTTP/1.1\r\n" H);
		for (size_t i = 1; i < fields; i++)
			n += (size_t)sprintf(text + n, "X: y\r\n");
		n += (size_t)sprintf(text + n, "\r\n");
		p = http_parser_new();
		assert_int_equal(run(p, text, n, 1000, &taken),
		    fields == HTTP_FIELDS_MAX ? HTTP_REQUEST : HTTP_REFUSED);
		if (fields > HTTP_FIELDS_MAX)
			assert_int_equal(http_parser_status(p), 431);
		http_parser_free(p);
	}

	n = (size_t)sprintf(text, "GET / HTTP/1.1\r\n" H "X: ");
	memset(text + n, ' ', 2 * HTTP_HEAD_MAX);
	p = http_parser_new();
	assert_int_equal(run(p, text, n + 2 * HTTP_HEAD_MAX, 1000, &taken), HTTP_REFUSED);
	assert_int_equal(http_parser_status(p), 431);
	assert_true(taken <= HTTP_HEAD_MAX + 1000);
	http_parser_free(p);

	n = (size_t)sprintf(text, CHUNKED "1;");
	memset(text + n, 'a', HTTP_CHUNK_EXTENSION_MAX + 1);
	p = http_parser_new();
	assert_int_equal(run(p, text, n + HTTP_CHUNK_EXTENSION_MAX + 1, 1, &taken), HTTP_REFUSED);
	http_parser_free(p);

	n = (size_t)sprintf(text, CHUNKED "0\r\nX: ");
	memset(text + n, 'a', HTTP_TRAILER_MAX + 1);
	p = http_parser_new();
	assert_int_equal(run(p, text, n + HTTP_TRAILER_MAX + 1, 1, &taken), HTTP_REFUSED);
	assert_int_equal(http_parser_status(p), 431);
	http_parser_free(p);
	free(text);
}

static void
test_dates(void **state)
{
	char out[HTTP_DATE_SIZE];
	time_t t = 0;
	(void)state;

	http_date_format(784111777, out);
	assert_string_equal(out, "Sun, 06 Nov 1994 08:49:37 GMT");
	assert_true(http_date_parse(out, &t));
	assert_int_equal(t, 784111777);
	assert_true(http_date_parse("Sunday, 06-Nov-94 08:49:37 GMT", &t));
	assert_int_equal(t, 784111777);
	assert_true(http_date_parse("Sun Nov  6 08:49:37 1994", &t));
	assert_int_equal(t, 784111777);
	assert_false(http_date_parse("Sun, 06 Nov 1994 08:49:37 GMT x", &t));
	assert_false(http_date_parse("yesterday", &t));
	assert_false(http_date_parse("", &t));
}

static void
test_etags(void **state)
{
	(void)state;
	assert_true(http_etag_listed("*", "\"a\""));
	assert_true(http_etag_listed("\"a\"", "\"a\""));
	assert_true(http_etag_listed("\"b\", W/\"a\"", "\"a\""));
	assert_true(http_etag_listed("\"b,c\" ,\"a\"", "\"a\""));
	assert_false(http_etag_listed("\"b\"", "\"a\""));
	assert_false(http_etag_listed("a", "\"a\""));
	assert_false(http_etag_listed("\"a", "\"a\""));
	assert_false(http_etag_listed("", "\"a\""));
	assert_false(http_etag_listed("\"b\" \"a\"", "\"a\""));
}

static void
test_ranges(void **state)
{
	static const struct {
		const char *text;
		enum http_range kind;
		uint64_t first, last;
	} cases[] = {
	    {"bytes=0-0", HTTP_RANGE_PART, 0, 0},
	    {"bytes=2-5", HTTP_RANGE_PART, 2, 5},
	    {"bytes=2-", HTTP_RANGE_PART, 2, 9},
	    {"bytes=9-100", HTTP_RANGE_PART, 9, 9},
	    {"bytes=-3", HTTP_RANGE_PART, 7, 9},
	    {"bytes=-300", HTTP_RANGE_PART, 0, 9},
	    {"bytes=10-", HTTP_RANGE_UNSATISFIABLE, 0, 0},
	    {"bytes=-0", HTTP_RANGE_UNSATISFIABLE, 0, 0},
	    {"bytes=5-2", HTTP_RANGE_NONE, 0, 0},
	    {"bytes=0-1,3-4", HTTP_RANGE_NONE, 0, 0},
	    {"bytes=", HTTP_RANGE_NONE, 0, 0},
	    {"bytes=-", HTTP_RANGE_NONE, 0, 0},
	    {"bytes=a-b", HTTP_RANGE_NONE, 0, 0},
	    {"lines=0-1", HTTP_RANGE_NONE, 0, 0},
	    {"bytes=99999999999999999999-", HTTP_RANGE_NONE, 0, 0},
	};
	(void)state;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		uint64_t first = 0, last = 0;

		assert_int_equal(http_range_parse(cases[i].text, 10, &first, &last), cases[i].kind);
		assert_int_equal(first, cases[i].first);
		assert_int_equal(last, cases[i].last);
	}
}

static void
test_queries(void **state)
{
	char out[8];
	(void)state;

	assert_int_equal(http_query_get(NULL, "a", out, sizeof(out)), HTTP_PARAM_ABSENT);
	assert_int_equal(http_query_get("ab=1&a=%41+b&c", "a", out, sizeof(out)), HTTP_PARAM_FOUND);
	assert_string_equal(out, "A b");
	assert_int_equal(http_query_get("a=1&a=2", "a", out, sizeof(out)), HTTP_PARAM_BAD);
	assert_int_equal(http_query_get("a=12345678", "a", out, sizeof(out)), HTTP_PARAM_BAD);
	assert_int_equal(http_query_get("a=%00", "a", out, sizeof(out)), HTTP_PARAM_BAD);
	assert_int_equal(http_query_get("a=%4", "a", out, sizeof(out)), HTTP_PARAM_BAD);
	assert_int_equal(http_query_get("a=", "a", out, sizeof(out)), HTTP_PARAM_FOUND);
	assert_string_equal(out, "");
	assert_true(http_type_is("application/JSON; charset=utf-8", "application/json"));
	assert_false(http_type_is("application/jsonx", "application/json"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_truncated),
	    cmocka_unit_test(test_get),
	    cmocka_unit_test(test_bodies),
	    cmocka_unit_test(test_empty_bodies),
	    cmocka_unit_test(test_no_body_allowed),
	    cmocka_unit_test(test_connection),
	    cmocka_unit_test(test_absolute_form),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_dates),
	    cmocka_unit_test(test_etags),
	    cmocka_unit_test(test_ranges),
	    cmocka_unit_test(test_queries),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
