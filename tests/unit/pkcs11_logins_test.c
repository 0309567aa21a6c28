/* What is remembered of logins: over restarts, power cuts and damage. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/stat.h>
#include <unistd.h>

#include "pkcs11/logins.h"

#define NOON 1795348800LL

static char dir[] = "/tmp/chancery-logins-XXXXXX";
static char path[128];
static const struct logins_who alice = {"alice", {1}, {2}};

static struct logins *
reopen(struct logins *l)
{
	struct error e = ERROR_INIT;

	logins_close(l);
	l = NULL;
	if (!logins_open(dir, &l, &e))
		fail_msg("%s", e.text);
	return l;
}

static void
note(struct logins *l, enum logins_event event)
{
	struct error e = ERROR_INIT;

	if (!logins_write(l, event, &alice, "CKR_X", NOON, &e))
		fail_msg("%s", e.text);
}

static void
blocked(struct logins *l, const char *words)
{
	char text[ERROR_TEXT_MAX] = "";

	assert_int_equal(logins_blocked(l, text), words != NULL);
	if (words != NULL && strstr(text, words) == NULL)
		fail_msg("'%s' is not in '%s'", words, text);
}

static struct logins *
fresh(void)
{
	(void)unlink(path);
	return reopen(NULL);
}

static void
ends_are_remembered(void **state)
{
	struct logins *l = fresh(), *other;
	struct error e = ERROR_INIT;

	blocked(l, NULL);
	note(l, LOGINS_OPEN);
	note(l, LOGINS_OK);
	note(l, LOGINS_OUT);
	note(l, LOGINS_OPEN);
	note(l, LOGINS_FAILED);
	note(l, LOGINS_OPEN);
	note(l, LOGINS_FAILED);
	l = reopen(l);
	blocked(l, NULL);
	note(l, LOGINS_OPEN);
	note(l, LOGINS_WRONG);
	blocked(l, "refused the last PIN");
	l = reopen(l);
	blocked(l, "refused the last PIN");
	note(l, LOGINS_CLEAR);
	blocked(l, NULL);
	l = reopen(l);
	blocked(l, NULL);
	assert_false(logins_open(dir, &other, &e));
	assert_int_equal(e.code, ERROR_UNAVAILABLE);
	logins_close(l);
}

static void
two_without_an_end_block(void **state)
{
	struct logins *l = fresh();

	note(l, LOGINS_OPEN);
	note(l, LOGINS_UNCLEAR);
	l = reopen(l);
	blocked(l, NULL);
	note(l, LOGINS_OPEN);
	l = reopen(l);
	blocked(l, "how the last 2 logins ended");
	note(l, LOGINS_CLEAR);
	note(l, LOGINS_OPEN);
	l = reopen(l);
	blocked(l, NULL);
	note(l, LOGINS_OPEN);
	note(l, LOGINS_OK);
	note(l, LOGINS_OUT);
	note(l, LOGINS_OPEN);
	blocked(l, NULL); /* one, since another one succeeded */
	logins_close(l);
}

static void
a_login_that_was_lost(void **state)
{
	struct logins *l = fresh();
	char person[65];
	int64_t since;

	note(l, LOGINS_OPEN);
	note(l, LOGINS_OK);
	assert_false(logins_lost(l, person, &since));
	l = reopen(reopen(l));
	assert_true(logins_lost(l, person, &since));
	assert_string_equal(person, "alice");
	assert_int_equal(since, NOON);
	note(l, LOGINS_OPEN);
	note(l, LOGINS_OK);
	assert_false(logins_lost(l, person, &since));
	note(l, LOGINS_OUT);
	assert_false(logins_lost(l, person, &since));
	l = reopen(l);
	assert_false(logins_lost(l, person, &since));
	logins_close(l);
}

static void
append(const char *text)
{
	FILE *f = fopen(path, "a");

	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

/* One octet changes. */
static void
spoil(long at)
{
	char text[8192];
	FILE *f = fopen(path, "r+");
	size_t len;

	assert_non_null(f);
	len = fread(text, 1, sizeof text, f);
	assert_true((size_t)at < len);
	text[at] = text[at] == 'x' ? 'y' : 'x';
	rewind(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

static void
a_torn_end_is_cut_off(void **state)
{
	struct logins *l = fresh();

	note(l, LOGINS_OPEN);
	note(l, LOGINS_WRONG);
	append("3 2026-11-22T12:00:00Z cle");
	l = reopen(l);
	blocked(l, "refused");
	note(l, LOGINS_CLEAR);
	l = reopen(l);
	blocked(l, NULL);
	logins_close(l);
}

static void
damage_blocks(void **state)
{
	struct logins *l = fresh();
	struct error e = ERROR_INIT;
	struct stat st;

	note(l, LOGINS_OPEN);
	note(l, LOGINS_OK);
	note(l, LOGINS_OUT);
	assert_int_equal(stat(path, &st), 0);
	for (long at = 0; at < st.st_size; at += 7) {
		spoil(at);
		l = reopen(l);
		blocked(l, "is damaged");
		assert_false(logins_write(l, LOGINS_OPEN, &alice, NULL, NOON, &e));
		note(l, LOGINS_CLEAR);
		blocked(l, NULL);
		note(l, LOGINS_OPEN);
		note(l, LOGINS_OK);
		note(l, LOGINS_OUT);
		l = reopen(l);
		blocked(l, NULL);
		assert_int_equal(stat(path, &st), 0);
	}
	/* What was forged at its end. */
	append("9 2026-11-22T12:00:00Z clear alice - - - "
	       "0000000000000000000000000000000000000000000000000000000000000000\n");
	l = reopen(l);
	blocked(l, "is damaged");
	logins_close(l);
}

static void
a_long_file_is_put_aside(void **state)
{
	struct logins *l = fresh();
	char aside[160];
	struct stat st;

	for (size_t i = 0; i < LOGINS_SIZE_MAX / 500; i++) {
		note(l, LOGINS_OPEN);
		note(l, LOGINS_OK);
		note(l, LOGINS_OUT);
	}
	note(l, LOGINS_OPEN);
	l = reopen(l);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size > LOGINS_SIZE_MAX); /* its end still matters */
	note(l, LOGINS_OPEN);
	blocked(l, "last 2 logins");
	note(l, LOGINS_CLEAR);
	l = reopen(l);
	(void)snprintf(aside, sizeof aside, "%s.1", path);
	assert_int_equal(stat(aside, &st), 0);
	blocked(l, NULL);
	note(l, LOGINS_OPEN);
	l = reopen(l);
	note(l, LOGINS_OPEN);
	l = reopen(l);
	blocked(l, "last 2 logins");
	logins_close(l);
}

static int
set_up(void **state)
{
	if (mkdtemp(dir) == NULL)
		return -1;
	(void)snprintf(path, sizeof path, "%s/" LOGINS_FILE, dir);
	return 0;
}

static int
tear_down(void **state)
{
	char command[128];

	(void)snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(ends_are_remembered),
	    cmocka_unit_test(two_without_an_end_block),
	    cmocka_unit_test(a_login_that_was_lost),
	    cmocka_unit_test(a_torn_end_is_cut_off),
	    cmocka_unit_test(damage_blocks),
	    cmocka_unit_test(a_long_file_is_put_aside),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
