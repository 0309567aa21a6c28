#ifndef CHANCERY_FRONT_FRONT_H
#define CHANCERY_FRONT_FRONT_H

/*
 * The role that listens: the REST API at the Unix socket and over HTTPS, and
 * the public distribution of CRLs and CA certificates. It is a client of the
 * database's functions for it and of nothing else.
 */

#include "daemon/core/attr.h"
#include "daemon/core/config.h"

/* Serves until drained or until the supervisor is gone; returns the exit
 * status. Listening sockets come over the control channel. */
int front_main(const struct config *config, int control_fd) MUST_CHECK;

#endif
