#ifndef CHANCERY_X509_DER_H
#define CHANCERY_X509_DER_H

/*
 * A strict, bounded reader of DER (X.690 clause 10 and 11).
 *
 * A cursor walks over memory that it borrows; what it gives out points into
 * that memory. Every function returns false when the next element is not
 * exactly what was asked for, and has then moved nothing; the caller knows
 * what it was looking for and says so in its error. Refused everywhere:
 * indefinite and non-minimal lengths, tag numbers above 30, integers with
 * superfluous octets, booleans other than 0x00 and 0xff.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "daemon/core/attr.h"
#include "daemon/core/wire.h"

enum {
	DER_BOOLEAN = 0x01,
	DER_INTEGER = 0x02,
	DER_BIT_STRING = 0x03,
	DER_OCTET_STRING = 0x04,
	DER_NULL = 0x05,
	DER_OID = 0x06,
	DER_ENUMERATED = 0x0a,
	DER_UTF8_STRING = 0x0c,
	DER_NUMERIC_STRING = 0x12,
	DER_PRINTABLE_STRING = 0x13,
	DER_TELETEX_STRING = 0x14,
	DER_IA5_STRING = 0x16,
	DER_UTC_TIME = 0x17,
	DER_GENERALIZED_TIME = 0x18,
	DER_UNIVERSAL_STRING = 0x1c,
	DER_BMP_STRING = 0x1e,
	DER_SEQUENCE = 0x30,
	DER_SET = 0x31,
};

/* Context-specific tags: [n] primitive (implicit strings, integers) and [n]
 * constructed (explicit, and implicit SEQUENCEs). */
#define DER_CONTEXT(n) (0x80 | (n))
#define DER_CONTEXT_CONSTRUCTED(n) (0xa0 | (n))

#define DER_DEPTH_MAX 16

struct der {
	const uint8_t *p;
	size_t left;
};

static inline bool
bytes_equal(struct bytes a, struct bytes b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.p, b.p, a.len) == 0);
}

/* Orders by content as X.690 11.6 orders the members of a SET OF: octet by
 * octet, the shorter one first when it is the beginning of the other. */
int bytes_compare(struct bytes a, struct bytes b);

static inline void
der_init(struct der *d, struct bytes from)
{
	*d = (struct der){.p = from.p, .left = from.len};
}

/* True when nothing is left. */
static inline bool
der_end(const struct der *d)
{
	return d->left == 0;
}

/* True when something is left and its first octet is tag. */
static inline bool
der_next_is(const struct der *d, uint8_t tag)
{
	return d->left > 0 && d->p[0] == tag;
}

/* Reads one element of any tag. content and whole (tag and length included)
 * may be NULL. */
bool der_read_any(
    struct der *d, uint8_t *tag, struct bytes *content, struct bytes *whole) MUST_CHECK;

/* der_read of what has a length of more octets, or is not there. */
bool der_read_long(struct der *d, uint8_t tag, struct bytes *content) MUST_CHECK;

/* Reads one element of this tag and gives its content. */
static inline bool MUST_CHECK
der_read(struct der *d, uint8_t tag, struct bytes *content)
{
	if (d->left < 2 || d->p[0] != tag || d->p[1] >= 0x80 || d->p[1] > d->left - 2)
		return der_read_long(d, tag, content);
	*content = (struct bytes){d->p + 2, d->p[1]};
	d->p += 2 + content->len;
	d->left -= 2 + content->len;
	return true;
}

/* The same, but gives the whole element. */
bool der_read_whole(struct der *d, uint8_t tag, struct bytes *whole) MUST_CHECK;

/* Reads one element of this tag and opens a cursor over its content. */
bool der_enter(struct der *d, uint8_t tag, struct der *inner) MUST_CHECK;

/* The same for memory that must hold this one element and nothing else. */
bool der_enter_only(struct bytes from, uint8_t tag, struct der *inner) MUST_CHECK;

/* INTEGER: gives its content octets, two's complement, minimal. */
bool der_read_integer(struct der *d, struct bytes *content) MUST_CHECK;

/* INTEGER that is not negative; gives its magnitude without a leading zero
 * octet (zero itself is one zero octet). */
bool der_read_unsigned(struct der *d, struct bytes *magnitude) MUST_CHECK;

/* INTEGER in 0..max. */
bool der_read_small(struct der *d, uint32_t max, uint32_t *value) MUST_CHECK;

bool der_read_boolean(struct der *d, bool *value) MUST_CHECK;

/* OBJECT IDENTIFIER: gives its content; every arc is minimal. */
bool der_read_oid(struct der *d, struct bytes *content) MUST_CHECK;

/* True when these content octets are a well-formed OBJECT IDENTIFIER. */
bool der_oid_valid(struct bytes content);

/* BIT STRING: gives its octets and the number of unused bits (0..7), which
 * must be zero bits. */
bool der_read_bit_string(struct der *d, struct bytes *octets, unsigned *unused) MUST_CHECK;

/* BIT STRING of whole octets (keys, signatures). */
bool der_read_bit_octets(struct der *d, struct bytes *octets) MUST_CHECK;

/* BIT STRING with named bits (X.690 11.2.2: no trailing zero bits), at most 16
 * of them; bit n of the string is bit n of *bits. tag: DER_BIT_STRING or an
 * implicit one. */
bool der_read_named_bits(struct der *d, uint8_t tag, uint16_t *bits) MUST_CHECK;

/* Time as RFC 5280 4.1.2.5 profiles it: UTCTime YYMMDDHHMMSSZ for 1950..2049,
 * GeneralizedTime YYYYMMDDHHMMSSZ for all other years and only for them.
 * Unix seconds. */
bool der_read_time(struct der *d, int64_t *seconds) MUST_CHECK;

/* GeneralizedTime YYYYMMDDHHMMSSZ of any year (invalidityDate). */
bool der_read_generalized_time(struct der *d, int64_t *seconds) MUST_CHECK;

/* True when these octets are a sequence of well-formed elements, constructed
 * ones included, at most DER_DEPTH_MAX deep: universal types have the form that
 * DER gives them, and BOOLEAN, INTEGER, ENUMERATED, NULL, OBJECT IDENTIFIER and
 * BIT STRING legal contents. */
bool der_well_formed(struct bytes from);

#endif
