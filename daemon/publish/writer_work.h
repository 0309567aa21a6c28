#ifndef CHANCERY_PUBLISH_WRITER_WORK_H
#define CHANCERY_PUBLISH_WRITER_WORK_H

/*
 * One file that a process of another user writes: what a courier asks for over its socket,
 * and what is done there. The courier hands over its own job and the artifact and gets a
 * result; it looks and reads back itself.
 */

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"
#include "daemon/publish/target.h"

/* In the courier: has the work's writer put the artifact in its place. */
bool writer_ask(const struct target_work *work, struct error *err) MUST_CHECK;

/* In a process of the writer's: takes one job from the socket, does it if its place lies
 * below one of the directories, and answers. Returns the exit status. */
int writer_work(int socket, const struct config_publish_dirs *dirs);

#endif
