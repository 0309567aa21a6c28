#ifndef CHANCERY_SUPERVISOR_CHILD_H
#define CHANCERY_SUPERVISOR_CHILD_H

/*
 * One child of the supervisor: a signer, a writer, the issuer or the front.
 *
 *   WAITING ──start──► STARTING ──READY──► RUNNING
 *      ▲                   │                  │
 *      └──── it ended ─────┴──────────────────┘    back-off, then again
 *                          │ child_stop       │
 *                          ▼                  ▼
 *                       STOPPING ──it ended──► WAITING (again) or DONE
 *
 * The first thing that a child says is what sandbox it is in. Where that is not what
 * the configuration asks for, it does not get to RUNNING: it is killed.
 *
 * A child that ends without being told is started again after 100 ms, then
 * after twice as long each time up to 30 s; 60 s of life start the count anew. A
 * signer that gave its token up (role.h) waits no longer than 0.8 s.
 */

#include <stdbool.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/control.h"
#include "daemon/core/error.h"
#include "daemon/core/sandbox.h"

/* Of the token of a signer, or of the user of a writer. */
#define CHILD_SUBJECT_MAX CONFIG_TOKEN_NAME_MAX
_Static_assert(CONFIG_WRITER_MAX <= CHILD_SUBJECT_MAX, "a user's name fits");
#define CHILD_NAME_MAX (CHILD_SUBJECT_MAX + 16)
#define CHILD_BACKOFF_MIN_MS 100
#define CHILD_BACKOFF_MAX_MS 30000
#define CHILD_BACKOFF_TOKEN_MS 800 /* of a signer that gave its token up */
#define CHILD_STABLE_S 60	   /* of life, after which the back-off starts anew */
#define CHILD_CLOSED_S 10	   /* between closing its channel and its end */

struct event;
struct event_base;
struct child;

enum child_kind {
	CHILD_SIGNER,
	CHILD_WRITER,
	CHILD_ISSUER,
	CHILD_FRONT,
};

enum child_state {
	CHILD_WAITING,	/* no process; the timer starts one */
	CHILD_STARTING, /* runs, has not reported that it is ready */
	CHILD_RUNNING,	/* ready */
	CHILD_STOPPING, /* told to drain; the timer kills it */
	CHILD_DONE,	/* ended, and not to be started again */
};

/* What all children of a supervisor have in common. */
struct child_site {
	struct event_base *base;
	const char *self, *signer;   /* programs */
	const struct config *config; /* the one in force */
	/* A process was started: send it its descriptors. */
	void (*on_start)(struct child *c, void *arg);
	/* State or status changed. c may be freed only when it is CHILD_DONE. */
	void (*on_change)(struct child *c, void *arg);
	void *arg;
};

struct child {
	TAILQ_ENTRY(child) entry; /* for the supervisor */
	const struct child_site *site;
	enum child_kind kind;
	enum child_state state;
	char name[CHILD_NAME_MAX]; /* "signer-main", "writer-www-data", "issuer", "front" */
	char subject[CHILD_SUBJECT_MAX + 1]; /* token of a signer, user of a writer */
	pid_t pid;			     /* 0 in WAITING and DONE */
	struct control *control;	     /* NULL without a process, or when it closed it */
	struct event *timer;
	bool again;  /* STOPPING: start anew afterwards */
	bool killed; /* by us, because it did not end or did not read */
	unsigned restarts, backoff_ms;
	int64_t started_s;		/* monotonic_s() */
	char status[CONTROL_TEXT_MAX];	/* its own words; ASCII */
	char sandbox[SANDBOX_TEXT_MAX]; /* its report; "" before it came */
	char told[CONTROL_TEXT_MAX];	/* to the front, about this child (roster.h) */
	bool is_confined;		/* the report says all that the configuration asks for */
};

/* Makes a child in CHILD_WAITING without a timer; subject is NULL for issuer and
 * front. site must outlive it. NULL when out of memory. */
struct child *child_new(
    const struct child_site *site, enum child_kind kind, const char *subject) MUST_CHECK;

/* Starts the process; when that fails, tries again later by itself. */
void child_start(struct child *c);

/* Sends to the child. One that does not read is killed, and comes back. */
void child_send(struct child *c, enum control_type type, const char *text, unsigned index, int fd);

/* Tells it to drain and kills it timeout_s later; afterwards it is started
 * anew, or done. A child that waits for its start is done or started at once.
 * Repeated calls change only what comes afterwards. */
void child_stop(struct child *c, unsigned timeout_s, bool again);

/* Kills the process, if there is one. */
void child_kill(struct child *c);

/* Looks whether the process ended (on SIGCHLD). */
void child_reap(struct child *c);

bool child_has_process(const struct child *c);
const char *child_state_name(enum child_state state);

/* Kills and waits for the process, if there is one. c may be NULL. */
void child_free(struct child *c);

#endif
