/*
 * The asynchronous connection against a real server (tests/unit/db_server.h).
 * The program also serves the end-to-end tests of migrations as `migrate
 * CONNINFO DIR` and `check CONNINFO`.
 */

#include "tests/unit/db_server.h"

#include "db/migrate.h"

static const struct db_statement select_number = {
    .name = "test_number", .sql = "SELECT $1::bigint", .nparams = 1};
static const struct db_statement sleep_long = {
    .name = "test_sleep", .sql = "SELECT 1::bigint FROM pg_sleep(30)"};
static const struct db_statement nap = {
    .name = "test_nap", .sql = "SELECT 1::bigint FROM pg_sleep(0.2)"};
static const struct db_statement backend_pid = {
    .name = "test_pid", .sql = "SELECT pg_backend_pid()"};
static const struct db_statement notify = {
    .name = "test_notify", .sql = "SELECT 1::bigint FROM pg_notify('test_hint', $1)", .nparams = 1};

static struct db_pending *
send_number(struct seen *seen, int64_t n)
{
	struct db_params p = DB_PARAMS_INIT;
	struct error err = ERROR_INIT;

	db_param_int64(&p, n);
	return db_query(seen->db, &select_number, &p, on_answer, seen, &err);
}

static void
on_hint(struct db *db, void *arg)
{
	struct seen *seen = arg;

	seen->hints++;
	if (seen->close_in_callback)
		db_close(db);
}

/* ---------------------------------------------------------------- statements */

static void
on_values(struct db *db, struct db_result *r, const struct error *err, void *arg)
{
	struct seen *seen = arg;
	char uuid[DB_UUID_TEXT_SIZE];
	struct db_array a;
	struct bytes v;
	int64_t n;

	assert_null(err);
	assert_int_equal(db_row_count(r), 1);
	assert_int_equal(db_get_int64(r, 0, 0), -5);
	assert_string_equal(db_get_text(r, 0, 1), "g\xc3\xbcltig");
	assert_int_equal(db_get_unixtime(r, 0, 2), 1000000007);
	assert_int_equal(db_get_bytes(r, 0, 3).len, 3);
	assert_memory_equal(db_get_bytes(r, 0, 3).p, "\0\1\2", 3);
	assert_true(db_get_bool(r, 0, 4));
	db_get_uuid(r, 0, 5, uuid);
	assert_string_equal(uuid, "12345678-9abc-def0-1234-56789abcdef0");
	assert_string_equal(db_get_text(r, 0, 6), "{\"a\": 1}");
	assert_true(db_is_null(r, 0, 7));
	a = db_get_array(r, 0, 8);
	assert_int_equal(a.count, 2);
	assert_true(db_array_next_int64(&a, &n));
	assert_int_equal(n, 70000000000);
	a = db_get_array(r, 0, 9);
	assert_true(db_array_next(&a, &v));
	assert_true(db_array_next(&a, &v));
	assert_null(v.p);
	a = db_get_array(r, 0, 10);
	assert_true(db_array_next(&a, &v));
	assert_int_equal(v.len, 4);
	assert_int_equal(db_get_array(r, 0, 11).count, 0);
	assert_int_equal(db_get_unixtime(r, 0, 12), 1000000008);
	assert_int_equal(db_get_int64(r, 0, 13), 2);
	assert_true(db_result_ok(r, &seen->err));
	seen->answers++;
}

static void
values_go_and_return(void **state)
{
	static const struct db_statement all = {.name = "test_values",
	    .sql = "SELECT $1::int, $2::text, $3::timestamptz, $4::bytea, $5::bool, $6::uuid, "
		   "$7::jsonb, $8::text, $9::bigint[], $10::text[], $11::bytea[], $12::int[], "
		   "($13::timestamptz[])[1], cardinality($14::bool[])",
	    .nparams = 14};
	struct seen seen = {0};
	struct db_params p = DB_PARAMS_INIT;
	struct error err = ERROR_INIT;

	open_as(&seen, NULL);
	db_param_int64(&p, -5);
	db_param_text(&p, "g\xc3\xbcltig");
	db_param_unixtime(&p, 1000000007);
	db_param_bytea(&p, "\0\1\2", 3);
	db_param_bool(&p, true);
	db_param_text(&p, "12345678-9abc-def0-1234-56789abcdef0");
	db_param_text(&p, "{\"a\":1}");
	db_param_null(&p);
	db_array_begin(&p, DB_INT8);
	db_element_int64(&p, 70000000000);
	db_element_int64(&p, -1);
	db_array_end(&p);
	db_array_begin(&p, DB_TEXT);
	db_element_text(&p, "a,{\"");
	db_element_null(&p);
	db_array_end(&p);
	db_array_begin(&p, DB_BYTEA);
	db_element_bytea(&p, "\0\xff\0\xff", 4);
	db_array_end(&p);
	db_array_begin(&p, DB_INT4);
	db_array_end(&p);
	db_array_begin(&p, DB_TIMESTAMPTZ);
	db_element_unixtime(&p, 1000000008);
	db_array_end(&p);
	db_array_begin(&p, DB_BOOL);
	db_element_bool(&p, true);
	db_element_bool(&p, false);
	db_array_end(&p);
	SENT(db_query(seen.db, &all, &p, on_values, &seen, &err));
	wait_for(&seen.answers, 1);
	db_close(seen.db);
}

static void
many_in_flight(void **state)
{
	struct seen seen = {0};
	struct db_options options = {.in_flight_max = 50};

	open_as(&seen, &options);
	for (int64_t i = 0; i < 50; i++)
		SENT(send_number(&seen, i));
	assert_int_equal(db_in_flight(seen.db), 50);
	assert_null(send_number(&seen, 50));
	wait_for(&seen.answers, 50);
	assert_int_equal(seen.number, 49); /* in order */
	assert_int_equal(db_in_flight(seen.db), 0);
	SENT(send_number(&seen, 50));
	wait_for(&seen.answers, 51);
	db_close(seen.db);
}

static void
errors_stay_with_their_statement(void **state)
{
	static const struct db_statement ours = {.name = "test_ours",
	    .sql = "DO $$ BEGIN RAISE EXCEPTION 'CA \"x\" is not known' USING ERRCODE = 'CH404'; "
		   "END $$"};
	static const struct db_statement broken = {.name = "test_broken", .sql = "SELECT nothing"};
	static const struct db_statement zero = {
	    .name = "test_zero", .sql = "SELECT 1 / $1::bigint", .nparams = 1};
	struct seen seen = {0};
	struct db_params p = DB_PARAMS_INIT;
	struct error err = ERROR_INIT;

	open_as(&seen, NULL);
	SENT(db_query(seen.db, &ours, NULL, on_answer, &seen, &err));
	SENT(send_number(&seen, 7));
	wait_for(&seen.answers, 1);
	assert_int_equal(seen.failures, 1);
	assert_int_equal(seen.err.code, ERROR_NOT_FOUND);
	assert_string_equal(seen.err.text, "CA \"x\" is not known");
	assert_string_equal(seen.err.foreign, "CH404");

	for (int i = 0; i < 3; i++) /* what cannot be prepared is tried again each time */
		SENT(db_query(seen.db, &broken, NULL, on_answer, &seen, &err));
	SENT(send_number(&seen, 8));
	wait_for(&seen.answers, 2);
	assert_int_equal(seen.failures, 4);
	SENT(db_query(seen.db, &broken, NULL, on_answer, &seen, &err));
	wait_for(&seen.failures, 5);
	assert_int_equal(seen.err.code, ERROR_INTERNAL);
	assert_non_null(strstr(seen.err.text, "test_broken"));

	db_param_int64(&p, 0);
	SENT(db_query(seen.db, &zero, &p, on_answer, &seen, &err));
	wait_for(&seen.failures, 6);
	assert_int_equal(seen.err.code, ERROR_INPUT);

	db_param_text(&p, "x"); /* a parameter too many */
	assert_null(db_query(seen.db, &backend_pid, &p, on_answer, &seen, &err));
	assert_int_equal(err.code, ERROR_INTERNAL);
	assert_int_equal(seen.downs, 0);
	db_close(seen.db);
}

static void
timeout_of_a_statement(void **state)
{
	struct seen seen = {0};
	struct db_options options = {.statement_timeout_ms = 1000};
	struct error err = ERROR_INIT;

	open_as(&seen, &options);
	SENT(db_query(seen.db, &sleep_long, NULL, on_answer, &seen, &err));
	SENT(send_number(&seen, 3));
	wait_for(&seen.answers, 1);
	assert_int_equal(seen.failures, 1);
	assert_int_equal(seen.err.code, ERROR_TIMEOUT);
	db_close(seen.db);
}

static void
cancelled_is_not_called(void **state)
{
	struct seen seen = {0}, gone = {0};
	struct error err = ERROR_INIT;
	struct db_pending *pending;
	int *block = malloc(sizeof *block);

	open_as(&seen, NULL);
	pending = db_query(seen.db, &nap, NULL, on_answer, &gone, &err);
	SENT(pending);
	db_cancel(pending);
	pending = db_own_arg(db_query(seen.db, &nap, NULL, on_answer, block, &err));
	SENT(pending);
	db_cancel(pending); /* frees the block: LeakSanitizer watches */
	SENT(send_number(&seen, 1));
	wait_for(&seen.answers, 1);
	assert_int_equal(gone.answers + gone.failures, 0);
	db_cancel(NULL);
	db_close(seen.db);
}

static void
closing_answers_what_is_in_flight(void **state)
{
	struct seen seen = {0};
	struct error err = ERROR_INIT;

	open_as(&seen, NULL);
	SENT(db_query(seen.db, &nap, NULL, on_answer, &seen, &err));
	SENT(send_number(&seen, 1));
	db_close(seen.db);
	assert_int_equal(seen.failures, 2);
	assert_int_equal(seen.err.code, ERROR_UNAVAILABLE);
	db_close(NULL);
}

static void
closing_from_callbacks(void **state)
{
	struct seen seen = {.close_in_callback = true};
	struct error err = ERROR_INIT;

	seen.db = db_open(base, conninfo, NULL, &callbacks, &seen, &err);
	assert_non_null(seen.db);
	wait_for(&seen.ups, 1);

	seen = (struct seen){0};
	open_as(&seen, NULL);
	SENT(send_number(&seen, 1));
	SENT(send_number(&seen, 2));
	seen.close_in_callback = true;
	wait_for(&seen.answers, 1);
	assert_int_equal(seen.failures, 1);

	seen = (struct seen){0};
	open_as(&seen, NULL);
	seen.close_in_callback = true;
	assert_true(db_listen(seen.db, "test_hint", on_hint, &seen, &err));
	wait_for(&seen.hints, 1);
}

/* ------------------------------------------------------- hints, reconnection */

static void
hints(void **state)
{
	struct seen seen = {0}, sender = {0};
	struct error err = ERROR_INIT;

	open_as(&seen, NULL);
	open_as(&sender, NULL);
	assert_true(db_listen(seen.db, "test_hint", on_hint, &seen, &err));
	wait_for(&seen.hints, 1); /* once it listens */
	send_text(&sender, &notify, "");
	wait_for(&seen.hints, 2); /* while idle */
	SENT(db_query(seen.db, &nap, NULL, on_answer, &seen, &err));
	send_text(&sender, &notify, "");
	wait_for(&seen.hints, 3);
	wait_for(&seen.answers, 1);
	assert_false(db_listen(seen.db, "bad name", on_hint, &seen, &err));
	db_close(seen.db);
	db_close(sender.db);
}

static void
killed_backend(void **state)
{
	struct seen seen = {0}, killer = {0};
	struct db_options options = {.application = "test_victim"};
	struct error err = ERROR_INIT;

	open_as(&seen, &options);
	open_as(&killer, NULL);
	assert_true(db_listen(seen.db, "test_hint", on_hint, &seen, &err));
	wait_for(&seen.hints, 1);
	for (int i = 1; i <= 5; i++) {
		int failures = seen.failures;

		SENT(db_query(seen.db, &sleep_long, NULL, on_answer, &seen, &err));
		SENT(send_number(&seen, 1));
		send_text(&killer, &terminate, "test_victim");
		wait_for(&seen.downs, i);
		assert_int_equal(seen.failures, failures + 2);
		assert_int_equal(seen.err.code, ERROR_UNAVAILABLE);
		assert_false(db_is_up(seen.db));
		assert_null(send_number(&seen, 1));
		wait_for(&seen.ups, i + 1);
		wait_for(&seen.hints, i + 1); /* what was missed meanwhile */
		SENT(send_number(&seen, i));
		wait_for(&seen.answers, i);
		assert_int_equal(seen.number, i);
	}
	/* Lost while idle, too. */
	send_text(&killer, &terminate, "test_victim");
	wait_for(&seen.downs, 6);
	wait_for(&seen.ups, 7);
	db_close(seen.db);
	db_close(killer.db);
}

static void
no_server(void **state)
{
	struct seen seen = {0};
	struct error err = ERROR_INIT;

	seen.db = db_open(base, "host=/nonexistent dbname=x", NULL, &callbacks, &seen, &err);
	assert_non_null(seen.db);
	assert_null(send_number(&seen, 1));
	wait_for(&seen.downs, 1);
	assert_int_equal(seen.err.code, ERROR_UNAVAILABLE);
	assert_non_null(strstr(seen.err.text, "/nonexistent"));
	assert_null(db_query(seen.db, &backend_pid, NULL, on_answer, &seen, &err));
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	db_close(seen.db);

	error_clear(&err);
	assert_null(db_open(base, "host=x nonsense=y", NULL, NULL, NULL, &err));
	assert_int_equal(err.code, ERROR_CONFIG);
}

static void
foreign_schema(void **state)
{
	struct seen seen = {0};
	struct db_options options = {.check_schema = true};
	struct error err = ERROR_INIT;

	seen.db = db_open(base, conninfo, &options, &callbacks, &seen, &err);
	assert_non_null(seen.db);
	wait_for(&seen.downs, 1);
	assert_int_equal(seen.ups, 0);
	assert_non_null(strstr(seen.err.text, "migrat"));
	assert_null(send_number(&seen, 1));
	db_close(seen.db);
}

static int
run_all(void)
{
	const struct CMUnitTest tests[] = {
	    SERVER_TEST(values_go_and_return),
	    SERVER_TEST(many_in_flight),
	    SERVER_TEST(errors_stay_with_their_statement),
	    SERVER_TEST(timeout_of_a_statement),
	    SERVER_TEST(cancelled_is_not_called),
	    SERVER_TEST(closing_answers_what_is_in_flight),
	    SERVER_TEST(closing_from_callbacks),
	    SERVER_TEST(hints),
	    SERVER_TEST(killed_backend),
	    SERVER_TEST(no_server),
	    SERVER_TEST(foreign_schema),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

static int
report(bool ok, const struct error *err)
{
	if (!ok)
		(void)fprintf(stderr, "%s: %s\n", error_code_name(err->code), err->text);
	return ok ? 0 : 1;
}

int
main(int argc, char **argv)
{
	struct error err = ERROR_INIT;
	size_t applied = 0;
	bool ok;

	log_init("test", LOG_LEVEL_ERROR);
	if (argc == 4 && strcmp(argv[1], "migrate") == 0) {
		ok = db_migrate(argv[2], argv[3], &applied, &err);
		printf("%zu\n", applied);
		return report(ok, &err);
	}
	if (argc == 3 && strcmp(argv[1], "check") == 0)
		return report(db_check_schema(argv[2], &err), &err);
	return have_server() ? run_all() : 0;
}
