/* Who is to blame in a group, and for how long it is left alone. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "pkcs11/group.h"

#define NOON 1795348800

static char dir[] = "/tmp/chancery-group-XXXXXX";
static char *others[] = {(char *)(uintptr_t) "hsm-b", (char *)(uintptr_t) "hsm-c"};
static const struct config_token group = {.name = (char *)(uintptr_t) "main",
    .select = (char *)(uintptr_t) "hsm-a",
    .others = {.items = others, .count = 2}};
static const struct config_token single = {
    .name = (char *)(uintptr_t) "main", .select = (char *)(uintptr_t) "hsm-a"};

static int
set_up(void **state)
{
	(void)snprintf(dir, sizeof dir, "/tmp/chancery-group-XXXXXX");
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
	char command[64];

	(void)snprintf(command, sizeof command, "rm -r %s", dir);
	return system(command);
}

static bool
blamed(size_t member, int64_t now)
{
	return group_is_blamed(&group, dir, member, now);
}

static void
members_have_names(void **state)
{
	char a[GROUP_DIR_MAX], b[GROUP_DIR_MAX];
	struct error e = ERROR_INIT;

	assert_int_equal(group_count(&group), 3);
	assert_string_equal(group_name(&group, 0), "hsm-a");
	assert_string_equal(group_name(&group, 2), "hsm-c");
	assert_int_equal(group_find(&group, "hsm-b"), 1);
	assert_int_equal(group_find(&group, "hsm-d"), 3);
	assert_true(group_dir(&group, dir, 0, a, &e));
	assert_true(group_dir(&group, dir, 1, b, &e));
	assert_string_not_equal(a, b);
	assert_true(group_dir(&single, dir, 0, a, &e));
	assert_string_equal(a, dir);
}

/* One that fails again soon is left alone for longer and longer, up to a bound. */
static void
pauses_double(void **state)
{
	int64_t now = NOON, pause = GROUP_PAUSE_MIN_S;

	assert_false(blamed(1, now));
	for (int i = 0; i < 20; i++) {
		group_blame(&group, dir, 1, now);
		assert_true(blamed(1, now) && blamed(1, now + pause - 1));
		assert_false(blamed(1, now + pause));
		assert_false(blamed(0, now) || blamed(2, now));
		now += pause;
		pause = 2 * pause < GROUP_PAUSE_MAX_S ? 2 * pause : GROUP_PAUSE_MAX_S;
	}
	assert_int_equal(pause, GROUP_PAUSE_MAX_S);
	/* What worked for long enough between is another trouble. */
	now += 4 * GROUP_PAUSE_MAX_S;
	group_blame(&group, dir, 1, now);
	assert_true(blamed(1, now + GROUP_PAUSE_MIN_S - 1));
	assert_false(blamed(1, now + GROUP_PAUSE_MIN_S));
}

static void
a_clock_that_is_set_back_keeps_nobody_away(void **state)
{
	group_blame(&group, dir, 0, NOON);
	assert_true(blamed(0, NOON));
	assert_false(blamed(0, NOON - 3600));
}

static void
a_single_one_gets_no_blame(void **state)
{
	group_blame(&single, dir, 0, NOON);
	assert_false(group_is_blamed(&single, dir, 0, NOON));
}

/* Who was in use, or being opened, when a process died. */
static void
a_death_is_blamed_on_who_was_at_work(void **state)
{
	group_begin_use(&group, dir, 0);
	group_begin_opening(&group, dir, 1);
	group_end_opening(&group, dir, 1);
	group_look_back(&group, dir, NOON);
	assert_true(blamed(0, NOON));
	assert_false(blamed(1, NOON) || blamed(2, NOON));
	/* Once, and not for an end of its own. */
	group_look_back(&group, dir, NOON + GROUP_PAUSE_MIN_S);
	assert_false(blamed(0, NOON + GROUP_PAUSE_MIN_S));
	group_begin_use(&group, dir, 2);
	group_end_use(&group, dir);
	group_look_back(&group, dir, NOON);
	assert_false(blamed(2, NOON));
	/* It may have been one that was only being opened: both are under suspicion. */
	group_begin_use(&group, dir, 2);
	group_begin_opening(&group, dir, 1);
	group_look_back(&group, dir, NOON);
	assert_true(blamed(1, NOON) && blamed(2, NOON));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(members_have_names, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(pauses_double, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		a_clock_that_is_set_back_keeps_nobody_away, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(a_single_one_gets_no_blame, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		a_death_is_blamed_on_who_was_at_work, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
