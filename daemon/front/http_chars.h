#ifndef CHANCERY_FRONT_HTTP_CHARS_H
#define CHANCERY_FRONT_HTTP_CHARS_H

/* The character classes of HTTP and URIs, independent of the locale. */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "daemon/core/attr.h"

static inline bool
http_is_alnum(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* tchar, RFC 9110 5.6.2 */
static inline bool
http_is_token(char c)
{
	return http_is_alnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL);
}

/* Everything RFC 3986 lets stand unencoded in a path or query, and in the
 * scheme and authority before it; not "#", not "[" and "]". */
static inline bool
http_is_uri(char c)
{
	return http_is_alnum(c) || (c != '\0' && strchr("-._~!$&'()*+,;=:@/?", c) != NULL);
}

/* reg-name and IPv4, without percent-encoding and sub-delims: no host of ours
 * or of a client needs them. */
static inline bool
http_is_host(char c)
{
	return http_is_alnum(c) || c == '-' || c == '.' || c == '_' || c == '~';
}

/* What may not stand in a field's value (RFC 9110 5.5); HTAB may. */
static inline bool
http_is_control(char c)
{
	return ((uint8_t)c < 0x20 && c != '\t') || (uint8_t)c == 0x7f;
}

/* True when the comma-separated list holds the word, compared without case. */
bool http_list_has(const char *list, const char *word) MUST_CHECK;

#endif
