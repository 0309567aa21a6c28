/* Where SoftHSM's own configuration has its tokens. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "pkcs11/confine.h"

static void
the_directory_of_tokens_is_found(void **state)
{
	static const struct {
		const char *text, *found; /* NULL: none */
	} cases[] = {
	    {"directories.tokendir = /var/lib/softhsm/tokens\n", "/var/lib/softhsm/tokens"},
	    {"# directories.tokendir = /no\nlog.level = ERROR\n\tdirectories.tokendir=/a b/c  # x",
		"/a b/c"},
	    {"directories.tokendir = /old\ndirectories.tokendir = /new\r\n", "/new"},
	    {"directories.tokendir\n=\nx = y\n", NULL},
	    {"directories.tokendirectory = /no\n", NULL},
	    {"directories.tokendir = relative\n", NULL},
	    {"directories.tokendir = /much/too/long/for/the/buffer/that/is/given\n", NULL},
	    {"", NULL},
	};
	char out[40];

	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		bool found = confine_find_tokens(cases[i].text, out, sizeof out);

		if (found != (cases[i].found != NULL) ||
		    (found && strcmp(out, cases[i].found) != 0))
			fail_msg("%s", cases[i].text);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_directory_of_tokens_is_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
