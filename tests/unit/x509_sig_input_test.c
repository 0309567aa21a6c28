/* What a signature is made over, in pieces. */

#include "tests/unit/x509_util.h"

#include "daemon/x509/sig_input.h"

static uint8_t text[200000];

static void
feed(struct sig_input *in, size_t piece)
{
	struct error e = ERROR_INIT;

	for (size_t at = 0; at < sizeof text; at += piece) {
		size_t len = sizeof text - at < piece ? sizeof text - at : piece;

		assert_ok(sig_input_add(in, (struct bytes){text + at, len}, &e), e);
	}
}

static void
test_digests(void **state)
{
	struct sig_input in = {.md = NULL};
	struct error e = ERROR_INIT;
	uint8_t want[DIGEST_MAX];
	struct bytes out;

	assert_int_equal(EVP_Digest(text, sizeof text, want, NULL, EVP_sha384(), NULL), 1);
	assert_ok(sig_input_begin(&in, SIG_ECDSA_SHA384, &e), e);
	feed(&in, 777);
	assert_ok(sig_input_end(&in, &out, &e), e);
	assert_int_equal(out.len, 48);
	assert_memory_equal(out.p, want, 48);
	sig_input_free(&in);
	sig_input_free(&in);
}

static void
test_keeps_what_has_no_digest(void **state)
{
	struct sig_input in = {.md = NULL};
	struct error e = ERROR_INIT;
	struct bytes out;

	assert_ok(sig_input_begin(&in, SIG_ED25519, &e), e);
	feed(&in, 777);
	assert_ok(sig_input_add(&in, (struct bytes){NULL, 0}, &e), e);
	assert_ok(sig_input_end(&in, &out, &e), e);
	assert_int_equal(out.len, sizeof text);
	assert_memory_equal(out.p, text, sizeof text);
	/* No more than the limit, and no overflow on the way to it. */
	assert_false(sig_input_add(&in, (struct bytes){text, SIG_INPUT_WHOLE_MAX}, &e));
	assert_int_equal(e.code, ERROR_LIMIT);
	sig_input_free(&in);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_digests),
	    cmocka_unit_test(test_keeps_what_has_no_digest),
	};

	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (uint8_t)(i * 7 + i / 251);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
