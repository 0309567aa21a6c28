#include "daemon/core/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CAPABILITIES_MAX 64
#define ID_MAX 4294967294UL /* (uid_t)-1 means "as before" to the kernel */

/* ---- who it is */

static bool
parse_number(const char *text, size_t len, unsigned long *out)
{
	if (len == 0 || len > 10 || strspn(text, "0123456789") < len || (text[0] == '0' && len > 1))
		return false;
	*out = strtoul(text, NULL, 10);
	return *out <= ID_MAX;
}

static bool
parse_numbers(const char *text, struct identity *id)
{
	const char *colon = strchr(text, ':');
	unsigned long uid, gid;

	if (colon == NULL || !parse_number(text, (size_t)(colon - text), &uid) ||
	    !parse_number(colon + 1, strlen(colon + 1), &gid))
		return false;
	id->uid = (uid_t)uid;
	id->gid = (gid_t)gid;
	id->groups[0] = id->gid;
	id->group_count = 1;
	return true;
}

static bool
look_up(const char *text, struct identity *id, struct error *err)
{
	int count = IDENTITY_GROUPS_MAX;
	const struct passwd *user;

	errno = 0;
	user = getpwnam(text);
	if (user == NULL)
		return error_set(err, ERROR_CONFIG,
		    "'%.63s' is no user of this host; allowed: a user's name, or \"uid:gid\" as "
		    "two "
		    "numbers",
		    text);
	id->uid = user->pw_uid;
	id->gid = user->pw_gid;
	if (getgrouplist(text, id->gid, id->groups, &count) < 0)
		return error_set(err, ERROR_CONFIG, "user '%.63s' is in more than %d groups", text,
		    IDENTITY_GROUPS_MAX);
	id->group_count = (size_t)count;
	return true;
}

bool
identity_parse(const char *text, struct identity *out, struct error *err)
{
	struct identity id = {0};

	if (strlen(text) >= sizeof id.name)
		return error_set(err, ERROR_CONFIG, "'%.63s...' is too long for a user", text);
	(void)snprintf(id.name, sizeof id.name, "%s", text);
	if (!parse_numbers(text, &id) && !look_up(text, &id, err))
		return false;
	if (id.uid == 0 || id.gid == 0)
		return error_set(err, ERROR_CONFIG,
		    "'%s' is root, or has root's group; allowed: a user without rights of its own",
		    text);
	*out = id;
	return true;
}

/* ---- becoming it */

static bool
drop_capabilities(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {0};

	/* The change of uid took them; unless somebody set securebits before us. */
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &header, none) == 0;
}

/* As the kernel sees it; and the way back is closed. */
static bool
is_assumed(const struct identity *id)
{
	uid_t uid[3];
	gid_t gid[3];

	if (getresuid(&uid[0], &uid[1], &uid[2]) != 0 || getresgid(&gid[0], &gid[1], &gid[2]) != 0)
		return false;
	for (int i = 0; i < 3; i++) {
		if (uid[i] != id->uid || gid[i] != id->gid)
			goto wrong;
	}
	if (syscall(SYS_setresuid, -1, 0, -1) == 0 || syscall(SYS_setresgid, -1, 0, -1) == 0)
		goto wrong;
	return true;
wrong:
	errno = EPERM;
	return false;
}

bool
identity_assume(const struct identity *id)
{
	/* Needs CAP_SETPCAP; where that is not given, no-new-privileges does it. */
	for (int cap = 0; cap < CAPABILITIES_MAX; cap++) {
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0)
			break;
	}
	/* Not the C library's functions, which tell other threads: after a fork from
	 * a process with threads that is not safe. */
	if (syscall(SYS_setgroups, id->group_count, id->groups) != 0 ||
	    syscall(SYS_setresgid, id->gid, id->gid, id->gid) != 0 ||
	    syscall(SYS_setresuid, id->uid, id->uid, id->uid) != 0)
		return false;
	return drop_capabilities() && is_assumed(id);
}

/* ---- looking with its eyes */

static NORETURN void
be_child(const struct identity *id, identity_check_fn *check, void *arg, int answer)
{
	struct error err = ERROR_INIT;

	if (!identity_assume(id))
		error_set_errno(&err, ERROR_SYSTEM, "cannot become user %s", id->name);
	else if (!check(arg, &err) && !error_is_set(&err))
		error_set(&err, ERROR_INTERNAL, "a check failed without a reason");
	if (write(answer, &err, sizeof err) != (ssize_t)sizeof err)
		_exit(1);
	_exit(0);
}

static bool
read_answer(int fd, struct error *err)
{
	struct error answer = ERROR_INIT;
	ssize_t n;

	do
		n = read(fd, &answer, sizeof answer);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)sizeof answer)
		return error_set(
		    err, ERROR_SYSTEM, "a check in a process of its own did not end well");
	if (!error_is_set(&answer))
		return true;
	*err = answer;
	return false;
}

bool
identity_check(const struct identity *id, identity_check_fn *check, void *arg, struct error *err)
{
	sigset_t all, before;
	int answer[2];
	pid_t child;
	bool ok;

	if (id == NULL)
		return check(arg, err);
	if (pipe2(answer, O_CLOEXEC) < 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot make a pipe");
	/* Nor may a handler of ours run in the child. */
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	child = fork();
	if (child == 0)
		be_child(id, check, arg, answer[1]);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	(void)close(answer[1]);
	if (child < 0)
		ok = error_set_errno(err, ERROR_SYSTEM, "cannot start a process");
	else
		ok = read_answer(answer[0], err);
	(void)close(answer[0]);
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
	return ok;
}
