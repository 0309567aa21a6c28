#ifndef CHANCERY_DB_DB_H
#define CHANCERY_DB_DB_H

/*
 * A connection to PostgreSQL on the event loop.
 *
 * It connects by itself and again after a loss, with back-off. Statements are
 * pipelined: each db_query is one statement and one transaction of its own,
 * answered in the order in which they were sent; whatever takes several steps
 * is one SQL function. Nothing here waits, except that libpq resolves a host
 * name by a blocking call: name the server by address or by socket directory.
 *
 * A statement in flight when the connection is lost fails with
 * ERROR_UNAVAILABLE, and nobody knows whether it was committed: send only what
 * may be repeated.
 */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "db/params.h"
#include "db/result.h"

#define DB_IN_FLIGHT_MAX 256			   /* statements, unless options say less */
#define DB_IN_FLIGHT_BYTES_MAX (64u * 1024 * 1024) /* of their parameters */
#define DB_STATEMENTS_MAX 256			   /* different ones on one connection */
#define DB_CHANNELS_MAX 16			   /* LISTEN */
#define DB_STATEMENT_TIMEOUT_MS 30000
#define DB_LOCK_TIMEOUT_MS 5000 /* others hold up everything behind a statement for no longer */
#define DB_CONNECT_TIMEOUT_MS 10000
#define DB_BACKOFF_MIN_MS 100
#define DB_BACKOFF_MAX_MS 10000

struct event_base;
struct db;
struct db_pending;

/*
 * A statement, declared once as `static const`; prepared on first use, once for
 * each connection. The name is unique in the program and appears in errors.
 */
struct db_statement {
	const char *name;
	const char *sql;
	int nparams;
};

struct db_options {
	const char *application;       /* application_name; copied */
	unsigned in_flight_max;	       /* 0: DB_IN_FLIGHT_MAX */
	unsigned statement_timeout_ms; /* 0: DB_STATEMENT_TIMEOUT_MS */
	bool check_schema;	       /* up only if the schema is this program's (db/migrate.h) */
};

/* Either may be NULL. */
struct db_callbacks {
	/* Statements are taken from now on. Also after each reconnect. */
	void (*up)(struct db *db, void *arg);
	/* The connection was lost, or could not be made: why. Called when an up
	 * connection is lost and for the first failure of a series of attempts. */
	void (*down)(struct db *db, const struct error *why, void *arg);
};

/* The answer to one db_query: exactly one of result and err is NULL. May call
 * anything of this header, db_close too. */
typedef void db_answer_fn(
    struct db *db, struct db_result *result, const struct error *err, void *arg);

/*
 * Starts connecting at the next turn of the loop. conninfo is libpq's
 * ("host=/run/postgresql dbname=chancery user=..."); search_path, time zone,
 * encoding and statement_timeout are pinned over whatever it says. options may
 * be NULL. Fails only for a malformed conninfo (ERROR_CONFIG) or no memory.
 */
struct db *db_open(struct event_base *base, const char *conninfo, const struct db_options *options,
    const struct db_callbacks *callbacks, void *arg, struct error *err) MUST_CHECK;

/* Statements in flight are answered with ERROR_UNAVAILABLE first. NULL is
 * legal. No callback is called afterwards. */
void db_close(struct db *db);

bool db_is_up(const struct db *db);

/* Statements sent and not yet answered, cancelled ones included. */
size_t db_in_flight(const struct db *db);

/*
 * Sends one statement; params may be NULL for none and is emptied in any case.
 * answer is called later exactly once, never from inside this call, unless the
 * handle is cancelled. NULL with ERROR_UNAVAILABLE while the connection is down
 * or too much is in flight; answer is not called then.
 *
 * Errors of statements: SQLSTATE class CH of our own functions is passed on
 * with its sentence (CH400 ERROR_INPUT, CH401 and CH403 ERROR_DENIED, CH404
 * ERROR_NOT_FOUND, CH409 ERROR_CONFLICT, CH413 ERROR_LIMIT, CH503
 * ERROR_UNAVAILABLE); the server's own go by their class, with the statement's
 * name in front. err->foreign is the SQLSTATE.
 */
struct db_pending *db_query(struct db *db, const struct db_statement *statement,
    struct db_params *params, db_answer_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* Its owner goes away: answer will not be called. The statement itself still
 * runs and may commit. A handle dies with its answer; NULL is legal. */
void db_cancel(struct db_pending *pending);

/* For a layer between caller and db_query whose arg is a block of malloc that
 * its answer function frees: frees the block in case of db_cancel, too. Returns
 * pending, and NULL for NULL. */
struct db_pending *db_own_arg(struct db_pending *pending);

/*
 * LISTEN: hint is called after each burst of notifications on the channel (once
 * for all that were read together), and once after each connect, because what
 * came in between was missed. A hint has no content and may be false: look.
 * channel is a plain lower-case identifier and is copied.
 */
typedef void db_hint_fn(struct db *db, void *arg);
bool db_listen(
    struct db *db, const char *channel, db_hint_fn *hint, void *arg, struct error *err) MUST_CHECK;

#endif
