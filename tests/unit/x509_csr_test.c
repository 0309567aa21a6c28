#include "tests/unit/x509_util.h"

#include <openssl/pem.h>

#include "daemon/x509/csr.h"
#include "daemon/x509/derw.h"
#include "daemon/x509/name.h"
#include "daemon/x509/pem.h"

static struct csr csr; /* large: kept off the stack */

static STACK_OF(X509_EXTENSION) * usual_extensions(void)
{
	STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();

	add_conf_extension(list, NID_subject_alt_name,
	    "DNS:a.example,DNS:*.b.example,IP:192.0.2.1,IP:2001:db8::1,email:a@b.example,"
	    "URI:spiffe://x/y");
	add_conf_extension(list, NID_key_usage, "critical,digitalSignature,keyEncipherment");
	add_conf_extension(list, NID_ext_key_usage, "serverAuth,clientAuth");
	add_conf_extension(list, NID_basic_constraints, "critical,CA:TRUE,pathlen:3");
	return list;
}

static void
free_extensions(STACK_OF(X509_EXTENSION) * list)
{
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
}

static void
expect_refused(struct bytes der, const char *words)
{
	struct error e = ERROR_INIT;

	assert_false(csr_parse(der, &csr, &e));
	assert_error(e, words);
}

static void
golden(void **state)
{
	static const struct {
		const char *key, *digest;
		enum sig_alg alg;
	} cases[] = {{"rsa2048", "sha256", SIG_RSA_SHA256}, {"rsa3072", "sha512", SIG_RSA_SHA512},
	    {"p256", "sha256", SIG_ECDSA_SHA256}, {"p384", "sha384", SIG_ECDSA_SHA384},
	    {"p521", "sha512", SIG_ECDSA_SHA512}, {"ed25519", NULL, SIG_ED25519}};
	static const char *const names[] = {"dns:a.example", "dns:*.b.example", "ip:192.0.2.1",
	    "ip:2001:db8::1", "email:a@b.example", "uri:spiffe://x/y"};
	STACK_OF(X509_EXTENSION) *list = usual_extensions();

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bytes der = make_csr(
		    shared_key(cases[i].key), cases[i].digest, "a.example", list, "secret");
		uint8_t digest[32], want[32];
		struct error e = ERROR_INIT;
		char text[SAN_TEXT_MAX];
		char kind[16];

		assert_ok(csr_parse(der, &csr, &e), e);
		assert_ok(csr_verify(&csr, &e), e);
		assert_int_equal(csr.sig_alg, cases[i].alg);
		spki_describe(&csr.spki, kind);
		assert_string_equal(kind, cases[i].key);
		assert_ok(name_to_text(csr.subject, text, sizeof text, &e), e);
		assert_string_equal(text, "CN=a.example,C=DE");
		assert_int_equal(csr.name_count, COUNT_OF(names));
		for (size_t n = 0; n < csr.name_count; n++) {
			assert_true(san_to_text(&csr.names[n], text, sizeof text));
			assert_string_equal(text, names[n]);
		}
		assert_true(csr.has_key_usage && csr.key_usage_critical);
		assert_int_equal(csr.key_usage, KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT);
		assert_int_equal(csr.purpose_count, 2);
		assert_string_equal(oid_purpose_name(csr.purposes[1]), "clientAuth");
		assert_true(csr.has_basic_constraints && csr.ca);
		assert_int_equal(csr.path_length, 3);
		assert_ok(csr_sha256(&csr, digest, &e), e);
		EVP_Digest(der.p, der.len, want, NULL, EVP_sha256(), NULL);
		assert_memory_equal(digest, want, 32);
		free_bytes(der);
	}
	free_extensions(list);
}

static void
minimal(void **state)
{
	struct bytes der = make_csr(shared_key("p256"), "sha256", "x", NULL, NULL);
	struct error e = ERROR_INIT;

	assert_ok(csr_parse(der, &csr, &e), e);
	assert_ok(csr_verify(&csr, &e), e);
	assert_int_equal(csr.extensions.len, 0);
	assert_int_equal(csr.name_count, 0);
	assert_false(csr.has_key_usage || csr.has_basic_constraints || csr.has_subject_alt_name);
	free_bytes(der);
}

/* OpenSSL's PSS with the longest salt that fits is what other tools make too. */
static void
pss_with_a_long_salt(void **state)
{
	static const int salts[] = {RSA_PSS_SALTLEN_DIGEST, RSA_PSS_SALTLEN_MAX, 20, 0};

	for (size_t i = 0; i < COUNT_OF(salts); i++) {
		X509_REQ *req = X509_REQ_new();
		EVP_MD_CTX *ctx = EVP_MD_CTX_new();
		EVP_PKEY_CTX *pctx = NULL;
		struct error e = ERROR_INIT;
		struct bytes der;

		X509_REQ_set_pubkey(req, shared_key("rsa2048"));
		EVP_DigestSignInit(ctx, &pctx, EVP_sha256(), NULL, shared_key("rsa2048"));
		EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
		EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, salts[i]);
		assert_true(X509_REQ_sign_ctx(req, ctx) > 0);
		der = TO_DER(X509_REQ, req);
		assert_ok(csr_parse(der, &csr, &e), e);
		assert_ok(csr_verify(&csr, &e), e);
		assert_int_equal(csr.sig_alg, SIG_PSS_SHA256);
		free_bytes(der);
		EVP_MD_CTX_free(ctx);
		X509_REQ_free(req);
	}
}

static void
cut_off(void **state)
{
	STACK_OF(X509_EXTENSION) *list = usual_extensions();
	struct bytes der = make_csr(shared_key("rsa2048"), "sha256", "x", list, "pw");

	for (size_t i = 0; i < der.len; i++) {
		struct error e = ERROR_INIT;
		uint8_t *copy = malloc(i + 1);

		memcpy(copy, der.p, i);
		assert_false(csr_parse((struct bytes){copy, i}, &csr, &e));
		assert_true(e.code == ERROR_INPUT && e.text[0] != '\0');
		free(copy);
	}
	{
		uint8_t *longer = calloc(1, der.len + 1);

		memcpy(longer, der.p, der.len);
		expect_refused((struct bytes){longer, der.len + 1}, "something follows it");
		free(longer);
	}
	free_extensions(list);
	free_bytes(der);
}

/* A changed byte is either refused, or the signature does not hold. */
static void
flipped(void **state)
{
	static const char *const keys[] = {"rsa2048", "p256"};
	STACK_OF(X509_EXTENSION) *list = usual_extensions();

	for (size_t k = 0; k < COUNT_OF(keys); k++) {
		struct bytes der = make_csr(shared_key(keys[k]), "sha256", "x", list, "pw");
		uint8_t *copy = malloc(der.len);

		for (size_t i = 0; i < der.len; i++) {
			for (unsigned bit = 0; bit < 8; bit += 1 + random_below(3)) {
				struct error e = ERROR_INIT;

				memcpy(copy, der.p, der.len);
				copy[i] ^= (uint8_t)(1 << bit);
				if (csr_parse((struct bytes){copy, der.len}, &csr, &e) &&
				    csr_verify(&csr, &e))
					fail_msg("bit %u of byte %zu does not matter", bit, i);
				assert_true(error_is_set(&e));
			}
		}
		free(copy);
		free_bytes(der);
	}
	free_extensions(list);
}

static void
wrong_signature(void **state)
{
	struct bytes der = make_csr(shared_key("rsa2048"), "sha256", "x", NULL, NULL);
	uint8_t *copy = malloc(der.len);
	struct error e = ERROR_INIT;

	memcpy(copy, der.p, der.len);
	copy[der.len - 1] ^= 1;
	assert_ok(csr_parse((struct bytes){copy, der.len}, &csr, &e), e);
	assert_false(csr_verify(&csr, &e));
	assert_error(e, "did not prove to have the private key");
	free(copy);
	free_bytes(der);
}

static void
weak_and_unknown(void **state)
{
	EVP_PKEY *weak = make_key("rsa1024"), *koblitz = make_key("secp256k1");
	struct bytes der = make_csr(weak, "sha256", "x", NULL, NULL);

	expect_refused(der, "RSA key has 1024 bits");
	free_bytes(der);
	der = make_csr(koblitz, "sha256", "x", NULL, NULL);
	expect_refused(der, "P-256, P-384 and P-521 are allowed");
	free_bytes(der);
	der = make_csr(shared_key("rsa2048"), "sha1", "x", NULL, NULL);
	expect_refused(der, "1.2.840.113549.1.1.5 is not accepted");
	free_bytes(der);
	der = make_csr(shared_key("p256"), "sha224", "x", NULL, NULL);
	expect_refused(der, "is not accepted");
	free_bytes(der);
	EVP_PKEY_free(weak);
	EVP_PKEY_free(koblitz);
}

static void
not_a_csr(void **state)
{
	uint8_t *large = malloc(1 << 20);
	struct error e = ERROR_INIT;
	struct bytes der;

	expect_refused((struct bytes){0}, "no DER CertificationRequest");
	expect_refused(text_bytes("hello"), "no DER CertificationRequest");
	expect_refused(hex("30 00"), "no DER CertificationRequest");
	random_octets(large, 1 << 20);
	expect_refused((struct bytes){large, 1 << 20}, "at most 65536");
	assert_false(csr_from_input((struct bytes){large, 1 << 20}, large, 10, &der, &e));
	assert_int_equal(e.code, ERROR_LIMIT);
	e = ERROR_INIT;
	large[0] = 'x';
	assert_false(csr_from_input((struct bytes){large, 1000}, large, 10, &der, &e));
	assert_error(e, "neither DER nor PEM");
	free(large);
}

/* What people give instead of a request, by its beginning: it is named. */
static void
other_structures(void **state)
{
	static const struct {
		const char *der, *said;
	} cases[] = {
	    {"30 07 30 05 a0 03 02 01 02", "CSR: it is a certificate, no certificate request"},
	    {"30 0b 30 09 02 01 01 30 04 06 02 2a 03", "CSR: it is a CRL"},
	    {"30 03 02 01 00", "CSR: it is a private key"},
	    {"30 03 02 01 01", "CSR: it is a private key"},
	    {"30 03 02 01 03", "no DER CertificationRequest"},
	    {"30 0b 30 09 02 01 01 30 04 31 02 2a 03", "no DER CertificationRequest"},
	};
	static const struct {
		const char *text, *said;
	} texts[] = {
	    {"x\n-----BEGIN CERTIFICATE-----\nMII", "it is PEM of a CERTIFICATE; a request has"},
	    {"-----BEGIN RSA PRIVATE KEY-----\n", "it is PEM of a RSA PRIVATE KEY;"},
	    {"-----BEGIN \033[2J-----\n", "neither DER nor PEM"},
	    {"-----BEGIN ", "neither DER nor PEM"},
	    {"-----BEGIN X", "it is PEM of a X;"},
	    {"", "neither DER nor PEM"},
	};
	uint8_t buf[16];
	struct bytes der;

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		expect_refused(hex(cases[i].der), cases[i].said);
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		struct error e = ERROR_INIT;

		assert_false(csr_from_input(text_bytes(texts[i].text), buf, sizeof buf, &der, &e));
		assert_error(e, texts[i].said);
	}
}

/* ---- requests that no decent tool makes, built by hand and signed */

static struct bytes
signed_info(struct bytes info, uint8_t out[CSR_MAX])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	struct error e = ERROR_INIT;
	uint8_t sig[SIG_MAX];
	size_t len = sizeof sig;
	struct bytes der;

	assert_int_equal(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, shared_key("p256")), 1);
	assert_int_equal(EVP_DigestSign(ctx, sig, &len, info.p, info.len), 1);
	EVP_MD_CTX_free(ctx);
	assert_ok(
	    csr_assemble(info, SIG_ECDSA_SHA256, (struct bytes){sig, len}, out, CSR_MAX, &der, &e),
	    e);
	return der;
}

/* version, "CN=x", the P-256 key, and these attributes. */
static struct bytes
info_with(uint64_t version, struct bytes attributes, uint8_t *buf, size_t size)
{
	struct bytes spki = TO_DER(PUBKEY, shared_key("p256"));
	struct error e = ERROR_INIT;
	uint8_t name_buf[256];
	struct bytes name;
	struct derw w;

	assert_ok(name_from_text("CN=x", name_buf, sizeof name_buf, &name, &e), e);
	derw_init(&w, buf, size);
	derw_element(&w, DER_CONTEXT_CONSTRUCTED(0), attributes);
	derw_raw(&w, spki);
	derw_raw(&w, name);
	derw_unsigned(&w, version);
	derw_wrap(&w, 0, DER_SEQUENCE);
	free_bytes(spki);
	assert_true(derw_ok(&w));
	return derw_result(&w);
}

#define EXTENSION_REQUEST "06 09 2a864886f70d01090e"
#define KU "30 0b 06 03 551d0f 04 04 03 02 05 a0"

static void
odd_structures(void **state)
{
	static const struct {
		uint64_t version;
		const char *attributes, *words; /* words NULL: legal */
	} cases[] = {
	    {0, "", NULL},
	    {1, "", "version is not 0"},
	    {0, "30 1c " EXTENSION_REQUEST " 31 0f 30 0d " KU, NULL},
	    {0,
		"30 1c " EXTENSION_REQUEST " 31 0f 30 0d " KU " 30 1c " EXTENSION_REQUEST
		" 31 0f 30 0d " KU,
		"extensionRequest stands twice"},
	    {0, "30 29 " EXTENSION_REQUEST " 31 1c 30 1a " KU " " KU, "2.5.29.15 stands twice"},
	    {0, "30 2b " EXTENSION_REQUEST " 31 1e 30 0d " KU " 30 0d " KU, "must have one value"},
	    {0, "30 0d " EXTENSION_REQUEST " 31 00", "an attribute is not"},
	    {0, "30 0f " EXTENSION_REQUEST " 31 02 30 00", "no DER sequence of Extension"},
	    {0, "30 0f " EXTENSION_REQUEST " 31 02 05 00", "must have one value"},
	    /* an unknown attribute, once and twice */
	    {0, "30 08 06 02 2a03 31 02 05 00", NULL},
	    {0, "30 08 06 02 2a03 31 02 05 00 30 08 06 02 2a03 31 02 05 00",
		"an attribute stands twice"},
	    {0, "30 04 06 02 2a03", "an attribute is not"},
	    {0, "05 00", "an attribute is not"},
	    /* critical FALSE written out; a value that is no DER */
	    {0,
		"30 1f " EXTENSION_REQUEST " 31 12 30 10 30 0e 06 03 551d0f 01 01 00 04 04 "
		"03 02 05 a0",
		"no DER sequence of Extension"},
	    {0, "30 19 " EXTENSION_REQUEST " 31 0c 30 0a 30 08 06 03 551d0f 04 01 03", "is no DER"},
	    /* keyUsage without bits, with a tenth bit, as another type */
	    {0, "30 1b " EXTENSION_REQUEST " 31 0e 30 0c 30 0a 06 03 551d0f 04 03 03 01 00",
		"keyUsage is no"},
	    {0, "30 1d " EXTENSION_REQUEST " 31 10 30 0e 30 0c 06 03 551d0f 04 05 03 03 06 0040",
		"keyUsage is no"},
	    {0, "30 1a " EXTENSION_REQUEST " 31 0d 30 0b 30 09 06 03 551d0f 04 02 05 00",
		"keyUsage is no"},
	    /* basicConstraints: pathLen without cA, FALSE written out */
	    {0, "30 1d " EXTENSION_REQUEST " 31 10 30 0e 30 0c 06 03 551d13 04 05 30 03 02 01 00",
		"basicConstraints"},
	    {0, "30 1d " EXTENSION_REQUEST " 31 10 30 0e 30 0c 06 03 551d13 04 05 30 03 01 01 00",
		"basicConstraints"},
	    {0, "30 1a " EXTENSION_REQUEST " 31 0d 30 0b 30 09 06 03 551d13 04 02 30 00", NULL},
	    /* subjectAltName: empty, DNS with a space, IP of 5 octets, unknown tag */
	    {0, "30 1a " EXTENSION_REQUEST " 31 0d 30 0b 30 09 06 03 551d11 04 02 30 00",
		"subjectAltName is no"},
	    {0,
		"30 1f " EXTENSION_REQUEST " 31 12 30 10 30 0e 06 03 551d11 04 07 30 05 82 03 "
		"612062",
		"no DNS name"},
	    {0,
		"30 21 " EXTENSION_REQUEST " 31 14 30 12 30 10 06 03 551d11 04 09 30 07 87 05 "
		"0102030405",
		"no IP address"},
	    {0, "30 1d " EXTENSION_REQUEST " 31 10 30 0e 30 0c 06 03 551d11 04 05 30 03 89 01 61",
		"subjectAltName is no"},
	    /* otherName and registeredID are read as unsupported */
	    {0,
		"30 1e " EXTENSION_REQUEST " 31 11 30 0f 30 0d 06 03 551d11 04 06 30 04 88 02 "
		"2a03",
		NULL},
	    /* extKeyUsage: empty */
	    {0, "30 1a " EXTENSION_REQUEST " 31 0d 30 0b 30 09 06 03 551d25 04 02 30 00",
		"extKeyUsage is no"},
	};
	uint8_t info_buf[2048], *out = malloc(CSR_MAX);

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct bytes info = info_with(
		    cases[i].version, hex(cases[i].attributes), info_buf, sizeof info_buf);
		struct bytes der = signed_info(info, out);
		struct error e = ERROR_INIT;
		bool ok = csr_parse(der, &csr, &e);

		if (cases[i].words == NULL) {
			assert_ok(ok, e);
			assert_ok(csr_verify(&csr, &e), e);
		} else {
			if (ok)
				fail_msg("case %zu was taken", i);
			assert_error(e, cases[i].words);
		}
	}
	free(out);
}

static void
too_many_names(void **state)
{
	for (int count = CSR_SAN_MAX; count <= CSR_SAN_MAX + 1; count++) {
		STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
		char *text = calloc(1, 8192);
		struct error e = ERROR_INIT;
		struct bytes der;

		for (int i = 0; i < count; i++)
			(void)sprintf(
			    text + strlen(text), "%sDNS:n%d.example", i > 0 ? "," : "", i);
		add_conf_extension(list, NID_subject_alt_name, text);
		der = make_csr(shared_key("p256"), "sha256", "x", list, NULL);
		if (count <= CSR_SAN_MAX)
			assert_ok(csr_parse(der, &csr, &e), e);
		else
			expect_refused(der, "more than the 100 names");
		free_bytes(der);
		free(text);
		free_extensions(list);
	}
}

static void
names_in_san(void **state)
{
	static const struct {
		enum san_type type;
		const char *value;
		bool ok;
	} cases[] = {
	    {SAN_DNS, "example", true},
	    {SAN_DNS, "_sip._tcp.example", true},
	    {SAN_DNS, "xn--mnchen-3ya.example", true},
	    {SAN_DNS, "*.example", true},
	    {SAN_DNS, "", false},
	    {SAN_DNS, "*", false},
	    {SAN_DNS, "*.", false},
	    {SAN_DNS, "a.*.example", false},
	    {SAN_DNS, "w*.example", false},
	    {SAN_DNS, ".example", false},
	    {SAN_DNS, "a..example", false},
	    {SAN_DNS, "example.", false},
	    {SAN_DNS, "-a.example", false},
	    {SAN_DNS, "a-.example", false},
	    {SAN_DNS, "m\xc3\xbcnchen.example", false},
	    {SAN_DNS, "a.example\n", false},
	    {SAN_DNS, "a123456789012345678901234567890123456789012345678901234567890123.x", false},
	    {SAN_EMAIL, "a.b+c@d.example", true},
	    {SAN_EMAIL, "a@b@c", false},
	    {SAN_EMAIL, "@b", false},
	    {SAN_EMAIL, "a@", false},
	    {SAN_EMAIL, "a..b@c", false},
	    {SAN_EMAIL, "\"a b\"@c", false},
	    {SAN_EMAIL, "a", false},
	    {SAN_URI, "https://x.example/a?b=c#d", true},
	    {SAN_URI, "urn:uuid:1234", true},
	    {SAN_URI, "x", false},
	    {SAN_URI, "x:", false},
	    {SAN_URI, ":x", false},
	    {SAN_URI, "1a:x", false},
	    {SAN_URI, "http://a b", false},
	    {SAN_URI, "http://a<b", false},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct san san = {cases[i].type, text_bytes(cases[i].value)};
		struct error e = ERROR_INIT;

		if (san_check(&san, &e) != cases[i].ok)
			fail_msg("'%s'", cases[i].value);
		/* The sentence is printable whatever was in the name. */
		for (const char *p = e.text; *p != '\0'; p++)
			assert_in_range(*p, 0x20, 0x7e);
	}
}

static void
pem_input(void **state)
{
	struct bytes der = make_csr(shared_key("rsa2048"), "sha256", "x", NULL, NULL), got;
	char *text = calloc(1, 3 * CSR_PEM_MAX), *twice = calloc(1, 3 * CSR_PEM_MAX);
	uint8_t *buf = malloc(CSR_MAX);
	struct error e = ERROR_INIT;

	assert_ok(csr_from_input(der, buf, CSR_MAX, &got, &e), e);
	assert_true(got.p == der.p);
	assert_true(pem_encode(PEM_CERTIFICATE_REQUEST, der, text, CSR_PEM_MAX));
	assert_ok(csr_from_input(text_bytes(text), buf, CSR_MAX, &got, &e), e);
	assert_bytes(got, der);
	assert_true(pem_encode("NEW CERTIFICATE REQUEST", der, text, CSR_PEM_MAX));
	(void)sprintf(twice, "Certificate Request:\r\n    Data:\r\n%s", text);
	assert_ok(csr_from_input(text_bytes(twice), buf, CSR_MAX, &got, &e), e);
	assert_bytes(got, der);
	(void)sprintf(twice, "%s%s", text, text);
	assert_false(csr_from_input(text_bytes(twice), buf, CSR_MAX, &got, &e));
	assert_error(e, "more than one");
	e = ERROR_INIT;
	text[strlen(text) - 10] = 'x';
	assert_false(csr_from_input(text_bytes(text), buf, CSR_MAX, &got, &e));
	assert_error(e, "END");
	free(buf);
	free(text);
	free(twice);
	free_bytes(der);
}

/* Ours, read by OpenSSL and by ourselves. */
static void
build(void **state)
{
	uint8_t name_buf[NAME_DER_MAX], ext_buf[1024], info_buf[4096], *out = malloc(CSR_MAX);
	struct bytes spki = TO_DER(PUBKEY, shared_key("p256"));
	struct bytes name, info, der;
	struct error e = ERROR_INIT;
	struct extensions x;
	const uint8_t *p;
	X509_REQ *req;

	assert_ok(name_from_text("CN=Sub CA,O=Example", name_buf, sizeof name_buf, &name, &e), e);
	extensions_init(&x, ext_buf, sizeof ext_buf);
	extensions_add_basic_constraints(&x, true, 0, true);
	extensions_add_key_usage(&x, KU_KEY_CERT_SIGN | KU_CRL_SIGN);
	assert_true(extensions_ok(&x));
	for (int with = 0; with < 2; with++) {
		struct bytes list = with ? extensions_result(&x) : (struct bytes){0};

		assert_ok(
		    csr_info_build(name, spki, list, info_buf, sizeof info_buf, &info, &e), e);
		assert_ok(csr_info_parse(info, &csr, &e), e);
		assert_bytes(csr.extensions, list);
		der = signed_info(info, out);
		assert_ok(csr_parse(der, &csr, &e), e);
		assert_ok(csr_verify(&csr, &e), e);
		assert_int_equal(csr.ca, with);
		p = der.p;
		req = d2i_X509_REQ(NULL, &p, (long)der.len);
		assert_non_null(req);
		assert_int_equal(X509_REQ_verify(req, shared_key("p256")), 1);
		{
			struct bytes back;

			/* Written anew, not from OpenSSL's copy of our bytes. */
			assert_true(i2d_re_X509_REQ_tbs(req, NULL) > 0);
			back = TO_DER(X509_REQ, req);
			assert_bytes(back, der);
			free_bytes(back);
		}
		X509_REQ_free(req);
	}
	assert_false(csr_info_build(name, spki, (struct bytes){0}, info_buf, 20, &info, &e));
	free_bytes(spki);
	free(out);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(golden),
	    cmocka_unit_test(minimal),
	    cmocka_unit_test(pss_with_a_long_salt),
	    cmocka_unit_test(cut_off),
	    cmocka_unit_test(flipped),
	    cmocka_unit_test(wrong_signature),
	    cmocka_unit_test(weak_and_unknown),
	    cmocka_unit_test(not_a_csr),
	    cmocka_unit_test(odd_structures),
	    cmocka_unit_test(too_many_names),
	    cmocka_unit_test(names_in_san),
	    cmocka_unit_test(pem_input),
	    cmocka_unit_test(other_structures),
	    cmocka_unit_test(build),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
