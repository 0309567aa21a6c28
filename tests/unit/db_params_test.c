#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "db/params.h"
#include "db/params_int.h"

static void
scalars(void **state)
{
	struct db_params p = DB_PARAMS_INIT;
	struct error err = ERROR_INIT;
	const char *values[DB_PARAMS_MAX];

	db_param_int64(&p, INT64_MIN);
	db_param_text(&p, "");
	db_param_text(&p, NULL);
	db_param_bytea(&p, "a\0b", 3);
	db_param_bytea(&p, "", 0);
	db_param_bool(&p, true);
	db_param_textn(&p, "abcdef", 3);
	db_param_unixtime(&p, 946684800 + 1);
	assert_true(db_params_ok(&p, &err));
	params_values(&p, values);

	assert_int_equal(p.count, 8);
	assert_string_equal(values[0], "-9223372036854775808");
	assert_string_equal(values[1], "");
	assert_null(values[2]);
	assert_int_equal(p.format[3], 1);
	assert_int_equal(p.length[3], 3);
	assert_memory_equal(values[3], "a\0b", 3);
	assert_int_equal(p.length[4], 0);
	assert_non_null(values[4]);
	assert_string_equal(values[5], "t");
	assert_string_equal(values[6], "abc");
	assert_int_equal(p.length[7], 8);
	assert_memory_equal(values[7], "\0\0\0\0\0\x0f\x42\x40", 8);
	db_params_free(&p);
	assert_int_equal(p.count, 0);
}

static void
empty_value_first(void **state)
{
	struct db_params p = DB_PARAMS_INIT;
	const char *values[DB_PARAMS_MAX];

	db_param_bytea(&p, "", 0);
	params_values(&p, values);
	assert_non_null(values[0]); /* NULL would be an SQL NULL */
	db_params_free(&p);
}

static void
arrays(void **state)
{
	static const uint8_t texts[] = "\0\0\0\1\0\0\0\1\0\0\0\x19\0\0\0\3\0\0\0\1"
				       "\0\0\0\1a\xff\xff\xff\xff\0\0\0\0";
	static const uint8_t empty[] = "\0\0\0\0\0\0\0\1\0\0\0\x17";
	static const uint8_t longs[] = "\0\0\0\1\0\0\0\1\0\0\0\x14\0\0\0\1\0\0\0\1"
				       "\0\0\0\x08\xff\xff\xff\xff\xff\xff\xff\xfe";
	struct db_params p = DB_PARAMS_INIT;
	struct error err = ERROR_INIT;
	const char *values[DB_PARAMS_MAX];

	db_array_begin(&p, DB_TEXT);
	db_element_text(&p, "a");
	db_element_text(&p, NULL);
	db_element_text(&p, "");
	db_array_end(&p);
	db_array_begin(&p, DB_INT4);
	db_array_end(&p);
	db_array_begin(&p, DB_INT8);
	db_element_int64(&p, -2);
	db_array_end(&p);
	assert_true(db_params_ok(&p, &err));
	params_values(&p, values);
	assert_int_equal(p.length[0], sizeof texts - 1);
	assert_memory_equal(values[0], texts, sizeof texts - 1);
	assert_int_equal(p.length[1], sizeof empty - 1);
	assert_memory_equal(values[1], empty, sizeof empty - 1);
	assert_int_equal(p.length[2], sizeof longs - 1);
	assert_memory_equal(values[2], longs, sizeof longs - 1);
	db_params_free(&p);
}

static void
expect_failure(struct db_params *p, enum error_code code)
{
	struct error err = ERROR_INIT;

	db_param_int64(p, 1); /* sticky: changes nothing */
	assert_false(db_params_ok(p, &err));
	assert_int_equal(err.code, code);
	db_params_free(p);
	assert_true(db_params_ok(p, &err));
}

static void
misuse(void **state)
{
	struct db_params p = DB_PARAMS_INIT;
	char *big = calloc(1, DB_PARAMS_BYTES_MAX);

	assert_non_null(big);
	db_array_begin(&p, DB_INT8);
	db_element_int32(&p, 1);
	expect_failure(&p, ERROR_INTERNAL);

	db_array_begin(&p, DB_INT8);
	expect_failure(&p, ERROR_INTERNAL);

	db_element_text(&p, "outside");
	expect_failure(&p, ERROR_INTERNAL);

	db_array_end(&p);
	expect_failure(&p, ERROR_INTERNAL);

	db_param_textn(&p, "a\0b", 3);
	expect_failure(&p, ERROR_INPUT);

	for (int i = 0; i <= DB_PARAMS_MAX; i++)
		db_param_null(&p);
	expect_failure(&p, ERROR_INTERNAL);

	db_param_bytea(&p, big, DB_PARAMS_BYTES_MAX);
	db_param_bytea(&p, big, 1);
	expect_failure(&p, ERROR_LIMIT);
	free(big);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(scalars),
	    cmocka_unit_test(empty_value_first),
	    cmocka_unit_test(arrays),
	    cmocka_unit_test(misuse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
