#include "daemon/supervisor/place.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SPOOL "spool" /* the issuer's (daemon/publish/outbox.c) */

/* ---- the way there */

static bool
is_sound(const char *path, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) != 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot look at %s", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return error_set(err, ERROR_CONFIG,
		    "%s belongs to uid %u, who could lead root astray there; allowed: root's "
		    "(chown "
		    "root)",
		    path, (unsigned)st.st_uid);
	if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0 && (st.st_mode & S_ISVTX) == 0)
		return error_set(err, ERROR_CONFIG,
		    "%s has mode %04o, so that others could lead root astray there; allowed: "
		    "writable by its owner only (chmod go-w)",
		    path, (unsigned)st.st_mode & 07777);
	return true;
}

bool
place_is_safe(const char *path, struct error *err)
{
	char whole[PATH_MAX], *slash;

	if (realpath(path, whole) == NULL)
		return error_set_errno(err, ERROR_SYSTEM, "cannot find %s", path);
	while (is_sound(whole[0] != '\0' ? whole : "/", err)) {
		slash = strrchr(whole, '/');
		if (slash == NULL)
			return true;
		*slash = '\0';
	}
	return false;
}

static bool
parent_is_safe(const char *path, struct error *err)
{
	const char *slash = strrchr(path, '/');
	char parent[PATH_MAX];

	(void)snprintf(
	    parent, sizeof parent, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	return place_is_safe(parent, err);
}

/* ---- directories for others */

static bool
is_given(int dir, const char *where, const char *name, const struct identity *user, bool *empty,
    struct error *err)
{
	struct stat st;
	bool ok = false;
	int fd;

	*empty = false;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == EACCES)
		fd = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) != 0) {
		error_set_errno(err, ERROR_CONFIG,
		    "%s/%s cannot be used; allowed: a directory, or nothing", where, name);
		goto out;
	}
	ok = st.st_uid == user->uid;
	if (ok)
		goto out;
	/* An earlier start got no further; or nobody has used it yet. */
	if (st.st_uid == geteuid() && unlinkat(dir, name, AT_REMOVEDIR) == 0)
		*empty = true;
	else
		error_set(err, ERROR_CONFIG,
		    "%s/%s belongs to uid %u; allowed: user %s (look at what is in it, then chown "
		    "-R -h --from=%u %u:%u %s/%s)",
		    where, name, (unsigned)st.st_uid, user->name, (unsigned)st.st_uid,
		    (unsigned)user->uid, (unsigned)user->gid, where, name);
out:
	if (fd >= 0)
		(void)close(fd);
	return ok;
}

/* Makes it and gives it away, by its descriptor: the name is not looked up again. */
static bool
make_for(
    int dir, const char *where, const char *name, const struct identity *user, struct error *err)
{
	bool empty, ok;
	int fd;

	if (mkdirat(dir, name, 0700) != 0) {
		if (errno != EEXIST)
			return error_set_errno(err, ERROR_SYSTEM, "cannot make %s/%s", where, name);
		if (is_given(dir, where, name, user, &empty, err))
			return true;
		if (!empty || error_is_set(err))
			return false;
		if (mkdirat(dir, name, 0700) != 0)
			return error_set_errno(err, ERROR_SYSTEM, "cannot make %s/%s", where, name);
	}
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	ok = fd >= 0 && fchown(fd, user->uid, user->gid) == 0;
	if (!ok)
		error_set_errno(
		    err, ERROR_SYSTEM, "cannot give %s/%s to user %s", where, name, user->name);
	if (fd >= 0)
		(void)close(fd);
	return ok;
}

static bool
make_all(const struct config *cfg, int dir, struct error *err)
{
	char name[CONFIG_TOKEN_NAME_MAX + sizeof "signer-"];

	for (size_t i = 0; i < cfg->token_count; i++) {
		(void)snprintf(name, sizeof name, "signer-%s", cfg->tokens[i].name);
		if (!make_for(dir, cfg->state_dir, name, &cfg->tokens[i].user, err))
			return false;
	}
	return make_for(dir, cfg->state_dir, SPOOL, &cfg->issuer_user, err);
}

bool
place_state(const struct config *cfg, struct error *err)
{
	bool users = cfg->separation == CONFIG_SEPARATION_USERS;
	bool ok;
	int dir;

	if (users && !parent_is_safe(cfg->state_dir, err))
		return false;
	if (mkdir(cfg->state_dir, 0700) != 0 && errno != EEXIST)
		return error_set_errno(
		    err, ERROR_SYSTEM, "cannot make the state directory %s", cfg->state_dir);
	if (!users)
		return true;
	if (!place_is_safe(cfg->state_dir, err))
		return false;
	dir = open(cfg->state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot open %s", cfg->state_dir);
	ok = fchmod(dir, 0711) == 0;
	if (!ok)
		error_set_errno(err, ERROR_SYSTEM, "cannot set the mode of %s", cfg->state_dir);
	ok = ok && make_all(cfg, dir, err);
	(void)close(dir);
	return ok;
}
