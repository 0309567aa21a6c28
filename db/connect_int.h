#ifndef CHANCERY_DB_CONNECT_INT_H
#define CHANCERY_DB_CONNECT_INT_H

/* One attempt to connect, without blocking. */

#include <libpq-fe.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

struct event_base;
struct connecting;

/* Exactly one of conn (the callback's to PQfinish) and err is NULL. */
typedef void connected_fn(PGconn *conn, const struct error *err, void *arg);

/* Whether libpq understands it at all (ERROR_CONFIG). */
bool conninfo_check(const char *conninfo, struct error *err) MUST_CHECK;

/* done is called later, exactly once, unless cancelled. statement_timeout_ms 0
 * is none. */
struct connecting *connecting_start(struct event_base *base, const char *conninfo,
    const char *application, unsigned statement_timeout_ms, connected_fn *done, void *arg,
    struct error *err) MUST_CHECK;

/* NULL is legal. */
void connecting_cancel(struct connecting *c);

/* The newest error of a connection that is not usable. Returns false. */
bool error_set_connection(struct error *err, const PGconn *conn, const char *attempted);

#endif
