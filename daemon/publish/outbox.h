#ifndef CHANCERY_PUBLISH_OUTBOX_H
#define CHANCERY_PUBLISH_OUTBOX_H

/*
 * The outbox of the issuer: claims publications that are due, has each brought
 * to its target by a courier, reports how it went, and starts over. It lives on
 * the issuer's loop and never waits: at most OUTBOX_COURIERS_MAX couriers run
 * at once, one for each target at most, so that a target that is dead or stalls
 * delays no other; and of them at most OUTBOX_RETRIES_MAX with what failed
 * before, so that fresh artifacts always find one.
 *
 * Where it was ordered, certificates from before the policy go to the entries of their
 * subjects, so many at a time that those of today do not wait long behind them.
 *
 * What was published is read back again every few hours, and written again where
 * something else stands by then.
 *
 * It also warns of places where the successor could not be published and what
 * stands there will soon end.
 */

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"

#define OUTBOX_COURIERS_MAX 8
#define OUTBOX_RETRIES_MAX 6
#define OUTBOX_ATTEMPT_S 60	 /* for one attempt, and 2 s more for each MiB */
#define OUTBOX_LEASE_MARGIN_S 10 /* between the end of an attempt's time and of its lease */
#define OUTBOX_POLL_S 30	 /* at the latest, when no hint came */
#define OUTBOX_WATCH_S 600	 /* between two looks at what is about to end */
#define OUTBOX_RECHECK_S 21600	 /* what stood there then is read back again */
#define OUTBOX_RECHECK_MAX 200	 /* ... so many at each look */
#define OUTBOX_EXPIRE_MAX 10000	 /* certificates that leave their entries at each look */
#define OUTBOX_BEFORE_MAX 100	 /* earlier certificates of one look, and at most in hand */

struct db;
struct event_base;
struct outbox;
struct writers;

/* Strings are copied. */
struct outbox_config {
	const char *state_dir;	     /* the folder "spool" is made in it */
	const char *credentials_dir; /* or NULL: no target may name a credential */
	const char *commands_dir;    /* or NULL: no target may run one */
	const char *ca_file;	     /* or NULL: the system's */
	const char *krb5_config;     /* or NULL: the system's */
	unsigned signer_id;	     /* of this issuer, no other's; claims are marked with it */
	const char *program;	     /* run as a courier; NULL: this very program */
	unsigned attempt_s;	     /* 0: OUTBOX_ATTEMPT_S */
	unsigned watch_s;	     /* 0: OUTBOX_WATCH_S */
	/* Where files may be published and read back; not copied. */
	const struct config_publish_dirs *publish_dirs;
	/* For those in them that belong to other users, or NULL; lives longer. */
	struct writers *writers;
	enum sandbox_mode sandbox; /* of couriers */
};

/* Starts at the loop's next turn, whether db is up yet or not. What a
 * predecessor with this signer id had claimed is claimed anew. db must be
 * closed after outbox_stop (its last answers free the rest). */
struct outbox *outbox_start(struct event_base *base, struct db *db,
    const struct outbox_config *config, struct error *err) MUST_CHECK;

/* Something may be due: NOTIFY chancery_publish, or the database is back. */
void outbox_poke(struct outbox *o);

/* What its attempts start with, for others that send couriers; borrowed. */
struct attempt_settings;
void outbox_settings(const struct outbox *o, struct attempt_settings *settings);

/* Claims nothing more, and calls drained(arg) once when every courier has ended
 * and was reported; at once, before returning, when there is none. */
void outbox_drain(struct outbox *o, void (*drained)(void *arg), void *arg);

/* Kills the couriers that still run. NULL is legal. */
void outbox_stop(struct outbox *o);

#endif
