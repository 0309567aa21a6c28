/*
 * What a sandbox reports of itself once it was entered, in a child; with a kernel that
 * has Landlock, and as if it had none.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/core/sandbox.h"

static unsigned landlock;
static char said[ERROR_TEXT_MAX]; /* why it was not entered */

/* Enters in a child and gives its report. */
static struct sandbox_report
report_of(struct sandbox *s, bool *entered, bool without_landlock)
{
	struct sock_filter program[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_landlock_create_ruleset, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
	struct sock_fprog filter = {COUNT_OF(program), program};
	struct sandbox_report report = {0};
	struct error err = ERROR_INIT;
	int fds[2];
	pid_t child;

	assert_int_equal(pipe(fds), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (without_landlock &&
		    (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 ||
			prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0))
			_exit(100);
		*entered = sandbox_enter(s, &report, &err);
		(void)!write(fds[1], entered, sizeof *entered);
		(void)!write(fds[1], &report, sizeof report);
		(void)!write(fds[1], &err, sizeof err);
		_exit(0);
	}
	sandbox_free(s);
	(void)close(fds[1]);
	assert_int_equal(read(fds[0], entered, sizeof *entered), sizeof *entered);
	assert_int_equal(read(fds[0], &report, sizeof report), sizeof report);
	assert_int_equal(read(fds[0], &err, sizeof err), sizeof err);
	(void)close(fds[0]);
	assert_int_equal(waitpid(child, NULL, 0), child);
	(void)snprintf(said, sizeof said, "%s", err.text);
	return report;
}

static void
reports_say_what_is_there(void **state)
{
	struct sandbox_report r;
	struct sandbox *s;
	bool entered;

	s = sandbox_new(SANDBOX_FRONT, SANDBOX_BEST_EFFORT);
	sandbox_system_files(s);
	sandbox_sockets(s, true, true);
	r = report_of(s, &entered, false);
	assert_true(entered);
	assert_string_equal(r.profile, "front");
	assert_string_equal(r.sockets, "local+network");
	assert_int_equal(r.uid, geteuid());
	assert_int_equal(r.gid, getegid());
	assert_int_equal(r.capabilities, 0);
	assert_true(r.no_new_privileges && r.filters >= 1);
	assert_int_equal(r.landlock, landlock);
	assert_string_equal(r.missing, landlock > 0 ? "" : "landlock");

	r = report_of(sandbox_new(SANDBOX_FRONT, SANDBOX_OFF), &entered, false);
	assert_true(entered);
	assert_string_equal(r.profile, "none");
	assert_string_equal(r.sockets, "any");
	assert_int_equal(r.landlock, 0);
	assert_string_equal(r.missing, "");
}

static void
without_landlock(void **state)
{
	struct sandbox_report r;
	struct sandbox *s;
	bool entered;

	s = sandbox_new(SANDBOX_SOFTHSM, SANDBOX_REQUIRE);
	r = report_of(s, &entered, true);
	assert_false(entered);
	if (strstr(said, "lacks: landlock") == NULL)
		fail_msg("%s", said);
	s = sandbox_new(SANDBOX_SOFTHSM, SANDBOX_BEST_EFFORT);
	r = report_of(s, &entered, true);
	assert_true(entered);
	assert_string_equal(r.missing, "landlock");
	assert_int_equal(r.landlock, 0);
	assert_string_equal(r.profile, "softhsm");
	assert_true(r.filters >= 2 && r.no_new_privileges);
}

static void
reports_travel_as_text(void **state)
{
	static const char *const bad[] = {"", "profile=x", "profile= uid=1",
	    "profile=a uid=1 gid=1 caps=0 nnp=1 filters=1 landlock=7 sockets=none",
	    "profile=a uid=1 gid=1 caps=0 nnp=1 filters=1 landlock=7 sockets=none missing=- ",
	    "profile=a uid=1 gid=1 caps=0 nnp=1 filters=1 landlock=7 sockets=none missing=-x y",
	    "profile=a uid=-1 gid=1 caps=0 nnp=1 filters=1 landlock=7 sockets=none missing=-",
	    "profile=a uid=01 gid=1 caps=0 nnp=1 filters=1 landlock=7 sockets=none missing=-",
	    "profile=a uid=1 gid=1 caps=g nnp=1 filters=1 landlock=7 sockets=none missing=-",
	    "profile=a uid=1 gid=4294967296 caps=0 nnp=1 filters=1 landlock=7 sockets=none "
	    "missing=-",
	    "profile=a uid=1 gid=1 caps=0 nnp=2 filters=1 landlock=7 sockets=none missing=-",
	    "profile=\"a uid=1 gid=1 caps=0 nnp=1 filters=1 landlock=7 sockets=none missing=-"};
	struct sandbox_report r = {.profile = "softhsm",
	    .uid = UINT32_MAX,
	    .gid = 47001,
	    .capabilities = UINT64_MAX,
	    .no_new_privileges = true,
	    .filters = 65535,
	    .landlock = 65535,
	    .sockets = "local+network",
	    .missing = "capabilities,no-new-privileges,landlock,limits,seccomp"};
	struct sandbox_report back;
	struct error err;
	char text[SANDBOX_TEXT_MAX];

	for (int i = 0; i < 2; i++) {
		err = ERROR_INIT;
		sandbox_report_format(&r, text);
		assert_true(strlen(text) < sizeof text - 1);
		if (!sandbox_report_parse(text, &back, &err))
			fail_msg("%s", err.text);
		assert_string_equal(back.missing, r.missing);
		assert_string_equal(back.profile, r.profile);
		assert_int_equal(back.capabilities, r.capabilities);
		assert_int_equal(back.uid, r.uid);
		r.missing[0] = '\0';
		r.no_new_privileges = false;
	}
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		err = ERROR_INIT;
		if (sandbox_report_parse(bad[i], &back, &err))
			fail_msg("'%s' was taken", bad[i]);
		assert_int_equal(err.code, ERROR_INPUT);
	}
}

static void
modes_have_names(void **state)
{
	enum sandbox_mode mode;

	for (int m = SANDBOX_BEST_EFFORT; m <= SANDBOX_OFF; m++) {
		assert_true(sandbox_mode_parse(sandbox_mode_name((enum sandbox_mode)m), &mode));
		assert_int_equal(mode, m);
	}
	assert_false(sandbox_mode_parse("on", &mode));
}

static int
set_up(void **state)
{
	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);

	landlock = version > 0 ? (unsigned)version : 0;
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reports_say_what_is_there),
	    cmocka_unit_test(without_landlock),
	    cmocka_unit_test(reports_travel_as_text),
	    cmocka_unit_test(modes_have_names),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
