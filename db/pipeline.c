/* Statements on a connection in pipeline mode. */

#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "daemon/core/monotonic.h"
#include "db/db_int.h"
#include "db/params_int.h"
#include "db/result_int.h"
#include "db/sqlstate.h"

static bool
is_prepared(const struct db *db, const struct db_statement *statement)
{
	for (size_t i = 0; i < db->prepared_count; i++) {
		if (db->prepared[i] == statement)
			return true;
	}
	return false;
}

static void
forget_prepared(struct db *db, const struct db_statement *statement)
{
	for (size_t i = 0; i < db->prepared_count; i++) {
		if (db->prepared[i] == statement) {
			db->prepared[i] = db->prepared[--db->prepared_count];
			return;
		}
	}
}

/*
 * PREPARE where needed, the statement, and a sync: which ends its transaction
 * and keeps an error of one statement from the next.
 */
static bool
send_parts(struct db *db, struct db_pending *pending, const struct db_params *params)
{
	const struct db_statement *s = pending->statement;
	const char *values[DB_PARAMS_MAX];
	int count = params != NULL ? (int)params->count : 0;

	params_values(params, values);
	if (!is_prepared(db, s)) {
		if (!PQsendPrepare(db->conn, s->name, s->sql, s->nparams, NULL))
			return false;
		db->prepared[db->prepared_count++] = s;
		pending->preparing = true;
	}
	return PQsendQueryPrepared(db->conn, s->name, count, values,
		   params != NULL ? params->length : NULL, params != NULL ? params->format : NULL,
		   1) &&
	       PQpipelineSync(db->conn);
}

static void
watch(struct db *db)
{
	struct timeval limit = {db->statement_timeout_ms / 1000 + 5, 0};

	if (db->state != DB_UP && db->state != DB_CHECKING)
		return;
	db->progress_ms = monotonic_ms();
	(void)evtimer_add(db->timer, &limit);
}

struct db_pending *
pipeline_send(struct db *db, const struct db_statement *statement, struct db_params *params,
    db_answer_fn *answer, void *arg, struct error *err)
{
	struct db_pending *pending = NULL;
	struct db_pending *sent = NULL;
	size_t bytes = params != NULL ? params->len : 0;

	if (params != NULL && !db_params_ok(params, err)) {
		error_wrap(err, "statement %s", statement->name);
		goto out;
	}
	if ((params != NULL ? (int)params->count : 0) != statement->nparams) {
		error_set(err, ERROR_INTERNAL, "statement %s takes %d parameters, not %zu",
		    statement->name, statement->nparams, params != NULL ? params->count : 0);
		goto out;
	}
	if (db->prepared_count == DB_STATEMENTS_MAX && !is_prepared(db, statement)) {
		error_set(err, ERROR_INTERNAL, "more than %d statements on one connection",
		    DB_STATEMENTS_MAX);
		goto out;
	}
	pending = calloc(1, sizeof *pending);
	if (pending == NULL) {
		error_set(err, ERROR_SYSTEM, "out of memory");
		goto out;
	}
	pending->db = db;
	pending->statement = statement;
	pending->answer = answer;
	pending->arg = arg;
	pending->bytes = bytes;
	if (!send_parts(db, pending, params)) {
		/* Half of it may be out: this connection cannot be used on. The loop
		 * gives it up, not this call under its caller. */
		db->desynced = true;
		error_set_connection(err, db->conn, statement->name);
		event_active(db->reader, EV_READ, 0);
		goto out;
	}
	if (TAILQ_EMPTY(&db->pending))
		watch(db);
	TAILQ_INSERT_TAIL(&db->pending, pending, link);
	db->in_flight++;
	db->in_flight_bytes += bytes;
	sent = pending;
	pending = NULL;
	if (!pipeline_flush(db, NULL))
		event_active(db->reader, EV_READ, 0);
out:
	free(pending);
	if (params != NULL)
		db_params_free(params);
	return sent;
}

bool
pipeline_flush(struct db *db, struct error *err)
{
	switch (PQflush(db->conn)) {
	case 0:
		(void)event_del(db->writer);
		return true;
	case 1:
		if (event_add(db->writer, NULL) != 0)
			return error_set(err, ERROR_SYSTEM, "database: no event for writing");
		return true;
	default:
		return error_set_connection(err, db->conn, "sending");
	}
}

void
db_cancel(struct db_pending *pending)
{
	if (pending == NULL || pending->answer == NULL)
		return;
	pending->answer = NULL;
	if (pending->owns_arg)
		free(pending->arg);
}

struct db_pending *
db_own_arg(struct db_pending *pending)
{
	if (pending != NULL)
		pending->owns_arg = true;
	return pending;
}

static void
unlink_pending(struct db *db, struct db_pending *pending)
{
	TAILQ_REMOVE(&db->pending, pending, link);
	db->in_flight--;
	db->in_flight_bytes -= pending->bytes;
}

/* Calls back and frees; pending is off the list already. */
static void
deliver(struct db *db, struct db_pending *pending)
{
	struct db_result *result = NULL;

	if (pending->answer != NULL && !error_is_set(&pending->failure)) {
		result = pending->rows != NULL ? result_new(pending->rows) : NULL;
		if (result != NULL)
			pending->rows = NULL;
		else
			error_set(&pending->failure, ERROR_INTERNAL,
			    "database, %s: no answer, or no memory for it",
			    pending->statement->name);
	}
	if (pending->answer != NULL) {
		pending->answer(
		    db, result, result == NULL ? &pending->failure : NULL, pending->arg);
	}
	db_result_free(result);
	PQclear(pending->rows);
	free(pending);
}

/* One answer of the server to the oldest statement. */
static void
take(struct db *db, struct db_pending *pending, PGresult *rows)
{
	ExecStatusType status = PQresultStatus(rows);

	switch (status) {
	case PGRES_TUPLES_OK:
	case PGRES_COMMAND_OK:
		if (pending->preparing)
			break;
		PQclear(pending->rows);
		pending->rows = rows;
		return;
	case PGRES_PIPELINE_ABORTED: /* after its PREPARE failed, which is recorded */
		break;
	default:
		if (pending->preparing)
			forget_prepared(db, pending->statement);
		error_set_sqlstate(&pending->failure, PQresultErrorField(rows, PG_DIAG_SQLSTATE),
		    pending->statement->name,
		    PQresultErrorField(rows, PG_DIAG_MESSAGE_PRIMARY) != NULL
			? PQresultErrorField(rows, PG_DIAG_MESSAGE_PRIMARY)
			: PQresultErrorMessage(rows));
		break;
	}
	pending->preparing = false;
	PQclear(rows);
}

/* NOTIFY arrives between any two messages. */
static void
collect_hints(struct db *db)
{
	PGnotify *n;

	while ((n = PQnotifies(db->conn)) != NULL) {
		for (size_t i = 0; i < db->channels_count; i++) {
			if (strcmp(db->channels[i].name, n->relname) == 0)
				db->channels[i].heard = true;
		}
		PQfreemem(n);
	}
}

static void
give_hints(struct db *db)
{
	for (size_t i = 0; i < db->channels_count && db->state == DB_UP; i++) {
		if (!db->channels[i].heard)
			continue;
		db->channels[i].heard = false;
		db->channels[i].hint(db, db->channels[i].arg);
	}
}

bool
pipeline_receive(struct db *db, struct error *err)
{
	PGconn *conn = db->conn;
	bool alive = PQconsumeInput(conn) != 0;
	int nulls = 0;

	collect_hints(db);
	/* A callback may close this db, or its connection may be given up. A NULL
	 * ends each part; more than one in a row means that libpq waits for nothing
	 * while we do. */
	while (db->conn == conn && !db->desynced && nulls < 3 && !TAILQ_EMPTY(&db->pending) &&
	       !PQisBusy(conn)) {
		struct db_pending *pending = TAILQ_FIRST(&db->pending);
		PGresult *rows = PQgetResult(conn);

		collect_hints(db);
		if (rows == NULL) {
			nulls++;
			continue;
		}
		nulls = 0;
		db->progress_ms = monotonic_ms();
		if (PQresultStatus(rows) != PGRES_PIPELINE_SYNC) {
			/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): TAILQ_REMOVE is not seen */
			take(db, pending, rows);
			continue;
		}
		PQclear(rows);
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc) */
		unlink_pending(db, pending);
		deliver(db, pending);
	}
	if (db->conn != conn)
		return true; /* dealt with already */
	if (!alive || db->desynced || nulls == 3 || PQstatus(conn) == CONNECTION_BAD)
		return error_set_connection(err, conn, "connection lost");
	give_hints(db);
	return true;
}

void
pipeline_fail_all(struct db *db, const struct error *why)
{
	struct db_pending_list lost = TAILQ_HEAD_INITIALIZER(lost);
	struct db_pending *pending;

	/* Taken off first: callbacks see an empty connection. */
	TAILQ_CONCAT(&lost, &db->pending, link);
	db->in_flight = 0;
	db->in_flight_bytes = 0;
	while ((pending = TAILQ_FIRST(&lost)) != NULL) {
		TAILQ_REMOVE(&lost, pending, link);
		/* Even a statement that was answered: its commit is not proven. */
		pending->failure = ERROR_INIT;
		error_set_foreign(&pending->failure, ERROR_UNAVAILABLE, why->source, why->foreign,
		    "%s", why->text);
		deliver(db, pending);
	}
}
