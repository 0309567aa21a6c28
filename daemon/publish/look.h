#ifndef CHANCERY_PUBLISH_LOOK_H
#define CHANCERY_PUBLISH_LOOK_H

/*
 * Looks from this host: an operator wants to know what clients get at an address as this
 * host sees it. A courier fetches it, without any credential, and what it found is put
 * into the database for a while.
 */

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/publish/job.h"

#define LOOK_KEPT_MAX ((uint64_t)2 << 20) /* octets; of what is longer only size and digest */
#define LOOK_READ_MAX ((uint64_t)1 << 30) /* octets that are read at all */
#define LOOK_COURIERS_MAX 4		  /* at once */
#define LOOK_ATTEMPT_S 15		  /* of one look */

struct db;
struct look_desk;
struct outbox;
struct target_work;

/* The issuer's side. The outbox lends its settings until look_desk_drain. */
struct look_desk *look_desk_new(
    struct db *db, const struct outbox *outbox, unsigned signer_id, struct error *err) MUST_CHECK;
/* Something may be ordered: NOTIFY chancery_look, or time went by. */
void look_desk_poke(struct look_desk *l);
/* The connection is there, for the first time or again: what was taken before and never
 * reported is done anew. */
void look_desk_resume(struct look_desk *l);
/* Takes nothing more, and kills the couriers that still run. */
void look_desk_drain(struct look_desk *l);
/* After the database was closed. NULL is legal. */
void look_desk_free(struct look_desk *l);

/* The courier's side: fetches the work's read URL and writes up to LOOK_KEPT_MAX octets
 * of what is there into the artifact's descriptor, from its start. Of several values in a
 * directory's entry: the one whose digest is the job's, or else the last. */
bool look_fetch(
    const struct target_work *work, struct publish_result *result, struct error *err) MUST_CHECK;

#endif
