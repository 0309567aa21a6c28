#ifndef CHANCERY_DB_PARAMS_H
#define CHANCERY_DB_PARAMS_H

/*
 * The parameters of one statement, in the order $1, $2, ...
 *
 *	struct db_params p = DB_PARAMS_INIT;
 *
 *	db_param_text(&p, ca_name);
 *	db_param_bytea(&p, csr, csr_len);
 *	db_array_begin(&p, DB_INT8);
 *	for (size_t i = 0; i < n; i++)
 *		db_element_int64(&p, ids[i]);
 *	db_array_end(&p);
 *	if (db_query(db, &statement, &p, answer, arg, err) == NULL)
 *		...
 *
 * Everything is copied. The builder is sticky: after the first failure (no
 * memory, a limit, a wrong type) further calls do nothing, and db_query reports
 * it. db_query empties the builder whether it succeeds or not; only a builder
 * that never reaches db_query needs db_params_free.
 *
 * Scalars other than bytea and timestamptz go as text, so that an integer fits
 * smallint, int and bigint parameters, and a text fits text, uuid, jsonb,
 * numeric and enum-like parameters. bytea, timestamptz and arrays go in binary:
 * the parameter must have exactly that type (write $1::bytea[] where PostgreSQL
 * cannot know it from a function's signature).
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"

#define DB_PARAMS_MAX 32			/* parameters of one statement */
#define DB_PARAMS_BYTES_MAX (32u * 1024 * 1024) /* of one statement, all together */

enum db_type {
	DB_BOOL,
	DB_INT4,
	DB_INT8,
	DB_TEXT,
	DB_BYTEA,
	DB_TIMESTAMPTZ,
};

/* The fields belong to params.c. */
struct db_params {
	size_t count;
	size_t offset[DB_PARAMS_MAX]; /* into buf */
	int length[DB_PARAMS_MAX];    /* -1: NULL */
	int format[DB_PARAMS_MAX];    /* 0 text, 1 binary */
	uint8_t *buf;		      /* owned */
	size_t len, cap;
	bool in_array;
	enum db_type element;
	uint32_t elements;
	struct error failure;
};

#define DB_PARAMS_INIT ((struct db_params){0})

void db_param_null(struct db_params *p);
void db_param_bool(struct db_params *p, bool v);
void db_param_int64(struct db_params *p, int64_t v);
/* NULL gives an SQL NULL. */
void db_param_text(struct db_params *p, const char *v);
/* len octets without a NUL among them; v == NULL gives an SQL NULL. */
void db_param_textn(struct db_params *p, const char *v, size_t len);
/* v == NULL gives an SQL NULL; an empty value is v != NULL with len 0. */
void db_param_bytea(struct db_params *p, const void *v, size_t len);
void db_param_bytes(struct db_params *p, struct bytes v);
/* Seconds since the epoch. */
void db_param_unixtime(struct db_params *p, int64_t seconds);

/* A one-dimensional array: begin, elements of exactly that type, end. An array
 * without elements is the empty array. */
void db_array_begin(struct db_params *p, enum db_type element);
void db_element_null(struct db_params *p);
void db_element_bool(struct db_params *p, bool v);
void db_element_int32(struct db_params *p, int32_t v);
void db_element_int64(struct db_params *p, int64_t v);
void db_element_text(struct db_params *p, const char *v);
void db_element_textn(struct db_params *p, const char *v, size_t len);
void db_element_bytea(struct db_params *p, const void *v, size_t len);
void db_element_bytes(struct db_params *p, struct bytes v);
void db_element_unixtime(struct db_params *p, int64_t seconds);
void db_array_end(struct db_params *p);

/* True when everything so far could be taken down and no array is open. */
bool db_params_ok(const struct db_params *p, struct error *err) MUST_CHECK;
/* Empties the builder; it can be used again. */
void db_params_free(struct db_params *p);

#endif
