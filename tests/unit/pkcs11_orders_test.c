/*
 * Orders about an authority's key, carried out on a real token: it is made once, gets the
 * certificate that was ordered, and is destroyed for good.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "daemon/x509/cert.h"
#include "daemon/x509/destruction.h"
#include "daemon/x509/pem.h"
#include "pkcs11/limits_chain.h"
#include "tests/unit/orders_setting.h"

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
	    cmocka_unit_test(the_certificate_is_within_the_limits),
	    cmocka_unit_test(a_root_has_the_certificates_that_were_ordered),
	    cmocka_unit_test(installed_certificates_come_back),
	    cmocka_unit_test(a_key_is_destroyed_by_its_quorum),
	    cmocka_unit_test(a_destroyed_key_does_not_come_back),
	    cmocka_unit_test(a_destruction_is_finished),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
