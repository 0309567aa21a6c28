/*
 * Orders of operators, carried out on a real token: keys made once, limits changed by
 * their quorum only, what was put back or damaged noticed.
 */

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/core/encode.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/destruction.h"
#include "daemon/x509/name.h"
#include "daemon/x509/pem.h"
#include "pkcs11/journal.h"
#include "pkcs11/limits_cache.h"
#include "pkcs11/limits_chain.h"
#include "pkcs11/limits_floor.h"
#include "pkcs11/limits_show.h"
#include "pkcs11/orders.h"
#include "pkcs11/token.h"
#include "tests/unit/ceremony.h"
#include "tests/unit/softhsm.h"

#define DAY 86400

static struct softhsm hsm;
static struct token *token;
static struct session rw;
static struct journal *journal;
static struct orders_env env;
static int64_t started;
static uint8_t subject_buf[NAME_DER_MAX];
static struct bytes subject;

/* The CA of a test: its limits in force, the order that made its key, and the key. */
static struct limits limits, first;
static struct ceremony_order first_order, order;
static struct key_limits kept;
static uint8_t id[KEY_ID_LEN];
static uint8_t spki_der[SPKI_MAX];
static struct spki spki;

static int
set_up(void **state)
{
	enum signproto_state token_state;
	struct journal_options options;
	struct error e = ERROR_INIT;

	ceremony_begin();
	softhsm_make(&hsm);
	options = (struct journal_options){.state_dir = hsm.state_dir,
	    .token = "main",
	    .signer_id = 1,
	    .now = journal_clock_now()};
	if (!token_open(&hsm.config, hsm.state_dir, &token, &token_state, &e) ||
	    !journal_open(&options, &journal, &e) ||
	    !session_open(token_functions(token), token_info(token)->slot, true, &rw, &e) ||
	    !name_from_text(
		"CN=Unit CA,O=Example,C=DE", subject_buf, sizeof subject_buf, &subject, &e)) {
		print_error("%s\n", e.text);
		return -1;
	}
	started = (int64_t)time(NULL);
	env = (struct orders_env){journal, hsm.state_dir, "main", 1, started};
	return 0;
}

static int
tear_down(void **state)
{
	session_close(&rw);
	journal_free(journal);
	token_close(token);
	softhsm_remove(&hsm);
	ceremony_end();
	return 0;
}

/* ---- what the tests do again and again */

#define OK(call)                                            \
	do {                                                \
		struct error e_ = ERROR_INIT, *e = &e_;     \
		if (!(call))                                \
			fail_msg("%s: %s", #call, e_.text); \
	} while (0)

#define REFUSED(call, error_code, words)                                            \
	do {                                                                        \
		struct error e_ = ERROR_INIT, *e = &e_;                             \
		if (call)                                                           \
			fail_msg("%s was carried out", #call);                      \
		if (e_.code != (error_code) || strstr(e_.text, words) == NULL)      \
			fail_msg("%s: '%s' (%s) does not say '%s'", #call, e_.text, \
			    error_code_name(e_.code), words);                       \
	} while (0)

static bool
make_key(const struct ceremony_order *o, struct error *e)
{
	struct key key;

	if (!orders_make_key(&rw, &env, &o->order, id, &key, e))
		return false;
	memcpy(spki_der, key.spki_der, sizeof spki_der);
	assert_true(spki_parse(
	    (struct bytes){spki_der + (key.spki.whole.p - key.spki_der), key.spki.whole.len}, &spki,
	    NULL));
	key_clear(&key);
	return true;
}

static bool
set_limits(const int *who, struct error *e)
{
	ceremony_order(&order, &limits, who);
	return orders_set_limits(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &order.order, e);
}

static bool
in_force(struct error *e)
{
	bool refused = false;

	return limits_floor_load(
	    &rw, hsm.state_dir, (struct bytes){id, KEY_ID_LEN}, &kept, &refused, e);
}

/* A key whose limits one person may change. */
static void
make_ca(const char *name, bool root)
{
	ceremony_limits(&limits, name, KEY_P256, subject);
	limits.root = root;
	first = limits;
	ceremony_order(&first_order, &limits, CEREMONY_BY(ALICE));
	OK(make_key(&first_order, e));
}

static void
next_version(void)
{
	uint8_t digest[32];

	assert_true(spki_sha256(&spki, digest, NULL));
	ceremony_next(&limits, digest);
}

static void
path_of(const char *suffix, char out[256])
{
	char text[KEY_ID_TEXT_MAX];

	key_limits_id_text((struct bytes){id, KEY_ID_LEN}, text);
	(void)snprintf(out, 256, "%s/%s%s", hsm.state_dir, text, suffix);
}

static void
remove_file(const char *suffix)
{
	char path[256];

	path_of(suffix, path);
	assert_int_equal(unlink(path), 0);
}

static size_t
read_file(const char *suffix, char *out, size_t size)
{
	char path[256];
	FILE *f;
	size_t n;

	path_of(suffix, path);
	f = fopen(path, "r");
	assert_non_null(f);
	n = fread(out, 1, size - 1, f);
	assert_int_equal(fclose(f), 0);
	out[n] = '\0';
	return n;
}

static void
write_file(const char *suffix, const char *text)
{
	char path[256];

	path_of(suffix, path);
	softhsm_write(path, text, 0600);
}

static CK_ULONG
count_keys(void)
{
	CK_OBJECT_CLASS class = CKO_PRIVATE_KEY;
	CK_ATTRIBUTE search = {CKA_CLASS, &class, sizeof class};
	CK_OBJECT_HANDLE found[64];
	CK_ULONG count;

	assert_int_equal(rw.f->C_FindObjectsInit(rw.handle, &search, 1), CKR_OK);
	assert_int_equal(rw.f->C_FindObjects(rw.handle, found, 64, &count), CKR_OK);
	assert_int_equal(rw.f->C_FindObjectsFinal(rw.handle), CKR_OK);
	return count;
}

/* ---- ca-create */

static void
a_key_is_made_once(void **state)
{
	uint8_t digest[32], again[32], old_id[KEY_ID_LEN];
	CK_ULONG keys = count_keys();

	make_ca("once", false);
	assert_int_equal(count_keys(), keys + 1);
	limits_sha256(first_order.body, strlen(first_order.body) - strlen("---\n"), digest);
	assert_memory_equal(id, digest, KEY_ID_LEN);
	memcpy(old_id, id, KEY_ID_LEN);
	assert_true(spki_sha256(&spki, digest, NULL));
	OK(in_force(e));
	assert_int_equal(kept.document.version, 1);
	assert_string_equal(kept.document.ca, "once");
	assert_false(kept.installed);

	/* Again; and by another statement about the same document. */
	OK(make_key(&first_order, e));
	ceremony_order(&order, &first, CEREMONY_BY(BOB));
	OK(make_key(&order, e));
	assert_true(spki_sha256(&spki, again, NULL));
	assert_memory_equal(again, digest, 32);
	assert_memory_equal(id, old_id, KEY_ID_LEN);

	/* As after a crash between making the key and noting it. */
	remove_file(".key");
	REFUSED(in_force(e), ERROR_DENIED, "has no limits");
	OK(make_key(&first_order, e));
	OK(in_force(e));
	assert_true(spki_sha256(&spki, again, NULL));
	assert_memory_equal(again, digest, 32);
	assert_int_equal(count_keys(), keys + 1);

	/* A document of its own is another key. */
	RAND_bytes(limits.nonce, sizeof limits.nonce);
	ceremony_order(&order, &limits, CEREMONY_BY(ALICE));
	OK(make_key(&order, e));
	assert_int_equal(count_keys(), keys + 2);
}

static void
a_key_needs_its_quorum_and_place(void **state)
{
	CK_ULONG keys = count_keys();

	ceremony_limits(&limits, "quorum", KEY_P256, subject);
	limits.quorum = 2;
	ceremony_order(&order, &limits, CEREMONY_BY(ALICE));
	REFUSED(make_key(&order, e), ERROR_DENIED, "could also sign: bob");
	ceremony_order(&order, &limits, CEREMONY_BY(ALICE, ALICE));
	REFUSED(make_key(&order, e), ERROR_DENIED, "could also sign: bob");
	ceremony_order(&order, &limits, CEREMONY_BY(ALICE, CAROL, MALLORY));
	REFUSED(make_key(&order, e), ERROR_DENIED, "could also sign: bob");

	ceremony_order(&order, &limits, CEREMONY_BY(ALICE, BOB));
	env.token = "other";
	REFUSED(make_key(&order, e), ERROR_DENIED, "for a key on token 'main'");
	env.token = "main";
	env.signer_id = 2;
	REFUSED(make_key(&order, e), ERROR_DENIED, "do not name the signer id 2");
	env.signer_id = 1;
	env.now += DAY;
	REFUSED(make_key(&order, e), ERROR_DENIED, "expired");
	env.now -= DAY;
	assert_int_equal(count_keys(), keys);

	/* An order of another kind, and a later version. */
	order.statement[strlen("chancery-statement: 1\naction: ca-")] = 'l';
	REFUSED(make_key(&order, e), ERROR_INPUT, "unknown action");
	ceremony_sign(&order, STATEMENT_CA_INSTALL, "quorum", env.now, CEREMONY_BY(ALICE, BOB));
	REFUSED(make_key(&order, e), ERROR_DENIED, "signed 'ca-install'");
	limits.version = 2;
	limits.previous[0] = limits.key[0] = 1;
	ceremony_order(&order, &limits, CEREMONY_BY(ALICE, BOB));
	REFUSED(make_key(&order, e), ERROR_INPUT, "needs limits of version 1");
	assert_int_equal(count_keys(), keys);
}

/* The next key of a CA is made like its first, by an order that names the one before. */
static void
next_keys_are_made_by_their_order(void **state)
{
	static const char predecessor[] =
	    "a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4a1b2c3d4";
	CK_ULONG keys = count_keys();

	ceremony_limits(&limits, "next", KEY_P256, subject);
	ceremony_order(&order, &limits, CEREMONY_BY(ALICE));
	ceremony_sign_about(
	    &order, STATEMENT_CA_REKEY, "another", predecessor, env.now, CEREMONY_BY(ALICE));
	REFUSED(make_key(&order, e), ERROR_DENIED, "limits of CA 'next'");
	ceremony_sign_about(
	    &order, STATEMENT_CA_REKEY, "next", predecessor, env.now, CEREMONY_BY(MALLORY));
	REFUSED(make_key(&order, e), ERROR_DENIED, "could also sign: alice");
	assert_int_equal(count_keys(), keys);
	ceremony_sign_about(
	    &order, STATEMENT_CA_REKEY, "next", predecessor, env.now, CEREMONY_BY(ALICE));
	OK(make_key(&order, e));
	assert_int_equal(count_keys(), keys + 1);
	/* Read again from the disk, and found again. */
	OK(in_force(e));
	OK(make_key(&order, e));
	assert_int_equal(count_keys(), keys + 1);
}

/* Everything on the disk is gone; the token remembers. */
static void
lost_limits_come_back_as_they_were(void **state)
{
	struct ceremony_order second;

	make_ca("lost", false);
	next_version();
	OK(set_limits(CEREMONY_BY(ALICE), e));
	second = order;
	second.order.statement.p = (const uint8_t *)second.statement;
	second.order.body.p = (const uint8_t *)second.body;
	second.order.signatures[0].signature.p = second.signatures[0];
	remove_file(".key");
	remove_file(".limits-1");
	remove_file(".limits-2");

	/* Long after: the orders count, because the token knows of them; but the key signs
	 * nothing before the last one. */
	env.now += 365 * DAY;
	env.signer_id = 2; /* the newer limits may name it */
	OK(make_key(&first_order, e));
	env.signer_id = 1;
	REFUSED(in_force(e), ERROR_DENIED, "the token remembers version 2");
	OK(orders_set_limits(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &second.order, e));
	OK(in_force(e));
	assert_int_equal(kept.document.version, 2);
	env.now -= 365 * DAY;
}

/* Whoever fills an empty state directory with limits of his own gets another key. */
static void
others_cannot_take_a_key_over(void **state)
{
	uint8_t ours[KEY_ID_LEN], theirs[KEY_ID_LEN];
	char text[65536], key[4096];

	make_ca("taken", false);
	memcpy(ours, id, KEY_ID_LEN);
	limits.operator_count = 0;
	ceremony_add(&limits, MALLORY, "alice", LIMITS_RIGHT_LIMITS | LIMITS_RIGHT_DECIDE);
	ceremony_order(&order, &limits, CEREMONY_BY(MALLORY));
	OK(make_key(&order, e));
	memcpy(theirs, id, KEY_ID_LEN);
	assert_memory_not_equal(ours, theirs, KEY_ID_LEN);

	/* Their files under our key's name. */
	assert_true(read_file(".limits-1", text, sizeof text) > 0);
	memcpy(id, ours, KEY_ID_LEN);
	write_file(".limits-1", text);
	REFUSED(in_force(e), ERROR_DENIED, "made for another document");
	REFUSED(make_key(&first_order, e), ERROR_DENIED, "made for another document");
	memcpy(id, theirs, KEY_ID_LEN);
	assert_true(read_file(".key", key, sizeof key) > 0);
	memcpy(id, ours, KEY_ID_LEN);
	write_file(".key", key);
	REFUSED(in_force(e), ERROR_DENIED, "is damaged");
	/* Ours, and a key of theirs. */
	remove_file(".key");
	remove_file(".limits-1");
	OK(make_key(&first_order, e));
	OK(in_force(e));
}

static void
a_key_that_could_leave_is_not_used(void **state)
{
	CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
	CK_MECHANISM mechanism = {CKM_EC_KEY_PAIR_GEN, NULL, 0};
	uint8_t curve[] = {0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}, digest[32];
	CK_ATTRIBUTE public[] = {
	    {CKA_TOKEN, &yes, 1}, {CKA_ID, id, KEY_ID_LEN}, {CKA_EC_PARAMS, curve, sizeof curve}};
	CK_ATTRIBUTE private[] = {{CKA_TOKEN, &yes, 1}, {CKA_PRIVATE, &yes, 1},
	    {CKA_SENSITIVE, &no, 1}, {CKA_EXTRACTABLE, &yes, 1}, {CKA_ID, id, KEY_ID_LEN}};
	CK_OBJECT_HANDLE public_key, private_key;

	CK_ULONG keys = count_keys();

	for (size_t signers = 1; signers <= 2; signers++) {
		ceremony_limits(&limits, "leaky", KEY_P256, subject);
		limits.signer_ids[1] = 2;
		limits.signer_count = signers;
		ceremony_order(&order, &limits, CEREMONY_BY(ALICE));
		limits_sha256(order.body, strlen(order.body) - strlen("---\n"), digest);
		limits_chain_id(digest, id);
		assert_int_equal(rw.f->C_GenerateKeyPair(rw.handle, &mechanism, public, 3, private,
				     5, &public_key, &private_key),
		    CKR_OK);
		REFUSED(make_key(&order, e), ERROR_DENIED, "CKA_SENSITIVE is not true");
		assert_int_equal(rw.f->C_DestroyObject(rw.handle, public_key), CKR_OK);
		/* It makes room, unless another signer may just be making it. */
		if (signers == 2) {
			REFUSED(make_key(&order, e), ERROR_CONFLICT, "the private half only");
			assert_int_equal(rw.f->C_DestroyObject(rw.handle, private_key), CKR_OK);
		}
		OK(make_key(&order, e));
		assert_int_equal(count_keys(), keys + signers);
	}
}

/* ---- ca-limits */

static void
limits_change_by_their_quorum(void **state)
{
	make_ca("change", false);
	next_version();
	limits.quorum = 2;
	REFUSED(set_limits(CEREMONY_BY(CAROL), e), ERROR_DENIED, "signed: nobody");
	REFUSED(set_limits(CEREMONY_BY(MALLORY), e), ERROR_DENIED, "signed: nobody");
	OK(in_force(e));
	assert_int_equal(kept.document.version, 1);
	OK(set_limits(CEREMONY_BY(ALICE), e));
	OK(in_force(e));
	assert_int_equal(kept.document.version, 2);
	assert_int_equal(kept.document.quorum, 2);
	/* Again: it is in force. */
	OK(orders_set_limits(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &order.order, e));
	/* The first one again: not back. */
	REFUSED(orders_set_limits(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &first_order.order, e),
	    ERROR_CONFLICT, "version 1 does not follow version 2");

	/* A change of something else than what is in force. */
	limits.quorum = 1;
	next_version();
	REFUSED(set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_CONFLICT, "'previous'");
}

/* Nobody brings a retired key back, with whatever signatures. */
static void
retiring_is_for_good(void **state)
{
	make_ca("retire", false);
	next_version();
	limits.retired = LIMITS_KEY_RETIRED;
	limits.template_count = 0;
	OK(set_limits(CEREMONY_BY(ALICE), e));
	OK(in_force(e));
	assert_int_equal(kept.document.retired, LIMITS_KEY_RETIRED);

	next_version();
	limits.retired = LIMITS_IN_USE;
	REFUSED(
	    set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_CONFLICT, "the key is retired for good");
	limits.retired = LIMITS_CA_RETIRED;
	OK(set_limits(CEREMONY_BY(ALICE), e));
	next_version();
	limits.retired = LIMITS_KEY_RETIRED;
	REFUSED(
	    set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_CONFLICT, "the CA is retired for good");
	limits.retired = LIMITS_CA_RETIRED;
	limits.quorum = 2;
	OK(set_limits(CEREMONY_BY(ALICE), e));
}

static void
changes_follow_the_one_in_force(void **state)
{
	struct limits *second = malloc(sizeof *second);

	assert_non_null(second);
	make_ca("follow", false);
	next_version();
	limits.quorum = 2;
	OK(set_limits(CEREMONY_BY(ALICE), e));
	*second = limits;

	next_version();
	limits.quorum = 1;
	REFUSED(
	    set_limits(CEREMONY_BY(ALICE), e), ERROR_DENIED, "signed: alice; could also sign: bob");
	REFUSED(set_limits(CEREMONY_BY(BOB, BOB), e), ERROR_DENIED, "could also sign: alice");
	REFUSED(set_limits(CEREMONY_BY(BOB, CAROL), e), ERROR_DENIED, "could also sign: alice");
	limits.token[0] = 'M';
	REFUSED(set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_CONFLICT, "another CA, token");
	limits.token[0] = 'm';
	limits.key[0] ^= 1;
	REFUSED(set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_CONFLICT, "'key' is not");
	limits.key[0] ^= 1;
	env.now += DAY;
	REFUSED(set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_DENIED, "expired");
	env.now -= DAY;
	OK(set_limits(CEREMONY_BY(ALICE, BOB), e));

	/* Not another version 3, nor one that leaves one out. */
	limits = *second;
	next_version();
	limits.not_after++;
	REFUSED(set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_CONFLICT, "does not follow");
	limits.version = 5;
	REFUSED(set_limits(CEREMONY_BY(ALICE, BOB), e), ERROR_CONFLICT, "does not follow");
	OK(in_force(e));
	assert_int_equal(kept.document.version, 3);
	free(second);
}

static void
an_old_version_put_back_is_noticed(void **state)
{
	char good[65536], other[65536];

	make_ca("old", false);
	next_version();
	OK(set_limits(CEREMONY_BY(ALICE), e));
	assert_true(read_file(".limits-2", good, sizeof good) > 0);
	remove_file(".limits-2");
	REFUSED(in_force(e), ERROR_DENIED, "the token remembers version 2");

	/* Another version 2, as well signed, made where the token does not see it. */
	limits = first;
	next_version();
	limits.not_after++;
	ceremony_order(&order, &limits, CEREMONY_BY(BOB));
	REFUSED(orders_set_limits(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &order.order, e),
	    ERROR_DENIED, "the token remembers another version 2");
	assert_true(limits_chain_append(hsm.state_dir, id, 2, &order.order, NULL));
	REFUSED(in_force(e), ERROR_DENIED, "are another version 2");
	assert_true(read_file(".limits-2", other, sizeof other) > 0);
	write_file(".limits-2", good);
	OK(in_force(e));
}

/* A crash between writing a version and telling the token. */
static void
the_token_learns_what_it_missed(void **state)
{
	struct limits_floor floor;

	make_ca("missed", false);
	next_version();
	ceremony_order(&order, &limits, CEREMONY_BY(ALICE));
	assert_true(limits_chain_append(hsm.state_dir, id, 2, &order.order, NULL));
	OK(limits_floor_read(&rw, id, &floor, e));
	assert_int_equal(floor.version, 1);
	OK(in_force(e));
	OK(limits_floor_read(&rw, id, &floor, e));
	assert_int_equal(floor.version, 2);
	assert_memory_equal(floor.sha256, kept.document_sha256, 32);
}

static CK_RV
no_object(CK_SESSION_HANDLE s, CK_ATTRIBUTE *t, CK_ULONG n, CK_OBJECT_HANDLE *made)
{
	return CKR_TEMPLATE_INCONSISTENT;
}

static void
a_token_without_data_objects_serves(void **state)
{
	const CK_FUNCTION_LIST *real = rw.f;
	CK_FUNCTION_LIST without = *real;
	struct limits_floor floor;
	bool refused = false;

	without.C_CreateObject = no_object;
	rw.f = &without;
	make_ca("plain", false);
	OK(limits_floor_load(
	    &rw, hsm.state_dir, (struct bytes){id, KEY_ID_LEN}, &kept, &refused, e));
	assert_true(refused);
	next_version();
	OK(set_limits(CEREMONY_BY(ALICE), e));
	OK(limits_floor_read(&rw, id, &floor, e));
	assert_int_equal(floor.version, 0);
	/* What is lost does not come back by an order of old. */
	remove_file(".key");
	remove_file(".limits-1");
	remove_file(".limits-2");
	env.now += DAY;
	REFUSED(make_key(&first_order, e), ERROR_DENIED, "expired");
	env.now -= DAY;
	rw.f = real;
}

static void
damaged_files_sign_nothing(void **state)
{
	static const char *const suffixes[] = {".key", ".limits-1", ".limits-2"};
	static char text[65536], part[65536];

	make_ca("damaged", false);
	next_version();
	OK(set_limits(CEREMONY_BY(ALICE, BOB), e));
	for (size_t i = 0; i < COUNT_OF(suffixes); i++) {
		size_t n = read_file(suffixes[i], text, sizeof text);

		for (size_t at = 0; at < n; at += 5) {
			memcpy(part, text, n + 1);
			part[at] = '\0';
			write_file(suffixes[i], part);
			REFUSED(in_force(e), ERROR_DENIED, "");
			memcpy(part, text, n + 1);
			part[at] ^= 0x01;
			write_file(suffixes[i], part);
			REFUSED(in_force(e), ERROR_DENIED, "");
		}
		memcpy(part, text, n);
		memcpy(part + n, "\n", 2);
		write_file(suffixes[i], part);
		REFUSED(in_force(e), ERROR_DENIED, "");
		write_file(suffixes[i], text);
		OK(in_force(e));
	}
}

/* ---- ca-install */

struct certificate_spec {
	struct bytes subject, spki, ski;
	bool ca, no_key_usage;
	int path_length;
	int64_t not_after;
};

static struct bytes
make_tbs(const struct certificate_spec *spec, uint8_t *buf)
{
	static const uint8_t serial[] = {0x11, 0x22};
	struct error e = ERROR_INIT;
	uint8_t x_buf[1024];
	struct extensions x;
	struct bytes tbs;
	struct tbs_certificate t = {
	    .serial = {serial, sizeof serial},
	    .sig_alg = SIG_ECDSA_SHA256,
	    .issuer = spec->subject,
	    .not_before = started,
	    .not_after = spec->not_after,
	    .subject = spec->subject,
	    .spki = spec->spki,
	};

	extensions_init(&x, x_buf, sizeof x_buf);
	extensions_add_basic_constraints(&x, spec->ca, spec->ca ? spec->path_length : -1, true);
	if (!spec->no_key_usage)
		extensions_add_key_usage(&x, KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	extensions_add_subject_key_identifier(&x, spec->ski);
	t.extensions = extensions_result(&x);
	if (!tbs_certificate_build(&t, buf, 4096, &tbs, &e))
		fail_msg("%s", e.text);
	return tbs;
}

/* Its signature is the parent's business. */
static bool
install(const struct certificate_spec *spec, int64_t issued, const int *who, struct error *e)
{
	static const uint8_t signature[] = {0x30, 0x06, 0x02, 0x01, 0x01, 0x02, 0x01, 0x01};
	uint8_t tbs_buf[4096], der_buf[8192];
	struct bytes tbs = make_tbs(spec, tbs_buf), der;

	assert_true(certificate_assemble(tbs, SIG_ECDSA_SHA256,
	    (struct bytes){signature, sizeof signature}, der_buf, sizeof der_buf, &der, e));
	assert_true(pem_encode(PEM_CERTIFICATE, der, order.body, sizeof order.body));
	ceremony_sign(&order, STATEMENT_CA_INSTALL, limits.ca, issued, who);
	return orders_install(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &order.order, e);
}

static void
the_certificate_is_within_the_limits(void **state)
{
	static uint8_t ski[SKI_LEN], other_name[NAME_DER_MAX];
	struct certificate_spec good, bad;
	struct ceremony_order earlier;

	ceremony_limits(&limits, "install", KEY_P256, subject);
	limits.quorum = 2;
	limits.path_length = 1;
	ceremony_order(&first_order, &limits, CEREMONY_BY(ALICE, BOB));
	OK(make_key(&first_order, e));
	assert_true(spki_ski(&spki, ski, NULL));
	good = (struct certificate_spec){.subject = subject,
	    .spki = spki.whole,
	    .ski = {ski, SKI_LEN},
	    .ca = true,
	    .path_length = 1,
	    .not_after = limits.not_after + DAY};

#define BAD(change, words)                                                                        \
	do {                                                                                      \
		bad = good;                                                                       \
		change;                                                                           \
		REFUSED(install(&bad, env.now, CEREMONY_BY(ALICE, BOB), e), ERROR_DENIED, words); \
	} while (0)
	BAD(bad.path_length = 2, "path length");
	BAD(bad.path_length = -1, "path length");
	BAD(bad.ca = false, "not one of a CA");
	BAD(bad.no_key_usage = true, "keyCertSign");
	BAD(bad.ski.len--, "subjectKeyIdentifier");
	BAD(assert_true(name_from_text(
		"CN=Unit CA,O=Example,C=FR", other_name, sizeof other_name, &bad.subject, NULL)),
	    "its subject is not");
#undef BAD
	bad = good;
	bad.spki = (struct bytes){ceremony_people[ALICE].spki, ceremony_people[ALICE].spki_len};
	REFUSED(install(&bad, env.now, CEREMONY_BY(ALICE, BOB), e), ERROR_INPUT,
	    "none of the certificates");
	REFUSED(install(&good, env.now, CEREMONY_BY(ALICE), e), ERROR_DENIED, "could also sign");
	REFUSED(install(&good, env.now - DAY, CEREMONY_BY(ALICE, BOB), e), ERROR_DENIED, "expired");
	OK(in_force(e));
	assert_false(kept.installed);

	OK(install(&good, env.now, CEREMONY_BY(ALICE, BOB), e));
	OK(in_force(e));
	assert_true(kept.installed);
	assert_int_equal(kept.not_before, env.now);
	assert_int_equal(kept.not_after, limits.not_after + DAY);
	assert_int_equal(kept.path_length, 1);
	/* Again, long after. */
	earlier = order;
	env.now += DAY;
	OK(orders_install(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &order.order, e));
	env.now -= DAY;
	/* A renewed one, narrower; and then the first one is not put back. */
	good.path_length = 0;
	good.not_after -= DAY;
	OK(install(&good, env.now + 1, CEREMONY_BY(ALICE, BOB), e));
	earlier.order.statement.p = (const uint8_t *)earlier.statement;
	earlier.order.body.p = (const uint8_t *)earlier.body;
	for (size_t i = 0; i < 2; i++)
		earlier.order.signatures[i].signature.p = earlier.signatures[i];
	REFUSED(orders_install(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &earlier.order, e),
	    ERROR_CONFLICT, "ordered later");
	OK(in_force(e));
	assert_int_equal(kept.path_length, 0);
	/* The key's order does not undo it. */
	OK(make_key(&first_order, e));
	OK(in_force(e));
	assert_true(kept.installed);
}

static bool
note_root(const struct certificate_spec *spec, int64_t ordered, struct error *e)
{
	uint8_t buf[4096];

	return orders_note_root(
	    &rw, &env, (struct bytes){id, KEY_ID_LEN}, make_tbs(spec, buf), ordered, e);
}

static void
a_root_has_the_certificates_that_were_ordered(void **state)
{
	static uint8_t ski[SKI_LEN];
	struct certificate_spec spec;

	make_ca("root", true);
	assert_true(spki_ski(&spki, ski, NULL));
	spec = (struct certificate_spec){.subject = subject,
	    .spki = spki.whole,
	    .ski = {ski, SKI_LEN},
	    .ca = true,
	    .path_length = -1,
	    .not_after = limits.not_after};
	REFUSED(install(&spec, env.now, CEREMONY_BY(ALICE), e), ERROR_CONFLICT, "is a root");
	OK(in_force(e));
	spec.not_after++;
	REFUSED(note_root(&spec, 0, e), ERROR_DENIED, "not-after");
	spec.not_after -= 2;
	OK(note_root(&spec, 0, e));
	OK(in_force(e));
	assert_true(kept.installed);
	assert_int_equal(kept.not_after, limits.not_after - 1);
	assert_int_equal(kept.ordered, 0);
	OK(note_root(&spec, 0, e));
	OK(install(&spec, env.now, CEREMONY_BY(ALICE), e));
	spec.not_after--;
	REFUSED(install(&spec, env.now, CEREMONY_BY(ALICE), e), ERROR_CONFLICT, "is a root");
	REFUSED(note_root(&spec, 0, e), ERROR_DENIED, "has its certificate already");

	/* Unless it was ordered, and later than the last. */
	OK(note_root(&spec, env.now, e));
	OK(in_force(e));
	assert_int_equal(kept.not_after, limits.not_after - 2);
	assert_int_equal(kept.ordered, env.now);
	OK(note_root(&spec, env.now, e));
	spec.not_after++;
	REFUSED(note_root(&spec, env.now, e), ERROR_DENIED, "not ordered later");
	REFUSED(note_root(&spec, 0, e), ERROR_DENIED, "not ordered later");
	spec.ca = false;
	REFUSED(note_root(&spec, env.now + 1, e), ERROR_DENIED, "not one of a CA");
}

/* As on another host with the same token, or after the directory was lost. */
static void
installed_certificates_come_back(void **state)
{
	static uint8_t ski[SKI_LEN];
	struct certificate_spec spec, other;
	char old[4096];

	make_ca("again", false);
	assert_true(read_file(".key", old, sizeof old) > 0);
	assert_true(spki_ski(&spki, ski, NULL));
	spec = (struct certificate_spec){.subject = subject,
	    .spki = spki.whole,
	    .ski = {ski, SKI_LEN},
	    .ca = true,
	    .path_length = 0,
	    .not_after = limits.not_after};
	OK(install(&spec, env.now, CEREMONY_BY(ALICE), e));

	/* An older copy of the key's file. */
	write_file(".key", old);
	REFUSED(in_force(e), ERROR_DENIED, "was installed and is not here");
	other = spec;
	other.path_length = -1;
	REFUSED(install(&other, env.now, CEREMONY_BY(ALICE), e), ERROR_CONFLICT, "ordered later");
	REFUSED(
	    install(&other, env.now - DAY, CEREMONY_BY(ALICE), e), ERROR_CONFLICT, "ordered later");
	/* The very one, long after, whoever brings it. */
	env.now += 365 * DAY;
	OK(install(&spec, env.now - 366 * DAY, CEREMONY_BY(MALLORY), e));
	env.now -= 365 * DAY;
	OK(in_force(e));
	assert_true(kept.installed);
	assert_int_equal(kept.ordered, env.now);

	/* A later one, and then the earlier copy. */
	assert_true(read_file(".key", old, sizeof old) > 0);
	spec.not_after -= DAY;
	OK(install(&spec, env.now + 1, CEREMONY_BY(BOB), e));
	write_file(".key", old);
	REFUSED(in_force(e), ERROR_DENIED, "installed later than the one here");
}

/* ---- key-destroy */

static bool
destroy_key(
    const char *label, const uint8_t key[32], int64_t issued, const int *who, struct error *e)
{
	struct destruction d = {.token = "main"};
	size_t len;

	(void)snprintf(d.ca, sizeof d.ca, "%s", limits.ca);
	(void)snprintf(d.label, sizeof d.label, "%s", label);
	memcpy(d.key, key, sizeof d.key);
	assert_true(destruction_format(&d, order.body, &len, e));
	ceremony_sign(&order, STATEMENT_KEY_DESTROY, limits.ca, issued, who);
	return orders_destroy_key(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &order.order, e);
}

static void
a_key_is_destroyed_by_its_quorum(void **state)
{
	uint8_t digest[32], other[32] = {1};
	CK_ULONG keys;

	ceremony_limits(&limits, "ending", KEY_P256, subject);
	limits.quorum = 2;
	ceremony_order(&first_order, &limits, CEREMONY_BY(ALICE, BOB));
	OK(make_key(&first_order, e));
	keys = count_keys();
	assert_true(spki_sha256(&spki, digest, NULL));

	REFUSED(destroy_key("ending", digest, env.now, CEREMONY_BY(ALICE), e), ERROR_DENIED,
	    "could also sign: bob");
	REFUSED(destroy_key("ending", digest, env.now, CEREMONY_BY(ALICE, MALLORY), e),
	    ERROR_DENIED, "could also sign: bob");
	REFUSED(destroy_key("ending", digest, env.now - DAY, CEREMONY_BY(ALICE, BOB), e),
	    ERROR_DENIED, "expired");
	REFUSED(destroy_key("Ending", digest, env.now, CEREMONY_BY(ALICE, BOB), e), ERROR_DENIED,
	    "is 'ending', and not 'Ending' as the operators typed");
	REFUSED(destroy_key("ending", other, env.now, CEREMONY_BY(ALICE, BOB), e), ERROR_DENIED,
	    "another key");
	ceremony_sign(&order, STATEMENT_CA_LIMITS, limits.ca, env.now, CEREMONY_BY(ALICE, BOB));
	REFUSED(orders_destroy_key(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &order.order, e),
	    ERROR_DENIED, "signed 'ca-limits'");
	assert_int_equal(count_keys(), keys);

	OK(destroy_key("ending", digest, env.now, CEREMONY_BY(ALICE, BOB), e));
	assert_int_equal(count_keys(), keys - 1);
	/* Once more, and long after. */
	env.now += 365 * DAY;
	OK(orders_destroy_key(&rw, &env, (struct bytes){id, KEY_ID_LEN}, &order.order, e));
	env.now -= 365 * DAY;
}

static void
a_destroyed_key_does_not_come_back(void **state)
{
	CK_ULONG keys = count_keys();
	uint8_t digest[32];

	make_ca("gone", false);
	assert_true(spki_sha256(&spki, digest, NULL));
	OK(destroy_key("gone", digest, env.now, CEREMONY_BY(ALICE), e));
	assert_int_equal(count_keys(), keys);
	REFUSED(in_force(e), ERROR_DENIED, "the token remembers that the key");
	REFUSED(make_key(&first_order, e), ERROR_DENIED, "is not made again");
	/* Not by an older copy of the directory, and not without any. */
	remove_file(".destroyed");
	REFUSED(make_key(&first_order, e), ERROR_DENIED, "the token remembers that the key");
	remove_file(".limits-1");
	remove_file(".key");
	REFUSED(make_key(&first_order, e), ERROR_DENIED, "the token remembers that the key");
	assert_int_equal(count_keys(), keys);
}

/* Cut short behind the order's file: the next one who asks brings it to its end. */
static void
a_destruction_is_finished(void **state)
{
	char text[65536];
	uint8_t digest[32];
	CK_ULONG keys;

	make_ca("half", false);
	assert_true(spki_sha256(&spki, digest, NULL));
	OK(destroy_key("half", digest, env.now, CEREMONY_BY(ALICE), e));
	assert_true(read_file(".destroyed", text, sizeof text) > 0);

	make_ca("other-half", false);
	keys = count_keys();
	assert_true(spki_sha256(&spki, digest, NULL));
	write_file(".destroyed", text);
	OK(destroy_key("whatever", digest, env.now, CEREMONY_BY(MALLORY), e));
	assert_int_equal(count_keys(), keys - 1);
	/* One that cannot be read stops everything. */
	make_ca("unclear", false);
	write_file(".destroyed", "nonsense");
	REFUSED(destroy_key("unclear", digest, env.now, CEREMONY_BY(ALICE), e), ERROR_DENIED,
	    "is damaged");
	REFUSED(make_key(&first_order, e), ERROR_DENIED, "is damaged");
	remove_file(".destroyed");
}

static void
keys_are_listed(void **state)
{
	uint8_t(*ids)[KEY_ID_LEN] = NULL;
	size_t count = 0, found = 0;

	make_ca("listed", false);
	OK(key_limits_list(hsm.state_dir, &ids, &count, e));
	assert_true(count > 1);
	for (size_t i = 0; i < count; i++) {
		found += memcmp(ids[i], id, KEY_ID_LEN) == 0;
		if (i > 0)
			assert_true(memcmp(ids[i - 1], ids[i], KEY_ID_LEN) < 0);
	}
	assert_int_equal(found, 1);
	free(ids);
}

/* Another host with the same token has got newer limits for the key. */
static void
what_the_token_remembers_is_asked_again(void **state)
{
	struct limits_cache *cache = limits_cache_new(hsm.state_dir);
	struct bytes cka_id = {id, KEY_ID_LEN};
	const struct key_limits *l, *same;
	struct key_limits *elsewhere = malloc(sizeof *elsewhere);
	uint64_t generation = limits_cache_generation(cache);
	bool refused = false;

	assert_non_null(cache);
	assert_non_null(elsewhere);
	make_ca("elsewhere", false);
	OK((l = limits_cache_get(cache, &rw, cka_id, 1000, e)) != NULL);
	assert_int_equal(l->document.version, 1);
	*elsewhere = *l;
	elsewhere->document.version = 2;
	OK(limits_floor_check(&rw, elsewhere, &refused, e));
	OK((same = limits_cache_get(cache, &rw, cka_id, 999 + LIMITS_CACHE_AGE_MS, e)) != NULL);
	assert_ptr_equal(same, l);
	REFUSED(limits_cache_get(cache, &rw, cka_id, 1000 + LIMITS_CACHE_AGE_MS, e) != NULL,
	    ERROR_DENIED, "the token remembers version 2");
	limits_cache_put(cache, same);

	/* Then they come here, too; who holds the old ones keeps them. */
	next_version();
	ceremony_order(&order, &limits, CEREMONY_BY(ALICE));
	limits_cache_begin_change(cache);
	assert_true(limits_chain_append(hsm.state_dir, id, 2, &order.order, NULL));
	limits_cache_end_change(cache);
	assert_true(limits_cache_generation(cache) > generation);
	assert_int_equal(l->document.version, 1);
	limits_cache_put(cache, l);
	REFUSED(limits_cache_get(cache, &rw, cka_id, 1000, e) != NULL, ERROR_DENIED,
	    "are another version 2");
	assert_true(limits_cache_has_floors(cache));
	limits_cache_free(cache);
	free(elsewhere);
}

/* A host that the operators take its key away from has to learn of it. */
static void
limits_may_leave_this_signer_out(void **state)
{
	make_ca("left", false);
	next_version();
	limits.signer_ids[0] = 2;
	OK(set_limits(CEREMONY_BY(ALICE), e));
	OK(in_force(e));
	assert_false(limits_allows_signer(&kept.document, 1));
}

static void
limits_are_shown(void **state)
{
	char *text = NULL, hex[65], words[128], good[65536];
	struct error why = ERROR_INIT;
	size_t size = 0;
	FILE *out;

	make_ca("shown", false);
	OK(in_force(e));
	out = open_memstream(&text, &size);
	assert_non_null(out);
	assert_true(limits_show(hsm.state_dir, out, &why));
	assert_int_equal(fclose(out), 0);
	hex_encode(kept.document_sha256, 32, hex);
	(void)snprintf(words, sizeof words, "version 1, SHA-256 %s", hex);
	assert_non_null(strstr(text, "CA shown\n"));
	assert_non_null(strstr(text, words));
	hex_encode(kept.spki_sha256, 32, hex);
	assert_non_null(strstr(text, hex));
	assert_non_null(strstr(text, "1 of 2 may change the limits"));
	assert_non_null(strstr(text, "alice (limits, decides), key SHA-256 "));
	assert_non_null(strstr(text, "CN=Unit CA,O=Example,C=DE"));
	assert_non_null(strstr(text, "not yet installed"));
	free(text);

	/* A damaged one is named, and the others are still there. */
	assert_true(read_file(".limits-1", good, sizeof good) > 0);
	remove_file(".limits-1");
	out = open_memstream(&text, &size);
	assert_non_null(out);
	assert_false(limits_show(hsm.state_dir, out, &why));
	assert_int_equal(fclose(out), 0);
	assert_null(strstr(text, "CA shown\n"));
	assert_non_null(strstr(text, "not valid"));
	assert_non_null(strstr(text, "CA once\n"));
	free(text);
	write_file(".limits-1", good);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_key_is_made_once),
	    cmocka_unit_test(a_key_needs_its_quorum_and_place),
	    cmocka_unit_test(next_keys_are_made_by_their_order),
	    cmocka_unit_test(lost_limits_come_back_as_they_were),
	    cmocka_unit_test(others_cannot_take_a_key_over),
	    cmocka_unit_test(a_key_that_could_leave_is_not_used),
	    cmocka_unit_test(limits_change_by_their_quorum),
	    cmocka_unit_test(retiring_is_for_good),
	    cmocka_unit_test(changes_follow_the_one_in_force),
	    cmocka_unit_test(an_old_version_put_back_is_noticed),
	    cmocka_unit_test(what_the_token_remembers_is_asked_again),
	    cmocka_unit_test(limits_may_leave_this_signer_out),
	    cmocka_unit_test(the_token_learns_what_it_missed),
	    cmocka_unit_test(a_token_without_data_objects_serves),
	    cmocka_unit_test(damaged_files_sign_nothing),
	    cmocka_unit_test(the_certificate_is_within_the_limits),
	    cmocka_unit_test(a_root_has_the_certificates_that_were_ordered),
	    cmocka_unit_test(installed_certificates_come_back),
	    cmocka_unit_test(a_key_is_destroyed_by_its_quorum),
	    cmocka_unit_test(a_destroyed_key_does_not_come_back),
	    cmocka_unit_test(a_destruction_is_finished),
	    cmocka_unit_test(keys_are_listed),
	    cmocka_unit_test(limits_are_shown),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
