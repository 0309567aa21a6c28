#include "daemon/core/process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/core/control.h"
#include "daemon/core/monotonic.h"

#define REPORT_FD (CREDENTIAL_FD + 1) /* tells us errno when exec fails */
#define HIGH_FD 16		      /* above everything that is put in place */

static const char *const passed[] = {"PATH", "TZ", "JOURNAL_STREAM", "ASAN_OPTIONS", "LSAN_OPTIONS",
    "UBSAN_OPTIONS", "TSAN_OPTIONS"};

static bool
is_given(const struct config_variable *extra, size_t extra_count, const char *name)
{
	for (size_t i = 0; i < extra_count; i++) {
		if (strcmp(extra[i].name, name) == 0)
			return true;
	}
	return false;
}

static bool
add(char **environment, size_t *count, const char *name, const char *value)
{
	if (asprintf(&environment[*count], "%s=%s", name, value) < 0) {
		environment[*count] = NULL;
		return false;
	}
	(*count)++;
	return true;
}

char **
process_environment(bool credentials, const struct config_variable *extra, size_t extra_count)
{
	char **list = calloc(COUNT_OF(passed) + 1 + extra_count + 1, sizeof *list);
	const char *value;
	size_t count = 0;

	if (list == NULL)
		return NULL;
	for (size_t i = 0; i < COUNT_OF(passed); i++) {
		value = getenv(passed[i]);
		if (value == NULL || is_given(extra, extra_count, passed[i]))
			continue;
		if (!add(list, &count, passed[i], value))
			goto fail;
	}
	value = getenv("CREDENTIALS_DIRECTORY");
	if (credentials && value != NULL && !add(list, &count, "CREDENTIALS_DIRECTORY", value))
		goto fail;
	for (size_t i = 0; i < extra_count; i++) {
		if (!add(list, &count, extra[i].name, extra[i].value))
			goto fail;
	}
	return list;
fail:
	process_environment_free(list);
	return NULL;
}

void
process_environment_free(char **environment)
{
	if (environment == NULL)
		return;
	for (char **p = environment; *p != NULL; p++)
		free(*p);
	free(environment);
}

/*
 * From here to exec only async-signal-safe calls. The descriptors are first moved
 * out of the way of the numbers they go to.
 */
static bool
place_descriptors(const struct process_start *start, int *report)
{
	int control, credential = -1, null;

	control = fcntl(start->control, F_DUPFD_CLOEXEC, HIGH_FD);
	*report = fcntl(*report, F_DUPFD_CLOEXEC, HIGH_FD);
	if (start->credential >= 0)
		credential = fcntl(start->credential, F_DUPFD_CLOEXEC, HIGH_FD);
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (control < 0 || *report < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(control, CONTROL_FD) < 0 || dup3(*report, REPORT_FD, O_CLOEXEC) < 0)
		return false;
	*report = REPORT_FD;
	if (start->credential >= 0 && (credential < 0 || dup2(credential, CREDENTIAL_FD) < 0))
		return false;
	if (start->credential < 0)
		(void)close(CREDENTIAL_FD);
	/* dup2 onto itself leaves the flag; only possible for standard input. */
	if (null == STDIN_FILENO && fcntl(null, F_SETFD, 0) < 0)
		return false;
	return close_range(REPORT_FD + 1, UINT_MAX, 0) == 0;
}

static bool
become_user(const struct process_start *start)
{
	struct rlimit limit;

	if (start->processes_max > 0) {
		if (getrlimit(RLIMIT_NPROC, &limit) != 0)
			return false;
		if (limit.rlim_max > start->processes_max)
			limit.rlim_max = start->processes_max;
		limit.rlim_cur = limit.rlim_max;
		if (setrlimit(RLIMIT_NPROC, &limit) != 0)
			return false;
	}
	if (start->identity == NULL)
		return true;
	return identity_assume(start->identity) && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0;
}

static NORETURN void
become(const struct process_start *start, int report, pid_t parent)
{
	struct sigaction standard = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int number = 1; number < NSIG; number++)
		(void)sigaction(number, &standard, NULL);
	if (!place_descriptors(start, &report) || !become_user(start))
		goto fail;
	/* After the change of user, which takes it away. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		goto fail;
	/* The parent may have died before the kernel was told. */
	if (getppid() != parent)
		_exit(127);
	(void)sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) < 0)
		goto fail;
	(void)execve(start->program, start->argv, start->environment);
fail:
	(void)!write(report, &errno, sizeof errno);
	_exit(127);
}

/* False: nothing came in time. Between the change of user and exec, whoever has that user may
 * stop the child with a signal; that must not stop us. */
static bool
wait_for_report(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int64_t end = monotonic_ms() + PROCESS_START_MS, left;
	int n;

	do {
		left = end - monotonic_ms();
		n = poll(&p, 1, left > 0 ? (int)left : 0);
	} while (n < 0 && errno == EINTR);
	return n != 0;
}

/* 0 when exec worked (close-on-exec gave us the end of file), else errno. */
static int
read_report(int fd, pid_t child)
{
	int code = 0;
	ssize_t n;

	if (!wait_for_report(fd)) {
		(void)kill(child, SIGKILL);
		return ETIMEDOUT;
	}
	do {
		n = read(fd, &code, sizeof code);
	} while (n < 0 && errno == EINTR);
	return n == (ssize_t)sizeof code ? code : 0;
}

static bool
cannot_start(const struct process_start *start, struct error *err)
{
	if (start->identity == NULL)
		return error_set_errno(err, ERROR_SYSTEM, "cannot start %s", start->program);
	return error_set_errno(
	    err, ERROR_SYSTEM, "cannot start %s as user %s", start->program, start->identity->name);
}

bool
process_start(const struct process_start *start, pid_t *pid, struct error *err)
{
	pid_t parent = getpid(), child;
	sigset_t all, before;
	int report[2];
	int code;

	if (pipe2(report, O_CLOEXEC) < 0)
		return cannot_start(start, err);
	/* No handler of ours may run in the child before it reset them. */
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	child = fork();
	if (child == 0)
		become(start, report[1], parent);
	code = errno;
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	(void)close(report[1]);
	if (child > 0)
		code = read_report(report[0], child);
	(void)close(report[0]);
	if (child > 0 && code == 0) {
		*pid = child;
		return true;
	}
	if (child > 0)
		(void)waitpid(child, NULL, 0);
	errno = code;
	return cannot_start(start, err);
}

bool
process_spawn(const char *program, char *const argv[], char *const environment[], int control,
    pid_t *pid, struct error *err)
{
	const struct process_start start = {.program = program,
	    .argv = argv,
	    .environment = environment,
	    .control = control,
	    .credential = -1};

	return process_start(&start, pid, err);
}
