/* Users: their names and numbers, and what is left of root after becoming one. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/core/control.h"
#include "daemon/core/identity.h"
#include "daemon/core/process.h"

static struct identity
numbers(void)
{
	struct error err = ERROR_INIT;
	struct identity id;

	if (!identity_parse("47001:47002", &id, &err))
		fail_msg("%s", err.text);
	return id;
}

static void
names_and_numbers(void **state)
{
	static const char *const bad[] = {"", "no-such-user", "root", "0:0", "0:5", "5:0", "5",
	    "5:", ":5", "5:5:5", "05:5", "-1:5", "4294967295:5", "5:99999999999", "daemon:daemon",
	    "5 :5",
	    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
	struct identity id = numbers();
	struct error err;

	assert_int_equal(id.uid, 47001);
	assert_int_equal(id.gid, 47002);
	assert_int_equal(id.group_count, 1);
	assert_int_equal(id.groups[0], 47002);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		err = ERROR_INIT;
		if (identity_parse(bad[i], &id, &err))
			fail_msg("'%s' was taken", bad[i]);
		assert_int_equal(err.code, ERROR_CONFIG);
	}
	err = ERROR_INIT;
	assert_true(identity_parse("daemon", &id, &err));
	assert_int_equal(id.uid, 1);
	assert_int_equal(id.gid, 1);
	assert_true(id.group_count >= 1);
}

static bool
is_ourselves(void *arg, struct error *err)
{
	const uid_t *uid = arg;

	return geteuid() == *uid ? true
				 : error_set(err, ERROR_INPUT, "uid %u", (unsigned)geteuid());
}

static bool
dies(void *arg, struct error *err)
{
	if (getppid() == *(pid_t *)arg)
		(void)raise(SIGKILL);
	return true;
}

static void
checks_with_the_eyes_of_others(void **state)
{
	struct identity id = numbers();
	struct error err = ERROR_INIT;
	pid_t here = getpid();
	uid_t us = geteuid(), wanted = id.uid;

	assert_true(identity_check(NULL, is_ourselves, &us, &err));
	if (us != 0) {
		assert_false(identity_check(&id, is_ourselves, &wanted, &err));
		assert_non_null(strstr(err.text, "cannot become user 47001:47002"));
		return;
	}
	assert_true(identity_check(&id, is_ourselves, &wanted, &err));
	assert_false(identity_check(&id, is_ourselves, &us, &err));
	assert_int_equal(err.code, ERROR_INPUT);
	assert_string_equal(err.text, "uid 47001");
	error_clear(&err);
	assert_false(identity_check(&id, dies, &here, &err));
	assert_int_equal(err.code, ERROR_SYSTEM);
	/* And we are still who we were. */
	assert_int_equal(geteuid(), 0);
}

/* ---- a program started as somebody else */

/* The child: prints what it has. */
static int
show(void)
{
	char line[256], text[4096] = "";
	struct rlimit processes;
	size_t used = 0;
	int death = 0;
	FILE *in = fopen("/proc/self/status", "re");

	if (in == NULL)
		return 1;
	while (fgets(line, sizeof line, in) != NULL) {
		if (strncmp(line, "Uid", 3) == 0 || strncmp(line, "Gid", 3) == 0 ||
		    strncmp(line, "Groups", 6) == 0 || strncmp(line, "Cap", 3) == 0 ||
		    strncmp(line, "NoNew", 5) == 0)
			used += (size_t)snprintf(text + used, sizeof text - used, "%s", line);
	}
	(void)fclose(in);
	(void)prctl(PR_GET_PDEATHSIG, &death);
	(void)getrlimit(RLIMIT_NPROC, &processes);
	used += (size_t)snprintf(text + used, sizeof text - used, "death=%d processes=%llu\n",
	    death, (unsigned long long)processes.rlim_max);
	if (getenv(CREDENTIAL_VARIABLE) != NULL) {
		ssize_t n = read(CREDENTIAL_FD, line, sizeof line);

		used += (size_t)snprintf(
		    text + used, sizeof text - used, "secret=%.*s\n", (int)n, line);
	}
	for (int fd = CREDENTIAL_FD + 1; fd < 64; fd++) {
		if (fcntl(fd, F_GETFD) >= 0 && fd != fileno(stderr))
			used += (size_t)snprintf(text + used, sizeof text - used, "fd=%d\n", fd);
	}
	return send(CONTROL_FD, text, used, 0) == (ssize_t)used ? 42 : 1;
}

static void
a_program_started_as_somebody_else(void **state)
{
	static const char *const expected[] = {"Uid:\t47001\t47001\t47001\t47001\n",
	    "Gid:\t47002\t47002\t47002\t47002\n", "Groups:\t47002 \n",
	    "CapInh:\t0000000000000000\n", "CapPrm:\t0000000000000000\n",
	    "CapEff:\t0000000000000000\n", "CapBnd:\t0000000000000000\n",
	    "CapAmb:\t0000000000000000\n", "NoNewPrivs:\t1\n", "death=9 processes=77\n",
	    "secret=1234\n"};
	char name[] = "child", *argv[] = {name, name, NULL};
	char variable[] = CREDENTIAL_VARIABLE "=4", *environment[] = {variable, NULL};
	struct identity id = numbers();
	struct error err = ERROR_INIT;
	struct process_start start = {.program = "/proc/self/exe",
	    .argv = argv,
	    .environment = environment,
	    .identity = &id,
	    .processes_max = 77};
	char text[4097];
	int fds[2], secret[2], status = 0;
	pid_t pid = 0;
	ssize_t n;

	assert_true(control_pair(fds, &err));
	assert_int_equal(pipe2(secret, O_CLOEXEC), 0);
	assert_int_equal(write(secret[1], "1234", 4), 4);
	start.control = fds[1];
	start.credential = secret[0];
	if (geteuid() != 0) {
		assert_false(process_start(&start, &pid, &err));
		assert_non_null(strstr(err.text, "as user 47001:47002"));
		goto out;
	}
	if (!process_start(&start, &pid, &err))
		fail_msg("%s", err.text);
	n = recv(fds[0], text, sizeof text - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	for (size_t i = 0; i < COUNT_OF(expected); i++) {
		if (strstr(text, expected[i]) == NULL)
			fail_msg("no '%s' in:\n%s", expected[i], text);
	}
	assert_null(strstr(text, "fd="));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 42);
out:
	(void)close(fds[0]);
	(void)close(fds[1]);
	(void)close(secret[0]);
	(void)close(secret[1]);
}

/* Whoever has the child's user may stop it before its exec. A lease on the program, which
 * holds up whoever opens it, stands for that. */
static void
a_child_that_does_not_get_to_its_exec(void **state)
{
	char path[] = "/tmp/chancery-start-XXXXXX", name[] = "child", *argv[] = {name, NULL};
	int fd = mkostemp(path, O_CLOEXEC), fds[2];
	struct error err = ERROR_INIT;
	pid_t pid = 0;

	assert_true(fd >= 0);
	assert_int_equal(fchmod(fd, 0700), 0);
	(void)signal(SIGIO, SIG_IGN);
	if (fcntl(fd, F_SETLEASE, F_WRLCK) < 0) {
		(void)close(fd);
		(void)unlink(path);
		skip();
	}
	assert_true(control_pair(fds, &err));
	assert_false(process_spawn(path, argv, &argv[1], fds[1], &pid, &err));
	assert_int_equal(pid, 0);
	assert_string_equal(err.foreign, "ETIMEDOUT");
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	(void)close(fd);
	(void)close(fds[0]);
	(void)close(fds[1]);
	(void)unlink(path);
}

/* What root has set up before must not leave a way back. */
static void
securebits_do_not_help(void **state)
{
	struct identity id = numbers();
	int status = 0;
	pid_t child;

	if (geteuid() != 0)
		skip();
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		/* SECBIT_KEEP_CAPS, SECBIT_NO_SETUID_FIXUP */
		if (prctl(PR_SET_SECUREBITS, 1 << 4 | 1 << 2, 0, 0, 0) != 0 ||
		    !identity_assume(&id))
			_exit(1);
		_exit(setuid(0) == 0 || open("/etc/shadow", O_RDONLY | O_CLOEXEC) >= 0 ? 2 : 0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(names_and_numbers),
	    cmocka_unit_test(checks_with_the_eyes_of_others),
	    cmocka_unit_test(a_program_started_as_somebody_else),
	    cmocka_unit_test(a_child_that_does_not_get_to_its_exec),
	    cmocka_unit_test(securebits_do_not_help),
	};

	if (argc > 1)
		return show();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
