#include "db/result.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>

#include "db/pgtypes_int.h"
#include "db/result_int.h"

struct db_result *
result_new(PGresult *pg)
{
	struct db_result *r = calloc(1, sizeof *r);

	if (r != NULL) {
		r->pg = pg;
		r->references = 1;
	}
	return r;
}

void
db_result_free(struct db_result *r)
{
	if (r == NULL || --r->references > 0)
		return;
	PQclear(r->pg);
	free(r);
}

struct db_result *
db_result_take(struct db_result *r)
{
	r->references++;
	return r;
}

bool
db_result_ok(const struct db_result *r, struct error *err)
{
	if (!error_is_set(&r->failure))
		return true;
	return error_set(err, r->failure.code, "%s", r->failure.text);
}

size_t
db_row_count(const struct db_result *r)
{
	return (size_t)PQntuples(r->pg);
}

static bool
exists(struct db_result *r, size_t row, size_t column)
{
	if (row < (size_t)PQntuples(r->pg) && column < (size_t)PQnfields(r->pg))
		return true;
	return error_set(
	    &r->failure, ERROR_INTERNAL, "the answer has no row %zu, column %zu", row, column);
}

static bool
mismatch(struct db_result *r, size_t column)
{
	return error_set(&r->failure, ERROR_INTERNAL,
	    "column %zu (\"%s\") of the answer has type %u and was read as another", column,
	    PQfname(r->pg, (int)column), PQftype(r->pg, (int)column));
}

bool
db_is_null(struct db_result *r, size_t row, size_t column)
{
	return !exists(r, row, column) || PQgetisnull(r->pg, (int)row, (int)column);
}

/* A value that is there and not NULL, with its type. */
static bool
value(struct db_result *r, size_t row, size_t column, struct bytes *v, Oid *type)
{
	if (db_is_null(r, row, column))
		return false;
	v->p = (const uint8_t *)PQgetvalue(r->pg, (int)row, (int)column);
	v->len = (size_t)PQgetlength(r->pg, (int)row, (int)column);
	*type = PQftype(r->pg, (int)column);
	return true;
}

bool
pg_decode_int(struct bytes v, int64_t *out)
{
	uint64_t n = 0;

	if (v.len != 2 && v.len != 4 && v.len != 8)
		return false;
	for (size_t i = 0; i < v.len; i++)
		n = n << 8 | v.p[i];
	if (v.len == 2)
		*out = (int16_t)n;
	else if (v.len == 4)
		*out = (int32_t)n;
	else
		*out = (int64_t)n;
	return true;
}

bool
pg_decode_unixtime(struct bytes v, int64_t *out)
{
	int64_t us;

	if (v.len != 8 || !pg_decode_int(v, &us))
		return false;
	*out = us / POSTGRES_TICKS - (us % POSTGRES_TICKS < 0) + POSTGRES_EPOCH_S;
	return true;
}

bool
db_get_bool(struct db_result *r, size_t row, size_t column)
{
	struct bytes v;
	Oid type;

	if (!value(r, row, column, &v, &type))
		return false;
	if (type != OID_BOOL || v.len != 1)
		return mismatch(r, column);
	return v.p[0] != 0;
}

int64_t
db_get_int64(struct db_result *r, size_t row, size_t column)
{
	struct bytes v;
	int64_t n;
	Oid type;

	if (!value(r, row, column, &v, &type))
		return 0;
	if ((type != OID_INT2 && type != OID_INT4 && type != OID_INT8) || !pg_decode_int(v, &n)) {
		mismatch(r, column);
		return 0;
	}
	return n;
}

const char *
db_get_text(struct db_result *r, size_t row, size_t column)
{
	struct bytes v;
	Oid type;

	if (!value(r, row, column, &v, &type))
		return NULL;
	switch (type) {
	case OID_TEXT:
	case OID_VARCHAR:
	case OID_NAME:
	case OID_JSON:
		return (const char *)v.p; /* libpq ends every value with a NUL */
	case OID_JSONB:
		if (v.len >= 1 && v.p[0] == 1) /* jsonb_send: version, then text */
			return (const char *)v.p + 1;
		break;
	default:
		break;
	}
	mismatch(r, column);
	return NULL;
}

struct bytes
db_get_bytes(struct db_result *r, size_t row, size_t column)
{
	struct bytes v = {NULL, 0};
	Oid type;

	if (!value(r, row, column, &v, &type))
		return (struct bytes){NULL, 0};
	if (type != OID_BYTEA) {
		mismatch(r, column);
		return (struct bytes){NULL, 0};
	}
	return v;
}

int64_t
db_get_unixtime(struct db_result *r, size_t row, size_t column)
{
	struct bytes v;
	int64_t seconds;
	Oid type;

	if (!value(r, row, column, &v, &type))
		return 0;
	if (type != OID_TIMESTAMPTZ || !pg_decode_unixtime(v, &seconds)) {
		mismatch(r, column);
		return 0;
	}
	return seconds;
}

void
db_get_uuid(struct db_result *r, size_t row, size_t column, char out[DB_UUID_TEXT_SIZE])
{
	struct bytes v;
	Oid type;

	out[0] = '\0';
	if (!value(r, row, column, &v, &type))
		return;
	if (type != OID_UUID || v.len != 16) {
		mismatch(r, column);
		return;
	}
	for (size_t i = 0; i < 16; i++) {
		bool dash = i == 4 || i == 6 || i == 8 || i == 10;

		(void)snprintf(out, 4, dash ? "-%02x" : "%02x", v.p[i]);
		out += dash ? 3 : 2;
	}
}

struct db_array
db_get_array(struct db_result *r, size_t row, size_t column)
{
	struct bytes v;
	Oid type;
	struct db_array a;

	if (!value(r, row, column, &v, &type))
		return (struct db_array){0};
	if ((type != OID_TEXT_ARRAY && type != OID_BYTEA_ARRAY && type != OID_INT4_ARRAY &&
		type != OID_INT8_ARRAY) ||
	    !pg_decode_array(v, &a)) {
		mismatch(r, column);
		return (struct db_array){0};
	}
	return a;
}

bool
pg_decode_array(struct bytes v, struct db_array *a)
{
	uint32_t dimensions;

	*a = (struct db_array){0};
	wire_reader_init(&a->left, v.p, v.len);
	dimensions = wire_get_u32(&a->left);
	(void)wire_get_u32(&a->left); /* whether there are NULLs */
	a->element_oid = wire_get_u32(&a->left);
	if (dimensions == 1) {
		a->count = wire_get_u32(&a->left);
		(void)wire_get_u32(&a->left); /* lower bound */
	}
	return !a->left.failed && dimensions <= 1;
}

bool
db_array_next(struct db_array *a, struct bytes *element)
{
	uint32_t len;

	*element = (struct bytes){NULL, 0};
	if (a->position >= a->count || a->left.failed)
		return false;
	a->position++;
	if (a->left.left < 4)
		return false;
	len = wire_get_u32(&a->left);
	if (len == UINT32_MAX) /* NULL */
		return true;
	if (len > a->left.left)
		return false;
	*element = (struct bytes){a->left.p, len};
	a->left.p += len;
	a->left.left -= len;
	return true;
}

bool
db_array_next_int64(struct db_array *a, int64_t *element)
{
	struct bytes v;

	*element = 0;
	if ((a->element_oid != OID_INT4 && a->element_oid != OID_INT8) || !db_array_next(a, &v))
		return false;
	return v.p == NULL || pg_decode_int(v, element);
}
