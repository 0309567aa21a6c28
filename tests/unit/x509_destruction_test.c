/* Documents of a key's destruction: one text for each meaning. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/x509/destruction.h"

#define KEY "0202020202020202020202020202020202020202020202020202020202020202"
#define GOOD                                                                                       \
	"chancery-key-destruction: 1\nca: demo-root\ntoken: main\nkey: " KEY "\nlabel: a key: of " \
	"ours\n"

static void
written_as_read(void **state)
{
	char again[DESTRUCTION_TEXT_MAX + 1];
	struct error e = ERROR_INIT;
	struct destruction d;
	size_t len;

	assert_true(destruction_parse(GOOD, strlen(GOOD), &d, &e));
	assert_string_equal(d.ca, "demo-root");
	assert_string_equal(d.token, "main");
	assert_string_equal(d.label, "a key: of ours");
	assert_int_equal(d.key[31], 2);
	assert_true(destruction_format(&d, again, &len, &e));
	assert_string_equal(again, GOOD);
	assert_int_equal(len, strlen(GOOD));
}

static void
others_are_refused(void **state)
{
	static const struct {
		const char *from, *to;
	} changes[] = {
	    {"destruction: 1", "destruction: 2"},
	    {"ca: demo-root", "ca: demo root"},
	    {"ca: demo-root\n", ""},
	    {"token: main", "token: -"},
	    {"key: 02", "key: 0"},
	    {"key: 02", "key: 0G"},
	    {"label: a", "label: "},
	    {"label: a", "label:  a"},
	    {"of ours", "of ours "},
	    {"of ours", "of\tours"},
	    {"of ours", "of \xc3\xbcrs"},
	    {"of ours\n", "of ours"},
	    {"of ours\n", "of ours\nmore: 1\n"},
	    {"of ours", "of ours, and a label that is longer than any label of a key may be "},
	};

	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		const char *at = strstr(GOOD, changes[i].from);
		char text[DESTRUCTION_TEXT_MAX + 1];
		struct error e = ERROR_INIT;
		struct destruction d;
		int len;

		assert_non_null(at);
		len = snprintf(text, sizeof text, "%.*s%s%s", (int)(at - GOOD), GOOD, changes[i].to,
		    at + strlen(changes[i].from));
		if (destruction_parse(text, (size_t)len, &d, &e))
			fail_msg("%zu was taken: %s", i, text);
		assert_true(e.code == ERROR_INPUT || e.code == ERROR_LIMIT);
	}
}

static void
sizes(void **state)
{
	char text[2 * DESTRUCTION_TEXT_MAX] = "";
	struct error e = ERROR_INIT;
	struct destruction d;

	memset(text, 'x', DESTRUCTION_TEXT_MAX + 1);
	assert_false(destruction_parse(text, DESTRUCTION_TEXT_MAX + 1, &d, &e));
	assert_int_equal(e.code, ERROR_LIMIT);
	/* What stands behind a NUL is not overlooked. */
	memcpy(text, GOOD, sizeof GOOD);
	memcpy(text + sizeof GOOD, "x", 1);
	error_clear(&e);
	assert_false(destruction_parse(text, sizeof GOOD + 1, &d, &e));
	assert_int_equal(e.code, ERROR_INPUT);
	error_clear(&e);
	assert_false(destruction_parse("", 0, &d, &e));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(written_as_read),
	    cmocka_unit_test(others_are_refused),
	    cmocka_unit_test(sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
