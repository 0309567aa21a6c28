#include "daemon/supervisor/install.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Directories above self that may be the top of a source tree: build/chanceryd
 * and build/asan/chanceryd. */
#define BUILD_DEPTH_MAX 2

static bool PRINTF(2, 3) put(char path[PATH_MAX], const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(path, PATH_MAX, fmt, ap);
	va_end(ap);
	return n >= 0 && n < PATH_MAX;
}

/* Cuts the last part off; false at the root. */
static bool
to_parent(char path[PATH_MAX])
{
	char *slash = strrchr(path, '/');

	if (slash == NULL || slash == path)
		return false;
	*slash = '\0';
	return true;
}

bool
install_find_self(char path[PATH_MAX], struct error *err)
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);

	if (n < 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot find the path of this program");
	path[n] = '\0';
	return true;
}

bool
install_find_signer(const char *self, char path[PATH_MAX], struct error *err)
{
	char dir[PATH_MAX];

	if (put(dir, "%s", self) && to_parent(dir) && put(path, "%s/chancery-signer", dir) &&
	    access(path, X_OK) == 0)
		return true;
	if (put(path, "%s/chancery-signer", CHANCERY_LIBEXECDIR) && access(path, X_OK) == 0)
		return true;
	return error_set(err, ERROR_NOT_FOUND,
	    "chancery-signer is neither beside %s nor in %s; the installation is incomplete", self,
	    CHANCERY_LIBEXECDIR);
}

bool
install_find_migrations(const char *self, char path[PATH_MAX], struct error *err)
{
	char dir[PATH_MAX], file[PATH_MAX];

	if (put(dir, "%s", self) && to_parent(dir)) {
		for (int i = 0; i < BUILD_DEPTH_MAX && to_parent(dir); i++) {
			if (put(file, "%s/daemon/chanceryd.c", dir) && access(file, R_OK) == 0)
				return put(path, "%s/migrations", dir);
		}
	}
	if (put(path, "%s/migrations", CHANCERY_DATADIR) && access(path, R_OK) == 0)
		return true;
	return error_set(err, ERROR_NOT_FOUND,
	    "the migrations are not in %s/migrations; name their directory with --migrations",
	    CHANCERY_DATADIR);
}
