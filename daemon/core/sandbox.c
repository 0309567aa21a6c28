#include "daemon/core/sandbox.h"

#include <elf.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "daemon/core/log.h"
#include "daemon/core/sandbox_int.h"

#define FILE_SIZE_MAX (16ULL << 30) /* four times the longest CRL */
#define FRONT_FILE_MAX (1ULL << 30) /* what it opened before: copies of large CRLs */
#define CAPABILITIES_MAX 64

struct sandbox {
	enum sandbox_profile profile;
	enum sandbox_mode mode;
	unsigned version; /* of Landlock */
	struct allowed {
		enum sandbox_access access;
		char *path;
	} * allowed;
	size_t allowed_count, allowed_room;
	bool out_of_memory;
	struct sandbox_families families;
	struct sandbox_ports ports;
};

/* ---- what is allowed */

struct sandbox *
sandbox_new(enum sandbox_profile profile, enum sandbox_mode mode)
{
	struct sandbox *s = calloc(1, sizeof *s);

	if (s == NULL)
		return NULL;
	s->profile = profile;
	s->mode = mode;
	return s;
}

void
sandbox_free(struct sandbox *s)
{
	if (s == NULL)
		return;
	for (size_t i = 0; i < s->allowed_count; i++)
		free(s->allowed[i].path);
	free(s->allowed);
	free(s);
}

void
sandbox_path(struct sandbox *s, enum sandbox_access access, const char *path)
{
	struct allowed *more;

	if (s == NULL || path == NULL)
		return;
	if (s->allowed_count == s->allowed_room) {
		more = realloc(s->allowed, (s->allowed_room + 32) * sizeof *more);
		if (more == NULL) {
			s->out_of_memory = true;
			return;
		}
		s->allowed = more;
		s->allowed_room += 32;
	}
	s->allowed[s->allowed_count].access = access;
	s->allowed[s->allowed_count].path = strdup(path);
	if (s->allowed[s->allowed_count].path == NULL)
		s->out_of_memory = true;
	else
		s->allowed_count++;
}

void
sandbox_directory_of(struct sandbox *s, enum sandbox_access access, const char *path)
{
	const char *slash = path != NULL ? strrchr(path, '/') : NULL;
	char directory[PATH_MAX];

	if (slash == NULL)
		return;
	(void)snprintf(
	    directory, sizeof directory, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	sandbox_path(s, access, directory);
}

void
sandbox_system_files(struct sandbox *s)
{
	static const char *const read[] = {"/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc",
	    "/sys/devices/system/cpu", "/sys/devices/system/node", "/usr/lib", "/usr/lib32",
	    "/usr/lib64", "/usr/libx32", "/usr/local/lib", "/usr/local/share", "/usr/share",
	    "/dev/random", "/dev/urandom"};
	static const char *const devices[] = {"/dev/null", "/dev/zero", "/dev/full"};
	char resolved[PATH_MAX];

	for (size_t i = 0; i < COUNT_OF(read); i++)
		sandbox_path(s, SANDBOX_READ, read[i]);
	for (size_t i = 0; i < COUNT_OF(devices); i++)
		sandbox_path(s, SANDBOX_DEVICE, devices[i]);
	/* A link into /run on many systems. */
	if (realpath("/etc/resolv.conf", resolved) != NULL)
		sandbox_directory_of(s, SANDBOX_READ, resolved);
}

/* The path in our own program header PT_INTERP: the dynamic loader. */
static const char *
own_loader(void)
{
	const ElfW(Phdr) *header = (const ElfW(Phdr) *)getauxval(AT_PHDR); /* NOLINT */
	size_t count = getauxval(AT_PHNUM);
	const char *base = NULL;

	for (size_t i = 0; header != NULL && i < count; i++) {
		if (header[i].p_type == PT_PHDR)
			base = (const char *)header - header[i].p_vaddr;
	}
	for (size_t i = 0; base != NULL && i < count; i++) {
		if (header[i].p_type == PT_INTERP)
			return base + header[i].p_vaddr;
	}
	return NULL;
}

void
sandbox_own_program(struct sandbox *s)
{
	sandbox_path(s, SANDBOX_EXECUTE, "/proc/self/exe");
	sandbox_path(s, SANDBOX_EXECUTE, own_loader());
}

void
sandbox_sockets(struct sandbox *s, bool local, bool network)
{
	if (s == NULL)
		return;
	s->families.local |= local;
	s->families.network |= network;
}

void
sandbox_port(struct sandbox *s, uint16_t port)
{
	if (s == NULL)
		return;
	s->ports.restricted = true;
	if (port == 0)
		return;
	if (s->ports.count == SANDBOX_PORTS_MAX)
		s->out_of_memory = true;
	else
		s->ports.port[s->ports.count++] = port;
}

/* ---- giving up */

bool
sandbox_hide(struct error *err)
{
	const struct rlimit none = {0, 0};

	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0 || setrlimit(RLIMIT_CORE, &none) != 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot forbid core dumps");
	return true;
}

static bool memory_is_locked;

bool
sandbox_lock_memory(void)
{
	struct rlimit limit;

	memory_is_locked = getrlimit(RLIMIT_MEMLOCK, &limit) == 0 &&
			   limit.rlim_cur == RLIM_INFINITY &&
			   mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) == 0;
	return memory_is_locked;
}

bool
sandbox_memory_is_locked(void)
{
	return memory_is_locked;
}

void
sandbox_allow_locking(void)
{
	const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

	(void)setrlimit(RLIMIT_MEMLOCK, &unlimited);
}

static bool
lower_limit(int resource, rlim_t wanted)
{
	struct rlimit limit;

	if (getrlimit((__rlimit_resource_t)resource, &limit) != 0)
		return false;
	if (limit.rlim_max > wanted)
		limit.rlim_max = wanted;
	if (limit.rlim_cur > limit.rlim_max)
		limit.rlim_cur = limit.rlim_max;
	return setrlimit((__rlimit_resource_t)resource, &limit) == 0;
}

/*
 * The log may be a file: what a process writes there counts as well, so that the
 * front's limit is low only where it is none. Processes are not limited here:
 * their number counts for the whole user, and the filters forbid them anyway.
 */
static bool
limit_resources(enum sandbox_profile profile, struct error *err)
{
	static const rlim_t descriptors[] = {
	    [SANDBOX_MODULE] = 16384,
	    [SANDBOX_SOFTHSM] = 4096,
	    [SANDBOX_ISSUER] = 16384,
	    [SANDBOX_COURIER] = 1024,
	    [SANDBOX_WRITER] = 1024,
	    [SANDBOX_FRONT] = 65536,
	};
	bool logs_to_file;
	struct stat st;

	logs_to_file = fstat(STDERR_FILENO, &st) == 0 && S_ISREG(st.st_mode);
	if (!lower_limit(RLIMIT_NOFILE, descriptors[profile]) ||
	    !lower_limit(RLIMIT_FSIZE, profile == SANDBOX_FRONT && !logs_to_file
					   ? (rlim_t)FRONT_FILE_MAX
					   : (rlim_t)FILE_SIZE_MAX))
		return error_set_errno(err, ERROR_SYSTEM, "cannot lower resource limits");
	return sandbox_hide(err);
}

/* The bounding set only falls with CAP_SETPCAP; it means nothing to a process
 * that has no new privileges. */
static bool
drop_capabilities(struct error *err)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	for (int cap = 0; cap < CAPABILITIES_MAX; cap++) {
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
			break;
	}
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	if (syscall(SYS_capset, &header, none) != 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot give capabilities up");
	return true;
}

static bool
refuse_new_privileges(struct error *err)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot forbid new privileges");
	return true;
}

static bool
no_landlock(struct error *err)
{
	return error_set_errno(err, ERROR_SYSTEM,
	    "the kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, and \"landlock\" in "
	    "/sys/kernel/security/lsm), or a filter around this process forbids it");
}

static bool
enter_landlock(struct sandbox *s, struct error *err)
{
	unsigned version = sandbox_landlock_version();
	int ruleset;
	bool ok;

	if (version == 0)
		return no_landlock(err);
	ruleset = sandbox_landlock_new(version, s->profile, &s->families, &s->ports);
	if (ruleset < 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot make a Landlock ruleset");
	ok = sandbox_landlock_add_ports(ruleset, version, &s->ports, err);
	for (size_t i = 0; ok && i < s->allowed_count; i++)
		ok = sandbox_landlock_add(
		    ruleset, version, s->allowed[i].access, s->allowed[i].path, err);
	ok = ok && sandbox_landlock_enter(ruleset, err);
	(void)close(ruleset);
	if (ok)
		s->version = version;
	return ok;
}

bool
sandbox_restrict_supervisor(bool has_users, struct error *err)
{
	/* Sockets and directories for others, ports below 1024; signals to the roles,
	 * and all that they must lose. */
	static const int kept[] = {
	    CAP_CHOWN, CAP_KILL, CAP_NET_BIND_SERVICE, CAP_SETGID, CAP_SETPCAP, CAP_SETUID};
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct have[_LINUX_CAPABILITY_U32S_3] = {0};
	uint32_t mask = 0;

	if (!sandbox_hide(err) || !refuse_new_privileges(err))
		return false;
	if (!has_users)
		return true;
	if (syscall(SYS_capget, &header, have) != 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot read our capabilities");
	for (size_t i = 0; i < COUNT_OF(kept); i++)
		mask |= 1U << kept[i];
	have[0].effective = have[0].permitted &= mask;
	have[1] = (struct __user_cap_data_struct){0};
	have[0].inheritable = 0;
	if (syscall(SYS_capset, &header, have) != 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot give capabilities up");
	return true;
}

/* ---- what came of it */

static struct sandbox_report entered;
static bool has_entered;

void
sandbox_current(struct sandbox_report *report)
{
	if (has_entered)
		*report = entered;
	else
		sandbox_look(report);
}

bool
sandbox_is_whole(const struct sandbox_report *r)
{
	return strcmp(r->profile, "none") != 0 && r->missing[0] == '\0' && r->capabilities == 0 &&
	       r->no_new_privileges && r->filters > 0 && r->landlock > 0;
}

static void
note_missing(struct sandbox_report *r, const char *word, const struct error *why)
{
	size_t used = strlen(r->missing);

	(void)snprintf(
	    r->missing + used, sizeof r->missing - used, "%s%s", used > 0 ? "," : "", word);
	log_failure(LOG_LEVEL_WARNING, "sandbox", why);
}

static void
name_sockets(const struct sandbox_families *f, char out[16])
{
	(void)snprintf(out, 16, "%s%s%s", f->local ? "local" : "",
	    f->local && f->network ? "+" : "", f->network ? "network" : "");
	if (out[0] == '\0')
		(void)snprintf(out, 16, "none");
}

/* Word by word, in the order that matters: Landlock and the filter take their
 * rights from no-new-privileges, and the filter forbids the rest. */
static bool
give_up_all(struct sandbox *s, struct sandbox_report *r)
{
	struct error why = ERROR_INIT;
	bool filtered;

	if (!drop_capabilities(&why))
		note_missing(r, "capabilities", &why);
	why = ERROR_INIT;
	if (!refuse_new_privileges(&why))
		note_missing(r, "no-new-privileges", &why);
	why = ERROR_INIT;
	if (!enter_landlock(s, &why))
		note_missing(r, "landlock", &why);
	why = ERROR_INIT;
	if (!limit_resources(s->profile, &why))
		note_missing(r, "limits", &why);
	why = ERROR_INIT;
	filtered = sandbox_seccomp_install(s->profile, &s->families, &why);
	if (!filtered)
		note_missing(r, "seccomp", &why);
	return filtered;
}

/* Believes the kernel more than our own return values. */
static void
compare(struct sandbox_report *r)
{
	struct error why = ERROR_INIT;

	if (r->missing[0] != '\0')
		return;
	if (r->capabilities != 0) {
		error_set(&why, ERROR_SYSTEM, "capabilities are left");
		note_missing(r, "capabilities", &why);
	}
	why = ERROR_INIT;
	if (!r->no_new_privileges || r->filters == 0) {
		error_set(&why, ERROR_SYSTEM, "/proc/self/status does not show what was done");
		note_missing(r, r->filters == 0 ? "seccomp" : "no-new-privileges", &why);
	}
}

bool
sandbox_enter(struct sandbox *s, struct sandbox_report *report, struct error *err)
{
	struct sandbox_report r = {0}, now;
	enum sandbox_mode mode;
	bool filtered;

	if (s == NULL || s->out_of_memory) {
		sandbox_free(s);
		return error_set(err, ERROR_SYSTEM, "out of memory for a sandbox");
	}
	mode = s->mode;
	if (mode == SANDBOX_OFF) {
		sandbox_look(&r);
		goto out;
	}
	filtered = give_up_all(s, &r);
	sandbox_look(&now);
	memcpy(now.missing, r.missing, sizeof now.missing);
	r = now;
	r.landlock = s->version;
	if (filtered) {
		(void)snprintf(
		    r.profile, sizeof r.profile, "%s", sandbox_calls_of[s->profile].name);
		name_sockets(&s->families, r.sockets);
	}
	compare(&r);
out:
	sandbox_free(s);
	entered = r;
	has_entered = true;
	if (report != NULL)
		*report = r;
	if (mode == SANDBOX_REQUIRE && r.missing[0] != '\0')
		return error_set(err, ERROR_SYSTEM,
		    "sandbox: require, but this process lacks: %s (the lines above say why)",
		    r.missing);
	return true;
}

bool
sandbox_available(struct error *err)
{
	if (sandbox_landlock_version() == 0)
		return no_landlock(err);
	return sandbox_seccomp_available(err);
}
