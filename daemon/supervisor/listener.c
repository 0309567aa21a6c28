#include "daemon/supervisor/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "daemon/supervisor/place.h"

_Static_assert(LISTENER_ADDRESS_MAX >= sizeof((struct sockaddr_un *)NULL)->sun_path,
    "a Unix socket's path fits");

static struct sockaddr_un
unix_address(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	(void)snprintf(addr.sun_path, sizeof addr.sun_path, "%s", path);
	return addr;
}

/* Makes way for a new socket at path: nothing there, or a socket on which
 * nobody answers, which is removed. */
static bool
clear_path(const char *path, struct error *err)
{
	struct sockaddr_un addr = unix_address(path);
	struct stat st;
	int fd, result, reason;

	if (lstat(path, &st) < 0) {
		if (errno == ENOENT)
			return true;
		return error_set_errno(err, ERROR_SYSTEM, "cannot listen on %s", path);
	}
	if (!S_ISSOCK(st.st_mode))
		return error_set(err, ERROR_CONFLICT,
		    "cannot listen on %s: something that is no socket has this name", path);
	/* Not blocking: a full queue (EAGAIN) means that somebody listens. */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot make a socket");
	result = connect(fd, (struct sockaddr *)&addr, sizeof addr);
	reason = errno;
	(void)close(fd);
	if (result == 0 || reason != ECONNREFUSED)
		return error_set(err, ERROR_CONFLICT,
		    "cannot listen on %s: another process answers there", path);
	if (unlink(path) < 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot replace the old socket %s", path);
	return true;
}

/* Group and mode of the socket itself, by its descriptor: whatever has its name by
 * now is not touched. The group first, because chown may take mode bits away. */
static bool
set_access(const char *path, const struct config_front *f, struct error *err)
{
	int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	char self[32];
	struct stat st;
	bool ok = false;

	if (fd < 0 || fstat(fd, &st) != 0 || !S_ISSOCK(st.st_mode)) {
		error_set(err, ERROR_CONFLICT, "%s is not the socket that was made there", path);
		goto out;
	}
	if (f->unix_gid != (gid_t)-1 &&
	    fchownat(fd, "", (uid_t)-1, f->unix_gid, AT_EMPTY_PATH) < 0) {
		error_set_errno(
		    err, ERROR_SYSTEM, "cannot give %s to group %s", path, f->unix_group);
		goto out;
	}
	(void)snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	if (chmod(self, f->unix_mode) < 0) {
		error_set_errno(err, ERROR_SYSTEM, "cannot set the mode of %s", path);
		goto out;
	}
	ok = true;
out:
	if (fd >= 0)
		(void)close(fd);
	return ok;
}

static bool
open_unix(const struct config_front *f, struct listener *l, struct error *err)
{
	struct sockaddr_un addr = unix_address(f->unix_path);
	mode_t before;
	int fd, result;

	if (!clear_path(f->unix_path, err))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot make a socket");
	/* Closed to all until its mode is set; it accepts nobody before listen. */
	before = umask(0777);
	result = bind(fd, (struct sockaddr *)&addr, sizeof addr);
	(void)umask(before);
	if (result < 0) {
		error_set_errno(err, ERROR_SYSTEM, "cannot listen on %s", f->unix_path);
		(void)close(fd);
		return false;
	}
	if (!set_access(f->unix_path, f, err) || listen(fd, LISTENER_BACKLOG) < 0) {
		error_set_errno(err, ERROR_SYSTEM, "cannot listen on %s", f->unix_path);
		(void)unlink(f->unix_path);
		(void)close(fd);
		return false;
	}
	l->fd = fd;
	(void)snprintf(l->actual, sizeof l->actual, "%s", f->unix_path);
	return true;
}

static bool
name_socket(struct listener *l, struct error *err)
{
	char host[INET6_ADDRSTRLEN];
	union {
		struct sockaddr_storage any;
		struct sockaddr_in in4;
		struct sockaddr_in6 in6;
	} addr = {0};
	socklen_t len = sizeof addr;

	if (getsockname(l->fd, (struct sockaddr *)&addr, &len) < 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot name a socket");
	if (addr.any.ss_family == AF_INET6) {
		l->port = ntohs(addr.in6.sin6_port);
		(void)inet_ntop(AF_INET6, &addr.in6.sin6_addr, host, sizeof host);
		(void)snprintf(l->actual, sizeof l->actual, "[%s]:%u", host, l->port);
	} else {
		l->port = ntohs(addr.in4.sin_port);
		(void)inet_ntop(AF_INET, &addr.in4.sin_addr, host, sizeof host);
		(void)snprintf(l->actual, sizeof l->actual, "%s:%u", host, l->port);
	}
	return true;
}

static bool
open_address(const struct config_address *a, struct listener *l, struct error *err)
{
	int on = 1;

	l->fd = socket(a->addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (l->fd < 0)
		return error_set_errno(err, ERROR_SYSTEM, "cannot make a socket for %s", a->text);
	/* "[::]" is IPv6 only, whatever the system's setting says: the same
	 * file must mean the same everywhere. */
	if (setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
	    (a->addr.ss_family == AF_INET6 &&
		setsockopt(l->fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on) < 0))
		return error_set_errno(err, ERROR_SYSTEM, "cannot set up a socket for %s", a->text);
	if (bind(l->fd, (const struct sockaddr *)&a->addr, a->len) < 0 ||
	    listen(l->fd, LISTENER_BACKLOG) < 0) {
		if (errno == EADDRINUSE)
			return error_set(err, ERROR_CONFLICT,
			    "cannot listen on %s: another process uses this address", a->text);
		if (errno == EACCES)
			return error_set(err, ERROR_DENIED,
			    "cannot listen on %s: ports below 1024 need CAP_NET_BIND_SERVICE",
			    a->text);
		return error_set_errno(err, ERROR_SYSTEM, "cannot listen on %s", a->text);
	}
	return name_socket(l, err);
}

static bool
is_in(const struct listeners *l, const char *configured)
{
	for (size_t i = 0; l != NULL && i < l->count; i++) {
		if (strcmp(l->items[i].configured, configured) == 0)
			return true;
	}
	return false;
}

/* How many sockets of out come from the same entry: two "127.0.0.1:0" are two. */
static size_t
count_same(const struct listeners *out, const struct listener *l)
{
	size_t n = 0;

	for (size_t i = 0; i < out->count; i++)
		n += &out->items[i] != l && strcmp(out->items[i].configured, l->configured) == 0;
	return n;
}

/* Shares the open socket of old, if there is one. Its kind does not matter: an
 * address may change from http to https. */
static bool
share(const struct listeners *old, const struct listeners *out, struct listener *l)
{
	size_t skip = count_same(out, l);

	for (size_t i = 0; old != NULL && i < old->count; i++) {
		const struct listener *o = &old->items[i];

		if (strcmp(o->configured, l->configured) != 0 || skip-- > 0)
			continue;
		l->fd = fcntl(o->fd, F_DUPFD_CLOEXEC, 0);
		memcpy(l->actual, o->actual, sizeof l->actual);
		l->port = o->port;
		return l->fd >= 0;
	}
	return false;
}

static struct listener *
add(struct listeners *out, const char *kind, unsigned index, const char *configured)
{
	struct listener *l = &out->items[out->count++];

	*l = (struct listener){.kind = kind, .index = index, .fd = -1};
	(void)snprintf(l->configured, sizeof l->configured, "%s", configured);
	return l;
}

/* Root, who makes and removes it by its name, does so only where nobody else can
 * put a link in its place. */
static bool
directory_is_safe(const char *path, struct error *err)
{
	const char *slash = strrchr(path, '/');
	char directory[LISTENER_ADDRESS_MAX];

	(void)snprintf(
	    directory, sizeof directory, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	return place_is_safe(directory, err);
}

static bool
open_all(const struct config_front *f, const struct listeners *old, struct listeners *out,
    struct error *err)
{
	struct listener *l;

	for (size_t i = 0; i < f->http_count; i++) {
		l = add(out, "http", (unsigned)i, f->http[i].text);
		if (!share(old, out, l) && !open_address(&f->http[i], l, err))
			return false;
	}
	for (size_t i = 0; i < f->https_count; i++) {
		l = add(out, "https", (unsigned)i, f->https[i].listen.text);
		if (!share(old, out, l) && !open_address(&f->https[i].listen, l, err))
			return false;
	}
	if (f->metrics.text != NULL) {
		l = add(out, "metrics", 0, f->metrics.text);
		if (!share(old, out, l) && !open_address(&f->metrics, l, err))
			return false;
	}
	/* Last, because a shared socket gets its new mode at once. */
	if (f->unix_path == NULL)
		return true;
	l = add(out, "unix", 0, f->unix_path);
	if (share(old, out, l))
		return set_access(f->unix_path, f, err);
	return open_unix(f, l, err);
}

bool
listeners_open(
    const struct config *cfg, const struct listeners *old, struct listeners *out, struct error *err)
{
	struct listeners got = {0};

	*out = (struct listeners){0};
	got.items = calloc(2 + cfg->front.http_count + cfg->front.https_count, sizeof *got.items);
	if (got.items == NULL)
		return error_set(err, ERROR_SYSTEM, "out of memory for listeners");
	if (cfg->separation == CONFIG_SEPARATION_USERS && cfg->front.unix_path != NULL &&
	    !directory_is_safe(cfg->front.unix_path, err)) {
		free(got.items);
		return false;
	}
	if (!open_all(&cfg->front, old, &got, err)) {
		listeners_close(&got, old);
		return false;
	}
	*out = got;
	return true;
}

void
listeners_close(struct listeners *l, const struct listeners *kept)
{
	for (size_t i = 0; i < l->count; i++) {
		if (l->items[i].fd < 0)
			continue;
		(void)close(l->items[i].fd);
		if (strcmp(l->items[i].kind, "unix") == 0 && !is_in(kept, l->items[i].configured))
			(void)unlink(l->items[i].configured);
	}
	free(l->items);
	*l = (struct listeners){0};
}
