#include "daemon/core/notify.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static bool
make_address(const char *name, struct sockaddr_un *addr, socklen_t *addr_len, struct error *err)
{
	size_t len = strlen(name);

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if ((name[0] != '/' && name[0] != '@') || len < 2 || len >= sizeof addr->sun_path)
		return error_set(err, ERROR_CONFIG,
		    "NOTIFY_SOCKET must be an absolute path or an abstract name with \"@\" "
		    "of at most %zu bytes",
		    sizeof addr->sun_path - 1);
	memcpy(addr->sun_path, name, len);
	if (name[0] == '@')
		addr->sun_path[0] = '\0';
	/* The length of an abstract name counts: no padding, no NUL. */
	*addr_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return true;
}

bool
notify_send(struct error *err, const char *fmt, ...)
{
	const char *name = getenv("NOTIFY_SOCKET");
	struct timeval limit = {.tv_sec = 1};
	char text[NOTIFY_TEXT_MAX];
	struct sockaddr_un addr;
	socklen_t addr_len = 0;
	bool ok = false;
	va_list ap;
	int fd = -1, n;

	if (name == NULL)
		return true;
	if (!make_address(name, &addr, &addr_len, err))
		return false;
	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	if (n < 0 || (size_t)n >= sizeof text)
		return error_set(
		    err, ERROR_LIMIT, "a notification has at most %d bytes", NOTIFY_TEXT_MAX - 1);
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 ||
	    sendto(fd, text, (size_t)n, MSG_NOSIGNAL, (struct sockaddr *)&addr, addr_len) < 0) {
		error_set_errno(err, ERROR_SYSTEM, "cannot notify the service manager at %s", name);
		goto out;
	}
	ok = true;
out:
	if (fd >= 0)
		(void)close(fd);
	return ok;
}
