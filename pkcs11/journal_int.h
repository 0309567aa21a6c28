#ifndef CHANCERY_PKCS11_JOURNAL_INT_H
#define CHANCERY_PKCS11_JOURNAL_INT_H

#include <pthread.h>

#include "daemon/core/config.h"
#include "pkcs11/journal.h"
#include "pkcs11/journal_segment.h"
#include "pkcs11/journal_state.h"

/* Records are gathered up to here before they are written. */
#define JOURNAL_GATHER_MAX (64 * 1024)
#define JOURNAL_BUFFER_MAX (JOURNAL_HASH_LEN + JOURNAL_GATHER_MAX + JOURNAL_RECORD_MAX)
/* Of a use's and a signature's record, whatever is in them. */
#define JOURNAL_USE_MAX 512
#define JOURNAL_SIGNATURE_MAX (512 + SIGNPROTO_SIGNATURE_MAX)

struct journal {
	/* Set by journal_open, and never changed. */
	char token[SIGNPROTO_NAME_SIZE];
	uint16_t signer_id;
	char state_dir[4096];
	size_t segment_size, serials_max, decisions_max;
	bool has_mark; /* mark: what the token's anchor said */
	struct journal_mark mark;

	pthread_mutex_t lock; /* for everything below */
	pthread_cond_t synced;
	uint8_t id[JOURNAL_ID_LEN];
	int dir_fd; /* holds the lock on the directory; -1: closed */
	struct journal_state state;
	enum journal_closed closed;
	char text[ERROR_TEXT_MAX], anchor_failure[ERROR_TEXT_MAX];
	/* Something could not be written: it is unknown what the disk has. */
	bool failed;
	struct error failure;

	int fd; /* of the newest segment; -1: none */
	uint32_t segment;
	size_t size, end; /* of its file; of its records, gathered ones included */
	uint64_t seq;	  /* of the last record */
	int64_t time;	  /* likewise */
	uint64_t durable;
	uint8_t durable_hash[JOURNAL_HASH_LEN];
	int64_t durable_time;
	bool changing;	    /* one thread changes the segment, or prepares the next */
	bool syncing;	    /* one thread waits for the disk, without the lock */
	size_t promised;    /* octets kept free for signatures to come */
	int next_fd;	    /* the segment after this; -1: not yet made */
	int64_t next_try_s; /* boot time: not before this, when the disk was full */

	/* The chain's hash, and behind it records that are still to be written. */
	uint8_t *buffer;
	size_t gathered;
	struct wire_writer payload; /* used again for each record */

	struct journal_clock start; /* the clock when it was opened, or went along since */
};

/* ---- journal.c: the lock is held */

/* Says why it is closed; the first reason stays. */
void journal_set_closed(struct journal *j, enum journal_closed closed, const char *fmt, ...)
    PRINTF(3, 4);

/* Each ERROR_UNAVAILABLE: it is closed, or cannot be written; the clock is wrong; one of these, or
 * the journal does not know the key. */
bool journal_check_open(const struct journal *j, struct error *e) MUST_CHECK;
bool journal_check_clock(struct journal *j, struct journal_clock now, struct error *e) MUST_CHECK;
bool journal_check(
    struct journal *j, struct bytes id, struct journal_clock now, struct error *e) MUST_CHECK;

/* ---- journal_write.c: the lock is held */

/* Adds a record to what is gathered; *place (may be NULL) says where it will lie.
 * There must be room in the segment. */
bool journal_append(struct journal *j, enum journal_type type, struct bytes payload, int64_t time,
    struct journal_place *place, struct error *e) MUST_CHECK;

/* The same for j->payload, which the caller filled after journal_payload. */
struct wire_writer *journal_payload(struct journal *j);
bool journal_append_payload(struct journal *j, enum journal_type type, int64_t time,
    struct journal_place *place, struct error *e) MUST_CHECK;

/* Writes what is gathered; and that, and waits for the disk. */
bool journal_flush(struct journal *j, struct error *e) MUST_CHECK;
bool journal_sync_locked(struct journal *j, struct error *e) MUST_CHECK;

/* Begins segment j->segment + 1 with a snapshot; fd is SEGMENT_NEXT. */
bool journal_begin_segment(struct journal *j, int fd, int64_t time, struct error *e) MUST_CHECK;

/* In the segment, beside what is promised. */
bool journal_has_room(const struct journal *j, size_t len);

/* Sees to room for a record of len octets, in a new segment if need be: then the lock is let go
 * meanwhile, and what was looked at before may have changed. */
bool journal_make_room(
    struct journal *j, size_t len, struct journal_clock now, struct error *e) MUST_CHECK;

/* Remembers the failure for good. Returns false. */
bool journal_fail(struct journal *j, const struct error *why, struct error *e);

/* ---- journal_open.c */

bool journal_random(void *p, size_t len, struct error *e) MUST_CHECK;

/* Makes, opens and locks the directory. ERROR_UNAVAILABLE: another process has it. */
bool journal_lock_dir(struct journal *j, struct error *e) MUST_CHECK;

/* Makes a new id and the first segment, from the state as it is. */
bool journal_begin(struct journal *j, int64_t time, struct error *e) MUST_CHECK;

/* ---- journal_reseed.c */

bool journal_new_challenge(struct journal *j, int64_t now_s, struct error *e) MUST_CHECK;

/* The challenge that was kept for what is found closed in just this way, or a new
 * one. */
bool journal_closed_challenge(
    struct journal *j, const struct journal_options *o, struct error *e) MUST_CHECK;

#endif
