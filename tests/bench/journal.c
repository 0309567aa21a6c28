/*
 * What the signer's guard and journal cost for each certificate of a P-256 CA:
 *
 *   journal DIRECTORY SECONDS
 *
 * The journal is in DIRECTORY, on that disk. Certificates are made ahead, by a template
 * that needs an operator's approval and by one that does not; each is held against
 * the rules, reserved, and its signature (some octets) recorded; nothing is signed. The
 * disk is waited for after each one, and after groups, as when many are under way.
 * Prints lines of a name and a number: microseconds of CPU for each certificate, and
 * microseconds on the clock.
 */

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "pkcs11/journal.h"
#include "tests/unit/guard_setting.h"

#define CERTIFICATES 2000
/* For each size of a group: beyond its windows the journal forgets, and since no time
 * passes here it would refuse the next one. */
#define RECORDS_MAX (JOURNAL_DECISIONS_MAX / 4)

static const struct bytes key_id = {(const uint8_t *)"0123456789abcdef", 16};

static struct guard_use uses[CERTIFICATES];
static struct journal *journal;
static unsigned int used; /* of them; then their serials change */

static int64_t
clock_ns(clockid_t clock)
{
	struct timespec t;

	(void)clock_gettime(clock, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void
say(const char *name, int64_t ns, unsigned long count)
{
	(void)printf("%s %.3f\n", name, (double)ns / 1e3 / (double)count);
}

/* ---- the guard */

static void
measure_guard(struct setting *s, const char *name)
{
	int64_t begin, spent = 0;

	for (unsigned int i = 0; i < CERTIFICATES; i++) {
		struct error e = ERROR_INIT;

		memcpy(s->serial + s->serial_len - sizeof i, &i, sizeof i);
		setting_build(s);
		begin = clock_ns(CLOCK_THREAD_CPUTIME_ID);
		if (!guard_check(&s->r, &uses[i], &e))
			errx(1, "%s", e.text);
		spent += clock_ns(CLOCK_THREAD_CPUTIME_ID) - begin;
	}
	say(name, spent, CERTIFICATES);
}

/* ---- the journal */

static void
open_journal(const char *dir)
{
	struct journal_options options = {
	    .state_dir = dir, .token = "main", .signer_id = SIGNER_ID, .now = {NOW, 1000}};
	struct error e = ERROR_INIT;

	if (!journal_open(&options, &journal, &e) ||
	    !journal_add_key(journal, key_id, JOURNAL_KEY_MADE, options.now, &e))
		errx(1, "%s", e.text);
}

/* The same certificates again and again, with other serials and decisions. */
static struct guard_use *
next_use(void)
{
	struct guard_use *u = &uses[used % CERTIFICATES];

	memcpy(u->serial + u->serial_len - sizeof used, &used, sizeof used);
	memcpy(u->decision, &used, sizeof used);
	used++;
	return u;
}

static void
record(void)
{
	struct journal_clock now = {NOW, 1000};
	struct error e = ERROR_INIT;
	struct journal_ticket t;

	if (!journal_reserve(journal, key_id, next_use(), now, &t, &e))
		errx(1, "%s", e.text);
	if (t.answered)
		errx(1, "a serial twice");
	t.signed_as.signature_len = 71;
	if (!journal_sign(journal, &t, now, &e))
		errx(1, "%s", e.text);
}

/* One wait for the disk for as many as are in a group. */
static void
measure_journal(unsigned int group, double seconds)
{
	int64_t end = clock_ns(CLOCK_MONOTONIC) + (int64_t)(seconds * 1e9);
	int64_t wall = clock_ns(CLOCK_MONOTONIC), cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	unsigned long count = 0;
	char name[64];

	do {
		struct error e = ERROR_INIT;

		for (unsigned int i = 0; i < group; i++)
			record();
		if (!journal_sync(journal, &e))
			errx(1, "%s", e.text);
		count += group;
	} while (clock_ns(CLOCK_MONOTONIC) < end && count < RECORDS_MAX);
	(void)snprintf(name, sizeof name, "group%u.cpu_us", group);
	say(name, clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu, count);
	(void)snprintf(name, sizeof name, "group%u.us_per_certificate", group);
	say(name, clock_ns(CLOCK_MONOTONIC) - wall, count);
}

int
main(int argc, char **argv)
{
	static const unsigned int groups[] = {1, 8, 64};
	static struct parties all;
	double seconds;

	if (argc != 3 || (seconds = strtod(argv[2], NULL)) <= 0)
		errx(2, "usage: journal DIRECTORY SECONDS");
	parties_make(&all);
	measure_guard(setting_new(&all), "guard.automatic.cpu_us");
	measure_guard(setting_manual(&all), "guard.manual.cpu_us");
	open_journal(argv[1]);
	for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++)
		measure_journal(groups[i], seconds);
	journal_free(journal);
	return 0;
}
