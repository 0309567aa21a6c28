/* Kind "command": see command.h. */

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/core/encode.h"
#include "daemon/core/process.h"
#include "daemon/publish/command.h"
#include "daemon/publish/credential.h"
#include "daemon/publish/fetch.h"
#include "daemon/publish/target.h"

#define PIECE 65536
#define SAID_MAX 400 /* octets of its standard error that are told */
#define GRACE_MS 500 /* between its end and ours */
#define STEP_MS 50   /* between two looks whether it has ended */

bool
command_path(const char *folder, const char *name, char *out, size_t size, struct error *err)
{
	int n;

	if (!credential_name_is_good(name))
		return error_set(err, ERROR_INPUT,
		    "'%s' is no plain file name of a program: letters, digits and ._- only", name);
	if (folder == NULL || folder[0] == '\0')
		return error_set(err, ERROR_CONFIG,
		    "the program '%s' is wanted, but the configuration has no issuer.commands_dir",
		    name);
	n = snprintf(out, size, "%s/%s", folder, name);
	if (n < 0 || (size_t)n >= size)
		return error_set(err, ERROR_LIMIT, "the path of program '%s' is too long", name);
	return true;
}

/* A program under way. */
struct run {
	const struct target_work *work;
	pid_t pid; /* 0: ended */
	int status;
	int in, out; /* our ends; -1: closed */
	off_t sent;
	char said[SAID_MAX];
	size_t said_len;
};

static void
close_end(int *fd)
{
	if (*fd >= 0)
		(void)close(*fd);
	*fd = -1;
}

/* Who may change the program may do what the issuer may. */
static bool
check_program(const char *path, struct error *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return error_set_errno(err, ERROR_CONFIG, "the program %s", path);
	if (!S_ISREG(st.st_mode) || (st.st_mode & 0111) == 0)
		return error_set(err, ERROR_CONFIG, "%s is no program that can be run", path);
	if ((st.st_mode & 022) != 0 || (st.st_uid != 0 && st.st_uid != geteuid()))
		return error_set(err, ERROR_CONFIG,
		    "%s can be changed by others than root and uid %u; take that right away", path,
		    (unsigned)geteuid());
	return true;
}

/* In the child; never returns. */
static void
become(const char *path, char *const argv[], char *const environment[], int in, int out)
{
	/* Nothing of ours outlives the courier. */
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && dup2(in, STDIN_FILENO) >= 0 &&
	    dup2(out, STDOUT_FILENO) >= 0 && dup2(out, STDERR_FILENO) >= 0) {
		for (int fd = STDERR_FILENO + 1; fd < 64; fd++)
			(void)close(fd);
		(void)signal(SIGPIPE, SIG_DFL);
		(void)execve(path, argv, environment);
	}
	_exit(126);
}

static bool
spawn(struct run *r, char *const argv[], struct error *err)
{
	char **environment = process_environment(false, NULL, 0);
	int in[2] = {-1, -1}, out[2] = {-1, -1};
	bool ok = false;

	if (environment == NULL || pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0) {
		error_set_errno(err, ERROR_SYSTEM, "pipes for %s", argv[0]);
		goto out;
	}
	r->pid = fork();
	if (r->pid < 0) {
		r->pid = 0;
		error_set_errno(err, ERROR_SYSTEM, "starting %s", argv[0]);
		goto out;
	}
	if (r->pid == 0)
		become(argv[0], argv, environment, in[0], out[1]);
	r->in = in[1];
	r->out = out[0];
	in[1] = out[0] = -1;
	if (fcntl(r->in, F_SETFL, O_NONBLOCK) < 0 || fcntl(r->out, F_SETFL, O_NONBLOCK) < 0) {
		error_set_errno(err, ERROR_SYSTEM, "pipes for %s", argv[0]);
		goto out;
	}
	ok = true;
out:
	for (size_t i = 0; i < 2; i++) {
		close_end(&in[i]);
		close_end(&out[i]);
	}
	process_environment_free(environment);
	return ok;
}

static bool
send_more(struct run *r, struct error *err)
{
	uint8_t piece[PIECE];
	ssize_t have, n;

	have = pread(r->work->artifact_fd, piece, sizeof piece, r->sent);
	if (have < 0)
		return errno == EINTR || error_set_errno(err, ERROR_SYSTEM, "reading the artifact");
	if (have == 0) {
		close_end(&r->in);
		return true;
	}
	n = write(r->in, piece, (size_t)have);
	if (n > 0)
		r->sent += n;
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		close_end(&r->in); /* it reads no more; its status says whether that is well */
	return true;
}

/* Keeps the beginning of what it says, and lets the rest go. */
static void
listen_to(struct run *r)
{
	char text[1024];
	ssize_t n = read(r->out, text, sizeof text);
	size_t room = sizeof r->said - 1 - r->said_len;

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		close_end(&r->out);
	for (ssize_t i = 0; i < n && room > 0; i++, room--)
		r->said[r->said_len++] = (unsigned char)text[i] < 0x20 ||
						 (unsigned char)text[i] > 0x7e
					     ? ' '
					     : text[i];
}

/* Until it has ended, or its time has. */
static bool
attend(struct run *r, struct error *err)
{
	while (r->pid != 0) {
		struct pollfd fds[2] = {{r->in, POLLOUT, 0}, {r->out, POLLIN, 0}};
		pid_t pid;

		if (target_left_ms(r->work) <= GRACE_MS)
			return error_set(
			    err, ERROR_TIMEOUT, "the program did not end in time and was killed");
		(void)poll(fds, 2, STEP_MS);
		if (r->in >= 0 && fds[0].revents != 0 && !send_more(r, err))
			return false;
		if (r->out >= 0 && fds[1].revents != 0)
			listen_to(r);
		pid = waitpid(r->pid, &r->status, WNOHANG);
		if (pid == r->pid)
			r->pid = 0;
	}
	while (r->out >= 0 && r->said_len < sizeof r->said - 1) {
		size_t before = r->said_len;

		listen_to(r);
		if (r->said_len == before)
			break;
	}
	return true;
}

static bool
judge(const struct run *r, const char *path, struct error *err)
{
	const char *colon = r->said_len > 0 ? ": " : "";

	if (WIFEXITED(r->status) && WEXITSTATUS(r->status) == 0)
		return true;
	if (WIFSIGNALED(r->status))
		return error_set(err, ERROR_UNAVAILABLE, "%s died of signal %d%s%s%s", path,
		    WTERMSIG(r->status),
		    WTERMSIG(r->status) == SIGSYS ? " (a system call that the sandbox forbids)"
						  : "",
		    colon, r->said);
	return error_set(err, ERROR_UNAVAILABLE, "%s ended with status %d%s%s", path,
	    WEXITSTATUS(r->status), colon, r->said);
}

static bool
command_put(const struct target_work *work, struct error *err)
{
	const struct publish_job *job = work->job;
	char path[PUBLISH_PATH_MAX], target[PUBLISH_NAME_MAX], kind[32], size[24];
	char sha256[2 * PUBLISH_SHA256_LEN + 1], read_url[PUBLISH_URL_MAX];
	char *argv[] = {path, target, kind, size, sha256, read_url, NULL};
	struct run r = {.work = work, .in = -1, .out = -1};
	bool ok;

	memcpy(path, job->command_path, sizeof path);
	memcpy(target, job->target, sizeof target);
	memcpy(read_url, job->read_url, sizeof read_url);
	(void)snprintf(kind, sizeof kind, "%s", artifact_kind_name(job->artifact));
	(void)snprintf(size, sizeof size, "%llu", (unsigned long long)job->size);
	hex_encode(job->sha256, sizeof job->sha256, sha256);
	ok = check_program(path, err) && spawn(&r, argv, err) && attend(&r, err) &&
	     judge(&r, path, err);
	if (r.pid > 0) {
		(void)kill(r.pid, SIGKILL);
		(void)waitpid(r.pid, NULL, 0);
	}
	close_end(&r.in);
	close_end(&r.out);
	return ok;
}

/* Where it goes only the program knows; what stands there, clients see. */
static bool
command_look(
    const struct target_work *work, uint64_t max, const struct fetch_sink *sink, struct error *err)
{
	return error_set(err, ERROR_UNAVAILABLE, "a command's place cannot be read");
}

const struct target_driver target_command = {"command", command_put, command_look};
