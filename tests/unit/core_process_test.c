/* Children and what they inherit; notifications to the service manager. The
 * test runs itself again as the child. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/core/control.h"
#include "daemon/core/notify.h"
#include "daemon/core/process.h"

extern char **environ;

/* The child: says on its control channel what it found. */
static int
report_inheritance(void)
{
	char text[4096] = "";
	struct sigaction action;
	struct dirent *entry;
	sigset_t mask;
	DIR *dir;
	int death = 0;
	size_t used = 0;

	dir = opendir("/proc/self/fd");
	if (dir == NULL)
		return 1;
	while ((entry = readdir(dir)) != NULL) {
		if (atoi(entry->d_name) > CONTROL_FD && atoi(entry->d_name) != dirfd(dir))
			used += (size_t)snprintf(
			    text + used, sizeof text - used, "fd=%s\n", entry->d_name);
	}
	(void)closedir(dir);
	(void)sigprocmask(SIG_BLOCK, NULL, &mask);
	for (int n = 1; n < 32; n++) {
		if (sigismember(&mask, n) == 1)
			used += (size_t)snprintf(
			    text + used, sizeof text - used, "blocked=%d\n", n);
		(void)sigaction(n, NULL, &action);
		if (action.sa_handler == SIG_IGN)
			used += (size_t)snprintf(
			    text + used, sizeof text - used, "ignored=%d\n", n);
	}
	(void)prctl(PR_GET_PDEATHSIG, &death);
	used += (size_t)snprintf(text + used, sizeof text - used, "death=%d\nflags=%d\n", death,
	    fcntl(CONTROL_FD, F_GETFD) | (fcntl(CONTROL_FD, F_GETFL) & O_NONBLOCK));
	for (char **p = environ; *p != NULL; p++)
		used += (size_t)snprintf(text + used, sizeof text - used, "%s\n", *p);
	return send(CONTROL_FD, text, used, 0) == (ssize_t)used ? 42 : 1;
}

static void
a_child_inherits_only_what_it_is_given(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "child", (char *)(uintptr_t) "--inheritance", NULL};
	struct config_variable extra[] = {
	    {(char *)(uintptr_t) "SOFTHSM2_CONF", (char *)(uintptr_t) "/x/softhsm2.conf"},
	    {(char *)(uintptr_t) "TZ", (char *)(uintptr_t) "UTC"},
	};
	char text[4097], *options = getenv("ASAN_OPTIONS");
	struct error err = ERROR_INIT;
	int fds[2], leak, status;
	char **environment;
	sigset_t blocked;
	pid_t pid = 0;
	ssize_t n;

	(void)setenv("PATH", "/usr/bin:/bin", 1);
	(void)setenv("TZ", "Europe/Berlin", 1);
	(void)setenv("PGPASSWORD", "secret", 1);
	(void)setenv("NOTIFY_SOCKET", "@nobody", 1);
	(void)setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x", 1);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&blocked);
	(void)sigaddset(&blocked, SIGUSR1);
	(void)sigprocmask(SIG_BLOCK, &blocked, NULL);
	leak = open("/dev/null", O_RDONLY); /* no close-on-exec on purpose */
	assert_true(leak >= 0);

	assert_true(control_pair(fds, &err));
	environment = process_environment(true, extra, COUNT_OF(extra));
	assert_non_null(environment);
	assert_true(process_spawn("/proc/self/exe", argv, environment, fds[1], &pid, &err));
	process_environment_free(environment);
	(void)close(fds[1]);
	n = recv(fds[0], text, sizeof text - 1, 0);
	assert_true(n > 0);
	text[n] = '\0';
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 42);

	assert_null(strstr(text, "fd="));
	assert_null(strstr(text, "blocked="));
	assert_null(strstr(text, "ignored="));
	assert_non_null(strstr(text, "death=9\n"));
	assert_non_null(strstr(text, "flags=0\n"));
	assert_non_null(strstr(text, "SOFTHSM2_CONF=/x/softhsm2.conf\n"));
	assert_non_null(strstr(text, "PATH=/usr/bin:/bin\n"));
	assert_non_null(strstr(text, "TZ=UTC\n"));
	assert_null(strstr(text, "TZ=Europe"));
	assert_non_null(strstr(text, "CREDENTIALS_DIRECTORY=/run/credentials/x\n"));
	assert_null(strstr(text, "PGPASSWORD"));
	assert_null(strstr(text, "NOTIFY_SOCKET"));
	assert_true((options == NULL) == (strstr(text, "ASAN_OPTIONS=") == NULL));

	/* Credentials are for the signer alone. */
	environment = process_environment(false, NULL, 0);
	assert_non_null(environment);
	for (char **p = environment; *p != NULL; p++)
		assert_null(strstr(*p, "CREDENTIALS_DIRECTORY"));
	process_environment_free(environment);

	(void)sigprocmask(SIG_UNBLOCK, &blocked, NULL);
	(void)signal(SIGPIPE, SIG_DFL);
	(void)unsetenv("NOTIFY_SOCKET");
	(void)close(leak);
	(void)close(fds[0]);
}

static void
a_program_that_is_not_there_is_named(void **state)
{
	char *argv[] = {(char *)(uintptr_t) "child", NULL}, *none[] = {NULL};
	struct error err = ERROR_INIT;
	int fds[2];
	pid_t pid = 0;

	assert_true(control_pair(fds, &err));
	assert_false(process_spawn("/nonexistent/signer", argv, none, fds[1], &pid, &err));
	assert_int_equal(err.code, ERROR_SYSTEM);
	assert_string_equal(err.foreign, "ENOENT");
	assert_non_null(strstr(err.text, "/nonexistent/signer"));
	assert_int_equal(pid, 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1); /* nothing left to wait for */
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static void
check_notification(const struct sockaddr_un *addr, socklen_t len, const char *name)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct error err = ERROR_INIT;
	char text[64] = "";

	assert_int_equal(bind(fd, (const struct sockaddr *)addr, len), 0);
	(void)setenv("NOTIFY_SOCKET", name, 1);
	assert_true(notify_send(&err, "READY=1\nSTATUS=%d children", 3));
	assert_int_equal(recv(fd, text, sizeof text - 1, MSG_DONTWAIT), 25);
	assert_string_equal(text, "READY=1\nSTATUS=3 children");
	(void)close(fd);
	error_clear(&err);
	assert_false(notify_send(&err, "READY=1"));
	assert_int_equal(err.code, ERROR_SYSTEM);
}

static void
the_service_manager_is_told(void **state)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char name[64], dir[] = "/tmp/chancery-notify-XXXXXX", longest[200];
	struct error err = ERROR_INIT;
	int n;

	(void)unsetenv("NOTIFY_SOCKET");
	assert_true(notify_send(&err, "READY=1"));

	assert_non_null(mkdtemp(dir));
	(void)snprintf(name, sizeof name, "%s/s", dir);
	(void)snprintf(addr.sun_path, sizeof addr.sun_path, "%s/s", dir);
	check_notification(&addr, sizeof addr, name);
	(void)unlink(name);
	(void)rmdir(dir);

	n = snprintf(name, sizeof name, "@chancery-test-%d", (int)getpid());
	memcpy(addr.sun_path, name, (size_t)n);
	addr.sun_path[0] = '\0';
	check_notification(
	    &addr, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n), name);

	error_clear(&err);
	(void)setenv("NOTIFY_SOCKET", "relative", 1);
	assert_false(notify_send(&err, "READY=1"));
	assert_int_equal(err.code, ERROR_CONFIG);
	error_clear(&err);
	memset(longest, 'a', sizeof longest - 1);
	longest[0] = '@';
	longest[sizeof longest - 1] = '\0';
	(void)setenv("NOTIFY_SOCKET", longest, 1);
	assert_false(notify_send(&err, "READY=1"));
	assert_int_equal(err.code, ERROR_CONFIG);
	(void)unsetenv("NOTIFY_SOCKET");
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_child_inherits_only_what_it_is_given),
	    cmocka_unit_test(a_program_that_is_not_there_is_named),
	    cmocka_unit_test(the_service_manager_is_told),
	};

	if (argc == 2 && strcmp(argv[1], "--inheritance") == 0)
		return report_inheritance();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
