/*
 * Each profile entered for real, in a child: what it forbids is tried and must
 * fail or end the process, what a role lives on must go on working. Where the
 * kernel has no Landlock, what only Landlock forbids is left out, and said so.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <event2/event.h>

#include "daemon/core/sandbox.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static char dir[] = "/tmp/chancery-sandbox-XXXXXX";
static unsigned landlock;
static int listener;
static uint16_t listening_port, other_port;
static int other_listener;

static const char *
in_dir(const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof path, "%s/%s", dir, name);
	return path;
}

/* ---- what is tried: -1 with errno, or else it worked */

static long
try_ptrace(void)
{
	return ptrace(PTRACE_ATTACH, getppid(), NULL, NULL);
}

static long
try_read_memory(void)
{
	char here[16];
	struct iovec ours = {here, sizeof here}, theirs = {here, sizeof here};

	return process_vm_readv(getppid(), &ours, 1, &theirs, 1, 0);
}

static long
try_exec(void)
{
	char name[] = "true", *argv[] = {name, NULL}, *none[] = {NULL};

	return execve("/bin/true", argv, none);
}

static long
try_execveat(void)
{
	char name[] = "true", *argv[] = {name, NULL}, *none[] = {NULL};

	return syscall(SYS_execveat, AT_FDCWD, "/bin/true", argv, none, 0);
}

static long
try_fork(void)
{
	pid_t child = fork();

	if (child == 0)
		_exit(0);
	return child > 0 ? waitpid(child, NULL, 0) : -1;
}

static void *
say_yes(void *arg)
{
	return arg;
}

static long
try_thread(void)
{
	pthread_t thread;
	void *answer = NULL;

	errno = pthread_create(&thread, NULL, say_yes, dir);
	if (errno != 0 || (errno = pthread_join(thread, &answer)) != 0)
		return -1;
	return answer == dir ? 0 : -1;
}

static long
try_unshare(void)
{
	return unshare(CLONE_NEWUSER);
}

static long
try_clone_namespace(void)
{
	long child = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0);

	if (child == 0)
		_exit(0);
	return child;
}

static long
try_clone3(void)
{
	return syscall(SYS_clone3, NULL, 0);
}

static long
try_mount(void)
{
	return mount("none", dir, "tmpfs", 0, NULL);
}

static long
try_bpf(void)
{
	return syscall(SYS_bpf, 0, NULL, 0);
}

static long
try_keyctl(void)
{
	return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);
}

static long
try_perf(void)
{
	return syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0);
}

static long
try_userfaultfd(void)
{
	return syscall(SYS_userfaultfd, 0);
}

static long
try_load_kernel_module(void)
{
	return syscall(SYS_init_module, NULL, 0, "");
}

static long
try_kexec(void)
{
	return syscall(SYS_kexec_load, 0, 0, NULL, 0);
}

static long
try_io_uring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL);
}

static long
try_chroot(void)
{
	return chroot(dir);
}

static long
try_setuid(void)
{
	return syscall(SYS_setuid, getuid());
}

static long
try_socket(int family)
{
	return socket(family, SOCK_DGRAM, 0);
}

static long
try_internet(void)
{
	return try_socket(AF_INET);
}

static long
try_internet6(void)
{
	return try_socket(AF_INET6);
}

static long
try_local(void)
{
	return try_socket(AF_UNIX);
}

static long
try_netlink(void)
{
	return socket(AF_NETLINK, SOCK_RAW, 0);
}

static long
try_packet(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0);
}

static long
try_kernel_crypto(void)
{
	return socket(AF_ALG, SOCK_SEQPACKET, 0);
}

static long
try_vsock(void)
{
	return socket(AF_VSOCK, SOCK_STREAM, 0);
}

static long
try_family_in_disguise(void)
{
	return syscall(SYS_socket, 1ULL << 32 | AF_INET, SOCK_DGRAM, 0);
}

static long
try_listen(void)
{
	int pair[2];

	return socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 ? listen(pair[0], 1) : -1;
}

static long
try_socketpair(void)
{
	char byte = 0;
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) != 0 || write(pair[0], "x", 1) != 1)
		return -1;
	return read(pair[1], &byte, 1) == 1 && byte == 'x' ? 0 : -1;
}

static long
connect_to(uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
	    .sin_port = htons(port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd < 0 ? -1 : connect(fd, (struct sockaddr *)&to, sizeof to);
}

static long
try_the_port(void)
{
	return connect_to(listening_port);
}

static long
try_another_port(void)
{
	return connect_to(other_port);
}

static long
try_writable_code(void)
{
	void *p = mmap(
	    NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -1 : 0;
}

static long
try_code_of_data(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? -2 : mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static long
try_memory(void)
{
	char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mlock(p, 4096) != 0 || madvise(p, 4096, MADV_DONTDUMP) != 0)
		return -1;
	p[0] = 1;
	return mprotect(p, 4096, PROT_READ) == 0 ? munmap(p, 1 << 20) : -1;
}

static long
open_close(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0600);

	return fd < 0 ? -1 : close(fd);
}

static long
try_reading(void)
{
	return open_close(in_dir("readable/file"), O_RDONLY);
}

static long
try_listing(void)
{
	return open_close(in_dir("readable"), O_RDONLY | O_DIRECTORY);
}

static long
try_system_file(void)
{
	return open_close("/etc/passwd", O_RDONLY);
}

static long
try_foreign_file(void)
{
	return open_close(in_dir("foreign/file"), O_RDONLY);
}

static long
try_foreign_directory(void)
{
	return open_close(in_dir("foreign"), O_RDONLY | O_DIRECTORY);
}

static long
try_way_round(void)
{
	return open_close(in_dir("readable/../foreign/file"), O_RDONLY);
}

static long
try_link_out(void)
{
	return open_close(in_dir("writable/link"), O_RDONLY);
}

static long
try_foreign_writing(void)
{
	return open_close(in_dir("foreign/file"), O_WRONLY);
}

static long
try_writing_where_reading_is_allowed(void)
{
	return open_close(in_dir("readable/file"), O_WRONLY);
}

static long
try_foreign_making(void)
{
	return open_close(in_dir("foreign/new"), O_WRONLY | O_CREAT);
}

static long
try_foreign_removing(void)
{
	return unlink(in_dir("foreign/removable"));
}

static long
try_moving_out(void)
{
	char from[128];

	(void)snprintf(from, sizeof from, "%s/writable/file", dir);
	return rename(from, in_dir("foreign/file2"));
}

static long
try_files(void)
{
	char from[128];
	int fd = open(in_dir("writable/new"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fd < 0 || write(fd, "abc", 3) != 3 || fdatasync(fd) != 0 ||
	    fcntl(fd, F_SETLK, &lock) != 0 || ftruncate(fd, 1) != 0 || close(fd) != 0)
		return -1;
	(void)snprintf(from, sizeof from, "%s/writable/new", dir);
	if (rename(from, in_dir("writable/newer")) != 0 || mkdir(in_dir("writable/d"), 0700) != 0)
		return -1;
	return rmdir(in_dir("writable/d")) == 0 ? unlink(in_dir("writable/newer")) : -1;
}

static long
try_null(void)
{
	return open_close("/dev/null", O_WRONLY);
}

static long
try_own_limits(void)
{
	struct rlimit limit;

	return getrlimit(RLIMIT_NOFILE, &limit);
}

static long
try_limits_of_others(void)
{
	struct rlimit limit;

	return prlimit(getppid(), RLIMIT_NOFILE, NULL, &limit);
}

static long
try_signal_to_others(void)
{
	return kill(getppid(), 0);
}

static long
try_dumpable(void)
{
	return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
}

static long
try_terminal(void)
{
	char c = 'x';

	return ioctl(STDIN_FILENO, 0x5412 /* TIOCSTI: types for the user */, &c);
}

static long
try_handler(void)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};

	return sigaction(SIGSYS, &ignore, NULL);
}

static long
try_other_handler(void)
{
	return signal(SIGUSR1, SIG_IGN) == SIG_ERR ? -1 : raise(SIGUSR1);
}

static void
stop_loop(evutil_socket_t fd, short what, void *arg)
{
	(void)event_base_loopbreak(arg);
}

static long
try_event_loop(void)
{
	struct event_base *base = event_base_new();
	struct timeval soon = {.tv_usec = 1000};
	struct event *signal_event, *timer;
	long result;

	if (base == NULL)
		return -1;
	signal_event = evsignal_new(base, SIGUSR2, stop_loop, base);
	timer = evtimer_new(base, stop_loop, base);
	result = evsignal_add(signal_event, NULL) == 0 && evtimer_add(timer, &soon) == 0 &&
			 event_base_dispatch(base) >= 0
		     ? 0
		     : -1;
	event_free(signal_event);
	event_free(timer);
	event_base_free(base);
	return result;
}

/* ---- what must come of it, by profile */

enum outcome {
	WORKS,
	DENIED, /* EPERM or EACCES */
	ABSENT, /* ENOSYS */
	KILLED, /* SIGSYS */
	ODD,	/* any other error */
};

/* How a line of the table says so: their first letters; and
 *   D  denied by Landlock alone, G: by a Landlock that knows of signals
 *   K  killed; in a build with a sanitizer, whose runtime makes such calls, anything
 *   R  the same for denied
 *   *  denied or not: the kernel does not look at these bits */
static const struct trial {
	const char *name;
	long (*run)(void);
	const char *expected; /* softhsm, issuer, courier, writer, front, module */
} trials[] = {
    {"ptrace", try_ptrace, "KKKKKR"},
    {"process_vm_readv", try_read_memory, "KKKKKd"},
    {"execve", try_exec, "kDkkkd"},
    {"execveat", try_execveat, "kkkkkd"},
    {"fork", try_fork, "KwKwKw"},
    {"a thread", try_thread, "wwwwww"},
    {"unshare", try_unshare, "kkkkkd"},
    {"a clone in new namespaces", try_clone_namespace, "KKKKKd"},
    {"clone3", try_clone3, "aaaaaa"},
    {"mount", try_mount, "kkkkkd"},
    {"bpf", try_bpf, "kkkkkd"},
    {"keyctl", try_keyctl, "kkkkkd"},
    {"perf_event_open", try_perf, "kkkkkd"},
    {"userfaultfd", try_userfaultfd, "kkkkkd"},
    {"init_module", try_load_kernel_module, "kkkkkd"},
    {"kexec_load", try_kexec, "kkkkkd"},
    {"io_uring_setup", try_io_uring, "aaaaaa"},
    {"chroot", try_chroot, "kkkkkd"},
    {"setuid", try_setuid, "kkkkkw"},
    {"an internet socket", try_internet, "dwwddd"},
    {"an IPv6 socket", try_internet6, "dwwddd"},
    {"a local socket", try_local, "dwwdwd"},
    {"a netlink socket", try_netlink, "dwwddd"},
    {"a packet socket", try_packet, "dddddd"},
    {"the kernel's cryptography", try_kernel_crypto, "dddddd"},
    {"a socket to the hypervisor", try_vsock, "dddddd"},
    {"a family with upper bits", try_family_in_disguise, "d**ddd"},
    {"listen", try_listen, "kkkkko"},
    {"a pair of sockets", try_socketpair, "wwwwww"},
    {"memory to write and execute", try_writable_code, "dddddw"},
    {"data become code", try_code_of_data, "dddddw"},
    {"memory", try_memory, "wwwwww"},
    {"a readable file", try_reading, "wwwwww"},
    {"a readable directory", try_listing, "wwwwww"},
    {"/etc/passwd", try_system_file, "wwwwww"},
    {"somebody else's file", try_foreign_file, "DDDDDD"},
    {"somebody else's directory", try_foreign_directory, "DDDDDD"},
    {"a way round to it", try_way_round, "DDDDDD"},
    {"a link to it", try_link_out, "DDDDDD"},
    {"writing somebody else's file", try_foreign_writing, "DDDDdD"},
    {"writing what may be read", try_writing_where_reading_is_allowed, "DDDDdD"},
    {"a new file in a foreign place", try_foreign_making, "DDDDdD"},
    {"removing a foreign file", try_foreign_removing, "DDDDkD"},
    {"moving a file out", try_moving_out, "DDDDkD"},
    {"writing files in its own place", try_files, "wwwwdw"},
    {"/dev/null", try_null, "wwwwdw"},
    {"its own limits", try_own_limits, "wwwwww"},
    {"limits of others", try_limits_of_others, "dddddw"},
    {"a signal to others", try_signal_to_others, "KGKGKG"},
    {"becoming dumpable", try_dumpable, "RwRRRw"},
    {"typing at a terminal", try_terminal, "oooooo"},
    {"another handler of SIGSYS", try_handler, "kwkwkw"},
    {"handlers of other signals", try_other_handler, "wwwwww"},
    {"the event loop", try_event_loop, "wwwwww"},
};

static enum outcome
outcome_of(int status)
{
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == SIGSYS ? KILLED : ODD;
	/* The handler's last way out, where a sanitizer holds the signal back. */
	if (WEXITSTATUS(status) == 128 + SIGSYS)
		return KILLED;
	return (enum outcome)WEXITSTATUS(status);
}

static struct sandbox *
make_sandbox(enum sandbox_profile profile)
{
	struct sandbox *s = sandbox_new(
	    profile, landlock > 0 ? SANDBOX_REQUIRE : SANDBOX_BEST_EFFORT);

	sandbox_system_files(s);
	sandbox_path(s, SANDBOX_READ, in_dir("readable"));
	if (profile != SANDBOX_FRONT)
		sandbox_path(s, SANDBOX_WRITE, in_dir("writable"));
	if (profile == SANDBOX_ISSUER || profile == SANDBOX_COURIER)
		sandbox_sockets(s, true, true);
	if (profile == SANDBOX_ISSUER)
		sandbox_own_program(s);
	if (profile == SANDBOX_FRONT)
		sandbox_sockets(s, true, false);
	return s;
}

static NORETURN void
be_child(struct sandbox *s, long (*run)(void), int log)
{
	struct error err = ERROR_INIT;

	(void)dup2(log, STDERR_FILENO);
	/* Not what is to be seen here, and not every machine lets us. */
	if (!sandbox_enter(s, NULL, &err)) {
		(void)dprintf(log, "not entered: %s\n", err.text);
		_exit(100);
	}
	errno = 0;
	if (run() >= 0)
		_exit(WORKS);
	if (errno == EPERM || errno == EACCES)
		_exit(DENIED);
	if (errno == ENOSYS)
		_exit(ABSENT);
	(void)dprintf(log, "errno %d\n", errno);
	_exit(ODD);
}

static char said[4096];

/* Runs it in a child that entered s; what the child wrote is in said. */
static int
run_in(struct sandbox *s, long (*run)(void))
{
	int status = 0, pipe_fds[2];
	size_t used = 0;
	pid_t child;
	ssize_t n;

	assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		be_child(s, run, pipe_fds[1]);
	sandbox_free(s);
	(void)close(pipe_fds[1]);
	while ((n = read(pipe_fds[0], said + used, sizeof said - 1 - used)) > 0)
		used += (size_t)n;
	said[used] = '\0';
	(void)close(pipe_fds[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	return status;
}

static bool
fits(char expected, enum outcome got)
{
	switch (expected) {
	case 'w':
		return got == WORKS;
	case 'd':
		return got == DENIED;
	case 'D':
		return got == (landlock > 0 ? DENIED : WORKS);
	case 'G':
		return got == (landlock >= 6 ? DENIED : WORKS);
	case 'a':
		return got == ABSENT;
	case 'k':
		return got == KILLED;
	case 'K':
		return got == KILLED || SANITIZED;
	case 'R':
		return got == DENIED || SANITIZED;
	case 'o':
		return got == ODD;
	default:
		return got == DENIED || got == WORKS;
	}
}

static void
each_profile_forbids_and_allows(void **state)
{
	static const enum sandbox_profile order[] = {SANDBOX_SOFTHSM, SANDBOX_ISSUER,
	    SANDBOX_COURIER, SANDBOX_WRITER, SANDBOX_FRONT, SANDBOX_MODULE};
	static const char *const names[] = {
	    "softhsm", "issuer", "courier", "writer", "front", "module"};
	unsigned wrong = 0;

	for (size_t t = 0; t < COUNT_OF(trials); t++) {
		for (size_t p = 0; p < COUNT_OF(order); p++) {
			int status = run_in(make_sandbox(order[p]), trials[t].run);

			if (fits(trials[t].expected[p], outcome_of(status)))
				continue;
			print_error("%s: %s: wanted '%c', status 0x%x: %s\n", names[p],
			    trials[t].name, trials[t].expected[p], (unsigned)status, said);
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
}

/* ---- what is not in the table */

static void
a_violation_is_logged_by_name(void **state)
{
	int status = run_in(make_sandbox(SANDBOX_FRONT), try_mount);

	assert_int_equal(outcome_of(status), KILLED);
	if (strstr(said, "front[") == NULL ||
	    strstr(said, "does not allow the system call mount; the process ends\n") == NULL)
		fail_msg("%s", said);
}

static void *
mount_in_thread(void *arg)
{
	(void)try_mount();
	return arg;
}

static long
try_mount_in_thread(void)
{
	pthread_t thread;

	errno = pthread_create(&thread, NULL, mount_in_thread, NULL);
	return errno != 0 ? -1 : pthread_join(thread, NULL);
}

static void
threads_are_in_it_too(void **state)
{
	assert_int_equal(
	    outcome_of(run_in(make_sandbox(SANDBOX_SOFTHSM), try_mount_in_thread)), KILLED);
}

static void
connections_go_to_the_ports_that_were_named(void **state)
{
	struct sandbox *s = make_sandbox(SANDBOX_FRONT);

	sandbox_sockets(s, true, true);
	sandbox_port(s, listening_port);
	assert_int_equal(outcome_of(run_in(s, try_the_port)), WORKS);
	s = make_sandbox(SANDBOX_FRONT);
	sandbox_sockets(s, true, true);
	sandbox_port(s, listening_port);
	assert_int_equal(outcome_of(run_in(s, try_another_port)), landlock >= 4 ? DENIED : WORKS);
	s = make_sandbox(SANDBOX_FRONT);
	sandbox_sockets(s, true, true);
	sandbox_port(s, 0);
	assert_int_equal(outcome_of(run_in(s, try_the_port)), landlock >= 4 ? DENIED : WORKS);
	s = make_sandbox(SANDBOX_COURIER);
	assert_int_equal(outcome_of(run_in(s, try_another_port)), WORKS);
}

static void
a_module_gets_the_sockets_that_are_declared(void **state)
{
	struct sandbox *s = make_sandbox(SANDBOX_MODULE);

	sandbox_sockets(s, false, true);
	assert_int_equal(outcome_of(run_in(s, try_another_port)), WORKS);
	s = make_sandbox(SANDBOX_MODULE);
	sandbox_sockets(s, false, true);
	assert_int_equal(outcome_of(run_in(s, try_local)), DENIED);
	s = make_sandbox(SANDBOX_MODULE);
	sandbox_sockets(s, true, false);
	assert_int_equal(outcome_of(run_in(s, try_local)), WORKS);
	s = make_sandbox(SANDBOX_MODULE);
	sandbox_sockets(s, true, false);
	assert_int_equal(outcome_of(run_in(s, try_internet)), DENIED);
}

static void
a_file_put_in_place_of_an_allowed_one_is_another(void **state)
{
	struct sandbox *s = sandbox_new(SANDBOX_SOFTHSM, SANDBOX_BEST_EFFORT);

	sandbox_system_files(s);
	sandbox_path(s, SANDBOX_READ, in_dir("readable/file"));
	sandbox_path(s, SANDBOX_WRITE, in_dir("nothing-is-here"));
	assert_int_equal(outcome_of(run_in(s, try_reading)), WORKS);
	s = sandbox_new(SANDBOX_SOFTHSM, SANDBOX_BEST_EFFORT);
	sandbox_system_files(s);
	sandbox_directory_of(s, SANDBOX_READ, in_dir("readable/x"));
	assert_int_equal(outcome_of(run_in(s, try_reading)), WORKS);
}

/* ---- what the kernel says of it */

/* Runs in a child that has all a process can have; prints what it says. */
static long
show_status(void)
{
	struct rlimit core;
	char line[256];
	FILE *in = fopen("/proc/self/status", "re");

	if (in == NULL || getrlimit(RLIMIT_CORE, &core) != 0)
		return -1;
	while (fgets(line, sizeof line, in) != NULL) {
		if (strncmp(line, "Cap", 3) == 0 || strncmp(line, "NoNew", 5) == 0 ||
		    strncmp(line, "Seccomp:", 8) == 0)
			(void)fputs(line, stderr);
	}
	(void)fclose(in);
	fprintf(stderr, "core %llu\ndumpable %d\n", (unsigned long long)core.rlim_max,
	    prctl(PR_GET_DUMPABLE, 0, 0, 0, 0));
	return 0;
}

static void
the_kernel_shows_what_was_given_up(void **state)
{
	static const char *const expected[] = {"NoNewPrivs:\t1\n", "Seccomp:\t2\n",
	    "CapEff:\t0000000000000000\n", "CapPrm:\t0000000000000000\n",
	    "CapInh:\t0000000000000000\n", "CapAmb:\t0000000000000000\n", "core 0\n",
	    "dumpable 0\n"};

	assert_int_equal(outcome_of(run_in(make_sandbox(SANDBOX_SOFTHSM), show_status)), WORKS);
	for (size_t i = 0; i < COUNT_OF(expected); i++) {
		if (strstr(said, expected[i]) == NULL)
			fail_msg("no '%s' in:\n%s", expected[i], said);
	}
	if (geteuid() == 0 && strstr(said, "CapBnd:\t0000000000000000\n") == NULL)
		fail_msg("the bounding set is not empty:\n%s", said);
}

/* ---- */

static void
put_file(const char *name)
{
	FILE *f = fopen(in_dir(name), "w");

	assert_non_null(f);
	assert_int_equal(fclose(f), 0);
}

static int
listen_somewhere(uint16_t *port)
{
	struct sockaddr_in addr = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof addr;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, len) != 0 || listen(fd, 64) != 0 ||
	    getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
		return -1;
	*port = ntohs(addr.sin_port);
	return fd;
}

static int
set_up(void **state)
{
	static const char *const folders[] = {"readable", "writable", "foreign"};
	static const char *const names[] = {
	    "readable/file", "writable/file", "foreign/file", "foreign/removable"};

	long version = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);

	landlock = version > 0 ? (unsigned)version : 0;
	if (mkdtemp(dir) == NULL)
		return -1;
	for (size_t i = 0; i < COUNT_OF(folders); i++) {
		if (mkdir(in_dir(folders[i]), 0700) != 0)
			return -1;
	}
	for (size_t i = 0; i < COUNT_OF(names); i++)
		put_file(names[i]);
	listener = listen_somewhere(&listening_port);
	other_listener = listen_somewhere(&other_port);
	if (landlock == 0)
		print_message("this kernel has no Landlock: what it forbids is not tried\n");
	return listener < 0 || other_listener < 0
		   ? -1
		   : symlink("../foreign/file", in_dir("writable/link"));
}

static int
tear_down(void **state)
{
	char command[128];

	(void)close(listener);
	(void)close(other_listener);
	(void)snprintf(command, sizeof command, "rm -rf %s", dir);
	return system(command);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_profile_forbids_and_allows),
	    cmocka_unit_test(a_violation_is_logged_by_name),
	    cmocka_unit_test(threads_are_in_it_too),
	    cmocka_unit_test(connections_go_to_the_ports_that_were_named),
	    cmocka_unit_test(a_module_gets_the_sockets_that_are_declared),
	    cmocka_unit_test(a_file_put_in_place_of_an_allowed_one_is_another),
	    cmocka_unit_test(the_kernel_shows_what_was_given_up),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
