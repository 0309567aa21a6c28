/* Streams against a real server (tests/unit/db_server.h). */

#include "tests/unit/db_server.h"

#include <unistd.h>

#include "db/stream.h"

struct stream_seen {
	struct db_stream *stream;
	int readies, answers, ends;
	int64_t rows, sum, number;
	int64_t stop_at; /* the row callback refuses */
	int64_t close_at;
	int64_t pause_every;
	struct event *resume;
	struct error err;
	bool failed;
};

static void
on_ready(struct db_stream *s, const struct error *err, void *arg)
{
	struct stream_seen *seen = arg;

	seen->readies++;
	seen->failed = err != NULL;
	if (err != NULL)
		seen->err = *err;
}

static void
on_stream_answer(struct db_stream *s, struct db_result *r, const struct error *err, void *arg)
{
	struct stream_seen *seen = arg;

	seen->answers++;
	seen->failed = err != NULL;
	if (err != NULL)
		seen->err = *err;
	else
		seen->number = db_get_int64(r, 0, 0);
}

static void
on_end(struct db_stream *s, const struct error *err, void *arg)
{
	struct stream_seen *seen = arg;

	seen->ends++;
	seen->failed = err != NULL;
	if (err != NULL)
		seen->err = *err;
}

static void
on_resume(evutil_socket_t fd, short what, void *arg)
{
	struct stream_seen *seen = arg;

	/* Once more changes nothing. */
	db_stream_resume(seen->stream);
	db_stream_resume(seen->stream);
}

static bool
on_row(struct db_stream *s, struct db_stream_row *row, void *arg, struct error *err)
{
	static const struct timeval soon = {0, 2000};
	struct stream_seen *seen = arg;

	seen->rows++;
	seen->sum += db_field_int64(row, 0);
	assert_int_equal(db_field_bytes(row, 1).len, 20);
	assert_true(db_field_is_null(row, 2));
	assert_false(row->failed);
	if (seen->rows == seen->stop_at)
		return error_set(err, ERROR_LIMIT, "enough");
	if (seen->rows == seen->close_at) {
		seen->ends++;
		db_stream_close(s);
		return true;
	}
	if (seen->pause_every != 0 && seen->rows % seen->pause_every == 0) {
		db_stream_pause(s);
		db_stream_pause(s);
		event_add(seen->resume, &soon);
	}
	return true;
}

static const struct db_statement many_rows = {.name = "test_many",
    .sql = "SELECT n, decode(repeat('ab', 20), 'hex'), NULL::text "
	   "FROM generate_series($1::bigint, $2) n",
    .nparams = 2};

static void
stream_open(struct stream_seen *seen)
{
	struct error err = ERROR_INIT;

	seen->stream = db_stream_open(base, conninfo, on_ready, seen, &err);
	assert_non_null(seen->stream);
	wait_for(&seen->readies, 1);
	assert_false(seen->failed);
}

static void
stream_many(struct stream_seen *seen, int64_t to)
{
	const int64_t values[] = {1, to};
	struct error err = ERROR_INIT;

	assert_true(db_stream_copy(seen->stream, &many_rows, values, on_row, on_end, seen, &err));
}

static long
resident_kb(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long size = 0, resident = 0;

	assert_non_null(f);
	assert_int_equal(fscanf(f, "%ld %ld", &size, &resident), 2);
	fclose(f);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

static void
stream_of_many_rows(void **state)
{
	struct stream_seen seen = {.pause_every = 70001};
	long before, after;

	stream_open(&seen);
	seen.resume = evtimer_new(base, on_resume, &seen);
	db_stream_pause(seen.stream); /* no rows come: neither has a meaning */
	db_stream_resume(seen.stream);
	stream_many(&seen, 10000);
	wait_for(&seen.ends, 1);
	before = resident_kb();
	seen.rows = seen.sum = 0;
	stream_many(&seen, 1000000);
	wait_for(&seen.ends, 2);
	after = resident_kb();
	assert_false(seen.failed);
	assert_int_equal(seen.rows, 1000000);
	assert_int_equal(seen.sum, 500000500000);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	(void)(after - before); /* sanitizers keep freed memory */
#else
	assert_true(after - before < 4096);
#endif
	event_free(seen.resume);
	db_stream_close(seen.stream);
}

static void
stream_sees_one_snapshot(void **state)
{
	static const struct db_statement make = {.name = "test_make",
	    .sql = "CREATE TABLE IF NOT EXISTS public.test_snapshot AS SELECT 1::bigint AS n"};
	static const struct db_statement insert = {
	    .name = "test_insert", .sql = "INSERT INTO public.test_snapshot VALUES (1)"};
	static const struct db_statement count = {.name = "test_count",
	    .sql = "SELECT count(*) + $1::bigint FROM public.test_snapshot",
	    .nparams = 1};
	static const struct db_statement write = {
	    .name = "test_write", .sql = "DELETE FROM public.test_snapshot"};
	struct stream_seen seen = {0};
	struct seen other = {0};
	struct db_params p = DB_PARAMS_INIT;
	struct error err = ERROR_INIT;
	int64_t first;

	open_as(&other, NULL);
	SENT(db_query(other.db, &make, NULL, on_answer, &other, &err));
	wait_for(&other.answers, 1);
	stream_open(&seen);
	db_param_int64(&p, 0);
	assert_true(db_stream_query(seen.stream, &count, &p, on_stream_answer, &seen, &err));
	wait_for(&seen.answers, 1);
	first = seen.number;
	SENT(db_query(other.db, &insert, NULL, on_answer, &other, &err));
	wait_for(&other.answers, 2);
	db_param_int64(&p, 100);
	assert_true(db_stream_query(seen.stream, &count, &p, on_stream_answer, &seen, &err));
	wait_for(&seen.answers, 2);
	assert_int_equal(seen.number, first + 100);
	/* It is read only, too. */
	assert_true(db_stream_query(seen.stream, &write, NULL, on_stream_answer, &seen, &err));
	wait_for(&seen.answers, 3);
	assert_true(seen.failed);
	assert_false(db_stream_query(seen.stream, &write, NULL, on_stream_answer, &seen, &err));
	db_stream_close(seen.stream);
	db_close(other.db);
}

static void
stream_broken_in_the_middle(void **state)
{
	static const struct db_statement fails = {.name = "test_fails",
	    .sql = "SELECT n / (n - $1), decode(repeat('ab', 20), 'hex'), NULL::text "
		   "FROM generate_series(1, 100000::bigint) n",
	    .nparams = 1};
	static const int64_t at[] = {50000};
	struct stream_seen seen = {0};
	struct seen killer = {0};
	struct error err = ERROR_INIT;

	stream_open(&seen);
	assert_true(db_stream_copy(seen.stream, &fails, at, on_row, on_end, &seen, &err));
	wait_for(&seen.ends, 1);
	assert_true(seen.failed);
	assert_int_equal(seen.rows, 49999);
	assert_int_equal(seen.err.code, ERROR_INPUT);
	db_stream_close(seen.stream);

	seen = (struct stream_seen){.stop_at = 777};
	stream_open(&seen);
	stream_many(&seen, 1000000);
	wait_for(&seen.ends, 1);
	assert_int_equal(seen.rows, 777);
	assert_int_equal(seen.err.code, ERROR_LIMIT);
	db_stream_close(seen.stream);

	seen = (struct stream_seen){.close_at = 333};
	stream_open(&seen);
	stream_many(&seen, 1000000);
	wait_for(&seen.ends, 1);
	assert_int_equal(seen.rows, 333);

	/* The backend dies while we are paused, and nobody resumes before. */
	seen = (struct stream_seen){.pause_every = 500};
	stream_open(&seen);
	seen.resume = evtimer_new(base, on_resume, &seen);
	stream_many(&seen, 100000000);
	open_as(&killer, NULL);
	send_text(&killer, &terminate, "chancery stream");
	wait_for(&killer.answers, 1);
	wait_for(&seen.ends, 1);
	assert_true(seen.failed);
	assert_int_equal(seen.err.code, ERROR_UNAVAILABLE);
	event_free(seen.resume);
	db_stream_close(seen.stream);
	db_close(killer.db);
	db_stream_close(NULL);
}

static void
stream_without_server(void **state)
{
	struct stream_seen seen = {0};
	struct error err = ERROR_INIT;

	seen.stream = db_stream_open(base, "host=/nonexistent", on_ready, &seen, &err);
	assert_non_null(seen.stream);
	wait_for(&seen.readies, 1);
	assert_true(seen.failed);
	assert_int_equal(seen.err.code, ERROR_UNAVAILABLE);
	db_stream_close(seen.stream);

	seen.stream = db_stream_open(base, conninfo, on_ready, &seen, &err);
	assert_non_null(seen.stream);
	db_stream_close(seen.stream); /* before it is connected */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    SERVER_TEST(stream_of_many_rows),
	    SERVER_TEST(stream_sees_one_snapshot),
	    SERVER_TEST(stream_broken_in_the_middle),
	    SERVER_TEST(stream_without_server),
	};

	return !have_server() ? 0 : cmocka_run_group_tests(tests, NULL, NULL);
}
