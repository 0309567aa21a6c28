#include "daemon/core/config_int.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOST_MAX 64

static bool
is_ours(const struct stat *st)
{
	return st->st_uid == 0 || st->st_uid == geteuid();
}

bool
config_open_secret(const char *path, int *fd, struct error *err)
{
	struct stat st;
	int opened;

	/* O_NONBLOCK: opening a FIFO must not wait for its other end. */
	opened = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (opened < 0 && errno == ELOOP)
		return error_set(err, ERROR_CONFIG,
		    "'%s' is a symbolic link; allowed: the regular file itself", path);
	if (opened < 0 && errno == EACCES)
		return error_set_errno(err, ERROR_CONFIG,
		    "'%s' cannot be read by uid %u, to whom it must belong", path,
		    (unsigned)geteuid());
	if (opened < 0)
		return error_set_errno(err, ERROR_CONFIG, "'%s' cannot be read", path);
	if (fstat(opened, &st) < 0)
		error_set_errno(err, ERROR_CONFIG, "'%s' cannot be read", path);
	else if (!S_ISREG(st.st_mode))
		error_set(err, ERROR_CONFIG, "'%s' is no regular file", path);
	else if (!is_ours(&st))
		error_set(err, ERROR_CONFIG,
		    "'%s' belongs to uid %u; allowed: root or uid %u, as which this runs", path,
		    (unsigned)st.st_uid, (unsigned)geteuid());
	else if ((st.st_mode & 07177) != 0)
		error_set(err, ERROR_CONFIG,
		    "'%s' has mode %04o; allowed: 0600 or stricter (chmod 0600)", path,
		    (unsigned)st.st_mode & 07777);
	else {
		*fd = opened;
		return true;
	}
	(void)close(opened);
	return false;
}

bool
config_check_secret(const char *path, struct error *err)
{
	int fd;

	if (!config_open_secret(path, &fd, err))
		return false;
	(void)close(fd);
	return true;
}

/* Opens a regular file for reading; -1 with err set. */
static int
open_file(const char *path, struct error *err)
{
	struct stat st;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		error_set_errno(err, ERROR_CONFIG, "'%s' cannot be read", path);
		return -1;
	}
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		error_set(err, ERROR_CONFIG, "'%s' is no regular file", path);
		(void)close(fd);
		return -1;
	}
	return fd;
}

bool
config_check_file(const char *path, struct error *err)
{
	int fd = open_file(path, err);

	if (fd < 0)
		return false;
	(void)close(fd);
	return true;
}

bool
config_check_module(const char *path, struct error *err)
{
	int fd = open_file(path, err);
	char magic[4];
	ssize_t n;

	if (fd < 0)
		return error_wrap(err, "the PKCS#11 module");
	n = read(fd, magic, sizeof magic);
	(void)close(fd);
	if (n != (ssize_t)sizeof magic || memcmp(magic, "\177ELF", sizeof magic) != 0)
		return error_set(err, ERROR_CONFIG,
		    "'%s' is no PKCS#11 module; allowed: a shared library such as "
		    "/usr/lib/softhsm/libsofthsm2.so",
		    path);
	return true;
}

static bool
check_parent(const char *path, struct error *err)
{
	const char *slash = strrchr(path, '/');
	char *parent;
	struct stat st;
	bool there;

	parent = slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
	if (parent == NULL)
		return error_set(err, ERROR_SYSTEM, "out of memory");
	there = stat(parent, &st) == 0 && S_ISDIR(st.st_mode);
	if (!there)
		error_set(err, ERROR_CONFIG,
		    "'%s' cannot be made, because the directory '%s' does not exist", path, parent);
	free(parent);
	return there;
}

bool
config_check_directory(const char *path, mode_t forbidden, bool may_be_made, struct error *err)
{
	struct stat st;

	if (lstat(path, &st) < 0 && errno == ENOENT && may_be_made)
		return check_parent(path, err);
	if (stat(path, &st) < 0)
		return error_set_errno(err, ERROR_CONFIG, "'%s' cannot be used", path);
	if (!S_ISDIR(st.st_mode))
		return error_set(err, ERROR_CONFIG, "'%s' is no directory", path);
	if (!is_ours(&st))
		return error_set(err, ERROR_CONFIG,
		    "'%s' belongs to uid %u; allowed: root or uid %u, as which this runs", path,
		    (unsigned)st.st_uid, (unsigned)geteuid());
	if ((st.st_mode & forbidden) != 0)
		return error_set(err, ERROR_CONFIG,
		    "'%s' has mode %04o; allowed: %04o (chmod %04o)", path,
		    (unsigned)st.st_mode & 07777, 0777 & ~(unsigned)forbidden,
		    0777 & ~(unsigned)forbidden);
	if (access(path, R_OK | X_OK) != 0)
		return error_set_errno(
		    err, ERROR_CONFIG, "'%s' cannot be used by uid %u", path, (unsigned)geteuid());
	return true;
}

/* Splits "host:port" or "[host]:port"; *v6 says which. */
static bool
split_address(const char *text, char host[HOST_MAX], const char **port, bool *v6)
{
	const char *end;
	size_t len;

	*v6 = text[0] == '[';
	text += *v6 ? 1 : 0;
	end = strchr(text, *v6 ? ']' : ':');
	if (end == NULL || (len = (size_t)(end - text)) >= HOST_MAX)
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	if (*v6 && *++end != ':')
		return false;
	*port = end + 1;
	return true;
}

static bool
parse_port(const char *text, uint16_t *port)
{
	size_t len = strspn(text, "0123456789");
	unsigned long v;

	if (len == 0 || len > 5 || text[len] != '\0' || (text[0] == '0' && len > 1))
		return false;
	v = strtoul(text, NULL, 10);
	*port = (uint16_t)v;
	return v <= UINT16_MAX;
}

bool
config_parse_address(const char *text, struct config_address *out, struct error *err)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct sockaddr_in in4 = {.sin_family = AF_INET};
	struct config_address got = {0};
	char host[HOST_MAX];
	const char *digits;
	uint16_t port = 0;
	bool v6;

	if (!split_address(text, host, &digits, &v6) || !parse_port(digits, &port) ||
	    inet_pton(v6 ? AF_INET6 : AF_INET, host,
		v6 ? (void *)&in6.sin6_addr : (void *)&in4.sin_addr) != 1)
		return error_set(err, ERROR_CONFIG,
		    "'%.80s' is no address; allowed: numbers as in \"127.0.0.1:8080\" or "
		    "\"[::1]:8080\", port 0 to 65535",
		    text);
	in6.sin6_port = in4.sin_port = htons(port);
	got.len = v6 ? sizeof in6 : sizeof in4;
	memcpy(&got.addr, v6 ? (void *)&in6 : (void *)&in4, got.len);
	got.text = strdup(text);
	if (got.text == NULL)
		return error_set(err, ERROR_SYSTEM, "out of memory");
	*out = got;
	return true;
}
