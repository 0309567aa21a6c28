#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/core/sandbox_int.h"

/*
 * The kernel takes a ruleset that asks for no more than it knows; what a newer
 * one adds is asked for by its version. Debian 12's header knows version 2 only:
 * the rest is spelled out here, as the kernel's documentation has it
 * (userspace-api/landlock).
 */
#define FS_TRUNCATE (1ULL << 14)  /* 3 */
#define FS_IOCTL_DEV (1ULL << 15) /* 5 */
#define NET_BIND_TCP (1ULL << 0)  /* 4 */
#define NET_CONNECT_TCP (1ULL << 1)
#define SCOPE_ABSTRACT_UNIX (1ULL << 0) /* 6 */
#define SCOPE_SIGNAL (1ULL << 1)
#define RULE_NET_PORT 2

struct ruleset {
	uint64_t fs, net, scoped;
};

struct port_rule {
	uint64_t allowed, port;
};

#define FS_READ (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR)
#define FS_MAKE                                                           \
	(LANDLOCK_ACCESS_FS_REMOVE_DIR | LANDLOCK_ACCESS_FS_REMOVE_FILE | \
	    LANDLOCK_ACCESS_FS_MAKE_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |   \
	    LANDLOCK_ACCESS_FS_MAKE_SOCK | LANDLOCK_ACCESS_FS_MAKE_FIFO | \
	    LANDLOCK_ACCESS_FS_MAKE_SYM)
/* Never allowed, but handled: device nodes. */
#define FS_NODES (LANDLOCK_ACCESS_FS_MAKE_CHAR | LANDLOCK_ACCESS_FS_MAKE_BLOCK)
/* All that a rule on a single file may say. */
#define FS_OF_A_FILE                                                  \
	(LANDLOCK_ACCESS_FS_EXECUTE | LANDLOCK_ACCESS_FS_WRITE_FILE | \
	    LANDLOCK_ACCESS_FS_READ_FILE | FS_TRUNCATE | FS_IOCTL_DEV)

static uint64_t
handled_files(unsigned version)
{
	uint64_t fs = FS_READ | FS_MAKE | FS_NODES | LANDLOCK_ACCESS_FS_EXECUTE |
		      LANDLOCK_ACCESS_FS_WRITE_FILE;

	if (version >= 2)
		fs |= LANDLOCK_ACCESS_FS_REFER;
	if (version >= 3)
		fs |= FS_TRUNCATE;
	if (version >= 5)
		fs |= FS_IOCTL_DEV;
	return fs;
}

static uint64_t
rights_of(enum sandbox_access access, unsigned version)
{
	uint64_t rights = 0;

	switch (access) {
	case SANDBOX_READ:
		rights = FS_READ;
		break;
	case SANDBOX_WRITE:
		rights = FS_READ | FS_MAKE | LANDLOCK_ACCESS_FS_WRITE_FILE |
			 LANDLOCK_ACCESS_FS_REFER | FS_TRUNCATE;
		break;
	case SANDBOX_DEVICE:
		rights = FS_READ | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE | FS_IOCTL_DEV;
		break;
	case SANDBOX_EXECUTE:
		rights = FS_READ | LANDLOCK_ACCESS_FS_EXECUTE;
		break;
	}
	return rights & handled_files(version);
}

unsigned
sandbox_landlock_version(void)
{
	long version = syscall(
	    SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	return version > 0 ? (unsigned)version : 0;
}

int
sandbox_landlock_new(unsigned version, enum sandbox_profile profile,
    const struct sandbox_families *families, const struct sandbox_ports *ports)
{
	struct ruleset r = {.fs = handled_files(version)};
	size_t size = sizeof r.fs;

	if (version >= 4) {
		size = sizeof r.fs + sizeof r.net;
		r.net = NET_BIND_TCP;
		if (ports->restricted || !families->network)
			r.net |= NET_CONNECT_TCP;
		/* A vendor's module may expect to be called back. */
		if (profile == SANDBOX_MODULE && families->network)
			r.net = 0;
	}
	if (version >= 6) {
		size = sizeof r;
		r.scoped = SCOPE_SIGNAL | (families->local ? 0 : SCOPE_ABSTRACT_UNIX);
	}
	return (int)syscall(SYS_landlock_create_ruleset, &r, size, 0);
}

bool
sandbox_landlock_add(
    int ruleset, unsigned version, enum sandbox_access access, const char *path, struct error *err)
{
	struct landlock_path_beneath_attr rule = {
	    .allowed_access = rights_of(access, version), .parent_fd = -1};
	bool ok = false;
	struct stat st;

	rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
	/* Nor could the process get there without a sandbox. */
	if (rule.parent_fd < 0 && (errno == ENOENT || errno == ENOTDIR || errno == EACCES))
		return true;
	if (rule.parent_fd < 0 || fstat(rule.parent_fd, &st) != 0) {
		error_set_errno(err, ERROR_SYSTEM, "cannot look at %s", path);
		goto out;
	}
	if (!S_ISDIR(st.st_mode))
		rule.allowed_access &= FS_OF_A_FILE;
	if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) != 0) {
		error_set_errno(err, ERROR_SYSTEM, "Landlock does not take %s", path);
		goto out;
	}
	ok = true;
out:
	if (rule.parent_fd >= 0)
		(void)close(rule.parent_fd);
	return ok;
}

bool
sandbox_landlock_add_ports(
    int ruleset, unsigned version, const struct sandbox_ports *ports, struct error *err)
{
	for (size_t i = 0; version >= 4 && i < ports->count; i++) {
		struct port_rule rule = {.allowed = NET_CONNECT_TCP, .port = ports->port[i]};

		if (syscall(SYS_landlock_add_rule, ruleset, RULE_NET_PORT, &rule, 0) != 0)
			return error_set_errno(
			    err, ERROR_SYSTEM, "Landlock does not take port %u", ports->port[i]);
	}
	return true;
}

/* A process may write its own name here, and no profile may: a file that shows
 * whether the rules are in force. False where there is no /proc. */
static bool
may_write_own_name(void)
{
	int fd = open("/proc/self/comm", O_WRONLY | O_CLOEXEC);

	if (fd >= 0)
		(void)close(fd);
	return fd >= 0;
}

bool
sandbox_landlock_enter(int ruleset, struct error *err)
{
	if (syscall(SYS_landlock_restrict_self, ruleset, 0) != 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot enter the Landlock ruleset");
	if (may_write_own_name())
		return error_set(err, ERROR_SYSTEM, "the Landlock ruleset has no effect");
	return true;
}
