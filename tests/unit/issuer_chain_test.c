/* Chains of CA certificates that OpenSSL made: what is found, what is refused. */

#include "tests/unit/x509_util.h"

#include <openssl/pem.h>

#include "daemon/issuer/chain.h"

#define NOW 1795348800LL /* 2026-11-22T12:00:00Z */
#define DAY 86400LL
#define YEAR (365 * DAY)

/* A certificate to be made; zeroes are the ordinary case. */
struct plan {
	const char *subject, *issuer;	 /* common names */
	const char *key, *signed_by;	 /* kinds of shared_key */
	int64_t not_before, not_after;	 /* seconds from NOW; 0, 0: a year around it */
	const char *constraints, *usage; /* "": none; NULL: CA:TRUE, keyCertSign */
	bool broken;			 /* the signature does not fit */
};

static void
add_extension(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(ext);
	assert_true(X509_add_ext(x, ext, -1));
	X509_EXTENSION_free(ext);
}

static void
set_name(X509_NAME *name, const char *cn)
{
	assert_true(X509_NAME_add_entry_by_txt(
	    name, "CN", MBSTRING_UTF8, (const unsigned char *)cn, -1, -1, 0));
}

static X509 *
make(const struct plan *p)
{
	static long serial;
	X509 *x = X509_new();
	bool dated = p->not_before != 0 || p->not_after != 0;
	EVP_PKEY *signer = shared_key(p->broken ? "p521" : p->signed_by);

	assert_true(X509_set_version(x, 2));
	assert_true(ASN1_INTEGER_set(X509_get_serialNumber(x), ++serial));
	set_name(X509_get_subject_name(x), p->subject);
	set_name(X509_get_issuer_name(x), p->issuer);
	assert_non_null(
	    ASN1_TIME_set(X509_getm_notBefore(x), NOW + (dated ? p->not_before : -YEAR)));
	assert_non_null(ASN1_TIME_set(X509_getm_notAfter(x), NOW + (dated ? p->not_after : YEAR)));
	assert_true(X509_set_pubkey(x, shared_key(p->key)));
	if (p->constraints == NULL || p->constraints[0] != '\0')
		add_extension(x, NID_basic_constraints,
		    p->constraints != NULL ? p->constraints : "critical,CA:TRUE");
	if (p->usage == NULL || p->usage[0] != '\0')
		add_extension(
		    x, NID_key_usage, p->usage != NULL ? p->usage : "critical,keyCertSign,cRLSign");
	assert_true(X509_sign(x, signer, EVP_sha256()) > 0);
	return x;
}

/* Puts it into the pool, and into *pem when that is not NULL. */
static struct bytes
put(struct chain_pool *pool, const struct plan *p)
{
	struct error e = ERROR_INIT;
	X509 *x = make(p);
	struct bytes der = TO_DER(X509, x);

	assert_ok(chain_pool_add(pool, der, &e), e);
	free_bytes(der);
	X509_free(x);
	return pool->der[pool->count - 1];
}

/* Builds the chain of the key of that kind. */
static bool
build(const struct chain_pool *pool, const char *kind, struct chain *chain, struct error *e)
{
	struct bytes spki = TO_DER(PUBKEY, shared_key(kind));
	bool ok;

	*e = ERROR_INIT;
	ok = chain_build(pool, spki, NOW, chain, e);
	free_bytes(spki);
	return ok;
}

#define ROOT                                                                            \
	{                                                                               \
		.subject = "root", .issuer = "root", .key = "p256", .signed_by = "p256" \
	}
#define MIDDLE                                                                            \
	{                                                                                 \
		.subject = "middle", .issuer = "root", .key = "p384", .signed_by = "p256" \
	}
#define LEAF                                                                                 \
	{                                                                                    \
		.subject = "leaf", .issuer = "middle", .key = "rsa2048", .signed_by = "p384" \
	}

static const struct plan root = ROOT, middle = MIDDLE, leaf = LEAF;

/* The three in an order that helps nobody; the chain comes out right. */
static void
test_three(void **state)
{
	struct chain_pool pool = {0};
	struct bytes want[3];
	struct chain chain;
	struct error e;

	want[1] = put(&pool, &middle);
	(void)put(&pool,
	    &(struct plan){.subject = "x", .issuer = "x", .key = "p521", .signed_by = "p521"});
	want[2] = put(&pool, &root);
	want[0] = put(&pool, &leaf);
	assert_ok(build(&pool, "rsa2048", &chain, &e), e);
	assert_int_equal(chain.count, 3);
	for (size_t i = 0; i < 3; i++)
		assert_ptr_equal(chain.certs[i].whole.p, want[i].p);
	/* Each key has its own chain. */
	assert_ok(build(&pool, "p384", &chain, &e), e);
	assert_int_equal(chain.count, 2);
	assert_ok(build(&pool, "p256", &chain, &e), e);
	assert_int_equal(chain.count, 1);
	chain_pool_free(&pool);
	assert_int_equal(pool.count, 0);
}

static void
test_missing(void **state)
{
	struct chain_pool pool = {0};
	struct chain chain;
	struct error e;

	assert_false(build(&pool, "rsa2048", &chain, &e));
	assert_error(e, "was another CSR signed?");
	(void)put(&pool, &root);
	assert_false(build(&pool, "rsa2048", &chain, &e));
	assert_int_equal(e.code, ERROR_NOT_FOUND);
	assert_error(e, "none of the certificates is for this CA's key");
	(void)put(&pool, &leaf);
	assert_false(build(&pool, "rsa2048", &chain, &e));
	assert_int_equal(e.code, ERROR_NOT_FOUND);
	assert_error(
	    e, "the certificate of CN=middle is missing: give the whole chain up to the root");
	chain_pool_free(&pool);
}

/* What stands in the middle, or at the top, and may not. */
static void
test_refused(void **state)
{
	static const struct {
		struct plan root, middle, leaf;
		const char *words;
	} cases[] = {
	    {ROOT,
		{.subject = "middle",
		    .issuer = "root",
		    .key = "p384",
		    .signed_by = "p256",
		    .constraints = ""},
		LEAF, "RFC 5280 4.2.1.9: CN=middle is not the certificate of a CA"},
	    {ROOT,
		{.subject = "middle",
		    .issuer = "root",
		    .key = "p384",
		    .signed_by = "p256",
		    .constraints = "critical,CA:FALSE"},
		LEAF, "CN=middle is not the certificate of a CA"},
	    {ROOT,
		{.subject = "middle",
		    .issuer = "root",
		    .key = "p384",
		    .signed_by = "p256",
		    .usage = "critical,cRLSign"},
		LEAF, "RFC 5280 4.2.1.3: the key of CN=middle may not sign certificates"},
	    {ROOT,
		{.subject = "middle",
		    .issuer = "root",
		    .key = "p384",
		    .signed_by = "p256",
		    .constraints = "critical,CA:TRUE,pathlen:0"},
		{.subject = "leaf", .issuer = "middle", .key = "rsa2048", .signed_by = "p384"},
		"the pathLenConstraint of CN=middle is 0, and 1 CAs stand below it"},
	    {{.subject = "root",
		 .issuer = "root",
		 .key = "p256",
		 .signed_by = "p256",
		 .constraints = "critical,CA:TRUE,pathlen:1"},
		MIDDLE, LEAF, "the pathLenConstraint of CN=root is 1, and 2 CAs stand below it"},
	    {ROOT,
		{.subject = "middle",
		    .issuer = "root",
		    .key = "p384",
		    .signed_by = "p256",
		    .not_before = -YEAR,
		    .not_after = -1},
		LEAF, "the certificate of CN=middle is not valid now"},
	    {{.subject = "root",
		 .issuer = "root",
		 .key = "p256",
		 .signed_by = "p256",
		 .not_before = 1,
		 .not_after = YEAR},
		MIDDLE, LEAF, "the certificate of CN=root is not valid now"},
	    {ROOT, MIDDLE,
		{.subject = "leaf",
		    .issuer = "middle",
		    .key = "rsa2048",
		    .signed_by = "p384",
		    .not_before = -YEAR,
		    .not_after = -DAY},
		"the certificate of CN=leaf is not valid now"},
	    {ROOT,
		{.subject = "middle",
		    .issuer = "root",
		    .key = "p384",
		    .signed_by = "p256",
		    .broken = true},
		LEAF, "no certificate of CN=root verifies the signature of the one below it"},
	    {ROOT, MIDDLE,
		{.subject = "leaf",
		    .issuer = "middle",
		    .key = "rsa2048",
		    .signed_by = "p384",
		    .broken = true},
		"no certificate of CN=middle verifies"},
	    {{.subject = "root",
		 .issuer = "root",
		 .key = "p256",
		 .signed_by = "p256",
		 .broken = true},
		MIDDLE, LEAF, "no certificate of CN=root verifies"},
	    {ROOT, MIDDLE,
		{.subject = "leaf",
		    .issuer = "middle",
		    .key = "rsa2048",
		    .signed_by = "p384",
		    .constraints = "critical,CA:FALSE",
		    .usage = ""},
		"CN=leaf is not the certificate of a CA"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct chain_pool pool = {0};
		struct chain chain;
		struct error e;

		(void)put(&pool, &cases[i].root);
		(void)put(&pool, &cases[i].middle);
		(void)put(&pool, &cases[i].leaf);
		if (build(&pool, "rsa2048", &chain, &e))
			fail_msg("case %zu: not refused", i);
		assert_error(e, cases[i].words);
		assert_int_equal(e.code, ERROR_INPUT);
		chain_pool_free(&pool);
	}
}

/* The last second counts, and a year of zero path length is kept. */
static void
test_just_valid(void **state)
{
	struct chain_pool pool = {0};
	struct chain chain;
	struct error e;

	(void)put(&pool, &(struct plan){.subject = "root",
			     .issuer = "root",
			     .key = "p256",
			     .signed_by = "p256",
			     .constraints = "critical,CA:TRUE,pathlen:1",
			     .not_before = -YEAR,
			     .not_after = 0});
	(void)put(&pool, &(struct plan){.subject = "leaf",
			     .issuer = "root",
			     .key = "rsa2048",
			     .signed_by = "p256",
			     .constraints = "critical,CA:TRUE,pathlen:0",
			     .usage = ""});
	assert_ok(build(&pool, "rsa2048", &chain, &e), e);
	assert_int_equal(chain.count, 2);
	chain_pool_free(&pool);
}

/* A root that was renewed with its key: the one that is valid counts, wherever
 * it stands. */
static void
test_renewed(void **state)
{
	static const struct plan old = {.subject = "root",
	    .issuer = "root",
	    .key = "p256",
	    .signed_by = "p256",
	    .not_before = -2 * YEAR,
	    .not_after = -DAY};
	static const struct plan below = {
	    .subject = "leaf", .issuer = "root", .key = "rsa2048", .signed_by = "p256"};

	for (int order = 0; order < 2; order++) {
		struct chain_pool pool = {0};
		struct bytes valid;
		struct chain chain;
		struct error e;

		if (order == 0)
			(void)put(&pool, &old);
		valid = put(&pool, &root);
		if (order == 1)
			(void)put(&pool, &old);
		(void)put(&pool, &below);
		assert_ok(build(&pool, "rsa2048", &chain, &e), e);
		assert_ptr_equal(chain.certs[1].whole.p, valid.p);
		chain_pool_free(&pool);
	}
}

/* Two CAs of one name, one of them an impostor with another key. */
static void
test_same_name(void **state)
{
	struct chain_pool pool = {0};
	struct chain chain;
	struct bytes good;
	struct error e;

	(void)put(
	    &pool, &(struct plan){
		       .subject = "root", .issuer = "root", .key = "p521", .signed_by = "p521"});
	good = put(&pool, &root);
	(void)put(
	    &pool, &(struct plan){
		       .subject = "leaf", .issuer = "root", .key = "rsa2048", .signed_by = "p256"});
	assert_ok(build(&pool, "rsa2048", &chain, &e), e);
	assert_ptr_equal(chain.certs[1].whole.p, good.p);
	chain_pool_free(&pool);
}

/* A new key of the root under its own name (self-issued, not self-signed): not
 * counted by a pathLenConstraint (RFC 5280 4.2.1.9). */
static void
test_self_issued(void **state)
{
	struct chain_pool pool = {0};
	struct chain chain;
	struct error e;

	(void)put(&pool, &(struct plan){.subject = "root",
			     .issuer = "root",
			     .key = "p256",
			     .signed_by = "p256",
			     .constraints = "critical,CA:TRUE,pathlen:1"});
	(void)put(
	    &pool, &(struct plan){
		       .subject = "root", .issuer = "root", .key = "p384", .signed_by = "p256"});
	(void)put(
	    &pool, &(struct plan){
		       .subject = "leaf", .issuer = "root", .key = "rsa2048", .signed_by = "p384"});
	assert_ok(build(&pool, "rsa2048", &chain, &e), e);
	assert_int_equal(chain.count, 3);
	chain_pool_free(&pool);
}

/* Two that sign each other end nowhere. */
static void
test_circle(void **state)
{
	struct chain_pool pool = {0};
	struct chain chain;
	struct error e;

	(void)put(&pool,
	    &(struct plan){.subject = "a", .issuer = "b", .key = "p256", .signed_by = "p384"});
	(void)put(&pool,
	    &(struct plan){.subject = "b", .issuer = "a", .key = "p384", .signed_by = "p256"});
	assert_false(build(&pool, "p256", &chain, &e));
	assert_int_equal(e.code, ERROR_LIMIT);
	assert_error(e, "the chain is longer than 12 certificates");
	chain_pool_free(&pool);
}

static void
test_pool_is_bounded(void **state)
{
	struct chain_pool pool = {0};
	struct error e = ERROR_INIT;

	for (size_t i = 0; i < CHAIN_CANDIDATES_MAX; i++)
		assert_ok(chain_pool_add(&pool, text_bytes("no certificate"), &e), e);
	assert_false(chain_pool_add(&pool, text_bytes("x"), &e));
	assert_int_equal(e.code, ERROR_LIMIT);
	chain_pool_free(&pool);
}

/* Of all CAs that we know only those come in that something asks for. */
static void
test_own_issuers(void **state)
{
	struct chain_pool pool = {0}, known = {0};
	struct chain chain;
	struct error e = ERROR_INIT;
	size_t before;

	(void)put(&known, &root);
	for (int i = 0; i < 40; i++) {
		char name[32];

		(void)snprintf(name, sizeof name, "other %d", i);
		(void)put(&known,
		    &(struct plan){
			.subject = name, .issuer = "root", .key = "p521", .signed_by = "p256"});
	}
	(void)put(&known, &middle);
	assert_ok(chain_pool_add(&known, text_bytes("rubbish"), &e), e);
	(void)put(&pool, &leaf);
	do {
		before = pool.count;
		for (size_t i = 0; i < known.count; i++)
			assert_ok(chain_pool_add_issuer(&pool, known.der[i], &e), e);
	} while (pool.count > before);
	assert_int_equal(pool.count, 3);
	assert_ok(build(&pool, "rsa2048", &chain, &e), e);
	assert_int_equal(chain.count, 3);
	chain_pool_free(&pool);
	chain_pool_free(&known);
}

/* A root's new key, for which the old one vouches (RFC 4210 4.4), and the other way round:
 * whichever stands before the new root, and whether or not the old root is there. */
static void
test_rolled_over(void **state)
{
	static const struct plan plans[] = {
	    {.subject = "root", .issuer = "root", .key = "p256", .signed_by = "p384"},
	    {.subject = "root", .issuer = "root", .key = "p384", .signed_by = "p256"},
	    {.subject = "root",
		.issuer = "root",
		.key = "p384",
		.signed_by = "p384",
		.not_before = -2 * YEAR,
		.not_after = -DAY},
	};
	static const struct plan below = {
	    .subject = "leaf", .issuer = "root", .key = "rsa2048", .signed_by = "p256"};

	for (size_t count = 1; count <= COUNT_OF(plans); count++) {
		struct chain_pool pool = {0};
		struct bytes end;
		struct chain chain;
		struct error e;

		(void)put(&pool, &below);
		for (size_t i = 0; i < count; i++)
			(void)put(&pool, &plans[i]);
		end = put(&pool, &root);
		assert_ok(build(&pool, "rsa2048", &chain, &e), e);
		assert_false(error_is_set(&e));
		assert_int_equal(chain.count, 2);
		assert_ptr_equal(chain.certs[1].whole.p, end.p);
		chain_pool_free(&pool);
	}
}

static void
append_pem(char *text, const struct plan *p)
{
	X509 *x = make(p);
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long len;

	assert_true(PEM_write_bio_X509(bio, x));
	len = BIO_get_mem_data(bio, &data);
	strncat(text, data, (size_t)len);
	BIO_free(bio);
	X509_free(x);
}

static void
test_pem(void **state)
{
	char text[8192] = "Subject: a tool's own words\n";
	struct chain_pool pool = {0};
	struct chain chain;
	struct error e = ERROR_INIT;

	assert_false(chain_pool_add_pem(&pool, text, &e));
	assert_int_equal(e.code, ERROR_NOT_FOUND);
	e = ERROR_INIT;
	append_pem(text, &leaf);
	strcat(text, "\n1 s: something\n");
	append_pem(text, &middle);
	append_pem(text, &root);
	assert_ok(chain_pool_add_pem(&pool, text, &e), e);
	assert_int_equal(pool.count, 3);
	assert_ok(build(&pool, "rsa2048", &chain, &e), e);
	chain_pool_free(&pool);
}

static void
test_broken_pem(void **state)
{
	static const char *const texts[] = {
	    "-----BEGIN CERTIFICATE-----\nMII*\n-----END CERTIFICATE-----\n",
	    "-----BEGIN CERTIFICATE-----\nMIIB\n",
	    "-----BEGIN CERTIFICATE-----\nMIIB\n-----END PUBLIC KEY-----\n",
	};

	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct chain_pool pool = {0};
		struct error e = ERROR_INIT;

		assert_false(chain_pool_add_pem(&pool, texts[i], &e));
		assert_true(error_is_set(&e));
		chain_pool_free(&pool);
	}
}

/* What is no certificate is told, where nothing else fits. */
static void
test_unreadable(void **state)
{
	struct chain_pool pool = {0};
	struct chain chain;
	struct error e = ERROR_INIT;

	assert_ok(chain_pool_add(&pool, text_bytes("rubbish"), &e), e);
	assert_false(build(&pool, "rsa2048", &chain, &e));
	assert_error(
	    e, "none of the certificates that could be read is for this CA's key; another: ");
	chain_pool_free(&pool);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_three),
	    cmocka_unit_test(test_missing),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_just_valid),
	    cmocka_unit_test(test_renewed),
	    cmocka_unit_test(test_same_name),
	    cmocka_unit_test(test_self_issued),
	    cmocka_unit_test(test_circle),
	    cmocka_unit_test(test_pool_is_bounded),
	    cmocka_unit_test(test_own_issuers),
	    cmocka_unit_test(test_rolled_over),
	    cmocka_unit_test(test_pem),
	    cmocka_unit_test(test_broken_pem),
	    cmocka_unit_test(test_unreadable),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
