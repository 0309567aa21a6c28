#ifndef CHANCERY_TESTS_JOURNAL_UTIL_H
#define CHANCERY_TESTS_JOURNAL_UTIL_H

/*
 * A journal in a directory of its own, and uses of keys as a guard would give
 * them.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <openssl/sha.h>

#include "daemon/x509/serial.h"
#include "pkcs11/journal.h"

#define NOW 1795305600
#define SEGMENT JOURNAL_SEGMENT_SIZE_MIN

static const struct bytes key_1 = {(const uint8_t *)"0123456789abcdef", 16};
static const struct bytes key_2 = {(const uint8_t *)"fedcba9876543210", 16};

struct place {
	char dir[64];
	struct journal_options options;
	struct journal *j;
};

static inline void
place_make(struct place *p)
{
	/* Without a disk nobody waits for it hundreds of times. */
	(void)snprintf(p->dir, sizeof p->dir, "/dev/shm/chancery-journal-XXXXXX");
	if (mkdtemp(p->dir) == NULL) {
		(void)snprintf(p->dir, sizeof p->dir, "/tmp/chancery-journal-XXXXXX");
		assert_non_null(mkdtemp(p->dir));
	}
	p->j = NULL;
	p->options = (struct journal_options){
	    .state_dir = p->dir,
	    .token = "main",
	    .signer_id = 1,
	    .anchor = JOURNAL_ANCHOR_ABSENT,
	    .now = {NOW, 1000},
	    .segment_size = SEGMENT,
	    .serials_max = 1000,
	    .decisions_max = 1000,
	};
}

static inline void
place_remove(struct place *p)
{
	char command[128];

	journal_free(p->j);
	p->j = NULL;
	(void)snprintf(command, sizeof command, "rm -rf '%s'", p->dir);
	assert_int_equal(system(command), 0);
}

/* Runs a shell command in the state directory. */
static inline void
shell(const struct place *p, const char *command)
{
	char line[512];

	(void)snprintf(line, sizeof line, "cd '%s' && %s", p->dir, command);
	assert_int_equal(system(line), 0);
}

/* Opens it, whatever comes of it, with the clock at now. */
static inline enum journal_closed
place_open_at(struct place *p, int64_t now, struct journal_report *report)
{
	struct error e = ERROR_INIT;

	journal_free(p->j);
	p->options.now.wall_s = now;
	if (!journal_open(&p->options, &p->j, &e))
		fail_msg("%s", e.text);
	journal_report(p->j, report);
	return report->closed;
}

static inline void
place_open(struct place *p)
{
	struct journal_report report;

	if (place_open_at(p, NOW, &report) != JOURNAL_OPEN)
		fail_msg("closed: %s", report.text);
}

static inline void
expect_closed(struct place *p, enum journal_closed why, const char *words)
{
	struct journal_report report;

	assert_int_equal(place_open_at(p, NOW, &report), why);
	if (strstr(report.text, words) == NULL)
		fail_msg("'%s' does not say '%s'", report.text, words);
}

/* What the token would keep. */
static inline void
place_anchor(struct place *p)
{
	assert_true(journal_mark(p->j, &p->options.mark));
	p->options.anchor = JOURNAL_ANCHOR_MARK;
}

static inline struct journal_clock
at(int64_t wall)
{
	return (struct journal_clock){wall, 1000 + (wall > NOW ? wall - NOW : 0)};
}

static inline void
add_key(struct place *p, struct bytes id)
{
	struct error e = ERROR_INIT;

	if (!journal_add_key(p->j, id, JOURNAL_KEY_MADE, at(NOW), &e))
		fail_msg("%s", e.text);
}

/* The n-th certificate: serial and content follow from n and variant. */
static inline struct guard_use
certificate(unsigned int n, unsigned int variant, int64_t time)
{
	struct guard_use u = {.kind = SIGNPROTO_TBS_CERTIFICATE, .alg = SIG_ECDSA_SHA256};
	uint8_t seed[8], random[SERIAL_LEN * 2];

	memcpy(seed, &n, 4);
	memcpy(seed + 4, &variant, 4);
	(void)SHA256(seed, 4, random);
	serial_build(u.serial, 1, time, random);
	u.serial_len = SERIAL_LEN;
	u.serial_time = time;
	(void)SHA256(seed, sizeof seed, u.tbs_sha256);
	return u;
}

static inline struct guard_use
decided(struct guard_use u, unsigned int decision, int64_t issued)
{
	uint8_t digest[32];

	(void)SHA256((const uint8_t *)&decision, sizeof decision, digest);
	u.has_decision = true;
	memcpy(u.decision, digest, sizeof u.decision);
	u.decision_issued = issued;
	return u;
}

/* A CRL whose content follows from all of these. */
static inline struct guard_use
crl(unsigned int number, unsigned int base, int64_t this_update, unsigned int variant)
{
	struct guard_use u = {
	    .kind = SIGNPROTO_TBS_CRL,
	    .alg = SIG_ECDSA_SHA256,
	    .delta = base > 0,
	    .number = {(uint8_t)(number >> 8), (uint8_t)number},
	    .number_len = 2,
	    .base_number = {(uint8_t)(base >> 8), (uint8_t)base},
	    .base_number_len = base > 0 ? 2 : 0,
	    .this_update = this_update,
	    .next_update = this_update + 86400,
	};
	unsigned int seed[] = {number, base, (unsigned int)this_update, variant};

	(void)SHA256((const uint8_t *)seed, sizeof seed, u.tbs_sha256);
	return u;
}

/* Reserves, and expects to be let sign. */
static inline struct journal_ticket
reserves(struct place *p, struct bytes id, struct guard_use u)
{
	struct error e = ERROR_INIT;
	struct journal_ticket t;

	if (!journal_reserve(p->j, id, &u, at(NOW), &t, &e))
		fail_msg("%s", e.text);
	assert_false(t.answered);
	return t;
}

/* A signature that tells what it is of. */
static inline void
fill_signature(struct journal_ticket *t)
{
	memcpy(t->signed_as.signature, t->signed_as.content, 24);
	memset(t->signed_as.signature + 24, 0x5a, 46);
	t->signed_as.signature_len = 70;
}

static inline void
signs(struct place *p, struct bytes id, struct guard_use u)
{
	struct journal_ticket t = reserves(p, id, u);
	struct error e = ERROR_INIT;

	fill_signature(&t);
	if (!journal_sign(p->j, &t, at(NOW), &e) || !journal_sync(p->j, &e))
		fail_msg("%s", e.text);
}

/* Is answered from the journal, with the signature of just this. */
static inline void
answers(struct place *p, struct bytes id, struct guard_use u)
{
	uint8_t content[JOURNAL_CONTENT_LEN];
	struct error e = ERROR_INIT;
	struct journal_ticket t;

	if (!journal_reserve(p->j, id, &u, at(NOW), &t, &e))
		fail_msg("%s", e.text);
	assert_true(t.answered);
	assert_true(journal_content(id, &u, content, &e));
	assert_int_equal(t.signed_as.signature_len, 70);
	assert_memory_equal(t.signed_as.signature, content, sizeof content);
	assert_true(journal_sign(p->j, &t, at(NOW), &e));
}

static inline void
refused_at(struct place *p, struct bytes id, struct guard_use u, int64_t now, enum error_code code,
    const char *words)
{
	struct error e = ERROR_INIT;
	struct journal_ticket t;

	assert_false(journal_reserve(p->j, id, &u, at(now), &t, &e));
	if (e.code != code || strstr(e.text, words) == NULL)
		fail_msg("'%s' (%s) does not say '%s' (%s)", e.text, error_code_name(e.code), words,
		    error_code_name(code));
}

static inline void
refused(
    struct place *p, struct bytes id, struct guard_use u, enum error_code code, const char *words)
{
	refused_at(p, id, u, NOW, code, words);
}

#endif
