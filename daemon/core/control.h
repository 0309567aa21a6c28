#ifndef CHANCERY_CORE_CONTROL_H
#define CHANCERY_CORE_CONTROL_H

/*
 * The control channel between the supervisor and one of its children: an
 * AF_UNIX SOCK_SEQPACKET socket pair whose far end is the child's descriptor
 * CONTROL_FD. One datagram is one message: u8 type and its fields in the codec
 * of wire.h, with at most one descriptor beside it (SCM_RIGHTS).
 *
 * The kernel's socket buffer is the only queue. A send that does not fit is
 * refused at once; the supervisor takes that as the sign of a child that no
 * longer reads.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"

struct event_base;

#define CONTROL_FD 3	     /* the descriptor in each child */
#define CONTROL_TEXT_MAX 320 /* bytes of a text with its NUL */
#define CONTROL_FRAME_MAX 512

enum control_type {
	/* supervisor to child */
	CONTROL_SIGNER_CHANNEL = 1, /* text: token's name; fd: its end of a fresh socket pair */
	CONTROL_LISTENER, /* text: "unix", "http", "https" or "metrics"; index; fd: listening socket
			   */
	CONTROL_RELOAD,	  /* read the configuration file again */
	CONTROL_DRAIN,	  /* finish what is in flight, then exit 0 */
	/* child to supervisor */
	CONTROL_READY,	/* serves from now on */
	CONTROL_STATUS, /* text: one sentence on the state it is in */
	/* child to supervisor, once and first: what it gave up (sandbox.h) */
	CONTROL_SANDBOX,
	/* supervisor to the front: "NAME PID STATE REPORT" of a process, as it is now;
	 * pid 0 while there is none, REPORT "-" before it said */
	CONTROL_PROCESS,
	/* supervisor to a writer and to the issuer. text: user; fd: its end of a fresh socket pair
	 */
	CONTROL_WRITER_CHANNEL,
};

struct control_message {
	enum control_type type;
	char text[CONTROL_TEXT_MAX];
	uint16_t index; /* place in the list of listeners of that kind, from 0 */
	int fd;		/* -1 where there is none */
};

/* Appends the message's bytes, without the descriptor, to an initialised
 * writer. Fails (ERROR_INTERNAL) when a descriptor is missing or too many. */
bool control_encode(
    const struct control_message *m, struct wire_writer *w, struct error *err) MUST_CHECK;

/* Reads a datagram of len bytes that came with descriptor fd (-1: none).
 * Anything but exactly one message of a known type, with a descriptor where
 * one belongs and only there, is ERROR_INPUT. The descriptor stays the
 * caller's on failure and is in m on success. */
bool control_decode(
    const void *buf, size_t len, int fd, struct control_message *m, struct error *err) MUST_CHECK;

/* Makes a socket pair, both ends close-on-exec and blocking. */
bool control_pair(int fds[2], struct error *err) MUST_CHECK;

struct control;

struct control_callbacks {
	/* A message came. The callee owns m->fd. It may free the control. */
	void (*on_message)(const struct control_message *m, void *arg);
	/* The peer is gone (err is not set) or broke the protocol (err says
	 * how). Nothing more is delivered. The callee may free the control. */
	void (*on_close)(const struct error *err, void *arg);
};

/* Serves one end on the loop. Takes fd over, also on failure, and makes it
 * non-blocking. callbacks and arg must outlive the control. */
struct control *control_new(struct event_base *base, int fd,
    const struct control_callbacks *callbacks, void *arg, struct error *err) MUST_CHECK;

/* Sends now or not at all. m->fd stays the caller's, who closes his copy.
 * ERROR_LIMIT: the peer does not read. ERROR_UNAVAILABLE: it is gone. */
bool control_send(struct control *c, const struct control_message *m, struct error *err) MUST_CHECK;

/* Closes the channel. c may be NULL. */
void control_free(struct control *c);

#endif
