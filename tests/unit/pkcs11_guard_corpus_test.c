/*
 * The seeds of fuzz_guard, as a plain test: what their names say is what the guard
 * says. "passes.X" passes, "RULE.X" is refused by that rule, any other was found
 * by the fuzzer and must only be survived.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <dirent.h>

#define GUARD_CORPUS_TEST
#include "tests/fuzz/fuzz_guard.c"

#define CORPUS "tests/fuzz/corpus/guard"

static size_t
read_seed(const char *name, uint8_t *buf, size_t size)
{
	char path[512];
	size_t len;
	FILE *f;

	(void)snprintf(path, sizeof path, CORPUS "/%s", name);
	f = fopen(path, "r");
	if (f == NULL)
		fail_msg("%s", path);
	len = fread(buf, 1, size, f);
	assert_true(len < size);
	assert_int_equal(fclose(f), 0);
	return len;
}

static bool
is_rule(const char *name, size_t len)
{
	const char *kind, *rule, *reference;

	for (size_t i = 0; guard_rule(i, &kind, &rule, &reference); i++) {
		if (strlen(rule) == len && memcmp(rule, name, len) == 0)
			return true;
	}
	return false;
}

static void
seeds(void **state)
{
	static uint8_t buf[256 * 1024];
	size_t count = 0, rules = 0;
	struct dirent *entry;
	DIR *dir = opendir(CORPUS);

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		size_t rule_len = strcspn(entry->d_name, "."), len;
		struct error e = ERROR_INIT;
		char words[128];

		if (rule_len == 0)
			continue;
		len = read_seed(entry->d_name, buf, sizeof buf);
		(void)snprintf(words, sizeof words, ": rule %.*s (", (int)rule_len, entry->d_name);
		if (strncmp(entry->d_name, "passes.", 7) == 0) {
			assert_true(judge(buf, len, &e));
			if (error_is_set(&e))
				fail_msg("%s: %s", entry->d_name, e.text);
		} else if (is_rule(entry->d_name, rule_len)) {
			assert_true(judge(buf, len, &e));
			if (strstr(e.text, words) == NULL)
				fail_msg("%s: %s", entry->d_name, e.text);
			rules++;
		} else {
			(void)judge(buf, len, &e);
		}
		count++;
	}
	(void)closedir(dir);
	assert_true(count > 80 && rules > 50);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(seeds)};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	if (all.us.pkey != NULL)
		parties_free(&all);
	return failed;
}
