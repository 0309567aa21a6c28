#ifndef CHANCERY_DB_RESULT_H
#define CHANCERY_DB_RESULT_H

/*
 * The rows that a statement answered with. Rows and columns count from 0.
 *
 * Reading is sticky as with a wire_reader: a row or column that does not exist,
 * or whose type is not the one asked for, gives a zero value and marks the
 * result; ask db_result_ok once at the end. An SQL NULL reads as 0, false, NULL
 * or an empty slice and is no failure; ask db_is_null where it matters.
 *
 * Slices and strings point into the result. It is freed when the query's
 * callback returns, unless the callback took it with db_result_take.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"

#define DB_UUID_TEXT_SIZE 37 /* 36 characters and the NUL */

struct db_result;

size_t db_row_count(const struct db_result *r);
bool db_is_null(struct db_result *r, size_t row, size_t column);
bool db_get_bool(struct db_result *r, size_t row, size_t column);
/* smallint, int, bigint. */
int64_t db_get_int64(struct db_result *r, size_t row, size_t column);
/* text, varchar, name, json, jsonb; NULL where the column is NULL. Cast numeric
 * and the like to text in the statement. */
const char *db_get_text(struct db_result *r, size_t row, size_t column);
/* bytea; {NULL, 0} where the column is NULL. */
struct bytes db_get_bytes(struct db_result *r, size_t row, size_t column);
/* timestamptz in whole seconds since the epoch, rounded down. */
int64_t db_get_unixtime(struct db_result *r, size_t row, size_t column);
/* uuid in its usual text form; "" where the column is NULL. */
void db_get_uuid(struct db_result *r, size_t row, size_t column, char out[DB_UUID_TEXT_SIZE]);

/*
 * A one-dimensional array of text, bytea, int or bigint:
 *
 *	struct db_array a = db_get_array(r, row, column);
 *
 *	while (db_array_next(&a, &element))
 *		...
 */
struct db_array {
	struct wire_reader left;
	uint32_t count; /* elements in all; 0 where the column is NULL or empty */
	uint32_t position;
	uint32_t element_oid;
};

struct db_array db_get_array(struct db_result *r, size_t row, size_t column);
/* The next element as its octets (text is not NUL-terminated); {NULL, 0} for an
 * SQL NULL. False at the end. */
bool db_array_next(struct db_array *a, struct bytes *element) MUST_CHECK;
/* The next element of an int[] or bigint[]. */
bool db_array_next_int64(struct db_array *a, int64_t *element) MUST_CHECK;

/* False, with a sentence, if anything above was asked wrongly. */
bool db_result_ok(const struct db_result *r, struct error *err) MUST_CHECK;

/* Inside a query's callback: keeps the result beyond it. Free it with
 * db_result_free (NULL is legal). */
struct db_result *db_result_take(struct db_result *r);
void db_result_free(struct db_result *r);

#endif
