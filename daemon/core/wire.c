#include "daemon/core/wire.h"

#include <stdlib.h>
#include <string.h>

void
wire_reader_init(struct wire_reader *r, const void *buf, size_t len)
{
	*r = (struct wire_reader){.p = buf, .left = len};
}

struct bytes
wire_get_bytes(struct wire_reader *r, size_t max)
{
	size_t len = wire_get_u32(r);
	struct bytes b = {0};

	if (r->failed || len > max || len > r->left) {
		r->failed = true;
		return b;
	}
	b = (struct bytes){r->p, len};
	r->p += len;
	r->left -= len;
	return b;
}

void
wire_get_string(struct wire_reader *r, char *out, size_t out_size)
{
	struct bytes b = wire_get_bytes(r, out_size - 1);

	out[0] = '\0';
	if (r->failed || b.len == 0)
		return;
	if (memchr(b.p, '\0', b.len) != NULL) {
		r->failed = true;
		return;
	}
	memcpy(out, b.p, b.len);
	out[b.len] = '\0';
}

bool
wire_reader_end(const struct wire_reader *r)
{
	return !r->failed && r->left == 0;
}

void
wire_writer_init(struct wire_writer *w, size_t max)
{
	*w = (struct wire_writer){.max = max};
}

/* Makes room for len more bytes and returns where they go, or NULL. */
static uint8_t *
grow(struct wire_writer *w, size_t len)
{
	size_t cap;
	uint8_t *buf;

	if (w->failed || len > w->max - w->len) {
		w->failed = true;
		return NULL;
	}
	if (len > w->cap - w->len) {
		cap = w->cap < 256 ? 256 : w->cap;
		while (cap - w->len < len)
			cap = cap > w->max / 2 ? w->max : cap * 2;
		buf = realloc(w->buf, cap);
		if (buf == NULL) {
			w->failed = true;
			return NULL;
		}
		w->buf = buf;
		w->cap = cap;
	}
	w->len += len;
	return w->buf + w->len - len;
}

static void
put_integer(struct wire_writer *w, uint64_t v, size_t width)
{
	uint8_t *p = grow(w, width);

	if (p == NULL)
		return;
	for (size_t i = 0; i < width; i++)
		p[i] = (uint8_t)(v >> 8 * (width - 1 - i));
}

void
wire_put_u8(struct wire_writer *w, uint8_t v)
{
	put_integer(w, v, 1);
}

void
wire_put_u16(struct wire_writer *w, uint16_t v)
{
	put_integer(w, v, 2);
}

void
wire_put_u32(struct wire_writer *w, uint32_t v)
{
	put_integer(w, v, 4);
}

void
wire_put_u64(struct wire_writer *w, uint64_t v)
{
	put_integer(w, v, 8);
}

void
wire_put_bytes(struct wire_writer *w, const void *p, size_t len)
{
	uint8_t *to;

	if (len > UINT32_MAX) {
		w->failed = true;
		return;
	}
	wire_put_u32(w, (uint32_t)len);
	to = grow(w, len);
	if (to != NULL && len > 0)
		memcpy(to, p, len);
}

void
wire_put_string(struct wire_writer *w, const char *s)
{
	wire_put_bytes(w, s, strlen(s));
}

bool
wire_writer_ok(const struct wire_writer *w)
{
	return !w->failed;
}

void
wire_writer_free(struct wire_writer *w)
{
	free(w->buf);
	*w = (struct wire_writer){0};
}
