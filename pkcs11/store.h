#ifndef CHANCERY_PKCS11_STORE_H
#define CHANCERY_PKCS11_STORE_H

/*
 * Small text files in the signer's state directory: written whole and durably,
 * or not at all.
 */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

#define STORE_FILE_MAX 16384

struct config;

/* The signer's directory for a token: STATE_DIR/signer-NAME. */
bool store_signer_dir(const struct config *config, const char *token, char *out, size_t size,
    struct error *e) MUST_CHECK;

/* Makes dir (0700) when it is missing; refuses one that others can enter. */
bool store_make_dir(const char *dir, struct error *e) MUST_CHECK;

/* Writes dir/name, mode 0600: temporary file, fsync, rename, fsync of dir.
 * replace: false refuses (ERROR_CONFLICT) when the name exists. */
bool store_write(const char *dir, const char *name, const char *text, size_t len, bool replace,
    struct error *e) MUST_CHECK;

/* Reads dir/name whole, at most size bytes. ERROR_NOT_FOUND when it does not
 * exist, ERROR_CONFIG when it is not private, ERROR_LIMIT when it is longer. */
bool store_read(const char *dir, const char *name, char *buf, size_t size, size_t *len,
    struct error *e) MUST_CHECK;

/* Removes dir/name durably; that there is none is no error. */
bool store_remove(const char *dir, const char *name, struct error *e) MUST_CHECK;

#endif
