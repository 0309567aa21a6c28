#include "db/migrate.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libpq-fe.h>
#include <openssl/evp.h>

#include "daemon/core/encode.h"
#include "daemon/core/log.h"
#include "db/connect_int.h"
#include "db/migrate_int.h"
#include "db/result_int.h"
#include "db/sqlstate.h"

/* Any number will do, as long as every version of the program takes the same. */
#define MIGRATION_LOCK "7238129047158"

/* A migration as a file of the directory. */
struct script {
	struct migration is;
	unsigned version;
	char *sql; /* owned, NUL-terminated */
};

struct scripts {
	struct script *script;
	size_t count;
};

/* ------------------------------------------------------------------ files */

static void
scripts_free(struct scripts *s)
{
	for (size_t i = 0; i < s->count; i++)
		free(s->script[i].sql);
	free(s->script);
	*s = (struct scripts){0};
}

static bool
hash_hex(const char *data, size_t len, char out[MIGRATION_SHA256_HEX + 1], struct error *err)
{
	unsigned char digest[32];

	if (EVP_Digest(data, len, digest, NULL, EVP_sha256(), NULL) != 1)
		return error_set_openssl(err, ERROR_INTERNAL, "SHA-256");
	hex_encode(digest, sizeof digest, out);
	return true;
}

static bool
script_load(struct script *s, const char *dir, const char *name, struct error *err)
{
	FILE *file = NULL;
	char *path = NULL;
	size_t len;
	bool ok = false;

	(void)snprintf(s->is.name, sizeof s->is.name, "%.*s", MIGRATION_NAME_MAX, name);
	s->sql = malloc(MIGRATION_FILE_MAX + 1);
	if (s->sql == NULL || asprintf(&path, "%s/%s", dir, name) < 0) {
		path = NULL;
		error_set(err, ERROR_SYSTEM, "out of memory");
		goto out;
	}
	file = fopen(path, "re");
	if (file == NULL) {
		error_set_errno(err, ERROR_SYSTEM, "migration %s", path);
		goto out;
	}
	len = fread(s->sql, 1, MIGRATION_FILE_MAX + 1, file);
	if (ferror(file)) {
		error_set_errno(err, ERROR_SYSTEM, "migration %s", path);
		goto out;
	}
	if (len > MIGRATION_FILE_MAX) {
		error_set(err, ERROR_LIMIT, "migration %s has more than %u octets", path,
		    MIGRATION_FILE_MAX);
		goto out;
	}
	s->sql[len] = '\0';
	if (strlen(s->sql) != len) {
		error_set(err, ERROR_INPUT, "migration %s has a NUL octet in it", path);
		goto out;
	}
	ok = hash_hex(s->sql, len, s->is.sha256, err);
out:
	if (file != NULL)
		(void)fclose(file);
	free(path);
	return ok;
}

static int
is_sql(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > 4 && strcmp(entry->d_name + len - 4, ".sql") == 0 &&
	       strcmp(entry->d_name, "bootstrap.sql") != 0;
}

static bool
scripts_load(struct scripts *s, const char *dir, struct error *err)
{
	struct dirent **entries = NULL;
	int count = scandir(dir, &entries, is_sql, alphasort);
	bool ok = false;

	if (count < 0)
		return error_set_errno(err, ERROR_SYSTEM, "directory of migrations %s", dir);
	s->script = calloc((size_t)count + 1, sizeof *s->script);
	if (s->script == NULL) {
		error_set(err, ERROR_SYSTEM, "out of memory");
		goto out;
	}
	if (count == 0) {
		error_set(
		    err, ERROR_CONFIG, "directory %s holds no migrations (NNNN_name.sql)", dir);
		goto out;
	}
	for (int i = 0; i < count; i++) {
		struct script *next = &s->script[s->count++];

		if (!migration_parse_name(entries[i]->d_name, &next->version)) {
			error_set(err, ERROR_CONFIG,
			    "%s/%s is no migration's name: it is NNNN_name.sql, four digits from "
			    "0001 "
			    "and a name of a-z, 0-9 and _",
			    dir, entries[i]->d_name);
			goto out;
		}
		if (i > 0 && next->version == next[-1].version) {
			error_set(err, ERROR_CONFLICT, "migrations %s and %s have the same number",
			    next[-1].is.name, entries[i]->d_name);
			goto out;
		}
		if (!script_load(next, dir, entries[i]->d_name, err))
			goto out;
	}
	ok = true;
out:
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
	return ok;
}

/* --------------------------------------------------------------- database */

static PGconn *
connect_blocking(const char *conninfo, struct error *err)
{
	const char *const names[] = {
	    "dbname", "application_name", "client_encoding", "options", "connect_timeout", NULL};
	static const char options[] = "-c TimeZone=UTC -c DateStyle=ISO -c statement_timeout=0"
				      " -c client_min_messages=warning";
	const char *const values[] = {conninfo, "chancery migrate", "UTF8", options, "10", NULL};
	PGconn *conn;

	if (!conninfo_check(conninfo, err))
		return NULL;
	conn = PQconnectdbParams(names, values, 1);
	if (PQstatus(conn) == CONNECTION_OK)
		return conn;
	error_set_connection(err, conn, "connecting");
	PQfinish(conn);
	return NULL;
}

/* Runs one or more statements without looking at rows; what is for errors. */
static bool
run(PGconn *conn, const char *sql, const char *what, struct error *err)
{
	PGresult *result = PQexec(conn, sql);
	ExecStatusType status = PQresultStatus(result);
	bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;

	if (!ok)
		error_set_sqlstate(err, PQresultErrorField(result, PG_DIAG_SQLSTATE), what,
		    PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) != NULL
			? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY)
			: PQerrorMessage(conn));
	PQclear(result);
	return ok;
}

/* The same for a whole file: errors name file and line. */
static bool
run_script(PGconn *conn, const struct script *s, struct error *err)
{
	PGresult *result = PQexec(conn, s->sql);
	ExecStatusType status = PQresultStatus(result);
	bool ok = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
	const char *message = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
	const char *sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	const char *position = PQresultErrorField(result, PG_DIAG_STATEMENT_POSITION);
	size_t line = 1;

	if (ok)
		goto out;
	/* A position counts characters; our files are ASCII. */
	for (size_t i = 1; position != NULL && i < strtoul(position, NULL, 10); i++) {
		if (s->sql[i - 1] == '\0')
			break;
		line += s->sql[i - 1] == '\n';
	}
	if (position != NULL)
		error_set_foreign(err, ERROR_CONFLICT, ERROR_POSTGRES, sqlstate,
		    "migration %s:%zu: %s", s->is.name, line, message);
	else
		error_set_foreign(err, sqlstate != NULL ? ERROR_CONFLICT : ERROR_UNAVAILABLE,
		    ERROR_POSTGRES, sqlstate, "migration %s: %s%s", s->is.name,
		    message != NULL ? message : PQerrorMessage(conn),
		    sqlstate != NULL && strcmp(sqlstate, "42704") == 0
			? " (bootstrap.sql, run once by a superuser, makes the roles)"
			: "");
out:
	PQclear(result);
	return ok;
}

static bool
prepare_record(PGconn *conn, struct error *err)
{
	/* IF NOT EXISTS alone still fails when two do it at once: hence the lock. */
	return run(conn, "SELECT pg_advisory_lock(" MIGRATION_LOCK ")", "locking migrations",
		   err) &&
	       run(conn,
		   "BEGIN;"
		   "CREATE SCHEMA IF NOT EXISTS chancery_migration;"
		   "CREATE TABLE IF NOT EXISTS chancery_migration.applied ("
		   "    version    int PRIMARY KEY,"
		   "    name       text NOT NULL UNIQUE,"
		   "    sha256     text NOT NULL,"
		   "    applied_at timestamptz NOT NULL DEFAULT clock_timestamp(),"
		   "    applied_by text NOT NULL DEFAULT session_user);"
		   "GRANT USAGE ON SCHEMA chancery_migration TO PUBLIC;"
		   "GRANT SELECT ON chancery_migration.applied TO PUBLIC;"
		   "COMMIT",
		   "creating the record of migrations", err);
}

static struct db_result *
read_record(PGconn *conn, struct error *err)
{
	PGresult *pg = PQexecParams(conn, migrations_statement.sql, 0, NULL, NULL, NULL, NULL, 1);
	const char *sqlstate = PQresultErrorField(pg, PG_DIAG_SQLSTATE);
	struct db_result *result = NULL;

	if (PQresultStatus(pg) == PGRES_TUPLES_OK)
		result = result_new(pg);
	if (result != NULL)
		return result;
	if (sqlstate != NULL && (strcmp(sqlstate, "42P01") == 0 || strcmp(sqlstate, "3F000") == 0))
		error_set_foreign(err, ERROR_CONFLICT, ERROR_POSTGRES, sqlstate,
		    "database \"%s\" has no schema of ours; run `chanceryd --migrate`", PQdb(conn));
	else
		error_set_sqlstate(err, sqlstate, "reading the record of migrations",
		    PQresultErrorField(pg, PG_DIAG_MESSAGE_PRIMARY));
	PQclear(pg);
	return NULL;
}

/*
 * Whether the files contain, unchanged, what was applied, and nothing that
 * comes too late. Rows come in the order of their versions. *last is the last
 * applied version, 0 for none.
 */
static bool
compare_record(
    struct db_result *record, const struct scripts *files, unsigned *last, struct error *err)
{
	size_t at = 0;

	*last = 0;
	for (size_t i = 0; i < db_row_count(record); i++) {
		const char *name = db_get_text(record, i, 0);
		const char *sha256 = db_get_text(record, i, 1);

		if (name == NULL || sha256 == NULL || !migration_parse_name(name, last))
			return error_set(
			    err, ERROR_CONFLICT, "chancery_migration.applied names no migration");
		if (at < files->count && files->script[at].version < *last)
			return error_set(err, ERROR_CONFLICT,
			    "migration %s comes too late: %s was applied before it",
			    files->script[at].is.name, name);
		if (at == files->count || files->script[at].version > *last)
			return error_set(err, ERROR_CONFLICT,
			    "migration %s was applied and its file is missing: the database is "
			    "newer "
			    "than this program, or the file was taken away",
			    name);
		if (strcmp(files->script[at].is.name, name) != 0)
			return error_set(err, ERROR_CONFLICT,
			    "migration %s was applied under the name %s", files->script[at].is.name,
			    name);
		if (strcmp(files->script[at].is.sha256, sha256) != 0)
			return error_set(err, ERROR_CONFLICT,
			    "migration %s was changed after it was applied (SHA-256 is %.16s..., "
			    "was "
			    "%.16s...): put the old file back and write a new one",
			    name, files->script[at].is.sha256, sha256);
		at++;
	}
	return db_result_ok(record, err);
}

static bool
apply(PGconn *conn, const struct script *s, struct error *err)
{
	char record[512];

	/* Neither name nor digest can hold a quote. */
	(void)snprintf(record, sizeof record,
	    "INSERT INTO chancery_migration.applied (version, name, sha256) "
	    "VALUES (%u, '%s', '%s'); COMMIT; RESET ALL",
	    s->version, s->is.name, s->is.sha256);
	if (!run(conn, "BEGIN", s->is.name, err) || !run_script(conn, s, err))
		return false;
	if (PQtransactionStatus(conn) != PQTRANS_INTRANS)
		return error_set(err, ERROR_CONFIG,
		    "migration %s ends the transaction that it runs in", s->is.name);
	if (!run(conn, record, s->is.name, err))
		return false;
	log_info("database", "applied migration %s", s->is.name);
	return true;
}

bool
db_migrate(const char *conninfo, const char *dir, size_t *applied, struct error *err)
{
	struct scripts files = {0};
	struct db_result *record = NULL;
	PGconn *conn = NULL;
	unsigned last;
	size_t count = 0;
	bool ok = false;

	if (!scripts_load(&files, dir, err))
		goto out;
	conn = connect_blocking(conninfo, err);
	if (conn == NULL || !prepare_record(conn, err))
		goto out;
	record = read_record(conn, err);
	if (record == NULL || !compare_record(record, &files, &last, err))
		goto out;
	for (size_t i = 0; i < files.count; i++) {
		if (files.script[i].version <= last)
			continue;
		if (!apply(conn, &files.script[i], err))
			goto out;
		count++;
	}
	ok = true;
out:
	if (applied != NULL)
		*applied = count;
	db_result_free(record);
	PQfinish(conn); /* gives the lock back */
	scripts_free(&files);
	return ok;
}

bool
db_check_schema(const char *conninfo, struct error *err)
{
	PGconn *conn = connect_blocking(conninfo, err);
	struct db_result *record = NULL;
	bool ok = false;

	if (conn == NULL)
		goto out;
	record = read_record(conn, err);
	ok = record != NULL && migrations_check_result(record, err);
out:
	db_result_free(record);
	PQfinish(conn);
	return ok;
}
