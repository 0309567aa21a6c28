#include "daemon/supervisor/runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/core/log.h"

static bool
file_in(const char *dir, const char *name, char path[PATH_MAX], struct error *err)
{
	int n = snprintf(path, PATH_MAX, "%s/%s", dir, name);

	if (n < 0 || n >= PATH_MAX)
		return error_set(err, ERROR_LIMIT, "the path %s is too long", dir);
	return true;
}

/* "process 123", or "another process" when the file does not tell. */
static void
name_holder(int fd, char *out, size_t size)
{
	char text[16] = "";
	ssize_t n = pread(fd, text, sizeof text - 1, 0);
	long pid = n > 0 ? strtol(text, NULL, 10) : 0;

	if (pid > 0)
		(void)snprintf(out, size, "process %ld", pid);
	else
		(void)snprintf(out, size, "another process");
}

static bool
write_pid(int fd)
{
	char text[16];
	int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());

	return ftruncate(fd, 0) == 0 && pwrite(fd, text, (size_t)n, 0) == n;
}

bool
runtime_claim(const char *state_dir, int *lock_fd, struct error *err)
{
	char path[PATH_MAX], holder[48];
	int fd;

	if (!file_in(state_dir, RUNTIME_LOCK_FILE, path, err))
		return false;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot open %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK) {
			name_holder(fd, holder, sizeof holder);
			error_set(err, ERROR_CONFLICT,
			    "chanceryd runs already on the state directory %s as %s", state_dir,
			    holder);
		} else {
			error_set_errno(err, ERROR_SYSTEM, "cannot lock %s", path);
		}
		(void)close(fd);
		return false;
	}
	/* The lock is what counts; on a full disk its file names nobody. */
	if (!write_pid(fd))
		log_warning("-", "cannot write the process id into %s: %s", path, strerror(errno));
	runtime_clear(state_dir);
	*lock_fd = fd;
	return true;
}

bool
runtime_write(const char *state_dir, const char *text, size_t len, struct error *err)
{
	char path[PATH_MAX], fresh[PATH_MAX];
	bool ok;
	int fd;

	if (!file_in(state_dir, RUNTIME_RUN_FILE, path, err) ||
	    !file_in(state_dir, RUNTIME_RUN_FILE ".new", fresh, err))
		return false;
	fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot write %s", fresh);
	/* Not synced: after a crash of the host nothing in it is true. */
	ok = write(fd, text, len) == (ssize_t)len && rename(fresh, path) == 0;
	if (!ok)
		error_set_errno(err, ERROR_SYSTEM, "cannot write %s", path);
	(void)close(fd);
	return ok;
}

void
runtime_clear(const char *state_dir)
{
	char path[PATH_MAX];
	struct error ignored = ERROR_INIT;

	if (file_in(state_dir, RUNTIME_RUN_FILE, path, &ignored))
		(void)unlink(path);
}

void
runtime_put_string(FILE *out, const char *s)
{
	(void)fputc('"', out);
	for (const unsigned char *p = (const unsigned char *)s; *p != '\0'; p++) {
		if (*p == '"' || *p == '\\')
			(void)fprintf(out, "\\%c", *p);
		else if (*p < 0x20)
			(void)fprintf(out, "\\u%04x", *p);
		else
			(void)fputc(*p, out);
	}
	(void)fputc('"', out);
}
