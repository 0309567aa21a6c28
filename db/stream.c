#include "db/stream.h"

#include <stdlib.h>

#include <event2/event.h>
#include <libpq-fe.h>

#include "db/connect_int.h"
#include "db/copy_int.h"
#include "db/db.h"
#include "db/params_int.h"
#include "db/result_int.h"
#include "db/sqlstate.h"

#define ROWS_PER_TURN 1024 /* of the loop: others get their turn, too */

/*
 * What opens a stream. libpq reads what fits into its buffer, which has 16 KiB and grows only
 * for a message that is longer: one such message makes a read of many rows out of one of few.
 */
static const char begin[] = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;"
			    "SELECT repeat(' ', 262144)";

enum stream_state {
	STREAM_CONNECTING,
	STREAM_BEGINNING, /* BEGIN is on its way */
	STREAM_IDLE,
	STREAM_QUERY,
	STREAM_COPY,
	STREAM_BROKEN,
	STREAM_CLOSED, /* lives until the last callback returns */
};

struct db_stream {
	enum stream_state state;
	unsigned depth; /* callbacks on the stack */
	bool paused;
	bool copying; /* rows come; afterwards a result tells how it ended */
	bool backlog; /* libpq holds rows that the last turn had no time for */
	struct connecting *connecting;
	PGconn *conn;
	struct event_base *base;
	struct event *reader, *writer;
	db_stream_ready_fn *ready;
	void *ready_arg;

	/* The statement that runs. */
	const char *name;
	db_stream_answer_fn *answer;
	db_stream_row_fn *row;
	db_stream_end_fn *end;
	void *arg;
	PGresult *result;
	struct copy_reader copy;
	char *message; /* the CopyData message that copy reads; libpq's */
	struct error failure;
};

static void
stream_free(struct db_stream *s)
{
	connecting_cancel(s->connecting);
	if (s->reader != NULL)
		event_free(s->reader);
	if (s->writer != NULL)
		event_free(s->writer);
	PQfreemem(s->message);
	PQclear(s->result);
	PQfinish(s->conn); /* the server rolls the transaction back */
	free(s);
}

static void
enter(struct db_stream *s)
{
	s->depth++;
}

static void
leave(struct db_stream *s)
{
	if (--s->depth == 0 && s->state == STREAM_CLOSED)
		stream_free(s);
}

void
db_stream_close(struct db_stream *s)
{
	if (s == NULL)
		return;
	if (s->reader != NULL)
		(void)event_del(s->reader);
	if (s->writer != NULL)
		(void)event_del(s->writer);
	s->state = STREAM_CLOSED;
	if (s->depth == 0)
		stream_free(s);
}

/* ------------------------------------------------------ ends of statements */

/* Tells whoever waits. The state is changed before the callback, which may
 * start the next statement. */
static void
conclude(struct db_stream *s)
{
	enum stream_state was = s->state;
	const struct error *err = error_is_set(&s->failure) ? &s->failure : NULL;
	struct db_result *result = NULL;

	if (was == STREAM_CLOSED || was == STREAM_IDLE || was == STREAM_BROKEN)
		return;
	if (was == STREAM_QUERY && err == NULL) {
		result = s->result != NULL ? result_new(s->result) : NULL;
		if (result == NULL) {
			error_set(&s->failure, ERROR_INTERNAL, "database, %s: no answer", s->name);
			err = &s->failure;
		} else {
			s->result = NULL;
		}
	}
	s->state = err != NULL ? STREAM_BROKEN : STREAM_IDLE;
	if (s->state == STREAM_BROKEN && s->reader != NULL) {
		(void)event_del(s->reader);
		(void)event_del(s->writer);
	}
	if (was == STREAM_CONNECTING || was == STREAM_BEGINNING)
		s->ready(s, err, s->ready_arg);
	else if (was == STREAM_QUERY)
		s->answer(s, result, err, s->arg);
	else
		s->end(s, err, s->arg);
	db_result_free(result);
}

static void
break_off(struct db_stream *s)
{
	error_set_connection(&s->failure, s->conn, s->name);
	if (s->state == STREAM_IDLE) { /* nobody waits: the next statement is refused */
		s->state = STREAM_BROKEN;
		(void)event_del(s->reader);
	}
	conclude(s);
}

/* --------------------------------------------------------------- receiving */

/* True when the message is used up and the next may be fetched. */
static bool
deliver_rows(struct db_stream *s, unsigned *budget)
{
	struct db_stream_row row;

	while (s->state == STREAM_COPY && !s->paused && *budget > 0) {
		switch (copy_next(&s->copy, &row, &s->failure)) {
		case COPY_MORE:
			PQfreemem(s->message);
			s->message = NULL;
			return true;
		case COPY_BAD:
			conclude(s);
			return false;
		case COPY_ROW:
			break;
		}
		(*budget)--;
		if (!s->row(s, &row, s->arg, &s->failure)) {
			error_set(&s->failure, ERROR_INTERNAL, "stream %s was ended", s->name);
			conclude(s);
			return false;
		}
	}
	return false;
}

/*
 * The rows that libpq holds already. True when the copy is at its end; its
 * outcome is the next result.
 */
static bool
receive_copy(struct db_stream *s)
{
	unsigned budget = ROWS_PER_TURN;
	int len;

	s->backlog = false;
	for (;;) {
		if (s->message != NULL && !deliver_rows(s, &budget)) {
			s->backlog = s->state == STREAM_COPY && !s->paused;
			if (s->backlog)
				event_active(s->reader, EV_TIMEOUT, 0); /* go on next turn */
			return false;
		}
		len = PQgetCopyData(s->conn, &s->message, 1);
		if (len == 0)
			return false;
		if (len == -1)
			return true;
		if (len < 0 || (unsigned)len > DB_STREAM_ROW_MAX) {
			if (len > 0)
				error_set(&s->failure, ERROR_LIMIT,
				    "a row of stream %s has more than %u octets", s->name,
				    DB_STREAM_ROW_MAX);
			break_off(s);
			return false;
		}
		copy_feed(&s->copy, s->message, (size_t)len);
	}
}

static void
take_result(struct db_stream *s, PGresult *result)
{
	const char *message;

	switch (PQresultStatus(result)) {
	case PGRES_TUPLES_OK:
	case PGRES_COMMAND_OK:
		PQclear(s->result);
		s->result = result;
		return;
	case PGRES_COPY_OUT:
		break;
	default:
		message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
		error_set_sqlstate(&s->failure, PQresultErrorField(result, PG_DIAG_SQLSTATE),
		    s->name, message != NULL ? message : PQresultErrorMessage(result));
		break;
	}
	PQclear(result);
}

static bool
is_running(const struct db_stream *s)
{
	return s->state == STREAM_BEGINNING || s->state == STREAM_QUERY || s->state == STREAM_COPY;
}

static void
receive(struct db_stream *s)
{
	while (is_running(s)) {
		PGresult *result;

		if (s->copying) {
			if (!receive_copy(s))
				return;
			s->copying = false;
		}
		if (PQisBusy(s->conn))
			return;
		result = PQgetResult(s->conn);
		if (result == NULL) {
			conclude(s);
			continue;
		}
		s->copying = PQresultStatus(result) == PGRES_COPY_OUT;
		take_result(s, result);
	}
}

/* what is EV_TIMEOUT when rows are left over from the last turn: they come
 * before new input, so that libpq's buffer does not grow. */
static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct db_stream *s = arg;
	bool alive = true;

	enter(s);
	if (!s->backlog && (what & EV_READ) != 0)
		alive = PQconsumeInput(s->conn) != 0;
	receive(s);
	if (s->state != STREAM_CLOSED && (!alive || PQstatus(s->conn) == CONNECTION_BAD))
		break_off(s);
	leave(s);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct db_stream *s = arg;

	enter(s);
	switch (PQflush(s->conn)) {
	case 0:
		(void)event_del(s->writer);
		break;
	case 1:
		break;
	default:
		break_off(s);
		break;
	}
	leave(s);
}

/* ----------------------------------------------------------------- sending */

/* After PQsend...: writes, and takes the next state. */
static bool
sent(struct db_stream *s, bool accepted, enum stream_state next, struct error *err)
{
	int left = accepted ? PQflush(s->conn) : -1;

	if (left < 0 || (left == 1 && event_add(s->writer, NULL) != 0)) {
		s->state = STREAM_BROKEN;
		error_set_connection(&s->failure, s->conn, s->name);
		return error_set(err, s->failure.code, "%s", s->failure.text);
	}
	s->state = next;
	return true;
}

static void
on_connected(PGconn *conn, const struct error *err, void *arg)
{
	struct db_stream *s = arg;

	enter(s);
	s->connecting = NULL;
	s->conn = conn;
	if (err != NULL) {
		s->failure = *err;
		conclude(s);
		goto out;
	}
	s->reader = event_new(s->base, PQsocket(conn), EV_READ | EV_PERSIST, on_readable, s);
	s->writer = event_new(s->base, PQsocket(conn), EV_WRITE | EV_PERSIST, on_writable, s);
	if (s->reader == NULL || s->writer == NULL || event_add(s->reader, NULL) != 0 ||
	    PQsetnonblocking(conn, 1) != 0) {
		error_set(&s->failure, ERROR_SYSTEM, "database: no event for the connection");
		conclude(s);
		goto out;
	}
	s->name = "begin";
	if (!sent(s, PQsendQuery(conn, begin), STREAM_BEGINNING, NULL)) {
		s->state = STREAM_BEGINNING;
		conclude(s);
	}
out:
	leave(s);
}

struct db_stream *
db_stream_open(struct event_base *base, const char *conninfo, db_stream_ready_fn *ready, void *arg,
    struct error *err)
{
	struct db_stream *s;

	if (!conninfo_check(conninfo, err))
		return NULL;
	s = calloc(1, sizeof *s);
	if (s == NULL) {
		error_set(err, ERROR_SYSTEM, "out of memory for a database connection");
		return NULL;
	}
	s->base = base;
	s->ready = ready;
	s->ready_arg = arg;
	s->connecting = connecting_start(
	    base, conninfo, "chancery stream", 0, on_connected, s, err);
	if (s->connecting == NULL) {
		stream_free(s);
		return NULL;
	}
	return s;
}

/* Whether the next statement may be sent; forgets the last one. */
static bool
prepare_next(struct db_stream *s, const struct db_statement *statement, struct error *err)
{
	if (s->state == STREAM_BROKEN)
		return error_set(err, s->failure.code, "%s", s->failure.text);
	if (s->state != STREAM_IDLE)
		return error_set(err, ERROR_INTERNAL,
		    "stream %s: another statement runs on this connection", statement->name);
	PQclear(s->result);
	s->result = NULL;
	s->copy = (struct copy_reader){0};
	s->copying = s->backlog = s->paused = false;
	s->name = statement->name;
	return true;
}

bool
db_stream_query(struct db_stream *s, const struct db_statement *statement, struct db_params *params,
    db_stream_answer_fn *answer, void *arg, struct error *err)
{
	const char *values[DB_PARAMS_MAX];
	int count = params != NULL ? (int)params->count : 0;
	bool ok = false;

	if (params != NULL && !db_params_ok(params, err))
		goto out;
	if (count != statement->nparams) {
		error_set(err, ERROR_INTERNAL, "statement %s takes %d parameters, not %d",
		    statement->name, statement->nparams, count);
		goto out;
	}
	if (!prepare_next(s, statement, err))
		goto out;
	params_values(params, values);
	s->answer = answer;
	s->arg = arg;
	ok = sent(s,
	    PQsendQueryParams(s->conn, statement->sql, count, NULL, values,
		params != NULL ? params->length : NULL, params != NULL ? params->format : NULL, 1),
	    STREAM_QUERY, err);
out:
	if (params != NULL)
		db_params_free(params);
	return ok;
}

bool
db_stream_copy(struct db_stream *s, const struct db_statement *statement, const int64_t *values,
    db_stream_row_fn *row, db_stream_end_fn *end, void *arg, struct error *err)
{
	char *sql = copy_statement(statement->sql, values, statement->nparams, err);
	bool ok = false;

	if (sql == NULL || !prepare_next(s, statement, err))
		goto out;
	s->row = row;
	s->end = end;
	s->arg = arg;
	ok = sent(s, PQsendQuery(s->conn, sql), STREAM_COPY, err);
out:
	free(sql);
	return ok;
}

void
db_stream_pause(struct db_stream *s)
{
	if (s->state != STREAM_COPY || s->paused)
		return;
	s->paused = true;
	(void)event_del(s->reader);
}

void
db_stream_resume(struct db_stream *s)
{
	if (s->state != STREAM_COPY || !s->paused)
		return;
	s->paused = false;
	(void)event_add(s->reader, NULL);
	event_active(s->reader, EV_TIMEOUT, 0); /* what libpq holds already */
}
