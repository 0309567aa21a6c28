/*
 * A closed journal is opened again: by the right document only, once, with floors
 * that hold; and key by key.
 */

#include "tests/unit/journal_util.h"

#include "daemon/core/log.h"
#include "pkcs11/journal_int.h"

static struct place place;
static struct reseed doc;

static int
set_up(void **state)
{
	place_make(&place);
	/* The order takes room. */
	place.options.segment_size = 256 * 1024;
	return 0;
}

static int
tear_down(void **state)
{
	place_remove(&place);
	return 0;
}

/* A journal with an anchor, two keys, certificates and CRLs; and then it is lost. */
static void
lose_it(void)
{
	place_open(&place);
	add_key(&place, key_1);
	add_key(&place, key_2);
	for (unsigned int n = 0; n < 5; n++)
		signs(&place, key_1, certificate(n, 0, NOW - 100));
	signs(&place, key_1, crl(7, 0, NOW - 50, 0));
	place_anchor(&place);
	journal_free(place.j);
	place.j = NULL;
	shell(&place, "mv journal lost");
	expect_closed(&place, JOURNAL_MISSING, "it was lost");
}

/* What operators would sign, for key_1 and its CRLs. */
static void
compose(void)
{
	struct journal_report report;

	journal_report(place.j, &report);
	/* A floor from long ago: then it is the time at which the journal closed. */
	doc = (struct reseed){
	    .token = "main", .signer_id = 1, .floor = NOW - 86400, .key_count = 1};
	memcpy(doc.challenge, report.challenge, sizeof doc.challenge);
	memcpy(doc.keys[0].id, key_1.p, key_1.len);
	doc.keys[0].id_len = key_1.len;
	doc.keys[0].scope_count = doc.scope_count = 1;
	doc.scopes[0] = (struct reseed_scope){
	    .number = {9}, .number_len = 1, .base = {7}, .base_len = 1, .this_update = NOW - 50};
}

static bool
reseed_it(struct error *e)
{
	static const uint8_t octets[] = "text";
	struct signproto_order order = {
	    .statement = {octets, 4}, .body = {octets, 4}, .signature_count = 1};

	order.signatures[0] = (struct signproto_operator_signature){{octets, 4}, {octets, 4}};
	*e = ERROR_INIT;
	return journal_reseed(place.j, &doc, &order, at(NOW), e);
}

static void
reseeds(void)
{
	struct error e;

	if (!reseed_it(&e))
		fail_msg("%s", e.text);
}

static void
reseed_refused(enum error_code code, const char *words)
{
	struct error e;

	assert_false(reseed_it(&e));
	if (e.code != code || strstr(e.text, words) == NULL)
		fail_msg("'%s' (%s) does not say '%s'", e.text, error_code_name(e.code), words);
}

static void
opens_what_it_names(void **state)
{
	struct journal_report report;

	lose_it();
	compose();
	reseeds();
	for (int round = 0; round < 3; round++) {
		journal_report(place.j, &report);
		assert_int_equal(report.closed, JOURNAL_OPEN);
		assert_memory_not_equal(report.challenge, doc.challenge, sizeof doc.challenge);
		assert_true(journal_knows_key(place.j, key_1));
		/* What is before the floor is over. */
		refused(&place, key_1, certificate(1, 0, NOW), ERROR_CONFLICT, "too old");
		refused(&place, key_1, decided(certificate(1, 0, NOW + 1), 1, NOW), ERROR_DENIED,
		    "decide anew");
		refused(&place, key_1, crl(9, 0, NOW, 0), ERROR_DENIED, "was used");
		refused(&place, key_1, crl(10, 0, NOW - 51, 0), ERROR_DENIED, "thisUpdate");
		refused(&place, key_1, crl(10, 6, NOW, 0), ERROR_DENIED, "base, number 6");
		/* The other key stays closed, also when somebody finds it. */
		refused(&place, key_2, certificate(1, 0, NOW + 1), ERROR_UNAVAILABLE, "is closed");
		assert_false(journal_add_key(place.j, key_2, JOURNAL_KEY_FOUND, at(NOW), NULL));
		/* Before and after the new anchor reached the token. */
		if (round == 1)
			place_anchor(&place);
		place_open(&place);
	}
	signs(&place, key_1, certificate(1, 0, NOW + 1));
	signs(&place, key_1, decided(certificate(2, 0, NOW + 1), 1, NOW + 1));
	signs(&place, key_1, crl(10, 7, NOW, 0));
	signs(&place, key_1, crl(11, 0, NOW, 0));
	/* The closed one is kept; its challenge is not. */
	shell(&place, "test -d journal-closed-1 && test ! -e reseed-challenge");
}

static void
nothing_else_opens_it(void **state)
{
	struct journal_report report;

	lose_it();
	compose();
	doc.challenge[3] ^= 1;
	reseed_refused(ERROR_DENIED, "another challenge");
	compose();
	doc.signer_id = 2;
	reseed_refused(ERROR_DENIED, "for signer 2 of token 'main'");
	compose();
	doc.token[0] = 'x';
	reseed_refused(ERROR_DENIED, "of token 'xain'");
	compose();
	doc.floor = NOW + 301;
	reseed_refused(ERROR_DENIED, "floor");
	journal_report(place.j, &report);
	assert_int_equal(report.closed, JOURNAL_MISSING);
	refused(&place, key_1, certificate(9, 0, NOW + 1), ERROR_UNAVAILABLE, "closed");
	shell(&place, "test ! -e journal-closed-1");
}

/* People take days to sign: the challenge lives as long. But not longer than what
 * was found closed. */
static void
the_challenge_outlives_the_process(void **state)
{
	struct journal_report report;
	uint8_t first[JOURNAL_CHALLENGE_LEN];

	lose_it();
	compose();
	memcpy(first, doc.challenge, sizeof first);
	expect_closed(&place, JOURNAL_MISSING, "it was lost");
	journal_report(place.j, &report);
	assert_memory_equal(report.challenge, first, sizeof first);
	place.options.mark.seq++;
	expect_closed(&place, JOURNAL_MISSING, "it was lost");
	journal_report(place.j, &report);
	assert_memory_not_equal(report.challenge, first, sizeof first);
	place.options.mark.seq--;
	/* A restored copy of the directory, once it had been answered. */
	expect_closed(&place, JOURNAL_MISSING, "it was lost");
	compose();
	shell(&place, "cp -a . ../$(basename $PWD)-copy");
	reseeds();
	place_anchor(&place);
	journal_free(place.j);
	place.j = NULL;
	shell(&place, "rm -rf journal* && cp -a ../$(basename $PWD)-copy/. . && "
		      "rm -r ../$(basename $PWD)-copy");
	expect_closed(&place, JOURNAL_MISSING, "it was lost");
	reseed_refused(ERROR_DENIED, "another challenge");
}

static void
one_challenge_one_reseed(void **state)
{
	lose_it();
	compose();
	reseeds();
	reseed_refused(ERROR_DENIED, "another challenge");
	/* Another key, by the open journal's own challenge. */
	compose();
	reseed_refused(ERROR_CONFLICT, "is open");
	memcpy(doc.keys[0].id, key_2.p, key_2.len);
	reseeds();
	assert_true(journal_knows_key(place.j, key_2));
	place_anchor(&place);
	place_open(&place);
	signs(&place, key_1, certificate(1, 0, NOW + 1));
	signs(&place, key_2, certificate(2, 0, NOW + 1));
	refused(&place, key_2, crl(9, 0, NOW, 0), ERROR_DENIED, "was used");
}

/* What a damaged journal still says cannot be talked away. */
static void
what_is_known_stays_a_floor(void **state)
{
	lose_it();
	journal_free(place.j);
	place.j = NULL;
	shell(&place, "rm -r journal && mv lost journal && printf x |"
		      "dd of=journal/00000001.seg conv=notrunc bs=1 seek=250000 2>/dev/null");
	place.options.mark.seq += 5;
	expect_closed(&place, JOURNAL_BEHIND, "an older copy");
	compose();
	doc.scopes[0].number[0] = doc.scopes[0].base[0] = 3;
	doc.scopes[0].this_update = NOW - 1000;
	reseeds();
	for (int round = 0; round < 2; round++) {
		refused(&place, key_1, crl(7, 0, NOW, 0), ERROR_DENIED, "was used");
		refused(&place, key_1, crl(5, 0, NOW, 0), ERROR_DENIED, "does not follow number 7");
		refused(&place, key_1, crl(8, 0, NOW - 60, 0), ERROR_DENIED, "thisUpdate");
		place_open(&place);
	}
	signs(&place, key_1, crl(8, 7, NOW, 0));
}

/* The power goes while it is carried out: either it is still closed, or empty. */
static void
half_a_reseed_opens_nothing(void **state)
{
	lose_it();
	compose();
	doc.key_count = 2;
	memcpy(doc.keys[1].id, key_2.p, key_2.len);
	doc.keys[1].id_len = key_2.len;
	doc.keys[1].first_scope = 1;
	reseeds();
	{
		/* All that came after the first segment's snapshot is lost. */
		struct segment_walk w;
		struct journal_record r;
		struct error e = ERROR_INIT;
		uint8_t *buf, zero[1] = {0};
		size_t size, begin = 0;

		assert_true(segment_read(place.j->dir_fd, 1, &buf, &size, &e));
		assert_true(segment_walk(&w, 1, buf, size));
		while (begin == 0 && segment_next(&w, &r)) {
			if (r.type == JOURNAL_RESEED)
				begin = w.at;
		}
		while (segment_next(&w, &r) && r.type != JOURNAL_KEY)
			begin = w.at;
		for (size_t i = begin; i < begin + 4096; i++)
			assert_true(segment_write(place.j->fd, zero, 1, i, &e));
		free(buf);
	}
	place_open(&place);
	refused(&place, key_1, certificate(1, 0, NOW + 1), ERROR_UNAVAILABLE, "is closed");
	refused(&place, key_2, certificate(1, 0, NOW + 1), ERROR_UNAVAILABLE, "is closed");
	compose();
	reseeds();
	signs(&place, key_1, certificate(1, 0, NOW + 1));
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(opens_what_it_names),
	    TEST(nothing_else_opens_it),
	    TEST(the_challenge_outlives_the_process),
	    TEST(one_challenge_one_reseed),
	    TEST(what_is_known_stays_a_floor),
	    TEST(half_a_reseed_opens_nothing),
	};

	log_init("journal-test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("pkcs11_journal_reseed", tests, NULL, NULL);
}
