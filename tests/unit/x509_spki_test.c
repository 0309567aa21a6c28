#include "tests/unit/x509_util.h"

#include <openssl/pem.h>

#include "daemon/x509/derw.h"
#include "daemon/x509/pem.h"
#include "daemon/x509/spki.h"

static const struct {
	const char *kind;
	enum key_alg alg;
} kinds[] = {
    {"rsa2048", KEY_RSA2048},
    {"rsa3072", KEY_RSA3072},
    {"p256", KEY_P256},
    {"p384", KEY_P384},
    {"p521", KEY_P521},
    {"ed25519", KEY_ED25519},
};

static const enum sig_alg all_sigs[] = {SIG_RSA_SHA256, SIG_RSA_SHA384, SIG_RSA_SHA512,
    SIG_PSS_SHA256, SIG_PSS_SHA384, SIG_PSS_SHA512, SIG_ECDSA_SHA256, SIG_ECDSA_SHA384,
    SIG_ECDSA_SHA512, SIG_ED25519};

/* Signs by OpenSSL; 0 when key and algorithm do not go together. */
static size_t
sign(EVP_PKEY *key, enum sig_alg alg, struct bytes message, uint8_t out[SIG_MAX])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx = NULL;
	size_t len = SIG_MAX;

	assert_int_equal(EVP_DigestSignInit(ctx, &pctx, sig_alg_md(alg), NULL, key), 1);
	if (sig_alg_family(alg) == SIG_FAMILY_PSS) {
		assert_true(EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) > 0);
		assert_true(EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST) > 0);
	}
	assert_int_equal(EVP_DigestSign(ctx, out, &len, message.p, message.len), 1);
	EVP_MD_CTX_free(ctx);
	return len;
}

static bool
goes_with(const char *kind, enum sig_alg alg)
{
	enum sig_family family = sig_alg_family(alg);

	switch (kind[0]) {
	case 'r':
		return family == SIG_FAMILY_RSA || family == SIG_FAMILY_PSS;
	case 'p':
		return family == SIG_FAMILY_ECDSA;
	default:
		return family == SIG_FAMILY_EDDSA;
	}
}

static void
parse_and_encode(void **state)
{
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		EVP_PKEY *key = shared_key(kinds[i].kind);
		struct bytes der = TO_DER(PUBKEY, key), mine = {0};
		struct error e = ERROR_INIT;
		uint8_t ski[SKI_LEN], digest[32], want[32], buf[SPKI_MAX];
		struct spki spki;
		char text[16];
		EVP_PKEY *again;

		assert_ok(spki_parse(der, &spki, &e), e);
		assert_int_equal(spki_key_alg(&spki), kinds[i].alg);
		spki_describe(&spki, text);
		assert_string_equal(text, kinds[i].kind);
		again = spki_to_pkey(&spki, &e);
		assert_ok(again != NULL, e);
		assert_int_equal(EVP_PKEY_eq(key, again), 1);
		EVP_PKEY_free(again);
		assert_ok(spki_ski(&spki, ski, &e), e);
		assert_ok(spki_sha256(&spki, digest, &e), e);
		EVP_Digest(der.p, der.len, want, NULL, EVP_sha256(), NULL);
		assert_memory_equal(digest, want, 32);
		EVP_Digest(spki.key.p, spki.key.len, want, NULL, EVP_sha1(), NULL);
		assert_memory_equal(ski, want, 20);
		if (spki.kind == SPKI_RSA)
			assert_ok(spki_encode_rsa(
				      spki.modulus, spki.exponent, buf, sizeof buf, &mine, &e),
			    e);
		else if (spki.kind == SPKI_EC)
			assert_ok(
			    spki_encode_ec(kinds[i].alg, spki.key, buf, sizeof buf, &mine, &e), e);
		else
			assert_ok(spki_encode_ed25519(spki.key, buf, sizeof buf, &mine, &e), e);
		assert_bytes(mine, der);
		free_bytes(der);
	}
}

static void
refused_keys(void **state)
{
	static const struct {
		const char *kind, *words;
	} keys[] = {{"rsa1024", "1024 bits"}, {"secp256k1", "1.3.132.0.10"},
	    {"brainpoolP256r1", "P-256, P-384 and P-521"}};
	struct error e = ERROR_INIT;
	struct spki spki;
	EVP_PKEY *key;
	struct bytes der;

	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		e = ERROR_INIT;
		key = make_key(keys[i].kind);
		der = TO_DER(PUBKEY, key);
		assert_false(spki_parse(der, &spki, &e));
		assert_error(e, keys[i].words);
		free_bytes(der);
		EVP_PKEY_free(key);
	}
	key = EVP_PKEY_Q_keygen(NULL, NULL, "ED448");
	der = TO_DER(PUBKEY, key);
	e = ERROR_INIT;
	assert_false(spki_parse(der, &spki, &e));
	assert_error(e, "1.3.101.113");
	free_bytes(der);
	EVP_PKEY_free(key);
	e = ERROR_INIT;
	assert_false(spki_parse((struct bytes){0}, &spki, &e));
	assert_error(e, "SubjectPublicKeyInfo");
}

static void
bad_rsa_numbers(void **state)
{
	static const struct {
		const char *exponent;
		uint8_t last; /* octet of the modulus */
		const char *words;
	} cases[] = {
	    {"01", 1, "exponent"},
	    {"00", 1, "exponent"},
	    {"010000", 1, "exponent"},
	    {"010000000000000001", 1, "exponent"},
	    {"03", 2, "even"},
	};
	uint8_t modulus[256], buf[SPKI_MAX];
	struct bytes der;
	struct spki spki;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct error e = ERROR_INIT;

		memset(modulus, 0xc3, sizeof modulus);
		modulus[255] = cases[i].last;
		assert_ok(spki_encode_rsa(
			      BYTES(modulus), hex(cases[i].exponent), buf, sizeof buf, &der, &e),
		    e);
		assert_false(spki_parse(der, &spki, &e));
		assert_error(e, cases[i].words);
	}
}

static void
bad_ec_points(void **state)
{
	uint8_t point[65] = {0x04, 1, 2, 3}, buf[SPKI_MAX];
	struct error e = ERROR_INIT;
	struct bytes der;
	struct spki spki;

	/* A point that is not on the curve is found when the key is made. */
	assert_ok(spki_encode_ec(KEY_P256, BYTES(point), buf, sizeof buf, &der, &e), e);
	assert_ok(spki_parse(der, &spki, &e), e);
	assert_null(spki_to_pkey(&spki, &e));
	assert_error(e, "no valid key");
	e = ERROR_INIT;
	assert_false(spki_encode_ec(KEY_P384, BYTES(point), buf, sizeof buf, &der, &e));
	e = ERROR_INIT;
	assert_false(spki_encode_ec(KEY_RSA2048, BYTES(point), buf, sizeof buf, &der, &e));
	/* compressed */
	e = ERROR_INIT;
	point[0] = 0x02;
	assert_false(spki_encode_ec(KEY_P256, BYTES(point), buf, sizeof buf, &der, &e));
}

static void
verify(void **state)
{
	const struct bytes message = text_bytes("what is signed"), other = text_bytes("not this");
	uint8_t sig[SIG_MAX], digest[DIGEST_MAX];

	for (size_t k = 0; k < COUNT_OF(kinds); k++) {
		EVP_PKEY *key = shared_key(kinds[k].kind);
		struct bytes der = TO_DER(PUBKEY, key);
		struct error e = ERROR_INIT;
		struct spki spki;

		assert_ok(spki_parse(der, &spki, &e), e);
		for (size_t s = 0; s < COUNT_OF(all_sigs); s++) {
			enum sig_alg alg = all_sigs[s];
			struct bytes b = {sig, 16};

			e = ERROR_INIT;
			if (!goes_with(kinds[k].kind, alg)) {
				assert_false(spki_verify(&spki, alg, message, b, &e));
				assert_error(e, "does not go with the key");
				continue;
			}
			b.len = sign(key, alg, message, sig);
			if (kinds[k].alg != KEY_NONE)
				assert_true(b.len <= key_alg_sig_max(kinds[k].alg));
			assert_ok(spki_verify(&spki, alg, message, b, &e), e);
			assert_false(spki_verify(&spki, alg, other, b, &e));
			assert_error(e, "signature is wrong");
			if (alg != SIG_ED25519) {
				struct bytes d = {digest, sig_alg_digest_len(alg)};

				e = ERROR_INIT;
				EVP_Digest(
				    message.p, message.len, digest, NULL, sig_alg_md(alg), NULL);
				assert_ok(spki_verify_digest(&spki, alg, d, b, &e), e);
				digest[0] ^= 1;
				assert_false(spki_verify_digest(&spki, alg, d, b, &e));
				d.len--;
				assert_false(
				    spki_verify_digest(&spki, alg, d, b, &(struct error){0}));
			}
			sig[b.len / 2] ^= 1;
			assert_false(spki_verify(&spki, alg, message, b, &(struct error){0}));
			b.len = 0;
			assert_false(spki_verify(&spki, alg, message, b, &(struct error){0}));
		}
		free_bytes(der);
	}
}

static void
ecdsa_from_raw(void **state)
{
	static const char *const curves[] = {"p256", "p384", "p521"};

	for (size_t c = 0; c < COUNT_OF(curves); c++) {
		EVP_PKEY *key = shared_key(curves[c]);

		for (int i = 0; i < 60; i++) {
			uint8_t sig[SIG_MAX], raw[132], out[144];
			size_t len = sign(key, SIG_ECDSA_SHA256, text_bytes("x"), sig);
			size_t half = ((size_t)EVP_PKEY_get_bits(key) + 7) / 8;
			const uint8_t *p = sig;
			ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &p, (long)len);
			struct error e = ERROR_INIT;
			struct bytes der;

			BN_bn2binpad(ECDSA_SIG_get0_r(s), raw, (int)half);
			BN_bn2binpad(ECDSA_SIG_get0_s(s), raw + half, (int)half);
			assert_ok(ecdsa_signature_from_raw(
				      (struct bytes){raw, 2 * half}, out, sizeof out, &der, &e),
			    e);
			assert_bytes(der, (struct bytes){sig, len});
			ECDSA_SIG_free(s);
		}
	}
	{
		struct error e = ERROR_INIT;
		struct bytes der;
		uint8_t out[8];

		assert_false(ecdsa_signature_from_raw(hex("010203"), out, 8, &der, &e));
		e = ERROR_INIT;
		assert_false(ecdsa_signature_from_raw(hex("0102030405060708"), out, 8, &der, &e));
	}
}

/* AlgorithmIdentifiers against those that OpenSSL writes into a signed object. */
static void
algorithm_identifiers(void **state)
{
	for (size_t s = 0; s < COUNT_OF(all_sigs); s++) {
		enum sig_alg alg = all_sigs[s], back;
		EVP_PKEY *key = shared_key(sig_alg_family(alg) == SIG_FAMILY_ECDSA   ? "p256"
					   : sig_alg_family(alg) == SIG_FAMILY_EDDSA ? "ed25519"
										     : "rsa2048");
		X509_REQ *req = X509_REQ_new();
		EVP_MD_CTX *ctx = EVP_MD_CTX_new();
		EVP_PKEY_CTX *pctx = NULL;
		const X509_ALGOR *oalg = NULL;
		struct bytes der;
		unsigned salt_len;

		X509_REQ_set_pubkey(req, key);
		assert_int_equal(EVP_DigestSignInit(ctx, &pctx, sig_alg_md(alg), NULL, key), 1);
		if (sig_alg_family(alg) == SIG_FAMILY_PSS) {
			EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
			EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST);
		}
		assert_true(X509_REQ_sign_ctx(req, ctx) > 0);
		X509_REQ_get0_signature(req, NULL, &oalg);
		der = TO_DER(X509_ALGOR, oalg);
		assert_bytes(sig_alg_der(alg), der);
		assert_true(sig_alg_parse(der, &back, &salt_len));
		assert_int_equal(back, alg);
		assert_int_equal(
		    salt_len, sig_alg_family(alg) == SIG_FAMILY_PSS ? sig_alg_digest_len(alg) : 0);
		assert_true(sig_alg_valid(alg));
		assert_true(sig_alg_from_name(sig_alg_name(alg), &back));
		assert_int_equal(back, alg);
		free_bytes(der);
		EVP_MD_CTX_free(ctx);
		X509_REQ_free(req);
	}
}

static void
algorithm_variants(void **state)
{
	enum sig_alg alg;
	unsigned salt;

	/* RSA without parameters */
	assert_true(sig_alg_parse(hex("30 0b 06 09 2a864886f70d01010b"), &alg, &salt));
	assert_int_equal(alg, SIG_RSA_SHA256);
	/* SHA-1, MD5, other parameters, ECDSA with NULL, empty PSS */
	assert_false(sig_alg_parse(hex("30 0d 06 09 2a864886f70d010105 0500"), &alg, &salt));
	assert_false(sig_alg_parse(hex("30 0d 06 09 2a864886f70d010104 0500"), &alg, &salt));
	assert_false(sig_alg_parse(hex("30 0e 06 09 2a864886f70d01010b 020101"), &alg, &salt));
	assert_false(sig_alg_parse(hex("30 0c 06 08 2a8648ce3d040302 0500"), &alg, &salt));
	assert_false(sig_alg_parse(hex("30 0d 06 09 2a864886f70d01010a 3000"), &alg, &salt));
	/* PSS, salt of 222 octets, digests without parameters */
	assert_true(sig_alg_parse(hex("30 3e 06 09 2a864886f70d01010a 30 31 a0 0d 30 0b 06 09 "
				      "608648016503040201 a1 1a 30 18 06 09 2a864886f70d010108 30 "
				      "0b 06 09 608648016503040201 a2 04 02 02 00de"),
	    &alg, &salt));
	assert_int_equal(alg, SIG_PSS_SHA256);
	assert_int_equal(salt, 222);
	/* MGF1 with another digest; default salt written out */
	assert_false(sig_alg_parse(hex("30 3e 06 09 2a864886f70d01010a 30 31 a0 0d 30 0b 06 09 "
				       "608648016503040201 a1 1a 30 18 06 09 2a864886f70d010108 30 "
				       "0b 06 09 608648016503040202 a2 04 02 02 00de"),
	    &alg, &salt));
	assert_false(sig_alg_parse(hex("30 3d 06 09 2a864886f70d01010a 30 30 a0 0d 30 0b 06 09 "
				       "608648016503040201 a1 1a 30 18 06 09 2a864886f70d010108 30 "
				       "0b 06 09 608648016503040201 a2 03 02 01 14"),
	    &alg, &salt));
	assert_false(sig_alg_valid(0));
	assert_false(sig_alg_valid(4));
	assert_int_equal(sig_alg_der(SIG_NONE).len, 0);
}

static void
choices(void **state)
{
	enum sig_alg alg;
	enum key_alg key;

	assert_true(key_alg_from_name("p384", &key));
	assert_true(sig_alg_choose(key, NULL, false, &alg));
	assert_int_equal(alg, SIG_ECDSA_SHA384);
	assert_true(sig_alg_choose(KEY_RSA4096, NULL, true, &alg));
	assert_int_equal(alg, SIG_PSS_SHA256);
	assert_true(sig_alg_choose(KEY_RSA2048, "sha512", false, &alg));
	assert_int_equal(alg, SIG_RSA_SHA512);
	assert_false(sig_alg_choose(KEY_P256, NULL, true, &alg));
	assert_false(sig_alg_choose(KEY_RSA2048, "md5", false, &alg));
	assert_false(key_alg_from_name("rsa1024", &key));
	assert_true(sig_alg_fits_key(SIG_PSS_SHA256, KEY_RSA3072));
	assert_false(sig_alg_fits_key(SIG_PSS_SHA256, KEY_P256));
	assert_false(sig_alg_fits_key(SIG_ED25519, KEY_P256));
	assert_false(sig_alg_fits_key(SIG_NONE, KEY_RSA2048));
	assert_int_equal(key_alg_sig_max(KEY_P256), 72);
	assert_int_equal(key_alg_sig_max(KEY_P384), 104);
	assert_int_equal(key_alg_sig_max(KEY_P521), 139);
	assert_int_equal(key_alg_sig_max(KEY_RSA3072), 384);
	assert_int_equal(key_alg_field_len(KEY_P521), 66);
	assert_true(sig_alg_choose(KEY_ED25519, NULL, false, &alg));
	assert_int_equal(alg, SIG_ED25519);
	assert_false(sig_alg_choose(KEY_ED25519, "sha512", false, &alg));
	assert_false(sig_alg_choose(KEY_ED25519, NULL, true, &alg));
	assert_true(sig_alg_fits_key(SIG_ED25519, KEY_ED25519));
	assert_false(sig_alg_fits_key(SIG_ECDSA_SHA256, KEY_ED25519));
	assert_int_equal(key_alg_sig_max(KEY_ED25519), 64);
	assert_int_equal(key_alg_field_len(KEY_ED25519), 0);
}

/* A PKCS#1 signature is DigestInfo under the key: take it back out. */
static void
digest_info(void **state)
{
	EVP_PKEY *key = shared_key("rsa2048");

	for (enum sig_alg alg = SIG_RSA_SHA256; alg <= SIG_RSA_SHA512; alg++) {
		EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
		uint8_t sig[SIG_MAX], block[256];
		size_t len = sign(key, alg, text_bytes("x"), sig), block_len = sizeof block;
		struct bytes info = sig_alg_digest_info(alg);
		size_t digest_len = sig_alg_digest_len(alg);

		EVP_PKEY_encrypt_init(ctx);
		EVP_PKEY_CTX_set_rsa_padding(ctx, RSA_NO_PADDING);
		assert_int_equal(EVP_PKEY_encrypt(ctx, block, &block_len, sig, len), 1);
		assert_memory_equal(block + 256 - digest_len - info.len, info.p, info.len);
		assert_int_equal(block[256 - digest_len - info.len - 1], 0);
		EVP_PKEY_CTX_free(ctx);
	}
}

static void
pem(void **state)
{
	uint8_t der[1000], back[1000];
	char text[2000];
	size_t len;

	random_octets(der, sizeof der);
	for (size_t n = 0; n < 400; n++) {
		struct error e = ERROR_INIT;
		struct bytes rest;
		BIO *bio;
		char *name, *header;
		unsigned char *data;
		long data_len;

		assert_true(pem_encode(PEM_CERTIFICATE, (struct bytes){der, n}, text, sizeof text));
		assert_int_equal(strlen(text) + 1, pem_encoded_size(PEM_CERTIFICATE, n));
		rest = text_bytes(text);
		assert_ok(pem_decode(&rest, PEM_CERTIFICATE, back, sizeof back, &len, &e), e);
		assert_bytes((struct bytes){back, len}, (struct bytes){der, n});
		assert_int_equal(rest.len, 1);
		assert_false(pem_decode(&rest, PEM_CERTIFICATE, back, sizeof back, &len, &e));
		assert_int_equal(e.code, ERROR_NOT_FOUND);
		if (n == 0)
			continue;
		bio = BIO_new_mem_buf(text, -1);
		assert_int_equal(PEM_read_bio(bio, &name, &header, &data, &data_len), 1);
		assert_bytes((struct bytes){data, (size_t)data_len}, (struct bytes){der, n});
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_free(data);
		BIO_free(bio);
	}
	assert_false(pem_encode(PEM_CERTIFICATE, BYTES(der), text, 100));
}

static void
wrong_pem(void **state)
{
	static const struct {
		const char *body;
		bool ok;
	} cases[] = {
	    {"QUJD", true},
	    {"QUI=", true},
	    {"QQ==", true},
	    {"Q Q\r\n=\t=", true},
	    {"QQ", false},
	    {"Q", false},
	    {"QQ=", false},
	    {"QQ===", false},
	    {"QQ==QQ==", false},
	    {"QUJD=", false},
	    {"QR==", false},
	    {"QUJ=", false},
	    {"QU-D", false},
	    {"=QUJ", false},
	    {"Proc-Type: 4,ENCRYPTED", false},
	};
	uint8_t out[16];
	char text[200];
	size_t len;

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct error e = ERROR_INIT;
		struct bytes rest;

		(void)snprintf(text, sizeof text,
		    "words\n-----BEGIN PUBLIC KEY-----\n%s\n-----END PUBLIC KEY-----\n",
		    cases[i].body);
		rest = text_bytes(text);
		if (pem_decode(&rest, PEM_PUBLIC_KEY, out, sizeof out, &len, &e) != cases[i].ok)
			fail_msg("'%s'", cases[i].body);
	}
	{
		struct error e = ERROR_INIT;
		struct bytes rest = text_bytes(
		    "-----BEGIN PUBLIC KEY-----\nQUJDQUJD\n-----END PUBLIC KEY-----");

		assert_false(pem_decode(&rest, PEM_PUBLIC_KEY, out, 5, &len, &e));
		assert_int_equal(e.code, ERROR_LIMIT);
		e = ERROR_INIT;
		rest = text_bytes("-----BEGIN PUBLIC KEY-----\nQUJD");
		assert_false(pem_decode(&rest, PEM_PUBLIC_KEY, out, 5, &len, &e));
		assert_error(e, "END PUBLIC KEY");
	}
}

/* As OpenSSL sees it, for every curve: a point, and the same with a bit changed. */
static void
points(void **state)
{
	static const char *const names[] = {"p256", "p384", "p521"};
	uint8_t der[SPKI_MAX];
	struct spki spki;

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		for (int round = 0; round < 64; round++) {
			struct bytes good = TO_DER(PUBKEY, shared_key(names[i]));
			struct error e = ERROR_INIT;
			EVP_PKEY *key;

			memcpy(der, good.p, good.len);
			assert_ok(spki_parse((struct bytes){der, good.len}, &spki, &e), e);
			if (round > 0) {
				size_t at = 1 + random_below((unsigned)spki.key.len - 1);

				der[(size_t)(spki.key.p - der) + at] ^= (uint8_t)(1 << random_below(
										      8));
			}
			key = spki_to_pkey(&spki, &(struct error){0});
			assert_int_equal(spki_check_point(&spki, &e), key != NULL);
			assert_int_equal(key != NULL, round == 0);
			if (key == NULL)
				assert_error(e, "no point of P-");
			EVP_PKEY_free(key);
			free_bytes(good);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parse_and_encode),
	    cmocka_unit_test(refused_keys),
	    cmocka_unit_test(bad_rsa_numbers),
	    cmocka_unit_test(bad_ec_points),
	    cmocka_unit_test(verify),
	    cmocka_unit_test(ecdsa_from_raw),
	    cmocka_unit_test(algorithm_identifiers),
	    cmocka_unit_test(algorithm_variants),
	    cmocka_unit_test(choices),
	    cmocka_unit_test(digest_info),
	    cmocka_unit_test(pem),
	    cmocka_unit_test(wrong_pem),
	    cmocka_unit_test(points),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
