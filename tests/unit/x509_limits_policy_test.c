/* Policies and the limits that follow from them: what goes over, and every way in
 * which the two do not belong together. */

#include "tests/unit/x509_util.h"

#include "daemon/x509/limits_policy.h"

#define NOW 1795348800LL /* 2026-11-22T12:00:00Z */
#define YEAR (365LL * 86400)
#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const char root[] =
    "subject: \"CN=Root,O=Example,C=DE\"\n"
    "kind: root\n"
    "token: main\n"
    "key: p256\n"
    "validity: 20y\n"
    "path_length: 1\n"
    "templates: [sub-ca, tls-server]\n"
    "policies: [{oid: 1.3.6.1.4.1.99999.1, cps: \"http://example.com/cps\"}]\n"
    "crl: {period: 7d, overlap: 12h, delta_period: 1d, delta_overlap: 1h}\n"
    "locations:\n"
    "  server: h\n"
    "  delta_suffix: x\n"
    "  cdp: [{url: \"http://h/a.crl\", flags: [in_certificates]}, "
    "{url: \"http://h/b.crl\", flags: [in_certificates]}, "
    "{url: \"http://h/d.crl\", flags: [in_freshest]}]\n"
    "  aia: [{url: \"http://h/a.cer\", flags: [in_certificates]}, "
    "{url: \"http://h/\", flags: [as_ocsp]}]\n"
    "targets:\n"
    "  - {name: web, artifact: crl, kind: http, write: \"http://127.0.0.1:9/a\", "
    "read: \"http://h/a.crl\", credential: c, auth: basic, webdav: false}\n"
    "  - {name: dir, artifact: crl, kind: ldap, "
    "write: \"ldap://h/cn=a?certificateRevocationList;binary\", "
    "read: \"ldap://h/cn=a?certificateRevocationList;binary\", bind_dn: cn=w, credential: d, "
    "tls: starttls}\n"
    "limits: {quorum: 2, operators: [{person: alice, rights: [limits]}, {person: bob, rights: "
    "[limits]}], signer_ids: [3, 1], permitted: [\"dns:example.com\"], excluded: "
    "[\"dns:x.example.com\"], responders: [" HASH "]}\n";

/* The text with the first occurrence of from replaced; static. */
static const char *
altered(const char *from, const char *to)
{
	static char text[8192];
	const char *at = strstr(root, from);

	assert_non_null(at);
	(void)snprintf(
	    text, sizeof text, "%.*s%s%s", (int)(at - root), root, to, at + strlen(from));
	return text;
}

/* Both are the caller's to free. */
static struct capolicy *
parse(const char *text)
{
	struct capolicy *p = calloc(1, sizeof *p);
	struct error e = ERROR_INIT;

	assert_non_null(p);
	assert_ok(capolicy_parse(text, strlen(text), "p", p, &e), e);
	return p;
}

static void
drop(struct capolicy *p)
{
	capolicy_free(p);
	free(p);
}

static struct limits *
limits_of(const char *text)
{
	struct capolicy *p = parse(text);
	struct limits *l = calloc(1, sizeof *l);
	struct error e = ERROR_INIT;

	assert_non_null(l);
	assert_ok(limits_from_policy(p, "root", text_bytes(text), NOW, l, &e), e);
	drop(p);
	return l;
}

/* What a policy does not know is added, and the document is one. */
static void
test_what_goes_over(void **state)
{
	struct limits *l = limits_of(root), *back = calloc(1, sizeof *back);
	char *text = malloc(LIMITS_TEXT_MAX + 1);
	struct error e = ERROR_INIT;
	uint8_t digest[32];
	size_t len;

	assert_string_equal(l->ca, "root");
	assert_string_equal(l->token, "main");
	assert_int_equal(l->version, 1);
	assert_true(l->root);
	assert_int_equal(l->algorithm, KEY_P256);
	assert_int_equal(l->signature_count, 1);
	assert_int_equal(l->signatures[0], SIG_ECDSA_SHA256);
	assert_int_equal(l->not_after, NOW + 20 * YEAR - 1);
	assert_int_equal(l->path_length, 1);
	assert_int_equal(l->quorum, 2);
	assert_int_equal(l->signer_count, 2);
	assert_int_equal(l->permitted_count, 1);
	assert_string_equal(l->excluded[0].text, "x.example.com");
	assert_int_equal(l->responders[0][1], 0x11);
	assert_int_equal(l->operator_count, 0);
	assert_int_equal(l->template_count, 0);
	limits_sha256(root, strlen(root), digest);
	assert_true(l->has_policy);
	assert_memory_equal(l->policy_sha256, digest, sizeof digest);

	for (size_t i = 0; i < 2; i++) {
		struct limits_operator *o = &l->operators[l->operator_count++];

		strcpy(o->person, i == 0 ? "alice" : "bob");
		o->rights = LIMITS_RIGHT_LIMITS;
		assert_ok(statement_public_key(
			      shared_key(i == 0 ? "p256" : "p256-bob"), o->spki, &o->spki_len, &e),
		    e);
	}
	limits_sort(l);
	assert_ok(limits_format(l, text, &len, &e), e);
	assert_ok(limits_parse(text, len, back, &e), e);
	assert_int_equal(back->signer_ids[0], 1);
	free(text);
	free(back);
	free(l);
}

static void
test_ends(void **state)
{
	static const struct {
		const char *from, *to;
		int64_t end;
	} cases[] = {
	    {"quorum: 2", "quorum: 2, not_after: 25y", NOW + 25 * YEAR - 1},
	    {"quorum: 2", "quorum: 2, not_after: 2026-11-23T12:00:00Z", NOW + 86400},
	    {"kind: root\ntoken: main\nkey: p256\nvalidity: 20y",
		"kind: subordinate\ntoken: main\nkey: p256", NOW + LIMITS_SUBORDINATE_LIFE_S - 1},
	    {"kind: root", "kind: subordinate", NOW + 20 * YEAR - 1},
	};
	struct error e = ERROR_INIT;
	struct capolicy *p;
	struct limits *l;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		l = limits_of(altered(cases[i].from, cases[i].to));
		assert_int_equal(l->not_after, cases[i].end);
		free(l);
	}
	l = calloc(1, sizeof *l);
	p = parse(altered("quorum: 2", "quorum: 2, not_after: 2026-11-22T12:00:00Z"));
	assert_false(limits_from_policy(p, "root", text_bytes("x"), NOW, l, &e));
	assert_error(e, "'limits.not_after' has passed");
	drop(p);
	free(l);
}

/* A policy that says nothing of limits: one signature, nothing restricted. */
static void
test_what_is_not_said(void **state)
{
	const char *at = strstr(root, "limits: {");
	char text[4096];
	struct limits *l;

	(void)snprintf(text, sizeof text, "%.*s", (int)(at - root), root);
	l = limits_of(text);
	assert_int_equal(l->quorum, 1);
	assert_int_equal(l->signer_count + l->permitted_count + l->excluded_count, 0);
	assert_int_equal(l->responder_count, 0);
	free(l);
}

static void
test_limits_against_policy(void **state)
{
	static const struct {
		const char *from, *to, *words;
	} cases[] = {
	    {"kind: root", "kind: subordinate", "'kind' is root in the limits and subordinate in"},
	    {"token: main", "token: other",
		"'token' is main in the limits and other in the policy"},
	    {"key: p256", "key: p384", "'algorithm' is p256 in the limits and p384 in the policy"},
	    {"CN=Root", "CN=root", "'subject' is another name in the limits and CN=root"},
	    {"path_length: 1", "path_length: 2", "'path-length' is 1 in the limits and 2 in"},
	    {"path_length: 1\n", "", "'path-length' is 1 in the limits and not set in the policy"},
	    {"key: p256", "key: p256\nsignature: sha384",
		"signs with ecdsa-sha384, which its limits"},
	    {"templates: [sub-ca, ", "templates: [",
		"allow template sub-ca, which the CA's policy"},
	};
	struct limits *l = limits_of(root);
	struct error e = ERROR_INIT;
	struct capolicy *p = parse(root);

	strcpy(l->templates[l->template_count++].name, "sub-ca");
	assert_ok(limits_check_policy(l, p, &e), e);
	drop(p);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		p = parse(altered(cases[i].from, cases[i].to));
		e = ERROR_INIT;
		assert_false(limits_check_policy(l, p, &e));
		assert_error(e, cases[i].words);
		assert_int_equal(e.code, ERROR_INPUT);
		drop(p);
	}
	free(l);
}

/* Who a CA is holds it fast; when and where it publishes may change. */
static void
test_one_policy_after_another(void **state)
{
	static const struct {
		const char *from, *to, *key;
	} cases[] = {
	    {"CN=Root", "CN=Other", "subject"},
	    {"kind: root", "kind: subordinate", "kind"},
	    {"token: main", "token: other", "token"},
	    {"key: p256", "key: p384", "key"},
	    {"key: p256", "key: p256\nsignature: sha512", "signature"},
	    {"validity: 20y", "validity: 21y", "validity"},
	    {"path_length: 1", "path_length: 0", "path_length"},
	    {"99999.1", "99999.2", "policies"},
	    {"example.com/cps", "example.com/cps2", "policies"},
	    {"cps: \"http://example.com/cps\"", "", "policies"},
	};
	static const char *const calendars[][2] = {
	    {"period: 7d", "period: 8d"},
	    {"overlap: 12h", "overlap: 13h"},
	    {"delta_period: 1d", "delta_period: 2d"},
	    {"delta_overlap: 1h", "delta_overlap: 2h"},
	    {"delta_overlap: 1h", "delta_overlap: 1h, jitter: 1m"},
	    {"delta_overlap: 1h", "delta_overlap: 1h, align: \"02:00\""},
	};
	static const char *const free_to_change[][2] = {
	    {"limits: {quorum: 2, ", "limits: {quorum: 1, "},
	    {"http://h/b.crl", "http://h/c.crl"},
	    {"delta_suffix: x", "delta_suffix: y"},
	    {"127.0.0.1:9/a", "127.0.0.1:9/b"},
	    {"delta_overlap: 1h", "delta_overlap: 1h, expired_certificates: true"},
	};
	struct capolicy *old = parse(root), *fresh;
	struct error e = ERROR_INIT;
	char words[64];

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		fresh = parse(altered(cases[i].from, cases[i].to));
		e = ERROR_INIT;
		if (limits_check_next_policy(old, fresh, &e))
			fail_msg("taken: %s -> %s", cases[i].from, cases[i].to);
		(void)snprintf(words, sizeof words, "made with in '%s'", cases[i].key);
		assert_error(e, words);
		drop(fresh);
	}
	e = ERROR_INIT;
	fresh = parse(altered("[sub-ca, tls-server]", "[tls-client]"));
	assert_ok(limits_check_next_policy(old, fresh, &e), e);
	drop(fresh);
	for (size_t i = 0; i < COUNT_OF(free_to_change); i++) {
		fresh = parse(altered(free_to_change[i][0], free_to_change[i][1]));
		assert_ok(limits_check_next_policy(old, fresh, &e), e);
		assert_true(capolicy_same_calendar(old, fresh));
		drop(fresh);
	}
	for (size_t i = 0; i < COUNT_OF(calendars); i++) {
		fresh = parse(altered(calendars[i][0], calendars[i][1]));
		assert_ok(limits_check_next_policy(old, fresh, &e), e);
		assert_false(capolicy_same_calendar(old, fresh));
		drop(fresh);
	}
	drop(old);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_what_goes_over),
	    cmocka_unit_test(test_ends),
	    cmocka_unit_test(test_what_is_not_said),
	    cmocka_unit_test(test_limits_against_policy),
	    cmocka_unit_test(test_one_policy_after_another),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
