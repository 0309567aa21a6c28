#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/evp.h>
#include <openssl/x509.h>

#include "daemon/x509/crl_abstract.h"

#define NOON 1795348800
#define HASH_1 "1111111111111111111111111111111111111111111111111111111111111111"
#define HASH_2 "2222222222222222222222222222222222222222222222222222222222222222"

static const char text[] = "chancery-crl-abstract: 1\n"
			   "token: main-1\n"
			   "signer: " HASH_1 "\n"
			   "key: abcd\n"
			   "sha256: " HASH_2 "\n"
			   "length: 41234567\n"
			   "number: 78\n"
			   "base: 76\n"
			   "scope: " HASH_1 "\n"
			   "this-update: 2026-11-22T12:00:00Z\n"
			   "next-update: 2026-11-29T12:00:00Z\n"
			   "entries: 1000\n"
			   "reason: unspecified 988\n"
			   "reason: keyCompromise 12\n"
			   "last: 2026-11-21T12:00:00Z\n"
			   "new: 31\n";

static struct crl_abstract a;
static char out[CRL_ABSTRACT_TEXT_MAX + 1];

static bool
parses(const char *s, size_t len)
{
	struct error e = ERROR_INIT;

	return crl_abstract_parse(s, len, &a, &e);
}

static void
says_what_it_means(void **state)
{
	struct error e = ERROR_INIT;
	size_t len = 0;

	assert_true(parses(text, strlen(text)));
	assert_string_equal(a.token, "main-1");
	assert_int_equal(a.key_len, 2);
	assert_int_equal(a.key[1], 0xcd);
	assert_int_equal(a.length, 41234567);
	assert_int_equal(a.number[a.number_len - 1], 78);
	assert_int_equal(a.base[a.base_len - 1], 76);
	assert_true(a.has_scope);
	assert_int_equal(a.this_update, NOON);
	assert_int_equal(a.entries, 1000);
	assert_int_equal(a.reasons[1], 12);
	assert_true(a.has_last);
	assert_int_equal(a.last, NOON - 86400);
	assert_int_equal(a.fresh, 31);
	assert_true(crl_abstract_format(&a, out, &len, &e));
	assert_string_equal(out, text);
	/* With nothing that may be missing. */
	a.base_len = 0;
	a.has_scope = a.has_last = false;
	a.fresh = a.entries = 0;
	memset(a.reasons, 0, sizeof a.reasons);
	assert_true(crl_abstract_format(&a, out, &len, &e));
	assert_non_null(strstr(out, "base: -\nscope: -\n"));
	assert_non_null(strstr(out, "entries: 0\nlast: -\nnew: -\n"));
	assert_true(parses(out, len));
}

/* One line is another one. */
static void
refused(const char *line, const char *instead)
{
	const char *at = strstr(text, line);
	char spoilt[2048];
	int n;

	assert_non_null(at);
	n = snprintf(
	    spoilt, sizeof spoilt, "%.*s%s%s", (int)(at - text), text, instead, at + strlen(line));
	if (parses(spoilt, (size_t)n))
		fail_msg("taken: %s", instead);
}

static void
takes_nothing_else(void **state)
{
	for (size_t n = 0; n < strlen(text); n++)
		assert_false(parses(text, n));
	refused("abstract: 1", "abstract: 2");
	refused("token: main-1", "token: Main");
	refused("key: abcd", "key: abc");
	refused("key: abcd", "key: ABCD");
	refused("length: 41234567", "length: 041234567");
	refused("number: 78", "number: -");
	refused("number: 78", "number: 078");
	refused("entries: 1000", "entries: 1001");
	refused("entries: 1000", "entries: 999");
	refused("keyCompromise 12", "keyCompromise 13");
	refused("keyCompromise 12", "other 12");
	refused("reason: keyCompromise 12\n", "reason: keyCompromise 12\nreason: superseded 0\n");
	refused("reason: unspecified 988\nreason: keyCompromise 12\n",
	    "reason: keyCompromise 12\nreason: unspecified 988\n");
	refused("new: 31", "new: -");
	refused("new: 31", "new: 1001");
	refused("last: 2026-11-21T12:00:00Z", "last: -");
	refused("new: 31\n", "new: 31\nmore: x\n");
}

static void
is_signed_with_the_identity(void **state)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	uint8_t sig[SIGNER_START_SIGNATURE_LEN], spki[SIGNER_IDENTITY_SPKI_LEN], *p = spki;
	struct error e = ERROR_INIT, why = ERROR_INIT;
	size_t len = strlen(text);

	assert_non_null(key);
	assert_int_equal(i2d_PUBKEY(key, &p), sizeof spki);
	assert_true(crl_abstract_sign(text, len, key, sig, &e));
	assert_true(crl_abstract_verify(text, len, sig, sizeof sig, spki, sizeof spki, &e));
	/* It is no announcement of a start. */
	assert_false(signer_start_verify(text, len, sig, sizeof sig, spki, sizeof spki, &why));
	assert_int_equal(why.code, ERROR_DENIED);
	why = ERROR_INIT;
	sig[3] ^= 1;
	assert_false(crl_abstract_verify(text, len, sig, sizeof sig, spki, sizeof spki, &why));
	assert_int_equal(why.code, ERROR_DENIED);
	EVP_PKEY_free(key);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(says_what_it_means),
	    cmocka_unit_test(takes_nothing_else),
	    cmocka_unit_test(is_signed_with_the_identity),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
