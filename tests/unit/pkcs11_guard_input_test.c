/*
 * What the guard makes of whole inputs: what a signature uses up, structures that are
 * cut off or changed anywhere, and those that come in pieces.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/guard_refusal.h"

static struct parties all;

/* ---- what is used up */

static void
uses(void **state)
{
	struct error e = ERROR_INIT;
	uint8_t digest[32];
	struct guard_use use;
	struct setting *s;

	s = setting_manual(&all);
	setting_build(s);
	assert_true(guard_check(&s->r, &use, &e));
	assert_int_equal(use.alg, ALG);
	assert_int_equal(use.serial_len, SERIAL_LEN);
	assert_memory_equal(use.serial, s->serial, SERIAL_LEN);
	assert_int_equal(use.serial_time, NOW);
	assert_true(use.has_decision);
	assert_int_equal(use.decision_issued, NOW - 60);
	assert_true(guard_sha256(s->r.statement, digest, &e));
	assert_memory_equal(use.decision, digest, GUARD_DECISION_LEN);
	assert_true(guard_sha256(s->r.tbs, digest, &e));
	assert_memory_equal(use.tbs_sha256, digest, 32);
	assert_memory_equal(use.digest.octets, digest, 32);
	free(s);

	/* A key that digests with something else. */
	s = setting_new(&all);
	s->key.document.signatures[0] = SIG_ECDSA_SHA384;
	s->inner_alg = sig_alg_der(SIG_ECDSA_SHA384);
	s->r.alg = SIG_ECDSA_SHA384;
	setting_build(s);
	assert_true(guard_check(&s->r, &use, &e));
	assert_false(use.has_decision);
	assert_int_equal(use.digest.len, 48);
	assert_true(guard_sha256(s->r.tbs, digest, &e));
	assert_memory_equal(use.tbs_sha256, digest, 32);
	assert_memory_not_equal(use.digest.octets, digest, 32);
	free(s);

	s = setting_crl(&all);
	s->crl_extra = TEXT(DELTA("\x05") IDP("\x81\x01\xff"));
	setting_build(s);
	assert_true(guard_check(&s->r, &use, &e));
	assert_true(use.delta);
	assert_int_equal(use.number_len, 1);
	assert_int_equal(use.number[0], 7);
	assert_int_equal(use.base_number_len, 1);
	assert_int_equal(use.base_number[0], 5);
	assert_int_equal(use.this_update, NOW);
	assert_int_equal(use.next_update, NOW + 7 * DAY);
	assert_true(guard_sha256(TEXT("\x30\x03\x81\x01\xff"), digest, &e));
	assert_memory_equal(use.scope, digest, 32);
	free(s);
}

/* ---- whole inputs, and pieces */

static void
cut_off(void **state)
{
	setting_maker *const makers[] = {setting_manual, setting_crl, setting_csr};

	for (size_t i = 0; i < COUNT_OF(makers); i++) {
		struct setting *s = makers[i](&all);
		struct bytes whole;

		setting_build(s);
		whole = s->r.tbs;
		for (size_t len = 1; len < whole.len; len++) {
			/* In memory of its own, so that an overread is seen. */
			uint8_t *part = malloc(len);

			assert_non_null(part);
			memcpy(part, whole.p, len);
			s->r.tbs = (struct bytes){part, len};
			expect_refusal(&s->r,
			    i == 0   ? "structure"
			    : i == 1 ? "crl"
				     : "own-request",
			    "a part");
			free(part);
		}
		free(s);
	}
}

/* Whatever bit changes: what comes out is refused, or still within the limits. */
static void
mutations_stay_within_the_limits(void **state)
{
	struct setting *s = setting_new(&all);
	unsigned int passed = 0;
	struct guard_use use;
	struct certificate c;

	PERMIT(s, "dns:example.com");
	setting_build(s);
	for (size_t bit = 0; bit < s->r.tbs.len * 8; bit++) {
		uint8_t *octet = (uint8_t *)(uintptr_t)s->r.tbs.p + bit / 8;
		struct error e = ERROR_INIT;

		*octet ^= (uint8_t)(1U << bit % 8);
		if (guard_check(&s->r, &use, NULL)) {
			passed++;
			assert_true(tbs_certificate_parse(s->r.tbs, &c, &e));
			assert_true(bytes_equal(c.issuer, all.us.name));
			assert_true(bytes_equal(c.inner_alg, sig_alg_der(ALG)));
			assert_memory_equal(c.authority_key_id.p, all.us.key_id, SKI_LEN);
			assert_false(c.ca);
			assert_true(c.not_after <= s->key.document.not_after);
			assert_true(c.not_after - c.not_before < 90LL * DAY);
			assert_int_equal(
			    c.key_usage & ~(KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT), 0);
		}
		*octet ^= (uint8_t)(1U << bit % 8);
	}
	assert_in_range(passed, 1, s->r.tbs.len * 8);
	free(s);
}

static void
streams(void **state)
{
	struct setting *s = setting_crl(&all);
	struct guard_use whole, pieces;
	struct error e = ERROR_INIT;
	struct guard_stream *g;
	struct bytes der;

	setting_build(s);
	der = s->r.tbs;
	assert_true(guard_check(&s->r, &whole, &e));
	for (size_t step = 1; step <= der.len; step = step * 3 + 1) {
		g = guard_stream_new(&s->r, der.len, &e);
		assert_non_null(g);
		for (size_t at = 0; at < der.len; at += step) {
			size_t n = der.len - at < step ? der.len - at : step;

			assert_true(guard_stream_push(g, (struct bytes){der.p + at, n}, &e));
		}
		assert_true(guard_stream_finish(g, &pieces, &e));
		assert_int_equal(pieces.digest.len, whole.digest.len);
		assert_memory_equal(pieces.digest.octets, whole.digest.octets, whole.digest.len);
		assert_memory_equal(pieces.tbs_sha256, whole.tbs_sha256, 32);
		assert_int_equal(pieces.number[0], whole.number[0]);
		guard_stream_free(g);
	}

	/* More than announced, less than announced, another kind. */
	g = guard_stream_new(&s->r, der.len - 1, &e);
	assert_non_null(g);
	assert_false(guard_stream_push(g, der, &e));
	assert_non_null(strstr(e.text, ": rule crl (RFC 5280 5): "));
	guard_stream_free(g);
	error_clear(&e);
	g = guard_stream_new(&s->r, der.len, &e);
	assert_non_null(g);
	assert_true(guard_stream_push(g, (struct bytes){der.p, der.len - 1}, &e));
	assert_false(guard_stream_finish(g, &pieces, &e));
	assert_int_equal(e.code, ERROR_DENIED);
	guard_stream_free(g);
	error_clear(&e);
	s->r.kind = SIGNPROTO_TBS_CERTIFICATE;
	assert_null(guard_stream_new(&s->r, der.len, &e));
	assert_non_null(strstr(e.text, ": rule kind ("));
	free(s);
}

static int
set_up(void **state)
{
	parties_make(&all);
	return 0;
}

static int
tear_down(void **state)
{
	parties_free(&all);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(uses),
	    cmocka_unit_test(cut_off),
	    cmocka_unit_test(mutations_stay_within_the_limits),
	    cmocka_unit_test(streams),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
