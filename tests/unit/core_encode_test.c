#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "daemon/core/encode.h"

static void
hex(void **state)
{
	static const uint8_t octets[] = {0x00, 0x7f, 0x80, 0xab, 0xff};
	char text[2 * sizeof octets + 1];
	uint8_t back[sizeof octets];

	hex_encode(octets, sizeof octets, text);
	assert_string_equal(text, "007f80abff");
	assert_true(hex_decode("007F80aBfF", sizeof back, back));
	assert_memory_equal(back, octets, sizeof octets);
	/* Too short, and every character that is no digit. */
	assert_false(hex_decode("007f80abf", sizeof back, back));
	for (int c = 0; c < 256; c++) {
		char pair[3] = {'0', (char)c, '\0'};

		assert_int_equal(
		    hex_decode(pair, 1, back), strchr("0123456789abcdefABCDEF", c) && c);
	}
}

static bool
decode(const char *text, bool white_space, uint8_t *out, size_t size, size_t *len)
{
	struct error e = ERROR_INIT;

	return base64_decode(
	    (struct bytes){(const uint8_t *)text, strlen(text)}, white_space, out, size, len, &e);
}

/* What OpenSSL encodes comes back, into a buffer that is just large enough. */
static void
base64_round_trip(void **state)
{
	for (size_t n = 1; n < 100; n++) {
		uint8_t octets[100], back[100];
		char text[200];
		size_t len;

		assert_int_equal(RAND_bytes(octets, (int)n), 1);
		EVP_EncodeBlock((unsigned char *)text, octets, (int)n);
		assert_true(decode(text, false, back, n, &len));
		assert_int_equal(len, n);
		assert_memory_equal(back, octets, n);
		assert_false(decode(text, false, back, n - 1, &len));
	}
}

static void
base64_refusals(void **state)
{
	static const char *const bad[] = {"A", "AA", "AAA", "AA=", "A===", "AAAA=", "AA==A",
	    "AA==AA==", "AB==", "AAB=", "AAA*", "=AAA", "AA-_"};
	uint8_t out[32];
	size_t len;

	for (size_t i = 0; i < COUNT_OF(bad); i++)
		assert_false(decode(bad[i], true, out, sizeof out, &len));
	assert_true(decode(" AA\r\n==\t", true, out, sizeof out, &len));
	assert_int_equal(len, 1);
	assert_false(decode("AA ==", false, out, sizeof out, &len));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(hex),
	    cmocka_unit_test(base64_round_trip),
	    cmocka_unit_test(base64_refusals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
