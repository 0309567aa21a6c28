#ifndef CHANCERY_PUBLISH_CREDENTIAL_H
#define CHANCERY_PUBLISH_CREDENTIAL_H

/*
 * The password or token that a target asks for: one line in a private file of
 * the configured credentials folder.
 */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

#define CREDENTIAL_MAX 4096 /* octets of the line */

struct credential {
	size_t len; /* 0: none */
	char text[CREDENTIAL_MAX + 1];
};

/* folder + "/" + name. A name is 1 to 64 of letters, digits, "._-" and does
 * not start with a dot. ERROR_INPUT, ERROR_LIMIT. */
bool credential_path(
    const char *folder, const char *name, char *out, size_t size, struct error *err) MUST_CHECK;

/* Reads the file, a private one (config_open_secret). One end of line after
 * the text is dropped. An empty path gives an empty credential. Cleanse with
 * credential_wipe on every way out. */
bool credential_load(const char *path, struct credential *c, struct error *err) MUST_CHECK;
void credential_wipe(struct credential *c);

/* Whether it can be used as it is, by a library that wants a path: a private file
 * (config_open_secret). */
bool credential_check(const char *path, struct error *err) MUST_CHECK;

/* 1 to 64 of letters, digits and "._-", first no dot: a name, never a path. */
bool credential_name_is_good(const char *name);

/* A secret goes over TLS, or stays on this machine: true for "127.*", "::1",
 * "[::1]" and "localhost". */
bool credential_host_is_loopback(const char *host);

#endif
