#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/core/sandbox_int.h"

#define NAMES_MAX 512	 /* numbers of system calls that have names */
#define CALL_NAME_MAX 64 /* of one name in a list, with its NUL */

/* Of 64-bit values the kernel looks at the lower half of these arguments only. */
#define INT_MASK 0xffffffffULL

/* Namespaces of its own would give a process rights that it does not have. */
static const unsigned long namespaces[] = {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC,
    CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET};

/* ---- the filter's parts. Each adds rules as long as *rc is 0. */

struct filter {
	scmp_filter_ctx ctx;
	const struct sandbox_calls *calls;
	int rc;
};

static bool
is_listed(const struct sandbox_calls *calls, const char *call)
{
	size_t len = strlen(call);

	for (const char *const *list = calls->calls; *list != NULL; list++) {
		for (const char *at = *list; (at = strstr(at, call)) != NULL; at += len) {
			if ((at == *list || at[-1] == ' ') && (at[len] == ' ' || at[len] == '\0'))
				return true;
		}
	}
	return false;
}

/* A call that this machine's kernel does not have needs no rule; and one that is
 * listed none that looks at arguments. */
static void
add(struct filter *f, uint32_t action, const char *call, unsigned n, const struct scmp_arg_cmp *arg)
{
	int number = seccomp_syscall_resolve_name(call);

	if (f->rc == 0 && number >= 0 && (n == 0 || !is_listed(f->calls, call)))
		f->rc = seccomp_rule_add_array(f->ctx, action, number, n, arg);
}

static void
add_list(struct filter *f, uint32_t action, const char *list)
{
	char name[CALL_NAME_MAX];

	while (*list != '\0') {
		size_t len = strcspn(list, " ");

		(void)snprintf(name, sizeof name, "%.*s", (int)len, list);
		add(f, action, name, 0, NULL);
		list += len + strspn(list + len, " ");
	}
}

/* A call whose argument, under the mask, has this value. */
static void
add_masked(struct filter *f, uint32_t action, const char *call, unsigned arg, uint64_t mask,
    uint64_t value)
{
	struct scmp_arg_cmp cmp = SCMP_CMP64(arg, SCMP_CMP_MASKED_EQ, mask, value);

	add(f, action, call, 1, &cmp);
}

static bool
is_among(const int *values, size_t count, int value)
{
	for (size_t i = 0; i < count; i++) {
		if (values[i] == value)
			return true;
	}
	return false;
}

#define CHOICE_MAX 128 /* values that are judged one by one */

/*
 * A call whose int argument has one of the values is allowed, with any other it
 * fails with errno `code`. The others are spelled out: rules with and without
 * conditions on one call exclude each other. Values from `from` on are judged one
 * by one up to the highest; below and above they are all others.
 */
static void
add_choice(struct filter *f, const char *call, unsigned arg, int from, const int *values,
    size_t count, int code)
{
	uint32_t refuse = SCMP_ACT_ERRNO((uint32_t)code);
	bool is_deny_list = f->calls->is_deny_list;
	int last = from - 1;

	if (count == 0) {
		add(f, refuse, call, 0, NULL);
		return;
	}
	for (size_t i = 0; i < count; i++)
		last = values[i] > last ? values[i] : last;
	if (last - from >= CHOICE_MAX)
		f->rc = -ERANGE;
	for (int value = from; f->rc == 0 && value <= last; value++) {
		if (!is_among(values, count, value))
			add_masked(f, refuse, call, arg, INT_MASK, (uint64_t)value);
		else if (!is_deny_list)
			add_masked(f, SCMP_ACT_ALLOW, call, arg, INT_MASK, (uint64_t)value);
	}
	add(f, refuse, call, 1, &SCMP_CMP64(arg, SCMP_CMP_GT, (uint64_t)(int64_t)last, 0));
	if (from > 0)
		add(f, refuse, call, 1, &SCMP_CMP64(arg, SCMP_CMP_LT, (uint64_t)from, 0));
}

/* A call in whose argument none of the bits is set is allowed; with one it fails. */
static void
add_without(
    struct filter *f, const char *call, unsigned arg, const uint64_t *bits, size_t count, int code)
{
	uint64_t all = 0;

	for (size_t i = 0; i < count; i++) {
		all |= bits[i];
		add_masked(f, SCMP_ACT_ERRNO((uint32_t)code), call, arg, bits[i], bits[i]);
	}
	if (!f->calls->is_deny_list)
		add_masked(f, SCMP_ACT_ALLOW, call, arg, all, 0);
}

/* ---- single calls */

static void
add_sockets(struct filter *f, const struct sandbox_families *families)
{
	int allowed[4], pair[] = {AF_UNIX};
	size_t count = 0;

	if (families->local)
		allowed[count++] = AF_UNIX;
	if (families->network) {
		allowed[count++] = AF_INET;
		allowed[count++] = AF_INET6;
		allowed[count++] = AF_NETLINK; /* getaddrinfo(3) asks for the host's addresses */
	}
	add_choice(f, "socket", 0, AF_UNSPEC, allowed, count, EACCES);
	add_choice(f, "socketpair", 0, AF_UNSPEC, pair, COUNT_OF(pair), EACCES);
}

static void
add_clone(struct filter *f)
{
	uint64_t spaces = 0;

	for (size_t i = 0; i < COUNT_OF(namespaces); i++) {
		spaces |= namespaces[i];
		if (f->calls->is_deny_list)
			add_masked(
			    f, SCMP_ACT_ERRNO(EPERM), "clone", 0, namespaces[i], namespaces[i]);
	}
	if (f->calls->is_deny_list)
		return;
	if (f->calls->processes)
		add_masked(f, SCMP_ACT_ALLOW, "clone", 0, spaces, 0);
	else
		add_masked(f, SCMP_ACT_ALLOW, "clone", 0, spaces | CLONE_THREAD, CLONE_THREAD);
}

/* Memory is never writable and executable, and never becomes executable; what
 * dlopen(3) maps is executable from the start, and a file. */
static void
add_memory(struct filter *f)
{
	static const uint64_t executable[] = {PROT_EXEC};
	const uint64_t both = PROT_WRITE | PROT_EXEC;

	add_without(f, "mprotect", 2, executable, COUNT_OF(executable), EACCES);
	add_masked(f, SCMP_ACT_ERRNO(EACCES), "mmap", 2, both, both);
	add_masked(f, SCMP_ACT_ALLOW, "mmap", 2, both, 0);
	add_masked(f, SCMP_ACT_ALLOW, "mmap", 2, both, PROT_WRITE);
	add_masked(f, SCMP_ACT_ALLOW, "mmap", 2, both, PROT_EXEC);
}

static void
add_open(struct filter *f)
{
	static const uint64_t writing[] = {
	    O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_APPEND, O_TMPFILE & ~O_DIRECTORY};

	if (f->calls->writes) {
		add_list(f, SCMP_ACT_ALLOW, "open openat");
		return;
	}
	add_without(f, "open", 1, writing, COUNT_OF(writing), EACCES);
	add_without(f, "openat", 2, writing, COUNT_OF(writing), EACCES);
}

static void
add_options(struct filter *f)
{
	static const int terminals[] = {TCGETS, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX};
	static const int self[] = {0};
	size_t count = 0;

	while (f->calls->options[count] >= 0)
		count++;
	add_choice(f, "prctl", 0, 0, f->calls->options, count, EPERM);
	add_choice(f, "ioctl", 1, TCGETS, terminals, COUNT_OF(terminals), ENOTTY);
	add_choice(f, "prlimit64", 0, 0, self, COUNT_OF(self), EPERM);
}

/*
 * Where nothing is executed any more, the handler of SIGSYS stays what it is: its
 * last act, to take itself away, is a violation too.
 */
static void
add_signals(struct filter *f)
{
	if (f->calls->processes)
		return;
	add(f, SCMP_ACT_ALLOW, "rt_sigaction", 1, &SCMP_A0_64(SCMP_CMP_LT, SIGSYS, 0));
	add(f, SCMP_ACT_ALLOW, "rt_sigaction", 1, &SCMP_A0_64(SCMP_CMP_GT, SIGSYS, 0));
	add(f, SCMP_ACT_KILL_PROCESS, "rt_sigaction", 1, &SCMP_A0_64(SCMP_CMP_EQ, SIGSYS, 0));
	add(f, SCMP_ACT_ALLOW, "tgkill", 1, &SCMP_A0_64(SCMP_CMP_EQ, (uint64_t)getpid(), 0));
}

static void
add_rules(struct filter *f, const struct sandbox_families *families)
{
	const char *const *list;

	add_list(f, SCMP_ACT_ERRNO(ENOSYS), sandbox_calls_unknown);
	for (list = f->calls->calls; *list != NULL; list++)
		add_list(f, f->calls->is_deny_list ? SCMP_ACT_ERRNO(EPERM) : SCMP_ACT_ALLOW, *list);
	add_sockets(f, families);
	add_clone(f);
	if (f->calls->is_deny_list)
		return;
	add_memory(f);
	add_open(f);
	add_options(f);
	add_signals(f);
}

/* ---- what happens to a process that makes another call */

static char prefix[96];
static char *names[NAMES_MAX];

static size_t
append(char *line, size_t used, size_t size, const char *text)
{
	while (*text != '\0' && used < size)
		line[used++] = *text++;
	return used;
}

/* Only what is safe in a handler: whatever runs here was interrupted anywhere. */
static void
on_violation(int number, siginfo_t *info, void *context)
{
	struct sigaction standard = {.sa_handler = SIG_DFL};
	unsigned call = (unsigned)info->si_syscall, digit = 10000;
	char line[256], text[2] = "";
	size_t used = 0;

	(void)context;
	used = append(line, used, sizeof line, prefix);
	if (call < NAMES_MAX && names[call] != NULL) {
		used = append(line, used, sizeof line, names[call]);
	} else {
		used = append(line, used, sizeof line, "number ");
		for (; digit > 0; digit /= 10) {
			text[0] = (char)('0' + call / digit % 10);
			used = append(line, used, sizeof line, text);
		}
	}
	used = append(line, used, sizeof line, "; the process ends\n");
	(void)!write(STDERR_FILENO, line, used);
	(void)sigaction(number, &standard, NULL);
	(void)raise(number);
	_exit(128 + SIGSYS);
}

static bool
watch_violations(const struct sandbox_calls *calls, struct error *err)
{
	struct sigaction action = {
	    .sa_sigaction = on_violation, .sa_flags = SA_SIGINFO | SA_NODEFER};

	if (calls->is_deny_list)
		return true;
	(void)snprintf(prefix, sizeof prefix,
	    "%s%s[%d] sandbox: this profile does not allow the system call ",
	    getenv("JOURNAL_STREAM") != NULL ? "<3>" : "error ", calls->name, (int)getpid());
	for (int i = 0; i < NAMES_MAX; i++) {
		if (names[i] == NULL)
			names[i] = seccomp_syscall_resolve_num_arch(SCMP_ARCH_NATIVE, i);
	}
	if (sigaction(SIGSYS, &action, NULL) != 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot watch for SIGSYS");
	return true;
}

/* ---- */

bool
sandbox_seccomp_available(struct error *err)
{
	static const uint32_t needed[] = {
	    SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO};

	for (size_t i = 0; i < COUNT_OF(needed); i++) {
		if (syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &needed[i]) != 0)
			return error_set_errno(err, ERROR_SYSTEM,
			    "the kernel has no seccomp filters (CONFIG_SECCOMP_FILTER), or a "
			    "filter "
			    "around this process forbids them");
	}
	return true;
}

static bool
set_attributes(scmp_filter_ctx ctx)
{
	return seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS) == 0 &&
	       seccomp_attr_set(ctx, SCMP_FLTATR_CTL_NNP, 1) == 0 &&
	       seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1) == 0 &&
	       seccomp_attr_set(ctx, SCMP_FLTATR_CTL_LOG, 1) == 0 &&
	       seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2) == 0;
}

bool
sandbox_seccomp_install(
    enum sandbox_profile profile, const struct sandbox_families *families, struct error *err)
{
	struct filter f = {.calls = &sandbox_calls_of[profile]};
	bool ok = false;

	f.ctx = seccomp_init(f.calls->is_deny_list ? SCMP_ACT_ALLOW : SCMP_ACT_TRAP);
	if (f.ctx == NULL)
		return error_set(err, ERROR_SYSTEM, "no memory for a seccomp filter");
	if (!set_attributes(f.ctx)) {
		error_set(err, ERROR_SYSTEM, "libseccomp does not know what the filter needs");
		goto out;
	}
	add_rules(&f, families);
	if (f.rc != 0) {
		errno = -f.rc;
		error_set_errno(err, ERROR_SYSTEM, "cannot make the seccomp filter");
		goto out;
	}
	if (!watch_violations(f.calls, err))
		goto out;
	f.rc = seccomp_load(f.ctx);
	if (f.rc != 0) {
		errno = f.rc == -ECANCELED ? EINVAL : -f.rc;
		error_set_errno(err, ERROR_SYSTEM, "the kernel does not take the seccomp filter");
		goto out;
	}
	ok = true;
out:
	seccomp_release(f.ctx);
	return ok;
}
