#ifndef CHANCERY_PUBLISH_TARGET_H
#define CHANCERY_PUBLISH_TARGET_H

/*
 * The kinds of places that artifacts are published to. Everything here blocks
 * and runs in a courier, a short-lived process of its own that is killed when
 * its time is over; nothing in the issuer calls it.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/publish/job.h"

#define TARGET_CONNECT_TIMEOUT_MS 10000
#define TARGET_ETAG_MAX 256

/* What the last look at the write place found, for a write that counts only if
 * that still stands there. */
struct target_seen {
	bool absent;		    /* nothing stands there */
	char etag[TARGET_ETAG_MAX]; /* strong (RFC 9110 8.8.1), or "" */
	bool plain;		    /* the server cannot do conditions */
};

struct fetch_sink;

/* The way to a process that writes files as another user (writer_work.h). */
struct target_writer {
	int socket;
	int job; /* our job's file, for it to read */
};

struct target_work {
	const struct publish_job *job;
	int artifact_fd;	  /* the artifact; read with pread, its offset is not used */
	int64_t deadline_ms;	  /* monotonic_ms() */
	struct target_seen *seen; /* NULL where nothing is written */
	const struct target_writer *writer; /* kind file; NULL: we write ourselves */
};

struct target_driver {
	const char *name;
	/* Puts the artifact in the place of whatever stands at the job's write
	 * URL, atomically where the place allows it. On failure what stood there
	 * still stands, whole, wherever that is ours to decide. ERROR_CONFLICT:
	 * what stands there is no longer what was seen. */
	bool (*put)(const struct target_work *work, struct error *err);
	/* Reads what stands there as the writer does, at most max octets of a value,
	 * and fills in the work's `seen`. ERROR_NOT_FOUND: nothing does. */
	bool (*look)(const struct target_work *work, uint64_t max, const struct fetch_sink *sink,
	    struct error *err);
};

extern const struct target_driver target_file;
extern const struct target_driver target_http;
extern const struct target_driver target_ldap;
extern const struct target_driver target_sftp;
extern const struct target_driver target_command;

/* Never NULL for a decoded job. */
const struct target_driver *target_driver_of(enum target_kind kind);

/* Milliseconds until the work's deadline, at least 1 so that it can serve as a
 * timeout, which is then over at once. */
long target_left_ms(const struct target_work *work);

/* Whether the artifact's descriptor is of a regular file of the job's size. */
bool target_check_artifact(const struct target_work *work, struct error *err) MUST_CHECK;

/* The name under which a file is written before it is renamed: the final name
 * with a dot before, and "." + 16 hex digits of the artifact's SHA-256 +
 * ".part" after it. The same for each attempt, so that killed ones leave at
 * most one such file behind. False: longer than size. */
bool target_part_name(
    const struct publish_job *job, const char *final_name, char *out, size_t size) MUST_CHECK;

#endif
