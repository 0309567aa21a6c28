/* The life of a connection: connecting, checking, being up, losing it. */

#include "db/db.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>
#include <event2/util.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"
#include "db/db_int.h"
#include "db/migrate_int.h"

static void start_attempt(struct db *db);
static void become_up(struct db *db);

static void
db_free(struct db *db)
{
	if (db == NULL)
		return;
	for (size_t i = 0; i < db->channels_count; i++) {
		free(db->channels[i].name);
		free((char *)db->channels[i].listen.sql);
	}
	if (db->timer != NULL)
		event_free(db->timer);
	free(db->conninfo);
	free(db->application);
	free(db);
}

void
db_enter(struct db *db)
{
	db->depth++;
}

void
db_leave(struct db *db)
{
	if (--db->depth == 0 && db->state == DB_CLOSED)
		db_free(db);
}

/* ------------------------------------------------------------- losing it */

static void
drop_connection(struct db *db)
{
	connecting_cancel(db->connecting);
	db->connecting = NULL;
	if (db->reader != NULL)
		event_free(db->reader);
	if (db->writer != NULL)
		event_free(db->writer);
	db->reader = db->writer = NULL;
	PQfinish(db->conn);
	db->conn = NULL;
	db->prepared_count = 0;
	db->desynced = false;
	(void)evtimer_del(db->timer);
}

/* A quarter of the time is random, so that not all processes return at once. */
static void
plan_attempt(struct db *db)
{
	uint16_t chance;
	unsigned delay_ms = db->backoff_ms;
	struct timeval delay;

	evutil_secure_rng_get_bytes(&chance, sizeof chance);
	delay_ms -= delay_ms / 4 * chance / UINT16_MAX;
	delay.tv_sec = delay_ms / 1000;
	delay.tv_usec = delay_ms % 1000 * 1000;
	(void)evtimer_add(db->timer, &delay);
	db->backoff_ms *= 2;
	if (db->backoff_ms > DB_BACKOFF_MAX_MS)
		db->backoff_ms = DB_BACKOFF_MAX_MS;
}

void
db_lose(struct db *db, const struct error *why)
{
	bool was_up = db->state == DB_UP;

	db_enter(db);
	db->why = *why;
	drop_connection(db);
	db->state = DB_WAITING;
	pipeline_fail_all(db, &db->why);
	if (db->state == DB_WAITING && (was_up || !db->told_down)) {
		log_failure(LOG_LEVEL_WARNING, "database", &db->why);
		db->told_down = true;
		if (db->callbacks.down != NULL)
			db->callbacks.down(db, &db->why, db->arg);
	}
	if (db->state == DB_WAITING)
		plan_attempt(db);
	db_leave(db);
}

void
db_close(struct db *db)
{
	struct error why = ERROR_INIT;

	if (db == NULL || db->state == DB_CLOSED)
		return;
	db_enter(db);
	drop_connection(db);
	db->state = DB_CLOSED;
	error_set(&why, ERROR_UNAVAILABLE, "the database connection was closed");
	pipeline_fail_all(db, &why);
	db_leave(db);
}

/* ----------------------------------------------------------------- events */

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct db *db = arg;
	struct error err = ERROR_INIT;

	db_enter(db);
	if (!pipeline_receive(db, &err))
		db_lose(db, &err);
	db_leave(db);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct db *db = arg;
	struct error err = ERROR_INIT;

	db_enter(db);
	if (!pipeline_flush(db, &err))
		db_lose(db, &err);
	db_leave(db);
}

/* The server should have cancelled a statement by itself: if it has not even
 * said so, it is gone without a word. */
static void
check_progress(struct db *db)
{
	int64_t limit_ms = (int64_t)db->statement_timeout_ms + 5000;
	int64_t left_ms = db->progress_ms + limit_ms - monotonic_ms();
	struct timeval left;
	struct error err = ERROR_INIT;

	if (TAILQ_EMPTY(&db->pending))
		return;
	if (left_ms <= 0) {
		error_set(&err, ERROR_UNAVAILABLE, "database: no answer for %lld s",
		    (long long)limit_ms / 1000);
		db_lose(db, &err);
		return;
	}
	left.tv_sec = left_ms / 1000;
	left.tv_usec = left_ms % 1000 * 1000;
	(void)evtimer_add(db->timer, &left);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct db *db = arg;

	db_enter(db);
	if (db->state == DB_WAITING)
		start_attempt(db);
	else
		check_progress(db);
	db_leave(db);
}

/* ------------------------------------------------------------- becoming up */

static void
on_schema(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct error wrong = ERROR_INIT;

	if (err != NULL)
		wrong = *err;
	else if (migrations_check_result(result, &wrong)) {
		become_up(db);
		return;
	}
	if (db->state == DB_CHECKING) /* otherwise the loss is being handled */
		db_lose(db, &wrong);
}

static void
on_listening(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_channel *channel = arg;

	if (err == NULL)
		channel->hint(db, channel->arg);
	else if (!error_is_retryable(err))
		log_failure(LOG_LEVEL_ERROR, "database", err);
}

static bool
send_listen(struct db *db, struct db_channel *channel, struct error *err)
{
	return pipeline_send(db, &channel->listen, NULL, on_listening, channel, err) != NULL;
}

static void
become_up(struct db *db)
{
	struct error err = ERROR_INIT;

	db->state = DB_UP;
	db->told_down = false;
	db->backoff_ms = DB_BACKOFF_MIN_MS;
	error_clear(&db->why);
	for (size_t i = 0; i < db->channels_count; i++) {
		if (!send_listen(db, &db->channels[i], &err)) {
			db_lose(db, &err);
			return;
		}
	}
	log_info("database", "connected to \"%s\" as \"%s\"", PQdb(db->conn), PQuser(db->conn));
	if (db->callbacks.up != NULL)
		db->callbacks.up(db, db->arg);
}

static void
on_connected(PGconn *conn, const struct error *err, void *arg)
{
	struct db *db = arg;
	struct error failure = ERROR_INIT;

	db_enter(db);
	db->connecting = NULL;
	if (err != NULL) {
		db_lose(db, err);
		goto out;
	}
	db->conn = conn;
	db->reader = event_new(db->base, PQsocket(conn), EV_READ | EV_PERSIST, on_readable, db);
	db->writer = event_new(db->base, PQsocket(conn), EV_WRITE | EV_PERSIST, on_writable, db);
	if (PQsetnonblocking(conn, 1) != 0 || !PQenterPipelineMode(conn) || db->reader == NULL ||
	    db->writer == NULL || event_add(db->reader, NULL) != 0) {
		error_set(&failure, ERROR_SYSTEM, "database: no event for the connection");
		db_lose(db, &failure);
		goto out;
	}
	if (!db->check_schema) {
		become_up(db);
		goto out;
	}
	db->state = DB_CHECKING;
	if (pipeline_send(db, &migrations_statement, NULL, on_schema, NULL, &failure) == NULL)
		db_lose(db, &failure);
out:
	db_leave(db);
}

static void
start_attempt(struct db *db)
{
	struct error err = ERROR_INIT;

	db->connecting = connecting_start(db->base, db->conninfo, db->application,
	    db->statement_timeout_ms, on_connected, db, &err);
	if (db->connecting == NULL)
		db_lose(db, &err);
	else
		db->state = DB_CONNECTING;
}

/* --------------------------------------------------------------- the face */

struct db *
db_open(struct event_base *base, const char *conninfo, const struct db_options *options,
    const struct db_callbacks *callbacks, void *arg, struct error *err)
{
	static const struct timeval now = {0, 0};
	static const struct db_options none;
	const struct db_options *o = options != NULL ? options : &none;
	struct db *db = NULL;

	if (!conninfo_check(conninfo, err))
		return NULL;
	db = calloc(1, sizeof *db);
	if (db == NULL)
		goto fail;
	TAILQ_INIT(&db->pending);
	db->base = base;
	db->conninfo = strdup(conninfo);
	db->application = strdup(o->application != NULL ? o->application : "chancery");
	db->in_flight_max = o->in_flight_max != 0 ? o->in_flight_max : DB_IN_FLIGHT_MAX;
	db->statement_timeout_ms = o->statement_timeout_ms != 0 ? o->statement_timeout_ms
								: DB_STATEMENT_TIMEOUT_MS;
	db->check_schema = o->check_schema;
	db->callbacks = callbacks != NULL ? *callbacks : (struct db_callbacks){0};
	db->arg = arg;
	db->backoff_ms = DB_BACKOFF_MIN_MS;
	error_set(&db->why, ERROR_UNAVAILABLE, "the database is not connected yet");
	db->timer = evtimer_new(base, on_timer, db);
	if (db->conninfo == NULL || db->application == NULL || db->timer == NULL ||
	    evtimer_add(db->timer, &now) != 0)
		goto fail;
	return db;
fail:
	error_set(err, ERROR_SYSTEM, "out of memory for a database connection");
	db_free(db);
	return NULL;
}

bool
db_is_up(const struct db *db)
{
	return db->state == DB_UP;
}

size_t
db_in_flight(const struct db *db)
{
	return db->in_flight;
}

struct db_pending *
db_query(struct db *db, const struct db_statement *statement, struct db_params *params,
    db_answer_fn *answer, void *arg, struct error *err)
{
	size_t bytes = params != NULL ? params->len : 0;

	if (db->state != DB_UP)
		error_set_foreign(err, ERROR_UNAVAILABLE, db->why.source, db->why.foreign, "%s",
		    error_is_set(&db->why) ? db->why.text : "the database is not connected yet");
	else if (db->in_flight >= db->in_flight_max)
		error_set(err, ERROR_UNAVAILABLE,
		    "the database is busy: %zu statements are in flight; try again", db->in_flight);
	else if (db->in_flight != 0 && bytes > DB_IN_FLIGHT_BYTES_MAX - db->in_flight_bytes)
		error_set(err, ERROR_UNAVAILABLE,
		    "the database is busy: %zu octets are in flight; try again",
		    db->in_flight_bytes);
	else
		return pipeline_send(db, statement, params, answer, arg, err);
	if (params != NULL)
		db_params_free(params);
	return NULL;
}

static bool
is_plain_identifier(const char *s)
{
	return s[0] >= 'a' && s[0] <= 'z' &&
	       strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789_") == strlen(s) && strlen(s) < 64;
}

bool
db_listen(struct db *db, const char *channel, db_hint_fn *hint, void *arg, struct error *err)
{
	struct db_channel *c = &db->channels[db->channels_count];
	char *sql = NULL;

	if (db->channels_count == DB_CHANNELS_MAX || !is_plain_identifier(channel))
		return error_set(err, ERROR_INTERNAL,
		    "LISTEN %s: at most %d channels with plain names", channel, DB_CHANNELS_MAX);
	if (asprintf(&sql, "LISTEN %s", channel) < 0)
		return error_set(err, ERROR_SYSTEM, "out of memory");
	c->name = strdup(channel);
	if (c->name == NULL) {
		free(sql);
		return error_set(err, ERROR_SYSTEM, "out of memory");
	}
	/* The statement's own text serves as its name. */
	c->listen = (struct db_statement){.name = sql, .sql = sql};
	c->db = db;
	c->hint = hint;
	c->arg = arg;
	db->channels_count++;
	return db->state != DB_UP || send_listen(db, c, err);
}
