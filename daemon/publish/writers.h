#ifndef CHANCERY_PUBLISH_WRITERS_H
#define CHANCERY_PUBLISH_WRITERS_H

/* The issuer's channels to the writers of its host (writer.h), by their users' names. */

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

struct writers;

/* NULL when out of memory. */
struct writers *writers_new(void) MUST_CHECK;

/* A writer was started: takes its channel over, in the place of an earlier one. */
void writers_take(struct writers *w, const char *user, int channel);

/* Has a process made that serves a courier at this socket and holds life until it ends.
 * Both stay the caller's, who closes them. ERROR_UNAVAILABLE: no writer is there. */
bool writers_call(
    struct writers *w, const char *user, int socket, int life, struct error *err) MUST_CHECK;

/* w may be NULL. */
void writers_free(struct writers *w);

#endif
