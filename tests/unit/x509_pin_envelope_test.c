/* A PIN on its way: one text for one meaning, and who can open it. */

#include "tests/unit/x509_util.h"

#include "daemon/x509/pin_envelope.h"
#include "daemon/x509/signer_start.h"

#define NOON 1795348800LL /* 2026-11-22T12:00:00Z */

static const uint8_t nonce[16] = {1, 2, 3};
static const char secret[] = "correct horse";
static struct pin_envelope env, back;
static char text[PIN_ENVELOPE_TEXT_MAX + 1], again[PIN_ENVELOPE_TEXT_MAX + 1];

static EVP_PKEY *
new_key(const char *type, uint8_t raw[32])
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, type);
	size_t len = 32;

	assert_non_null(key);
	assert_int_equal(EVP_PKEY_get_raw_public_key(key, raw, &len), 1);
	return key;
}

static void
sample(enum statement_action action)
{
	env = (struct pin_envelope){.token = "main-1"};
	memset(env.signer, 0x11, sizeof env.signer);
	memset(env.instance, 0x22, sizeof env.instance);
	memset(env.operator_key, 0x33, sizeof env.operator_key);
	if (action == STATEMENT_PIN_UNLOCK) {
		env.unlock = true;
		env.until = NOON;
		env.idle_s = 1800;
		env.signatures = 500;
	}
	if (action == STATEMENT_PIN_OPERATE) {
		env.operation_count = 3;
		env.operations[0] = (struct pin_operation){PIN_OPERATION_ORDER, {0}, 0, {9}};
		env.operations[1] = (struct pin_operation){
		    PIN_OPERATION_CERTIFICATE, {0xab, 0xcd}, 2, {7}};
		env.operations[2] = (struct pin_operation){
		    PIN_OPERATION_CERTIFICATE, {0xab, 0xcd}, 2, {5}};
		pin_envelope_sort(&env);
	}
	if (action == STATEMENT_PIN_SPLIT) {
		env.need = 2;
		env.holder_count = 3;
		(void)snprintf(env.holders[0], sizeof env.holders[0], "Zoe@example");
		(void)snprintf(env.holders[1], sizeof env.holders[1], "alice");
		(void)snprintf(env.holders[2], sizeof env.holders[2], "Bob.2");
		pin_envelope_sort(&env);
	}
}

static void
seal(const uint8_t key[32], const char *pin, size_t len)
{
	struct error e = ERROR_INIT;

	assert_ok(
	    pin_envelope_seal(&env, nonce, key, (struct bytes){(const uint8_t *)pin, len}, &e), e);
}

static size_t
format(void)
{
	struct error e = ERROR_INIT;
	size_t len = 0;

	assert_ok(pin_envelope_format(&env, text, &len, &e), e);
	assert_int_equal(strlen(text), len);
	return len;
}

static void
reads_what_it_writes(void **state)
{
	static const enum statement_action actions[] = {STATEMENT_PIN_UNLOCK, STATEMENT_PIN_OPERATE,
	    STATEMENT_PIN_SPLIT, STATEMENT_PIN_LOCK, STATEMENT_PIN_CLEAR};
	struct error e = ERROR_INIT, other;
	uint8_t public[32];
	EVP_PKEY *key = new_key("X25519", public);
	size_t len, again_len = 0;

	for (size_t i = 0; i < COUNT_OF(actions); i++) {
		sample(actions[i]);
		if (i < 3)
			seal(public, secret, strlen(secret));
		len = format();
		assert_ok(pin_envelope_parse(text, len, &back, &e), e);
		assert_ok(pin_envelope_format(&back, again, &again_len, &e), e);
		assert_string_equal(text, again);
		for (size_t a = 0; a < STATEMENT_ACTION_COUNT; a++) {
			bool same = a == actions[i] || (i >= 3 && (a == STATEMENT_PIN_LOCK ||
								      a == STATEMENT_PIN_CLEAR));

			other = ERROR_INIT;
			assert_int_equal(
			    pin_envelope_check_action(&back, (enum statement_action)a, &other),
			    same);
		}
	}
	EVP_PKEY_free(key);
}

static void
splits_among_several(void **state)
{
	static const char *const wrong[] = {"split-among: 1 Bob.2 Zoe@example alice\n",
	    "split-among: 4 Bob.2 Zoe@example alice\n", "split-among: 2 Bob.2 alice Zoe@example\n",
	    "split-among: 2 Bob.2 Bob.2 alice\n", "split-among: 02 Bob.2 Zoe@example alice\n",
	    "split-among: 2 Bob.2  alice\n", "split-among: 2\n", "split-among: 0\n",
	    "split-among: 2 Bob.2 -x alice\n"};
	static const char line[] = "split-among: 2 Bob.2 Zoe@example alice\n";
	char spoilt[1024], *at;
	struct error e;

	sample(STATEMENT_PIN_SPLIT);
	(void)format();
	at = strstr(text, line);
	assert_non_null(at);
	for (size_t i = 0; i < COUNT_OF(wrong); i++) {
		int n = snprintf(spoilt, sizeof spoilt, "%.*s%s%s", (int)(at - text), text,
		    wrong[i], at + strlen(line));

		e = ERROR_INIT;
		if (pin_envelope_parse(spoilt, (size_t)n, &back, &e))
			fail_msg("taken: %s", wrong[i]);
	}
}

static void
says_what_it_means(void **state)
{
	static const char expected[] =
	    "chancery-pin-envelope: 1\n"
	    "token: main-1\n"
	    "signer: 1111111111111111111111111111111111111111111111111111111111111111\n"
	    "instance: 22222222222222222222222222222222\n"
	    "operator: 3333333333333333333333333333333333333333333333333333333333333333\n"
	    "until: -\nidle: -\nsignatures: -\n"
	    "operation: certificate abcd "
	    "0500000000000000000000000000000000000000000000000000000000000000\n"
	    "operation: certificate abcd "
	    "0700000000000000000000000000000000000000000000000000000000000000\n"
	    "operation: order - "
	    "0900000000000000000000000000000000000000000000000000000000000000\n"
	    "enc: -\nbox: -\n";

	sample(STATEMENT_PIN_OPERATE);
	(void)format();
	assert_string_equal(text, expected);
	sample(STATEMENT_PIN_UNLOCK);
	(void)format();
	assert_non_null(strstr(
	    text, "until: 2026-11-22T12:00:00Z\nidle: 1800\nsignatures: 500\nenc: -\nbox: -\n"));
}

/* Everything that is not what would be written. */
static void
nothing_else_means_the_same(void **state)
{
	static const struct {
		const char *from, *to;
	} changes[] = {
	    {"envelope: 1", "envelope: 2"},
	    {"token: main-1", "token: Main"},
	    {"token: main-1", "token: -"},
	    {"signer: 11", "signer: 1"},
	    {"instance: 22", "instance: 2A"},
	    {"operator: 33", "operator: -3"},
	    {"until: -", "until: 2026-11-22T12:00:00Z"},
	    {"idle: -", "idle: 0"},
	    {"idle: -", "idle: 5"},
	    {"signatures: -", "signatures: 01"},
	    {"certificate abcd 05", "certificate abcd 08"},
	    {"certificate abcd 05", "certificate abcd 07"},
	    {"certificate abcd", "certificate -"},
	    {"certificate abcd", "certificate ABCD"},
	    {"certificate abcd", "certificate abc"},
	    {"certificate abcd", "order abcd"},
	    {"certificate abcd", "certificate  abcd"},
	    {"order -", "order"},
	    {"signatures: -\n", "signatures: -\nshare: 0 00000000000000000000000000000000\n"},
	    {"signatures: -\n", "signatures: -\nshare: 33 00000000000000000000000000000000\n"},
	    {"signatures: -\n", "signatures: -\nshare: 1 0000\n"},
	    {"signatures: -\n", "signatures: -\nshare: 1\n"},
	    {"order -", "signature -"},
	    {"enc: -", "enc: AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="},
	    {"box: -", "box: AAAA"},
	    {"box: -\n", "box: -"},
	    {"box: -\n", "box: -\n\n"},
	    {"until: -\nidle: -\n", "idle: -\nuntil: -\n"},
	};
	static char bad[PIN_ENVELOPE_TEXT_MAX + 200];
	struct error e;

	sample(STATEMENT_PIN_OPERATE);
	(void)format();
	for (size_t i = 0; i < COUNT_OF(changes); i++) {
		const char *at = strstr(text, changes[i].from);
		int len;

		assert_non_null(at);
		len = snprintf(bad, sizeof bad, "%.*s%s%s", (int)(at - text), text, changes[i].to,
		    at + strlen(changes[i].from));
		e = ERROR_INIT;
		if (pin_envelope_parse(bad, (size_t)len, &back, &e))
			fail_msg("taken: '%s'", changes[i].to);
		assert_int_equal(e.code, ERROR_INPUT);
	}
}

static void
has_its_limits(void **state)
{
	static char big[PIN_ENVELOPE_TEXT_MAX + 2];
	uint8_t public[32];
	EVP_PKEY *key = new_key("X25519", public);
	struct error e = ERROR_INIT;
	size_t len = 0;

	sample(STATEMENT_PIN_UNLOCK);
	assert_false(
	    pin_envelope_seal(&env, nonce, public, (struct bytes){(const uint8_t *)big, 257}, &e));
	assert_int_equal(e.code, ERROR_LIMIT);
	assert_false(env.sealed);
	memset(big, 'x', sizeof big);
	e = ERROR_INIT;
	assert_false(pin_envelope_parse(big, sizeof big, &back, &e));
	assert_int_equal(e.code, ERROR_LIMIT);

	/* 256 operations with the longest ids there are fit, and one more does not. */
	sample(STATEMENT_PIN_CLEAR);
	for (size_t i = 0; i < PIN_ENVELOPE_OPERATIONS_MAX; i++)
		env.operations[i] = (struct pin_operation){
		    PIN_OPERATION_CERTIFICATE, {(uint8_t)i}, PIN_ENVELOPE_ID_MAX, {0}};
	env.operation_count = PIN_ENVELOPE_OPERATIONS_MAX;
	seal(public, secret, strlen(secret));
	len = format();
	e = ERROR_INIT;
	assert_ok(pin_envelope_parse(text, len, &back, &e), e);
	assert_int_equal(back.operation_count, PIN_ENVELOPE_OPERATIONS_MAX);
	env.operation_count++;
	assert_false(pin_envelope_format(&env, text, &len, &e));
	assert_int_equal(e.code, ERROR_LIMIT);
	EVP_PKEY_free(key);
}

static void
opens(EVP_PKEY *key, const char *pin, size_t len)
{
	uint8_t out[PIN_ENVELOPE_PIN_MAX];
	struct error e = ERROR_INIT;
	size_t out_len = 0;

	assert_ok(pin_envelope_open(&env, nonce, key, out, &out_len, &e), e);
	assert_int_equal(out_len, len);
	assert_memory_equal(out, pin, len);
}

static void
pins_of_every_length(void **state)
{
	char pin[PIN_ENVELOPE_PIN_MAX];
	uint8_t public[32];
	EVP_PKEY *key = new_key("X25519", public);
	size_t len = 0;

	memset(pin, '7', sizeof pin);
	for (size_t n = 0; n <= sizeof pin; n += 64) {
		sample(STATEMENT_PIN_UNLOCK);
		seal(public, pin, n);
		opens(key, pin, n);
		assert_true(len == 0 || len == format());
		len = format();
	}
	EVP_PKEY_free(key);
}

static void
does_not_open(const struct pin_envelope *it, const uint8_t with[16], EVP_PKEY *key)
{
	static const uint8_t zeros[PIN_ENVELOPE_PIN_MAX];
	uint8_t out[PIN_ENVELOPE_PIN_MAX];
	struct error e = ERROR_INIT;
	size_t out_len = 1;

	memset(out, 1, sizeof out);
	assert_false(pin_envelope_open(it, with, key, out, &out_len, &e));
	assert_int_equal(e.code, ERROR_DENIED);
	assert_int_equal(out_len, 0);
	assert_memory_equal(out, zeros, sizeof zeros);
}

/* Each field is authenticated, and so is the nonce of the statement. */
static void
opens_only_as_it_was_sealed(void **state)
{
	static const uint8_t other_nonce[16] = {1, 2, 4};
	uint8_t public[32], ignored[32];
	EVP_PKEY *key = new_key("X25519", public), *other = new_key("X25519", ignored),
		 *wrong = new_key("ED25519", ignored);

	sample(STATEMENT_PIN_OPERATE);
	seal(public, secret, strlen(secret));
	opens(key, secret, strlen(secret));
	does_not_open(&env, other_nonce, key);
	does_not_open(&env, nonce, other);
	does_not_open(&env, nonce, wrong);
#define ALTERED(change)                           \
	do {                                      \
		back = env;                       \
		change;                           \
		does_not_open(&back, nonce, key); \
	} while (0)
	ALTERED(back.token[0] = 'n');
	ALTERED(back.signer[31] ^= 1);
	ALTERED(back.instance[15] ^= 1);
	ALTERED(back.operator_key[0] ^= 1);
	ALTERED(back.operations[2].sha256[31] ^= 1);
	ALTERED(back.operations[2].kind = PIN_OPERATION_CRL);
	ALTERED(back.operations[0].cka_id[1] ^= 1);
	ALTERED(back.operation_count--);
	ALTERED(back.enc[0] ^= 1);
	ALTERED(memset(back.enc, 0, sizeof back.enc));
	ALTERED(back.box[0] ^= 1);
	ALTERED(back.box[PIN_ENVELOPE_BOX_LEN - 1] ^= 1);
	ALTERED(back.sealed = false);
	sample(STATEMENT_PIN_UNLOCK);
	seal(public, secret, strlen(secret));
	ALTERED(back.until++);
	ALTERED(back.share = 1);
	ALTERED(back.idle_s = 0);
	ALTERED(back.signatures++);
#undef ALTERED
	EVP_PKEY_free(key);
	EVP_PKEY_free(other);
	EVP_PKEY_free(wrong);
}

/* ---- announcements */

static const char announcement[] =
    "chancery-signer-start: 1\n"
    "token: main\n"
    "token-serial: 8c2b 6f\n"
    "signer-id: 1\n"
    "access: operation\n"
    "instance: 000102030405060708090a0b0c0d0e0f\n"
    "key: MCowBQYDK2VuAyEAAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=\n"
    "started: 2026-11-22T12:00:00Z\n";

static void
announces(void **state)
{
	char out[SIGNER_START_TEXT_MAX + 1];
	struct error e = ERROR_INIT;
	struct signer_start s;
	size_t len = 0;

	assert_ok(signer_start_parse(announcement, strlen(announcement), &s, &e), e);
	assert_string_equal(s.token, "main");
	assert_string_equal(s.token_serial, "8c2b 6f");
	assert_int_equal(s.signer_id, 1);
	assert_int_equal(s.access, SIGNER_ACCESS_OPERATION);
	assert_int_equal(s.instance[15], 15);
	assert_int_equal(s.key[31], 1);
	assert_int_equal(s.started, NOON);
	assert_ok(signer_start_format(&s, out, &len, &e), e);
	assert_string_equal(out, announcement);
	s.token_serial[0] = '\0';
	assert_ok(signer_start_format(&s, out, &len, &e), e);
	assert_non_null(strstr(out, "token-serial: -\n"));
	s.access = SIGNER_ACCESS_AUTO;
	assert_false(signer_start_format(&s, out, &len, &e));
}

static void
announces_in_one_way(void **state)
{
	static const struct {
		const char *from, *to;
	} changes[] = {
	    {"start: 1", "start: 2"},
	    {"token: main", "token: -"},
	    {"serial: 8c2b 6f", "serial:  8c2b 6f"},
	    {"serial: 8c2b 6f", "serial: 8c2b\t6f"},
	    {"id: 1", "id: 01"},
	    {"id: 1", "id: 65536"},
	    {"access: operation", "access: auto"},
	    {"access: operation", "access: PIN"},
	    {"instance: 00", "instance: 0"},
	    {"MCowBQYDK2Vu", "MCowBQYDK2Vw"},
	    {"AQE=\n", "AQF=\n"},
	    {"AQE=\n", "AQE\n"},
	    {"12:00:00", "24:00:00"},
	    {"00Z\n", "00Z\nmore: 1\n"},
	};
	char bad[SIGNER_START_TEXT_MAX];
	struct signer_start s;

	for (size_t i = 0; i < COUNT_OF(changes); i++) {
		const char *at = strstr(announcement, changes[i].from);
		struct error e = ERROR_INIT;
		int len;

		assert_non_null(at);
		len = snprintf(bad, sizeof bad, "%.*s%s%s", (int)(at - announcement), announcement,
		    changes[i].to, at + strlen(changes[i].from));
		if (signer_start_parse(bad, (size_t)len, &s, &e))
			fail_msg("taken: '%s'", changes[i].to);
		assert_int_equal(e.code, ERROR_INPUT);
	}
}

static void
announcement_is_signed(void **state)
{
	uint8_t sig[SIGNER_START_SIGNATURE_LEN], public[32], other_public[32];
	EVP_PKEY *identity = new_key("ED25519", public), *other = new_key("ED25519", other_public);
	uint8_t spki[STATEMENT_SPKI_MAX], other_spki[STATEMENT_SPKI_MAX];
	struct error e = ERROR_INIT;
	size_t len = 0;

	assert_ok(statement_public_key(identity, spki, &len, &e), e);
	assert_int_equal(len, SIGNER_IDENTITY_SPKI_LEN);
	assert_ok(statement_public_key(other, other_spki, &len, &e), e);
	len = strlen(announcement);
	assert_ok(signer_start_sign(announcement, len, identity, sig, &e), e);
	assert_ok(signer_start_verify(
		      announcement, len, sig, sizeof sig, spki, SIGNER_IDENTITY_SPKI_LEN, &e),
	    e);
	assert_false(signer_start_verify(
	    announcement, len, sig, sizeof sig, other_spki, SIGNER_IDENTITY_SPKI_LEN, &e));
	assert_int_equal(e.code, ERROR_DENIED);
	assert_false(signer_start_verify(
	    announcement, len - 1, sig, sizeof sig, spki, SIGNER_IDENTITY_SPKI_LEN, &e));
	/* A statement's signature is of another domain. */
	assert_false(statement_verify(
	    announcement, len, sig, sizeof sig, spki, SIGNER_IDENTITY_SPKI_LEN, &e));
	sig[0] ^= 1;
	assert_false(signer_start_verify(
	    announcement, len, sig, sizeof sig, spki, SIGNER_IDENTITY_SPKI_LEN, &e));
	assert_false(signer_start_verify(
	    announcement, len, sig, sizeof sig, spki, SIGNER_IDENTITY_SPKI_LEN - 1, &e));
	EVP_PKEY_free(identity);
	EVP_PKEY_free(other);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_what_it_writes),
	    cmocka_unit_test(splits_among_several),
	    cmocka_unit_test(says_what_it_means),
	    cmocka_unit_test(nothing_else_means_the_same),
	    cmocka_unit_test(has_its_limits),
	    cmocka_unit_test(pins_of_every_length),
	    cmocka_unit_test(opens_only_as_it_was_sealed),
	    cmocka_unit_test(announces),
	    cmocka_unit_test(announces_in_one_way),
	    cmocka_unit_test(announcement_is_signed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
