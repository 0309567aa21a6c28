#ifndef CHANCERY_PUBLISH_COURIER_H
#define CHANCERY_PUBLISH_COURIER_H

/*
 * The courier: a short-lived process (`chanceryd --role courier`) that brings
 * one artifact to one target. Its socket, descriptor CONTROL_FD, brings it two
 * descriptors, the job as one frame in a file and the artifact; on the same
 * socket it answers with one frame. It may block as long as it likes, and is
 * killed when its time is over: by its own alarm, by the outbox, or by the
 * kernel when the issuer dies.
 */

/* Between the courier's own deadline and its alarm. */
#define COURIER_GRACE_MS 2000

/* The process's whole life; returns its exit status, 0 when a result was sent. */
int courier_main(void);

#endif
