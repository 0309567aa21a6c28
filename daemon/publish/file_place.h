#ifndef CHANCERY_PUBLISH_FILE_PLACE_H
#define CHANCERY_PUBLISH_FILE_PLACE_H

/*
 * Where a file target lies: "/srv/pki/demo.crl" or "file:///srv/pki/demo.crl"
 * (RFC 8089, percent-encoded, no host or "localhost").
 */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"

/* Whether it is the place of a file at all, right or wrong: a path or a file URL. */
bool file_place_is_one(const char *url);

/* The absolute path, decoded. Refuses relative paths, "." and ".." parts, NUL
 * and control bytes. ERROR_INPUT. */
bool file_place_parse(const char *url, char *path, size_t size, struct error *err) MUST_CHECK;

/* Folder and last part; a path that ends in "/" names no file. ERROR_INPUT,
 * ERROR_LIMIT. */
bool file_place_split(const char *path, char *folder, size_t folder_size, char *name,
    size_t name_size, struct error *err) MUST_CHECK;

/* Of the directories that the configuration names the nearest one that the path lies below
 * (of equals the first); links on the way are the operator's business. NULL with
 * ERROR_CONFIG where there is none. */
const struct config_publish_dir *file_place_find(
    const char *path, const struct config_publish_dirs *dirs, struct error *err) MUST_CHECK;

#endif
