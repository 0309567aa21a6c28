#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "db/pgtypes_int.h"
#include "db/result.h"
#include "db/result_int.h"

/* One row of two columns: v, and an SQL NULL. */
static struct db_result *
make(unsigned type, const char *v, int len)
{
	PGresult *pg = PQmakeEmptyPGresult(NULL, PGRES_TUPLES_OK);
	PGresAttDesc columns[2] = {
	    {.name = (char *)"a", .format = 1, .typid = type},
	    {.name = (char *)"b", .format = 1, .typid = type},
	};

	assert_true(PQsetResultAttrs(pg, 2, columns));
	assert_true(PQsetvalue(pg, 0, 0, (char *)v, len));
	assert_true(PQsetvalue(pg, 0, 1, NULL, -1));
	return result_new(pg);
}

static void
values(void **state)
{
	struct error err = ERROR_INIT;
	char uuid[DB_UUID_TEXT_SIZE];
	struct db_result *r;
	struct bytes b;

	r = make(OID_INT2, "\xff\xfe", 2);
	assert_int_equal(db_get_int64(r, 0, 0), -2);
	assert_int_equal(db_get_int64(r, 0, 1), 0);
	assert_true(db_is_null(r, 0, 1));
	assert_true(db_result_ok(r, &err));
	db_result_free(r);

	r = make(OID_TIMESTAMPTZ, "\xff\xff\xff\xff\xff\xff\xff\xff", 8); /* a microsecond before */
	assert_int_equal(db_get_unixtime(r, 0, 0), POSTGRES_EPOCH_S - 1);
	db_result_free(r);

	r = make(OID_JSONB, "\1{}", 3);
	assert_string_equal(db_get_text(r, 0, 0), "{}");
	assert_null(db_get_text(r, 0, 1));
	db_result_free(r);

	r = make(OID_BYTEA, "", 0);
	b = db_get_bytes(r, 0, 0);
	assert_non_null(b.p);
	assert_int_equal(b.len, 0);
	b = db_get_bytes(r, 0, 1);
	assert_null(b.p);
	db_result_free(r);

	r = make(OID_UUID, "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef", 16);
	db_get_uuid(r, 0, 0, uuid);
	assert_string_equal(uuid, "01234567-89ab-cdef-0123-456789abcdef");
	db_get_uuid(r, 0, 1, uuid);
	assert_string_equal(uuid, "");
	db_result_free(r);
}

static void
wrong_reads_are_sticky(void **state)
{
	struct error err = ERROR_INIT;
	struct db_result *r = make(OID_TEXT, "12", 2);

	assert_true(db_result_ok(r, &err));
	assert_int_equal(db_get_int64(r, 0, 0), 0);
	assert_string_equal(db_get_text(r, 0, 0), "12");
	assert_false(db_result_ok(r, &err));
	assert_int_equal(err.code, ERROR_INTERNAL);
	db_result_free(r);

	error_clear(&err);
	r = make(OID_TEXT, "12", 2);
	assert_null(db_get_text(r, 1, 0));
	assert_false(db_result_ok(r, &err));
	db_result_free(r);
}

static void
arrays(void **state)
{
	static const char two[] =
	    "\0\0\0\1\0\0\0\1\0\0\0\x11\0\0\0\2\0\0\0\1\0\0\0\2xy\xff\xff\xff\xff";
	struct db_result *r = make(OID_BYTEA_ARRAY, two, sizeof two - 1);
	struct db_array a = db_get_array(r, 0, 0);
	struct error err = ERROR_INIT;
	struct bytes v;

	assert_int_equal(a.count, 2);
	assert_true(db_array_next(&a, &v));
	assert_int_equal(v.len, 2);
	assert_memory_equal(v.p, "xy", 2);
	assert_true(db_array_next(&a, &v));
	assert_null(v.p);
	assert_false(db_array_next(&a, &v));
	a = db_get_array(r, 0, 1);
	assert_int_equal(a.count, 0);
	assert_false(db_array_next(&a, &v));
	assert_true(db_result_ok(r, &err));
	db_result_free(r);

	/* Cut off anywhere: fewer elements, never an overread (ASan watches). */
	for (size_t len = 0; len < sizeof two - 1; len++) {
		char cut[sizeof two];

		memcpy(cut, two, len);
		if (!pg_decode_array((struct bytes){(uint8_t *)cut, len}, &a))
			continue;
		while (db_array_next(&a, &v))
			assert_true(v.len <= len);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(values),
	    cmocka_unit_test(wrong_reads_are_sticky),
	    cmocka_unit_test(arrays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
