#include "db/clock.h"

#include "db/call_int.h"

static const struct db_statement stmt_watch = {
    "clock_watch", "SELECT doubt, now FROM watch_clock($1, $2::bigint::double precision)", 2};

static void
on_watched(struct db *db, struct db_result *r, const struct error *err, void *kept)
{
	struct db_call call = db_call_take(kept);
	struct error bad = ERROR_INIT;
	const char *doubt = NULL;
	int64_t now = 0;

	if (err == NULL) {
		doubt = db_get_text(r, 0, 0);
		now = db_get_unixtime(r, 0, 1);
		if (!db_result_ok(r, &bad))
			err = &bad;
	}
	((clock_watched_fn *)call.fn)(err == NULL ? doubt : NULL, now, err, call.arg);
}

struct db_pending *
clock_watch_ask(struct db *db, int64_t host, int64_t step_s, clock_watched_fn *answer, void *arg,
    struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_unixtime(&p, host);
	db_param_int64(&p, step_s);
	return db_call(db, &stmt_watch, &p, on_watched, (db_call_fn *)answer, arg, err);
}
