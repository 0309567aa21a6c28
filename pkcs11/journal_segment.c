#include "pkcs11/journal_segment.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void
segment_name(uint32_t number, char out[SEGMENT_NAME_MAX])
{
	(void)snprintf(out, SEGMENT_NAME_MAX, "%08u.seg", number);
}

/* ---- files */

static bool
number_of_name(const char *name, uint32_t *number)
{
	char again[SEGMENT_NAME_MAX];
	unsigned long v = strtoul(name, NULL, 10);

	if (v == 0 || v > UINT32_MAX)
		return false;
	segment_name((uint32_t)v, again);
	*number = (uint32_t)v;
	return strcmp(name, again) == 0;
}

static int
ascending(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static bool
add_number(uint32_t **numbers, size_t *count, size_t *room, uint32_t number, struct error *e)
{
	if (*count >= SEGMENTS_MAX)
		return error_set(e, ERROR_LIMIT,
		    "the journal has more than %d segments; move the "
		    "older ones away",
		    SEGMENTS_MAX);
	if (*count == *room) {
		size_t more = *room > 0 ? 2 * *room : 16;
		uint32_t *list = realloc(*numbers, more * sizeof *list);

		if (list == NULL)
			return error_set(e, ERROR_SYSTEM, "no memory to list the journal");
		*numbers = list;
		*room = more;
	}
	(*numbers)[(*count)++] = number;
	return true;
}

bool
segment_list(int dir_fd, uint32_t **numbers, size_t *count, struct error *e)
{
	int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
	struct dirent *entry;
	size_t room = 0;
	bool ok = true;

	*numbers = NULL;
	*count = 0;
	if (dir == NULL) {
		if (fd >= 0)
			(void)close(fd);
		return error_set_errno(e, ERROR_SYSTEM, "cannot list the journal's directory");
	}
	for (errno = 0; ok && (entry = readdir(dir)) != NULL; errno = 0) {
		uint32_t number;

		if (number_of_name(entry->d_name, &number))
			ok = add_number(numbers, count, &room, number, e);
	}
	if (ok && errno != 0)
		ok = error_set_errno(e, ERROR_SYSTEM, "cannot list the journal's directory");
	(void)closedir(dir);
	if (ok && *count > 0) {
		qsort(*numbers, *count, sizeof **numbers, ascending);
	} else if (!ok) {
		free(*numbers);
		*numbers = NULL;
		*count = 0;
	}
	return ok;
}

bool
segment_prepare(int dir_fd, size_t size, int *fd, struct error *e)
{
	int error;

	/* What a crash left behind is of no use. */
	(void)unlinkat(dir_fd, SEGMENT_NEXT, 0);
	*fd = openat(
	    dir_fd, SEGMENT_NEXT, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (*fd < 0)
		return error_set_errno(e,
		    errno == ENOSPC || errno == EDQUOT ? ERROR_UNAVAILABLE : ERROR_SYSTEM,
		    "cannot make a file for the journal");
	do
		error = posix_fallocate(*fd, 0, (off_t)size);
	while (error == EINTR);
	if (error == 0)
		return true;
	errno = error;
	(void)error_set_errno(e,
	    error == ENOSPC || error == EDQUOT || error == EFBIG ? ERROR_UNAVAILABLE : ERROR_SYSTEM,
	    "no room on the disk for the journal's next %zu octets", size);
	(void)close(*fd);
	*fd = -1;
	(void)unlinkat(dir_fd, SEGMENT_NEXT, 0);
	return false;
}

bool
segment_publish(int dir_fd, uint32_t number, struct error *e)
{
	char name[SEGMENT_NAME_MAX];

	segment_name(number, name);
	if (renameat2(dir_fd, SEGMENT_NEXT, dir_fd, name, RENAME_NOREPLACE) != 0 ||
	    fsync(dir_fd) != 0)
		return error_set_errno(
		    e, ERROR_SYSTEM, "cannot put the journal's file %s in its place", name);
	return true;
}

bool
segment_open(int dir_fd, uint32_t number, bool writable, int *fd, size_t *size, struct error *e)
{
	char name[SEGMENT_NAME_MAX];
	struct stat st;

	segment_name(number, name);
	*fd = openat(dir_fd, name, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
	if (*fd < 0)
		return error_set_errno(e, errno == ENOENT ? ERROR_NOT_FOUND : ERROR_SYSTEM,
		    "cannot open the journal's file %s", name);
	if (fstat(*fd, &st) != 0) {
		(void)error_set_errno(
		    e, ERROR_SYSTEM, "cannot look at the journal's file %s", name);
	} else if (!S_ISREG(st.st_mode) || st.st_size > SEGMENT_SIZE_MAX) {
		(void)error_set(e, ERROR_INPUT, "%s is no file of a journal", name);
	} else {
		*size = (size_t)st.st_size;
		return true;
	}
	(void)close(*fd);
	*fd = -1;
	return false;
}

bool
segment_read_at(int fd, void *p, size_t len, size_t offset, size_t *got, struct error *e)
{
	*got = 0;
	while (*got < len) {
		ssize_t n = pread(fd, (uint8_t *)p + *got, len - *got, (off_t)(offset + *got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(e, ERROR_SYSTEM, "cannot read the journal");
		if (n == 0)
			break;
		*got += (size_t)n;
	}
	return true;
}

bool
segment_read(int dir_fd, uint32_t number, uint8_t **buf, size_t *size, struct error *e)
{
	bool ok = false;
	size_t got = 0;
	int fd;

	*buf = NULL;
	if (!segment_open(dir_fd, number, false, &fd, size, e))
		return false;
	*buf = malloc(*size > 0 ? *size : 1);
	if (*buf == NULL)
		(void)error_set(e, ERROR_SYSTEM, "no memory to read the journal");
	else
		ok = segment_read_at(fd, *buf, *size, 0, &got, e);
	(void)close(fd);
	*size = got;
	if (!ok) {
		free(*buf);
		*buf = NULL;
	}
	return ok;
}

bool
segment_write(int fd, const void *p, size_t len, size_t offset, struct error *e)
{
	const uint8_t *from = p;

	while (len > 0) {
		ssize_t n = pwrite(fd, from, len, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set_errno(e, ERROR_SYSTEM, "cannot write to the journal");
		from += n;
		offset += (size_t)n;
		len -= (size_t)n;
	}
	return true;
}

/* ---- walking */

bool
segment_walk(struct segment_walk *w, uint32_t number, const uint8_t *buf, size_t size)
{
	struct journal_record r;

	*w = (struct segment_walk){.buf = buf, .size = size, .at = JOURNAL_HASH_LEN, .hash = buf};
	if (size < JOURNAL_HASH_LEN || !journal_record_get(buf + w->at, size - w->at, &r) ||
	    r.type != JOURNAL_SEGMENT || !journal_get_segment(r.payload, &w->head) ||
	    w->head.number != number)
		return false;
	w->seq = r.seq - 1;
	w->time = r.time;
	return true;
}

bool
segment_next(struct segment_walk *w, struct journal_record *r)
{
	if (!journal_record_get(w->buf + w->at, w->size - w->at, r) || r->seq != w->seq + 1 ||
	    r->time < w->time || r->durable >= r->seq)
		return false;
	w->at += r->size;
	w->seq = r->seq;
	w->time = r->time;
	w->hash = r->hash;
	return true;
}

static bool
is_zero(const uint8_t *p, size_t len)
{
	return len == 0 || (p[0] == 0 && memcmp(p, p + 1, len - 1) == 0);
}

/*
 * A record says what was on the disk when it was written. If one behind the
 * break had the broken one's number there, then that was whole once. Otherwise
 * the power went while it was being written, and nobody ever got what it says.
 */
enum segment_tail
segment_tail(const struct segment_walk *w)
{
	struct journal_record r;

	if (is_zero(w->buf + w->at, w->size - w->at))
		return SEGMENT_CLEAN;
	for (size_t at = w->at; at < w->size; at++) {
		if (journal_record_get(w->buf + at, w->size - at, &r) && r.durable > w->seq)
			return SEGMENT_DAMAGED;
	}
	return SEGMENT_TORN;
}
