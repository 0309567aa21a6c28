/* Sentences of errors: whatever foreign text is in them, they are UTF-8 without
 * control characters. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/error.h"

static void
expect(const char *foreign, const char *wanted)
{
	struct error e = ERROR_INIT;

	error_set(&e, ERROR_INPUT, "%s", foreign);
	assert_string_equal(e.text, wanted);
}

static void
test_good_text_stays(void **state)
{
	expect("a server's words", "a server's words");
	expect("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x94\x91", "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x94\x91");
	expect("\xc2\xa0\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf",
	    "\xc2\xa0\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf");
}

static void
test_controls_go(void **state)
{
	expect("a\nb\x1b[2J\x7f\t", "a b [2J  ");
	expect("\xc2\x9b"
	       "2J",
	    "??2J"); /* CSI of C1 */
}

static void
test_what_is_not_utf8_goes(void **state)
{
	expect("\xff\xfe", "??");
	expect("caf\xe9", "caf?");
	expect("\xe9 x", "? x");
	expect("\xc0\xaf", "??");	    /* too long a form */
	expect("\xe0\x80\xaf", "???");	    /* likewise */
	expect("\xf0\x80\x80\xaf", "????"); /* likewise */
	expect("\xed\xa0\x80", "???");	    /* a surrogate */
	expect("\xf4\x90\x80\x80", "????"); /* beyond U+10FFFF */
	expect("\x80\xbf", "??");	    /* never a beginning */
	expect("\xe2\x82", "??");	    /* cut off */
	expect("\xf0\x9f\x94", "???");	    /* cut off */
}

/* A text that is cut to its size may be cut inside a character. */
static void
test_cut_text(void **state)
{
	char text[ERROR_TEXT_MAX + 8];
	struct error e = ERROR_INIT;

	memset(text, 'x', sizeof text);
	for (size_t i = ERROR_TEXT_MAX - 8; i + 3 <= sizeof text; i += 3)
		memcpy(text + i, "\xe2\x82\xac", 3);
	text[sizeof text - 1] = '\0';
	for (size_t shift = 0; shift < 3; shift++) {
		error_clear(&e);
		error_set(&e, ERROR_INPUT, "%s", text + shift);
		assert_int_equal(strlen(e.text), ERROR_TEXT_MAX - 1);
		for (const char *p = e.text; *p != '\0'; p++)
			assert_true((unsigned char)*p < 0x80 || (unsigned char)*p == 0xe2 ||
				    (unsigned char)*p == 0x82 || (unsigned char)*p == 0xac);
		assert_int_not_equal((unsigned char)e.text[ERROR_TEXT_MAX - 2], 0xe2);
		assert_int_not_equal((unsigned char)e.text[ERROR_TEXT_MAX - 2], 0x82);
	}
	assert_false(error_wrap(&e, "caf\xe9"));
	assert_int_equal(memcmp(e.text, "caf?: x", 7), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_good_text_stays),
	    cmocka_unit_test(test_controls_go),
	    cmocka_unit_test(test_what_is_not_utf8_goes),
	    cmocka_unit_test(test_cut_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
