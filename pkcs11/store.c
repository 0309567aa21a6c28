#include "pkcs11/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/core/config.h"

bool
store_signer_dir(
    const struct config *config, const char *token, char *out, size_t size, struct error *e)
{
	int n = snprintf(out, size, "%s/signer-%s", config->state_dir, token);

	if (n < 0 || (size_t)n >= size)
		return error_set(e, ERROR_CONFIG, "state_dir is too long");
	return true;
}

bool
store_make_dir(const char *dir, struct error *e)
{
	struct stat st;

	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return error_set_errno(e, ERROR_SYSTEM, "cannot make the directory %s", dir);
	if (lstat(dir, &st) != 0)
		return error_set_errno(e, ERROR_SYSTEM, "cannot look at %s", dir);
	if (!S_ISDIR(st.st_mode) || (st.st_mode & 077) != 0 || st.st_uid != geteuid())
		return error_set(e, ERROR_CONFIG,
		    "%s must be a directory of the signer's own user with mode 0700", dir);
	return true;
}

static bool
sync_dir(int dir_fd, const char *dir, struct error *e)
{
	if (fsync(dir_fd) != 0)
		return error_set_errno(e, ERROR_SYSTEM, "cannot write %s to the disk", dir);
	return true;
}

static int
open_dir(const char *dir, struct error *e)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		(void)error_set_errno(e, ERROR_SYSTEM, "cannot open the directory %s", dir);
	return fd;
}

static bool
write_all(int fd, const char *text, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		text += n;
		len -= (size_t)n;
	}
	return fsync(fd) == 0;
}

bool
store_write(
    const char *dir, const char *name, const char *text, size_t len, bool replace, struct error *e)
{
	char temporary[128];
	int dir_fd = -1, fd = -1;
	bool ok = false;

	(void)snprintf(temporary, sizeof temporary, ".%s.new", name);
	dir_fd = open_dir(dir, e);
	if (dir_fd < 0)
		goto out;
	/* What a crash left behind is of no use. */
	(void)unlinkat(dir_fd, temporary, 0);
	fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || !write_all(fd, text, len)) {
		(void)error_set_errno(e, ERROR_SYSTEM, "cannot write %s/%s", dir, temporary);
		goto out;
	}
	if (renameat2(dir_fd, temporary, dir_fd, name, replace ? 0 : RENAME_NOREPLACE) != 0) {
		(void)error_set_errno(e, errno == EEXIST ? ERROR_CONFLICT : ERROR_SYSTEM,
		    "cannot put %s/%s in its place", dir, name);
		(void)unlinkat(dir_fd, temporary, 0);
		goto out;
	}
	ok = sync_dir(dir_fd, dir, e);
out:
	if (fd >= 0)
		(void)close(fd);
	if (dir_fd >= 0)
		(void)close(dir_fd);
	return ok;
}

bool
store_read(const char *dir, const char *name, char *buf, size_t size, size_t *len, struct error *e)
{
	char path[4096], extra;
	bool ok = false;
	int fd = -1;
	ssize_t n;

	*len = 0;
	if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
		return error_set(e, ERROR_LIMIT, "the path %s/%s is too long", dir, name);
	if (access(path, F_OK) != 0 && errno == ENOENT)
		return error_set(e, ERROR_NOT_FOUND, "%s does not exist", path);
	if (!config_open_secret(path, &fd, e))
		return false;
	while (*len < size) {
		n = read(fd, buf + *len, size - *len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		*len += (size_t)n;
	}
	n = read(fd, &extra, 1);
	if (n < 0)
		(void)error_set_errno(e, ERROR_SYSTEM, "cannot read %s", path);
	else if (n > 0)
		(void)error_set(
		    e, ERROR_LIMIT, "%s is longer than the %zu bytes allowed", path, size);
	else
		ok = true;
	(void)close(fd);
	return ok;
}

bool
store_remove(const char *dir, const char *name, struct error *e)
{
	int dir_fd = open_dir(dir, e);
	bool ok;

	if (dir_fd < 0)
		return false;
	if (unlinkat(dir_fd, name, 0) == 0)
		ok = sync_dir(dir_fd, dir, e);
	else
		ok = errno == ENOENT ||
		     error_set_errno(e, ERROR_SYSTEM, "cannot remove %s/%s", dir, name);
	(void)close(dir_fd);
	return ok;
}
