/* UTF-8 in its shortest form, and nothing else. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <string.h>

#include <cmocka.h>

#include "daemon/core/utf8.h"

static void
test_characters(void **state)
{
	static const struct {
		const char *octets;
		size_t len;
		uint32_t c;
	} good[] = {
	    {"", 1, 0},
	    {"A", 1, 'A'},
	    {"\x7f", 1, 0x7f},
	    {"\xc2\x80", 2, 0x80},
	    {"\xdf\xbf", 2, 0x7ff},
	    {"\xe0\xa0\x80", 3, 0x800},
	    {"\xed\x9f\xbf", 3, 0xd7ff},
	    {"\xee\x80\x80", 3, 0xe000},
	    {"\xf0\x90\x80\x80", 4, 0x10000},
	    {"\xf4\x8f\xbf\xbf", 4, 0x10ffff},
	};
	uint32_t c;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_int_equal(utf8_decode(good[i].octets, UTF8_MAX, &c), good[i].len);
		assert_int_equal(c, good[i].c);
		for (size_t len = 1; len < good[i].len; len++)
			assert_int_equal(utf8_decode(good[i].octets, len, &c), 0);
	}
}

static void
test_no_characters(void **state)
{
	static const char *const bad[] = {"\x80", "\xbf", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf",
	    "\xf0\x8f\xbf\xbf", "\xed\xa0\x80", "\xed\xbf\xbf", "\xf4\x90\x80\x80",
	    "\xf5\x80\x80\x80", "\xf8\x88\x80\x80\x80", "\xfe", "\xff", "\xc3", "\xc3(", "\xe2\x82",
	    "\xe2\x28\xa1", "\xf0\x90\x80"};
	uint32_t c;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(utf8_decode(bad[i], UTF8_MAX, &c), 0);
}

static void
test_lines(void **state)
{
	static const char *const good[] = {
	    "", "cn=Alice", "cn=J\xc3\xb6rg,o=x", "\xc2\xa0", "\xf0\x9f\x94\x91"};
	static const char *const bad[] = {
	    "a\nb", "\x1b[2J", "a\x7f", "\xc2\x80", "\xc2\x9f", "cn=J\xf6rg", "x\xc3"};

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
		assert_true(utf8_is_line(good[i]));
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(utf8_is_line(bad[i]));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_characters),
	    cmocka_unit_test(test_no_characters),
	    cmocka_unit_test(test_lines),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
