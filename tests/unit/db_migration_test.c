#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "db/migrate.h"

static void
names(void **state)
{
	static const char *const bad[] = {"", "1_a.sql", "00001_a.sql", "0000_a.sql", "0001_.sql",
	    "0001a.sql", "0001_A.sql", "0001_a.sql~", "0001_a-b.sql", "0001_a", "0001_a.sq",
	    "0001_a.b.sql", "bootstrap.sql"};
	unsigned version = 0;

	assert_true(migration_parse_name("0001_schema.sql", &version));
	assert_int_equal(version, 1);
	assert_true(migration_parse_name("9999_a_1.sql", &version));
	assert_int_equal(version, 9999);
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(migration_parse_name(bad[i], &version));
}

static void
known_list_is_in_order(void **state)
{
	unsigned before = 0, version;

	assert_true(migrations_known_count >= 2);
	for (size_t i = 0; i < migrations_known_count; i++) {
		assert_true(migration_parse_name(migrations_known[i].name, &version));
		assert_true(version > before);
		assert_int_equal(strlen(migrations_known[i].sha256), MIGRATION_SHA256_HEX);
		before = version;
	}
}

static void
expect(const struct migration *applied, size_t applied_count, size_t known_count, const char *words)
{
	static const struct migration known[] = {{"0001_a.sql", "11"}, {"0002_b.sql", "22"}};
	struct error err = ERROR_INIT;
	bool ok = migrations_compare(applied, applied_count, known, known_count, &err);

	assert_int_equal(ok, words == NULL);
	if (words != NULL) {
		assert_int_equal(err.code, ERROR_CONFLICT);
		assert_non_null(strstr(err.text, words));
	}
}

static void
comparison(void **state)
{
	struct migration applied[] = {{"0001_a.sql", "11"}, {"0002_b.sql", "22"}};

	expect(applied, 2, 2, NULL);
	expect(applied, 1, 2, "older than this program: 0002_b.sql");
	expect(applied, 0, 2, "older than this program: 0001_a.sql");
	expect(applied, 2, 1, "newer than this program: 0002_b.sql");
	strcpy(applied[1].sha256, "23");
	expect(applied, 2, 2, "0002_b.sql was applied with another content");
	strcpy(applied[0].name, "0001_c.sql");
	expect(applied, 2, 2, "0001_c.sql was applied where the program has 0001_a.sql");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names),
	    cmocka_unit_test(known_list_is_in_order),
	    cmocka_unit_test(comparison),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
