#include "daemon/publish/writers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/config.h"
#include "daemon/publish/job.h"

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
}

bool
writers_call(struct writers *w, const char *user, int socket, int life, struct error *err)
{
	const int fds[] = {socket, life};
	struct writer_channel *known = find(w, user);
	struct error why = ERROR_INIT;

	if (known != NULL && publish_descriptors_send(known->channel, fds, COUNT_OF(fds), &why))
		return true;
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
