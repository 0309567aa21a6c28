/*
 * The writer: what it writes and what not, and that nothing is written any more when its
 * life line has ended. The test plays supervisor, issuer and courier of a real one.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/core/control.h"
#include "daemon/core/sandbox.h"
#include "daemon/publish/job.h"
#include "daemon/publish/outbox.h"
#include "daemon/publish/writer.h"
#include "daemon/publish/writer_work.h"
#include "daemon/publish/writers.h"

#define PATIENCE_MS 60000
#define USER "somebody"

static char folder[64], other[64];

struct scene {
	pid_t writer;
	int control; /* the supervisor's end */
	struct writers *issuer;
};

/* What a courier has: its end of the socket; and the issuer's life line. */
struct call {
	int socket, life;
};

/* ---- the supervisor */

static void
send_control(int fd, enum control_type type, int passed)
{
	union {
		char space[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} ancillary = {{0}};
	struct control_message m = {.type = type, .text = USER, .fd = passed};
	struct msghdr h = {0};
	struct error err = ERROR_INIT;
	struct wire_writer w;
	struct iovec iov;
	struct cmsghdr *c;

	wire_writer_init(&w, CONTROL_FRAME_MAX);
	assert_true(control_encode(&m, &w, &err));
	iov = (struct iovec){w.buf, w.len};
	h.msg_iov = &iov;
	h.msg_iovlen = 1;
	if (passed >= 0) {
		h.msg_control = ancillary.space;
		h.msg_controllen = sizeof ancillary.space;
		c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &passed, sizeof passed);
	}
	assert_int_equal(sendmsg(fd, &h, MSG_NOSIGNAL), w.len);
	wire_writer_free(&w);
}

/* A fresh channel between the writer and an issuer. */
static void
connect_issuer(struct scene *s)
{
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	send_control(s->control, CONTROL_WRITER_CHANNEL, pair[0]);
	close(pair[0]);
	writers_free(s->issuer);
	s->issuer = writers_new();
	assert_non_null(s->issuer);
	writers_take(s->issuer, USER, pair[1]);
}

static int
set_up(void **state)
{
	static struct scene s;
	char *directories[] = {folder};
	int pair[2];

	(void)snprintf(folder, sizeof folder, "/tmp/chancery-writer-XXXXXX");
	(void)snprintf(other, sizeof other, "/tmp/chancery-other-XXXXXX");
	if (mkdtemp(folder) == NULL || mkdtemp(other) == NULL ||
	    setenv(SANDBOX_VARIABLE, "best-effort", 1) != 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return -1;
	s = (struct scene){.control = pair[0], .writer = fork()};
	if (s.writer == 0) {
		/* In its place, as exec leaves it. */
		if (dup2(pair[1], CONTROL_FD) < 0)
			_exit(1);
		(void)close_range(CONTROL_FD + 1, ~0U, 0);
		_exit(writer_main("writer-" USER, CONTROL_FD, directories, 1));
	}
	close(pair[1]);
	connect_issuer(&s);
	*state = &s;
	return s.writer > 0 ? 0 : -1;
}

static int
tear_down(void **state)
{
	struct scene *s = *state;
	char command[160];

	writers_free(s->issuer);
	(void)close(s->control);
	if (s->writer > 0) {
		(void)kill(s->writer, SIGKILL);
		(void)waitpid(s->writer, NULL, 0);
	}
	(void)snprintf(command, sizeof command, "rm -rf %s %s", folder, other);
	return system(command);
}

/* ---- issuer and courier */

static struct call
call(struct scene *s)
{
	struct error err = ERROR_INIT;
	int pair[2], life[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(pipe2(life, O_CLOEXEC), 0);
	for (int i = 0; !writers_call(s->issuer, USER, pair[1], life[1], &err); i++) {
		/* Faster than it reads. */
		if (strstr(err.text, "takes no more orders") == NULL || i == PATIENCE_MS)
			fail_msg("%s", err.text);
		error_clear(&err);
		(void)poll(NULL, 0, 1);
	}
	close(pair[1]);
	close(life[1]);
	return (struct call){pair[0], life[0]};
}

static int
file_of(const void *data, size_t len)
{
	int fd = memfd_create("artifact", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, data, len), len);
	return fd;
}

static struct publish_job *
job_for(const char *directory, size_t size)
{
	static struct publish_job job;

	job = (struct publish_job){.kind = TARGET_FILE, .mode = 0604, .size = size};
	(void)snprintf(job.target, sizeof job.target, "demo/web");
	(void)snprintf(job.writer, sizeof job.writer, USER);
	(void)snprintf(job.write_url, sizeof job.write_url, "%s/a.crl", directory);
	return &job;
}

static int
job_file(const struct publish_job *job)
{
	int fd = memfd_create("job", MFD_CLOEXEC);
	struct error err = ERROR_INIT;
	struct wire_writer w;

	wire_writer_init(&w, PUBLISH_FRAME_MAX);
	publish_job_encode(job, &w);
	assert_true(fd >= 0 && publish_frame_write(fd, &w, &err));
	wire_writer_free(&w);
	return fd;
}

static bool
ask(struct call c, const struct publish_job *job, int artifact, struct error *err)
{
	struct target_writer way = {.socket = c.socket, .job = job_file(job)};
	struct target_work work = {.job = job, .artifact_fd = artifact, .writer = &way};
	bool ok = target_file.put(&work, err);

	close(way.job);
	return ok;
}

/* The writer's only process. */
static pid_t
child_of(pid_t writer)
{
	char path[64], text[64] = "", *end;
	pid_t child;
	FILE *f;

	(void)snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)writer, (int)writer);
	f = fopen(path, "re");
	assert_non_null(f);
	assert_non_null(fgets(text, sizeof text, f));
	(void)fclose(f);
	child = (pid_t)strtol(text, &end, 10);
	if (end[strspn(end, " ")] != '\0')
		fail_msg("more than one process: %s", text);
	return child;
}

/* The other side's end, which certainly comes. */
static void
wait_end(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char octet;

	assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
	assert_int_equal(read(fd, &octet, 1), 0);
}

static bool
has_ended(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

/* A process that has taken its job and does not get on: it reads the job from a pipe. Only
 * when it has is the pipe empty. */
static int
hang(struct call c)
{
	struct error err = ERROR_INIT;
	int p[2], fds[2], left = 1;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	fds[0] = p[0];
	fds[1] = p[0];
	assert_int_equal(write(p[1], "", 1), 1);
	assert_true(publish_descriptors_send(c.socket, fds, 2, &err));
	for (int i = 0; left > 0 && i < PATIENCE_MS; i++) {
		(void)poll(NULL, 0, 1);
		assert_int_equal(ioctl(p[0], FIONREAD, &left), 0);
	}
	assert_int_equal(left, 0);
	close(p[0]);
	return p[1];
}

static void
let_go(struct call c)
{
	close(c.socket);
	close(c.life);
}

/* ---- */

static void
it_writes_what_it_is_asked_for(void **state)
{
	struct error err = ERROR_INIT;
	char path[128], got[16] = "";
	struct call c = call(*state);
	int artifact = file_of("a list", 6), fd;
	struct stat st;

	if (!ask(c, job_for(folder, 6), artifact, &err))
		fail_msg("%s", err.text);
	wait_end(c.life);
	let_go(c);
	(void)snprintf(path, sizeof path, "%s/a.crl", folder);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(read(fd, got, sizeof got), 6);
	assert_memory_equal(got, "a list", 6);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0604);
	close(fd);
	close(artifact);
}

static void
it_writes_nothing_elsewhere(void **state)
{
	struct publish_job *job = job_for(other, 1);
	struct target_writer way = {-1, -1};
	int artifact = file_of("x", 1);
	struct error err = ERROR_INIT;
	struct call c = call(*state);

	assert_false(ask(c, job, artifact, &err));
	assert_non_null(strstr(err.text, "lies in no directory of issuer.publish_dirs"));
	wait_end(c.life);
	let_go(c);
	/* Nor is it one for anything but files. */
	job = job_for(folder, 1);
	job->kind = TARGET_COMMAND;
	(void)snprintf(job->command_path, sizeof job->command_path, "/bin/true");
	c = call(*state);
	err = ERROR_INIT;
	way = (struct target_writer){.socket = c.socket, .job = job_file(job)};
	assert_false(writer_ask(
	    &(struct target_work){.job = job, .artifact_fd = artifact, .writer = &way}, &err));
	assert_non_null(strstr(err.text, "nothing but files"));
	close(way.job);
	let_go(c);
	/* What it finds comes as its words. */
	assert_int_equal(rmdir(folder), 0);
	c = call(*state);
	err = ERROR_INIT;
	assert_false(ask(c, job_for(folder, 1), artifact, &err));
	assert_int_equal(err.code, ERROR_NOT_FOUND);
	assert_non_null(strstr(err.text, "does not exist"));
	let_go(c);
	close(artifact);
	assert_int_equal(mkdir(folder, 0700), 0);
}

/* An issuer that was taken over gets no file that runs as its owner, and no endless one. */
static void
it_makes_nothing_but_plain_files(void **state)
{
	static const uint16_t modes[] = {04755, 02664, 0755, 01666};
	int artifact = file_of("#!/bin/sh", 9), endless = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	struct publish_job *job;
	struct error err;
	char path[128];
	struct call c;

	for (size_t i = 0; i < COUNT_OF(modes); i++) {
		job = job_for(folder, 9);
		job->mode = modes[i];
		c = call(*state);
		err = ERROR_INIT;
		assert_false(ask(c, job, artifact, &err));
		assert_non_null(strstr(err.text, "ended before it was done"));
		let_go(c);
	}
	for (int i = 0; i < 2; i++) {
		c = call(*state);
		err = ERROR_INIT;
		assert_false(ask(c, job_for(folder, 8), i == 0 ? artifact : endless, &err));
		assert_non_null(strstr(err.text, "not of its size"));
		let_go(c);
	}
	(void)snprintf(path, sizeof path, "%s/a.crl", folder);
	assert_int_equal(access(path, F_OK), -1);
	close(artifact);
	close(endless);
}

/* One that was taken over: it fails and has no words. */
static void
a_failure_always_has_a_reason(void **state)
{
	const struct publish_result results[] = {{.outcome = PUBLISH_FAILED},
	    {.outcome = PUBLISH_NOWHERE}, {.outcome = PUBLISH_FAILED, .error.code = ERROR_INPUT}};
	int artifact = file_of("x", 1), pair[2];
	struct error err;
	struct wire_writer w;

	for (size_t i = 0; i < COUNT_OF(results); i++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		wire_writer_init(&w, PUBLISH_RESULT_MAX);
		publish_result_encode(&results[i], &w);
		err = ERROR_INIT;
		assert_true(publish_frame_write(pair[1], &w, &err));
		wire_writer_free(&w);
		assert_false(ask((struct call){pair[0], -1}, job_for(folder, 1), artifact, &err));
		assert_non_null(strstr(err.text, "does not say why"));
		close(pair[0]);
		close(pair[1]);
	}
	close(artifact);
}

/* Its sandbox would keep it out of another directory in that place: it ends, after saying so,
 * and the supervisor starts it anew. */
static void
for_another_directory_it_starts_anew(void **state)
{
	struct error err = ERROR_INIT;
	int artifact = file_of("x", 1), status = -1;
	struct scene *s = *state;
	struct call c = call(s);

	/* Until then it has not looked yet. */
	if (!ask(c, job_for(folder, 1), artifact, &err))
		fail_msg("%s", err.text);
	let_go(c);
	assert_int_equal(rename(folder, other), 0);
	assert_int_equal(mkdir(folder, 0700), 0);
	c = call(s);
	assert_false(ask(c, job_for(folder, 1), artifact, &err));
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "starts anew for it"));
	assert_int_equal(waitpid(s->writer, &status, 0), s->writer);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	s->writer = 0;
	let_go(c);
	close(artifact);
}

static void
with_its_courier_a_process_ends(void **state)
{
	struct call c = call(*state), idle;
	int job = hang(c);

	idle = call(*state);
	assert_false(has_ended(c.life));
	close(c.socket);
	wait_end(c.life);
	close(c.life);
	/* One that was never asked for anything, and others live on. */
	assert_false(has_ended(idle.life));
	close(idle.socket);
	wait_end(idle.life);
	close(idle.life);
	close(job);
}

/* A process that does not end, as with a file system that is dead: nothing is written after
 * it before it has. A tracer that holds up its end stands for it. */
static void
what_does_not_end_holds_up_the_rest(void **state)
{
	struct error err = ERROR_INIT;
	struct scene *s = *state;
	struct call stuck = call(s), c;
	int artifact = file_of("new", 3), job = hang(stuck), status;
	pid_t worker = child_of(s->writer);

	if (ptrace(PTRACE_SEIZE, worker, 0, PTRACE_O_TRACEEXIT) != 0) {
		/* Not every machine lets us look into others. */
		assert_true(errno == EPERM || errno == ENOSYS);
		skip();
	}
	close(stuck.socket);
	assert_int_equal(waitpid(worker, &status, __WALL), worker);
	assert_int_equal(status >> 8, SIGTRAP | PTRACE_EVENT_EXIT << 8);
	c = call(s);
	(void)poll(NULL, 0, 50);
	assert_int_equal(child_of(s->writer), worker);
	assert_false(has_ended(stuck.life));
	assert_int_equal(ptrace(PTRACE_DETACH, worker, 0, 0), 0);
	wait_end(stuck.life);
	if (!ask(c, job_for(folder, 3), artifact, &err))
		fail_msg("%s", err.text);
	let_go(c);
	close(stuck.life);
	close(job);
	close(artifact);
}

/* The next issuer finds nothing of the one before still at work. */
static void
with_the_issuer_all_end_first(void **state)
{
	struct error err = ERROR_INIT;
	struct scene *s = *state;
	struct call before = call(s), c;
	int artifact = file_of("new", 3), job = hang(before);

	connect_issuer(s);
	c = call(s);
	if (!ask(c, job_for(folder, 3), artifact, &err))
		fail_msg("%s", err.text);
	assert_true(has_ended(before.life));
	wait_end(c.life);
	let_go(c);
	let_go(before);
	close(job);
	/* It goes, and nobody comes. */
	before = call(s);
	job = hang(before);
	writers_free(s->issuer);
	s->issuer = NULL;
	wait_end(before.life);
	let_go(before);
	close(job);
	close(artifact);
}

static void
with_the_writer_all_end(void **state)
{
	struct error err = ERROR_INIT;
	struct scene *s = *state;
	struct call c = call(s);
	int job = hang(c), pair[2];

	assert_int_equal(kill(s->writer, SIGKILL), 0);
	assert_int_equal(waitpid(s->writer, NULL, 0), s->writer);
	s->writer = 0;
	wait_end(c.life);
	wait_end(c.socket);
	let_go(c);
	close(job);
	assert_int_equal(pipe(pair), 0);
	assert_false(writers_call(s->issuer, USER, pair[0], pair[1], &err));
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "writer-" USER));
	err = ERROR_INIT;
	assert_false(writers_call(s->issuer, "nobody-else", pair[0], pair[1], &err));
	close(pair[0]);
	close(pair[1]);
}

static void
told_to_stop_it_finishes_what_it_has(void **state)
{
	struct scene *s = *state;
	struct call c = call(s);
	int job = hang(c), status = -1;

	send_control(s->control, CONTROL_DRAIN, -1);
	close(c.socket);
	wait_end(c.life);
	close(c.life);
	close(job);
	assert_int_equal(waitpid(s->writer, &status, 0), s->writer);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	s->writer = 0;
}

/* One that was stopped, which whoever has its user may do. */
static void
who_does_not_read_is_asked_no_more(void **state)
{
	int artifact = file_of("new", 3), pair[2], taken[64];
	struct error err = ERROR_INIT;
	struct scene *s = *state;
	size_t count = 0;
	struct call c;

	assert_int_equal(kill(s->writer, SIGSTOP), 0);
	for (;; count++) {
		assert_true(count < COUNT_OF(taken));
		assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
		if (!writers_call(s->issuer, USER, pair[0], pair[1], &err))
			break;
		taken[count] = pair[0];
		close(pair[1]);
	}
	assert_in_range(count, OUTBOX_COURIERS_MAX, 4 * OUTBOX_COURIERS_MAX);
	assert_int_equal(err.code, ERROR_UNAVAILABLE);
	assert_non_null(strstr(err.text, "takes no more orders"));
	close(pair[0]);
	close(pair[1]);
	/* It goes on, and takes what there is. */
	assert_int_equal(kill(s->writer, SIGCONT), 0);
	while (count > 0) {
		wait_end(taken[--count]);
		close(taken[count]);
	}
	c = call(s);
	err = ERROR_INIT;
	if (!ask(c, job_for(folder, 3), artifact, &err))
		fail_msg("%s", err.text);
	let_go(c);
	close(artifact);
}

static void
there_is_an_end_to_how_many(void **state)
{
	struct call c[40];
	size_t ended = 0;

	for (size_t i = 0; i < COUNT_OF(c); i++)
		c[i] = call(*state);
	wait_end(c[COUNT_OF(c) - 1].life);
	for (size_t i = 0; i < COUNT_OF(c); i++) {
		ended += has_ended(c[i].life);
		let_go(c[i]);
	}
	assert_in_range(ended, 8, COUNT_OF(c) - 8);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(it_writes_what_it_is_asked_for, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(it_writes_nothing_elsewhere, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(it_makes_nothing_but_plain_files, set_up, tear_down),
	    cmocka_unit_test(a_failure_always_has_a_reason),
	    cmocka_unit_test_setup_teardown(
		for_another_directory_it_starts_anew, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(with_its_courier_a_process_ends, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(what_does_not_end_holds_up_the_rest, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(with_the_issuer_all_end_first, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(with_the_writer_all_end, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(
		told_to_stop_it_finishes_what_it_has, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(who_does_not_read_is_asked_no_more, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(there_is_an_end_to_how_many, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
