#ifndef CHANCERY_SUPERVISOR_ROSTER_H
#define CHANCERY_SUPERVISOR_ROSTER_H

/*
 * What the front is told of this host's processes, itself and the supervisor
 * included, so that `chancery status` can show it: who runs, and what each gave up.
 */

#include <stdbool.h>

#include "daemon/supervisor/child.h"

/* Tells the front of c as it is now, unless it was told the same before; anew: the
 * front has just been started and knows nothing. */
void roster_tell(struct child *front, struct child *c, bool anew);

/* Tells a front that was just started of the supervisor. */
void roster_tell_supervisor(struct child *front);

/* Tells the front that c is no more. */
void roster_tell_gone(struct child *front, const struct child *c);

#endif
