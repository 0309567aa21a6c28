/* Verification by a table says what OpenSSL says. */

#include "tests/unit/x509_util.h"

#include <openssl/ecdsa.h>

#include "daemon/x509/ecdsa_verifier.h"

#define DIGEST_LEN 32

struct fixture {
	struct bytes spki_der;
	struct spki spki;
	EVP_PKEY *key;
	struct ecdsa_verifier *verifier;
};

static void
set_up(struct fixture *f, const char *kind)
{
	struct error e = ERROR_INIT;

	f->key = shared_key(kind);
	f->spki_der = TO_DER(PUBKEY, f->key);
	assert_ok(spki_parse(f->spki_der, &f->spki, &e), e);
	f->verifier = ecdsa_verifier_new(&f->spki, &e);
	if (f->verifier == NULL)
		fail_msg("%s", e.text);
}

static void
tear_down(struct fixture *f)
{
	ecdsa_verifier_free(f->verifier);
	free_bytes(f->spki_der);
}

static struct bytes
sign(const struct fixture *f, const uint8_t digest[DIGEST_LEN], uint8_t out[80])
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, f->key, NULL);
	size_t len = 80;

	assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
	assert_int_equal(EVP_PKEY_sign(ctx, out, &len, digest, DIGEST_LEN), 1);
	EVP_PKEY_CTX_free(ctx);
	return (struct bytes){out, len};
}

/* Both say the same; what they say. */
static bool
check(const struct fixture *f, const uint8_t digest[DIGEST_LEN], struct bytes signature)
{
	struct error e = ERROR_INIT, other = ERROR_INIT;
	struct bytes d = {digest, DIGEST_LEN};
	bool ours = ecdsa_verifier_check(f->verifier, d, signature, &e);
	bool theirs = pkey_verify_digest(
	    f->key, SIG_ECDSA_SHA256, DIGEST_LEN, d, signature, &other);

	assert_int_equal(ours, theirs);
	if (!ours)
		assert_int_equal(e.code, ERROR_INPUT);
	return ours;
}

static void
test_right_and_wrong(void **state)
{
	struct fixture f, other;
	uint8_t digest[DIGEST_LEN], buf[80];

	set_up(&f, "p256");
	set_up(&other, "p256-bob");
	for (int round = 0; round < 100; round++) {
		struct bytes signature;

		random_octets(digest, sizeof digest);
		signature = sign(&f, digest, buf);
		assert_true(check(&f, digest, signature));
		assert_false(check(&other, digest, signature));
		digest[random_below(DIGEST_LEN)] ^= (uint8_t)(1 + random_below(255));
		assert_false(check(&f, digest, signature));
	}
	tear_down(&f);
	tear_down(&other);
}

/* Any octet changed, removed or added. */
static void
test_damaged(void **state)
{
	uint8_t digest[DIGEST_LEN] = {1}, buf[80], damaged[81];
	struct bytes signature;
	struct fixture f;

	set_up(&f, "p256");
	signature = sign(&f, digest, buf);
	for (size_t i = 0; i < signature.len; i++) {
		for (int bit = 0; bit < 8; bit++) {
			memcpy(damaged, buf, signature.len);
			damaged[i] ^= (uint8_t)(1 << bit);
			assert_false(check(&f, digest, (struct bytes){damaged, signature.len}));
		}
		assert_false(check(&f, digest, (struct bytes){buf, i}));
	}
	memcpy(damaged, buf, signature.len);
	damaged[signature.len] = 0;
	assert_false(check(&f, digest, (struct bytes){damaged, signature.len + 1}));
	tear_down(&f);
}

/* A signature of these two numbers. */
static bool
check_numbers(
    const struct fixture *f, const uint8_t digest[DIGEST_LEN], const BIGNUM *r, const BIGNUM *s)
{
	ECDSA_SIG *sig = ECDSA_SIG_new();
	struct bytes der;
	bool ok;

	assert_int_equal(ECDSA_SIG_set0(sig, BN_dup(r), BN_dup(s)), 1);
	der = TO_DER(ECDSA_SIG, sig);
	ok = check(f, digest, der);
	free_bytes(der);
	ECDSA_SIG_free(sig);
	return ok;
}

/* 0, the order and beyond, negative ones; and s with its sign turned, which is right
 * (RFC 6979 and FIPS 186-5 ask for no low s). */
static void
test_numbers(void **state)
{
	static const uint8_t negative[] = {0x30, 6, 2, 1, 1, 2, 1, 0xff};
	uint8_t digest[DIGEST_LEN] = {7}, buf[80];
	const BIGNUM *r, *s, *order;
	EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	BIGNUM *zero = BN_new(), *n = BN_new();
	ECDSA_SIG *sig;
	struct bytes signature;
	const uint8_t *p = buf;
	struct fixture f;

	set_up(&f, "p256");
	order = EC_GROUP_get0_order(group);
	signature = sign(&f, digest, buf);
	sig = d2i_ECDSA_SIG(NULL, &p, (long)signature.len);
	ECDSA_SIG_get0(sig, &r, &s);
	BN_zero(zero);
	assert_true(check_numbers(&f, digest, r, s));
	assert_false(check_numbers(&f, digest, s, r));
	assert_false(check_numbers(&f, digest, zero, s));
	assert_false(check_numbers(&f, digest, r, zero));
	assert_false(check_numbers(&f, digest, order, s));
	assert_false(check_numbers(&f, digest, r, order));
	assert_int_equal(BN_add(n, r, order), 1);
	assert_false(check_numbers(&f, digest, n, s));
	assert_int_equal(BN_add(n, s, order), 1);
	assert_false(check_numbers(&f, digest, r, n));
	assert_int_equal(BN_sub(n, order, s), 1);
	assert_true(check_numbers(&f, digest, r, n));
	assert_false(check(&f, digest, BYTES(negative)));
	assert_int_equal(BN_sub(n, order, r), 1);
	assert_false(check_numbers(&f, digest, n, s));
	memset(digest, 0, sizeof digest); /* e = 0: only the key's part is left */
	signature = sign(&f, digest, buf);
	assert_true(check(&f, digest, signature));
	memset(digest, 0xff, sizeof digest); /* e above the order */
	signature = sign(&f, digest, buf);
	assert_true(check(&f, digest, signature));
	ECDSA_SIG_free(sig);
	BN_free(zero);
	BN_free(n);
	EC_GROUP_free(group);
	tear_down(&f);
}

static void
test_other_keys_have_none(void **state)
{
	static const char *const kinds[] = {"rsa2048", "p384", "ed25519"};
	struct error e = ERROR_INIT;
	struct bytes der;
	struct spki spki;

	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		der = TO_DER(PUBKEY, shared_key(kinds[i]));
		assert_ok(spki_parse(der, &spki, &e), e);
		assert_null(ecdsa_verifier_new(&spki, &e));
		assert_int_equal(e.code, ERROR_INPUT);
		error_clear(&e);
		free_bytes(der);
	}
	der = TO_DER(PUBKEY, shared_key("p256"));
	((uint8_t *)(uintptr_t)der.p)[der.len - 1] ^= 1; /* off the curve */
	assert_ok(spki_parse(der, &spki, &e), e);
	assert_null(ecdsa_verifier_new(&spki, &e));
	assert_int_equal(e.code, ERROR_INPUT);
	free_bytes(der);
	ecdsa_verifier_free(NULL);
}

static void
test_digest_of_another_length(void **state)
{
	uint8_t digest[48] = {3}, buf[80];
	struct error e = ERROR_INIT;
	struct bytes signature;
	struct fixture f;

	set_up(&f, "p256");
	signature = sign(&f, digest, buf);
	for (size_t len = 0; len <= sizeof digest; len++) {
		bool ok = ecdsa_verifier_check(
		    f.verifier, (struct bytes){digest, len}, signature, &e);

		assert_int_equal(ok, len == DIGEST_LEN);
		error_clear(&e);
	}
	tear_down(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_right_and_wrong),
	    cmocka_unit_test(test_damaged),
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_other_keys_have_none),
	    cmocka_unit_test(test_digest_of_another_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
