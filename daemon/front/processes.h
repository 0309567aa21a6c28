#ifndef CHANCERY_FRONT_PROCESSES_H
#define CHANCERY_FRONT_PROCESSES_H

/*
 * The processes of this host, as the supervisor tells the front of them, for
 * /v1/status: who runs as whom, and what each gave up (daemon/core/sandbox.h).
 */

#include <jansson.h>
#include <stddef.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"
#include "daemon/core/sandbox.h"

/* Twice as many while tokens, or users of published files, are being exchanged. */
#define PROCESSES_MAX ((CONFIG_TOKENS_MAX + CONFIG_PATHS_MAX) * 2 + 3)
#define PROCESS_NAME_SIZE (CONFIG_TOKEN_NAME_MAX + 16) /* a writer's user is no longer */

struct process_entry {
	char name[PROCESS_NAME_SIZE];
	int pid; /* 0: none */
	char state[16];
	bool has_report;
	struct sandbox_report report;
};

struct processes {
	struct process_entry entries[PROCESSES_MAX];
	size_t count;
};

/* Takes a "NAME PID STATE REPORT" (CONTROL_PROCESS). ERROR_INPUT, ERROR_LIMIT. */
bool processes_take(struct processes *p, const char *text, struct error *err) MUST_CHECK;

/* A new JSON array for the answer; NULL when out of memory. */
json_t *processes_json(const struct processes *p) MUST_CHECK;

#endif
