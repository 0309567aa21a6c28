#ifndef CHANCERY_PUBLISH_ATTEMPT_H
#define CHANCERY_PUBLISH_ATTEMPT_H

/*
 * One attempt to bring an artifact to a target: it is spooled, a courier is
 * started with it, and its result is taken, all before a deadline, at which the
 * courier is killed, and with it the process that writes a file for it as another
 * user (writer.h).
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"
#include "daemon/publish/job.h"
#include "db/publish.h"

struct attempt;
struct event_base;
struct spool;
struct writers;

struct attempt_settings {
	struct event_base *base;
	struct spool *spool;
	const char *program;	     /* of the courier */
	const char *credentials_dir; /* or NULL */
	const char *commands_dir;    /* or NULL */
	const char *ca_file;	     /* or NULL */
	const char *krb5_config;     /* or NULL */
	const struct config_publish_dirs *publish_dirs;
	struct writers *writers; /* of users in publish_dirs, or NULL */
	enum sandbox_mode sandbox;
};

/* Called once, from the loop. result is valid during the call. The callee
 * frees the attempt, now or later. */
typedef void attempt_end_fn(struct attempt *a, const struct publish_result *result, void *arg);

/* Takes all that it needs from the claim. deadline_ms is of monotonic_ms(),
 * and early enough before the lease's end that a kill still counts. A claim
 * that makes no sense ends as a failed attempt. NULL: no memory. */
struct attempt *attempt_start(const struct attempt_settings *settings,
    const struct db_publish_claim *claim, int64_t deadline_ms, attempt_end_fn *end, void *arg,
    struct error *err) MUST_CHECK;

/* Only fetches what stands at an address, as clients would; wanted: SHA-256 of the value
 * that is looked for among several, or NULL. result says PUBLISH_SAME, and what was read. */
struct attempt *attempt_look(const struct attempt_settings *settings, const char *url,
    enum artifact_kind kind, const uint8_t *wanted, int64_t deadline_ms, attempt_end_fn *end,
    void *arg, struct error *err) MUST_CHECK;
/* Its first octets, up to LOOK_KEPT_MAX; the descriptor is the attempt's. */
int attempt_found(const struct attempt *a);

/* Kills a courier that still runs. NULL is legal. */
void attempt_free(struct attempt *a);

/* What the claim said. */
int64_t attempt_publication(const struct attempt *a);
int attempt_epoch(const struct attempt *a);
int64_t attempt_artifact(const struct attempt *a);
int64_t attempt_target_id(const struct attempt *a);
const char *attempt_target(const struct attempt *a); /* "ca/target" */
const char *attempt_kind(const struct attempt *a);   /* of artifact */
bool attempt_is_retry(const struct attempt *a);
bool attempt_takes_out(const struct attempt *a); /* a certificate out of its entry */

#endif
