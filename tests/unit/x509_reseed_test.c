/*
 * Reseed documents: one text for one meaning, and nothing else.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/x509/reseed.h"

static const char golden[] =
    "chancery-reseed: 1\n"
    "token: main\n"
    "signer: 7\n"
    "challenge: 000102030405060708090a0b0c0d0e0f\n"
    "floor: 2026-11-22T12:00:00Z\n"
    "key: 0a0b demo-root\n"
    "key: 0a0b0c demo-issuing\n"
    "crl: - number=17 base=16 this-update=2026-11-22T11:00:00Z\n"
    "crl: 1111111111111111111111111111111111111111111111111111111111111111 number=0 base=- "
    "this-update=2026-11-22T11:00:01Z\n"
    "key: 0b third\n"
    "crl: - number=65536 base=65535 this-update=2026-11-21T11:00:00Z\n";

static struct reseed r;
static char text[RESEED_TEXT_MAX + 1];

static void
accepts(const char *s)
{
	struct error e = ERROR_INIT;
	size_t len;

	if (!reseed_parse(s, strlen(s), &r, &e) || !reseed_format(&r, text, &len, &e))
		fail_msg("%s", e.text);
	assert_int_equal(len, strlen(s));
	assert_string_equal(text, s);
}

static void
refuses(const char *s, size_t len, enum error_code code)
{
	struct error e = ERROR_INIT;

	assert_false(reseed_parse(s, len, &r, &e));
	assert_int_equal(e.code, code);
}

static void
reads_what_it_writes(void **state)
{
	accepts(golden);
	assert_string_equal(r.token, "main");
	assert_int_equal(r.signer_id, 7);
	assert_int_equal(r.challenge[15], 15);
	assert_int_equal(r.floor, 1795348800);
	assert_int_equal(r.key_count, 3);
	assert_int_equal(r.scope_count, 3);
	assert_string_equal(r.keys[1].ca, "demo-issuing");
	assert_int_equal(r.keys[0].scope_count, 0);
	assert_int_equal(r.keys[1].scope_count, 2);
	assert_int_equal(r.scopes[r.keys[2].first_scope].number_len, 3);
	assert_int_equal(r.scopes[1].scope[31], 0x11);
	assert_int_equal(r.scopes[1].base_len, 0);
	assert_int_equal(r.scopes[1].number_len, 1);
}

static void
nothing_else_means_the_same(void **state)
{
	static const struct {
		const char *from, *to;
	} changes[] = {
	    {"chancery-reseed: 1", "chancery-reseed: 2"},
	    {"chancery-reseed: 1", "chancery-limits: 1"},
	    {"token: main\n", "token: -\n"},
	    {"token: main\n", "token: main \n"},
	    {"token: main\n", ""},
	    {"token: main\nsigner: 7\n", "signer: 7\ntoken: main\n"},
	    {"signer: 7", "signer: 0"},
	    {"signer: 7", "signer: 07"},
	    {"signer: 7", "signer: 65536"},
	    {"0a0b0c0d0e0f\n", "0a0b0c0d0e0F\n"},
	    {"0a0b0c0d0e0f\n", "0a0b0c0d0e\n"},
	    {"000102030405060708090a0b0c0d0e0f", "00000000000000000000000000000000"},
	    {"floor: 2026-11-22T12:00:00Z", "floor: 2026-11-22T12:00:00"},
	    {"floor: 2026-11-22T12:00:00Z", "floor: 2026-11-31T12:00:00Z"},
	    {"key: 0a0b demo-root\n", "key: 0a0b demo-root\nkey: 0a0b demo-root\n"},
	    {"key: 0a0b demo-root\n", "key: 0c demo-root\n"},
	    {"key: 0a0b demo-root\n", "key: 0a0b\n"},
	    {"key: 0a0b demo-root\n", "key: 0a0 demo-root\n"},
	    {"key: 0a0b demo-root\n", "key:  demo-root\n"},
	    {"key: 0a0b demo-root\n", "key: 0a0b demo root\n"},
	    {"key: 0a0b demo-root\n", "crl: - number=1 base=- this-update=2026-11-22T11:00:00Z\n"},
	    {"number=17", "number=017"},
	    {"number=17", "number=-"},
	    {"number=17", "number=-17"},
	    {"number=17 base=16", "base=16 number=17"},
	    {"number=17 base=16", "number=17"},
	    {"base=16", "base="},
	    {"crl: - ", "crl:  "},
	    {"crl: - ", "crl: 0000000000000000000000000000000000000000000000000000000000000000 "},
	    {"crl: 1111", "crl: 11"},
	    {"11:00:00Z\n", "11:00:00Z x\n"},
	    {"11:00:00Z\n", "11:00:00Z\r\n"},
	};
	char changed[sizeof golden + 256];

	for (size_t i = 0; i < COUNT_OF(changes); i++) {
		const char *at = strstr(golden, changes[i].from);

		assert_non_null(at);
		(void)snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - golden), golden,
		    changes[i].to, at + strlen(changes[i].from));
		if (reseed_parse(changed, strlen(changed), &r, NULL))
			fail_msg("taken with '%s'", changes[i].to);
	}
	for (size_t len = 0; len < strlen(golden); len++) {
		/* Whole keys, and whole scopes of the last one, may be left out. */
		bool line = len > 0 && golden[len - 1] == '\n' &&
			    strstr(golden, "key: 0a0b demo-root\n") + 20 <= golden + len;

		assert_int_equal(reseed_parse(golden, len, &r, NULL), line);
	}
	memcpy(changed, golden, sizeof golden);
	refuses(changed, sizeof golden, ERROR_INPUT); /* with its NUL */
	changed[strlen(golden)] = '\n';
	refuses(changed, sizeof golden, ERROR_INPUT);
}

static void
a_document_has_its_limits(void **state)
{
	static char big[RESEED_TEXT_MAX + 2];
	struct error e = ERROR_INIT;
	size_t len;

	memset(big, 'x', sizeof big);
	refuses(big, sizeof big, ERROR_LIMIT);
	accepts(golden);
	for (unsigned int n = 0; n < RESEED_KEYS_MAX; n++)
		r.keys[n] = (struct reseed_key){.id = {(uint8_t)n}, .id_len = 1, .ca = "x"};
	r.key_count = RESEED_KEYS_MAX;
	for (unsigned int n = 0; n < RESEED_SCOPES_MAX; n++)
		r.scopes[n] = (struct reseed_scope){.scope = {(uint8_t)(n >> 8), (uint8_t)n, 1},
		    .number = {1},
		    .number_len = 1,
		    .this_update = 1795348800};
	r.scope_count = RESEED_SCOPES_MAX;
	r.keys[0].scope_count = RESEED_SCOPES_MAX;
	for (unsigned int n = 1; n < RESEED_KEYS_MAX; n++)
		r.keys[n].first_scope = RESEED_SCOPES_MAX;
	if (!reseed_format(&r, text, &len, &e))
		fail_msg("%s", e.text);
	memcpy(big, text, len + 1);
	accepts(big);
	/* One more of either. */
	(void)snprintf(big + len, sizeof big - len, "key: ff x\n");
	refuses(big, len + 10, ERROR_LIMIT);
	r.keys[0].scope_count--;
	assert_false(reseed_format(&r, text, &len, &e));
	r.keys[0].scope_count++;
	r.keys[1].scope_count = 1;
	assert_false(reseed_format(&r, text, &len, NULL));
	r.keys[1].scope_count = 0;
	memcpy(r.scopes[9].scope, r.scopes[8].scope, 32);
	assert_false(reseed_format(&r, text, &len, NULL));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(reads_what_it_writes),
	    cmocka_unit_test(nothing_else_means_the_same),
	    cmocka_unit_test(a_document_has_its_limits),
	};

	return cmocka_run_group_tests_name("x509_reseed", tests, NULL, NULL);
}
