/* Verification by the numbers of a key says what OpenSSL's key object says. */

#include "tests/unit/x509_util.h"

#include <openssl/err.h>

#include "daemon/x509/verifier.h"

#define MESSAGE_LEN 100
#define SIGNATURE_MAX 1024

static struct verifier *verifier;

/* A key, a message and its signature. */
struct signed_message {
	EVP_PKEY *key;
	struct bytes spki_der;
	struct spki spki;
	enum sig_alg alg;
	uint8_t message[MESSAGE_LEN], signature[SIGNATURE_MAX];
	size_t len;
};

static void
sign(struct signed_message *m, const char *kind, enum sig_alg alg)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *parameters = NULL;
	struct error e = ERROR_INIT;

	*m = (struct signed_message){
	    .key = shared_key(kind), .alg = alg, .len = sizeof m->signature};
	m->spki_der = TO_DER(PUBKEY, m->key);
	assert_ok(spki_parse(m->spki_der, &m->spki, &e), e);
	random_octets(m->message, sizeof m->message);
	assert_int_equal(EVP_DigestSignInit(ctx, &parameters, sig_alg_md(alg), NULL, m->key), 1);
	if (sig_alg_family(alg) == SIG_FAMILY_PSS) {
		assert_true(EVP_PKEY_CTX_set_rsa_padding(parameters, RSA_PKCS1_PSS_PADDING) == 1);
		assert_true(
		    EVP_PKEY_CTX_set_rsa_pss_saltlen(parameters, RSA_PSS_SALTLEN_DIGEST) == 1);
	}
	assert_int_equal(
	    EVP_DigestSign(ctx, m->signature, &m->len, m->message, sizeof m->message), 1);
	EVP_MD_CTX_free(ctx);
}

/* Both say the same of these octets; what they say. */
static bool
check_octets(const struct signed_message *m, struct bytes signature)
{
	struct error e = ERROR_INIT, other = ERROR_INIT;
	unsigned salt = (unsigned)sig_alg_digest_len(m->alg);
	bool ours = verifier_check(
	    verifier, &m->spki, m->alg, salt, BYTES(m->message), signature, &e);
	bool theirs = pkey_verify(m->key, m->alg, salt, BYTES(m->message), signature, &other);

	assert_int_equal(ours, theirs);
	if (!ours)
		assert_int_equal(e.code, other.code);
	assert_int_equal(ERR_peek_error(), 0);
	return ours;
}

static bool
check(const struct signed_message *m)
{
	return check_octets(m, (struct bytes){m->signature, m->len});
}

static const struct {
	const char *kind;
	enum sig_alg alg;
} cases[] = {
    {"rsa2048", SIG_RSA_SHA256},
    {"rsa2048", SIG_RSA_SHA384},
    {"rsa2048", SIG_RSA_SHA512},
    {"rsa3072", SIG_RSA_SHA256},
    {"rsa2056", SIG_RSA_SHA256}, /* another number of octets */
    {"rsa2051", SIG_RSA_SHA256}, /* and no whole one */
    {"p256", SIG_ECDSA_SHA256},
    /* by OpenSSL's key object */
    {"rsa2048", SIG_PSS_SHA256},
    {"p256", SIG_ECDSA_SHA384},
    {"p384", SIG_ECDSA_SHA384},
    {"p521", SIG_ECDSA_SHA512},
    {"ed25519", SIG_ED25519},
};

static void
test_right_and_wrong(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct signed_message m;

		sign(&m, cases[i].kind, cases[i].alg);
		for (int round = 0; round < 20; round++) {
			uint8_t *octet = &m.message[random_below(MESSAGE_LEN)];

			assert_true(check(&m));
			*octet ^= 1;
			assert_false(check(&m));
			*octet ^= 1;
		}
		free_bytes(m.spki_der);
	}
}

static void
test_damaged(void **state)
{
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct signed_message m;

		sign(&m, cases[i].kind, cases[i].alg);
		for (size_t at = 0; at < m.len; at++) {
			uint8_t was = m.signature[at];

			m.signature[at] ^= (uint8_t)(1 << random_below(8));
			assert_false(check(&m));
			m.signature[at] = was;
		}
		for (size_t len = 0; len < m.len; len += 7)
			assert_false(check_octets(&m, (struct bytes){m.signature, len}));
		m.signature[m.len] = 0;
		assert_false(check_octets(&m, (struct bytes){m.signature, m.len + 1}));
		memmove(m.signature + 1, m.signature, m.len);
		m.signature[0] = 0;
		assert_false(check_octets(&m, (struct bytes){m.signature, m.len + 1}));
		free_bytes(m.spki_der);
	}
}

/* What an RSA key makes of these octets without any padding of its own. */
static void
sign_octets(struct signed_message *m, const uint8_t *encoded, size_t len)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_pkey(NULL, m->key, NULL);

	m->len = sizeof m->signature;
	assert_int_equal(EVP_PKEY_sign_init(ctx), 1);
	assert_int_equal(EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING), 1);
	assert_int_equal(EVP_PKEY_sign(ctx, m->signature, &m->len, encoded, len), 1);
	EVP_PKEY_CTX_free(ctx);
}

/* RFC 8017 9.2, and what careless readers of it took. */
static void
test_encodings(void **state)
{
	uint8_t right[256], wrong[256], digest[32];
	struct bytes info = sig_alg_digest_info(SIG_RSA_SHA256);
	size_t tail = sizeof right - sizeof digest - info.len;
	struct signed_message m;

	sign(&m, "rsa2048", SIG_RSA_SHA256);
	assert_int_equal(
	    EVP_Digest(m.message, sizeof m.message, digest, NULL, EVP_sha256(), NULL), 1);
	memset(right, 0xff, sizeof right);
	right[0] = 0;
	right[1] = 1;
	right[tail - 1] = 0;
	memcpy(right + tail, info.p, info.len);
	memcpy(right + tail + info.len, digest, sizeof digest);
	sign_octets(&m, right, sizeof right);
	assert_true(check(&m));
	for (size_t at = 0; at < sizeof right; at++) {
		memcpy(wrong, right, sizeof right);
		wrong[at] ^= at == 0 ? 0x20 : 0x80; /* stays below the modulus */
		sign_octets(&m, wrong, sizeof wrong);
		assert_false(check(&m));
	}
	/* Less padding, and octets of the signer's own after the digest. */
	memcpy(wrong, right, sizeof right);
	memset(wrong + 10, 0, sizeof wrong - 10);
	memcpy(wrong + 11, right + tail, info.len + sizeof digest);
	sign_octets(&m, wrong, sizeof wrong);
	assert_false(check(&m));
	/* Block type 2, 0; the digest without its name. */
	for (uint8_t type = 0; type <= 2; type += 2) {
		memcpy(wrong, right, sizeof right);
		wrong[1] = type;
		sign_octets(&m, wrong, sizeof wrong);
		assert_false(check(&m));
	}
	memcpy(wrong, right, sizeof right);
	memset(wrong + tail - 1, 0xff, info.len + 1);
	wrong[sizeof wrong - sizeof digest - 1] = 0;
	sign_octets(&m, wrong, sizeof wrong);
	assert_false(check(&m));
	free_bytes(m.spki_der);
}

/* The same signature with the modulus added, where that still fits. */
static void
test_signature_beyond_the_modulus(void **state)
{
	struct signed_message m;
	BIGNUM *n, *s = BN_new();
	int fits = 0;

	for (int round = 0; round < 30; round++) {
		sign(&m, "rsa2051", SIG_RSA_SHA256); /* five bits of room in the first octet */
		n = BN_bin2bn(m.spki.modulus.p, (int)m.spki.modulus.len, NULL);
		assert_non_null(BN_bin2bn(m.signature, (int)m.len, s));
		assert_int_equal(BN_add(s, s, n), 1);
		if (BN_bn2binpad(s, m.signature, (int)m.len) > 0) {
			fits++;
			assert_false(check(&m));
		}
		BN_free(n);
		free_bytes(m.spki_der);
	}
	assert_true(fits > 0);
	BN_free(s);
}

static void
test_point_off_the_curve(void **state)
{
	struct error e = ERROR_INIT;
	struct signed_message m;

	sign(&m, "p256", SIG_ECDSA_SHA256);
	((uint8_t *)(uintptr_t)m.spki.key.p)[m.spki.key.len - 1] ^= 1;
	assert_false(verifier_check(
	    verifier, &m.spki, m.alg, 0, BYTES(m.message), (struct bytes){m.signature, m.len}, &e));
	assert_int_equal(e.code, ERROR_INPUT);
	assert_error(e, "RFC 5480");
	assert_int_equal(ERR_peek_error(), 0);
	free_bytes(m.spki_der);
}

/* An algorithm that does not go with the key. */
static void
test_other_kinds(void **state)
{
	static const struct {
		const char *kind;
		enum sig_alg signed_with, said;
	} mixed[] = {
	    {"rsa2048", SIG_RSA_SHA256, SIG_ECDSA_SHA256},
	    {"rsa2048", SIG_RSA_SHA256, SIG_ED25519},
	    {"p256", SIG_ECDSA_SHA256, SIG_RSA_SHA256},
	    {"ed25519", SIG_ED25519, SIG_RSA_SHA256},
	};

	for (size_t i = 0; i < COUNT_OF(mixed); i++) {
		struct signed_message m;

		sign(&m, mixed[i].kind, mixed[i].signed_with);
		m.alg = mixed[i].said;
		assert_false(check(&m));
		free_bytes(m.spki_der);
	}
}

static int
set_up(void **state)
{
	struct error e = ERROR_INIT;

	verifier = verifier_new(&e);
	return verifier == NULL;
}

static int
tear_down(void **state)
{
	verifier_free(verifier);
	verifier_free(NULL);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_right_and_wrong),
	    cmocka_unit_test(test_damaged),
	    cmocka_unit_test(test_encodings),
	    cmocka_unit_test(test_signature_beyond_the_modulus),
	    cmocka_unit_test(test_point_off_the_curve),
	    cmocka_unit_test(test_other_kinds),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
