#ifndef CHANCERY_CORE_IDENTITY_H
#define CHANCERY_CORE_IDENTITY_H

/*
 * A system user that a role runs as, and how a process started as root becomes
 * that user for good.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

#define IDENTITY_GROUPS_MAX 64
#define IDENTITY_NAME_MAX 64

struct identity {
	char name[IDENTITY_NAME_MAX]; /* as the configuration has it */
	uid_t uid;
	gid_t gid;
	gid_t groups[IDENTITY_GROUPS_MAX]; /* all of them, gid too */
	size_t group_count;
};

/* "name": a user of this system, with the groups that it is a member of.
 * "uid:gid": two numbers, which no user need have, and no other group. Neither
 * may be root's. ERROR_CONFIG. */
bool identity_parse(const char *text, struct identity *out, struct error *err) MUST_CHECK;

/* Becomes it, without a way back: groups, gid, uid, and no capability is left, nor
 * can any be had again. False with errno when any of that failed: the process
 * must end then. Makes nothing but system calls. */
bool identity_assume(const struct identity *id) MUST_CHECK;

/* What a child of ours, being id, gets from check(arg, err): its result and its
 * error. With id NULL we call check ourselves. */
typedef bool identity_check_fn(void *arg, struct error *err);
bool identity_check(
    const struct identity *id, identity_check_fn *check, void *arg, struct error *err) MUST_CHECK;

#endif
