/* How far a clock jumped. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "daemon/issuer/clock_watch.h"

static void
a_step_is_what_time_does_not_explain(void **state)
{
	const struct clock_reading before = {1000000, 50};
	const struct {
		struct clock_reading after;
		int64_t step;
	} cases[] = {
	    {{1000005, 55}, 0},
	    {{1000000 + 7 * 86400, 50 + 7 * 86400}, 0}, /* asleep, both went on */
	    {{1000005 + 31536000, 55}, 31536000}, {{1000005 - 7200, 55}, -7200},
	    {{1000000, 3650}, -3600}, /* stood still */
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_int_equal(clock_step_s(&before, &cases[i].after), cases[i].step);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_step_is_what_time_does_not_explain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
