#ifndef CHANCERY_DB_CLOCK_H
#define CHANCERY_DB_CLOCK_H

/* The watch over the clocks (migrations/0011_clock.sql). */

#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "db/db.h"

/* doubt: why nothing may be signed now, or NULL; now: the database's clock. With err
 * nothing is known. */
typedef void clock_watched_fn(const char *doubt, int64_t now, const struct error *err, void *arg);

/* host: our own clock, Unix seconds; step_s: how far one of the clocks jumped since
 * the last look, below 0: back. */
struct db_pending *clock_watch_ask(struct db *db, int64_t host, int64_t step_s,
    clock_watched_fn *answer, void *arg, struct error *err) MUST_CHECK;

#endif
