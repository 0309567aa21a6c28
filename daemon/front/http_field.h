#ifndef CHANCERY_FRONT_HTTP_FIELD_H
#define CHANCERY_FRONT_HTTP_FIELD_H

/* Values of fields and queries: dates, entity tags, ranges, parameters. Pure. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "daemon/core/attr.h"

#define HTTP_DATE_SIZE 40 /* octets; a date and its NUL take 30 */

/* IMF-fixdate of RFC 9110 5.6.7. */
void http_date_format(time_t t, char out[HTTP_DATE_SIZE]);

/* All three forms that RFC 9110 5.6.7 tells a recipient to read. False: the
 * value is no date, and a condition with it is to be ignored. */
bool http_date_parse(const char *s, time_t *t) MUST_CHECK;

/* True when the list of entity tags (If-None-Match, RFC 9110 13.1.2) is "*" or
 * holds the tag, by weak comparison. etag is with its quotes. */
bool http_etag_listed(const char *list, const char *etag) MUST_CHECK;

enum http_range {
	HTTP_RANGE_NONE,	  /* not a single byte range: answer with the whole */
	HTTP_RANGE_PART,	  /* *first and *last are set, last < size */
	HTTP_RANGE_UNSATISFIABLE, /* 416 */
};

/* Reads a Range field (RFC 9110 14.1.2) against a representation of size
 * octets. Several ranges are answered with the whole, as 14.2 allows. */
enum http_range http_range_parse(
    const char *value, uint64_t size, uint64_t *first, uint64_t *last) MUST_CHECK;

/* Percent-decodes len octets of s into out, with a NUL. False when it does not
 * fit, holds a NUL or a control octet, or is malformed. plus: "+" is a blank,
 * as forms send it. */
bool http_percent_decode(
    const char *s, size_t len, bool plus, char *out, size_t out_size) MUST_CHECK;

enum http_param {
	HTTP_PARAM_ABSENT,
	HTTP_PARAM_FOUND,
	HTTP_PARAM_BAD, /* stands twice, does not fit, or is malformed */
};

/* The named parameter of a query ("a=1&b=2", may be NULL), decoded. */
enum http_param http_query_get(
    const char *query, const char *name, char *out, size_t out_size) MUST_CHECK;

/* Calls each for the undecoded name of every parameter until it returns false;
 * returns whether all returned true. */
bool http_query_each(
    const char *query, bool (*each)(const char *name, size_t len, void *arg), void *arg) MUST_CHECK;

/* True when a Content-Type is the media type, whatever its parameters. */
bool http_type_is(const char *content_type, const char *media_type) MUST_CHECK;

#endif
