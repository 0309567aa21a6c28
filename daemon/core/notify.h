#ifndef CHANCERY_CORE_NOTIFY_H
#define CHANCERY_CORE_NOTIFY_H

/*
 * The service manager's notification protocol, sd_notify(3), without its
 * library: one datagram of "NAME=value" lines to $NOTIFY_SOCKET, a path or, with
 * a leading "@", an abstract name.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

#define NOTIFY_TEXT_MAX 1024

/* Sends the state ("READY=1\nSTATUS=..."). True without $NOTIFY_SOCKET: then
 * nobody wants to know. Waits at most a second for a manager that is busy. */
bool notify_send(struct error *err, const char *fmt, ...) PRINTF(2, 3);

#endif
