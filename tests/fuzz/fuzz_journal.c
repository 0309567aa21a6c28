/*
 * The signer's journal as its files may be found.
 *
 * An input that begins with 'r' is a segment, octet for octet. With 'c' it says what
 * records there are (type, seconds since the one before, two octets of length,
 * payload), and the chain is put around them, so that what is behind its digests is
 * reached, too: what a payload reads as is what would be written, and a signer opens
 * such a journal, or finds it closed.
 */

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/core/log.h"
#include "daemon/x509/der.h"
#include "pkcs11/journal.h"
#include "pkcs11/journal_segment.h"

#define NOW 1795305600
#define SIZE JOURNAL_SEGMENT_SIZE_MIN

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char dir[64];
static uint8_t segment[SIZE];

/* ---- payloads */

static void
check_written(struct wire_writer *w, struct bytes payload)
{
	if (!wire_writer_ok(w) || !bytes_equal((struct bytes){w->buf, w->len}, payload))
		abort();
	wire_writer_free(w);
}

#define CHECK(name)                                        \
	do {                                               \
		static struct journal_##name m;            \
		struct wire_writer w;                      \
                                                           \
		if (!journal_get_##name(payload, &m))      \
			break;                             \
		wire_writer_init(&w, JOURNAL_PAYLOAD_MAX); \
		journal_put_##name(&w, &m);                \
		check_written(&w, payload);                \
	} while (0)

static void
check_payload(enum journal_type type, struct bytes payload)
{
	struct bytes order;

	switch (type) {
	case JOURNAL_SEGMENT:
		CHECK(segment);
		break;
	case JOURNAL_FLOORS:
		CHECK(floors);
		break;
	case JOURNAL_KEY:
		CHECK(key);
		break;
	case JOURNAL_SCOPE:
		CHECK(scope);
		break;
	case JOURNAL_USE:
		CHECK(use);
		break;
	case JOURNAL_SIGNATURE:
		CHECK(signature);
		break;
	case JOURNAL_RESEED:
		if (journal_get_reseed(payload, NULL, NULL, &order) && order.len > payload.len)
			abort();
		break;
	default:
		break;
	}
}

/* Records follow each other to the end, and none reaches beyond it. */
static size_t
walk(const uint8_t *buf, size_t size)
{
	struct journal_record r;
	struct segment_walk w;
	size_t count = 0;

	if (!segment_walk(&w, 1, buf, size))
		return 0;
	while (segment_next(&w, &r)) {
		if (r.payload.p < buf || r.payload.p + r.payload.len > buf + size || w.at > size)
			abort();
		check_payload(r.type, r.payload);
		count++;
	}
	(void)segment_tail(&w);
	return count;
}

/* ---- a chain around records */

static size_t
put_record(size_t at, uint64_t seq, int64_t time, enum journal_type type, struct bytes payload)
{
	struct journal_record r = {
	    .type = type, .seq = seq, .durable = seq - 1, .time = time, .payload = payload};

	return journal_record_put(&r, segment + at, SIZE - at);
}

/* Where the records end. */
static size_t
compose(const uint8_t *data, size_t size, size_t *count)
{
	struct journal_segment head = {.number = 1, .size = SIZE, .signer_id = 1, .token = "main"};
	size_t at = JOURNAL_HASH_LEN, len;
	int64_t time = NOW - 100000;
	struct wire_writer w;

	memset(segment, 0, sizeof segment);
	wire_writer_init(&w, JOURNAL_PAYLOAD_MAX);
	journal_put_segment(&w, &head);
	if (!wire_writer_ok(&w))
		abort();
	at += put_record(at, 1, time, JOURNAL_SEGMENT, (struct bytes){w.buf, w.len});
	wire_writer_free(&w);
	for (*count = 1; size >= 4; (*count)++) {
		size_t n = (size_t)(data[2] << 8 | data[3]);

		if (n > size - 4)
			n = size - 4;
		time += data[1];
		len = put_record(at, *count + 1, time, data[0], (struct bytes){data + 4, n});
		if (len == 0)
			break;
		at += len;
		data += 4 + n;
		size -= 4 + n;
	}
	return at;
}

/* ---- a signer that finds it */

static void
store(void)
{
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof path, "%s/journal/00000001.seg", dir);
	f = fopen(path, "w");
	if (f == NULL || fwrite(segment, 1, SIZE, f) != SIZE || fclose(f) != 0 ||
	    chmod(path, 0600) != 0)
		abort();
}

static void
clear(void)
{
	static const char *const names[] = {
	    "journal/00000001.seg", "journal/00000002.seg", "journal/.next", "reseed-challenge"};
	char path[128];

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		(void)snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		(void)unlink(path);
	}
}

static void
open_it(void)
{
	struct journal_options options = {
	    .state_dir = dir,
	    .token = "main",
	    .signer_id = 1,
	    .anchor = JOURNAL_ANCHOR_ABSENT,
	    .now = {NOW, 1000},
	    .segment_size = SIZE,
	    .serials_max = 64,
	    .decisions_max = 64,
	};
	struct journal_report report;
	struct journal *j = NULL;
	struct error e = ERROR_INIT;

	store();
	if (journal_open(&options, &j, &e)) {
		journal_report(j, &report);
		if (report.closed != JOURNAL_OPEN && report.text[0] == '\0')
			abort();
	} else if (!error_is_set(&e)) {
		abort();
	}
	journal_free(j);
	clear();
}

static void
remove_dir(void)
{
	char path[128];

	clear();
	(void)snprintf(path, sizeof path, "%s/journal", dir);
	(void)rmdir(path);
	(void)rmdir(dir);
}

int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
	char path[128];

	log_init("fuzz", LOG_LEVEL_ERROR);
	/* Without a disk nobody waits for it. */
	(void)snprintf(dir, sizeof dir, "/dev/shm/chancery-fuzz-XXXXXX");
	if (mkdtemp(dir) == NULL) {
		(void)snprintf(dir, sizeof dir, "/tmp/chancery-fuzz-XXXXXX");
		if (mkdtemp(dir) == NULL)
			abort();
	}
	(void)snprintf(path, sizeof path, "%s/journal", dir);
	if (mkdir(path, 0700) != 0 || atexit(remove_dir) != 0)
		abort();
	return 0;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t count, end;

	if (size == 0)
		return 0;
	if (data[0] == 'r') {
		(void)walk(data + 1, size - 1);
	} else if (data[0] == 'c') {
		end = compose(data + 1, size - 1, &count);
		if (end > SIZE || walk(segment, SIZE) > count)
			abort();
		open_it();
	}
	return 0;
}
