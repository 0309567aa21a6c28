#ifndef CHANCERY_DB_STREAM_H
#define CHANCERY_DB_STREAM_H

/*
 * Big results in constant memory: a connection of its own that holds one
 * REPEATABLE READ READ ONLY transaction, so that everything asked on it sees
 * the same snapshot, taken by the first statement.
 *
 *	db_stream_open -> ready
 *	db_stream_query (a small result; any number, one at a time) -> answer
 *	db_stream_copy  (rows without end; one at a time) -> row, row, ..., end
 *	db_stream_close
 *
 * A row callback that cannot take more calls db_stream_pause; then nothing is
 * read from the socket, and the server stops sending. Nothing reconnects: a
 * stream that failed is closed and opened anew, with a new snapshot.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"
#include "db/params.h"
#include "db/result.h"

#define DB_STREAM_FIELDS_MAX 16
#define DB_STREAM_ROW_MAX (4u * 1024 * 1024) /* octets of one row */
#define DB_STREAM_VALUES_MAX 9

struct event_base;
struct db_statement;
struct db_stream;

/* One row of a copy. Slices are valid during the call. NULL is {NULL, 0}. */
struct db_stream_row {
	size_t count;
	struct bytes field[DB_STREAM_FIELDS_MAX];
	bool failed; /* a getter was given a field that does not exist or has another size */
};

int64_t db_field_int64(struct db_stream_row *row, size_t field);      /* smallint, int, bigint */
int64_t db_field_unixtime(struct db_stream_row *row, size_t field);   /* timestamptz, seconds */
struct bytes db_field_bytes(struct db_stream_row *row, size_t field); /* bytea, text */
bool db_field_is_null(struct db_stream_row *row, size_t field);

/* Connected (err NULL), or not. After an error only db_stream_close is left. */
typedef void db_stream_ready_fn(struct db_stream *s, const struct error *err, void *arg);
/* Exactly one of result and err is NULL. */
typedef void db_stream_answer_fn(
    struct db_stream *s, struct db_result *result, const struct error *err, void *arg);
/* False ends the stream: end is called with err as this call set it. */
typedef bool db_stream_row_fn(
    struct db_stream *s, struct db_stream_row *row, void *arg, struct error *err);
/* All rows were delivered (err NULL), or the stream broke. */
typedef void db_stream_end_fn(struct db_stream *s, const struct error *err, void *arg);

/* conninfo as for db_open; connects at the next turn of the loop. Every
 * callback may call any function of this header, db_stream_close too. */
struct db_stream *db_stream_open(struct event_base *base, const char *conninfo,
    db_stream_ready_fn *ready, void *arg, struct error *err) MUST_CHECK;

/* params as for db_query: may be NULL, is emptied in any case. */
bool db_stream_query(struct db_stream *s, const struct db_statement *statement,
    struct db_params *params, db_stream_answer_fn *answer, void *arg, struct error *err) MUST_CHECK;

/*
 * Streams the rows of a SELECT. COPY takes no parameters, so each $1 to $9 in
 * the statement's text is replaced by the integer of that place, in
 * parentheses; pass a time as to_timestamp($1). nparams is the number of
 * values.
 */
bool db_stream_copy(struct db_stream *s, const struct db_statement *statement,
    const int64_t *values, db_stream_row_fn *row, db_stream_end_fn *end, void *arg,
    struct error *err) MUST_CHECK;

/* May be called from the row callback and from outside. After pause no
 * further row is delivered until resume. */
void db_stream_pause(struct db_stream *s);
void db_stream_resume(struct db_stream *s);

/* Ends transaction and connection; no callback is called. NULL is legal. */
void db_stream_close(struct db_stream *s);

#endif
