#ifndef CHANCERY_PUBLISH_SPOOL_H
#define CHANCERY_PUBLISH_SPOOL_H

/*
 * Artifacts as files, for as long as couriers need them: read from the
 * database in chunks, checked against their size and SHA-256, named by it, and
 * removed with their last user. Several publications of one artifact share a
 * file. What an earlier process left in the folder is removed at the start.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/publish/job.h"

struct db;
struct event_base;
struct spool;
struct spool_ticket;

/* Makes the folder (mode 0700) where it is missing. db must outlive the spool
 * or be closed after it. */
struct spool *spool_open(
    struct event_base *base, struct db *db, const char *folder, struct error *err) MUST_CHECK;

/* Every ticket was returned before. What the database still owes an answer for
 * is freed with that answer. NULL is legal. */
void spool_close(struct spool *s);

/* The file is there, whole: fd (read-only, the ticket's own, valid as long as
 * that) or, where err is set, it could not be made. Never
 * called from inside another function of this header. */
typedef void spool_ready_fn(int fd, const struct error *err, void *arg);

/* Asks for an artifact. Give the ticket back in any case, also before and from
 * within the callback, which then does not come any more. */
struct spool_ticket *spool_take(struct spool *s, int64_t artifact_id, uint64_t size,
    const uint8_t sha256[PUBLISH_SHA256_LEN], spool_ready_fn *ready, void *arg,
    struct error *err) MUST_CHECK;
/* NULL is legal. */
void spool_return(struct spool_ticket *t);

#endif
