#include "db/connect_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "daemon/core/log.h"
#include "db/db.h"
#include "db/sqlstate.h"

struct connecting {
	PGconn *conn; /* owned until done takes it */
	struct event_base *base;
	struct event *io;    /* libpq may change the socket: made anew for each step */
	struct event *limit; /* DB_CONNECT_TIMEOUT_MS for the whole attempt */
	connected_fn *done;
	void *arg;
};

static void on_step(evutil_socket_t fd, short what, void *arg);

bool
conninfo_check(const char *conninfo, struct error *err)
{
	char *message = NULL;
	PQconninfoOption *parsed = PQconninfoParse(conninfo, &message);
	bool ok = parsed != NULL;

	if (!ok)
		error_set(err, ERROR_CONFIG, "database connection string: %.*s",
		    (int)strcspn(message != NULL ? message : "out of memory", "\n"),
		    message != NULL ? message : "out of memory");
	PQconninfoFree(parsed);
	PQfreemem(message);
	return ok;
}

bool
error_set_connection(struct error *err, const PGconn *conn, const char *attempted)
{
	return error_set_sqlstate(err, NULL, attempted, PQerrorMessage(conn));
}

void
connecting_cancel(struct connecting *c)
{
	if (c == NULL)
		return;
	if (c->io != NULL)
		event_free(c->io);
	if (c->limit != NULL)
		event_free(c->limit);
	PQfinish(c->conn);
	free(c);
}

static void
finish(struct connecting *c, const struct error *err)
{
	connected_fn *done = c->done;
	void *arg = c->arg;
	PGconn *conn = NULL;

	if (err == NULL) {
		conn = c->conn;
		c->conn = NULL;
	}
	connecting_cancel(c);
	done(conn, err, arg);
}

/* A server's NOTICE would otherwise go to stderr, past the log. */
static void
on_notice(void *arg, const char *message)
{
	log_debug("-", "database: %s", message);
}

static bool
wait_for(struct connecting *c, short what)
{
	if (c->io != NULL)
		event_free(c->io);
	c->io = event_new(c->base, PQsocket(c->conn), what, on_step, c);
	return c->io != NULL && event_add(c->io, NULL) == 0;
}

static void
on_step(evutil_socket_t fd, short what, void *arg)
{
	struct connecting *c = arg;
	struct error err = ERROR_INIT;
	bool waiting = false;

	switch (PQconnectPoll(c->conn)) {
	case PGRES_POLLING_OK:
		finish(c, NULL);
		return;
	case PGRES_POLLING_READING:
		waiting = wait_for(c, EV_READ);
		break;
	case PGRES_POLLING_WRITING:
		waiting = wait_for(c, EV_WRITE);
		break;
	default:
		error_set_connection(&err, c->conn, "connecting");
		break;
	}
	if (waiting)
		return;
	error_set(&err, ERROR_SYSTEM, "database: no event for the connection");
	finish(c, &err);
}

/* The first step, or the end of the attempt's time. */
static void
on_limit(evutil_socket_t fd, short what, void *arg)
{
	static const struct timeval limit = {
	    DB_CONNECT_TIMEOUT_MS / 1000, DB_CONNECT_TIMEOUT_MS % 1000 * 1000};
	struct connecting *c = arg;
	struct error err = ERROR_INIT;

	if (c->io != NULL) {
		error_set(&err, ERROR_UNAVAILABLE, "database: no connection to \"%s\" within %d s",
		    PQhost(c->conn), DB_CONNECT_TIMEOUT_MS / 1000);
		finish(c, &err);
		return;
	}
	if (PQstatus(c->conn) == CONNECTION_BAD) {
		error_set_connection(&err, c->conn, "connecting");
		finish(c, &err);
		return;
	}
	/* libpq wants to be polled first when the socket can be written. */
	if (!wait_for(c, EV_WRITE) || event_add(c->limit, &limit) != 0) {
		error_set(&err, ERROR_SYSTEM, "database: no event for the connection");
		finish(c, &err);
	}
}

struct connecting *
connecting_start(struct event_base *base, const char *conninfo, const char *application,
    unsigned statement_timeout_ms, connected_fn *done, void *arg, struct error *err)
{
	static const struct timeval now = {0, 0};
	struct connecting *c = calloc(1, sizeof *c);
	char options[320];
	/* What stands after dbname overrides what conninfo says. */
	const char *const names[] = {"dbname", "application_name", "client_encoding", "options",
	    "keepalives_idle", "tcp_user_timeout", NULL};
	const char *const values[] = {conninfo, application, "UTF8", options, "30", "30000", NULL};

	/* jit: estimates beside row-level policies are high, and compiling takes longer
	 * than any of our statements. synchronous_commit: what is committed before something is
	 * signed must outlive the server, whatever role or database are set to. */
	(void)snprintf(options, sizeof options,
	    "-c search_path=chancery_store,chancery,pg_temp -c TimeZone=UTC -c DateStyle=ISO"
	    " -c statement_timeout=%u -c lock_timeout=%u -c jit=off"
	    " -c default_transaction_isolation=read\\ committed -c synchronous_commit=on",
	    statement_timeout_ms, (unsigned)DB_LOCK_TIMEOUT_MS);
	if (c == NULL)
		goto fail;
	c->base = base;
	c->done = done;
	c->arg = arg;
	c->conn = PQconnectStartParams(names, values, 1);
	c->limit = evtimer_new(base, on_limit, c);
	if (c->conn == NULL || c->limit == NULL || event_add(c->limit, &now) != 0)
		goto fail;
	PQsetNoticeProcessor(c->conn, on_notice, NULL);
	return c;
fail:
	connecting_cancel(c);
	error_set(err, ERROR_SYSTEM, "out of memory for a database connection");
	return NULL;
}
