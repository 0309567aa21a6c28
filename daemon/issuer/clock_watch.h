#ifndef CHANCERY_ISSUER_CLOCK_WATCH_H
#define CHANCERY_ISSUER_CLOCK_WATCH_H

/*
 * Watches this host's clock and the database's against the time that passes
 * (CLOCK_BOOTTIME, which nobody sets). What jumps is told the database, which
 * holds all signing until an operator confirms the clock.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "db/db.h"

struct clock_watch;
struct event_base;

#define CLOCK_WATCH_S 2 /* between two looks */

/* Signing is held, or goes on: called when that changes. */
typedef void clock_held_fn(bool held, void *arg);

struct clock_watch *clock_watch_new(struct event_base *base, struct db *db, clock_held_fn *held,
    void *arg, struct error *e) MUST_CHECK;

/* Looks now; as soon as the database is connected, before anything is claimed. */
void clock_watch_look(struct clock_watch *w);

void clock_watch_free(struct clock_watch *w); /* NULL is legal */

/* A clock's reading beside that of the time that passes, both in seconds. */
struct clock_reading {
	int64_t clock, passed;
};

/* How far the clock went in another way than time did, from one reading to the
 * next. */
int64_t clock_step_s(const struct clock_reading *before, const struct clock_reading *after);

#endif
