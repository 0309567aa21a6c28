#ifndef CHANCERY_CLI_HTTP_H
#define CHANCERY_CLI_HTTP_H

/*
 * The command line's way to the service: the REST API by libcurl, over the Unix
 * socket or HTTPS with a client certificate.
 *
 * An answer with an error status becomes an error with the service's own
 * sentence: 404 ERROR_NOT_FOUND, 401 and 403 ERROR_DENIED, 409 ERROR_CONFLICT,
 * 413 ERROR_LIMIT, 503 ERROR_UNAVAILABLE, others ERROR_INPUT below 500 and
 * ERROR_INTERNAL from there. No answer is ERROR_UNAVAILABLE or ERROR_TIMEOUT.
 *
 * The service is not trusted: answers are bounded, redirections not followed,
 * and what is no JSON object where one is due is ERROR_INTERNAL.
 */

#include <jansson.h>

#include "daemon/cli/options.h"

#define HTTP_ANSWER_MAX (16 * 1024 * 1024) /* octets */
#define HTTP_TIMEOUT_S 90
#define HTTP_SOCKET_DEFAULT "/run/chancery/api.sock"
#define HTTP_SOCKET_VARIABLE "CHANCERY_SOCKET"

struct http;

/* Chooses the way by --url, --socket, $CHANCERY_SOCKET, or the default socket. */
struct http *http_open(const struct options *options, struct error *e) MUST_CHECK;
void http_close(struct http *h); /* NULL is legal */

/* path is everything from "/v1" on, percent-encoded (http_escape). The answer
 * is a JSON object, the caller's. */
bool http_get(struct http *h, const char *path, json_t **answer, struct error *e) MUST_CHECK;
bool http_post(
    struct http *h, const char *path, json_t *body, json_t **answer, struct error *e) MUST_CHECK;
/* For PEM: the body as text without NULs, the caller's to free. */
bool http_get_text(struct http *h, const char *path, char **answer, struct error *e) MUST_CHECK;

/* Percent-encodes one segment or value of a query; false when out is too small. */
bool http_escape(const char *text, char *out, size_t size) MUST_CHECK;

#endif
