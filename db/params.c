#include "db/params.h"

#include <endian.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/params_int.h"
#include "db/pgtypes_int.h"

static bool
failed(const struct db_params *p)
{
	return error_is_set(&p->failure);
}

static void
append(struct db_params *p, const void *v, size_t len)
{
	if (failed(p) || len == 0)
		return;
	if (len > DB_PARAMS_BYTES_MAX - p->len) {
		error_set(&p->failure, ERROR_LIMIT,
		    "the values of one statement take more than %u octets", DB_PARAMS_BYTES_MAX);
		return;
	}
	if (len > p->cap - p->len) {
		size_t cap = p->cap == 0 ? 512 : p->cap;
		uint8_t *bigger;

		while (cap - p->len < len)
			cap *= 2;
		bigger = realloc(p->buf, cap);
		if (bigger == NULL) {
			error_set(&p->failure, ERROR_SYSTEM, "out of memory");
			return;
		}
		p->buf = bigger;
		p->cap = cap;
	}
	memcpy(p->buf + p->len, v, len);
	p->len += len;
}

static void
append_u32(struct db_params *p, uint32_t v)
{
	v = htobe32(v);
	append(p, &v, sizeof v);
}

static void
append_u64(struct db_params *p, uint64_t v)
{
	v = htobe64(v);
	append(p, &v, sizeof v);
}

/* Opens the next parameter. */
static bool
begin(struct db_params *p, int format)
{
	if (failed(p))
		return false;
	if (p->in_array)
		return error_set(&p->failure, ERROR_INTERNAL, "parameter inside an open array");
	if (p->count == DB_PARAMS_MAX)
		return error_set(
		    &p->failure, ERROR_INTERNAL, "more than %d parameters", DB_PARAMS_MAX);
	p->offset[p->count] = p->len;
	p->format[p->count] = format;
	return true;
}

static void
end(struct db_params *p)
{
	p->length[p->count] = (int)(p->len - p->offset[p->count]);
	p->count++;
}

void
db_param_null(struct db_params *p)
{
	if (!begin(p, 0))
		return;
	p->length[p->count++] = -1;
}

void
db_param_bool(struct db_params *p, bool v)
{
	db_param_text(p, v ? "t" : "f");
}

void
db_param_int64(struct db_params *p, int64_t v)
{
	char text[24];

	(void)snprintf(text, sizeof text, "%lld", (long long)v);
	db_param_text(p, text);
}

void
db_param_text(struct db_params *p, const char *v)
{
	db_param_textn(p, v, v != NULL ? strlen(v) : 0);
}

static bool
check_text(struct db_params *p, const char *v, size_t len)
{
	if (len != 0 && memchr(v, '\0', len) != NULL)
		return error_set(&p->failure, ERROR_INPUT, "a text with a NUL octet in it");
	return true;
}

void
db_param_textn(struct db_params *p, const char *v, size_t len)
{
	if (v == NULL) {
		db_param_null(p);
		return;
	}
	if (!check_text(p, v, len) || !begin(p, 0))
		return;
	append(p, v, len);
	end(p);
	append(p, "", 1); /* libpq takes values in text format as C strings */
}

void
db_param_bytea(struct db_params *p, const void *v, size_t len)
{
	if (v == NULL) {
		db_param_null(p);
		return;
	}
	if (!begin(p, 1))
		return;
	append(p, v, len);
	end(p);
}

void
db_param_bytes(struct db_params *p, struct bytes v)
{
	db_param_bytea(p, v.p, v.len);
}

static uint64_t
timestamp(int64_t unix_seconds)
{
	return (uint64_t)(unix_seconds - POSTGRES_EPOCH_S) * POSTGRES_TICKS;
}

void
db_param_unixtime(struct db_params *p, int64_t seconds)
{
	if (!begin(p, 1))
		return;
	append_u64(p, timestamp(seconds));
	end(p);
}

/* ------------------------------------------------------------------ arrays */

static uint32_t
oid_of(enum db_type type)
{
	switch (type) {
	case DB_BOOL:
		return OID_BOOL;
	case DB_INT4:
		return OID_INT4;
	case DB_INT8:
		return OID_INT8;
	case DB_TEXT:
		return OID_TEXT;
	case DB_BYTEA:
		return OID_BYTEA;
	case DB_TIMESTAMPTZ:
		return OID_TIMESTAMPTZ;
	}
	return 0;
}

/*
 * array_recv's layout: number of dimensions, whether NULLs occur (not looked at
 * by the server), element type; then size and lower bound of the dimension. The
 * size is filled in at the end; an empty array has no dimension.
 */
void
db_array_begin(struct db_params *p, enum db_type element)
{
	if (!begin(p, 1))
		return;
	p->in_array = true;
	p->element = element;
	p->elements = 0;
	append_u32(p, 1);
	append_u32(p, 1);
	append_u32(p, oid_of(element));
	append_u32(p, 0);
	append_u32(p, 1);
}

#define ARRAY_SIZE_OFFSET 12

void
db_array_end(struct db_params *p)
{
	uint32_t size = htobe32(p->elements);
	uint8_t *start;

	if (failed(p))
		return;
	if (!p->in_array) {
		error_set(&p->failure, ERROR_INTERNAL, "end of an array that was not begun");
		return;
	}
	start = p->buf + p->offset[p->count];
	if (p->elements == 0) {
		memset(start, 0, 4);
		p->len = p->offset[p->count] + ARRAY_SIZE_OFFSET;
	} else {
		memcpy(start + ARRAY_SIZE_OFFSET, &size, sizeof size);
	}
	p->in_array = false;
	end(p);
}

static bool
element(struct db_params *p, enum db_type type)
{
	if (failed(p))
		return false;
	if (!p->in_array || p->element != type)
		return error_set(
		    &p->failure, ERROR_INTERNAL, "array element of another type than the array");
	p->elements++;
	return true;
}

void
db_element_null(struct db_params *p)
{
	if (element(p, p->element))
		append_u32(p, UINT32_MAX);
}

void
db_element_bool(struct db_params *p, bool v)
{
	uint8_t octet = v;

	if (!element(p, DB_BOOL))
		return;
	append_u32(p, 1);
	append(p, &octet, 1);
}

void
db_element_int32(struct db_params *p, int32_t v)
{
	if (!element(p, DB_INT4))
		return;
	append_u32(p, 4);
	append_u32(p, (uint32_t)v);
}

void
db_element_int64(struct db_params *p, int64_t v)
{
	if (!element(p, DB_INT8))
		return;
	append_u32(p, 8);
	append_u64(p, (uint64_t)v);
}

void
db_element_text(struct db_params *p, const char *v)
{
	db_element_textn(p, v, v != NULL ? strlen(v) : 0);
}

void
db_element_textn(struct db_params *p, const char *v, size_t len)
{
	if (v == NULL) {
		db_element_null(p);
		return;
	}
	if (!check_text(p, v, len) || !element(p, DB_TEXT))
		return;
	append_u32(p, (uint32_t)len);
	append(p, v, len);
}

void
db_element_bytea(struct db_params *p, const void *v, size_t len)
{
	if (v == NULL) {
		db_element_null(p);
		return;
	}
	if (!element(p, DB_BYTEA))
		return;
	append_u32(p, (uint32_t)len);
	append(p, v, len);
}

void
db_element_bytes(struct db_params *p, struct bytes v)
{
	db_element_bytea(p, v.p, v.len);
}

void
db_element_unixtime(struct db_params *p, int64_t seconds)
{
	if (!element(p, DB_TIMESTAMPTZ))
		return;
	append_u32(p, 8);
	append_u64(p, timestamp(seconds));
}

bool
db_params_ok(const struct db_params *p, struct error *err)
{
	if (failed(p))
		return error_set(err, p->failure.code, "%s", p->failure.text);
	if (p->in_array)
		return error_set(err, ERROR_INTERNAL, "array parameter without an end");
	return true;
}

void
db_params_free(struct db_params *p)
{
	free(p->buf);
	*p = DB_PARAMS_INIT;
}

void
params_values(const struct db_params *p, const char *values[DB_PARAMS_MAX])
{
	for (size_t i = 0; p != NULL && i < p->count; i++) {
		if (p->length[i] < 0)
			values[i] = NULL;
		else if (p->buf == NULL) /* only values of no octets so far */
			values[i] = "";
		else
			values[i] = (const char *)p->buf + p->offset[i];
	}
}
