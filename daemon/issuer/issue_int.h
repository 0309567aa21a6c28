#ifndef CHANCERY_ISSUER_ISSUE_INT_H
#define CHANCERY_ISSUER_ISSUE_INT_H

/*
 * What the files of issuance share: issue.c claims, checks, builds and signs,
 * issue_listed.c claims what an entry of a PIN lists, issue_close.c tells the
 * database how a batch ended.
 */

#include <sys/queue.h>

#include "daemon/issuer/claim_plan.h"
#include "daemon/issuer/issue.h"
#include "daemon/issuer/issue_item.h"
#include "db/request.h"

/* While a backlog waits, more batches are on their way, so that the token always has
 * one: of a quick token with many sessions commits take longer than signatures.
 * Otherwise two, so that few requests do not come in ever smaller batches. */
#define BATCHES 4
#define LEASE_S 60

/* What an entry of a PIN lists, until it is claimed. */
struct listed {
	char token[CONFIG_TOKEN_NAME_MAX + 1]; /* "": nothing */
	uint8_t sha256[REQUEST_BATCH_MAX][PIN_DIGEST_LEN];
	size_t count;
	int64_t until_ms;
};

struct batch {
	struct issuance *s;
	struct lane *lane;
	bool busy;
	bool listed;	/* by an entry: its requests are being signed from the beginning */
	unsigned limit; /* of its claim */
	struct request_batch *claimed; /* owned */
	struct issue_item *items;
	size_t count;
	size_t signing;	    /* items that wait for the signer */
	int64_t signing_ms; /* since when */
	/* What has to end before the batch can: its own course, and questions to the
	 * database that nothing waits for. */
	size_t holds;
	struct db_pending *pending;
	struct event *deadline;
	STAILQ_ENTRY(batch) next; /* that waits to be closed */
};

/* What is on its way to one token: another one that is slow, or hangs, has a lane of its
 * own, and takes no batch away here. */
struct lane {
	struct issuance *s;
	struct batch batches[BATCHES];
	struct claim_plan *plan;
	bool claiming;	     /* one claim at a time */
	bool again;	     /* a hint came while nobody could claim */
	bool backlog;	     /* the last claim was full */
	bool full;	     /* the claim under way is a full look */
	unsigned limit;	     /* of the next claim */
	unsigned promise_ms; /* of the claim under way */
	int64_t asked_ms;    /* when */
	int64_t full_ms;     /* when the next full look is due */
};

struct issuance {
	struct issue_env env;
	void (*idle)(void *arg);
	void *arg;
	struct lane lanes[CONFIG_TOKENS_MAX]; /* in the order of the configuration's tokens */
	size_t lane_count;
	struct listed listed[CONFIG_TOKENS_MAX];
	/* Certificates go to the database one batch at a time, so that claims and intents,
	 * which the token waits for, pass those that wait here. */
	STAILQ_HEAD(, batch) closing;
	bool completing;
	bool held; /* the clock is in doubt */
	bool draining;
	int64_t crowd; /* requests found lately, less one each CROWD_DRAIN_MS */
	int64_t crowd_ms;
	int64_t swept_ms; /* when the last sweep began */
	int64_t sweep_ms; /* when the next one is due */
	struct verifier *verifier;
	int64_t look_until; /* what was promised */
	int look_ms;	    /* longer while nothing is found */
	struct event *look;
	struct event *sweep;
};

/* ---- issue.c */

/* Zeroed room for something of each item; free it. NULL without memory. */
void *batch_array(const struct batch *b, size_t size);
/* One thing less that the batch has to wait for; after the last one it ends. */
void batch_let_go(struct batch *b);
/* The database cannot be asked: everything stays as it is there, and comes back
 * when the leases end. */
void batch_abandon(struct batch *b, const struct error *why);
/* Takes the claims over. False when there are none, or no memory. */
bool batch_take(struct batch *b, struct request_batch *claimed);
/* Goes on with them: they are checked, built and signed. */
void batch_load(struct batch *b);

/* ---- issue_close.c */

/* Every item has its outcome: tells the database, each kind in one transaction. */
void batch_close(struct batch *b);
/* Gives up the intents that are not to be signed any more; their requests are released
 * with all that wait. */
bool batch_abandon_stale(struct batch *b, struct error *e) MUST_CHECK;
/* What was found of a request, for the database. */
void item_fill_check(const struct issue_item *item, struct request_check *c);
/* The database's answer about such findings; arg is the batch. */
void batch_on_told(
    const struct request_checked *checked, size_t count, const struct error *err, void *arg);

/* ---- issue_listed.c */

/* Claims what entries list: at once, or when a batch has ended. What comes too late, or
 * cannot be asked for, waits as before. */
void issue_claim_listed(struct issuance *s);

#endif
