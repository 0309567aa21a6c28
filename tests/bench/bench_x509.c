/*
 * Time of what daemon/x509 does for each certificate and each CRL entry, beside
 * OpenSSL's objects doing the same in the same run:
 *
 *	bench_x509 [SECONDS]
 *
 * SECONDS is how long each line is measured (0.5).
 */

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <openssl/ec.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "daemon/x509/cert.h"
#include "daemon/x509/crl.h"
#include "daemon/x509/crl_check.h"
#include "daemon/x509/csr.h"
#include "daemon/x509/name.h"

static double seconds = 0.5;
static uint8_t issuer_buf[NAME_DER_MAX], extension_buf[EXTENSIONS_MAX];
static struct bytes issuer;
static struct csr csr; /* large: kept off the stack */

static void
die(const char *what, const struct error *err)
{
	fprintf(stderr, "bench_x509: %s: %s\n", what, err != NULL ? err->text : "failed");
	exit(1);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Microseconds a call takes. */
static double
measure(void (*call)(struct bytes), struct bytes with)
{
	double start = now(), took = 0;
	unsigned long calls = 0;

	while (took < seconds) {
		for (int i = 0; i < 16; i++)
			call(with);
		calls += 16;
		took = now() - start;
	}
	return took * 1e6 / (double)calls;
}

static void
parse(struct bytes der)
{
	struct error err = ERROR_INIT;

	if (!csr_parse(der, &csr, &err))
		die("parse", &err);
}

static void
parse_verify(struct bytes der)
{
	struct error err = ERROR_INIT;

	parse(der);
	if (!csr_verify(&csr, &err))
		die("verify", &err);
}

/* The extensions of an ordinary server certificate. */
static struct bytes
server_extensions(const uint8_t ski[SKI_LEN])
{
	static const char *const crl[] = {"http://pki.example/crl/demo.crl"},
				 *const aia[] = {"http://pki.example/aia/demo.cer"};
	struct bytes purpose;
	struct extensions x;

	if (!oid_purpose_from_name("serverAuth", &purpose))
		die("purpose", NULL);
	extensions_init(&x, extension_buf, sizeof extension_buf);
	extensions_add_subject_key_identifier(&x, (struct bytes){ski, SKI_LEN});
	extensions_add_authority_key_identifier(&x, (struct bytes){ski, SKI_LEN});
	extensions_add_key_usage(&x, KU_DIGITAL_SIGNATURE);
	extensions_add_extended_key_usage(&x, &purpose, 1, false);
	extensions_add_subject_alt_name(&x, csr.names, csr.name_count, false);
	extensions_add_crl_distribution_points(
	    &x, &(struct distribution_point){.urls = crl, .url_count = 1}, 1);
	extensions_add_authority_info_access(&x, aia, 1, NULL, 0);
	if (!extensions_ok(&x))
		die("extensions", NULL);
	return extensions_result(&x);
}

static void
parse_verify_build(struct bytes der)
{
	static uint8_t buf[CERTIFICATE_MAX];
	static const uint8_t random[SERIAL_RANDOM_LEN] = {1};
	uint8_t serial[SERIAL_LEN], ski[SKI_LEN];
	struct tbs_certificate t = {.sig_alg = SIG_ECDSA_SHA256, .not_after = 1};
	struct error err = ERROR_INIT;
	struct bytes tbs;

	parse_verify(der);
	serial_build(serial, 1, 1795348800, random);
	if (!spki_ski(&csr.spki, ski, &err))
		die("ski", &err);
	t.serial = (struct bytes){serial, sizeof serial};
	t.issuer = issuer;
	t.subject = csr.subject;
	t.spki = csr.spki.whole;
	t.extensions = server_extensions(ski);
	if (!tbs_certificate_build(&t, buf, sizeof buf, &tbs, &err))
		die("build", &err);
}

static void
openssl_parse_verify(struct bytes der)
{
	const uint8_t *p = der.p;
	X509_REQ *req = d2i_X509_REQ(NULL, &p, (long)der.len);

	if (req == NULL || X509_REQ_verify(req, X509_REQ_get0_pubkey(req)) != 1)
		die("OpenSSL", NULL);
	X509_REQ_free(req);
}

static struct bytes
make_csr(EVP_PKEY *key)
{
	static const char name[] = "DNS:www.a.example,DNS:a.example";
	X509_REQ *req = X509_REQ_new();
	STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
	X509V3_CTX ctx;
	uint8_t *der = NULL;
	int len;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, NULL, NULL, NULL, NULL, 0);
	sk_X509_EXTENSION_push(list, X509V3_EXT_conf_nid(NULL, &ctx, NID_subject_alt_name, name));
	X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), "CN", MBSTRING_UTF8,
	    (const uint8_t *)"www.a.example", -1, -1, 0);
	X509_REQ_set_pubkey(req, key);
	X509_REQ_add_extensions(req, list);
	if (X509_REQ_sign(req, key, EVP_sha256()) <= 0)
		die("sign", NULL);
	len = i2d_X509_REQ(req, &der);
	X509_REQ_free(req);
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	return (struct bytes){der, (size_t)len};
}

static void
bench_requests(const char *what, EVP_PKEY *key)
{
	struct bytes der = make_csr(key);

	printf("%-6s CSR: parse %.1f us, and verify %.1f us, and build %.1f us; OpenSSL's objects: "
	       "parse and verify %.1f us\n",
	    what, measure(parse, der), measure(parse_verify, der), measure(parse_verify_build, der),
	    measure(openssl_parse_verify, der));
	OPENSSL_free((void *)(uintptr_t)der.p);
	EVP_PKEY_free(key);
}

/* A list of `count` entries, encoded as a stream into memory. */
static size_t
encode_list(uint8_t *out, unsigned count, struct bytes key_id)
{
	struct tbs_crl t = {
	    .sig_alg = SIG_RSA_SHA256, .issuer = issuer, .this_update = 1, .next_update = 2};
	uint8_t serial[SERIAL_LEN], random[SERIAL_RANDOM_LEN] = {1}, buf[CRL_HEAD_MAX];
	struct crl_entry e = {.serial = {serial, sizeof serial}, .revoked_at = 1795348800};
	struct error err = ERROR_INIT;
	struct crl_sums sums = {.entries = count, .serial_octets = (int64_t)count * SERIAL_LEN};
	uint64_t sum, tbs_len;
	size_t len, size;
	struct extensions x;
	struct bytes piece;

	extensions_init(&x, extension_buf, sizeof extension_buf);
	extensions_add_authority_key_identifier(&x, key_id);
	extensions_add_crl_number(&x, (struct bytes){random, 1});
	t.extensions = extensions_result(&x);
	for (unsigned i = 0; i < count; i++)
		sums.with_reason += i % 6 != 0;
	if (!crl_sums_size(&sums, &sum, &err) ||
	    !crl_tbs_head(&t, sum, buf, sizeof buf, &piece, &tbs_len, &err))
		die("head", &err);
	memcpy(out, piece.p, piece.len);
	len = piece.len;
	for (unsigned i = 0; i < count; i++) {
		serial_build(serial, 1, i, random);
		e.reason = (uint8_t)(i % 6);
		if (!crl_entry_encode(&e, false, out + len, &size, &err))
			die("entry", &err);
		len += size;
	}
	if (!crl_tbs_tail(&t, buf, sizeof buf, &piece, &err))
		die("tail", &err);
	memcpy(out + len, piece.p, piece.len);
	return len + piece.len;
}

static void
bench_list(unsigned count)
{
	static struct crl_check check;
	static const uint8_t key_id[SKI_LEN] = {1};
	const struct crl_rules none = {
	    .issuer = issuer, .key_id = {key_id, sizeof key_id}, .sig_alg = SIG_RSA_SHA256};
	struct crl_rules rules = none;
	const struct crl_summary *summary = NULL;
	struct error err = ERROR_INIT;
	uint8_t *out = malloc((size_t)count * CRL_ENTRY_MAX + CRL_HEAD_MAX);
	double start = now(), encoded;
	size_t len;

	if (out == NULL)
		die("memory", NULL);
	len = encode_list(out, count, none.key_id);
	encoded = now();
	rules.total_len = len;
	crl_check_begin(&check, &rules);
	for (size_t at = 0; at < len; at += 1 << 20) {
		size_t n = len - at < 1 << 20 ? len - at : 1 << 20;

		if (!crl_check_push(&check, (struct bytes){out + at, n}, &err))
			die("check", &err);
	}
	if (!crl_check_finish(&check, &summary, &err) || summary->entries != count)
		die("check", &err);
	printf("CRL of %u entries (%zu octets): encode, both passes %.0f ms; check %.0f ms\n",
	    count, len, (encoded - start) * 1e3, (now() - encoded) * 1e3);
	free(out);
}

int
main(int argc, char **argv)
{
	struct error err = ERROR_INIT;

	if (argc > 1)
		seconds = atof(argv[1]);
	if (!name_from_text(
		"CN=Bench CA,O=Example,C=DE", issuer_buf, sizeof issuer_buf, &issuer, &err))
		die("issuer", &err);
	bench_requests("RSA", EVP_RSA_gen(2048));
	bench_requests("P-256", EVP_EC_gen("P-256"));
	bench_list(1000000);
	return 0;
}
