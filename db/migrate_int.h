#ifndef CHANCERY_DB_MIGRATE_INT_H
#define CHANCERY_DB_MIGRATE_INT_H

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "db/db.h"
#include "db/migrate.h"

/* Lists what was applied, and the judgement of its rows against what this
 * program knows. */
extern const struct db_statement migrations_statement;
bool migrations_check_result(struct db_result *result, struct error *err) MUST_CHECK;

#endif
