#ifndef CHANCERY_PKCS11_SIGNER_H
#define CHANCERY_PKCS11_SIGNER_H

/*
 * The signer's process: the event loop, the token's state, and the requests
 * that come over the issuer's channel.
 *
 * The loop never calls the module. A thread opens the token (and may hang in
 * it), the pool's threads sign. While the token cannot be used the process
 * stays up and says why: STATUS is always answered, all else with
 * ERROR_UNAVAILABLE; what may come back by itself is tried again. When a token
 * that worked is lost, or a call of the module is over its time (signer_watch.h),
 * the process answers what is in flight and ends, and the supervisor starts a new
 * one with a freshly loaded module.
 */

#include "daemon/core/config.h"

/* Requests that wait or run; and their octets in memory. */
#define SIGNER_QUEUE_MAX 4096
#define SIGNER_QUEUE_BYTES_MAX (64 * 1024 * 1024)
/* Structures that are being streamed at once. */
#define SIGNER_STREAMS_MAX 16

/* Serves one token of the configuration until told to stop; returns the
 * process's exit status. control_fd: CONTROL_FD. */
int signer_main(const struct config *config, const struct config_token *token, int control_fd);

#endif
