#include "daemon/publish/credential.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <openssl/crypto.h>

#include "daemon/core/config.h"

#define NAME_LEN_MAX 64

bool
credential_name_is_good(const char *name)
{
	size_t len = strlen(name);

	return len >= 1 && len <= NAME_LEN_MAX && name[0] != '.' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") ==
		   len;
}

bool
credential_path(const char *folder, const char *name, char *out, size_t size, struct error *err)
{
	int n;

	if (!credential_name_is_good(name))
		return error_set(err, ERROR_INPUT,
		    "the credential name '%s' is not a plain file name: letters, digits and ._- "
		    "only",
		    name);
	if (folder == NULL || folder[0] == '\0')
		return error_set(err, ERROR_CONFIG,
		    "credential '%s' is wanted, but the configuration has no "
		    "issuer.credentials_dir",
		    name);
	n = snprintf(out, size, "%s/%s", folder, name);
	if (n < 0 || (size_t)n >= size)
		return error_set(err, ERROR_LIMIT, "the path of credential '%s' is too long", name);
	return true;
}

static bool
read_line(int fd, const char *path, struct credential *c, struct error *err)
{
	size_t used = 0;

	for (;;) {
		ssize_t n = read(fd, c->text + used, sizeof c->text - used);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(err, ERROR_SYSTEM, "reading %s", path);
		if (n == 0)
			break;
		used += (size_t)n;
		if (used == sizeof c->text)
			return error_set(
			    err, ERROR_LIMIT, "%s holds more than %d octets", path, CREDENTIAL_MAX);
	}
	if (used > 0 && c->text[used - 1] == '\n')
		used--;
	if (used > 0 && c->text[used - 1] == '\r')
		used--;
	for (size_t i = 0; i < used; i++) {
		if ((unsigned char)c->text[i] < 0x20 || c->text[i] == 0x7f)
			return error_set(
			    err, ERROR_CONFIG, "%s must hold one line without control bytes", path);
	}
	if (used == 0)
		return error_set(err, ERROR_CONFIG, "%s is empty", path);
	c->text[used] = '\0';
	c->len = used;
	return true;
}

bool
credential_load(const char *path, struct credential *c, struct error *err)
{
	bool ok;
	int fd;

	memset(c, 0, sizeof *c);
	if (path[0] == '\0')
		return true;
	if (!config_open_secret(path, &fd, err))
		return false;
	ok = read_line(fd, path, c, err);
	(void)close(fd);
	if (!ok)
		credential_wipe(c);
	return ok;
}

bool
credential_check(const char *path, struct error *err)
{
	int fd;

	if (!config_open_secret(path, &fd, err))
		return false;
	(void)close(fd);
	return true;
}

void
credential_wipe(struct credential *c)
{
	OPENSSL_cleanse(c, sizeof *c);
}

bool
credential_host_is_loopback(const char *host)
{
	if (strcasecmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
	    strcmp(host, "[::1]") == 0)
		return true;
	/* Digits and dots only: "127.evil.example" is a name. */
	return strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == strlen(host);
}
