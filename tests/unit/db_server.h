#ifndef CHANCERY_TESTS_DB_SERVER_H
#define CHANCERY_TESTS_DB_SERVER_H

/*
 * What the tests against a real server share. CHANCERY_TEST_DB is libpq's
 * connection string of any database that may be written to; without it the
 * programs do nothing: tests/e2e/test_db.py runs them on a private cluster.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <event2/event.h>

#include "daemon/core/log.h"
#include "db/db.h"

#define PATIENCE_S 100
#define SENT(expression) assert_non_null(expression)

static const char *conninfo;
static struct event_base *base;

/* What the callbacks of a test saw. */
struct seen {
	struct db *db;
	int ups, downs, answers, failures, hints, others;
	int64_t number;
	struct error err;
	bool close_in_callback;
};

static const struct db_statement terminate = {.name = "test_terminate",
    .sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
	   "WHERE application_name = $1 AND pid <> pg_backend_pid()",
    .nparams = 1};

static inline int
need_server(void **state)
{
	base = event_base_new();
	return base == NULL;
}

static inline int
end_server(void **state)
{
	if (base != NULL)
		event_base_free(base);
	base = NULL;
	return 0;
}

static inline void
stop(evutil_socket_t fd, short what, void *arg)
{
	*(bool *)arg = true;
}

/* Runs the loop until *counter has reached wanted. */
static inline void
wait_for(const int *counter, int wanted)
{
	const struct timeval patience = {PATIENCE_S, 0};
	bool late = false;
	struct event *timer = evtimer_new(base, stop, &late);

	event_add(timer, &patience);
	while (*counter < wanted && !late)
		event_base_loop(base, EVLOOP_ONCE);
	event_free(timer);
	assert_int_equal(*counter, wanted);
}

static inline void
on_up(struct db *db, void *arg)
{
	struct seen *seen = arg;

	seen->ups++;
	if (seen->close_in_callback)
		db_close(db);
}

static inline void
on_down(struct db *db, const struct error *why, void *arg)
{
	struct seen *seen = arg;

	seen->downs++;
	seen->err = *why;
}

static inline void
on_answer(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct seen *seen = arg;

	assert_true((result == NULL) != (err == NULL));
	if (err != NULL) {
		seen->failures++;
		seen->err = *err;
	} else {
		seen->answers++;
		if (db_row_count(result) == 1)
			seen->number = db_get_int64(result, 0, 0);
		assert_true(db_result_ok(result, &seen->err));
	}
	if (seen->close_in_callback)
		db_close(db);
}

static const struct db_callbacks callbacks = {on_up, on_down};

static inline struct db *
open_as(struct seen *seen, const struct db_options *options)
{
	struct error err = ERROR_INIT;

	seen->db = db_open(base, conninfo, options, &callbacks, seen, &err);
	assert_non_null(seen->db);
	wait_for(&seen->ups, seen->ups + 1);
	return seen->db;
}

static inline void
send_text(struct seen *seen, const struct db_statement *statement, const char *text)
{
	struct db_params p = DB_PARAMS_INIT;
	struct error err = ERROR_INIT;

	db_param_text(&p, text);
	SENT(db_query(seen->db, statement, &p, on_answer, seen, &err));
}

#define SERVER_TEST(f) cmocka_unit_test_setup_teardown(f, need_server, end_server)

/* Whether there is a server to test against. */
static inline bool
have_server(void)
{
	log_init("test", LOG_LEVEL_ERROR);
	conninfo = getenv("CHANCERY_TEST_DB");
	if (conninfo == NULL)
		printf("skipped: CHANCERY_TEST_DB names no database\n");
	return conninfo != NULL;
}

#endif
