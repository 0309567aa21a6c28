/* What the token made is verified the same way before, while and after its key has a
 * table; by several threads, and by more keys than have tables. */

#include "tests/unit/x509_util.h"

#include <pthread.h>

#include "pkcs11/verify.h"

#define THREADS 4
#define ROUNDS 300 /* of each thread; a table is made after 256 */
#define KEYS 20	   /* 16 have tables */

struct made {
	struct key key;
	uint8_t digest[32], signature[80];
	size_t len;
};

static void
make(struct made *m, EVP_PKEY *pkey)
{
	struct bytes spki = TO_DER(PUBKEY, pkey);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, pkey, NULL);
	struct error e = ERROR_INIT;

	*m = (struct made){.key = {.alg = KEY_P256, .pkey = pkey}, .len = sizeof m->signature};
	memcpy(m->key.spki_der, spki.p, spki.len);
	assert_ok(spki_parse((struct bytes){m->key.spki_der, spki.len}, &m->key.spki, &e), e);
	random_octets(m->digest, sizeof m->digest);
	assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
	assert_int_equal(EVP_PKEY_sign(ctx, m->signature, &m->len, m->digest, sizeof m->digest), 1);
	EVP_PKEY_CTX_free(ctx);
	free_bytes(spki);
}

/* Right over its digest, wrong over another. */
static bool
verify_both(const struct made *m)
{
	struct bytes signature = {m->signature, m->len};
	struct error e = ERROR_INIT;
	uint8_t other[32];

	memcpy(other, m->digest, sizeof other);
	other[31] ^= 1;
	return verify_made(&m->key, SIG_ECDSA_SHA256, BYTES(m->digest), signature, &e) &&
	       !verify_made(&m->key, SIG_ECDSA_SHA256, BYTES(other), signature, &e) &&
	       e.code == ERROR_INPUT;
}

static void *
verify_many(void *arg)
{
	static char wrong;

	for (int i = 0; i < ROUNDS; i++) {
		if (!verify_both(arg))
			return &wrong;
	}
	return NULL;
}

static void
test_threads(void **state)
{
	pthread_t threads[THREADS];
	void *failed = NULL;
	struct made m;

	make(&m, shared_key("p256"));
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, verify_many, &m), 0);
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(threads[i], &failed), 0);
		assert_null(failed);
	}
}

static void
test_more_keys_than_tables(void **state)
{
	for (int k = 0; k < KEYS; k++) {
		EVP_PKEY *pkey = make_key("p256");
		struct made m;

		make(&m, pkey);
		for (int i = 0; i < 130; i++)
			assert_true(verify_both(&m));
		EVP_PKEY_free(pkey);
	}
}

/* Other digests and keys than those of the table. */
static void
test_other_algorithms(void **state)
{
	struct error e = ERROR_INIT;
	uint8_t digest[48] = {5};
	struct made m;

	make(&m, shared_key("p256"));
	assert_false(verify_made(
	    &m.key, SIG_ECDSA_SHA384, BYTES(digest), (struct bytes){m.signature, m.len}, &e));
	assert_int_equal(e.code, ERROR_INPUT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_threads),
	    cmocka_unit_test(test_more_keys_than_tables),
	    cmocka_unit_test(test_other_algorithms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
