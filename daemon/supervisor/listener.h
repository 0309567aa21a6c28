#ifndef CHANCERY_SUPERVISOR_LISTENER_H
#define CHANCERY_SUPERVISOR_LISTENER_H

/*
 * The listening sockets. The supervisor opens them and keeps them, so that
 * clients wait in the kernel's queue while a front is restarted, and so that
 * the front needs no right to bind.
 */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"

#define LISTENER_ADDRESS_MAX 128
#define LISTENER_BACKLOG 1024

struct listener {
	const char *kind; /* "unix", "http", "https", "metrics" */
	unsigned index;	  /* in the configuration's list of that kind */
	int fd;
	char configured[LISTENER_ADDRESS_MAX]; /* as the configuration has it */
	char actual[LISTENER_ADDRESS_MAX];     /* with the port that was chosen */
	unsigned port;			       /* 0 for a Unix socket */
};

struct listeners {
	struct listener *items; /* owned */
	size_t count;
};

/* Opens what the configuration lists. What is open already in old (may be
 * NULL) under the same address is shared, not opened again. A Unix
 * socket left behind is replaced when nobody answers on it. On failure
 * (ERROR_CONFLICT: the address is in use; ERROR_SYSTEM) nothing new is left
 * open and old is as it was. */
bool listeners_open(const struct config *cfg, const struct listeners *old, struct listeners *out,
    struct error *err) MUST_CHECK;

/* Closes all and removes the Unix sockets, except those that are in kept (may
 * be NULL). */
void listeners_close(struct listeners *l, const struct listeners *kept);

#endif
