#ifndef CHANCERY_CORE_CONFIG_INT_H
#define CHANCERY_CORE_CONFIG_INT_H

/*
 * Rules on the files that the configuration names. Each fills in err with the
 * words that follow the key's place: "'/x' is ...; allowed: ...".
 */

#include "daemon/core/config.h"

/* A regular, readable file. */
bool config_check_file(const char *path, struct error *err) MUST_CHECK;

/* The same, and a shared library: an ELF file. */
bool config_check_module(const char *path, struct error *err) MUST_CHECK;

/* A directory that belongs to root or us. With private_ alone for its owner,
 * and with may_be_made it may be missing as long as its parent is there. */
bool config_check_directory(
    const char *path, bool private_, bool may_be_made, struct error *err) MUST_CHECK;

#endif
