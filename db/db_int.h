#ifndef CHANCERY_DB_DB_INT_H
#define CHANCERY_DB_DB_INT_H

/* What db.c (the connection's life) and pipeline.c (statements on it) share. */

#include <sys/queue.h>

#include <libpq-fe.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "db/connect_int.h"
#include "db/db.h"

enum db_state {
	DB_WAITING,    /* no connection; the timer starts the next attempt */
	DB_CONNECTING, /* libpq works on it; `connecting` is set */
	DB_CHECKING,   /* connected; asks which schema this is */
	DB_UP,	       /* takes statements */
	DB_CLOSED,     /* db_close was called; lives until the last callback returns */
};

/* A statement in flight, in the order sent. */
struct db_pending {
	TAILQ_ENTRY(db_pending) link;
	struct db *db;
	const struct db_statement *statement;
	db_answer_fn *answer; /* NULL: cancelled */
	void *arg;
	bool owns_arg;	      /* freed when cancelled */
	size_t bytes;	      /* of its parameters */
	bool preparing;	      /* the answer to its PREPARE comes first */
	PGresult *rows;	      /* the answer, until the sync proves the commit */
	struct error failure; /* the first one */
};

TAILQ_HEAD(db_pending_list, db_pending);

struct db_channel {
	struct db *db;
	char *name;
	struct db_statement listen; /* its sql is owned */
	db_hint_fn *hint;
	void *arg;
	bool heard;
};

struct db {
	struct event_base *base;
	char *conninfo, *application;
	unsigned in_flight_max, statement_timeout_ms;
	bool check_schema;
	struct db_callbacks callbacks;
	void *arg;

	enum db_state state;
	unsigned depth; /* callbacks of ours on the stack: not freed under them */
	bool told_down;
	struct error why; /* last reason for not being up */
	unsigned backoff_ms;
	struct connecting *connecting;
	PGconn *conn;
	bool desynced; /* half a statement was sent: nothing fits together any more */
	struct event *reader, *writer;
	struct event *timer; /* next attempt; while up, the watchdog */

	struct db_pending_list pending;
	size_t in_flight, in_flight_bytes;
	int64_t progress_ms; /* when the server last answered, or was first asked */
	const struct db_statement *prepared[DB_STATEMENTS_MAX];
	size_t prepared_count;
	struct db_channel channels[DB_CHANNELS_MAX];
	size_t channels_count;
};

/* Sends without looking at the limits. */
struct db_pending *pipeline_send(struct db *db, const struct db_statement *statement,
    struct db_params *params, db_answer_fn *answer, void *arg, struct error *err) MUST_CHECK;
/* Handles everything that libpq has read. False: the connection is lost. */
bool pipeline_receive(struct db *db, struct error *err) MUST_CHECK;
/* Writes what libpq still holds, now or when the socket takes it. */
bool pipeline_flush(struct db *db, struct error *err) MUST_CHECK;
/* Answers everything in flight with why. */
void pipeline_fail_all(struct db *db, const struct error *why);

/* Gives the connection up and plans the next attempt. */
void db_lose(struct db *db, const struct error *why);
/* The brackets around every callback; leave frees a closed db. */
void db_enter(struct db *db);
void db_leave(struct db *db);

#endif
