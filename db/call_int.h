#ifndef CHANCERY_DB_CALL_INT_H
#define CHANCERY_DB_CALL_INT_H

/*
 * The typed callback of a question, kept until its untyped answer comes:
 *
 *	return db_call(db, &statement, &p, on_key, (db_call_fn *)answer, arg, err);
 *
 * and in on_key, which gets the kept one as its arg:
 *
 *	struct db_call call = db_call_take(arg);
 *	((ca_key_fn *)call.fn)(&key, err, call.arg);
 *
 * Cast back to exactly the type that was handed in.
 */

#include "db/db.h"

typedef void db_call_fn(void);

struct db_call {
	db_call_fn *fn;
	void *arg;
};

/* Sends as db_query does; what is kept goes with the answer, a refusal, or
 * db_cancel. */
struct db_pending *db_call(struct db *db, const struct db_statement *statement,
    struct db_params *params, db_answer_fn *answer, db_call_fn *fn, void *arg,
    struct error *err) MUST_CHECK;

/* What was kept; call it once, first of all in the answer. */
struct db_call db_call_take(void *kept);

#endif
