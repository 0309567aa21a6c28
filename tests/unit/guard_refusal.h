#ifndef CHANCERY_TESTS_GUARD_REFUSAL_H
#define CHANCERY_TESTS_GUARD_REFUSAL_H

/* For cmocka tests of the guard: include that first. */

#include <stdio.h>

#include "tests/unit/guard_setting.h"

/* Refused, by that rule. */
static inline void
expect_refusal(const struct guard_request *r, const char *rule, const char *what)
{
	struct error e = ERROR_INIT;
	struct guard_use use;
	char words[80];

	if (guard_check(r, &use, &e))
		fail_msg("%s passed", what);
	(void)snprintf(words, sizeof words, ": rule %s (", rule);
	if (e.code != (strstr(e.text, "anew") != NULL ? ERROR_CONFLICT : ERROR_DENIED) ||
	    strstr(e.text, words) == NULL)
		fail_msg("%s was not refused by rule %s: %s", what, rule, e.text);
}

typedef struct setting *setting_maker(const struct parties *all);

#endif
