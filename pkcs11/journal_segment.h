#ifndef CHANCERY_PKCS11_JOURNAL_SEGMENT_H
#define CHANCERY_PKCS11_JOURNAL_SEGMENT_H

/*
 * The journal's files, and the walk along the records of one.
 */

#include "pkcs11/journal_record.h"

/* "00000001.seg"; the one that is being prepared has no number yet. */
#define SEGMENT_NAME_MAX 16
#define SEGMENT_NEXT ".next"
#define SEGMENTS_MAX 1000000
/* What a segment's file may have; ours have what journal.h says. */
#define SEGMENT_SIZE_MAX (256 * 1024 * 1024)

void segment_name(uint32_t number, char out[SEGMENT_NAME_MAX]);

/* The numbers of the segments in the directory, ascending; *numbers is owned by
 * the caller, NULL when there are none. Other files are not looked at. */
bool segment_list(int dir_fd, uint32_t **numbers, size_t *count, struct error *e) MUST_CHECK;

/* Makes SEGMENT_NEXT with this size, its room taken on the disk. ERROR_UNAVAILABLE
 * when the disk is full. Gives a descriptor for writing. */
bool segment_prepare(int dir_fd, size_t size, int *fd, struct error *e) MUST_CHECK;

/* Gives the prepared segment its number, durably. */
bool segment_publish(int dir_fd, uint32_t number, struct error *e) MUST_CHECK;

bool segment_open(
    int dir_fd, uint32_t number, bool writable, int *fd, size_t *size, struct error *e) MUST_CHECK;

/* Reads a whole segment; *buf is owned by the caller. */
bool segment_read(
    int dir_fd, uint32_t number, uint8_t **buf, size_t *size, struct error *e) MUST_CHECK;

bool segment_write(int fd, const void *p, size_t len, size_t offset, struct error *e) MUST_CHECK;

/* Reads up to len octets; what is behind the end is missing in *got. */
bool segment_read_at(
    int fd, void *p, size_t len, size_t offset, size_t *got, struct error *e) MUST_CHECK;

/* ---- walking */

struct segment_walk {
	const uint8_t *buf;
	size_t size, at;	     /* at: where the next record begins */
	uint64_t seq;		     /* of the record before */
	int64_t time;		     /* likewise */
	const uint8_t *hash;	     /* likewise, JOURNAL_HASH_LEN octets */
	struct journal_segment head; /* from the first record */
};

/* Begins at the first record, which must be a JOURNAL_SEGMENT of this number; it
 * is the first that segment_next gives. False when it is none. */
bool segment_walk(
    struct segment_walk *w, uint32_t number, const uint8_t *buf, size_t size) MUST_CHECK;

/* The next record; false at the end, whatever that is. */
bool segment_next(struct segment_walk *w, struct journal_record *r) MUST_CHECK;

enum segment_tail {
	SEGMENT_CLEAN,	 /* nothing but zeros */
	SEGMENT_TORN,	 /* the beginning of something that was never on the disk as a whole */
	SEGMENT_DAMAGED, /* there were records that had been on the disk */
};

/* What is behind the last record that segment_next gave. */
enum segment_tail segment_tail(const struct segment_walk *w);

#endif
