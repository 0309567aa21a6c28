/* Operators' statements: one text for one meaning, and whose signature it is. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "daemon/x509/statement.h"

#define UUID "2f1c0f5e-6d0e-4b59-8a53-1f2f5f0a6a11"
#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define NOON 1795348800LL /* 2026-11-22T12:00:00Z */

static const char approve[] = "chancery-statement: 1\n"
			      "action: approve\n"
			      "ca: demo-issuing\n"
			      "object: " UUID "\n"
			      "csr-sha256: " HASH "\n"
			      "template: tls-server/3\n"
			      "reason: gepr\xc3\xbc"
			      "ft: ok\n"
			      "body-sha256: -\n"
			      "nonce: 000102030405060708090a0b0c0d0e0f\n"
			      "issued: 2026-11-22T12:00:00Z\n"
			      "expires: 2026-11-22T12:10:00Z\n";

static struct statement
sample(enum statement_action action)
{
	struct statement s = {.action = action, .issued = NOON, .expires = NOON + 600};

	for (size_t i = 0; i < sizeof s.nonce; i++)
		s.nonce[i] = (uint8_t)i;
	(void)snprintf(s.ca, sizeof s.ca, "%s", "demo-issuing");
	switch (action) {
	case STATEMENT_APPROVE:
		s.has_csr = true;
		(void)snprintf(s.template_name, sizeof s.template_name, "%s", "tls-server");
		s.template_version = 3;
		(void)snprintf(s.object, sizeof s.object, "%s", UUID);
		break;
	case STATEMENT_DENY:
		(void)snprintf(s.object, sizeof s.object, "%s", UUID);
		(void)snprintf(s.reason, sizeof s.reason, "%s", "not our domain");
		break;
	case STATEMENT_REVOKE:
	case STATEMENT_HOLD:
	case STATEMENT_RELEASE:
		(void)snprintf(s.object, sizeof s.object, "%s", HASH);
		if (action == STATEMENT_REVOKE)
			(void)snprintf(s.reason, sizeof s.reason, "%s", "keyCompromise");
		if (action == STATEMENT_HOLD)
			(void)snprintf(s.reason, sizeof s.reason, "%s", "certificateHold");
		break;
	case STATEMENT_CA_CREATE:
	case STATEMENT_CA_INSTALL:
	case STATEMENT_CA_LIMITS:
	case STATEMENT_CA_RENEW:
	case STATEMENT_CA_ROLLOVER:
	case STATEMENT_CA_CROSS:
	case STATEMENT_KEY_DESTROY:
		(void)snprintf(s.object, sizeof s.object, "%s", s.ca);
		s.has_body = true;
		break;
	case STATEMENT_CA_REKEY:
		(void)snprintf(s.object, sizeof s.object, "%s", HASH);
		s.has_body = true;
		break;
	case STATEMENT_KEY_ATTEST:
		(void)snprintf(s.object, sizeof s.object, "%s", s.ca);
		break;
	case STATEMENT_CRL_ISSUE:
		(void)snprintf(s.object, sizeof s.object, "%s", "delta");
		break;
	case STATEMENT_TEMPLATE_APPLY:
		s.ca[0] = '\0';
		(void)snprintf(s.object, sizeof s.object, "%s", "tls-server");
		s.has_body = true;
		break;
	case STATEMENT_OPERATOR_ADD:
		s.ca[0] = '\0';
		(void)snprintf(s.object, sizeof s.object, "%s", "Jo.Doe@example");
		s.has_body = true;
		break;
	case STATEMENT_SIGNER_RESEED:
	case STATEMENT_PIN_UNLOCK:
	case STATEMENT_PIN_OPERATE:
	case STATEMENT_PIN_LOCK:
	case STATEMENT_PIN_CLEAR:
	case STATEMENT_PIN_SPLIT:
		s.ca[0] = '\0';
		(void)snprintf(s.object, sizeof s.object, "%s", "main-1");
		s.has_body = true;
		break;
	}
	return s;
}

static void
test_reads_the_text(void **state)
{
	struct statement s;
	struct error err = ERROR_INIT;

	assert_true(statement_parse(approve, strlen(approve), &s, &err));
	assert_int_equal(s.action, STATEMENT_APPROVE);
	assert_string_equal(s.ca, "demo-issuing");
	assert_string_equal(s.object, UUID);
	assert_true(s.has_csr);
	assert_int_equal(s.csr_sha256[1], 0x11);
	assert_int_equal(s.csr_sha256[31], 0xff);
	assert_string_equal(s.template_name, "tls-server");
	assert_int_equal(s.template_version, 3);
	assert_string_equal(s.reason, "gepr\xc3\xbc"
				      "ft: ok");
	assert_false(s.has_body);
	assert_int_equal(s.nonce[15], 15);
	assert_int_equal(s.issued, NOON);
	assert_int_equal(s.expires, NOON + 600);
}

static void
test_round_trips(void **state)
{
	for (int a = 0; a < STATEMENT_ACTION_COUNT; a++) {
		struct statement s = sample((enum statement_action)a), back;
		char text[STATEMENT_TEXT_MAX + 1], again[STATEMENT_TEXT_MAX + 1];
		enum statement_action action;
		struct error err = ERROR_INIT;
		size_t len = 0, again_len = 0;

		assert_true(statement_format(&s, text, &len, &err));
		assert_int_equal(strlen(text), len);
		assert_true(statement_parse(text, len, &back, &err));
		assert_true(statement_format(&back, again, &again_len, &err));
		assert_string_equal(text, again);
		assert_int_equal(back.action, a);
		assert_true(statement_action_parse(
		    statement_action_name((enum statement_action)a), &action));
		assert_int_equal(action, a);
	}
}

/* Replaces the first occurrence of from in the good text. */
static size_t
altered(const char *from, const char *to, char out[4096])
{
	const char *at = strstr(approve, from);

	assert_non_null(at);
	return (size_t)snprintf(
	    out, 4096, "%.*s%s%s", (int)(at - approve), approve, to, at + strlen(from));
}

static const struct {
	const char *from, *to;
	const char *error;
} hostile[] = {
    {"statement: 1", "statement: 2", "version '2'"},
    {"statement: 1", "statement: 01", "version '01'"},
    {"chancery-statement: 1\n", "", "line 1: must read 'chancery-statement: '"},
    {"chancery", " chancery", "line 1"},
    {"chancery",
	"\xef\xbb\xbf"
	"chancery",
	"line 1"},
    {"action: approve", "Action: approve", "line 2: must read 'action: '"},
    {"action: approve", "action:approve", "line 2: must read 'action: '"},
    {"action: approve", "action:  approve", "unknown action ' approve'"},
    {"action: approve", "action: approve ", "unknown action 'approve '"},
    {"action: approve", "action: Approve", "unknown action 'Approve'"},
    {"action: approve", "action: -", "unknown action '-'"},
    {"action: approve\nca: demo-issuing", "ca: demo-issuing\naction: approve", "line 2"},
    {"action: approve\n", "action: approve\naction: approve\n", "line 3: must read 'ca: '"},
    {"action: approve\n", "action: approve\r\n", "unknown action 'approve "},
    {"ca: demo-issuing", "ca: ", "line 3: 'ca' has no value"},
    {"ca: demo-issuing", "ca: -", "field 'ca': is missing"},
    {"ca: demo-issuing", "ca: demo issuing", "field 'ca': must be a CA's name"},
    {"ca: demo-issuing", "ca: ../etc", "field 'ca': must be a CA's name"},
    {"ca: demo-issuing", "ca: demo\r", "field 'ca': must be a CA's name"},
    {"ca: demo-issuing", "ca: d\xc3\xa9mo", "field 'ca': must be a CA's name"},
    {"ca: demo-issuing", "ca: 01234567890123456789012345678901234567890123456789012345678901234",
	"field 'ca': 65 bytes; allowed: at most 64"},
    {UUID, "2F1C0F5E-6D0E-4B59-8A53-1F2F5F0A6A11", "field 'object': must be a request's id"},
    {UUID, "2f1c0f5e6d0e4b598a531f2f5f0a6a11", "field 'object': must be a request's id"},
    {UUID, UUID "0", "field 'object': must be a request's id"},
    {UUID, "-", "field 'object': must be a request's id"},
    {HASH, "-", "field 'csr-sha256': is missing"},
    {HASH, HASH "00", "field 'csr-sha256': must be 64 lower-case hex digits"},
    {HASH, "0x112233", "field 'csr-sha256': must be 64"},
    {"aabbccddeeff00", "AABBCCDDEEFF00", "field 'csr-sha256': must be 64 lower-case"},
    {"template: tls-server/3", "template: -", "field 'template': is missing"},
    {"tls-server/3", "tls-server", "field 'template': must be NAME/VERSION"},
    {"tls-server/3", "tls-server/", "field 'template': must be NAME/VERSION"},
    {"tls-server/3", "tls-server/0", "field 'template': must be NAME/VERSION"},
    {"tls-server/3", "tls-server/03", "canonical"},
    {"tls-server/3", "tls-server/+3", "field 'template': must be NAME/VERSION"},
    {"tls-server/3", "tls-server/3/4", "field 'template': must be NAME/VERSION"},
    {"tls-server/3", "tls-server/4294967299", "field 'template': must be NAME/VERSION"},
    {"tls-server/3", "/3", "field 'template'"},
    {"tls-server/3", "-/3", "field 'template': is missing"},
    {"tls-server/3", "TLS/3", "field 'template': must be NAME/VERSION"},
    {"reason: ", "reason:  ", "field 'reason': must be one line"},
    {"ft: ok", "ft: ok ", "field 'reason': must be one line"},
    {"ft: ok", "ft\tok", "field 'reason': must be one line"},
    {"ft: ok", "ft\rca: other", "field 'reason': must be one line"},
    {"ft: ok", "ft\nbody-sha256: " HASH, "line 9: must read 'nonce: '"},
    {"ft: ok", "ft\x1b[2Jok", "field 'reason': must be one line"},
    {"ft: ok", "ft\x7fok", "field 'reason': must be one line"},
    {"ft: ok", "ft\xc2\x85ok", "field 'reason': must be one line"},	    /* NEL */
    {"ft: ok", "ft\xe2\x80\xa8ok", "field 'reason': must be one line"},	    /* line separator */
    {"ft: ok", "ft\xe2\x80\xaeok", "field 'reason': must be one line"},	    /* right-to-left */
    {"ft: ok", "ft\xe2\x81\xa6ok", "field 'reason': must be one line"},	    /* isolate */
    {"ft: ok", "ft\xef\xbb\xbfok", "field 'reason': must be one line"},	    /* BOM */
    {"ft: ok", "ft\xc0\xafok", "field 'reason': must be one line"},	    /* overlong */
    {"ft: ok", "ft\xed\xa0\x80ok", "field 'reason': must be one line"},	    /* surrogate */
    {"ft: ok", "ft\xf4\x90\x80\x80ok", "field 'reason': must be one line"}, /* > 10FFFF */
    {"ft: ok", "ft\xff", "field 'reason': must be one line"},
    {"ft: ok", "ft\xe2\x80", "field 'reason': must be one line"},
    {"body-sha256: -", "body-sha256: " HASH, "field 'body-sha256': must be '-'"},
    {"body-sha256: -", "body-sha256:", "line 8"},
    {"nonce: 00", "nonce: -", "field 'nonce': must be 32"},
    {"nonce: 00", "nonce: 0", "field 'nonce': must be 32"},
    {"090a0b", "090A0B", "field 'nonce': must be 32 lower-case"},
    {"12:00:00Z", "12:00:00", "must be like"},
    {"12:00:00Z", "12:00:00+00:00", "must be like"},
    {"2026-11-22T12:00", "2026-11-22 12:00", "must be like"},
    {"2026-11-22T12:00", "2026-11-31T12:00", ""},
    {"2026-11-22T12:00:00Z", "2026-11-22T11:60:00Z", "canonical"},
    {"2026-11-22T12:00:00Z", "2026-11-21T36:00:00Z", "canonical"},
    {"2026-11-22T12:00:00Z", "2026-10-53T12:00:00Z", "canonical"},
    {"2026-11-22T12:00:00Z", "1999-11-22T12:00:00Z", "outside the years"},
    {"2026-11-22T12:00:00Z", "0000-00-00T00:00:00Z", "outside the years"},
    {"2026-11-22T12:00:00Z", "2026-11-22T12:10:00Z", "must be after 'issued'"},
    {"2026-11-22T12:00:00Z", "2026-11-22T11:54:59Z", "901 s after 'issued'; allowed: at most 900"},
    {"T12:10:00Z\n", "T12:10:00Z", "line 11"},
    {"T12:10:00Z\n", "T12:10:00Z\n\n", "stands after its 11 lines"},
    {"T12:10:00Z\n", "T12:10:00Z\nmore: 1\n", "stands after its 11 lines"},
    {"T12:10:00Z\n", "T12:10:00Z\r\n", "must be like"},
};

static void
test_hostile_texts(void **state)
{
	for (size_t i = 0; i < COUNT_OF(hostile); i++) {
		char text[4096];
		size_t len = altered(hostile[i].from, hostile[i].to, text);
		struct statement s;
		struct error err = ERROR_INIT;

		if (statement_parse(text, len, &s, &err) ||
		    strstr(err.text, hostile[i].error) == NULL)
			fail_msg("'%s' -> '%s' gave: %s\nwanted: %s", hostile[i].from,
			    hostile[i].to, err.text, hostile[i].error);
		assert_true(err.code == ERROR_INPUT || err.code == ERROR_LIMIT);
	}
}

static void
test_lengths(void **state)
{
	struct statement s = sample(STATEMENT_APPROVE), back;
	char text[4096], big[4096];
	struct error err = ERROR_INIT;
	size_t len = 0;

	memset(s.reason, 'r', STATEMENT_REASON_MAX);
	memset(s.ca, 'c', STATEMENT_NAME_MAX);
	memset(s.template_name, 't', STATEMENT_NAME_MAX);
	assert_true(statement_format(&s, text, &len, &err));
	assert_true(len < STATEMENT_TEXT_MAX);
	assert_true(statement_parse(text, len, &back, &err));

	memset(big, 'r', sizeof big);
	assert_false(statement_parse(big, STATEMENT_TEXT_MAX + 1, &back, &err));
	assert_int_equal(err.code, ERROR_LIMIT);
	err = ERROR_INIT;
	assert_false(statement_parse(big, STATEMENT_TEXT_MAX, &back, &err));
	memset(big + 401, '\0', 1);
	len = altered("gepr\xc3\xbc"
		      "ft: ok",
	    big, text);
	err = ERROR_INIT;
	assert_false(statement_parse(text, len, &back, &err));
	assert_string_equal(err.text, "statement, field 'reason': 401 bytes; allowed: at most 400");
}

static void
test_nul_byte(void **state)
{
	char text[sizeof approve];
	struct statement s;
	struct error err = ERROR_INIT;

	memcpy(text, approve, sizeof approve);
	*strstr(text, "ft: ok") = '\0';
	assert_false(statement_parse(text, strlen(approve), &s, &err));
	assert_string_equal(err.text, "statement with a NUL byte");
}

static void
test_every_truncation(void **state)
{
	size_t full = strlen(approve);

	for (size_t len = 0; len < full; len++) {
		char *copy = malloc(len + 1); /* so that a read behind the end is noticed */
		struct statement s;
		struct error err = ERROR_INIT;

		assert_non_null(copy);
		memcpy(copy, approve, len);
		copy = realloc(copy, len > 0 ? len : 1);
		assert_false(statement_parse(copy, len, &s, &err));
		free(copy);
	}
}

/* Whatever parses is what format writes: no byte can be changed unseen. */
static void
test_every_byte_changed(void **state)
{
	size_t full = strlen(approve);
	char text[sizeof approve], again[STATEMENT_TEXT_MAX + 1];

	for (size_t i = 0; i < full; i++)
		for (int v = 0; v < 256; v++) {
			struct statement s;
			struct error err = ERROR_INIT;
			size_t len = 0;

			memcpy(text, approve, sizeof approve);
			text[i] = (char)v;
			if (!statement_parse(text, full, &s, &err))
				continue;
			assert_true(statement_format(&s, again, &len, &err));
			assert_int_equal(len, full);
			assert_memory_equal(again, text, full);
		}
}

struct change {
	enum statement_action action;
	const char *ca, *object, *reason;
	int csr, template, body; /* -1: leave */
	const char *error;
};

static const struct change breaches[] = {
    {STATEMENT_APPROVE, NULL, HASH, NULL, -1, -1, -1, "must be a request's id"},
    {STATEMENT_APPROVE, NULL, NULL, "-", -1, -1, -1, "must be one line"},
    {STATEMENT_APPROVE, NULL, NULL, NULL, 0, -1, -1, "'csr-sha256': is missing"},
    {STATEMENT_APPROVE, NULL, NULL, NULL, -1, 0, -1, "'template': is missing"},
    {STATEMENT_APPROVE, NULL, NULL, NULL, -1, -1, 1, "'body-sha256': must be '-'"},
    {STATEMENT_DENY, NULL, NULL, "", -1, -1, -1, "'reason': is missing"},
    {STATEMENT_REVOKE, NULL, UUID, NULL, -1, -1, -1, "must be a certificate's SHA-256"},
    {STATEMENT_REVOKE, NULL, NULL, "", -1, -1, -1, "must be one of unspecified"},
    {STATEMENT_REVOKE, NULL, NULL, "certificateHold", -1, -1, -1, "must be one of"},
    {STATEMENT_REVOKE, NULL, NULL, "removeFromCRL", -1, -1, -1, "must be one of"},
    {STATEMENT_REVOKE, NULL, NULL, "keycompromise", -1, -1, -1, "must be one of"},
    {STATEMENT_REVOKE, NULL, NULL, NULL, 1, -1, -1, "'csr-sha256': must be '-'"},
    {STATEMENT_REVOKE, NULL, NULL, NULL, -1, 1, -1, "'template': must be '-'"},
    {STATEMENT_HOLD, NULL, NULL, "superseded", -1, -1, -1, "must be certificateHold"},
    {STATEMENT_RELEASE, NULL, NULL, "fine again", -1, -1, -1, "'reason': must be '-'"},
    {STATEMENT_CA_CREATE, NULL, "other", NULL, -1, -1, -1, "must be the CA's name"},
    {STATEMENT_CA_CREATE, NULL, NULL, NULL, -1, -1, 0, "'body-sha256': is missing"},
    {STATEMENT_CA_INSTALL, "", NULL, NULL, -1, -1, -1, "'ca': is missing"},
    {STATEMENT_CRL_ISSUE, NULL, "both", NULL, -1, -1, -1, "must be 'full' or 'delta'"},
    {STATEMENT_TEMPLATE_APPLY, "x", NULL, NULL, -1, -1, -1, "'ca': must be '-'"},
    {STATEMENT_TEMPLATE_APPLY, NULL, "TLS", NULL, -1, -1, -1, "must be a template's name"},
    {STATEMENT_TEMPLATE_APPLY, NULL, "-tls", NULL, -1, -1, -1, "must be a template's name"},
    {STATEMENT_OPERATOR_ADD, NULL, "Jo Doe", NULL, -1, -1, -1, "must be a person's name"},
    {STATEMENT_OPERATOR_ADD, NULL, "", NULL, -1, -1, -1, "must be a person's name"},
    {STATEMENT_CA_LIMITS, NULL, "other", NULL, -1, -1, -1, "must be the CA's name"},
    {STATEMENT_CA_LIMITS, NULL, NULL, NULL, -1, -1, 0, "'body-sha256': is missing"},
    {STATEMENT_CA_LIMITS, NULL, NULL, "because", -1, -1, -1, "'reason': must be '-'"},
    {STATEMENT_KEY_ATTEST, NULL, "other", NULL, -1, -1, -1, "must be the CA's name"},
    {STATEMENT_CA_CROSS, NULL, "other", NULL, -1, -1, -1, "must be the CA's name"},
    {STATEMENT_CA_CROSS, NULL, NULL, NULL, -1, -1, 0, "'body-sha256': is missing"},
    {STATEMENT_KEY_DESTROY, NULL, "other", NULL, -1, -1, -1, "must be the CA's name"},
    {STATEMENT_KEY_DESTROY, NULL, NULL, NULL, -1, -1, 0, "'body-sha256': is missing"},
    {STATEMENT_CA_RENEW, NULL, "other", NULL, -1, -1, -1, "must be the CA's name"},
    {STATEMENT_CA_REKEY, NULL, "demo", NULL, -1, -1, -1, "must be the SHA-256 of the key"},
    {STATEMENT_CA_REKEY, "", NULL, NULL, -1, -1, -1, "'ca': is missing"},
    {STATEMENT_CA_REKEY, NULL, NULL, NULL, -1, -1, 0, "'body-sha256': is missing"},
    {STATEMENT_CA_RENEW, NULL, NULL, NULL, -1, -1, 0, "'body-sha256': is missing"},
    {STATEMENT_SIGNER_RESEED, "x", NULL, NULL, -1, -1, -1, "'ca': must be '-'"},
    {STATEMENT_SIGNER_RESEED, NULL, "../main", NULL, -1, -1, -1, "must be a token's name"},
    {STATEMENT_SIGNER_RESEED, NULL, NULL, NULL, -1, -1, 0, "'body-sha256': is missing"},
    {STATEMENT_PIN_UNLOCK, "x", NULL, NULL, -1, -1, -1, "'ca': must be '-'"},
    {STATEMENT_PIN_OPERATE, NULL, "../main", NULL, -1, -1, -1, "must be a token's name"},
    {STATEMENT_PIN_LOCK, NULL, NULL, NULL, -1, -1, 0, "'body-sha256': is missing"},
    {STATEMENT_PIN_CLEAR, NULL, NULL, "because", -1, -1, -1, "'reason': must be '-'"},
};

static void
test_rules_of_actions(void **state)
{
	for (size_t i = 0; i < COUNT_OF(breaches); i++) {
		const struct change *c = &breaches[i];
		struct statement s = sample(c->action);
		char text[STATEMENT_TEXT_MAX + 1];
		struct error err = ERROR_INIT;
		size_t len = 0;

		if (c->ca != NULL)
			(void)snprintf(s.ca, sizeof s.ca, "%s", c->ca);
		if (c->object != NULL)
			(void)snprintf(s.object, sizeof s.object, "%s", c->object);
		if (c->reason != NULL)
			(void)snprintf(s.reason, sizeof s.reason, "%s", c->reason);
		if (c->csr >= 0)
			s.has_csr = c->csr == 1;
		if (c->body >= 0)
			s.has_body = c->body == 1;
		if (c->template >= 0) {
			(void)snprintf(s.template_name, sizeof s.template_name, "%s",
			    c->template == 1 ? "x" : "");
			s.template_version = (uint32_t)c->template;
		}
		if (statement_format(&s, text, &len, &err) || strstr(err.text, c->error) == NULL)
			fail_msg("%s %zu gave: %s\nwanted: %s", statement_action_name(c->action), i,
			    err.text, c->error);
	}
}

static void
test_reason_codes(void **state)
{
	unsigned code = 99;
	int64_t since = 0;

	assert_true(statement_reason_code("unspecified", &code));
	assert_int_equal(code, 0);
	assert_true(statement_reason_code("keyCompromise", &code));
	assert_int_equal(code, 1);
	assert_true(statement_reason_code("aACompromise", &code));
	assert_int_equal(code, 10);
	assert_false(statement_reason_code("certificateHold", &code));
	assert_false(statement_reason_code("", &code));
	assert_true(statement_revocation("superseded", &code, &since));
	assert_int_equal(code, 4);
	assert_int_equal(since, -1);
	assert_true(
	    statement_revocation("keyCompromise since 2026-11-22T12:00:00Z", &code, &since));
	assert_int_equal(code, 1);
	assert_int_equal(since, 1795348800);
	assert_false(statement_revocation("keyCompromise since 2026-11-22", &code, &since));
	assert_false(
	    statement_revocation("certificateHold since 2026-11-22T12:00:00Z", &code, &since));
	assert_false(statement_revocation(" since 2026-11-22T12:00:00Z", &code, &since));
	assert_false(statement_revocation(
	    "keyCompromise since 2026-11-22T12:00:00Z since 2026-11-22T12:00:00Z", &code, &since));
}

static void
test_times(void **state)
{
	struct statement s = sample(STATEMENT_APPROVE);
	struct error err = ERROR_INIT;

	assert_true(statement_check_time(&s, NOON, &err));
	assert_true(statement_check_time(&s, NOON - STATEMENT_SKEW_MAX_S, &err));
	assert_true(statement_check_time(&s, NOON + 599, &err));
	assert_false(statement_check_time(&s, NOON + 600, &err));
	assert_string_equal(err.text, "statement expired at 2026-11-22T12:10:00Z; sign it anew");
	assert_int_equal(err.code, ERROR_DENIED);
	err = ERROR_INIT;
	assert_false(statement_check_time(&s, NOON - STATEMENT_SKEW_MAX_S - 1, &err));
	assert_non_null(strstr(err.text, "2026-11-22T12:00:00Z, which is in the future"));

	/* A leap day is a day, in the years that have one. */
	s.issued = 1835395200; /* 2028-02-29 */
	s.expires = s.issued + 1;
	{
		char text[STATEMENT_TEXT_MAX + 1];
		struct statement back;
		size_t len = 0;

		err = ERROR_INIT;
		assert_true(statement_format(&s, text, &len, &err));
		assert_non_null(strstr(text, "issued: 2028-02-29T00:00:00Z"));
		assert_true(statement_parse(text, len, &back, &err));
	}
}

/* Days for what several persons sign, minutes for all else. */
static void
test_life_of_each_action(void **state)
{
	static const bool ceremony[STATEMENT_ACTION_COUNT] = {
	    [STATEMENT_CA_CREATE] = true,
	    [STATEMENT_CA_INSTALL] = true,
	    [STATEMENT_CA_LIMITS] = true,
	    [STATEMENT_SIGNER_RESEED] = true,
	    [STATEMENT_CA_RENEW] = true,
	    [STATEMENT_CA_REKEY] = true,
	    [STATEMENT_CA_ROLLOVER] = true,
	    [STATEMENT_KEY_DESTROY] = true,
	};

	for (int a = 0; a < STATEMENT_ACTION_COUNT; a++) {
		struct statement s = sample((enum statement_action)a);
		char text[STATEMENT_TEXT_MAX + 1];
		struct error err = ERROR_INIT;
		char words[64];
		size_t len = 0;
		int64_t life;

		assert_int_equal(statement_is_ceremony(s.action), ceremony[a]);
		life = ceremony[a] ? 604800 : statement_is_pin(s.action) ? 600 : 900;
		assert_int_equal(statement_life_max(s.action), life);
		s.expires = s.issued + statement_life_max(s.action);
		assert_true(statement_format(&s, text, &len, &err));
		s.expires++;
		assert_false(statement_format(&s, text, &len, &err));
		assert_int_equal(err.code, ERROR_LIMIT);
		(void)snprintf(words, sizeof words, "at most %lld s", (long long)life);
		assert_non_null(strstr(err.text, words));
	}
	assert_false(statement_is_ceremony((enum statement_action)STATEMENT_ACTION_COUNT));
}

/* ---- signatures */

struct signer {
	EVP_PKEY *key;
	uint8_t spki[STATEMENT_SPKI_MAX];
	size_t spki_len;
};

static struct signer
signer_new(const char *type)
{
	struct signer s = {0};
	struct error err = ERROR_INIT;

	if (strcmp(type, "ED25519") == 0)
		s.key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	else
		s.key = EVP_PKEY_Q_keygen(NULL, NULL, "EC", type);
	assert_non_null(s.key);
	if (!statement_public_key(s.key, s.spki, &s.spki_len, &err))
		assert_false(EVP_PKEY_is_a(s.key, "ED25519"));
	return s;
}

static void
check_signer(const char *type)
{
	struct signer own = signer_new(type), other = signer_new(type);
	uint8_t sig[STATEMENT_SIGNATURE_MAX], *der = NULL;
	char text[sizeof approve];
	struct error err = ERROR_INIT;
	size_t sig_len = 0, len = strlen(approve);
	int der_len = i2d_PUBKEY(own.key, &der);

	/* The one form is also OpenSSL's. */
	assert_int_equal(der_len, own.spki_len);
	assert_memory_equal(der, own.spki, own.spki_len);
	OPENSSL_free(der);

	assert_true(statement_check_key(own.spki, own.spki_len, &err));
	assert_true(statement_sign(approve, len, own.key, sig, &sig_len, &err));
	assert_true(statement_verify(approve, len, sig, sig_len, own.spki, own.spki_len, &err));

	assert_false(
	    statement_verify(approve, len, sig, sig_len, other.spki, other.spki_len, &err));
	assert_int_equal(err.code, ERROR_DENIED);

	for (size_t i = 0; i < len; i += 7) {
		memcpy(text, approve, sizeof approve);
		text[i] ^= 1;
		assert_false(
		    statement_verify(text, len, sig, sig_len, own.spki, own.spki_len, &err));
	}
	assert_false(
	    statement_verify(approve, len - 1, sig, sig_len, own.spki, own.spki_len, &err));
	for (size_t i = 0; i < sig_len; i++) {
		sig[i] ^= 0x40;
		assert_false(
		    statement_verify(approve, len, sig, sig_len, own.spki, own.spki_len, &err));
		sig[i] ^= 0x40;
	}
	for (size_t i = 0; i < sig_len; i++)
		assert_false(statement_verify(approve, len, sig, i, own.spki, own.spki_len, &err));
	sig[sig_len] = 0;
	assert_false(
	    statement_verify(approve, len, sig, sig_len + 1, own.spki, own.spki_len, &err));
	EVP_PKEY_free(own.key);
	EVP_PKEY_free(other.key);
}

static void
test_sign_p256(void **state)
{
	check_signer("P-256");
}

static void
test_sign_ed25519(void **state)
{
	check_signer("ED25519");
}

static void
test_other_keys_are_refused(void **state)
{
	struct signer p384 = signer_new("P-384");
	EVP_PKEY *rsa = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	uint8_t sig[STATEMENT_SIGNATURE_MAX], spki[STATEMENT_SPKI_MAX], *der = NULL;
	struct error err = ERROR_INIT;
	size_t len = 0;
	int der_len;

	assert_false(statement_sign(approve, strlen(approve), p384.key, sig, &len, &err));
	assert_string_equal(err.text, "an operator's key must be EC P-256 or Ed25519");
	err = ERROR_INIT;
	assert_false(statement_public_key(rsa, spki, &len, &err));
	assert_string_equal(
	    err.text, "an operator's key must be EC P-256 or Ed25519; this one is RSA");
	err = ERROR_INIT;
	der_len = i2d_PUBKEY(p384.key, &der);
	assert_true(der_len > 0);
	assert_false(statement_check_key(der, (size_t)der_len, &err));
	assert_non_null(strstr(err.text, "neither EC P-256"));
	OPENSSL_free(der);
	EVP_PKEY_free(rsa);
	EVP_PKEY_free(p384.key);
}

static void
test_key_forms(void **state)
{
	struct signer own = signer_new("P-256");
	uint8_t spki[STATEMENT_SPKI_MAX], *der = NULL;
	struct error err = ERROR_INIT;
	size_t len = 0;
	int der_len;

	/* A compressed point is another form of the same key. */
	assert_int_equal(EVP_PKEY_set_utf8_string_param(own.key, "point-format", "compressed"), 1);
	der_len = i2d_PUBKEY(own.key, &der);
	assert_int_equal(der_len, 59);
	assert_false(statement_check_key(der, (size_t)der_len, &err));
	OPENSSL_free(der);
	err = ERROR_INIT;
	assert_true(statement_public_key(own.key, spki, &len, &err));
	assert_int_equal(len, own.spki_len);
	assert_memory_equal(spki, own.spki, len);

	/* Off the curve; cut; longer. */
	spki[len - 1] ^= 1;
	assert_false(statement_check_key(spki, len, &err));
	assert_non_null(strstr(err.text, "not on the curve"));
	spki[len - 1] ^= 1;
	for (size_t i = 0; i < len; i++) {
		err = ERROR_INIT;
		assert_false(statement_check_key(spki, i, &err));
	}
	spki[len] = 0;
	assert_false(statement_check_key(spki, len + 1, &err));
	EVP_PKEY_free(own.key);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reads_the_text),
	    cmocka_unit_test(test_round_trips),
	    cmocka_unit_test(test_hostile_texts),
	    cmocka_unit_test(test_lengths),
	    cmocka_unit_test(test_nul_byte),
	    cmocka_unit_test(test_every_truncation),
	    cmocka_unit_test(test_every_byte_changed),
	    cmocka_unit_test(test_rules_of_actions),
	    cmocka_unit_test(test_reason_codes),
	    cmocka_unit_test(test_times),
	    cmocka_unit_test(test_life_of_each_action),
	    cmocka_unit_test(test_sign_p256),
	    cmocka_unit_test(test_sign_ed25519),
	    cmocka_unit_test(test_other_keys_are_refused),
	    cmocka_unit_test(test_key_forms),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
