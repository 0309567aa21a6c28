#ifndef CHANCERY_CORE_PROCESS_H
#define CHANCERY_CORE_PROCESS_H

/*
 * Starting a child by fork and exec. The child gets /dev/null as standard
 * input, our standard output and error, its control channel at CONTROL_FD and
 * no other descriptor; an empty signal mask, default signal handlers, SIGKILL
 * when the supervisor dies, and only the environment it is given.
 */

#include <stddef.h>
#include <sys/types.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"
#include "daemon/core/identity.h"

/* Makes a NULL-ended environment: PATH, TZ, JOURNAL_STREAM and the sanitizers'
 * options where we have them ourselves, CREDENTIALS_DIRECTORY only with
 * credentials, and then the extra variables, which win over ours. Owned by the
 * caller (process_environment_free); NULL when out of memory. */
char **process_environment(
    bool credentials, const struct config_variable *extra, size_t extra_count) MUST_CHECK;
void process_environment_free(char **environment);

/* The descriptor of a credential in a child that is given one, beside
 * CONTROL_FD: an open file with its PIN, which only we may open. */
#define CREDENTIAL_FD 4
/* A variable with its number, in that child's environment. */
#define CREDENTIAL_VARIABLE "CHANCERY_CREDENTIAL_FD"

/* A child that is not at its exec by then is killed: somebody stopped it, or what its program
 * lies on does not answer. Whoever starts it waits as long. */
#define PROCESS_START_MS 10000

struct process_start {
	const char *program; /* a path */
	char *const *argv, *const *environment;
	int control;
	int credential;			 /* -1: none; stays open here */
	const struct identity *identity; /* NULL: as we are; else we are root */
	unsigned processes_max;		 /* threads count too; for the whole uid; 0: as before */
};

/* The same as process_spawn, and with identity as that user, without groups,
 * capabilities or new privileges beyond it. */
bool process_start(const struct process_start *start, pid_t *pid, struct error *err) MUST_CHECK;

/* Starts program (a path) with argv and environment (both NULL-ended). control
 * becomes CONTROL_FD in the child and stays open here; make it blocking.
 * Waits until exec worked or failed, PROCESS_START_MS at most. On success *pid is the caller's to
 * wait for. ERROR_SYSTEM with the reason otherwise. */
bool process_spawn(const char *program, char *const argv[], char *const environment[], int control,
    pid_t *pid, struct error *err) MUST_CHECK;

#endif
