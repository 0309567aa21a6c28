#ifndef CHANCERY_CORE_ENCODE_H
#define CHANCERY_CORE_ENCODE_H

/*
 * Octets as text: hexadecimal and base64 (RFC 4648), read strictly.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"

/* Value of a hex digit of either case, or -1. */
int hex_value(char c);

/* Writes 2 * len lower-case digits and a NUL. */
void hex_encode(const void *octets, size_t len, char *out);

/* Reads exactly 2 * len digits of either case; what follows is not looked at. */
bool hex_decode(const char *text, size_t len, uint8_t *out) MUST_CHECK;

/*
 * Decodes base64: the alphabet of RFC 4648 4, right padding, unused bits zero,
 * and white space between only when it is allowed. ERROR_INPUT for everything
 * else, ERROR_LIMIT when it does not fit; *len is set on success.
 */
bool base64_decode(struct bytes text, bool white_space, uint8_t *out, size_t out_size, size_t *len,
    struct error *err) MUST_CHECK;

#endif
