/* Limits documents, changes of them, and orders that several persons signed. */

#include "tests/unit/x509_util.h"

#include <openssl/sha.h>

#include "daemon/x509/limits.h"
#include "daemon/x509/name.h"
#include "daemon/x509/order.h"

#define NOON 1795348800LL /* 2026-11-22T12:00:00Z */

/* A whole document: what must not change. */
static const char golden[] =
    "chancery-limits: 1\n"
    "ca: demo-issuing\n"
    "version: 1\n"
    "previous: -\n"
    "key: -\n"
    "token: main\n"
    "kind: subordinate\n"
    "algorithm: rsa3072\n"
    "signatures: rsa-sha256,pss-sha256\n"
    "subject: 300f310d300b06035504030c0444656d6f\n"
    "not-after: 2036-11-22T12:00:00Z\n"
    "path-length: 0\n"
    "signer-ids: 1,2,700\n"
    "permitted: dns:example.com,email:.example.com,email:Jo@example.com,ip:10.0.0.0/8,"
    "ip:2001:db8::/32,uri:www.example.com\n"
    "excluded: dns:secret.example.com,uri:\n"
    "responders: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"
    "quorum: 2\n"
    "operator: alice decide MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=\n"
    "operator: alice limits,decide "
    "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
    "operator: bo@example limits "
    "MCowBQYDK2VwAyEA/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU=\n"
    "template: sub-ca manual ca=yes key-usage=keyCertSign,cRLSign eku=- validity=315360000 "
    "path-length=0\n"
    "template: tls-server automatic ca=no key-usage=digitalSignature,keyEncipherment "
    "eku=1.2.3.4,clientAuth,serverAuth validity=34300800 path-length=-\n"
    "nonce: 000102030405060708090a0b0c0d0e0f\n"
    "policy-sha256: -\n";

static struct limits limits, other;

static bool
parses(const char *text, struct error *err)
{
	*err = ERROR_INIT;
	return limits_parse(text, strlen(text), &limits, err);
}

static void
test_reads_the_document(void **state)
{
	const struct limits_template *t;
	struct error err;

	assert_ok(parses(golden, &err), err);
	assert_string_equal(limits.ca, "demo-issuing");
	assert_int_equal(limits.version, 1);
	assert_string_equal(limits.token, "main");
	assert_false(limits.root);
	assert_int_equal(limits.algorithm, KEY_RSA3072);
	assert_int_equal(limits.signature_count, 2);
	assert_true(limits_allows_signature(&limits, SIG_PSS_SHA256));
	assert_false(limits_allows_signature(&limits, SIG_PSS_SHA384));
	assert_int_equal(limits.subject_len, 17);
	assert_int_equal(limits.not_after, NOON + 3653LL * 86400);
	assert_int_equal(limits.path_length, 0);
	assert_true(limits_allows_signer(&limits, 700));
	assert_false(limits_allows_signer(&limits, 3));
	assert_int_equal(limits.permitted_count, 6);
	assert_int_equal(limits.permitted[3].type, SAN_IP);
	assert_int_equal(limits.permitted[3].address_len, 4);
	assert_int_equal(limits.permitted[3].mask[0], 0xff);
	assert_int_equal(limits.permitted[3].mask[1], 0);
	assert_int_equal(limits.permitted[4].address_len, 16);
	assert_int_equal(limits.excluded_count, 2);
	assert_true(limits_allows_responder(&limits, limits.responders[0]));
	assert_false(limits_allows_responder(&limits, limits.policy_sha256));
	assert_int_equal(limits.quorum, 2);
	assert_int_equal(limits.operator_count, 3);
	assert_int_equal(limits.operators[0].rights, LIMITS_RIGHT_DECIDE);
	assert_int_equal(limits_count_persons(&limits, LIMITS_RIGHT_LIMITS), 2);
	assert_int_equal(limits_count_persons(&limits, LIMITS_RIGHT_DECIDE), 1);
	t = limits_find_template(&limits, "tls-server");
	assert_non_null(t);
	assert_true(t->automatic);
	assert_int_equal(t->key_usage, KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT);
	assert_int_equal(t->purpose_count, 3);
	assert_int_equal(t->validity_s, 34300800);
	assert_int_equal(t->path_length, -1);
	assert_int_equal(limits_find_template(&limits, "sub-ca")->path_length, 0);
	assert_null(limits_find_template(&limits, "tls"));
	assert_ptr_equal(limits_find_operator(&limits, (struct bytes){limits.operators[2].spki,
							   limits.operators[2].spki_len}),
	    &limits.operators[2]);
	assert_null(limits_find_operator(&limits, (struct bytes){limits.operators[2].spki, 3}));
}

/* The golden text with one piece exchanged. */
static char *
with(const char *piece, const char *replacement)
{
	static char text[2 * LIMITS_TEXT_MAX];
	const char *at = strstr(golden, piece);

	assert_non_null(at);
	(void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - golden), golden, replacement,
	    at + strlen(piece));
	return text;
}

static const struct {
	const char *piece, *replacement, *words;
} broken[] = {
    {"chancery-limits: 1\n", "chancery-limits: 2\n", "only format"},
    {"ca: demo", "ca: -demo", "'ca'"},
    {"ca: demo-issuing\n", "", "line 2: must read 'ca: '"},
    {"version: 1", "version: 0", "'version'"},
    {"version: 1", "version: 01", "'version'"},
    {"version: 1\n", "version: 2\n", "'previous'"},
    {"key: -", "key: 00", "'key'"},
    {"key: -\n", "key: 0000000000000000000000000000000000000000000000000000000000000000\n",
	"'key'"},
    {"previous: -\n",
	"previous: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n",
	"'previous'"},
    {"token: main", "token: ma/in", "'token'"},
    {"kind: subordinate", "kind: sub", "'kind'"},
    {"algorithm: rsa3072", "algorithm: rsa1024", "'algorithm'"},
    {"algorithm: rsa3072", "algorithm: p256", "'signatures'"},
    {"rsa-sha256,pss-sha256", "pss-sha256,rsa-sha256", "'signatures'"},
    {"rsa-sha256,pss-sha256", "rsa-sha256,rsa-sha256", "'signatures'"},
    {"rsa-sha256,pss-sha256", "md5", "'signatures'"},
    {"rsa-sha256,pss-sha256", "-", "'signatures'"},
    {"subject: 300f", "subject: 300F", "'subject'"},
    {"subject: 300f", "subject: 30", "'subject'"},
    {"subject: 300f310d300b06035504030c0444656d6f", "subject: 3000", "'subject'"},
    {"2036-11-22", "2036-11-31", "'not-after'"},
    {"2036-11-22", "1999-11-30", "'not-after'"},
    {"path-length: 0", "path-length: 17", "'path-length'"},
    {"path-length: 0", "path-length: 00", "'path-length'"},
    {"signer-ids: 1,2,700", "signer-ids: 0,2", "'signer-ids'"},
    {"signer-ids: 1,2,700", "signer-ids: 2,1", "'signer-ids'"},
    {"signer-ids: 1,2,700", "signer-ids: 65536", "'signer-ids'"},
    {"signer-ids: 1,2,700", "signer-ids: 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17", "at most 16"},
    {"permitted: dns:example.com", "permitted: dns:Example.com", "constrains no names"},
    {"permitted: dns:example.com", "permitted: dns:*.example.com", "constrains no names"},
    {"permitted: dns:example.com", "permitted: dns:.example.com", "constrains no names"},
    {"permitted: dns:example.com", "permitted: other:example.com", "constrains no names"},
    {"permitted: dns:example.com", "permitted: dns:example.com,dns:example.com", "'permitted'"},
    {"permitted: dns:example.com", "permitted: dns:z.example.com,dns:example.com", "'permitted'"},
    {"email:Jo@example.com", "email:Jo@Example.com", "constrains no names"},
    {"ip:10.0.0.0/8", "ip:10.0.0.1/8", "constrains no names"},
    {"ip:10.0.0.0/8", "ip:10.0.0.0/33", "constrains no names"},
    {"ip:10.0.0.0/8", "ip:10.0.0.0", "constrains no names"},
    {"ip:10.0.0.0/8", "ip:010.0.0.0/8", "constrains no names"},
    {"ip:2001:db8::/32", "ip:2001:DB8::/32", "constrains no names"},
    {"ip:2001:db8::/32", "ip:2001:0db8::/32", "constrains no names"},
    {"uri:www.example.com", "uri:http://www.example.com", "constrains no names"},
    {"responders: 00", "responders: 0", "'responders'"},
    {"quorum: 2", "quorum: 3", "'quorum'"},
    {"quorum: 2", "quorum: 0", "'quorum'"},
    {"quorum: 2", "quorum: 17", "from 1 to 16"},
    {"operator: alice limits,decide", "operator: alice decide,limits", "'operator'"},
    {"operator: alice limits,decide", "operator: alice  limits,decide", "'operator'"},
    {"operator: alice limits,decide", "operator: zoe limits,decide", "order of persons"},
    {"operator: alice decide MCowBQYDK2VwAyEAPUAXw+hDiVqStwqnTRt+vJyYLM8uxJaMwM1V8Sr0Zgw=",
	"operator: alice limits MCowBQYDK2VwAyEA/FHNjmIYoaONpH7QAjDwWAgW7RO6MwOsXeuRFUiQgCU=",
	"alice and bo@example have the same key"},
    {"MCowBQYDK2VwAyEA/FHN", "MCowBQYDK2VwAyEA/FH", "bo@example"},
    {"MCowBQYDK2VwAyEA/FHN", "MCowBQYDK2VxAyEA/FHN", "bo@example"},
    {"sub-ca manual", "sub-ca automatic", "always needs a decision"},
    {"sub-ca manual", "zub-ca manual", "order of names"},
    {"sub-ca manual", "Sub-ca manual", "its name"},
    {"ca=yes", "ca=no", "keyCertSign"},
    {"ca=no", "ca=yes", "always needs a decision"},
    {"key-usage=keyCertSign,cRLSign", "key-usage=cRLSign,keyCertSign", "canonical"},
    {"key-usage=keyCertSign,cRLSign", "key-usage=cRLSign", "keyCertSign"},
    {"key-usage=keyCertSign,cRLSign", "key-usage=", "must read 'template: "},
    {"key-usage=digitalSignature,", "key-usage=cRLSign,", "only a CA has it"},
    {"eku=1.2.3.4,", "eku=1.02.3.4,", "must read 'template: "},
    {"clientAuth,serverAuth", "serverAuth,clientAuth", "eku must rise"},
    {"clientAuth,serverAuth", "1.3.6.1.5.5.7.3.2,serverAuth", "canonical"},
    {"eku=1.2.3.4,clientAuth", "eku=1.3.6.1.5.5.7.3.2", "canonical"},
    {"validity=34300800", "validity=0", "validity"},
    {"validity=34300800", "validity=9999999999", "must read 'template: "},
    {"validity=34300800 path-length=-", "validity=34300800 path-length=0", "path-length"},
    {"validity=34300800 path-length=-", "validity=34300800", "must read 'template: "},
    {"validity=34300800 path-length=-", "validity=34300800 path-length=- x", "must read"},
    {"nonce: 00", "nonce: ", "'nonce'"},
    {"policy-sha256: -\n", "policy-sha256: -\nmore: x\n", "should end"},
    {"policy-sha256: -\n", "policy-sha256: -", "line 24: must read 'policy-sha256: '"},
    {"policy-sha256: -\n", "", "line 24: must read 'policy-sha256: '"},
};

/* Version 1 names a key only if the CA takes over one that is there. */
static void
test_adopts_a_key(void **state)
{
	char text[LIMITS_TEXT_MAX + 1];
	struct error err;
	size_t len;

	assert_ok(parses(golden, &err), err);
	assert_false(limits_adopts_key(&limits));
	assert_ok(
	    parses(with("key: -\n",
		       "key: 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n"),
		&err),
	    err);
	assert_true(limits_adopts_key(&limits));
	assert_int_equal(limits.key[31], 0x1f);
	assert_ok(limits_format(&limits, text, &len, &err), err);
	assert_non_null(strstr(text, "key: 000102"));
	limits.version = 2;
	assert_false(limits_adopts_key(&limits));
}

static void
test_refuses_what_is_no_document(void **state)
{
	struct error err;

	for (size_t i = 0; i < COUNT_OF(broken); i++) {
		if (parses(with(broken[i].piece, broken[i].replacement), &err))
			fail_msg("'%s' was taken", broken[i].replacement);
		assert_error(err, broken[i].words);
	}
	err = ERROR_INIT;
	assert_false(limits_parse(golden, sizeof golden, &limits, &err)); /* with its NUL */
	for (size_t len = 0; len < strlen(golden); len++)
		assert_false(limits_parse(golden, len, &limits, &err));
}

/* Every octet exchanged: either refused, or another document that says so. */
static void
test_no_two_texts_mean_the_same(void **state)
{
	static const char octets[] = "\n ,-0az:=";
	char text[sizeof golden], again[LIMITS_TEXT_MAX + 1];
	struct error err;
	size_t len, taken = 0;

	for (size_t i = 0; i < strlen(golden); i++)
		for (size_t k = 0; k < strlen(octets); k++) {
			memcpy(text, golden, sizeof golden);
			text[i] = octets[k];
			if (!parses(text, &err))
				continue;
			taken++;
			assert_ok(limits_format(&limits, again, &len, &err), err);
			assert_string_equal(again, text);
		}
	assert_true(taken > 0);
}

static void
test_all_counts_have_their_limit(void **state)
{
	char text[2 * LIMITS_TEXT_MAX], *operators, again[LIMITS_TEXT_MAX + 1];
	struct error err;
	size_t used = 0, len;

	for (int i = 0; i < LIMITS_TEMPLATE_MAX + 1; i++)
		used += (size_t)snprintf(text + used, sizeof text - used,
		    "template: a%02d manual ca=no key-usage=digitalSignature eku=- validity=60 "
		    "path-length=-\n",
		    i);
	operators = strdup(with("template: sub-ca", text));
	assert_false(parses(operators, &err));
	assert_error(err, "'template': allowed are at most 32");
	assert_int_equal(err.code, ERROR_LIMIT);
	free(operators);

	assert_ok(parses(golden, &err), err);
	other = limits;
	other.operator_count = LIMITS_OPERATOR_MAX;
	for (size_t i = 0; i < LIMITS_OPERATOR_MAX; i++) {
		EVP_PKEY *key = make_key("ed25519");

		other.operators[i] = (struct limits_operator){.rights = LIMITS_RIGHT_LIMITS};
		(void)snprintf(other.operators[i].person, sizeof other.operators[i].person,
		    "person%zu", i % 7);
		assert_ok(statement_public_key(
			      key, other.operators[i].spki, &other.operators[i].spki_len, &err),
		    err);
		EVP_PKEY_free(key);
	}
	other.quorum = 8;
	limits_sort(&other);
	assert_false(limits_format(&other, again, &len, &err));
	assert_error(err, "must be from 1 to 7");
	other.quorum = 7;
	err = ERROR_INIT;
	assert_ok(limits_format(&other, again, &len, &err), err);
	assert_ok(limits_parse(again, len, &limits, &err), err);
	assert_memory_equal(&limits, &other, sizeof limits);
}

static void
test_sorts(void **state)
{
	char text[LIMITS_TEXT_MAX + 1];
	struct limits_template swap;
	struct error err;
	size_t len;

	assert_ok(parses(golden, &err), err);
	other = limits;
	swap = other.templates[0];
	other.templates[0] = other.templates[1];
	other.templates[1] = swap;
	other.signer_ids[0] = 700;
	other.signer_ids[2] = 1;
	other.operators[0] = limits.operators[2];
	other.operators[2] = limits.operators[0];
	other.permitted[5] = limits.permitted[0];
	other.permitted[0] = limits.permitted[5];
	assert_false(limits_format(&other, text, &len, &err));
	limits_sort(&other);
	err = ERROR_INIT;
	assert_ok(limits_format(&other, text, &len, &err), err);
	assert_string_equal(text, golden);
}

/* ---- from a template */

static const char template_text[] =
    "name: tls-server\napproval: automatic\nvalidity: 397d\nexceed_issuer: cut\n"
    "key: {types: [rsa, ec]}\nsubject: {from: request, allowed: [CN], required: [CN]}\n"
    "key_usage: [keyEncipherment, digitalSignature]\n"
    "extended_key_usage: [serverAuth, 1.2.3.4, clientAuth]\nbasic_constraints: {ca: false}\n";
static const char ca_template_text[] =
    "name: sub-ca\napproval: manual\nvalidity: 10y\nexceed_issuer: cut\n"
    "key: {types: [rsa]}\nsubject: {from: request, allowed: [CN], required: [CN]}\n"
    "key_usage: [keyCertSign, cRLSign]\nbasic_constraints: {ca: true, path_length: 0}\n";

static bool
derive(const char *text, struct limits_template *out, struct error *err)
{
	struct template *t = NULL;
	bool ok;

	*err = ERROR_INIT;
	assert_ok(template_parse(text, strlen(text), "t", &t, err), *err);
	ok = limits_template_from(t, out, err);
	template_free(t);
	return ok;
}

static void
test_derives_lines_from_templates(void **state)
{
	char text[sizeof ca_template_text + 8];
	struct limits_template line;
	struct error err;

	assert_ok(parses(golden, &err), err);
	assert_ok(derive(template_text, &line, &err), err);
	assert_memory_equal(&line, &limits.templates[1], sizeof line);
	assert_ok(derive(ca_template_text, &line, &err), err);
	assert_memory_equal(&line, &limits.templates[0], sizeof line);
	/* A CA without a decision. */
	(void)snprintf(text, sizeof text, "%.*sautomatic%s",
	    (int)(strstr(ca_template_text, "manual") - ca_template_text), ca_template_text,
	    strstr(ca_template_text, "manual") + strlen("manual"));
	assert_false(derive(text, &line, &err));
	assert_error(err, "always needs a decision");
}

/* ---- changes */

static void
test_changes_follow_each_other(void **state)
{
	uint8_t digest[32], key[32] = {7};
	struct error err;

	assert_ok(parses(golden, &err), err);
	limits_sha256(golden, strlen(golden), digest);
	other = limits;
	other.version = 2;
	memcpy(other.previous, digest, 32);
	memcpy(other.key, key, 32);
	other.quorum = 1;
	other.template_count = 0;
	assert_ok(limits_check_change(&limits, digest, key, &other, &err), err);

#define REFUSED(change, words)                                                    \
	do {                                                                      \
		struct limits *f = malloc(sizeof *f);                             \
		assert_non_null(f);                                               \
		*f = other;                                                       \
		change;                                                           \
		err = ERROR_INIT;                                                 \
		assert_false(limits_check_change(&limits, digest, key, f, &err)); \
		assert_error(err, words);                                         \
		free(f);                                                          \
	} while (0)
	REFUSED(f->version = 1, "version 1 does not follow version 1");
	REFUSED(f->version = 3, "version 3 does not follow version 1");
	REFUSED(f->previous[31] ^= 1, "'previous'");
	REFUSED(f->key[0] ^= 1, "'key'");
	REFUSED(f->ca[0] = 'D', "another CA");
	REFUSED(f->token[0] = 'M', "another CA");
	REFUSED(f->root = true, "another CA");
	REFUSED(f->algorithm = KEY_RSA4096, "algorithm and subject");
	REFUSED(f->subject[16] ^= 1, "algorithm and subject");
	REFUSED(f->subject_len--, "algorithm and subject");

	/* Retiring goes one way. */
	other.retired = LIMITS_KEY_RETIRED;
	assert_ok(limits_check_change(&limits, digest, key, &other, &err), err);
	limits.retired = LIMITS_KEY_RETIRED;
	assert_ok(limits_check_change(&limits, digest, key, &other, &err), err);
	REFUSED(f->retired = LIMITS_IN_USE, "the key is retired for good");
	other.retired = LIMITS_CA_RETIRED;
	assert_ok(limits_check_change(&limits, digest, key, &other, &err), err);
	limits.retired = LIMITS_CA_RETIRED;
	REFUSED(f->retired = LIMITS_KEY_RETIRED, "the CA is retired for good");
#undef REFUSED
}

static void
test_a_retired_key_has_no_templates(void **state)
{
	char text[LIMITS_TEXT_MAX + 1];
	struct error err;
	size_t len;

	assert_ok(parses(golden, &err), err);
	limits.version = 2;
	memset(limits.previous, 1, sizeof limits.previous);
	memset(limits.key, 2, sizeof limits.key);
	limits.retired = LIMITS_KEY_RETIRED;
	assert_false(limits_format(&limits, text, &len, &err));
	assert_error(err, "'template': must not stand where the key is retired");
	limits.template_count = 0;
	err = ERROR_INIT;
	assert_ok(limits_format(&limits, text, &len, &err), err);
	assert_non_null(strstr(text, "\nkind: subordinate\nretired: key\nalgorithm: "));
	assert_ok(limits_parse(text, len, &other, &err), err);
	assert_int_equal(other.retired, LIMITS_KEY_RETIRED);

	assert_false(parses(with("kind: subordinate\n", "kind: subordinate\nretired: ca\n"), &err));
	assert_error(err, "'retired': cannot stand in version 1");
	assert_false(parses(with("kind: subordinate\n", "kind: subordinate\nretired: no\n"), &err));
	assert_error(err, "'retired': must be 'key' or 'ca'");
	assert_false(parses(with("token: main\n", "token: main\nretired: key\n"), &err));
	limits.retired = (enum limits_retired)7;
	err = ERROR_INIT;
	assert_false(limits_format(&limits, text, &len, &err));
}

/* ---- bodies */

static void
test_takes_bodies_apart(void **state)
{
	static const char policy[] = "subject: x\n---\nmore\n";
	char body[2 * LIMITS_TEXT_MAX], document[LIMITS_TEXT_MAX + 1];
	struct limits_body parts;
	struct error err;
	size_t len;

	assert_ok(parses(golden, &err), err);
	limits.has_policy = true;
	limits_sha256(policy, strlen(policy), limits.policy_sha256);
	assert_ok(limits_format(&limits, document, &len, &err), err);
	(void)snprintf(body, sizeof body, "%s---\n%s", document, policy);
	assert_ok(limits_body_parse(text_bytes(body), &parts, &other, &err), err);
	assert_bytes(parts.document, text_bytes(document));
	assert_bytes(parts.policy, text_bytes(policy));
	assert_memory_equal(&other, &limits, sizeof other);

	body[strlen(body) - 2] ^= 1;
	assert_false(limits_body_parse(text_bytes(body), &parts, &other, &err));
	assert_error(err, "'policy-sha256'");

	/* Without a policy nothing follows the separator. */
	err = ERROR_INIT;
	(void)snprintf(body, sizeof body, "%s---\n", golden);
	assert_ok(limits_body_parse(text_bytes(body), &parts, &other, &err), err);
	assert_int_equal(parts.policy.len, 0);
	(void)snprintf(body, sizeof body, "%s---\n#", golden);
	assert_false(limits_body_parse(text_bytes(body), &parts, &other, &err));
	assert_error(err, "'policy-sha256'");

	err = ERROR_INIT;
	assert_false(limits_body_parse(text_bytes(golden), &parts, &other, &err));
	assert_error(err, "a line '---'");
	assert_false(limits_body_parse(text_bytes("---\n"), &parts, &other, &err));
	assert_false(limits_body_parse((struct bytes){0}, &parts, &other, &err));
}

/* ---- orders */

enum {
	ALICE,
	ALICE_TOO, /* her second key */
	BO,
	CLARK, /* decides only */
	MALLORY,
	PEOPLE,
};

static EVP_PKEY *people[PEOPLE];
static uint8_t spkis[PEOPLE][STATEMENT_SPKI_MAX], signatures[PEOPLE][STATEMENT_SIGNATURE_MAX];
static size_t spki_lens[PEOPLE], signature_lens[PEOPLE];
static char statement_text[STATEMENT_TEXT_MAX + 1];
static size_t statement_len;
static char body_text[] = "body";

static void
make_statement(enum statement_action action, const char *body)
{
	struct statement s = {
	    .action = action, .ca = "demo-issuing", .object = "demo-issuing", .issued = NOON};
	struct error err = ERROR_INIT;

	s.has_body = true;
	s.expires = NOON + 600;
	(void)SHA256((const unsigned char *)body, strlen(body), s.body_sha256);
	assert_ok(statement_format(&s, statement_text, &statement_len, &err), err);
	for (int i = 0; i < PEOPLE; i++)
		assert_ok(statement_sign(statement_text, statement_len, people[i], signatures[i],
			      &signature_lens[i], &err),
		    err);
}

static void
set_operator(int person, const char *name, unsigned rights)
{
	struct limits_operator *o = &limits.operators[limits.operator_count++];

	*o = (struct limits_operator){.rights = rights, .spki_len = spki_lens[person]};
	(void)snprintf(o->person, sizeof o->person, "%s", name);
	memcpy(o->spki, spkis[person], spki_lens[person]);
}

static int
set_up_people(void **state)
{
	struct error err = ERROR_INIT;

	for (int i = 0; i < PEOPLE; i++) {
		people[i] = make_key(i == BO ? "ed25519" : "p256");
		assert_ok(statement_public_key(people[i], spkis[i], &spki_lens[i], &err), err);
	}
	assert_ok(parses(golden, &err), err);
	limits.operator_count = 0;
	set_operator(ALICE, "alice", LIMITS_RIGHT_LIMITS | LIMITS_RIGHT_DECIDE);
	set_operator(ALICE_TOO, "alice", LIMITS_RIGHT_LIMITS);
	set_operator(BO, "bo", LIMITS_RIGHT_LIMITS);
	set_operator(CLARK, "clark", LIMITS_RIGHT_DECIDE);
	make_statement(STATEMENT_CA_CREATE, body_text);
	return 0;
}

static int
tear_down_people(void **state)
{
	for (int i = 0; i < PEOPLE; i++)
		EVP_PKEY_free(people[i]);
	return 0;
}

static struct signproto_order
order_of(const int *who, size_t count)
{
	struct signproto_order o = {
	    .statement = {(const uint8_t *)statement_text, statement_len},
	    .body = text_bytes(body_text),
	    .signature_count = count,
	};

	for (size_t i = 0; i < count; i++)
		o.signatures[i] = (struct signproto_operator_signature){
		    {spkis[who[i]], spki_lens[who[i]]},
		    {signatures[who[i]], signature_lens[who[i]]}};
	return o;
}

#define ORDER(...) order_of((const int[]){__VA_ARGS__}, sizeof((int[]){__VA_ARGS__}) / sizeof(int))

static bool
verify(struct signproto_order o, unsigned needed, struct error *err)
{
	struct order_rules rules = {
	    STATEMENT_CA_CREATE, "demo-issuing", &limits, LIMITS_RIGHT_LIMITS, needed};
	struct statement s;

	*err = ERROR_INIT;
	return order_verify(&o, &rules, &s, err);
}

static void
test_counts_persons(void **state)
{
	struct order_rules rules = {
	    STATEMENT_CA_CREATE, "demo-issuing", &limits, LIMITS_RIGHT_DECIDE, 1};
	struct signproto_order o;
	struct statement s;
	struct error err;
	unsigned persons;

	assert_ok(verify(ORDER(ALICE), 1, &err), err);
	assert_ok(verify(ORDER(BO, ALICE), 2, &err), err);
	assert_ok(verify(ORDER(MALLORY, BO, CLARK, ALICE), 2, &err), err);

	assert_false(verify(ORDER(ALICE), 2, &err));
	assert_error(err, "needs 2");
	assert_error(err, "signed: alice; could also sign: bo");
	assert_int_equal(err.code, ERROR_DENIED);
	assert_false(verify(ORDER(ALICE, ALICE), 2, &err));
	assert_false(verify(ORDER(ALICE, ALICE_TOO), 2, &err));
	assert_error(err, "signed: alice; could also sign: bo");
	assert_false(verify(ORDER(BO, CLARK), 2, &err));
	assert_error(err, "signed: bo; could also sign: alice");
	assert_false(verify(ORDER(MALLORY), 1, &err));
	assert_error(err, "signed: nobody; could also sign: alice, bo");
	assert_false(verify(ORDER(MALLORY), 0, &err));
	assert_false(verify(order_of(NULL, 0), 0, &err));

	/* The other right. */
	o = ORDER(BO, CLARK);
	err = ERROR_INIT;
	assert_ok(order_verify(&o, &rules, &s, &err), err);
	assert_ok(order_count(&o, &rules, &persons, &err), err);
	assert_int_equal(persons, 1);
}

static void
test_orders_are_whole(void **state)
{
	struct signproto_order o = ORDER(ALICE, BO);
	struct order_rules rules = {
	    STATEMENT_CA_CREATE, "demo-issuing", &limits, LIMITS_RIGHT_LIMITS, 2};
	struct statement s;
	struct error err = ERROR_INIT;

	assert_ok(order_verify(&o, &rules, &s, &err), err);
	assert_int_equal(s.issued, NOON);
	rules.action = STATEMENT_CA_LIMITS;
	assert_false(order_verify(&o, &rules, &s, &err));
	assert_error(err, "signed 'ca-create'");
	rules.action = STATEMENT_CA_CREATE;
	rules.object = "demo";
	err = ERROR_INIT;
	assert_false(order_verify(&o, &rules, &s, &err));
	assert_error(err, "about 'demo-issuing'");
	rules.object = "demo-issuing";
	err = ERROR_INIT;
	o.body = text_bytes("bodY");
	assert_false(order_verify(&o, &rules, &s, &err));
	assert_error(err, "digest differs");
	err = ERROR_INIT;
	o.body.len = 0;
	assert_false(order_verify(&o, &rules, &s, &err));
	assert_error(err, "do not belong together");
	/* One that does not verify is not merely left out. */
	o = ORDER(ALICE, BO, ALICE_TOO);
	o.signatures[2].signature = o.signatures[0].signature;
	err = ERROR_INIT;
	assert_false(order_verify(&o, &rules, &s, &err));
	assert_error(err, "signature of alice");
	/* A statement changed after it was signed. */
	o = ORDER(ALICE, BO);
	statement_text[strlen(
			   "chancery-statement: 1\naction: ca-create\nca: demo-issuing\nobject: "
			   "demo-issuing\ncsr-sha256: -\ntemplate: -\nreason: -\nbody-sha256: ") +
		       64 + strlen("\nnonce: ")] = 'f';
	err = ERROR_INIT;
	assert_false(order_verify(&o, &rules, &s, &err));
	assert_error(err, "does not verify");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reads_the_document),
	    cmocka_unit_test(test_adopts_a_key),
	    cmocka_unit_test(test_refuses_what_is_no_document),
	    cmocka_unit_test(test_no_two_texts_mean_the_same),
	    cmocka_unit_test(test_all_counts_have_their_limit),
	    cmocka_unit_test(test_sorts),
	    cmocka_unit_test(test_derives_lines_from_templates),
	    cmocka_unit_test(test_changes_follow_each_other),
	    cmocka_unit_test(test_a_retired_key_has_no_templates),
	    cmocka_unit_test(test_takes_bodies_apart),
	    cmocka_unit_test_setup_teardown(test_counts_persons, set_up_people, tear_down_people),
	    cmocka_unit_test_setup_teardown(test_orders_are_whole, set_up_people, tear_down_people),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
