#ifndef CHANCERY_CORE_UTF8_H
#define CHANCERY_CORE_UTF8_H

/*
 * UTF-8, read strictly (RFC 3629 4): shortest form, no surrogates, at most U+10FFFF.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"

#define UTF8_MAX 4 /* octets of a character */

/* The octets of the character at p, of which *c tells the number; 0 where none begins.
 * len: how many there are, at least 1; of a string UTF8_MAX will do, since no character
 * goes on beyond a NUL. */
size_t utf8_decode(const void *p, size_t len, uint32_t *c);

/* A text that logs, terminals, databases and JSON take as one line: no control
 * characters, also none of U+0080 to U+009F. */
bool utf8_is_line(const char *text) MUST_CHECK;

#endif
