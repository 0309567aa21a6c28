#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "db/copy_int.h"
#include "db/sqlstate.h"

#define HEADER "PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"
#define ROW "\0\3\0\0\0\4\0\0\0\7\0\0\0\2ab\xff\xff\xff\xff"
#define TRAILER "\xff\xff"

static void
rows(void **state)
{
	static const char first[] = HEADER ROW;
	static const char second[] = ROW;
	struct copy_reader c = {0};
	struct db_stream_row row;
	struct error err = ERROR_INIT;

	copy_feed(&c, first, sizeof first - 1);
	assert_int_equal(copy_next(&c, &row, &err), COPY_ROW);
	assert_int_equal(row.count, 3);
	assert_int_equal(db_field_int64(&row, 0), 7);
	assert_int_equal(db_field_bytes(&row, 1).len, 2);
	assert_true(db_field_is_null(&row, 2));
	assert_false(row.failed);
	assert_int_equal(db_field_int64(&row, 3), 0); /* does not exist */
	assert_true(row.failed);
	assert_int_equal(copy_next(&c, &row, &err), COPY_MORE);
	copy_feed(&c, second, sizeof second - 1);
	assert_int_equal(copy_next(&c, &row, &err), COPY_ROW);
	assert_int_equal(copy_next(&c, &row, &err), COPY_MORE);
	copy_feed(&c, TRAILER, 2);
	assert_int_equal(copy_next(&c, &row, &err), COPY_MORE);
	copy_feed(&c, second, sizeof second - 1); /* after the end */
	assert_int_equal(copy_next(&c, &row, &err), COPY_BAD);
}

static void
truncated_at_every_octet(void **state)
{
	static const char whole[] = HEADER ROW;

	for (size_t len = 0; len < sizeof whole - 1; len++) {
		struct copy_reader c = {0};
		struct db_stream_row row;
		struct error err = ERROR_INIT;
		char *cut = malloc(len + 1);

		memcpy(cut, whole, len);
		copy_feed(&c, cut, len);
		/* Only the header alone is whole. */
		assert_int_equal(
		    copy_next(&c, &row, &err), len == sizeof HEADER - 1 ? COPY_MORE : COPY_BAD);
		free(cut);
	}
}

static void
statements(void **state)
{
	static const int64_t values[] = {5, -6};
	struct error err = ERROR_INIT;
	char *sql = copy_statement("SELECT $2 - $1", values, 2, &err);

	assert_string_equal(sql, "COPY (SELECT (-6) - (5)) TO STDOUT (FORMAT binary)");
	free(sql);
	assert_null(copy_statement("SELECT $3", values, 2, &err));
	assert_int_equal(err.code, ERROR_INTERNAL);
}

static void
sqlstates(void **state)
{
	static const struct {
		const char *sqlstate;
		enum error_code code;
	} known[] = {
	    {"CH400", ERROR_INPUT},
	    {"CH403", ERROR_DENIED},
	    {"CH404", ERROR_NOT_FOUND},
	    {"CH409", ERROR_CONFLICT},
	    {"CH413", ERROR_LIMIT},
	    {"CH503", ERROR_UNAVAILABLE},
	    {"42501", ERROR_DENIED},
	    {"57014", ERROR_TIMEOUT},
	    {"57P01", ERROR_UNAVAILABLE},
	    {"40001", ERROR_UNAVAILABLE},
	    {"22P02", ERROR_INPUT},
	    {"23514", ERROR_INPUT},
	    {"42P01", ERROR_INTERNAL},
	};
	struct error err = ERROR_INIT;

	for (size_t i = 0; i < COUNT_OF(known); i++)
		assert_int_equal(sqlstate_code(known[i].sqlstate), known[i].code);
	assert_int_equal(sqlstate_code(NULL), ERROR_UNAVAILABLE);
	error_set_sqlstate(&err, "CH404", "x", "CA \"a\" is not known\nDETAIL: no");
	assert_string_equal(err.text, "CA \"a\" is not known");
	assert_string_equal(err.foreign, "CH404");
	error_clear(&err);
	error_set_sqlstate(&err, "42P01", "statement_x", "no such relation");
	assert_string_equal(err.text, "database, statement_x: no such relation");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(rows),
	    cmocka_unit_test(truncated_at_every_octet),
	    cmocka_unit_test(statements),
	    cmocka_unit_test(sqlstates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
