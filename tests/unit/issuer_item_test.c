/* One request on its way to a certificate, with OpenSSL in the signer's place. */

#include "tests/unit/issuer_setting.h"

#include <openssl/sha.h>

#include "daemon/issuer/issue_item.h"

#define NOW 1795348800LL /* 2026-11-22T12:00:00Z */
#define SIGNER_ID 7

static const char policy[] =
    "subject: \"CN=Test CA,O=Example,C=DE\"\n"
    "kind: root\n"
    "token: main\n"
    "key: p256\n"
    "validity: 10y\n"
    "templates: [tls-server]\n"
    "crl: {period: 7d, overlap: 12h}\n"
    "locations: {cdp: [{url: \"http://x.example/a.crl\", flags: [in_certificates]}]}\n";

static const char template_text[] =
    "name: tls-server\n"
    "approval: manual\n"
    "validity: 90d\n"
    "exceed_issuer: cut\n"
    "key: {types: [rsa, ec], rsa_min_bits: 2048, curves: [p256, p384]}\n"
    "subject: {from: request, required: [CN], allowed: [CN, C]}\n"
    "san: {allowed: [dns, email], required: true, max: 3}\n"
    "key_usage: [digitalSignature]\n"
    "extended_key_usage: [serverAuth]\n";

/* A CA with its context, made as the cache makes it, and one claimed request. */
struct fixture {
	struct issuing_ca *ca;
	struct template *template;
	struct bytes csr;
	struct request_claim claim;
	struct issue_item item;
	struct verifier *verifier;
};

/* A CSR of that key for CN=a.example with these names. */
static struct bytes
csr_of(const char *key, const char *names)
{
	STACK_OF(X509_EXTENSION) *extensions = sk_X509_EXTENSION_new_null();
	struct bytes der;

	if (names != NULL)
		add_conf_extension(extensions, NID_subject_alt_name, names);
	der = make_csr(shared_key(key), key[0] == 'e' ? NULL : "SHA256", "a.example",
	    names != NULL ? extensions : NULL, NULL);
	sk_X509_EXTENSION_pop_free(extensions, X509_EXTENSION_free);
	return der;
}

static void
set_up(struct fixture *f, struct bytes csr)
{
	struct error e = ERROR_INIT;

	*f = (struct fixture){.ca = issuing_ca_make(policy, "test-ca", NOW), .csr = csr};
	assert_ok(
	    template_parse(template_text, strlen(template_text), "tls-server", &f->template, &e),
	    e);
	f->claim = (struct request_claim){.key = {1, 1}, .ca_id = 1, .csr = csr};
	f->item = (struct issue_item){
	    .claim = &f->claim, .ca = ca_hold(f->ca), .template = f->template};
	f->verifier = verifier_new(&e);
	assert_non_null(f->verifier);
}

static void
tear_down(struct fixture *f)
{
	item_free(&f->item);
	verifier_free(f->verifier);
	template_free(f->template);
	assert_int_equal(f->ca->references, 1);
	ca_release(f->ca);
	free_bytes(f->csr);
}

static void
assert_step(const struct issue_item *item, enum item_step step)
{
	if (item->step != step)
		fail_msg("step %d, not %d: %s", (int)item->step, (int)step, item->failure.text);
}

/* Check, build, sign: and OpenSSL verifies what came out. */
static void
test_all_the_way(void **state)
{
	static const char *const keys[] = {"rsa2048", "p256", "p384"};

	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		uint8_t signature[128], digest[32];
		size_t len = sizeof signature;
		struct fixture f;
		struct certificate c;
		struct error e = ERROR_INIT;
		const uint8_t *p;
		X509 *x;

		set_up(&f, csr_of(keys[i], "DNS:a.example,DNS:*.b.example,email:a@b.example"));
		item_check(&f.item, f.verifier);
		assert_step(&f.item, ITEM_CHECKED);
		assert_string_equal(f.item.listed.subject, "CN=a.example,C=DE");
		assert_int_equal(f.item.listed.count, 3);
		assert_string_equal(f.item.listed.names[0], "dns:a.example");
		assert_string_equal(f.item.listed.names[2], "email:a@b.example");
		assert_string_equal(f.item.key_type, keys[i]);
		SHA256(f.csr.p, f.csr.len, digest);
		assert_memory_equal(digest, f.item.csr_sha256, 32);

		item_build(&f.item, SIGNER_ID, NOW);
		assert_step(&f.item, ITEM_BUILT);
		assert_int_equal(f.item.intent.issuer_name_id, 2);
		assert_int_equal(f.item.intent.generation_id, 3);
		assert_int_equal(f.item.intent.scope_id, 4);
		assert_in_range(f.item.intent.serial[0], 1, 0x7f);
		assert_int_equal(f.item.intent.serial[2], SIGNER_ID);

		sign_tbs(CA_KEY, f.item.intent.tbs, signature, &len);
		item_take_signature(&f.item, (struct bytes){signature, len});
		assert_step(&f.item, ITEM_SIGNED);
		assert_int_equal(f.item.not_before, NOW);
		assert_int_equal(f.item.not_after, NOW + 90 * DAY - 1);
		assert_int_equal(f.item.listed.count, 3);
		assert_ok(certificate_parse((struct bytes){f.item.der, f.item.der_len}, &c, &e), e);
		assert_bytes(c.tbs, f.item.intent.tbs);
		assert_bytes(c.serial, BYTES(f.item.intent.serial));
		p = f.item.der;
		x = d2i_X509(NULL, &p, (long)f.item.der_len);
		assert_non_null(x);
		assert_int_equal(X509_verify(x, shared_key(CA_KEY)), 1);
		assert_int_equal(EVP_PKEY_eq(X509_get0_pubkey(x), shared_key(keys[i])), 1);
		X509_free(x);
		tear_down(&f);
	}
}

/* No two builds share a serial. */
static void
test_serials(void **state)
{
	uint8_t first[SERIAL_LEN];
	struct fixture f;

	set_up(&f, csr_of("p256", "DNS:a.example"));
	item_check(&f.item, f.verifier);
	item_build(&f.item, SIGNER_ID, NOW);
	memcpy(first, f.item.intent.serial, sizeof first);
	free(f.item.tbs);
	f.item.tbs = NULL;
	item_build(&f.item, SIGNER_ID, NOW);
	assert_memory_equal(first + 1, f.item.intent.serial + 1, 8); /* signer, time */
	assert_memory_not_equal(first + 9, f.item.intent.serial + 9, 11);
	tear_down(&f);
}

static void
test_refused(void **state)
{
	static const struct {
		const char *key, *names, *words;
		bool listed; /* it could be read */
	} cases[] = {
	    {"p256", NULL, "template 'tls-server', san", true},
	    {"p256", "IP:192.0.2.1", "template 'tls-server', san", true},
	    {"p256", "DNS:a,DNS:b,DNS:c,DNS:d", "template 'tls-server', san", true},
	    {"p521", "DNS:a.example", "template 'tls-server', key", true},
	    {"ed25519", "DNS:a.example", "template 'tls-server', key", true},
	    {"rsa1024", "DNS:a.example", "1024", false},
	    {"secp256k1", "DNS:a.example", "key", false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct fixture f;

		set_up(&f, csr_of(cases[i].key, cases[i].names));
		item_check(&f.item, f.verifier);
		assert_step(&f.item, ITEM_REFUSED);
		assert_error(f.item.failure, cases[i].words);
		assert_int_equal(f.item.failure.code, ERROR_INPUT);
		if ((f.item.listed.subject != NULL) != cases[i].listed)
			fail_msg("case %zu: listed or not", i);
		tear_down(&f);
	}
}

/* Cut off anywhere, and with any octet of the signature changed. */
static void
test_broken_csrs(void **state)
{
	struct bytes whole = csr_of("p256", "DNS:a.example");

	for (size_t len = 0; len < whole.len; len++) {
		struct fixture f;

		set_up(&f, csr_of("p256", "DNS:a.example"));
		f.claim.csr = (struct bytes){whole.p, len};
		item_check(&f.item, f.verifier);
		assert_step(&f.item, ITEM_REFUSED);
		tear_down(&f);
	}
	for (size_t i = whole.len - 8; i < whole.len; i++) {
		uint8_t changed[2048];
		struct fixture f;

		set_up(&f, csr_of("p256", "DNS:a.example"));
		memcpy(changed, whole.p, whole.len);
		changed[i] ^= 1;
		f.claim.csr = (struct bytes){changed, whole.len};
		item_check(&f.item, f.verifier);
		assert_step(&f.item, ITEM_REFUSED);
		assert_non_null(f.item.listed.subject);
		tear_down(&f);
	}
	free_bytes(whole);
}

static void
test_nothing_to_issue_with(void **state)
{
	struct fixture f;
	struct ca_context *context;

	set_up(&f, csr_of("p256", "DNS:a.example"));
	f.item.template = NULL;
	item_check(&f.item, f.verifier);
	assert_step(&f.item, ITEM_REFUSED);
	assert_int_equal(f.item.failure.code, ERROR_CONFLICT);
	assert_error(f.item.failure, "template of this request cannot be used");
	f.item.template = f.template;
	context = f.ca->context;
	f.ca->context = NULL;
	f.item.failure = ERROR_INIT;
	item_check(&f.item, f.verifier);
	assert_error(f.item.failure, "CA of this request is not in operation");
	f.ca->context = context;
	tear_down(&f);
}

/* A template that the CA's policy does not name, whatever the database says. */
static void
test_foreign_template(void **state)
{
	static const char other[] =
	    "name: other\napproval: automatic\nvalidity: 1d\nexceed_issuer: cut\n"
	    "key: {types: [ec], curves: [p256]}\n"
	    "subject: {from: request, required: [CN], allowed: [CN, C]}\n"
	    "san: {allowed: [dns], required: true, max: 3}\n"
	    "key_usage: [digitalSignature]\nextended_key_usage: [serverAuth]\n";
	struct fixture f;
	struct template *t;
	struct error e = ERROR_INIT;

	set_up(&f, csr_of("p256", "DNS:a.example"));
	assert_ok(template_parse(other, strlen(other), "other", &t, &e), e);
	f.item.template = t;
	item_check(&f.item, f.verifier);
	assert_step(&f.item, ITEM_REFUSED);
	assert_error(f.item.failure, "CA test-ca does not issue by template other");
	tear_down(&f);
	template_free(t);
}

/* A certificate for the CA's own key would be a way around its basicConstraints. */
static void
test_key_of_the_ca(void **state)
{
	struct fixture f;

	set_up(&f, csr_of(CA_KEY, "DNS:a.example"));
	item_check(&f.item, f.verifier);
	item_build(&f.item, SIGNER_ID, NOW);
	assert_step(&f.item, ITEM_REFUSED);
	assert_error(f.item.failure, "is the key of the issuing CA itself");
	tear_down(&f);
}

/* The CA's certificate ends before this one could. */
static void
test_ca_has_ended(void **state)
{
	struct fixture f;

	set_up(&f, csr_of("p256", "DNS:a.example"));
	item_check(&f.item, f.verifier);
	item_build(&f.item, SIGNER_ID, NOW + 11 * 365 * DAY);
	assert_step(&f.item, ITEM_REFUSED);
	assert_null(f.item.tbs);
	tear_down(&f);
}

/* ---- what another issuer left behind */

struct left {
	struct fixture f;
	uint8_t *tbs;
};

static void
leave(struct left *l)
{
	set_up(&l->f, csr_of("p256", "DNS:a.example"));
	item_check(&l->f.item, l->f.verifier);
	item_build(&l->f.item, SIGNER_ID, NOW);
	assert_step(&l->f.item, ITEM_BUILT);
	l->f.claim.intent = l->f.item.intent;
	l->f.claim.has_intent = true;
	l->tbs = l->f.item.tbs;
	l->f.item.tbs = NULL;
	item_free(&l->f.item);
	l->f.item = (struct issue_item){
	    .claim = &l->f.claim, .ca = ca_hold(l->f.ca), .template = l->f.template};
}

static void
end(struct left *l)
{
	tear_down(&l->f);
	free(l->tbs);
}

static void
test_resume(void **state)
{
	uint8_t signature[128];
	size_t len = sizeof signature;
	struct left l;

	leave(&l);
	item_resume(&l.f.item, SIGNER_ID, NOW + 6 * DAY);
	assert_step(&l.f.item, ITEM_BUILT);
	assert_false(l.f.item.stale);
	assert_memory_equal(l.f.item.intent.serial, l.f.claim.intent.serial, SERIAL_LEN);
	sign_tbs(CA_KEY, l.f.item.intent.tbs, signature, &len);
	item_take_signature(&l.f.item, (struct bytes){signature, len});
	assert_step(&l.f.item, ITEM_SIGNED);
	/* Listed under what the committed bytes say. */
	assert_string_equal(l.f.item.listed.subject, "CN=a.example,C=DE");
	assert_string_equal(l.f.item.listed.names[0], "dns:a.example");
	end(&l);
}

static void
test_resume_too_late(void **state)
{
	struct left l;

	leave(&l);
	item_resume(&l.f.item, SIGNER_ID, NOW + 6 * DAY + 1);
	assert_step(&l.f.item, ITEM_LATER);
	assert_true(l.f.item.stale);
	end(&l);
}

/* Its signer takes no serial of ours, and ours none of its. */
static void
test_resume_anothers(void **state)
{
	struct left l;

	leave(&l);
	item_resume(&l.f.item, SIGNER_ID + 1, NOW);
	assert_step(&l.f.item, ITEM_LATER);
	assert_true(l.f.item.stale);
	end(&l);
}

static void
test_refused_as_stale(void **state)
{
	struct error why = ERROR_INIT;
	struct left l;

	leave(&l);
	item_resume(&l.f.item, SIGNER_ID, NOW);
	(void)error_set(&why, ERROR_CONFLICT, "too old for the window");
	item_refused_as_stale(&l.f.item, &why);
	assert_step(&l.f.item, ITEM_VOID);
	assert_false(l.f.item.stale);
	assert_string_equal(l.f.item.failure.text, "too old for the window");
	end(&l);
}

static void
test_resume_under_another_generation(void **state)
{
	struct left l;

	leave(&l);
	l.f.ca->row.generation_id++;
	item_resume(&l.f.item, SIGNER_ID, NOW);
	assert_step(&l.f.item, ITEM_LATER);
	assert_true(l.f.item.stale);
	end(&l);
}

static void
test_resume_without_ca(void **state)
{
	struct ca_context *context;
	struct left l;

	leave(&l);
	context = l.f.ca->context;
	l.f.ca->context = NULL;
	item_resume(&l.f.item, SIGNER_ID, NOW);
	assert_step(&l.f.item, ITEM_REFUSED);
	assert_false(l.f.item.stale);
	l.f.ca->context = context;
	end(&l);
}

static void
test_failures(void **state)
{
	static const struct {
		enum error_code code;
		enum item_step step;
	} cases[] = {
	    {ERROR_UNAVAILABLE, ITEM_LATER},
	    {ERROR_TIMEOUT, ITEM_LATER},
	    {ERROR_LOCKED, ITEM_LATER},
	    {ERROR_SYSTEM, ITEM_LATER},
	    {ERROR_INPUT, ITEM_REFUSED},
	    {ERROR_DENIED, ITEM_REFUSED},
	    {ERROR_INTERNAL, ITEM_REFUSED},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct issue_item item = {0};
		struct error e = ERROR_INIT;

		error_set(&e, cases[i].code, "x");
		item_fail(&item, &e);
		assert_int_equal(item.step, cases[i].step);
		assert_string_equal(item.failure.text, "x");
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_all_the_way),
	    cmocka_unit_test(test_serials),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_broken_csrs),
	    cmocka_unit_test(test_nothing_to_issue_with),
	    cmocka_unit_test(test_foreign_template),
	    cmocka_unit_test(test_key_of_the_ca),
	    cmocka_unit_test(test_ca_has_ended),
	    cmocka_unit_test(test_resume),
	    cmocka_unit_test(test_resume_too_late),
	    cmocka_unit_test(test_resume_anothers),
	    cmocka_unit_test(test_refused_as_stale),
	    cmocka_unit_test(test_resume_under_another_generation),
	    cmocka_unit_test(test_resume_without_ca),
	    cmocka_unit_test(test_failures),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
