/* Decisions as rows of the database, signed and forged. */

#include "tests/unit/x509_util.h"

#include <openssl/pem.h>
#include <openssl/sha.h>

#include "daemon/issuer/decision_check.h"
#include "daemon/x509/limits.h"

#define UUID "2f1c0f5e-6d0e-4b59-8a53-1f2f5f0a6a11"
#define OTHER_UUID "00000000-6d0e-4b59-8a53-1f2f5f0a6a11"
#define HASH "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define NOON 1795348800LL /* 2026-11-22T12:00:00Z */
#define OWN_UID 998

static const uint8_t hash[32] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa,
    0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa,
    0xbb, 0xcc, 0xdd, 0xee, 0xff};

/* A row and what it points to. */
struct decided {
	struct statement s;
	char text[STATEMENT_TEXT_MAX + 1];
	uint8_t signature[STATEMENT_SIGNATURE_MAX], spki[STATEMENT_SPKI_MAX];
	size_t signature_len, spki_len;
	struct decision_row row;
};

static void
set(char *to, const char *from)
{
	strcpy(to, from);
}

static bool
is_about_certificate(enum statement_action a)
{
	return a == STATEMENT_REVOKE || a == STATEMENT_HOLD || a == STATEMENT_RELEASE;
}

/* Writes the statement anew and signs it; the row refers to the result. */
static void
sign(struct decided *d, const char *key)
{
	struct error e = ERROR_INIT;
	size_t len;

	assert_ok(statement_format(&d->s, d->text, &len, &e), e);
	assert_ok(
	    statement_sign(d->text, len, shared_key(key), d->signature, &d->signature_len, &e), e);
	assert_ok(statement_public_key(shared_key(key), d->spki, &d->spki_len, &e), e);
	d->row.statement = d->text;
	d->row.signature = (struct bytes){d->signature, d->signature_len};
	d->row.credential_spki = (struct bytes){d->spki, d->spki_len};
	d->row.nonce = BYTES(d->s.nonce);
}

static const char body[] = "what the operator was shown\n";

/* ---- limits: who counts in a ceremony */

static void
add_operator(struct limits *l, const char *person, EVP_PKEY *key, unsigned rights)
{
	struct limits_operator *o = &l->operators[l->operator_count++];
	struct error e = ERROR_INIT;

	o->rights = rights;
	set(o->person, person);
	assert_ok(statement_public_key(key, o->spki, &o->spki_len, &e), e);
}

/* alice with two keys, bob with one; carol may only decide. The text and behind it
 * a line "---", as a body has it. */
static const char *
limits_text(unsigned quorum)
{
	static const uint8_t subject[] = {
	    0x30, 0x0c, 0x31, 0x0a, 0x30, 0x08, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0c, 0x01, 'x'};
	static char text[LIMITS_TEXT_MAX + 8];
	struct limits *l = calloc(1, sizeof *l);
	struct error e = ERROR_INIT;
	size_t len;

	assert_non_null(l);
	set(l->ca, "demo-issuing");
	set(l->token, "main");
	l->version = 1;
	l->algorithm = KEY_P256;
	l->signatures[l->signature_count++] = SIG_ECDSA_SHA256;
	memcpy(l->subject, subject, sizeof subject);
	l->subject_len = sizeof subject;
	l->not_after = NOON + 86400;
	l->path_length = -1;
	l->signer_ids[l->signer_count++] = 1;
	l->quorum = quorum;
	add_operator(l, "alice", shared_key("p256"), LIMITS_RIGHT_LIMITS);
	add_operator(l, "alice", shared_key("ed25519"), LIMITS_RIGHT_LIMITS | LIMITS_RIGHT_DECIDE);
	add_operator(l, "bob", shared_key("p256-bob"), LIMITS_RIGHT_LIMITS);
	add_operator(l, "carol", shared_key("p256-carol"), LIMITS_RIGHT_DECIDE);
	limits_sort(l);
	assert_ok(limits_format(l, text, &len, &e), e);
	set(text + len, "---\n");
	free(l);
	return text;
}

/* The document alone. */
static struct bytes
limits_of(const char *text)
{
	return (struct bytes){(const uint8_t *)text, strlen(text) - strlen("---\n")};
}

/* A decision of that action that is in order: alice may do everything. */
static void
make(struct decided *d, enum statement_action action)
{
	*d = (struct decided){.s = {.action = action, .issued = NOON, .expires = NOON + 600}};
	for (size_t i = 0; i < sizeof d->s.nonce; i++)
		d->s.nonce[i] = (uint8_t)i;
	d->row.action = statement_action_name(action);
	d->row.received_via = "uid:1000";
	d->row.received_at = NOON + 1;
	d->row.credential_live = true;
	d->row.person = "alice";
	set(d->row.roles[0], "administrator");
	set(d->row.roles[1], "manager");
	d->row.role_count = 2;
	set(d->s.ca, "demo-issuing");
	d->row.ca_name = "demo-issuing";
	if (action == STATEMENT_APPROVE || action == STATEMENT_DENY) {
		set(d->s.object, UUID);
		set(d->row.request_public_id, UUID);
		d->row.request_csr_sha256 = BYTES(hash);
		d->row.request_template = "tls-server/3";
		d->s.has_csr = true;
		memcpy(d->s.csr_sha256, hash, sizeof hash);
		set(d->s.template_name, "tls-server");
		d->s.template_version = 3;
		set(d->s.reason, "because");
	} else if (is_about_certificate(action)) {
		set(d->s.object, HASH);
		d->row.certificate_sha256 = BYTES(hash);
		if (action != STATEMENT_RELEASE)
			set(d->s.reason,
			    action == STATEMENT_HOLD ? "certificateHold" : "keyCompromise");
	} else if (action == STATEMENT_CRL_ISSUE) {
		set(d->s.object, "full");
	} else if (action == STATEMENT_KEY_ATTEST) {
		set(d->s.object, d->s.ca);
	} else {
		d->s.has_body = true;
		d->row.body = body;
		if (action == STATEMENT_CA_CREATE || action == STATEMENT_CA_LIMITS ||
		    action == STATEMENT_CA_REKEY)
			d->row.body = limits_text(1);
		if (statement_is_ceremony(action) && action != STATEMENT_CA_CREATE)
			d->row.limits[d->row.limits_count++] = limits_of(limits_text(1));
		SHA256((const unsigned char *)d->row.body, strlen(d->row.body), d->s.body_sha256);
		set(d->s.object, action == STATEMENT_OPERATOR_ADD     ? "bob"
				 : action == STATEMENT_TEMPLATE_APPLY ? "tls-server"
				 : action == STATEMENT_SIGNER_RESEED  ? "main"
				 : action == STATEMENT_CA_REKEY	      ? HASH
								      : d->s.ca);
		if (action == STATEMENT_OPERATOR_ADD || action == STATEMENT_TEMPLATE_APPLY ||
		    action == STATEMENT_SIGNER_RESEED) {
			d->s.ca[0] = '\0';
			d->row.ca_name = NULL;
		}
	}
	sign(d, "p256");
}

static bool
check(const struct decided *d, struct error *e)
{
	struct statement out;

	*e = ERROR_INIT;
	return decision_check(&d->row, OWN_UID, &out, e);
}

static void
assert_refused(const struct decided *d, enum error_code code, const char *words)
{
	struct error e;

	if (check(d, &e))
		fail_msg("not refused: '%s' was due", words);
	assert_error(e, words);
	assert_int_equal(e.code, code);
}

static void
test_in_order(void **state)
{
	for (unsigned a = 0; a < STATEMENT_ACTION_COUNT; a++) {
		struct decided d;
		struct statement out;
		struct error e = ERROR_INIT;

		if (statement_is_pin((enum statement_action)a))
			continue;
		make(&d, (enum statement_action)a);
		if (a == STATEMENT_CA_CREATE)
			d.row.ca_name = NULL; /* there is none yet */
		assert_ok(decision_check(&d.row, OWN_UID, &out, &e), e);
		assert_int_equal(out.action, a);
		assert_string_equal(out.object, d.s.object);
		sign(&d, "ed25519");
		assert_ok(check(&d, &e), e);
	}
}

/* A token's PIN is no business of the issuer's. */
static void
test_pin_is_no_decision(void **state)
{
	for (unsigned a = STATEMENT_PIN_UNLOCK; a <= STATEMENT_PIN_SPLIT; a++) {
		struct decided d;

		make(&d, STATEMENT_SIGNER_RESEED);
		d.s.action = (enum statement_action)a;
		d.s.expires = d.s.issued + 600;
		d.row.action = statement_action_name(d.s.action);
		sign(&d, "p256");
		assert_refused(&d, ERROR_INPUT, "is for a signer, and no decision");
	}
}

/* Every octet of statement and signature counts. */
static void
test_any_change(void **state)
{
	struct decided good;
	struct error e;

	make(&good, STATEMENT_REVOKE);
	for (size_t i = 0; i < strlen(good.text); i++) {
		struct decided d = good;

		d.row.statement = d.text;
		d.text[i] ^= 1;
		if (check(&d, &e))
			fail_msg("octet %zu of the statement does not count", i);
	}
	for (size_t i = 0; i < good.signature_len; i++) {
		struct decided d = good;

		d.row.signature.p = d.signature;
		d.signature[i] ^= 1;
		if (check(&d, &e))
			fail_msg("octet %zu of the signature does not count", i);
		d.row.signature.len = i;
		if (check(&d, &e))
			fail_msg("a signature of %zu octets passes", i);
	}
}

static void
test_another_persons_key(void **state)
{
	struct decided d;
	uint8_t other[STATEMENT_SPKI_MAX];
	size_t other_len;
	struct error e = ERROR_INIT;
	EVP_PKEY *mallory = make_key("p256");

	make(&d, STATEMENT_APPROVE);
	assert_ok(statement_public_key(mallory, other, &other_len, &e), e);
	d.row.credential_spki = (struct bytes){other, other_len};
	assert_refused(&d, ERROR_DENIED, "signature");
	EVP_PKEY_free(mallory);
}

static void
test_credentials(void **state)
{
	struct decided d;

	make(&d, STATEMENT_APPROVE);
	d.row.credential_live = false;
	assert_refused(&d, ERROR_DENIED, "is no operator's key, or no longer valid");
	make(&d, STATEMENT_APPROVE);
	d.row.person = NULL;
	assert_refused(&d, ERROR_DENIED, "is no operator's key, or no longer valid");
	make(&d, STATEMENT_APPROVE);
	d.row.credential_spki = (struct bytes){0};
	assert_refused(&d, ERROR_DENIED, "is not signed by a registered operator's key");
	make(&d, STATEMENT_APPROVE);
	d.row.signature = (struct bytes){0};
	assert_refused(&d, ERROR_LIMIT, "with a signature of 0");
}

/* administrator, or manager: never both, and no other role does. */
static void
test_roles(void **state)
{
	static const bool administrator[STATEMENT_ACTION_COUNT] = {
	    [STATEMENT_CA_CREATE] = true,
	    [STATEMENT_CA_INSTALL] = true,
	    [STATEMENT_TEMPLATE_APPLY] = true,
	    [STATEMENT_OPERATOR_ADD] = true,
	    [STATEMENT_CA_LIMITS] = true,
	    [STATEMENT_SIGNER_RESEED] = true,
	    [STATEMENT_CA_RENEW] = true,
	    [STATEMENT_CA_REKEY] = true,
	    [STATEMENT_CA_ROLLOVER] = true,
	    [STATEMENT_CA_CROSS] = true,
	    [STATEMENT_KEY_DESTROY] = true,
	};

	for (unsigned a = 0; a < STATEMENT_ACTION_COUNT; a++) {
		struct decided d;
		struct error e;

		if (statement_is_pin((enum statement_action)a))
			continue;
		make(&d, (enum statement_action)a);
		set(d.row.roles[0], "auditor");
		set(d.row.roles[1], administrator[a] ? "manager" : "administrator");
		assert_refused(&d, ERROR_DENIED,
		    administrator[a] ? "needs the role administrator" : "needs the role manager");
		set(d.row.roles[0], administrator[a] ? "administrator" : "manager");
		assert_ok(check(&d, &e), e);
		d.row.role_count = 0;
		assert_refused(&d, ERROR_DENIED, "which alice does not have");
	}
}

/* The row's columns are the front's words; the statement's are the operator's. */
static void
test_row_against_statement(void **state)
{
	static const uint8_t other[32] = {1};
	static const uint8_t nonce[16] = {9};
	struct decided d;

	make(&d, STATEMENT_HOLD);
	d.row.action = "release";
	assert_refused(&d, ERROR_INPUT, "the statement says hold where the row says release");
	make(&d, STATEMENT_APPROVE);
	set(d.row.request_public_id, OTHER_UUID);
	assert_refused(&d, ERROR_INPUT, "about request " UUID " and not about " OTHER_UUID);
	make(&d, STATEMENT_APPROVE);
	d.row.request_csr_sha256 = BYTES(other);
	assert_refused(&d, ERROR_DENIED, "is not the one that the operator signed for");
	make(&d, STATEMENT_APPROVE);
	d.row.request_csr_sha256 = (struct bytes){0};
	assert_refused(&d, ERROR_DENIED, "is not the one that the operator signed for");
	make(&d, STATEMENT_APPROVE);
	d.row.request_template = "tls-server/4";
	assert_refused(&d, ERROR_DENIED, "under template tls-server/4 and not under tls-server/3");
	make(&d, STATEMENT_APPROVE);
	d.row.request_template = NULL;
	assert_refused(&d, ERROR_INPUT, "names no request");
	make(&d, STATEMENT_APPROVE);
	d.row.ca_name = "other";
	assert_refused(&d, ERROR_INPUT, "about CA demo-issuing and not about other");
	make(&d, STATEMENT_REVOKE);
	d.row.certificate_sha256 = BYTES(other);
	assert_refused(&d, ERROR_INPUT, "the statement is about certificate " HASH);
	make(&d, STATEMENT_REVOKE);
	d.row.certificate_sha256 = (struct bytes){0};
	assert_refused(&d, ERROR_INPUT, "the statement is about certificate " HASH);
	make(&d, STATEMENT_REVOKE);
	d.row.ca_name = "other";
	assert_refused(&d, ERROR_INPUT, "and not about other");
	make(&d, STATEMENT_CRL_ISSUE);
	d.row.ca_name = "other";
	assert_refused(&d, ERROR_INPUT, "and not about other");
	make(&d, STATEMENT_KEY_ATTEST);
	d.row.ca_name = "other";
	assert_refused(&d, ERROR_INPUT, "and not about other");
	make(&d, STATEMENT_CA_INSTALL);
	d.row.ca_name = NULL;
	assert_refused(&d, ERROR_INPUT, "and not about any CA that exists");
	/* Handed in again under another nonce: the database would take it for new. */
	make(&d, STATEMENT_RELEASE);
	d.row.nonce = BYTES(nonce);
	assert_refused(&d, ERROR_DENIED, "a statement counts once");
	d.row.nonce = (struct bytes){0};
	assert_refused(&d, ERROR_DENIED, "a statement counts once");
}

/* A denial may leave CSR and template away; what it names must be right. */
static void
test_deny(void **state)
{
	struct decided d;
	struct error e;

	make(&d, STATEMENT_DENY);
	d.s.has_csr = false;
	d.s.template_name[0] = '\0';
	d.s.template_version = 0;
	sign(&d, "p256");
	d.row.request_csr_sha256 = (struct bytes){0};
	assert_ok(check(&d, &e), e);
	make(&d, STATEMENT_DENY);
	d.row.request_template = "tls-server/4";
	assert_refused(&d, ERROR_DENIED, "under template tls-server/4");
}

static void
test_bodies(void **state)
{
	struct decided d;

	make(&d, STATEMENT_TEMPLATE_APPLY);
	d.row.body = "what the operator was shown\n ";
	assert_refused(&d, ERROR_DENIED, "its digest differs");
	d.row.body = "";
	assert_refused(&d, ERROR_DENIED, "its digest differs");
	d.row.body = NULL;
	assert_refused(&d, ERROR_INPUT, "do not belong together");
	make(&d, STATEMENT_APPROVE);
	d.row.body = body;
	assert_refused(&d, ERROR_INPUT, "do not belong together");
}

/* ---- ceremonies */

/* Signs d's statement as somebody else. */
static void
sign_also(struct decided *d, EVP_PKEY *key, int64_t when)
{
	static uint8_t octets[8][STATEMENT_SIGNATURE_MAX + STATEMENT_SPKI_MAX];
	static unsigned turn;
	struct decision_signature *more = &d->row.more[d->row.more_count++];
	uint8_t *to = octets[turn++ % 8];
	size_t len, spki_len;
	struct error e = ERROR_INIT;

	assert_ok(statement_sign(d->text, strlen(d->text), key, to, &len, &e), e);
	assert_ok(statement_public_key(key, to + STATEMENT_SIGNATURE_MAX, &spki_len, &e), e);
	*more = (struct decision_signature){
	    {to + STATEMENT_SIGNATURE_MAX, spki_len}, {to, len}, when};
}

/* A ceremony that takes two persons, signed by alice. */
static void
make_for_two(struct decided *d, enum statement_action action)
{
	const char *text;

	make(d, action);
	text = limits_text(2);
	if (action == STATEMENT_CA_CREATE || action == STATEMENT_CA_REKEY) {
		d->row.body = text;
		SHA256((const unsigned char *)text, strlen(text), d->s.body_sha256);
	} else {
		d->row.limits[0] = limits_of(text);
		d->row.body = body;
		SHA256((const unsigned char *)body, strlen(body), d->s.body_sha256);
	}
	d->s.expires = d->s.issued + STATEMENT_LIFE_CEREMONY_S;
	sign(d, "p256");
}

static const enum statement_action ceremonies[] = {STATEMENT_CA_CREATE, STATEMENT_CA_INSTALL,
    STATEMENT_CA_LIMITS, STATEMENT_SIGNER_RESEED, STATEMENT_CA_RENEW, STATEMENT_CA_REKEY,
    STATEMENT_CA_ROLLOVER, STATEMENT_KEY_DESTROY};

static void
test_quorum(void **state)
{
	for (size_t i = 0; i < COUNT_OF(ceremonies); i++) {
		struct decided d;
		struct error e;

		make_for_two(&d, ceremonies[i]);
		assert_refused(&d, ERROR_DENIED, "needs 2 of the operators");
		assert_refused(&d, ERROR_DENIED, "signed: alice; could also sign: bob");
		/* Her other key is no other person. */
		sign_also(&d, shared_key("ed25519"), NOON + 2);
		assert_refused(&d, ERROR_DENIED, "signed: alice; could also sign: bob");
		/* carol has not the right, and mallory is nobody. */
		sign_also(&d, shared_key("p256-carol"), NOON + 3);
		sign_also(&d, shared_key("p256-mallory"), NOON + 3);
		assert_refused(&d, ERROR_DENIED, "signed: alice; could also sign: bob");
		sign_also(&d, shared_key("p256-bob"), NOON + 6 * 86400);
		assert_ok(check(&d, &e), e);
	}
}

/* Every signature is verified, and each must have come in time. */
static void
test_signatures_of_others(void **state)
{
	static uint8_t forged[STATEMENT_SIGNATURE_MAX];
	struct signproto_order order;
	struct decided d;
	struct error e;

	make_for_two(&d, STATEMENT_CA_LIMITS);
	sign_also(&d, shared_key("p256-bob"), NOON + 2);
	assert_ok(check(&d, &e), e);
	decision_order(&d.row, &order);
	assert_int_equal(order.signature_count, 2);
	assert_true(bytes_equal(order.signatures[0].spki, d.row.credential_spki));
	assert_true(bytes_equal(order.signatures[1].signature, d.row.more[0].signature));
	assert_int_equal(order.body.len, strlen(body));
	assert_int_equal(order.statement.len, strlen(d.text));

	memcpy(forged, d.row.more[0].signature.p, d.row.more[0].signature.len);
	forged[d.row.more[0].signature.len - 1] ^= 1;
	d.row.more[0].signature.p = forged;
	assert_refused(&d, ERROR_DENIED, "signature of bob");
	/* alice's signature under bob's name */
	d.row.more[0].signature = d.row.signature;
	assert_refused(&d, ERROR_DENIED, "signature of bob");

	make_for_two(&d, STATEMENT_CA_LIMITS);
	sign_also(&d, shared_key("p256-bob"), d.s.expires);
	assert_refused(&d, ERROR_DENIED, "statement expired at 2026-11-29T12:00:00Z");
	d.row.more[0].received_at = d.s.expires - 1;
	assert_ok(check(&d, &e), e);
	d.row.overfull = true;
	assert_refused(&d, ERROR_LIMIT, "at most 16 signatures");
}

/* A reseed takes the quorum of every key that it is about. */
static void
test_several_documents(void **state)
{
	static char second[LIMITS_TEXT_MAX + 8];
	struct decided d;
	struct error e;

	make(&d, STATEMENT_SIGNER_RESEED);
	set(second, limits_text(1));
	d.row.limits[0] = limits_of(second);
	d.row.limits[d.row.limits_count++] = limits_of(limits_text(2));
	assert_refused(&d, ERROR_DENIED, "needs 2 of the operators");
	sign_also(&d, shared_key("p256-bob"), NOON + 2);
	assert_ok(check(&d, &e), e);
	d.row.limits[0].len--;
	assert_refused(&d, ERROR_INPUT, "limits");
	d.row.limits_count = 0;
	assert_refused(&d, ERROR_CONFLICT, "there are no limits of a key");
}

/* A new key takes the quorum of its own limits and of those of the key before it. */
static void
test_both_keys(void **state)
{
	static char own[LIMITS_TEXT_MAX + 8], second[LIMITS_TEXT_MAX + 8];
	struct decided d;
	struct error e;

	make(&d, STATEMENT_CA_REKEY);
	assert_ok(check(&d, &e), e);
	set(own, d.row.body);
	d.row.body = own;
	set(second, limits_text(2));
	d.row.limits[0] = limits_of(second);
	assert_refused(&d, ERROR_DENIED, "needs 2 of the operators");
	sign_also(&d, shared_key("p256-bob"), NOON + 2);
	assert_ok(check(&d, &e), e);

	make(&d, STATEMENT_CA_REKEY);
	d.row.limits[0] = limits_of(own);
	d.row.body = limits_text(2);
	SHA256((const unsigned char *)d.row.body, strlen(d.row.body), d.s.body_sha256);
	sign(&d, "p256");
	assert_refused(&d, ERROR_DENIED, "needs 2 of the operators");
	make(&d, STATEMENT_CA_REKEY);
	d.row.limits_count = 0;
	assert_refused(&d, ERROR_CONFLICT, "there are no limits of a key");
}

/* The body of a new CA is its limits, whatever else it may be. */
static void
test_limits_that_are_none(void **state)
{
	struct decided d;

	make(&d, STATEMENT_CA_CREATE);
	d.row.body = body;
	SHA256((const unsigned char *)body, strlen(body), d.s.body_sha256);
	sign(&d, "p256");
	assert_refused(&d, ERROR_INPUT, "a limits document, a line '---'");
	/* Signed by somebody whom they do not name. */
	make(&d, STATEMENT_CA_CREATE);
	sign(&d, "p256-mallory");
	assert_refused(&d, ERROR_DENIED, "signed: nobody; could also sign: alice, bob");
	sign(&d, "p256-carol");
	assert_refused(&d, ERROR_DENIED, "signed: nobody; could also sign: alice, bob");
}

/* When it came in counts, not when it is looked at. */
static void
test_times(void **state)
{
	struct decided d;
	struct error e;

	make(&d, STATEMENT_APPROVE);
	d.row.received_at = NOON + 599;
	assert_ok(check(&d, &e), e);
	d.row.received_at = NOON + 600;
	assert_refused(&d, ERROR_DENIED, "statement expired at 2026-11-22T12:10:00Z");
	d.row.received_at = NOON - STATEMENT_SKEW_MAX_S;
	assert_ok(check(&d, &e), e);
	d.row.received_at--;
	assert_refused(&d, ERROR_DENIED, "which is in the future");
}

static void
test_no_statement(void **state)
{
	struct decided d;

	make(&d, STATEMENT_APPROVE);
	d.row.statement = "";
	assert_refused(&d, ERROR_INPUT, "statement, line 1");
	strcat(d.text, "more: 1\n");
	d.row.statement = d.text;
	assert_refused(&d, ERROR_INPUT, "something stands after");
}

/* The one decision that needs no signature. */
static void
test_first_operator(void **state)
{
	static const struct {
		enum statement_action action;
		bool first;
		const char *via;
		bool good;
	} cases[] = {
	    {STATEMENT_OPERATOR_ADD, true, "uid:0", true},
	    {STATEMENT_OPERATOR_ADD, true, "uid:998", true},
	    {STATEMENT_OPERATOR_ADD, true, "uid:1000", false},
	    {STATEMENT_OPERATOR_ADD, true, "uid:00", false},
	    {STATEMENT_OPERATOR_ADD, true, "uid:9980", false},
	    {STATEMENT_OPERATOR_ADD, true, "tls:" HASH, false},
	    {STATEMENT_OPERATOR_ADD, false, "uid:0", false},
	    {STATEMENT_TEMPLATE_APPLY, true, "uid:0", false},
	    {STATEMENT_CA_CREATE, true, "uid:0", false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct decided d;
		struct error e;

		make(&d, cases[i].action);
		d.row.credential_spki = d.row.signature = (struct bytes){0};
		d.row.credential_live = false;
		d.row.person = NULL;
		d.row.role_count = 0;
		d.row.first_operator = cases[i].first;
		d.row.received_via = cases[i].via;
		if (cases[i].good)
			assert_ok(check(&d, &e), e);
		else
			assert_refused(
			    &d, ERROR_DENIED, "not signed by a registered operator's key");
		/* What it brings along is checked all the same. */
		d.row.body = "other";
		assert_false(check(&d, &e));
	}
}

/* ---- the body of an operator-add */

static void
public_key_pem(const char *kind, char *out, size_t size)
{
	BIO *bio = BIO_new(BIO_s_mem());
	int len;

	assert_true(PEM_write_bio_PUBKEY(bio, shared_key(kind)));
	len = BIO_read(bio, out, (int)size - 1);
	assert_true(len > 0);
	out[len] = '\0';
	BIO_free(bio);
}

static void
test_operator_body(void **state)
{
	char text[2048], pem[1024];
	struct operator_body b;
	struct error e = ERROR_INIT;

	public_key_pem("p256", pem, sizeof pem);
	(void)snprintf(text, sizeof text,
	    "person: Jo.Doe@example\nroles: administrator,manager\nkind: operator_key\n%s", pem);
	assert_ok(operator_body_parse(text, &b, &e), e);
	assert_string_equal(b.person, "Jo.Doe@example");
	assert_int_equal(b.role_count, 2);
	assert_string_equal(b.roles[0], "administrator");
	assert_string_equal(b.roles[1], "manager");
	assert_string_equal(b.kind, "operator_key");
	assert_true(statement_check_key(b.spki, b.spki_len, &e));
	public_key_pem("rsa2048", pem, sizeof pem);
	(void)snprintf(
	    text, sizeof text, "person: ra\nroles: submitter\nkind: tls_client\n%s\n\n", pem);
	assert_ok(operator_body_parse(text, &b, &e), e);
	assert_string_equal(b.kind, "tls_client");
}

static void
test_operator_body_refused(void **state)
{
	static const char name70[] =
	    "1234567890123456789012345678901234567890123456789012345678901234567890";
	char text[4096], p256[1024], p384[1024], rsa[1024], long_name[256];
	const struct {
		const char *head, *pem, *words;
	} cases[] = {
	    {"", p256, "person is missing"},
	    {"person: bob\n", p256, "roles is missing"},
	    {"roles: manager\nperson: bob\nkind: operator_key\n", p256, "person is missing"},
	    {"person: bob\nroles: manager\n", p256, "kind is missing"},
	    {"person:bob\nroles: manager\nkind: operator_key\n", p256, "person is missing"},
	    {"person: \nroles: manager\nkind: operator_key\n", p256,
		"person of an operator has 1 to 64"},
	    {long_name, p256, "person of an operator has 1 to 64"},
	    {"person: bob\nroles: ,\nkind: operator_key\n", p256, "needs at least one role"},
	    {"person: bob\nroles: a,b,c,d,e,f,g,h,i\nkind: operator_key\n", p256,
		"at most 8 roles"},
	    {"person: bob\nroles: manager\nkind: operator\n", p256, "not \"operator\""},
	    {"person: bob\nroles: manager\nkind: operator_key\n", "", "PUBLIC KEY"},
	    {"person: bob\nroles: manager\nkind: operator_key\n", p384, "P-256"},
	    {"person: bob\nroles: manager\nkind: operator_key\n", rsa, "P-256"},
	};

	(void)snprintf(long_name, sizeof long_name,
	    "person: %s\nroles: manager\nkind: operator_key\n", name70);
	public_key_pem("p256", p256, sizeof p256);
	public_key_pem("p384", p384, sizeof p384);
	public_key_pem("rsa2048", rsa, sizeof rsa);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct operator_body b;
		struct error e = ERROR_INIT;

		(void)snprintf(text, sizeof text, "%s%s", cases[i].head, cases[i].pem);
		if (operator_body_parse(text, &b, &e))
			fail_msg("case %zu: not refused", i);
		assert_error(e, cases[i].words);
	}
	/* A second key would be one that nobody looked at. */
	for (int twice = 0; twice < 2; twice++) {
		struct operator_body b;
		struct error e = ERROR_INIT;

		(void)snprintf(text, sizeof text,
		    "person: bob\nroles: manager\nkind: operator_key\n%s%s", p256,
		    twice ? p256 : "x");
		assert_false(operator_body_parse(text, &b, &e));
		assert_error(e, "something stands behind the public key");
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_in_order),
	    cmocka_unit_test(test_pin_is_no_decision),
	    cmocka_unit_test(test_any_change),
	    cmocka_unit_test(test_another_persons_key),
	    cmocka_unit_test(test_credentials),
	    cmocka_unit_test(test_roles),
	    cmocka_unit_test(test_row_against_statement),
	    cmocka_unit_test(test_deny),
	    cmocka_unit_test(test_bodies),
	    cmocka_unit_test(test_quorum),
	    cmocka_unit_test(test_signatures_of_others),
	    cmocka_unit_test(test_several_documents),
	    cmocka_unit_test(test_both_keys),
	    cmocka_unit_test(test_limits_that_are_none),
	    cmocka_unit_test(test_times),
	    cmocka_unit_test(test_no_statement),
	    cmocka_unit_test(test_first_operator),
	    cmocka_unit_test(test_operator_body),
	    cmocka_unit_test(test_operator_body_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
