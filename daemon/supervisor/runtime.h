#ifndef CHANCERY_SUPERVISOR_RUNTIME_H
#define CHANCERY_SUPERVISOR_RUNTIME_H

/*
 * The supervisor's own files in state_dir:
 *
 *   lock      held while a supervisor runs on the directory; contains its pid
 *   run.json  what runs where, for scripts and tests; replaced as a whole at
 *             each change and removed at the end
 */

#include <stdbool.h>
#include <stdio.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

#define RUNTIME_RUN_FILE "run.json"
#define RUNTIME_LOCK_FILE "lock"

/* Takes the lock of a state_dir that is there (place.h). *lock_fd
 * is the caller's; closing it gives the lock back. Removes a run.json that an
 * earlier life left behind. ERROR_CONFLICT names the process that holds it. */
bool runtime_claim(const char *state_dir, int *lock_fd, struct error *err) MUST_CHECK;

/* Replaces run.json: readers see the old or the new one, never a part. */
bool runtime_write(
    const char *state_dir, const char *text, size_t len, struct error *err) MUST_CHECK;

/* Removes run.json. */
void runtime_clear(const char *state_dir);

/* Writes s as a JSON string with its quotation marks. s is UTF-8. */
void runtime_put_string(FILE *out, const char *s);

#endif
