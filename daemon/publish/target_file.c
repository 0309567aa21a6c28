/*
 * Kind "file": a file in a folder that some web server or synchronisation
 * serves. Written beside its final name, synced and renamed, so that a reader
 * sees the old file or the new one, whole.
 */

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/publish/fetch.h"
#include "daemon/publish/file_place.h"
#include "daemon/publish/target.h"
#include "daemon/publish/writer_work.h"

#define COPY_BUFFER 65536

static bool
set_file_error(struct error *err, const char *path, const char *what)
{
	switch (errno) {
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return error_set_errno(err, ERROR_UNAVAILABLE,
		    "%s of %s: no room for it; make room on that file system, until then the old "
		    "file stays",
		    what, path);
	case EACCES:
	case EPERM:
		return error_set_errno(err, ERROR_DENIED,
		    "%s of %s: user id %u may not write there; give it the right to write in the "
		    "folder",
		    what, path, (unsigned)geteuid());
	case EROFS:
		return error_set_errno(err, ERROR_DENIED,
		    "%s of %s: the file system is read-only here; mount it for writing, and where "
		    "systemd starts the service add the folder to its ReadWritePaths",
		    what, path);
	case ENOENT:
	case ENOTDIR:
		return error_set_errno(err, ERROR_NOT_FOUND,
		    "%s of %s: the folder does not exist; create it", what, path);
	default:
		return error_set_errno(err, ERROR_SYSTEM, "%s of %s", what, path);
	}
}

static bool
write_all(int fd, const uint8_t *p, size_t len)
{
	while (len > 0) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return false;
		p += n;
		len -= (size_t)n;
	}
	return true;
}

static bool
copy_artifact(const struct target_work *work, int to, const char *path, struct error *err)
{
	uint8_t buf[COPY_BUFFER];
	off_t done = 0;

	for (;;) {
		ssize_t n = pread(work->artifact_fd, buf, sizeof buf, done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(err, ERROR_SYSTEM, "reading the artifact");
		if (n == 0)
			break;
		if (!write_all(to, buf, (size_t)n))
			return set_file_error(err, path, "writing");
		done += n;
	}
	if ((uint64_t)done != work->job->size)
		return error_set(err, ERROR_INTERNAL, "the artifact's file is not of its size");
	return true;
}

/* A group that this process's user is a member of; more no process here may do. */
static bool
give_to_group(const struct target_work *work, int fd, const char *path, struct error *err)
{
	const char *name = work->job->group;
	struct group *group;

	if (name[0] == '\0')
		return true;
	errno = 0;
	if ((group = getgrnam(name)) == NULL)
		return error_set(err, ERROR_CONFIG,
		    "target %s: there is no group '%s' on this host", work->job->target, name);
	if (fchown(fd, (uid_t)-1, group->gr_gid) == 0)
		return true;
	if (errno == EPERM)
		return error_set(err, ERROR_CONFIG,
		    "target %s: %s cannot be given to the group '%s'; make %s a member, and "
		    "restart",
		    work->job->target, path, name,
		    work->job->writer[0] != '\0' ? work->job->writer : "the issuer's user");
	return set_file_error(err, path, "giving away");
}

/* Makes the file under its part name, complete and on disk. */
static bool
write_part(const struct target_work *work, int folder, const char *part, const char *path,
    struct error *err)
{
	bool ok = false;
	int fd;

	/* What a killed attempt left. */
	if (unlinkat(folder, part, 0) < 0 && errno != ENOENT)
		return set_file_error(err, path, "removing an unfinished copy");
	fd = openat(folder, part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return set_file_error(err, path, "creating a copy");
	if (!copy_artifact(work, fd, path, err))
		goto out;
	if (!give_to_group(work, fd, path, err))
		goto out;
	/* The umask must not decide whether a web server can read it. */
	if (fchmod(fd, work->job->mode) < 0 || fsync(fd) < 0) {
		set_file_error(err, path, "writing");
		goto out;
	}
	ok = true;
out:
	/* A network file system may report a full disk only now. */
	if (close(fd) < 0 && ok)
		ok = set_file_error(err, path, "closing");
	if (!ok)
		(void)unlinkat(folder, part, 0);
	return ok;
}

static bool
file_put(const struct target_work *work, struct error *err)
{
	char folder_path[PATH_MAX], name[NAME_MAX + 1], part[NAME_MAX + 1], path[PUBLISH_URL_MAX];
	int folder = -1;
	bool ok = false;

	if (work->writer != NULL)
		return writer_ask(work, err);
	if (!file_place_parse(work->job->write_url, path, sizeof path, err))
		return false;
	if (!file_place_split(path, folder_path, sizeof folder_path, name, sizeof name, err))
		return false;
	if (!target_part_name(work->job, name, part, sizeof part))
		return error_set(err, ERROR_LIMIT, "the file name %s is too long", name);
	folder = open(folder_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0) {
		set_file_error(err, path, "opening the folder");
		goto out;
	}
	if (!write_part(work, folder, part, path, err))
		goto out;
	if (renameat(folder, part, folder, name) < 0) {
		set_file_error(err, path, "renaming the finished copy");
		(void)unlinkat(folder, part, 0);
		goto out;
	}
	if (fsync(folder) < 0) {
		set_file_error(err, path, "syncing the folder");
		goto out;
	}
	ok = true;
out:
	if (folder >= 0)
		(void)close(folder);
	return ok;
}

static bool
file_look(
    const struct target_work *work, uint64_t max, const struct fetch_sink *sink, struct error *err)
{
	char path[PUBLISH_URL_MAX];

	return file_place_parse(work->job->write_url, path, sizeof path, err) &&
	       fetch_file(path, max, sink, err);
}

const struct target_driver target_file = {"file", file_put, file_look};
