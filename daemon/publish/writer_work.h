#ifndef CHANCERY_PUBLISH_WRITER_WORK_H
#define CHANCERY_PUBLISH_WRITER_WORK_H

/*
 * One file that a process of another user writes: what a courier asks for over its socket,
 * and what is done there. The courier hands over its own job and the artifact and gets a
 * result; it looks and reads back itself.
 */

#include <stdbool.h>
#include <sys/types.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"
#include "daemon/publish/target.h"

/* In the courier: has the work's writer put the artifact in its place. */
bool writer_ask(const struct target_work *work, struct error *err) MUST_CHECK;

/* What a writer's sandbox was made for: the directories and, as many, what was there. */
struct writer_places {
	struct config_publish_dirs dirs;
	struct writer_place {
		bool there;
		dev_t dev;
		ino_t ino;
	} * seen;
};

/* What stands at that path now. */
struct writer_place writer_place_at(const char *path);

/* Exit status: what stands there now is not what stood there, so that the sandbox keeps the
 * writer out of it. It has to start anew. */
#define WRITER_WORK_ANEW 6

/* In a process of the writer's: takes one job from the socket, does it if its place lies
 * below one of the directories, and answers. Returns the exit status. */
int writer_work(int socket, const struct writer_places *places);

#endif
