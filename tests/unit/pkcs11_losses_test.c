/* Tokens that open and never work: pauses that grow, and end. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "pkcs11/losses.h"
#include "pkcs11/store.h"

#define NOON 1795348800

static char dir[] = "/tmp/chancery-losses-XXXXXX";

static int
set_up(void **state)
{
	return mkdtemp(dir) != NULL ? 0 : -1;
}

static int
tear_down(void **state)
{
	struct error e = ERROR_INIT;

	return store_remove(dir, LOSSES_FILE, &e) ? rmdir(dir) : -1;
}

static void
pauses_grow_up_to_a_bound(void **state)
{
	struct losses l = {.count = 0};
	unsigned last = 0;

	for (l.count = 0; l.count <= LOSSES_FREE; l.count++)
		assert_int_equal(losses_pause_ms(&l, 77), 0);
	for (; l.count < 20; l.count++) {
		unsigned most = losses_pause_ms(&l, 0);

		assert_true(most >= last && most > 0 && most <= LOSSES_PAUSE_MAX_MS);
		for (unsigned random = 0; random < 65536; random += 97) {
			unsigned ms = losses_pause_ms(&l, (uint16_t)random);

			assert_true(ms > most / 2 - 1 && ms <= most);
		}
		last = most;
	}
	assert_int_equal(last, LOSSES_PAUSE_MAX_MS);
	l.count = 1000000;
	assert_int_equal(losses_pause_ms(&l, 0), LOSSES_PAUSE_MAX_MS);
}

static void
the_next_process_knows(void **state)
{
	char text[ERROR_TEXT_MAX];
	struct losses l, again;

	losses_load(&l, dir);
	assert_int_equal(l.count, 0);
	losses_add(&l, dir, 0, "one\nline", NOON);
	losses_add(&l, dir, LOSSES_QUIET_S - 1, "CKR_DEVICE_ERROR", NOON + 10);
	losses_load(&again, dir);
	assert_int_equal(again.count, 2);
	assert_int_equal(again.since, NOON);
	assert_string_equal(again.why, "CKR_DEVICE_ERROR");
	losses_add(&again, dir, 0, "a\tb\nc", NOON + 20);
	losses_text(&again, text);
	assert_non_null(strstr(text, "3 times since 2026-11-22T12:00:00Z"));
	assert_non_null(strstr(text, "a b c"));
	/* After a quiet minute another row begins; so it does when the clock was put back. */
	losses_add(&again, dir, LOSSES_QUIET_S, "x", NOON + 100);
	assert_int_equal(again.count, 1);
	assert_int_equal(again.since, NOON + 100);
	losses_add(&again, dir, 0, "x", NOON);
	assert_int_equal(again.count, 1);
	losses_end(&again, dir);
	losses_load(&l, dir);
	assert_int_equal(l.count, 0);
}

static void
what_is_no_record_counts_for_nothing(void **state)
{
	static const char *const texts[] = {"", "count: 3\n",
	    "count: 0x3\nsince: 2026-11-22T12:00:00Z\nwhy: x\n",
	    "count: 3\nsince: yesterday\nwhy: x\n",
	    "count: 3\nsince: 2026-11-22T12:00:00Z\nwhy: x\nmore: y\n"};
	struct error e = ERROR_INIT;
	struct losses l;

	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		assert_true(store_write(dir, LOSSES_FILE, texts[i], strlen(texts[i]), true, &e));
		losses_load(&l, dir);
		assert_int_equal(l.count, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pauses_grow_up_to_a_bound),
	    cmocka_unit_test(the_next_process_knows),
	    cmocka_unit_test(what_is_no_record_counts_for_nothing),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
