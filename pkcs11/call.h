#ifndef CHANCERY_PKCS11_CALL_H
#define CHANCERY_PKCS11_CALL_H

/*
 * Which calls of the module are under way, and since when. A thread inside a module
 * that hangs cannot be ended alone: somebody has to see it and end the process
 * (signer_watch.c).
 *
 * A module's function list is replaced by one that notes each call. What others call
 * on the module for us (libp11, the dynamic loader) is noted by call_begin.
 */

#include <p11-kit/pkcs11.h>
#include <stdbool.h>
#include <stdint.h>

/* What makes keys or waits for a person at the device may take so many times longer. */
#define CALL_LONG_FACTOR 10

/* The same list with every call noted; of one module at a time, and lives for ever. */
const CK_FUNCTION_LIST *call_watch(const CK_FUNCTION_LIST *real);

/* name must live for ever. Calls do not nest. */
void call_begin(const char *name);
void call_end(void);

/* Of a group's members the one that this thread's calls are for from now on; CALL_OF_NONE:
 * the module as a whole, which is how a thread begins. Returns what it was before. */
#define CALL_OF_NONE (-1)
int call_about(int member);

/* What this thread calls is nobody's loss when it hangs: it does not count among the others. */
void call_leave_alone(void);

struct call {
	const char *name;
	int member;
	int64_t age_ms;	  /* under way for so long ... */
	int64_t limit_ms; /* ... and may be for so long */
};

/* Of all calls that are under way the one that has used up the largest part of its
 * time, with timeout_s for an ordinary one. False: there is none. */
bool call_worst(unsigned int timeout_s, struct call *worst);

/* The same of the threads that are left alone. */
bool call_worst_alone(unsigned int timeout_s, struct call *worst);

#endif
