/*
 * The limits of keys on a real token: changed by their quorum only; what was put back, lost or
 * damaged is noticed.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/core/encode.h"
#include "pkcs11/limits_cache.h"
#include "pkcs11/limits_chain.h"
#include "pkcs11/limits_show.h"
#include "tests/unit/orders_setting.h"

/* ---- ca-limits */

static void
limits_change_by_their_quorum(void **state)
{
	make_ca("change", false);
	next_version();
	limits.quorum = 2;
	REFUSED(set_limits(CEREMONY_BY(CAROL), e), ERROR_DENIED, "signed: nobody");
	REFUSED(set_limits(CEREMONY_BY(MALLORY), e), ERROR_DENIED, "signed: nobody");
	OK(in_force(e));
	assert_int_equal(kept.document.version, 1);
	OK(set_limits(CEREMONY_BY(ALICE), e));
	OK(in_force(e));
	assert_int_equal(kept.document.version, 2);
	assert_int_equal(kept.document.quorum, 2);
	/* Again: it is in force. */
	OK(orders_set_limits(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &order.order, e));
	/* The first one again: not back. */
	REFUSED(orders_set_limits(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &first_order.order, e),
	    ERROR_CONFLICT, "version 1 does not follow version 2");

	/* A change of something else than what is in force. */
	limits.quorum = 1;
	next_version();
	REFUSED(set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_CONFLICT, "'previous'");
}

/* Nobody brings a retired key back, with whatever signatures. */
static void
retiring_is_for_good(void **state)
{
	make_ca("retire", false);
	next_version();
	limits.retired = LIMITS_KEY_RETIRED;
	limits.template_count = 0;
	OK(set_limits(CEREMONY_BY(ALICE), e));
	OK(in_force(e));
	assert_int_equal(kept.document.retired, LIMITS_KEY_RETIRED);

	next_version();
	limits.retired = LIMITS_IN_USE;
	REFUSED(
	    set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_CONFLICT, "the key is retired for good");
	limits.retired = LIMITS_CA_RETIRED;
	OK(set_limits(CEREMONY_BY(ALICE), e));
	next_version();
	limits.retired = LIMITS_KEY_RETIRED;
	REFUSED(
	    set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_CONFLICT, "the CA is retired for good");
	limits.retired = LIMITS_CA_RETIRED;
	limits.quorum = 2;
	OK(set_limits(CEREMONY_BY(ALICE), e));
}

static void
changes_follow_the_one_in_force(void **state)
{
	struct limits *second = malloc(sizeof *second);

	assert_non_null(second);
	make_ca("follow", false);
	next_version();
	limits.quorum = 2;
	OK(set_limits(CEREMONY_BY(ALICE), e));
	*second = limits;

	next_version();
	limits.quorum = 1;
	REFUSED(
	    set_limits(CEREMONY_BY(ALICE), e), ERROR_DENIED, "signed: alice; could also sign: bob");
	REFUSED(set_limits(CEREMONY_BY(BOB, BOB), e), ERROR_DENIED, "could also sign: alice");
	REFUSED(set_limits(CEREMONY_BY(BOB, CAROL), e), ERROR_DENIED, "could also sign: alice");
	limits.token[0] = 'M';
	REFUSED(set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_CONFLICT, "another CA, token");
	limits.token[0] = 'm';
	limits.key[0] ^= 1;
	REFUSED(set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_CONFLICT, "'key' is not");
	limits.key[0] ^= 1;
	env.now += DAY;
	REFUSED(set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_DENIED, "expired");
	env.now -= DAY;
	OK(set_limits(CEREMONY_BY(ALICE, BOB), e));

	/* Not another version 3, nor one that leaves one out. */
	limits = *second;
	next_version();
	limits.not_after++;
	REFUSED(set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_CONFLICT, "does not follow");
	limits.version = 5;
	REFUSED(set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_CONFLICT, "does not follow");
	OK(in_force(e));
	assert_int_equal(kept.document.version, 3);
	free(second);
}

static void
an_old_version_put_back_is_noticed(void **state)
{
	char good[65536], other[65536];

	make_ca("old", false);
	next_version();
	OK(set_limits(CEREMONY_BY(ALICE), e));
	assert_true(read_file(".limits-2", good, sizeof good) > 0);
	remove_file(".limits-2");
	REFUSED(in_force(e), ERROR_DENIED, "the token remembers version 2");

	/* Another version 2, as well signed, made where the token does not see it. */
	limits = first;
	next_version();
	limits.not_after++;
	ceremony_order(&order, &limits, CEREMONY_BY(BOB));
	REFUSED(orders_set_limits(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &order.order, e),
	    ERROR_DENIED, "the token remembers another version 2");
	assert_true(limits_chain_append(hsm.state_dir, id, 2, &order.order, NULL));
	REFUSED(in_force(e), ERROR_DENIED, "are another version 2");
	assert_true(read_file(".limits-2", other, sizeof other) > 0);
	write_file(".limits-2", good);
	OK(in_force(e));
}

/* A crash between writing a version and telling the token. */
static void
the_token_learns_what_it_missed(void **state)
{
	struct limits_floor floor;

	make_ca("missed", false);
	next_version();
	ceremony_order(&order, &limits, CEREMONY_BY(ALICE));
	assert_true(limits_chain_append(hsm.state_dir, id, 2, &order.order, NULL));
	OK(limits_floor_read(&rw, id, &floor, e));
	assert_int_equal(floor.version, 1);
	OK(in_force(e));
	OK(limits_floor_read(&rw, id, &floor, e));
	assert_int_equal(floor.version, 2);
	assert_memory_equal(floor.sha256, kept.document_sha256, 32);
}

static CK_RV
no_object(CK_SESSION_HANDLE s, CK_ATTRIBUTE *t, CK_ULONG n, CK_OBJECT_HANDLE *made)
{
	return CKR_TEMPLATE_INCONSISTENT;
}

static void
a_token_without_data_objects_serves(void **state)
{
	const CK_FUNCTION_LIST *real = rw.f;
	CK_FUNCTION_LIST without = *real;
	struct limits_floor floor;
	bool refused = false;

	without.C_CreateObject = no_object;
	rw.f = &without;
	make_ca("plain", false);
	OK(limits_floor_load(
	    &rw, hsm.state_dir, (struct bytes){id, KEY_ID_LEN}, &kept, &refused, e));
	assert_true(refused);
	next_version();
	OK(set_limits(CEREMONY_BY(ALICE), e));
	OK(limits_floor_read(&rw, id, &floor, e));
	assert_int_equal(floor.version, 0);
	/* What is lost does not come back by an order of old. */
	remove_file(".key");
	remove_file(".limits-1");
	remove_file(".limits-2");
	env.now += DAY;
	REFUSED(make_key(&first_order, e), ERROR_DENIED, "expired");
	env.now -= DAY;
	rw.f = real;
}

static void
damaged_files_sign_nothing(void **state)
{
	static const char *const suffixes[] = {".key", ".limits-1", ".limits-2"};
	static char text[65536], part[65536];

	make_ca("damaged", false);
	next_version();
	OK(set_limits(CEREMONY_BY(ALICE, BOB), e));
	for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
		size_t n = read_file(suffixes[i], text, sizeof text);

		for (size_t at = 0; at < n; at += 5) {
			memcpy(part, text, n + 1);
			part[at] = '\0';
			write_file(suffixes[i], part);
			REFUSED(in_force(e), ERROR_DENIED, "");
			memcpy(part, text, n + 1);
			part[at] ^= 0x01;
			write_file(suffixes[i], part);
			REFUSED(in_force(e), ERROR_DENIED, "");
		}
		memcpy(part, text, n);
		memcpy(part + n, "\n", 2);
		write_file(suffixes[i], part);
		REFUSED(in_force(e), ERROR_DENIED, "");
		write_file(suffixes[i], text);
		OK(in_force(e));
	}
}

/* Another host with the same token has got newer limits for the key. */
static void
what_the_token_remembers_is_asked_again(void **state)
{
	struct limits_cache *cache = limits_cache_new(hsm.state_dir);
	struct bytes cka_id = {id, KEY_ID_LEN};
	const struct key_limits *l, *same;
	struct key_limits *elsewhere = malloc(sizeof *elsewhere);
	uint64_t generation = limits_cache_generation(cache);
	bool refused = false;

	assert_non_null(cache);
	assert_non_null(elsewhere);
	make_ca("elsewhere", false);
	OK((l = limits_cache_get(cache, &rw, cka_id, 1000, e)) != NULL);
	assert_int_equal(l->document.version, 1);
	*elsewhere = *l;
	elsewhere->document.version = 2;
	OK(limits_floor_check(&rw, elsewhere, &refused, e));
	OK((same = limits_cache_get(cache, &rw, cka_id, 999 + LIMITS_CACHE_AGE_MS, e)) != NULL);
	assert_ptr_equal(same, l);
	REFUSED(limits_cache_get(cache, &rw, cka_id, 1000 + LIMITS_CACHE_AGE_MS, e) != NULL,
	    ERROR_DENIED, "the token remembers version 2");
	limits_cache_put(cache, same);

	/* Then they come here, too; who holds the old ones keeps them. */
	next_version();
	ceremony_order(&order, &limits, CEREMONY_BY(ALICE));
	limits_cache_begin_change(cache);
	assert_true(limits_chain_append(hsm.state_dir, id, 2, &order.order, NULL));
	limits_cache_end_change(cache);
	assert_true(limits_cache_generation(cache) > generation);
	assert_int_equal(l->document.version, 1);
	limits_cache_put(cache, l);
	REFUSED(limits_cache_get(cache, &rw, cka_id, 1000, e) != NULL, ERROR_DENIED,
	    "are another version 2");
	assert_true(limits_cache_has_floors(cache));
	limits_cache_free(cache);
	free(elsewhere);
}

/* A host that the operators take its key away from has to learn of it. */
static void
limits_may_leave_this_signer_out(void **state)
{
	make_ca("left", false);
	next_version();
	limits.signer_ids[0] = 2;
	OK(set_limits(CEREMONY_BY(ALICE), e));
	OK(in_force(e));
	assert_false(limits_allows_signer(&kept.document, 1));
}

/* ---- what is there to see */

static void
keys_are_listed(void **state)
{
	uint8_t(*ids)[KEY_ID_LEN] = NULL;
	size_t count = 0, found = 0;

	make_ca("listed", false);
	OK(key_limits_list(hsm.state_dir, &ids, &count, e));
	assert_true(count > 1);
	for (size_t i = 0; i < count; i++) {
		found += memcmp(ids[i], id, KEY_ID_LEN) == 0;
		if (i > 0)
			assert_true(memcmp(ids[i - 1], ids[i], KEY_ID_LEN) < 0);
	}
	assert_int_equal(found, 1);
	free(ids);
}

static void
limits_are_shown(void **state)
{
	char *text = NULL, hex[65], words[128], good[65536];
	struct error why = ERROR_INIT;
	size_t size = 0;
	FILE *out;

	make_ca("once", false);
	make_ca("shown", false);
	OK(in_force(e));
	out = open_memstream(&text, &size);
	assert_non_null(out);
	assert_true(limits_show(hsm.state_dir, out, &why));
	assert_int_equal(fclose(out), 0);
	hex_encode(kept.document_sha256, 32, hex);
	(void)snprintf(words, sizeof words, "version 1, SHA-256 %s", hex);
	assert_non_null(strstr(text, "CA shown\n"));
	assert_non_null(strstr(text, words));
	hex_encode(kept.spki_sha256, 32, hex);
	assert_non_null(strstr(text, hex));
	assert_non_null(strstr(text, "1 of 2 may change the limits"));
	assert_non_null(strstr(text, "alice (limits, decides), key SHA-256 "));
	assert_non_null(strstr(text, "CN=Unit CA,O=Example,C=DE"));
	assert_non_null(strstr(text, "not yet installed"));
	free(text);

	/* A damaged one is named, and the others are still there. */
	assert_true(read_file(".limits-1", good, sizeof good) > 0);
	remove_file(".limits-1");
	out = open_memstream(&text, &size);
	assert_non_null(out);
	assert_false(limits_show(hsm.state_dir, out, &why));
	assert_int_equal(fclose(out), 0);
	assert_null(strstr(text, "CA shown\n"));
	assert_non_null(strstr(text, "not valid"));
	assert_non_null(strstr(text, "CA once\n"));
	free(text);
	write_file(".limits-1", good);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(limits_change_by_their_quorum),
	    cmocka_unit_test(retiring_is_for_good),
	    cmocka_unit_test(changes_follow_the_one_in_force),
	    cmocka_unit_test(an_old_version_put_back_is_noticed),
	    cmocka_unit_test(the_token_learns_what_it_missed),
	    cmocka_unit_test(a_token_without_data_objects_serves),
	    cmocka_unit_test(damaged_files_sign_nothing),
	    cmocka_unit_test(what_the_token_remembers_is_asked_again),
	    cmocka_unit_test(limits_may_leave_this_signer_out),
	    cmocka_unit_test(keys_are_listed),
	    cmocka_unit_test(limits_are_shown),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
