#ifndef CHANCERY_CORE_WIRE_H
#define CHANCERY_CORE_WIRE_H

/*
 * The codec of messages between our processes: big-endian integers and byte
 * strings with a 32-bit length. A reader is a bounded cursor that points into
 * the received frame; a writer appends to a growing buffer with a cap.
 *
 * Both are sticky: after the first failure every further call does nothing,
 * and the caller asks once at the end (wire_reader_end, wire_writer_ok).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"

struct bytes {
	const uint8_t *p; /* borrowed */
	size_t len;
};

struct wire_reader {
	const uint8_t *p;
	size_t left;
	bool failed;
};

struct wire_writer {
	uint8_t *buf; /* owned, malloc */
	size_t len, cap, max;
	bool failed;
};

void wire_reader_init(struct wire_reader *r, const void *buf, size_t len);

/* An integer of so many octets, big-endian. */
static inline uint64_t
wire_get_integer(struct wire_reader *r, size_t width)
{
	uint64_t v = 0;

	if (r->failed || r->left < width) {
		r->failed = true;
		return 0;
	}
	for (size_t i = 0; i < width; i++)
		v = v << 8 | r->p[i];
	r->p += width;
	r->left -= width;
	return v;
}

static inline uint8_t
wire_get_u8(struct wire_reader *r)
{
	return (uint8_t)wire_get_integer(r, 1);
}

static inline uint16_t
wire_get_u16(struct wire_reader *r)
{
	return (uint16_t)wire_get_integer(r, 2);
}

static inline uint32_t
wire_get_u32(struct wire_reader *r)
{
	return (uint32_t)wire_get_integer(r, 4);
}

static inline uint64_t
wire_get_u64(struct wire_reader *r)
{
	return wire_get_integer(r, 8);
}

/* A byte string of at most max bytes, pointing into the frame. */
struct bytes wire_get_bytes(struct wire_reader *r, size_t max);
/* The same, copied into out as a C string; a NUL inside is a failure. */
void wire_get_string(struct wire_reader *r, char *out, size_t out_size);
/* True when everything was read without failure and nothing is left over. */
bool wire_reader_end(const struct wire_reader *r) MUST_CHECK;

/* max: bytes beyond which the writer fails. */
void wire_writer_init(struct wire_writer *w, size_t max);
void wire_put_u8(struct wire_writer *w, uint8_t v);
void wire_put_u16(struct wire_writer *w, uint16_t v);
void wire_put_u32(struct wire_writer *w, uint32_t v);
void wire_put_u64(struct wire_writer *w, uint64_t v);
void wire_put_bytes(struct wire_writer *w, const void *p, size_t len);
void wire_put_string(struct wire_writer *w, const char *s);
bool wire_writer_ok(const struct wire_writer *w) MUST_CHECK;
/* Frees the buffer; the writer can be used again after wire_writer_init. */
void wire_writer_free(struct wire_writer *w);

#endif
