#ifndef CHANCERY_X509_DERW_H
#define CHANCERY_X509_DERW_H

/*
 * A writer of DER that works backwards from the end of a fixed buffer, so that
 * every length is known when it is written and nothing moves.
 *
 * The last field is therefore written first. A constructed element is a mark,
 * its fields in reverse order, and derw_wrap:
 *
 *	size_t mark = derw_mark(&w);
 *	derw_unsigned(&w, path_length);		-- second field
 *	derw_boolean(&w, true);			-- first field
 *	derw_wrap(&w, mark, DER_SEQUENCE);
 *
 * Sticky: when the buffer is too small, or a value cannot be encoded, every
 * further call does nothing, and the caller asks once at the end (derw_ok).
 */

#include "daemon/x509/der.h"

struct derw {
	uint8_t *buf; /* borrowed */
	size_t at;    /* what is written stands in buf[at, size) */
	size_t size;
	bool failed;
};

/* Octets that the content of a time can take. */
#define DER_TIME_MAX 15

void derw_init(struct derw *w, void *buf, size_t size);

/* How much is written up to now; give it to derw_wrap. */
size_t derw_mark(const struct derw *w);

/* Puts tag and length before everything written since the mark. */
void derw_wrap(struct derw *w, size_t mark, uint8_t tag);

/* Octets as they are. */
void derw_raw(struct derw *w, struct bytes b);

/* One element: tag, length, these octets. */
void derw_element(struct derw *w, uint8_t tag, struct bytes content);

void derw_boolean(struct derw *w, bool value);
void derw_null(struct derw *w);

/* INTEGER from a number, or from the big-endian octets of a non-negative one
 * (leading zero octets are dropped, one is added where the sign needs it). */
void derw_unsigned(struct derw *w, uint64_t value);
void derw_unsigned_octets(struct derw *w, uint8_t tag, struct bytes magnitude);

/* OBJECT IDENTIFIER from its content octets (oid.h). */
void derw_oid(struct derw *w, struct bytes oid);

/* BIT STRING of whole octets. */
void derw_bit_octets(struct derw *w, struct bytes octets);

/* BIT STRING of named bits, trailing zero bits dropped (X.690 11.2.2); bit n of
 * the string is bit n of bits. tag: DER_BIT_STRING or an implicit one. */
void derw_named_bits(struct derw *w, uint8_t tag, uint16_t bits);

/* A C string with this string tag; the caller has checked its characters. */
void derw_string(struct derw *w, uint8_t tag, const char *s);

/* Time as RFC 5280 4.1.2.5 wants it: UTCTime for 1950..2049, GeneralizedTime
 * for other years from 0 to 9999. derw_generalized_time: always the latter. */
void derw_time(struct derw *w, int64_t seconds);
void derw_generalized_time(struct derw *w, int64_t seconds);

bool derw_ok(const struct derw *w) MUST_CHECK;

/* What was written; points to the end of the buffer. Empty after a failure. */
struct bytes derw_result(const struct derw *w);

/* ---- pieces for encoders that stream forwards (CRLs) */

/* Octets that tag and length take before a content of len octets (len < 2^56). */
size_t der_header_size(uint64_t len);

/* Writes tag and length forwards; returns how many octets (at most 9). */
size_t der_header_put(uint8_t *out, uint8_t tag, uint64_t len);

/* Writes the content of a time forwards, in the form that RFC 5280 wants for
 * its year, and gives the tag. Returns its length, 13 or 15; 0 when the year
 * is outside 0..9999. */
size_t der_time_put(uint8_t out[DER_TIME_MAX], int64_t seconds, uint8_t *tag);
size_t der_generalized_time_put(uint8_t out[DER_TIME_MAX], int64_t seconds);

#endif
