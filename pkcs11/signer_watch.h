#ifndef CHANCERY_PKCS11_SIGNER_WATCH_H
#define CHANCERY_PKCS11_SIGNER_WATCH_H

/*
 * Looks, from a thread of its own, whether the module comes back from what it was
 * asked for. When a call is over its time, it is said once in the log, and the loop
 * is woken, to have last words; if it has not ended the process soon, this thread
 * does.
 */

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

struct signer_watch;

/* name: the token's, in the log. timeout_s: of an ordinary call (call.h). wake_fd: an
 * eventfd. status: what the process then ends with. name must outlive it. */
struct signer_watch *signer_watch_new(
    const char *name, unsigned int timeout_s, int wake_fd, int status, struct error *e) MUST_CHECK;

/* True when a call is over its time; *why says which one, *member for which of a group's
 * tokens (call.h). */
bool signer_watch_is_late(struct signer_watch *w, int *member, struct error *why);

/* NULL is legal. */
void signer_watch_free(struct signer_watch *w);

#endif
