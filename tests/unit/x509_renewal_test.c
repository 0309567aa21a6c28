/* Renewal documents: one text for each meaning. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/error.h"
#include "daemon/x509/renewal.h"

#define REPLACES "0101010101010101010101010101010101010101010101010101010101010101"
#define KEY "0202020202020202020202020202020202020202020202020202020202020202"
#define SIGNER "0303030303030303030303030303030303030303030303030303030303030303"
#define GOOD                                                                    \
	"chancery-renewal: 1\nca: demo-root\nreplaces: " REPLACES "\nkey: " KEY \
	"\nsigner: " SIGNER "\n"                                                \
	"not-after: 2046-11-22T12:00:00Z\n"

static void
written_as_read(void **state)
{
	static const char *const texts[] = {GOOD,
	    "chancery-renewal: 1\nca: demo-issuing\nreplaces: " REPLACES "\nkey: " KEY
	    "\nsigner: -\nnot-after: -\n",
	    "chancery-renewal: 1\nca: demo-issuing\nreplaces: -\nkey: " KEY "\nsigner: " SIGNER
	    "\nnot-after: -\n"};
	char again[RENEWAL_TEXT_MAX + 1];
	struct error e = ERROR_INIT;
	struct renewal r;
	size_t len;

	for (size_t i = 0; i < 3; i++) {
		assert_true(renewal_parse(texts[i], strlen(texts[i]), &r, &e));
		assert_true(renewal_format(&r, again, &len, &e));
		assert_string_equal(again, texts[i]);
		assert_int_equal(len, strlen(texts[i]));
		assert_string_equal(r.ca, i == 0 ? "demo-root" : "demo-issuing");
		assert_int_equal(r.not_after, i == 0 ? 2426500800 : 0);
		assert_int_equal(r.has_replaces, i < 2);
		assert_int_equal(r.has_signer, i != 1);
		assert_int_equal(r.replaces[31], i < 2);
		assert_int_equal(r.key[0], 2);
	}
}

static void
others_are_refused(void **state)
{
	static const struct {
		const char *from, *to;
	} changes[] = {
	    {"renewal: 1", "renewal: 2"},
	    {"ca: demo-root", "ca: demo root"},
	    {"ca: demo-root", "ca: -"},
	    {"ca: demo-root", "ca: "},
	    {"ca: demo-root\n", ""},
	    {"replaces: 01", "replaces: 0"},
	    {"replaces: 01", "replaces: 0g"},
	    {"key: 02", "key: AB"},
	    {"key: " KEY, "key: -"},
	    {"signer: 03", "signer: 3"},
	    {"key: ", "subject: "},
	    {"2046-11-22", "2046-11-31"},
	    {"2046-11-22T12:00:00Z", "2046-11-22T12:00:00+01:00"},
	    {"2046-11-22T12:00:00Z", "never"},
	    {"00:00Z\n", "00:00Z"},
	    {"00:00Z\n", "00:00Z\n\n"},
	    {"00:00Z\n", "00:00Z\nreason: -\n"},
	    {"00:00Z\n", "00:00Z \n"},
	};
	char text[1024];
	struct renewal r;

	for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
		const char *at = strstr(GOOD, changes[i].from);
		struct error e = ERROR_INIT;
		int len;

		assert_non_null(at);
		len = snprintf(text, sizeof text, "%.*s%s%s", (int)(at - GOOD), GOOD, changes[i].to,
		    at + strlen(changes[i].from));
		if (renewal_parse(text, (size_t)len, &r, &e))
			fail_msg("'%s' for '%s' passed", changes[i].to, changes[i].from);
		assert_int_equal(e.code, ERROR_INPUT);
		assert_non_null(strstr(e.text, "renewal"));
	}
}

static void
octets_are_counted(void **state)
{
	char text[RENEWAL_TEXT_MAX + 8] = GOOD;
	struct error e = ERROR_INIT;
	struct renewal r;

	for (size_t len = 0; len < sizeof GOOD - 1; len++)
		assert_false(renewal_parse(text, len, &r, NULL));
	/* A NUL and more behind the end. */
	assert_false(renewal_parse(text, sizeof GOOD + 3, &r, &e));
	error_clear(&e);
	memset(text, 'a', sizeof text);
	assert_false(renewal_parse(text, sizeof text, &r, &e));
	assert_int_equal(e.code, ERROR_LIMIT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(written_as_read),
	    cmocka_unit_test(others_are_refused),
	    cmocka_unit_test(octets_are_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
