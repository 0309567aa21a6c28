#include <stdlib.h>

#include "db/call_int.h"

struct db_pending *
db_call(struct db *db, const struct db_statement *statement, struct db_params *params,
    db_answer_fn *answer, db_call_fn *fn, void *arg, struct error *err)
{
	struct db_call *kept = malloc(sizeof *kept);
	struct db_pending *pending;

	if (kept == NULL) {
		if (params != NULL)
			db_params_free(params);
		error_set_errno(err, ERROR_SYSTEM, "allocating the question %s", statement->name);
		return NULL;
	}
	*kept = (struct db_call){fn, arg};
	pending = db_query(db, statement, params, answer, kept, err);
	if (pending == NULL)
		free(kept);
	return db_own_arg(pending);
}

struct db_call
db_call_take(void *kept)
{
	struct db_call call = *(struct db_call *)kept;

	free(kept);
	return call;
}
