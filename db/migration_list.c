/* Which schema this program knows, and whether the database's is that one. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "db/migrate_int.h"

/* Made by the Makefile from migrations/: {"0001_schema.sql", "<sha256>"}, ... */
const struct migration migrations_known[] = {
#include "known_migrations.inc"
};
const size_t migrations_known_count = COUNT_OF(migrations_known);

const struct db_statement migrations_statement = {
    .name = "migrations_applied",
    .sql = "SELECT name, sha256 FROM chancery_migration.applied ORDER BY version",
};

bool
migration_parse_name(const char *name, unsigned *version)
{
	static const char word[] = "abcdefghijklmnopqrstuvwxyz0123456789_";
	size_t len = strlen(name);

	if (len > MIGRATION_NAME_MAX || strspn(name, "0123456789") != 4 || name[4] != '_')
		return false;
	if (5 + strspn(name + 5, word) != len - 4 || len == 9 ||
	    strcmp(name + len - 4, ".sql") != 0)
		return false;
	*version = (unsigned)strtoul(name, NULL, 10);
	return *version != 0;
}

bool
migrations_compare(const struct migration *applied, size_t applied_count,
    const struct migration *known, size_t known_count, struct error *err)
{
	for (size_t i = 0; i < applied_count; i++) {
		if (i >= known_count)
			return error_set(err, ERROR_CONFLICT,
			    "the database's schema is newer than this program: %s was applied; "
			    "install the program that belongs to it",
			    applied[i].name);
		if (strcmp(applied[i].name, known[i].name) != 0)
			return error_set(err, ERROR_CONFLICT,
			    "the database's schema is not this program's: %s was applied where "
			    "the program has %s",
			    applied[i].name, known[i].name);
		if (strcmp(applied[i].sha256, known[i].sha256) != 0)
			return error_set(err, ERROR_CONFLICT,
			    "the database's schema is not this program's: %s was applied with "
			    "another content",
			    applied[i].name);
	}
	if (applied_count < known_count)
		return error_set(err, ERROR_CONFLICT,
		    "the database's schema is older than this program: %s was not applied; run "
		    "`chanceryd --migrate`",
		    known[applied_count].name);
	return true;
}

bool
migrations_check_result(struct db_result *result, struct error *err)
{
	size_t count = db_row_count(result);
	struct migration *applied = calloc(count + 1, sizeof *applied);
	bool ok = false;

	if (applied == NULL) {
		error_set(err, ERROR_SYSTEM, "out of memory");
		goto out;
	}
	for (size_t i = 0; i < count; i++) {
		const char *name = db_get_text(result, i, 0);
		const char *sha256 = db_get_text(result, i, 1);

		(void)snprintf(
		    applied[i].name, sizeof applied[i].name, "%s", name != NULL ? name : "");
		(void)snprintf(applied[i].sha256, sizeof applied[i].sha256, "%s",
		    sha256 != NULL ? sha256 : "");
	}
	ok = db_result_ok(result, err) &&
	     migrations_compare(applied, count, migrations_known, migrations_known_count, err);
out:
	free(applied);
	return ok;
}
