#ifndef CHANCERY_DB_RESULT_INT_H
#define CHANCERY_DB_RESULT_INT_H

#include <libpq-fe.h>

#include "db/result.h"

struct db_result {
	PGresult *pg;	/* owned; values in binary format */
	int references; /* ours while the callback runs, and the callback's when it took it */
	struct error failure;
};

/* Takes pg over if it succeeds; NULL without memory. */
struct db_result *result_new(PGresult *pg);

/* Values in PostgreSQL's binary format. */
bool pg_decode_int(struct bytes v, int64_t *out) MUST_CHECK;
bool pg_decode_unixtime(struct bytes v, int64_t *out) MUST_CHECK;
bool pg_decode_array(struct bytes v, struct db_array *a) MUST_CHECK;

#endif
