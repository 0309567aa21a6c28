#ifndef CHANCERY_DB_MIGRATE_H
#define CHANCERY_DB_MIGRATE_H

/*
 * The schema's version. Migrations are files NNNN_name.sql, forward only, in
 * the order of their numbers; each runs in one transaction together with the
 * row that records it in chancery_migration.applied (version, name, SHA-256 of
 * the file). The program carries the list of its own migrations, made at build
 * time from migrations/, and works on no other schema.
 *
 * These functions block; they are for start-up and for `chanceryd --migrate`.
 * A running role checks at each connect by itself (db_options.check_schema).
 */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

#define MIGRATION_FILE_MAX (4u * 1024 * 1024) /* octets */
#define MIGRATION_NAME_MAX 100		      /* characters of a file name */
#define MIGRATIONS_MAX 9999
#define MIGRATION_SHA256_HEX 64

struct migration {
	char name[MIGRATION_NAME_MAX + 1]; /* the file's */
	char sha256[MIGRATION_SHA256_HEX + 1];
};

/* What this program was built with, in order. */
extern const struct migration migrations_known[];
extern const size_t migrations_known_count;

/*
 * Applies what dir holds and the database has not, as the tables' owner. Of two
 * that start at once the second waits and finds nothing left to do. Refused
 * before anything is changed (ERROR_CONFLICT, naming the file): one that was
 * applied with another content or name, one that was applied and is missing
 * (as when the database is newer than this program), one that comes too late
 * because a higher number was applied. applied may be NULL: how many ran now.
 */
bool db_migrate(
    const char *conninfo, const char *dir, size_t *applied, struct error *err) MUST_CHECK;

/* Whether the database's schema is exactly this program's; else a sentence that
 * says what to do. ERROR_UNAVAILABLE when the database is away. */
bool db_check_schema(const char *conninfo, struct error *err) MUST_CHECK;

/* The judgement of db_check_schema on two lists (pure). */
bool migrations_compare(const struct migration *applied, size_t applied_count,
    const struct migration *known, size_t known_count, struct error *err) MUST_CHECK;

/* Whether a file name is ^[0-9]{4}_[a-z0-9_]+\.sql$ and not 0000; its number. */
bool migration_parse_name(const char *name, unsigned *version) MUST_CHECK;

#endif
