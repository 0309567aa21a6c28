/*
 * What the journal lets be used: serials, decisions, CRL numbers; windows of a
 * fixed size, and floors.
 */

#include "tests/unit/journal_util.h"

#include "daemon/core/log.h"
#include "pkcs11/journal_state.h"

static struct place place;

static int
set_up(void **state)
{
	place_make(&place);
	place.options.segment_size = 1024 * 1024;
	place.options.serials_max = 8;
	place.options.decisions_max = 4;
	place_open(&place);
	add_key(&place, key_1);
	add_key(&place, key_2);
	return 0;
}

static int
tear_down(void **state)
{
	place_remove(&place);
	return 0;
}

/* ---- the window itself */

static struct window_entry
entry(unsigned int n, uint32_t time)
{
	struct window_entry x = {.time = time};

	memcpy(x.key, &n, sizeof n);
	memcpy(x.content, &n, sizeof n);
	return x;
}

/* Against a plain list, over many rounds. */
static void
a_window_holds_the_newest(void **state)
{
	struct window *w = window_new(50);
	int64_t floor = 0;

	assert_non_null(w);
	for (unsigned int n = 1; n <= 5000; n++) {
		uint32_t time = 1000 + n + n % 7;
		struct window_entry x = entry(n, time);

		assert_null(window_find(w, x.key));
		window_add(w, &x);
		if (n > 50 && 1000 + (n - 50) + (n - 50) % 7 > floor)
			floor = 1000 + (n - 50) + (n - 50) % 7;
		assert_int_equal(window_floor(w), floor);
		assert_int_equal(window_count(w), n < 50 ? n : 50);
		for (unsigned int k = n > 60 ? n - 60 : 1; k <= n; k++) {
			struct window_entry old = entry(k, 0), *found = window_find(w, old.key);

			if (k + 50 <= n)
				assert_null(found);
			else
				assert_memory_equal(
				    found->content, old.content, sizeof old.content);
		}
	}
	window_free(w);
	window_free(NULL);
}

static void
serials_keep_their_random_octets(void **state)
{
	struct guard_use a = certificate(1, 0, NOW), b = certificate(1, 0, NOW + 1);
	uint8_t x[WINDOW_KEY_LEN], y[WINDOW_KEY_LEN];

	/* Time and signer alone make no other serial: that errs on the safe side. */
	window_serial_key((struct bytes){a.serial, SERIAL_LEN}, x);
	window_serial_key((struct bytes){b.serial, SERIAL_LEN}, y);
	assert_memory_equal(x, y, sizeof x);
	for (size_t i = 0; i < SERIAL_LEN; i++) {
		if (i >= 1 && i < 9)
			continue;
		a.serial[i] ^= 1;
		window_serial_key((struct bytes){a.serial, SERIAL_LEN}, x);
		assert_memory_not_equal(x, y, sizeof x);
		a.serial[i] ^= 1;
	}
	window_serial_key((struct bytes){a.serial, 3}, x);
	window_serial_key((struct bytes){a.serial, 2}, y);
	assert_memory_not_equal(x, y, sizeof x);
	assert_int_equal(window_time(-1), 0);
	assert_int_equal(window_time((int64_t)UINT32_MAX + 1), UINT32_MAX);
}

/* ---- certificates */

static void
one_serial_one_content(void **state)
{
	struct guard_use a = certificate(1, 0, NOW), b = a;

	(void)reserves(&place, key_1, a);
	/* Reserved is as good as signed, for everybody else. */
	b.tbs_sha256[31] ^= 1;
	refused(&place, key_1, b, ERROR_DENIED, "used for another certificate");
	b = a;
	b.alg = SIG_ECDSA_SHA384;
	refused(&place, key_1, b, ERROR_DENIED, "used for another certificate");
	refused(&place, key_2, a, ERROR_DENIED, "used for another certificate");
	signs(&place, key_1, a);
	refused(&place, key_2, a, ERROR_DENIED, "used for another certificate");
	answers(&place, key_1, a);
}

static void
what_was_forgotten_is_refused(void **state)
{
	for (int round = 0; round < 2; round++) {
		for (unsigned int n = 0; round == 0 && n < 8 + 3; n++)
			signs(&place, key_1, certificate(n, 0, NOW + n));
		/* Three went; the floor is the third one's time. */
		refused(&place, key_1, certificate(2, 0, NOW + 2), ERROR_CONFLICT, "new serial");
		refused(&place, key_1, certificate(2, 1, NOW + 2), ERROR_CONFLICT, "new serial");
		refused(&place, key_1, certificate(100, 0, NOW + 2), ERROR_CONFLICT, "new serial");
		answers(&place, key_1, certificate(3, 0, NOW + 3));
		place_open(&place);
	}
	signs(&place, key_1, certificate(100, 0, NOW + 3));
}

static void
one_decision_one_content(void **state)
{
	struct guard_use a = decided(certificate(1, 0, NOW), 1, NOW - 60);
	struct guard_use b = decided(certificate(2, 0, NOW), 1, NOW - 60);

	(void)reserves(&place, key_1, a);
	refused(&place, key_1, b, ERROR_DENIED, "one decision, one certificate");
	signs(&place, key_1, a);
	answers(&place, key_1, a);
	refused(&place, key_1, b, ERROR_DENIED, "one decision, one certificate");
	place_open(&place);
	refused(&place, key_1, b, ERROR_DENIED, "one decision, one certificate");
	/* The refused one used nothing up. */
	signs(&place, key_1, certificate(2, 7, NOW));
	/* No decision at all is another matter. */
	signs(&place, key_1, certificate(3, 0, NOW));
	signs(&place, key_1, certificate(4, 0, NOW));
}

static void
a_forgotten_decision_is_refused(void **state)
{
	for (unsigned int n = 0; n < 6; n++)
		signs(&place, key_1, decided(certificate(n, 0, NOW), n, NOW - 600 + n));
	for (int round = 0; round < 2; round++) {
		refused(&place, key_1, decided(certificate(20, 0, NOW + 1), 1, NOW - 599),
		    ERROR_DENIED, "decide anew");
		refused(&place, key_1, decided(certificate(20, 0, NOW + 1), 99, NOW - 599),
		    ERROR_DENIED, "decide anew");
		refused(&place, key_1, decided(certificate(20, 0, NOW + 1), 2, NOW - 598),
		    ERROR_DENIED, "one decision, one certificate");
		place_open(&place);
	}
	signs(&place, key_1, decided(certificate(20, 0, NOW + 1), 99, NOW - 598));
}

/* A serial that was reserved, never signed, and is too old by now: the decision
 * may have a new one. One that was signed may not. */
static void
a_decision_gets_a_new_serial(void **state)
{
	struct guard_use waiting = decided(certificate(1, 0, NOW), 1, NOW - 60);
	struct guard_use done = decided(certificate(2, 0, NOW), 2, NOW - 60);
	struct guard_use anew = decided(certificate(1, 1, NOW + 50), 1, NOW - 60);
	struct guard_use twice = decided(certificate(2, 1, NOW + 50), 2, NOW - 60);
	struct journal_ticket late = reserves(&place, key_1, waiting);
	struct error e = ERROR_INIT;

	signs(&place, key_1, done);
	for (unsigned int n = 10; n < 18; n++)
		signs(&place, key_1, certificate(n, 0, NOW + 10));
	anew.serial[5] ^= 1; /* another serial */
	anew.serial[15] ^= 1;
	twice.serial[15] ^= 1;
	refused(&place, key_1, waiting, ERROR_CONFLICT, "new serial");
	refused(&place, key_1, twice, ERROR_DENIED, "one decision, one certificate");
	signs(&place, key_1, anew);
	/* Whoever still held the first one does not release it now. */
	fill_signature(&late);
	assert_false(journal_sign(place.j, &late, at(NOW), &e));
	assert_int_equal(e.code, ERROR_DENIED);
	anew.tbs_sha256[0] ^= 1;
	anew.serial[16] ^= 1;
	refused(&place, key_1, anew, ERROR_DENIED, "one decision, one certificate");
}

/* ---- CRLs */

static void
numbers_rise(void **state)
{
	signs(&place, key_1, crl(5, 0, NOW, 0));
	for (int round = 0; round < 2; round++) {
		answers(&place, key_1, crl(5, 0, NOW, 0));
		refused(&place, key_1, crl(5, 0, NOW, 1), ERROR_DENIED, "CRL number 5 was used");
		refused(
		    &place, key_1, crl(5, 0, NOW + 1, 0), ERROR_DENIED, "CRL number 5 was used");
		refused(
		    &place, key_1, crl(4, 0, NOW + 1, 0), ERROR_DENIED, "does not follow number 5");
		refused(&place, key_1, crl(6, 0, NOW - 1, 0), ERROR_DENIED, "thisUpdate");
		place_open(&place);
	}
	(void)reserves(&place, key_1, crl(8, 0, NOW, 0));
	refused(&place, key_1, crl(7, 0, NOW, 0), ERROR_DENIED, "does not follow number 8");
	refused(&place, key_1, crl(8, 0, NOW, 1), ERROR_DENIED, "CRL number 8 was used");
	signs(&place, key_1, crl(8, 0, NOW, 0));
	/* By its value, not by its octets. */
	signs(&place, key_1, crl(300, 0, NOW, 0));
	refused(&place, key_1, crl(256, 0, NOW, 0), ERROR_DENIED, "does not follow number 300");
	/* Another key, another scope: numbers of their own. */
	signs(&place, key_2, crl(1, 0, NOW - 5, 0));
	{
		struct guard_use u = crl(2, 0, NOW - 5, 0);

		u.scope[0] = 1;
		signs(&place, key_1, u);
	}
}

static void
numbers_without_a_beginning(void **state)
{
	struct guard_use zero = crl(0, 0, NOW, 0);

	zero.number_len = 0;
	signs(&place, key_1, zero);
	answers(&place, key_1, zero);
	refused(&place, key_1, crl(0, 0, NOW, 1), ERROR_DENIED, "CRL number 0 was used");
	signs(&place, key_1, crl(1, 0, NOW, 1));
}

static void
deltas_share_the_numbers(void **state)
{
	refused(&place, key_1, crl(1, 1, NOW, 0), ERROR_DENIED, "base, number 1");
	signs(&place, key_1, crl(1, 0, NOW, 0));
	signs(&place, key_1, crl(2, 1, NOW + 10, 0));
	answers(&place, key_1, crl(2, 1, NOW + 10, 0));
	refused(&place, key_1, crl(2, 1, NOW + 10, 1), ERROR_DENIED, "another delta CRL");
	/* A complete CRL may share the delta's number, at the same time only. */
	refused(&place, key_1, crl(2, 0, NOW + 11, 0), ERROR_DENIED, "equal thisUpdate");
	refused(&place, key_1, crl(1, 0, NOW + 11, 5), ERROR_DENIED, "was used for");
	signs(&place, key_1, crl(2, 0, NOW + 10, 0));
	signs(&place, key_1, crl(3, 0, NOW + 20, 0));
	/* And the delta that goes with it. */
	refused(&place, key_1, crl(3, 1, NOW + 21, 0), ERROR_DENIED, "equal thisUpdate");
	refused(&place, key_1, crl(2, 1, NOW + 20, 0), ERROR_DENIED, "was used for");
	signs(&place, key_1, crl(3, 1, NOW + 20, 0));
	/* A number that a delta took is no number for a later complete one. */
	signs(&place, key_1, crl(4, 3, NOW + 30, 0));
	signs(&place, key_1, crl(5, 3, NOW + 40, 0));
	refused(&place, key_1, crl(4, 0, NOW + 40, 0), ERROR_DENIED, "does not follow number 5");
	signs(&place, key_1, crl(6, 0, NOW + 50, 0));
	refused(&place, key_1, crl(5, 3, NOW + 50, 3), ERROR_DENIED, "was used for");
}

static void
a_base_was_signed(void **state)
{
	(void)reserves(&place, key_1, crl(1, 0, NOW, 0));
	refused(&place, key_1, crl(2, 1, NOW, 0), ERROR_DENIED, "base, number 1");
	signs(&place, key_1, crl(1, 0, NOW, 0));
	for (unsigned int n = 2; n < 20; n++)
		signs(&place, key_1, crl(n, 0, NOW, 0));
	refused(&place, key_1, crl(20, 19 - JOURNAL_BASES_MAX, NOW, 0), ERROR_DENIED,
	    "none of the last 8 complete CRLs");
	place_open(&place);
	refused(&place, key_1, crl(20, 19 - JOURNAL_BASES_MAX, NOW, 0), ERROR_DENIED,
	    "none of the last 8 complete CRLs");
	signs(&place, key_1, crl(20, 20 - JOURNAL_BASES_MAX, NOW, 0));
	signs(&place, key_1, crl(21, 19, NOW, 0));
	refused(&place, key_1, crl(60, 25, NOW, 0), ERROR_DENIED, "none of the last 8");
}

static void
scopes_are_limited(void **state)
{
	struct guard_use u = crl(1, 0, NOW, 0);

	for (unsigned int n = 0; n < JOURNAL_KEY_SCOPES_MAX; n++) {
		u.scope[0] = (uint8_t)n;
		u.scope[1] = (uint8_t)(n >> 8);
		(void)reserves(&place, key_1, u);
	}
	u.scope[2] = 1;
	refused(&place, key_1, u, ERROR_DENIED, "at most 256 of one key");
	(void)reserves(&place, key_2, u);
}

/* What another signer reached is a floor here. */
static void
a_scope_is_raised(void **state)
{
	struct journal_scope to = {.id_len = key_1.len, .base_count = 1}, found;
	struct error e = ERROR_INIT;

	memcpy(to.id, key_1.p, key_1.len);
	to.complete = (struct journal_number){.number = {9}, .len = 1, .this_update = NOW};
	to.delta = (struct journal_number){.number = {11}, .len = 1, .this_update = NOW + 5};
	to.bases[0] = to.complete;
	signs(&place, key_1, crl(5, 0, NOW - 5, 0));
	assert_true(journal_raise_scope(place.j, &to, at(NOW), &e));
	for (int round = 0; round < 2; round++) {
		assert_true(journal_find_scope(place.j, key_1, to.scope, &found));
		assert_int_equal(found.complete.number[0], 9);
		refused(&place, key_1, crl(9, 0, NOW, 0), ERROR_DENIED, "CRL number 9 was used");
		refused(&place, key_1, crl(10, 0, NOW + 5, 0), ERROR_DENIED, "does not follow");
		refused(&place, key_1, crl(12, 0, NOW + 4, 0), ERROR_DENIED, "thisUpdate");
		refused(&place, key_1, crl(12, 8, NOW + 5, 0), ERROR_DENIED, "base, number 8");
		place_open(&place);
	}
	/* Never down again. */
	to.complete.number[0] = 2;
	to.delta.len = 0;
	assert_true(journal_raise_scope(place.j, &to, at(NOW), &e));
	refused(&place, key_1, crl(9, 0, NOW, 0), ERROR_DENIED, "CRL number 9 was used");
	signs(&place, key_1, crl(12, 9, NOW + 5, 0));
	assert_false(journal_find_scope(place.j, key_2, to.scope, &found));
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_window_holds_the_newest),
	    cmocka_unit_test(serials_keep_their_random_octets),
	    TEST(one_serial_one_content),
	    TEST(what_was_forgotten_is_refused),
	    TEST(one_decision_one_content),
	    TEST(a_forgotten_decision_is_refused),
	    TEST(a_decision_gets_a_new_serial),
	    TEST(numbers_rise),
	    TEST(numbers_without_a_beginning),
	    TEST(deltas_share_the_numbers),
	    TEST(a_base_was_signed),
	    TEST(scopes_are_limited),
	    TEST(a_scope_is_raised),
	};

	log_init("journal-test", LOG_LEVEL_ERROR);
	return cmocka_run_group_tests_name("pkcs11_journal_rules", tests, NULL, NULL);
}
