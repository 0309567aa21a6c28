/*
 * The system calls of each profile. A list is made of groups, and each group of
 * what belongs to one matter, so that a call that is missing is easy to place.
 * A few calls are judged by their arguments, in sandbox_seccomp.c: socket,
 * socketpair, clone, prctl, prlimit64, ioctl, open, mmap, mprotect, tgkill and
 * rt_sigaction.
 */

#include <stddef.h>
#include <sys/prctl.h>

#include "daemon/core/sandbox_int.h"

static const char memory[] = "brk madvise mincore mlock mlock2 munlock munmap mremap membarrier";

static const char itself[] =
    "arch_prctl capget exit exit_group futex get_robust_list getcpu getegid geteuid getgid "
    "getgroups getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit "
    "getrusage getsid gettid getuid restart_syscall riscv_flush_icache rseq "
    "sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getparam "
    "sched_getscheduler sched_yield set_robust_list set_tid_address sysinfo umask uname";

static const char signals[] = "pause rt_sigpending rt_sigprocmask rt_sigreturn rt_sigsuspend "
			      "rt_sigtimedwait sigaltstack";

static const char clocks[] = "alarm clock_getres clock_gettime clock_nanosleep getitimer "
			     "gettimeofday nanosleep setitimer time timerfd_create "
			     "timerfd_gettime timerfd_settime times";

static const char reading[] =
    "access close close_range dup dup2 dup3 faccessat faccessat2 fadvise64 fcntl flock fstat "
    "fstatfs getcwd getdents getdents64 lseek lstat newfstatat pread64 preadv preadv2 read "
    "readahead readlink readlinkat readv stat statfs statx";

static const char sending[] =
    "epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd eventfd2 "
    "getpeername getsockname getsockopt pipe pipe2 poll ppoll pselect6 pwrite64 pwritev pwritev2 "
    "recvfrom recvmmsg recvmsg select sendmmsg sendmsg sendto setsockopt shutdown write writev";

static const char files[] = "chmod fallocate fchmod fchmodat fchown fdatasync fsync ftruncate "
			    "mkdir mkdirat rename renameat "
			    "renameat2 rmdir sync_file_range unlink unlinkat utimensat";

/* bind: getaddrinfo(3) binds its netlink socket. */
static const char connecting[] = "bind connect";

static const char accepting[] = "accept accept4";

/* A courier enters a sandbox of its own inside this one. */
static const char couriers[] =
    "capset execve fork kill landlock_add_rule landlock_create_ruleset landlock_restrict_self "
    "memfd_create pidfd_open pidfd_send_signal rt_sigaction seccomp setrlimit tgkill vfork wait4 "
    "waitid";

/* A writer has a process for each file, in its own sandbox. */
static const char workers[] = "fork kill rt_sigaction tgkill vfork wait4 waitid";

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
/* What the sanitizers' runtimes do when they report, and when they look for
 * leaks at the end: a thread of theirs traces all others. */
static const char sanitizer[] = "clone fork kill ptrace process_vm_readv sched_setaffinity "
				"prctl set_mempolicy tgkill vfork wait4 waitid";
#else
static const char sanitizer[] = "";
#endif

/* Of no use to any PKCS#11 module; most need privileges besides. */
static const char other_processes[] =
    "kcmp perf_event_open pidfd_getfd process_madvise process_mrelease process_vm_readv "
    "process_vm_writev "
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    "ptrace "
#endif
    "move_pages migrate_pages";

static const char other_programs[] = "execve execveat";

static const char the_kernel[] =
    "add_key bpf create_module delete_module fanotify_init finit_module get_kernel_syms "
    "init_module kexec_file_load kexec_load keyctl lookup_dcookie nfsservctl query_module "
    "request_key syslog userfaultfd";

static const char the_machine[] =
    "acct adjtimex clock_adjtime clock_settime ioperm iopl personality quotactl quotactl_fd reboot "
    "sethostname setdomainname settimeofday stime swapoff swapon vhangup";

static const char the_file_systems[] =
    "chroot fsconfig fsmount fsopen fspick mount mount_setattr move_mount name_to_handle_at "
    "open_by_handle_at open_tree pivot_root setns umount umount2 unshare";

const char sandbox_calls_unknown[] =
    /* Its flags lie in memory, where no filter looks: the C library takes clone. */
    "clone3 "
    "cachestat fchmodat2 futex_requeue futex_wait futex_waitv futex_wake io_uring_enter "
    "io_uring_register io_uring_setup listmount lsm_get_self_attr map_shadow_stack memfd_secret "
    "mseal openat2 set_mempolicy_home_node statmount uretprobe";

static const char *const softhsm[] = {
    memory, itself, signals, clocks, reading, sending, files, sanitizer, NULL};
static const char *const front[] = {memory, itself, signals, clocks, reading, sending,
    "ftruncate sendfile", connecting, accepting, sanitizer, NULL};
static const char *const courier[] = {
    memory, itself, signals, clocks, reading, sending, files, connecting, sanitizer, NULL};
static const char *const writer[] = {
    memory, itself, signals, clocks, reading, sending, files, workers, sanitizer, NULL};
static const char *const issuer[] = {memory, itself, signals, clocks, reading, sending, files,
    connecting, couriers, sanitizer, NULL};
static const char *const module[] = {
    other_processes, other_programs, the_kernel, the_machine, the_file_systems, NULL};

static const int plain_options[] = {
    PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_GET_NAME, PR_SET_NAME, -1};
static const int writer_options[] = {
    PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_GET_DUMPABLE, PR_GET_NAME, PR_SET_NAME, -1};
static const int issuer_options[] = {PR_SET_PDEATHSIG, PR_GET_PDEATHSIG, PR_GET_DUMPABLE,
    PR_SET_DUMPABLE, PR_SET_NAME, PR_GET_NAME, PR_GET_SECCOMP, PR_CAPBSET_READ, PR_CAPBSET_DROP,
    PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_CAP_AMBIENT, -1};

const struct sandbox_calls sandbox_calls_of[] = {
    [SANDBOX_MODULE] = {.name = "module", .is_deny_list = true, .calls = module},
    [SANDBOX_SOFTHSM] = {.name = "softhsm",
	.calls = softhsm,
	.options = plain_options,
	.writes = true},
    [SANDBOX_ISSUER] = {.name = "issuer",
	.calls = issuer,
	.options = issuer_options,
	.writes = true,
	.processes = true},
    [SANDBOX_COURIER] = {.name = "courier",
	.calls = courier,
	.options = plain_options,
	.writes = true},
    [SANDBOX_WRITER] = {.name = "writer",
	.calls = writer,
	.options = writer_options,
	.writes = true,
	.processes = true},
    [SANDBOX_FRONT] = {.name = "front", .calls = front, .options = plain_options},
};
