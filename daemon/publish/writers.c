#include "daemon/publish/writers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/core/config.h"
#include "daemon/publish/job.h"
#include "daemon/publish/outbox.h"

/* What a writer has not read, because it waits or was stopped, is descriptors on their way,
 * and of those the kernel allows a user only so many: with them all used up no courier could
 * be started for any target. So no more is kept for a writer than it has processes at once
 * (writer.c). The kernel counts some 768 octets for such a message, and doubles what it is told. */
#define CALLS_ROOM (2 * OUTBOX_COURIERS_MAX * 768 / 2)

struct writers {
	struct writer_channel {
		char user[CONFIG_WRITER_MAX + 1];
		int channel;
	} items[CONFIG_PATHS_MAX]; /* as many as there can be directories */
	size_t count;
};

struct writers *
writers_new(void)
{
	return calloc(1, sizeof(struct writers));
}

static struct writer_channel *
find(struct writers *w, const char *user)
{
	for (size_t i = 0; w != NULL && i < w->count; i++) {
		if (strcmp(w->items[i].user, user) == 0)
			return &w->items[i];
	}
	return NULL;
}

void
writers_take(struct writers *w, const char *user, int channel)
{
	struct writer_channel *known = find(w, user);

	if (known != NULL) {
		(void)close(known->channel);
	} else if (w->count == COUNT_OF(w->items)) {
		(void)close(channel);
		return;
	} else {
		known = &w->items[w->count++];
		(void)snprintf(known->user, sizeof known->user, "%s", user);
	}
	known->channel = channel;
	(void)setsockopt(channel, SOL_SOCKET, SO_SNDBUF, &(int){CALLS_ROOM}, sizeof(int));
}

bool
writers_call(struct writers *w, const char *user, int socket, int life, struct error *err)
{
	const int fds[] = {socket, life};
	struct writer_channel *known = find(w, user);
	struct error why = ERROR_INIT;

	if (known != NULL && publish_descriptors_send(known->channel, fds, COUNT_OF(fds), &why))
		return true;
	if (why.code == ERROR_LIMIT)
		return error_set(err, ERROR_UNAVAILABLE,
		    "the process that writes files as user %s takes no more orders: it was "
		    "stopped, or waits for the end of one that was killed while a file system "
		    "does not answer",
		    user);
	return error_set(err, ERROR_UNAVAILABLE,
	    "the process that writes files as user %s is not there; \"chancery status\" shows "
	    "writer-%s, and the log says why",
	    user, user);
}

void
writers_free(struct writers *w)
{
	for (size_t i = 0; w != NULL && i < w->count; i++)
		(void)close(w->items[i].channel);
	free(w);
}
