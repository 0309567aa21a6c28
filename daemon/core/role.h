#ifndef CHANCERY_CORE_ROLE_H
#define CHANCERY_CORE_ROLE_H

/*
 * What every child of the supervisor (front, issuer, signer) has in common:
 * the event loop, the control channel, its signals and its end.
 *
 *   role_new; own set-up on role_base; role_ready; role_run; role_free
 *
 * role_new tells the supervisor what sandbox the process is in: enter it before.
 *
 * SIGPIPE, SIGINT and SIGHUP are ignored (a terminal sends the last two to
 * the whole process group; the supervisor translates them). SIGTERM is taken
 * as a CONTROL_DRAIN. When the supervisor is gone, role_run returns 1.
 */

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

struct event_base;
struct role;

/* A signer's exit status when it gave the token up, to meet it with a freshly loaded
 * module; and when the module did not come back from a call. */
#define ROLE_EXIT_TOKEN_LOST 3
#define ROLE_EXIT_MODULE_HUNG 5

/* Every callback runs on the loop and may be NULL. Descriptors belong to the
 * callee, are close-on-exec and blocking; without a callback they are closed. */
struct role_callbacks {
	/* A fresh channel between the signer of this token and the issuer; what
	 * was handed out for the same token before is dead. */
	void (*on_signer_channel)(const char *token, int fd, void *arg);
	/* The same between the writer of this user and the issuer. */
	void (*on_writer_channel)(const char *user, int fd, void *arg);
	/* A bound and listening socket: kind "unix", "http", "https" or "metrics", and its
	 * place in the configuration's list of that kind. They are on their way
	 * already when the process starts; a role need not wait for them before
	 * role_ready. A reload that changes listeners restarts the front. */
	void (*on_listener)(const char *kind, unsigned index, int fd, void *arg);
	/* A process of this host's supervisor is in another state (CONTROL_PROCESS).
	 * Sent to the front only. */
	void (*on_process)(const char *text, void *arg);
	/* The configuration file was changed and found good: read it again. */
	void (*on_reload)(void *arg);
	/* Take nothing new, finish what is in flight, then call role_stop(r, 0).
	 * Called once. Without a callback the role stops at once. */
	void (*on_drain)(void *arg);
};

/* name ("front", "issuer", "signer-main", "writer-www") and callbacks must outlive the role.
 * control_fd is normally CONTROL_FD; it is taken over, also on failure. */
struct role *role_new(const char *name, int control_fd, const struct role_callbacks *callbacks,
    void *arg, struct error *err) MUST_CHECK;

/* The loop; it lives as long as the role. */
struct event_base *role_base(struct role *r);

/* Tells the supervisor that this role serves. Later calls do nothing. */
void role_ready(struct role *r);

/* Tells the supervisor, in one sentence, the state this role is in, when that
 * changes; a repetition of the same sentence is not sent again. */
void role_status(struct role *r, const char *fmt, ...) PRINTF(2, 3);

/* True from CONTROL_DRAIN on. */
bool role_is_draining(const struct role *r);

/* Runs the loop until role_stop or until the supervisor is gone; returns the
 * process's exit status. */
int role_run(struct role *r) MUST_CHECK;

/* Makes role_run return this status as soon as the loop comes round. */
void role_stop(struct role *r, int status);

/* Frees the loop too: free everything that lives on it before. r may be NULL. */
void role_free(struct role *r);

#endif
