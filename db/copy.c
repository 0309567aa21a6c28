#include "db/copy_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/result_int.h"

static const uint8_t signature[11] = {'P', 'G', 'C', 'O', 'P', 'Y', '\n', 0xff, '\r', '\n', 0};

void
copy_feed(struct copy_reader *c, const char *message, size_t len)
{
	wire_reader_init(&c->message, message, len);
}

static bool
skip(struct wire_reader *r, size_t len)
{
	if (len > r->left)
		return false;
	r->p += len;
	r->left -= len;
	return true;
}

static bool
read_header(struct copy_reader *c)
{
	if (c->message.left < sizeof signature ||
	    memcmp(c->message.p, signature, sizeof signature) != 0)
		return false;
	if (!skip(&c->message, sizeof signature))
		return false;
	if ((wire_get_u32(&c->message) & 0xffff0000) != 0) /* critical flags that we do not know */
		return false;
	c->header_seen = skip(&c->message, wire_get_u32(&c->message)) && !c->message.failed;
	return c->header_seen;
}

static bool
read_row(struct wire_reader *r, size_t count, struct db_stream_row *row)
{
	row->count = count;
	row->failed = false;
	for (size_t i = 0; i < count; i++) {
		uint32_t len = wire_get_u32(r);

		if (r->failed)
			return false;
		if (len == UINT32_MAX) { /* NULL */
			row->field[i] = (struct bytes){NULL, 0};
			continue;
		}
		row->field[i] = (struct bytes){r->p, len};
		if (!skip(r, len))
			return false;
	}
	return true;
}

enum copy_step
copy_next(struct copy_reader *c, struct db_stream_row *row, struct error *err)
{
	uint16_t count;

	if (!c->header_seen && !read_header(c))
		goto bad;
	if (c->message.left == 0)
		return COPY_MORE;
	count = wire_get_u16(&c->message);
	if (c->message.failed || c->trailer_seen)
		goto bad;
	if (count == UINT16_MAX) {
		c->trailer_seen = true;
		return c->message.left == 0 ? COPY_MORE : COPY_BAD;
	}
	if (count > DB_STREAM_FIELDS_MAX) {
		error_set(err, ERROR_LIMIT, "a stream's row has %u fields, at most %d are read",
		    count, DB_STREAM_FIELDS_MAX);
		return COPY_BAD;
	}
	if (read_row(&c->message, count, row))
		return COPY_ROW;
bad:
	error_set(err, ERROR_INTERNAL, "the server's COPY data is not in its binary format");
	return COPY_BAD;
}

char *
copy_statement(const char *sql, const int64_t *values, int count, struct error *err)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);
	bool ok = true;

	if (out == NULL) {
		error_set(err, ERROR_SYSTEM, "out of memory");
		return NULL;
	}
	(void)fputs("COPY (", out);
	for (const char *p = sql; *p != '\0'; p++) {
		if (p[0] != '$' || p[1] < '1' || p[1] > '9') {
			(void)fputc(*p, out);
			continue;
		}
		p++;
		if (*p - '0' > count)
			ok = error_set(
			    err, ERROR_INTERNAL, "a stream's statement uses $%c of %d", *p, count);
		else
			(void)fprintf(out, "(%" PRId64 ")", values[*p - '1']);
	}
	(void)fputs(") TO STDOUT (FORMAT binary)", out);
	if (fclose(out) != 0)
		ok = error_set(err, ERROR_SYSTEM, "out of memory");
	if (!ok) {
		free(text);
		text = NULL;
	}
	return text;
}

/* NULL when it is not there, or is NULL. */
static const struct bytes *
field(struct db_stream_row *row, size_t i)
{
	if (i < row->count)
		return row->field[i].p != NULL ? &row->field[i] : NULL;
	row->failed = true;
	return NULL;
}

int64_t
db_field_int64(struct db_stream_row *row, size_t i)
{
	const struct bytes *v = field(row, i);
	int64_t n = 0;

	if (v != NULL && !pg_decode_int(*v, &n))
		row->failed = true;
	return n;
}

int64_t
db_field_unixtime(struct db_stream_row *row, size_t i)
{
	const struct bytes *v = field(row, i);
	int64_t n = 0;

	if (v != NULL && !pg_decode_unixtime(*v, &n))
		row->failed = true;
	return n;
}

struct bytes
db_field_bytes(struct db_stream_row *row, size_t i)
{
	const struct bytes *v = field(row, i);

	return v != NULL ? *v : (struct bytes){NULL, 0};
}

bool
db_field_is_null(struct db_stream_row *row, size_t i)
{
	return field(row, i) == NULL;
}
