/* What the supervisor tells of processes, and how clients read it. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "daemon/front/processes.h"

#define REPORT                                                                                    \
	"profile=issuer uid=996 gid=995 caps=0 nnp=1 filters=1 landlock=7 sockets=local+network " \
	"missing="

static void
take(struct processes *p, const char *text)
{
	struct error err = ERROR_INIT;

	if (!processes_take(p, text, &err))
		fail_msg("%s", err.text);
}

static char *
as_text(const struct processes *p)
{
	json_t *list = processes_json(p);
	char *text = json_dumps(list, JSON_COMPACT | JSON_SORT_KEYS);

	json_decref(list);
	assert_non_null(text);
	return text;
}

static void
the_list_is_as_it_was_told(void **state)
{
	static const char expected[] =
	    "[{\"name\":\"front\",\"pid\":null,\"state\":\"waiting\"},"
	    "{\"capabilities\":\"0\",\"gid\":995,\"landlock\":7,\"missing\":[\"landlock\","
	    "\"seccomp\"],"
	    "\"name\":\"issuer\",\"no_new_privileges\":true,\"pid\":12,\"profile\":\"issuer\","
	    "\"seccomp_filters\":1,\"sockets\":\"local+network\",\"state\":\"running\",\"uid\":996}"
	    "]";
	struct processes p = {0};
	char *text;

	text = as_text(&p);
	assert_string_equal(text, "[]");
	free(text);
	take(&p, "issuer 11 starting -");
	take(&p, "signer-main 13 running -");
	take(&p, "front 0 waiting -");
	take(&p, "issuer 12 running " REPORT "landlock,seccomp");
	take(&p, "signer-main 0 done -");
	take(&p, "signer-other 0 done -");
	text = as_text(&p);
	assert_string_equal(text, expected);
	free(text);
}

static void
nonsense_is_refused(void **state)
{
	static const char *const bad[] = {"", "issuer", "issuer 1", "issuer 1 running",
	    "issuer 1 running ", "issuer x running -", "issuer -1 running -", " 1 running -",
	    "issuer 1 runningrunningrunning -", "issuer 1 running " REPORT,
	    "issuer 1 running " REPORT "- ", "issuer 111111111111 running -",
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 1 running -"};
	struct processes p = {0};
	struct error err;
	char text[64];

	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		err = ERROR_INIT;
		if (processes_take(&p, bad[i], &err))
			fail_msg("'%s' was taken", bad[i]);
		assert_int_equal(err.code, ERROR_INPUT);
	}
	assert_int_equal(p.count, 0);
	for (size_t i = 0; i < PROCESSES_MAX; i++) {
		(void)snprintf(text, sizeof text, "signer-%zu 1 running -", i);
		take(&p, text);
	}
	err = ERROR_INIT;
	assert_false(processes_take(&p, "one-more 1 running -", &err));
	assert_int_equal(err.code, ERROR_LIMIT);
	take(&p, "signer-0 2 running -");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_list_is_as_it_was_told),
	    cmocka_unit_test(nonsense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
