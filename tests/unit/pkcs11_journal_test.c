/*
 * The journal's files: what a crash, a full disk, a flipped bit, a cut and an
 * older copy do to it.
 */

#include "tests/unit/journal_util.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>

#include "daemon/core/log.h"
#include "pkcs11/journal_int.h"

static struct place place;

static int
set_up(void **state)
{
	place_make(&place);
	return 0;
}

static int
tear_down(void **state)
{
	place_remove(&place);
	return 0;
}

/* ---- in good order */

static void
remembers_over_a_restart(void **state)
{
	struct guard_use a = certificate(1, 0, NOW), b = certificate(2, 0, NOW);
	struct guard_use csr = {.kind = SIGNPROTO_CSR_INFO, .alg = SIG_ECDSA_SHA256};
	struct error e = ERROR_INIT;

	place_open(&place);
	add_key(&place, key_1);
	signs(&place, key_1, a);
	(void)reserves(&place, key_1, b);
	signs(&place, key_1, csr);
	answers(&place, key_1, a);
	assert_true(journal_stop(place.j, at(NOW), &e));
	place_open(&place);
	assert_true(journal_knows_key(place.j, key_1));
	answers(&place, key_1, a);
	/* Reserved, and never signed: may be signed, but nothing else may. */
	refused(
	    &place, key_1, certificate(2, 1, NOW), ERROR_DENIED, "used for another certificate");
	signs(&place, key_1, b);
	answers(&place, key_1, b);
	refused(
	    &place, key_1, certificate(1, 1, NOW), ERROR_DENIED, "used for another certificate");
	/* Not even by another key. */
	add_key(&place, key_2);
	refused(&place, key_2, a, ERROR_DENIED, "used for another certificate");
}

static void
keys_have_to_be_known(void **state)
{
	struct error e = ERROR_INIT;

	place_open(&place);
	refused(&place, key_1, certificate(1, 0, NOW), ERROR_UNAVAILABLE, "chancery signer reseed");
	/* A key that was on the token before: only an anchored journal can tell. */
	assert_false(journal_add_key(place.j, key_1, JOURNAL_KEY_FOUND, at(NOW), &e));
	assert_int_equal(e.code, ERROR_CONFLICT);
	error_clear(&e);
	assert_true(journal_anchored(place.j, at(NOW), &e));
	assert_true(journal_add_key(place.j, key_1, JOURNAL_KEY_FOUND, at(NOW), &e));
	assert_true(journal_add_key(place.j, key_1, JOURNAL_KEY_MADE, at(NOW), &e));
	signs(&place, key_1, certificate(1, 0, NOW));
	assert_false(journal_knows_key(place.j, key_2));
}

/* Many segments; and only the last ones are read back. */
static void
goes_on_in_new_segments(void **state)
{
	struct journal_report report;
	unsigned int n;

	place.options.serials_max = 500;
	place_open(&place);
	add_key(&place, key_1);
	signs(&place, key_1, crl(7, 0, NOW, 0));
	for (n = 0; n < 2000; n++) {
		struct journal_ticket t = reserves(&place, key_1, certificate(n, 0, NOW + n / 10));
		struct error e = ERROR_INIT;

		fill_signature(&t);
		assert_true(journal_sign(place.j, &t, at(NOW), &e));
		if (n % 50 == 0)
			assert_true(journal_sync(place.j, &e));
	}
	journal_report(place.j, &report);
	assert_in_range(report.segment, 8, 20);
	assert_int_equal(report.serials, 500);
	for (int round = 0; round < 2; round++) {
		for (n = 1500; n < 2000; n += 7)
			answers(&place, key_1, certificate(n, 0, NOW + n / 10));
		refused(&place, key_1, certificate(10, 0, NOW + 1), ERROR_CONFLICT, "too old");
		answers(&place, key_1, crl(7, 0, NOW, 0));
		refused(&place, key_1, crl(6, 0, NOW, 0), ERROR_DENIED, "does not follow");
		place_open(&place);
	}
	/* What is older may be moved away; what was in it is forgotten then. */
	journal_free(place.j);
	place.j = NULL;
	shell(&place, "cd journal && mkdir old && mv $(ls *.seg | head -n -2) old");
	place_open(&place);
	answers(&place, key_1, certificate(1999, 0, NOW + 199));
	refused(&place, key_1, certificate(1500, 0, NOW + 150), ERROR_CONFLICT, "too old");
	refused(&place, key_1, crl(6, 0, NOW, 0), ERROR_DENIED, "does not follow");
	/* The record of that signature is gone; the same list may be signed again. */
	signs(&place, key_1, crl(7, 0, NOW, 0));
	answers(&place, key_1, crl(7, 0, NOW, 0));
}

static void
one_process_at_a_time(void **state)
{
	struct error e = ERROR_INIT;
	struct journal *second;

	place_open(&place);
	assert_false(journal_open(&place.options, &second, &e));
	assert_int_equal(e.code, ERROR_UNAVAILABLE);
	assert_null(second);
	error_clear(&e);
	journal_free(place.j);
	place.j = NULL;
	place_open(&place);
}

/* ---- closed */

/* Ten certificates and an anchor at the end, as after a stop in good order. */
static void
fill(unsigned int certificates)
{
	place_open(&place);
	add_key(&place, key_1);
	for (unsigned int n = 0; n < certificates; n++)
		signs(&place, key_1, certificate(n, 0, NOW));
	place_anchor(&place);
}

static size_t
octets_used(void)
{
	return place.j->end;
}

static void
read_file(uint8_t *buf, size_t size)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof path, "%s/journal/00000001.seg", place.dir);
	fd = open(path, O_RDONLY);
	assert_int_equal(read(fd, buf, size), size);
	(void)close(fd);
}

static void
write_file(const uint8_t *buf, size_t size)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof path, "%s/journal/00000001.seg", place.dir);
	fd = open(path, O_WRONLY | O_TRUNC);
	assert_int_equal(write(fd, buf, size), size);
	(void)close(fd);
}

static void
lost(void **state)
{
	fill(3);
	journal_free(place.j);
	place.j = NULL;
	shell(&place, "mv journal away");
	expect_closed(&place, JOURNAL_MISSING, "it was lost");
	refused(&place, key_1, certificate(9, 0, NOW), ERROR_UNAVAILABLE, "closed");
	place.options.anchor = JOURNAL_ANCHOR_DAMAGED;
	expect_closed(&place, JOURNAL_MISSING, "it was lost");
	place.options.anchor = JOURNAL_ANCHOR_ABSENT;
	place.options.has_keys = true;
	expect_closed(&place, JOURNAL_MISSING, "this signer has used keys");
	/* Nothing was written meanwhile. */
	shell(&place, "test -z \"$(ls journal)\"");
}

static void
an_older_copy(void **state)
{
	struct journal_mark first;

	fill(3);
	first = place.options.mark;
	shell(&place, "cp -a journal older");
	signs(&place, key_1, certificate(100, 0, NOW));
	place_anchor(&place);
	journal_free(place.j);
	place.j = NULL;
	shell(&place, "mv journal newer && cp -a older journal");
	expect_closed(&place, JOURNAL_BEHIND, "an older copy was put back");
	refused(&place, key_1, certificate(100, 1, NOW), ERROR_UNAVAILABLE, "older copy");
	/* Nor when it went on meanwhile, under an anchor that was older, too. */
	place.options.mark = first;
	place_open(&place);
	signs(&place, key_1, certificate(100, 1, NOW));
	signs(&place, key_1, certificate(101, 1, NOW));
	journal_free(place.j);
	place.j = NULL;
	shell(&place, "rm -r older && cp -a journal older && rm -r journal && mv newer journal");
	place_open(&place);
	place_anchor(&place);
	journal_free(place.j);
	place.j = NULL;
	shell(&place, "rm -r journal && mv older journal");
	expect_closed(&place, JOURNAL_BEHIND, "is not the one that the token's anchor saw");
}

static void
anothers(void **state)
{
	fill(3);
	place.options.mark.journal_id[3] ^= 1;
	expect_closed(&place, JOURNAL_FOREIGN, "another journal");
	place.options.mark.journal_id[3] ^= 1;
	place.options.signer_id = 2;
	expect_closed(&place, JOURNAL_FOREIGN, "belongs to signer 1 of token 'main'");
	place.options.signer_id = 1;
	place.options.token = "other";
	expect_closed(&place, JOURNAL_FOREIGN, "this is signer 1 of token 'other'");
}

static void
an_anchor_that_is_gone(void **state)
{
	struct error e = ERROR_INIT;

	fill(3);
	place.options.anchor = JOURNAL_ANCHOR_DAMAGED;
	expect_closed(&place, JOURNAL_BEHIND, "is damaged");
	/* The token had taken none so far. */
	place.options.anchor = JOURNAL_ANCHOR_ABSENT;
	place_open(&place);
	assert_true(journal_anchored(place.j, at(NOW), &e));
	expect_closed(&place, JOURNAL_BEHIND, "is gone");
}

static void
the_clock(void **state)
{
	struct journal_report report;
	struct error e = ERROR_INIT;

	fill(1);
	assert_int_equal(place_open_at(&place, NOW - 301, &report), JOURNAL_AHEAD);
	assert_non_null(strstr(report.text, "set the clock right"));
	assert_int_equal(place_open_at(&place, NOW - 300, &report), JOURNAL_OPEN);
	assert_int_equal(place_open_at(&place, NOW + 300 * 86400, &report), JOURNAL_OPEN);
	/* That start left a record of its time. */
	assert_int_equal(place_open_at(&place, NOW, &report), JOURNAL_AHEAD);
	assert_int_equal(place_open_at(&place, NOW + 300 * 86400, &report), JOURNAL_OPEN);
	/* Without an anchor, age makes a copy of it. */
	assert_true(journal_stop(place.j, at(NOW + 300 * 86400), &e));
	place.options.anchor = JOURNAL_ANCHOR_ABSENT;
	assert_int_equal(place_open_at(&place, NOW + 330 * 86400, &report), JOURNAL_OPEN);
	assert_int_equal(place_open_at(&place, NOW + 361 * 86400, &report), JOURNAL_STALE);
}

/* While it is open: a step back, and a jump ahead, stop the signing. */
static void
the_clock_jumps(void **state)
{
	struct guard_use u = certificate(1, 0, NOW);
	struct error e = ERROR_INIT;
	struct journal_ticket t;

	place_open(&place);
	add_key(&place, key_1);
	refused_at(
	    &place, key_1, u, NOW - 301, ERROR_UNAVAILABLE, "behind the journal's last record");
	assert_true(journal_reserve(place.j, key_1, &u, at(NOW - 200), &t, &e));
	assert_true(journal_reserve(place.j, key_1, &u, at(NOW + 40 * 86400), &t, &e));
	refused_at(&place, key_1, certificate(2, 0, NOW), NOW, ERROR_UNAVAILABLE, "behind");
	u = certificate(2, 0, NOW + 40 * 86400);
	assert_false(journal_reserve(place.j, key_1, &u,
	    (struct journal_clock){NOW + 41 * 86400 + 60, 1000 + 40 * 86400 - 60}, &t, &e));
	assert_int_equal(e.code, ERROR_UNAVAILABLE);
	assert_non_null(strstr(e.text, "jumped"));
}

/* A file that ends earlier is noticed wherever that is; and one whose end was
 * filled up with zeros wherever there had been a record under the anchor. */
static void
truncation_at_every_octet(void **state)
{
	static uint8_t whole[SEGMENT], cut[SEGMENT];
	struct journal_mark mark;
	size_t used;

	fill(4);
	mark = place.options.mark;
	used = octets_used();
	journal_free(place.j);
	place.j = NULL;
	read_file(whole, sizeof whole);
	for (size_t len = 0; len < used; len++) {
		write_file(whole, len);
		expect_closed(&place, JOURNAL_DAMAGED, "00000001.seg");
		memset(cut, 0, sizeof cut);
		memcpy(cut, whole, len);
		write_file(cut, sizeof cut);
		place.options.anchor = JOURNAL_ANCHOR_MARK;
		place.options.mark = mark;
		{
			struct journal_report report;
			enum journal_closed closed = place_open_at(&place, NOW, &report);

			assert_true(closed == JOURNAL_DAMAGED || closed == JOURNAL_BEHIND);
		}
	}
	write_file(whole, sizeof whole - 1);
	expect_closed(&place, JOURNAL_DAMAGED, "cut off");
	write_file(whole, sizeof whole);
	place_open(&place);
	for (unsigned int n = 0; n < 4; n++)
		answers(&place, key_1, certificate(n, 0, NOW));
}

/* After a crash, without a newer anchor: what was half-written goes, what is whole
 * stays, and no serial of that time is taken a second time. */
static void
a_torn_end(void **state)
{
	static uint8_t whole[SEGMENT], cut[SEGMENT];
	struct guard_use last = certificate(3, 0, NOW - 5);
	size_t before, used;

	fill(3);
	before = octets_used();
	(void)reserves(&place, key_1, last);
	used = octets_used();
	journal_free(place.j);
	place.j = NULL;
	read_file(whole, sizeof whole);
	for (size_t len = before; len <= used; len++) {
		struct journal_report report;

		memset(cut, 0, sizeof cut);
		memcpy(cut, whole, len);
		write_file(cut, sizeof cut);
		assert_int_equal(place_open_at(&place, NOW, &report), JOURNAL_OPEN);
		answers(&place, key_1, certificate(2, 0, NOW));
		/* Cutting off zero octets, in which a digest may end, cuts off nothing. */
		if (memcmp(cut, whole, used) == 0)
			refused(
			    &place, key_1, certificate(3, 1, NOW - 5), ERROR_DENIED, "used for");
		else if (len > before)
			refused(&place, key_1, last, ERROR_CONFLICT, "too old");
		else
			(void)reserves(&place, key_1, last);
		/* And it is mended: what follows is read back. */
		signs(&place, key_1, certificate(4, 0, NOW + 5));
		assert_int_equal(place_open_at(&place, NOW, &report), JOURNAL_OPEN);
		answers(&place, key_1, certificate(4, 0, NOW + 5));
	}
}

/* One octet lost in the middle of what was on the disk is never taken for a torn
 * end, with an anchor or without. */
static void
every_flipped_octet(void **state)
{
	static uint8_t whole[SEGMENT];
	struct guard_use second = certificate(2, 1, NOW);
	struct journal_report report;
	struct journal_ticket t;
	unsigned int torn = 0;
	size_t used, first;

	fill(3);
	used = octets_used();
	journal_free(place.j);
	place.j = NULL;
	read_file(whole, sizeof whole);
	for (size_t n = 0; n < used; n++) {
		whole[n] ^= (uint8_t)(1U << n % 8);
		write_file(whole, sizeof whole);
		place.options.anchor = JOURNAL_ANCHOR_MARK;
		if (place_open_at(&place, NOW, &report) == JOURNAL_OPEN)
			fail_msg("octet %zu of %zu", n, used);
		whole[n] ^= (uint8_t)(1U << n % 8);
	}
	/* Without one, the last write alone may look as if it had been cut. */
	place.options.anchor = JOURNAL_ANCHOR_ABSENT;
	first = used;
	for (size_t n = 0; n < used; n++) {
		whole[n] ^= (uint8_t)(1U << n % 8);
		write_file(whole, sizeof whole);
		if (place_open_at(&place, NOW, &report) == JOURNAL_OPEN) {
			if (torn++ == 0)
				first = n;
			assert_false(journal_reserve(place.j, key_1, &second, at(NOW), &t, NULL));
		}
		whole[n] ^= (uint8_t)(1U << n % 8);
	}
	assert_in_range(used - first, 1, 400);
	assert_int_equal(torn, used - first);
}

/* Pages reach the disk in any order: a later one may be there without the one
 * before, when nobody was told that both are. */
static void
a_hole_in_what_was_not_on_the_disk(void **state)
{
	static uint8_t whole[SEGMENT];
	struct journal_report report;
	size_t before, first;

	fill(2);
	before = octets_used();
	(void)reserves(&place, key_1, certificate(10, 0, NOW));
	first = octets_used();
	(void)reserves(&place, key_1, certificate(11, 0, NOW));
	journal_free(place.j);
	place.j = NULL;
	read_file(whole, sizeof whole);
	memset(whole + before, 0, first - before);
	write_file(whole, sizeof whole);
	assert_int_equal(place_open_at(&place, NOW, &report), JOURNAL_OPEN);
	refused(&place, key_1, certificate(10, 0, NOW), ERROR_CONFLICT, "too old");
	(void)reserves(&place, key_1, certificate(10, 0, NOW + 1));
	/* Once it is on the disk, the same hole is damage. */
	place_open(&place);
	signs(&place, key_1, certificate(12, 0, NOW + 1));
	before = place.j->end;
	signs(&place, key_1, certificate(13, 0, NOW + 1));
	signs(&place, key_1, certificate(14, 0, NOW + 1));
	journal_free(place.j);
	place.j = NULL;
	read_file(whole, sizeof whole);
	memset(whole + before, 0, 100);
	write_file(whole, sizeof whole);
	expect_closed(&place, JOURNAL_DAMAGED, "is damaged");
}

static void
a_segment_that_is_gone(void **state)
{
	place.options.serials_max = 5000;
	fill(400);
	assert_in_range(place.j->segment, 3, 6);
	journal_free(place.j);
	place.j = NULL;
	shell(&place, "mv journal/00000002.seg .");
	/* As if the older ones had been moved away. */
	place_open(&place);
	refused(&place, key_1, certificate(0, 1, NOW), ERROR_CONFLICT, "too old");
	journal_free(place.j);
	place.j = NULL;
	shell(&place, "mv 00000002.seg journal && printf x |"
		      "dd of=journal/00000002.seg conv=notrunc bs=1 seek=5000 2>/dev/null");
	place.options.anchor = JOURNAL_ANCHOR_ABSENT;
	expect_closed(&place, JOURNAL_DAMAGED, "00000002.seg is damaged");
}

/* ---- a disk that fails */

static void
limit_files(rlim_t octets)
{
	struct rlimit limit = {octets, RLIM_INFINITY};

	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void
a_full_disk(void **state)
{
	struct error e = ERROR_INIT;
	struct journal_ticket t;
	unsigned int n = 0;

	place_open(&place);
	add_key(&place, key_1);
	limit_files(SEGMENT - 1);
	for (;; n++) {
		struct guard_use u = certificate(n, 0, NOW);

		if (!journal_reserve(place.j, key_1, &u, at(NOW), &t, &e))
			break;
		/* What was reserved can be signed and released. */
		fill_signature(&t);
		if (!journal_sign(place.j, &t, at(NOW), &e) || !journal_sync(place.j, &e))
			fail_msg("%s", e.text);
	}
	assert_int_equal(e.code, ERROR_UNAVAILABLE);
	assert_non_null(strstr(e.text, "no room on the disk"));
	assert_in_range(n, 100, 1000);
	refused(&place, key_1, certificate(n, 0, NOW), ERROR_UNAVAILABLE, "no room on the disk");
	answers(&place, key_1, certificate(n - 1, 0, NOW));
	limit_files(RLIM_INFINITY);
	/* Once there is room again it goes on. */
	place.j->next_try_s = 0;
	signs(&place, key_1, certificate(n, 0, NOW));
	assert_int_equal(place.j->segment, 2);
	place_open(&place);
	for (unsigned int i = 0; i <= n; i++)
		answers(&place, key_1, certificate(i, 0, NOW));
}

static void
a_write_that_fails(void **state)
{
	int full = open("/dev/full", O_RDWR | O_CLOEXEC);
	struct guard_use u = certificate(2, 0, NOW);
	struct error e = ERROR_INIT;
	struct journal_ticket t;

	place_open(&place);
	add_key(&place, key_1);
	signs(&place, key_1, certificate(1, 0, NOW));
	t = reserves(&place, key_1, u);
	assert_true(dup2(full, place.j->fd) >= 0);
	(void)close(full);
	fill_signature(&t);
	assert_true(journal_sign(place.j, &t, at(NOW), &e));
	assert_false(journal_sync(place.j, &e));
	assert_string_equal(e.foreign, "ENOSPC");
	/* It does not recover: nobody knows what the disk has. */
	refused(&place, key_1, certificate(3, 0, NOW), ERROR_UNAVAILABLE, "cannot be written");
	refused(&place, key_1, certificate(1, 0, NOW), ERROR_UNAVAILABLE, "cannot be written");
	place_open(&place);
	answers(&place, key_1, certificate(1, 0, NOW));
	signs(&place, key_1, u);
}

static void
a_sync_that_fails(void **state)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	struct error e = ERROR_INIT;
	struct journal_ticket t;

	place_open(&place);
	add_key(&place, key_1);
	t = reserves(&place, key_1, certificate(2, 0, NOW));
	/* Takes every write, and no fdatasync. */
	assert_true(dup2(null, place.j->fd) >= 0);
	(void)close(null);
	fill_signature(&t);
	assert_true(journal_sign(place.j, &t, at(NOW), &e));
	assert_false(journal_sync(place.j, &e));
	assert_non_null(strstr(e.text, "the disk did not take the journal"));
	error_clear(&e);
	assert_false(journal_sync(place.j, &e));
	refused(&place, key_1, certificate(3, 0, NOW), ERROR_UNAVAILABLE, "cannot be written");
}

/* ---- many at once */

#define THREADS 4
#define EACH 400

struct runner {
	pthread_t thread;
	unsigned int first;
	const char *failed; /* what */
};

static void *
run(void *arg)
{
	struct runner *r = arg;

	for (unsigned int n = r->first; n < r->first + EACH && r->failed == NULL; n++) {
		struct guard_use u = certificate(n, 0, NOW);
		struct error e = ERROR_INIT;
		struct journal_ticket t;

		if (!journal_reserve(place.j, key_1, &u, at(NOW), &t, &e))
			r->failed = "reserve";
		fill_signature(&t);
		if (!journal_sign(place.j, &t, at(NOW), &e))
			r->failed = "sign";
		if (n % 3 == 0 && !journal_sync(place.j, &e))
			r->failed = "sync";
		/* Its own serial with another content, always refused. */
		u.tbs_sha256[0] ^= 1;
		if (journal_reserve(place.j, key_1, &u, at(NOW), &t, &e))
			r->failed = "second content";
	}
	return NULL;
}

static void
many_threads(void **state)
{
	struct runner runners[THREADS];
	struct error e = ERROR_INIT;

	place.options.serials_max = THREADS * EACH;
	place_open(&place);
	add_key(&place, key_1);
	for (unsigned int i = 0; i < THREADS; i++) {
		runners[i] = (struct runner){.first = i * EACH};
		assert_int_equal(pthread_create(&runners[i].thread, NULL, run, &runners[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(runners[i].thread, NULL), 0);
		if (runners[i].failed != NULL)
			fail_msg("%s", runners[i].failed);
	}
	assert_true(journal_sync(place.j, &e));
	assert_int_equal(place.j->promised, 0);
	assert_in_range(place.j->segment, 7, 15);
	place_open(&place);
	for (unsigned int n = 0; n < THREADS * EACH; n++)
		answers(&place, key_1, certificate(n, 0, NOW));
}

/* ---- one serial, wanted by all at once */

#define RACES 1500

static pthread_barrier_t start;
static unsigned int winners[RACES];

static void *
race(void *arg)
{
	struct runner *r = arg;

	for (unsigned int n = 0; n < RACES; n++) {
		struct guard_use u = certificate(n, r->first, NOW);
		struct error e = ERROR_INIT;
		struct journal_ticket t;

		(void)pthread_barrier_wait(&start);
		if (!journal_reserve(place.j, key_1, &u, at(NOW), &t, &e)) {
			if (e.code != ERROR_DENIED)
				r->failed = "reserve";
			continue;
		}
		(void)__atomic_add_fetch(&winners[n], 1, __ATOMIC_RELAXED);
		fill_signature(&t);
		if (!journal_sign(place.j, &t, at(NOW), &e))
			r->failed = "sign";
	}
	return NULL;
}

/* Who has to wait for a new segment looks again whether the serial is still free. */
static void
one_of_many_gets_a_serial(void **state)
{
	struct runner runners[THREADS];

	place.options.serials_max = RACES;
	place_open(&place);
	add_key(&place, key_1);
	memset(winners, 0, sizeof winners);
	assert_int_equal(pthread_barrier_init(&start, NULL, THREADS), 0);
	for (unsigned int i = 0; i < THREADS; i++) {
		runners[i] = (struct runner){.first = i};
		assert_int_equal(pthread_create(&runners[i].thread, NULL, race, &runners[i]), 0);
	}
	for (unsigned int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(runners[i].thread, NULL), 0);
		if (runners[i].failed != NULL)
			fail_msg("%s", runners[i].failed);
	}
	(void)pthread_barrier_destroy(&start);
	assert_true(place.j->segment > 5);
	for (unsigned int n = 0; n < RACES; n++)
		assert_int_equal(winners[n], 1);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(remembers_over_a_restart),
	    TEST(keys_have_to_be_known),
	    TEST(goes_on_in_new_segments),
	    TEST(one_process_at_a_time),
	    TEST(lost),
	    TEST(an_older_copy),
	    TEST(anothers),
	    TEST(an_anchor_that_is_gone),
	    TEST(the_clock),
	    TEST(the_clock_jumps),
	    TEST(truncation_at_every_octet),
	    TEST(a_torn_end),
	    TEST(every_flipped_octet),
	    TEST(a_hole_in_what_was_not_on_the_disk),
	    TEST(a_segment_that_is_gone),
	    TEST(a_full_disk),
	    TEST(a_write_that_fails),
	    TEST(a_sync_that_fails),
	    TEST(many_threads),
	    TEST(one_of_many_gets_a_serial),
	};

	log_init("journal-test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("pkcs11_journal", tests, NULL, NULL);
}
