#include "daemon/publish/file_place.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/core/encode.h"

#define SCHEME "file://"

bool
file_place_is_one(const char *url)
{
	return url[0] == '/' || strncasecmp(url, "file:", strlen("file:")) == 0;
}

/* Copies in to out; with percent set, decodes %XX. */
static bool
decode(const char *in, bool percent, char *out, size_t size)
{
	size_t used = 0;

	for (; *in != '\0'; in++) {
		unsigned char c = (unsigned char)*in;

		if (percent && c == '%') {
			if (!hex_decode(in + 1, 1, &c))
				return false;
			in += 2;
		}
		if (c < 0x20 || c == 0x7f || used + 1 >= size)
			return false;
		out[used++] = (char)c;
	}
	out[used] = '\0';
	return true;
}

static bool
has_dot_part(const char *path)
{
	while (*path != '\0') {
		size_t n = strcspn(path, "/");

		if ((n == 1 && path[0] == '.') || (n == 2 && path[0] == '.' && path[1] == '.'))
			return true;
		path += n;
		path += *path == '/';
	}
	return false;
}

bool
file_place_parse(const char *url, char *path, size_t size, struct error *err)
{
	bool is_url = strncasecmp(url, SCHEME, strlen(SCHEME)) == 0;
	const char *rest = url;

	if (is_url) {
		rest += strlen(SCHEME);
		if (strncasecmp(rest, "localhost/", strlen("localhost/")) == 0)
			rest += strlen("localhost");
	}
	if (rest[0] != '/')
		return error_set(err, ERROR_INPUT,
		    "%s is no place for a file: give an absolute path or file:///PATH (RFC 8089)",
		    url);
	if (!decode(rest, is_url, path, size))
		return error_set(err, ERROR_INPUT,
		    "%s: the path is too long, has control bytes or a wrong %%XX (RFC 3986 2.1)",
		    url);
	if (has_dot_part(path))
		return error_set(err, ERROR_INPUT, "%s: '.' and '..' have no place in it", url);
	return true;
}

bool
file_place_split(const char *path, char *folder, size_t folder_size, char *name, size_t name_size,
    struct error *err)
{
	const char *slash = strrchr(path, '/');
	size_t folder_len;

	if (slash == NULL || slash[1] == '\0')
		return error_set(err, ERROR_INPUT, "%s names a folder, not a file", path);
	folder_len = slash == path ? 1 : (size_t)(slash - path);
	if (folder_len >= folder_size || strlen(slash + 1) >= name_size)
		return error_set(err, ERROR_LIMIT, "the path %s is too long", path);
	memcpy(folder, path, folder_len);
	folder[folder_len] = '\0';
	(void)snprintf(name, name_size, "%s", slash + 1);
	return true;
}

/* Part by part, so that "/srv/pki2" is not below "/srv/pki". parts: those that they have
 * in common. */
static bool
is_below(const char *path, const char *dir, size_t *parts)
{
	for (*parts = 0;; ++*parts) {
		size_t n;

		dir += strspn(dir, "/");
		path += strspn(path, "/");
		if (*dir == '\0')
			return *path != '\0';
		n = strcspn(dir, "/");
		if (strcspn(path, "/") != n || memcmp(path, dir, n) != 0)
			return false;
		path += n;
		dir += n;
	}
}

const struct config_publish_dir *
file_place_find(const char *path, const struct config_publish_dirs *dirs, struct error *err)
{
	const struct config_publish_dir *nearest = NULL;
	size_t parts, most = 0;

	for (size_t i = 0; dirs != NULL && i < dirs->count; i++) {
		if (!is_below(path, dirs->items[i].path, &parts) ||
		    (nearest != NULL && parts <= most))
			continue;
		nearest = &dirs->items[i];
		most = parts;
	}
	if (nearest == NULL)
		error_set(err, ERROR_CONFIG,
		    "%s lies in no directory of issuer.publish_dirs; add its folder there, and "
		    "restart",
		    path);
	return nearest;
}
