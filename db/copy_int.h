#ifndef CHANCERY_DB_COPY_INT_H
#define CHANCERY_DB_COPY_INT_H

/* The rows of COPY ... (FORMAT binary) out of CopyData messages (PostgreSQL's
 * manual, COPY, "Binary Format"). Pure. */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"
#include "db/stream.h"

struct copy_reader {
	bool header_seen, trailer_seen;
	struct wire_reader message; /* what is left of the current one */
};

enum copy_step {
	COPY_ROW,  /* *row is filled in */
	COPY_MORE, /* the message is used up */
	COPY_BAD,  /* err is set */
};

/* Starts on the next message, which must live until COPY_MORE. */
void copy_feed(struct copy_reader *c, const char *message, size_t len);
enum copy_step copy_next(
    struct copy_reader *c, struct db_stream_row *row, struct error *err) MUST_CHECK;

/* "COPY (sql) TO STDOUT (FORMAT binary)" with $1 to $9 replaced by the values in
 * parentheses; malloc, NULL with err set. */
char *copy_statement(
    const char *sql, const int64_t *values, int count, struct error *err) MUST_CHECK;

#endif
