/* Shares of a PIN: whose they are, and one text for one meaning. */

#include "tests/unit/x509_util.h"

#include "daemon/x509/pin_share.h"
#include "daemon/x509/signer_start.h"
#include "daemon/x509/statement.h"

static struct pin_shares s, back;
static char text[PIN_SHARES_TEXT_MAX + 1], again[PIN_SHARES_TEXT_MAX + 1];
static EVP_PKEY *keys[3];
static uint8_t spki[3][STATEMENT_SPKI_MAX];
static size_t spki_len[3];
static uint8_t octets[3][PIN_SHARE_MAX_LEN];

static void
make(size_t length)
{
	static const char *const names[] = {"alice", "bob", "carol"};
	struct error e = ERROR_INIT;

	s = (struct pin_shares){.token = "main",
	    .split = {7},
	    .made = 1795348800,
	    .need = 2,
	    .length = length,
	    .count = 3};
	for (unsigned i = 0; i < 3; i++) {
		(void)snprintf(s.holders[i].person, sizeof s.holders[i].person, "%s", names[i]);
		signer_identity_fingerprint(spki[i], spki_len[i], s.holders[i].key_sha256);
	}
	for (unsigned i = 0; i < 3; i++) {
		memset(octets[i], (int)i + 1, sizeof octets[i]);
		assert_ok(
		    pin_share_seal(&s, i + 1, (struct bytes){spki[i], spki_len[i]}, octets[i], &e),
		    e);
	}
}

static void
each_opens_ones_own(void **state)
{
	static const uint8_t zeros[PIN_SHARE_MAX_LEN];
	uint8_t share[PIN_SHARE_MAX_LEN];
	struct error e;
	size_t len = 0;

	for (size_t length = PIN_SHARE_MIN_LEN; length <= PIN_SHARE_MAX_LEN; length += 20) {
		make(length);
		e = ERROR_INIT;
		assert_ok(pin_shares_format(&s, text, &len, &e), e);
		assert_ok(pin_shares_parse(text, len, &back, &e), e);
		assert_ok(pin_shares_format(&back, again, &len, &e), e);
		assert_string_equal(text, again);
		for (unsigned i = 0; i < 3; i++) {
			assert_int_equal(pin_shares_find(&back, s.holders[i].key_sha256), i + 1);
			e = ERROR_INIT;
			assert_ok(pin_share_open(&back, i + 1, keys[i], share, &e), e);
			assert_memory_equal(share, octets[i], length);
			assert_true(pin_share_check(&back, i + 1, (struct bytes){share, length}));
			assert_false(
			    pin_share_check(&back, (i + 1) % 3 + 1, (struct bytes){share, length}));
			assert_false(
			    pin_share_check(&back, i + 1, (struct bytes){share, length - 1}));
			assert_false(pin_share_open(&back, i + 1, keys[(i + 1) % 3], share, &e));
			assert_int_equal(e.code, ERROR_DENIED);
			assert_memory_equal(share, zeros, sizeof zeros);
		}
	}
}

static void
any_change_is_noticed(void **state)
{
	uint8_t share[PIN_SHARE_MAX_LEN];
	struct error e = ERROR_INIT;

	make(32);
#define ALTERED(change)                                                     \
	do {                                                                \
		back = s;                                                   \
		change;                                                     \
		assert_false(pin_share_open(&back, 1, keys[0], share, &e)); \
	} while (0)
	ALTERED(back.split[15] ^= 1);
	ALTERED(back.holders[0].commitment[0] ^= 1);
	ALTERED(back.holders[0].key_sha256[0] ^= 1);
	ALTERED(back.holders[0].sealed[PIN_SHARE_ENC_LEN - 1] ^= 1);
	ALTERED(back.holders[0].sealed[PIN_SHARE_ENC_LEN] ^= 1);
	ALTERED(back.holders[0].sealed[PIN_SHARE_ENC_LEN + 32 + 15] ^= 1);
	ALTERED(back.length--);
	ALTERED(back.holders[0] = s.holders[1]);
#undef ALTERED
}

static void
what_is_no_document(void **state)
{
	static const struct {
		const char *from, *to;
	} changes[] = {
	    {"shares: 1", "shares: 2"},
	    {"token: main", "token: Main"},
	    {"split: 07", "split: 7"},
	    {"12:00:00Z", "12:00:60Z"},
	    {"need: 2", "need: 1"},
	    {"need: 2", "need: 4"},
	    {"length: 32", "length: 31"},
	    {"length: 32", "length: 65"},
	    {"holder: 1 alice", "holder: 2 alice"},
	    {"holder: 2 bob", "holder: 2 alice"},
	    {"holder: 2 bob", "holder: 2 b b"},
	    {"holder: 3 carol ", "holder: 3 carol"},
	};
	static char bad[PIN_SHARES_TEXT_MAX + 64];
	struct error e = ERROR_INIT;
	size_t len = 0;

	make(32);
	assert_ok(pin_shares_format(&s, text, &len, &e), e);
	for (size_t i = 0; i < COUNT_OF(changes); i++) {
		const char *at = strstr(text, changes[i].from);
		int n;

		assert_non_null(at);
		n = snprintf(bad, sizeof bad, "%.*s%s%s", (int)(at - text), text, changes[i].to,
		    at + strlen(changes[i].from));
		e = ERROR_INIT;
		if (pin_shares_parse(bad, (size_t)n, &back, &e))
			fail_msg("taken: '%s'", changes[i].to);
		assert_true(e.code == ERROR_INPUT || e.code == ERROR_LIMIT);
	}
}

static void
not_to_ed25519(void **state)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	uint8_t der[STATEMENT_SPKI_MAX];
	struct error e = ERROR_INIT;
	size_t len = 0;

	make(32);
	assert_ok(statement_public_key(key, der, &len, &e), e);
	assert_false(pin_share_seal(&s, 1, (struct bytes){der, len}, octets[0], &e));
	assert_error(e, "only be encrypted to a P-256 key");
	EVP_PKEY_free(key);
}

static int
set_up(void **state)
{
	struct error e = ERROR_INIT;

	for (size_t i = 0; i < 3; i++) {
		keys[i] = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
		if (!statement_public_key(keys[i], spki[i], &spki_len[i], &e))
			return -1;
	}
	return 0;
}

static int
tear_down(void **state)
{
	for (size_t i = 0; i < 3; i++)
		EVP_PKEY_free(keys[i]);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_opens_ones_own),
	    cmocka_unit_test(any_change_is_noticed),
	    cmocka_unit_test(what_is_no_document),
	    cmocka_unit_test(not_to_ed25519),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
