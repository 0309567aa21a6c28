#ifndef CHANCERY_DB_NEEDS_H
#define CHANCERY_DB_NEEDS_H

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/sandbox.h"

/* Allows in a sandbox what libpq uses for this connection string: the kind of
 * socket, files with passwords and certificates. With alone also the ports: no TCP
 * connection goes anywhere else. ERROR_CONFIG for a string that libpq does not take. */
bool db_needs(const char *conninfo, bool alone, struct sandbox *s, struct error *err) MUST_CHECK;

/* Whether libpq understands a connection string at all; ERROR_CONFIG. Connects nowhere. */
bool db_conninfo_check(const char *conninfo, struct error *err) MUST_CHECK;

#endif
