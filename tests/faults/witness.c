/*
 * Preloaded into a signer: writes down, in one log with shim.c, when records
 * go to the journal, when the disk has them, and when an answer leaves; and kills
 * the process at such a moment. The signer itself knows nothing of it.
 *
 *   SHIM_LOG     file to append to, one line for each call, before it is made:
 *                      journal-write 0x0 TYPES   records of these types (numbers
 *                                                of journal_record.h)
 *                      journal-sync 0x0          fdatasync of the journal begins
 *                      journal-synced RV         and is over; 0x0 or errno
 *                      answer 0x0                frames leave, a SIGNED among them
 *   SHIM_FAULTS  file; of its lines these are for us:
 *                      CALL die [N]              SIGKILL before the Nth such call
 *                                                of this process. Of journal-write
 *                                                only those with signatures count.
 *                      journal-write tear [N]    the same, after half of its octets
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define FAULTS_MAX 4096
#define TYPES_MAX 256
/* Of a record (journal_record.h). */
#define HEAD_LEN 32
#define HASH_LEN 32
#define TYPE_SIGNATURE 7
/* Of a frame (channel.h, signproto.h). */
#define FRAME_HEAD_LEN 16
#define SIGNED 0x8003

enum call { JOURNAL_WRITE, JOURNAL_SYNC, JOURNAL_SYNCED, ANSWER, CALLS };
static const char *const words[CALLS] = {
    "journal-write", "journal-sync", "journal-synced", "answer"};

enum fault { FAULT_NONE, FAULT_DIE, FAULT_TEAR };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned long seen[CALLS];
static int journal_fd = -1; /* of the last record */

static void
record(enum call call, int rv, const char *more)
{
	const char *path = getenv("SHIM_LOG");
	char line[TYPES_MAX + 64];
	int fd, n;

	n = snprintf(line, sizeof line, "%s 0x%x%s%s\n", words[call], (unsigned)rv,
	    more[0] != '\0' ? " " : "", more);
	fd = path == NULL ? -1 : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	if (fd < 0)
		return;
	if (write(fd, line, (size_t)n) != n)
		abort();
	close(fd);
}

static enum fault
match(const char *line, enum call call)
{
	char word[32], what[32];
	unsigned long count = 1;
	enum fault fault = FAULT_NONE;

	if (sscanf(line, "%31s %31s %lu", word, what, &count) < 2 || strcmp(word, words[call]) != 0)
		return FAULT_NONE;
	if (strcmp(what, "die") == 0)
		fault = FAULT_DIE;
	else if (strcmp(what, "tear") == 0)
		fault = FAULT_TEAR;
	if (fault == FAULT_NONE)
		return FAULT_NONE;
	pthread_mutex_lock(&lock);
	if (++seen[call] != count)
		fault = FAULT_NONE;
	pthread_mutex_unlock(&lock);
	return fault;
}

static enum fault
faulty(enum call call)
{
	const char *path = getenv("SHIM_FAULTS");
	char text[FAULTS_MAX], *line, *save = NULL;
	enum fault hit = FAULT_NONE;
	ssize_t n;
	int fd;

	fd = path == NULL ? -1 : open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return FAULT_NONE;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	for (line = strtok_r(text, "\n", &save); line != NULL && hit == FAULT_NONE;
	     line = strtok_r(NULL, "\n", &save))
		hit = match(line, call);
	return hit;
}

/* Not the thread: the whole process, and nothing runs any more. */
static void
die(void)
{
	raise(SIGKILL);
	for (;;)
		pause();
}

/* ---- the journal */

static size_t
number(const uint8_t *p, size_t len)
{
	size_t v = 0;

	while (len-- > 0)
		v = v << 8 | *p++;
	return v;
}

/* The types of the records in it; true when there is a signature among them. */
static bool
list_records(const uint8_t *p, size_t len, char types[TYPES_MAX])
{
	bool has_signature = false;
	size_t at = 0, used = 0;

	types[0] = '\0';
	while (len - at >= HEAD_LEN + HASH_LEN && memcmp(p + at, "cj", 2) == 0 &&
	       used < TYPES_MAX - 8) {
		used += (size_t)snprintf(
		    types + used, TYPES_MAX - used, "%s%u", used > 0 ? "," : "", p[at + 3]);
		has_signature |= p[at + 3] == TYPE_SIGNATURE;
		at += HEAD_LEN + number(p + at + 4, 4) + HASH_LEN;
		if (at > len)
			break;
	}
	return has_signature;
}

ssize_t
pwrite(int fd, const void *p, size_t len, off_t offset)
{
	ssize_t (*real)(int, const void *, size_t, off_t);
	enum fault fault = FAULT_NONE;
	char types[TYPES_MAX];

	*(void **)&real = dlsym(RTLD_NEXT, "pwrite");
	if (len < 2 || memcmp(p, "cj", 2) != 0)
		return real(fd, p, len, offset);
	journal_fd = fd;
	if (list_records(p, len, types))
		fault = faulty(JOURNAL_WRITE);
	record(JOURNAL_WRITE, 0, types);
	if (fault == FAULT_TEAR)
		(void)!real(fd, p, len / 2, offset);
	if (fault != FAULT_NONE)
		die();
	return real(fd, p, len, offset);
}

int
fdatasync(int fd)
{
	int (*real)(int), rv;

	*(void **)&real = dlsym(RTLD_NEXT, "fdatasync");
	if (fd != journal_fd)
		return real(fd);
	record(JOURNAL_SYNC, 0, "");
	if (faulty(JOURNAL_SYNC) != FAULT_NONE)
		die();
	rv = real(fd) == 0 ? 0 : errno;
	record(JOURNAL_SYNCED, rv, "");
	if (faulty(JOURNAL_SYNCED) != FAULT_NONE)
		die();
	errno = rv;
	return rv == 0 ? 0 : -1;
}

/* ---- the channel */

/* Frames are short, and lie whole in what is written at once, one after another. */
static bool
has_answer(const struct iovec *vec, int count)
{
	for (int i = 0; i < count; i++) {
		const uint8_t *p = vec[i].iov_base;
		size_t left = vec[i].iov_len, len;

		for (; left >= FRAME_HEAD_LEN; p += len, left -= len) {
			len = FRAME_HEAD_LEN + number(p, 4);
			if (number(p + 4, 2) == SIGNED)
				return true;
			if (len > left)
				break;
		}
	}
	return false;
}

ssize_t
writev(int fd, const struct iovec *vec, int count)
{
	ssize_t (*real)(int, const struct iovec *, int);

	*(void **)&real = dlsym(RTLD_NEXT, "writev");
	if (has_answer(vec, count)) {
		record(ANSWER, 0, "");
		if (faulty(ANSWER) != FAULT_NONE)
			die();
	}
	return real(fd, vec, count);
}
