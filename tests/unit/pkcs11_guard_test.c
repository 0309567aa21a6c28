/*
 * What the guard lets through and what it refuses, without a token.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/x509/cert.h"
#include "daemon/x509/crl.h"
#include "daemon/x509/csr.h"
#include "daemon/x509/name.h"
#include "pkcs11/guard.h"
#include "tests/unit/ceremony.h"

#define NOW 1795305600

/* The key under guard, and somebody else's. */
struct party {
	EVP_PKEY *pkey;
	uint8_t name_buf[NAME_DER_MAX], spki_buf[SPKI_MAX];
	struct bytes name;
	struct spki spki;
	struct key_limits limits;
};

static struct party us, other;

static void
make_party(struct party *p, const char *name, const char *id)
{
	static struct limits document;
	const uint8_t cka_id[KEY_ID_LEN] = {1}, digest[32] = {2};
	struct error e = ERROR_INIT;
	uint8_t point[65];
	struct bytes spki;
	size_t len;

	p->pkey = EVP_EC_gen("P-256");
	assert_non_null(p->pkey);
	assert_int_equal(
	    EVP_PKEY_get_octet_string_param(p->pkey, "pub", point, sizeof point, &len), 1);
	assert_true(
	    spki_encode_ec(KEY_P256, (struct bytes){point, len}, p->spki_buf, SPKI_MAX, &spki, &e));
	assert_true(spki_parse(spki, &p->spki, &e));
	assert_true(name_from_text(name, p->name_buf, sizeof p->name_buf, &p->name, &e));
	ceremony_limits(&document, id, KEY_P256, p->name);
	assert_true(key_limits_init(&p->limits, cka_id, &document, digest, &p->spki, &e));
}

static int
set_up(void **state)
{
	ceremony_begin();
	make_party(&us, "CN=Unit CA,O=Example,C=DE", "us");
	make_party(&other, "CN=Other CA,O=Example,C=DE", "other");
	return 0;
}

static int
tear_down(void **state)
{
	EVP_PKEY_free(us.pkey);
	EVP_PKEY_free(other.pkey);
	ceremony_end();
	return 0;
}

static void
allow(enum signproto_kind kind, enum sig_alg alg, struct bytes tbs)
{
	struct guard_use use;
	struct error e = ERROR_INIT;

	if (!guard_check(&us.limits, kind, alg, tbs, &use, &e))
		fail_msg("%s", e.text);
	assert_int_equal(use.digest.len, sig_alg_digest_len(alg));
}

static void
refuse(enum signproto_kind kind, enum sig_alg alg, struct bytes tbs, const char *words)
{
	struct guard_use use;
	struct error e = ERROR_INIT;

	assert_false(guard_check(&us.limits, kind, alg, tbs, &use, &e));
	assert_int_equal(e.code, ERROR_DENIED);
	if (strstr(e.text, words) == NULL)
		fail_msg("'%s' does not say '%s'", e.text, words);
}

struct tbs {
	uint8_t buf[8192];
	struct bytes der;
};

/* A certificate by `issuer`, with `aki` as authority key identifier (NULL:
 * none), for `subject`'s key and name. */
static struct bytes
certificate(struct tbs *out, const struct party *issuer, const struct party *aki,
    const struct party *subject, enum sig_alg alg)
{
	static const uint8_t serial[] = {0x11, 0x22, 0x33};
	struct error e = ERROR_INIT;
	uint8_t x_buf[1024];
	struct extensions x;
	struct tbs_certificate t;

	extensions_init(&x, x_buf, sizeof x_buf);
	extensions_add_basic_constraints(&x, true, 0, true);
	if (aki != NULL)
		extensions_add_authority_key_identifier(
		    &x, (struct bytes){aki->limits.key_id, SKI_LEN});
	assert_true(extensions_ok(&x));
	t = (struct tbs_certificate){
	    .serial = {serial, sizeof serial},
	    .sig_alg = alg,
	    .issuer = issuer->name,
	    .not_before = NOW,
	    .not_after = NOW + 86400,
	    .subject = subject->name,
	    .spki = subject->spki.whole,
	    .extensions = extensions_result(&x),
	};
	if (!tbs_certificate_build(&t, out->buf, sizeof out->buf, &out->der, &e))
		fail_msg("%s", e.text);
	return out->der;
}

static void
certificates(void **state)
{
	const enum signproto_kind kind = SIGNPROTO_TBS_CERTIFICATE;
	const enum sig_alg alg = SIG_ECDSA_SHA256;
	uint8_t longer[8193];
	struct tbs t;
	struct bytes der;

	allow(kind, alg, certificate(&t, &us, &us, &other, alg));
	allow(kind, alg, certificate(&t, &us, &us, &us, alg));
	/* Only its own root certificate may go without the identifier. */
	allow(kind, alg, certificate(&t, &us, NULL, &us, alg));
	refuse(kind, alg, certificate(&t, &us, NULL, &other, alg), "4.2.1.1");
	refuse(kind, alg, certificate(&t, &us, &other, &other, alg), "4.2.1.1");
	refuse(kind, alg, certificate(&t, &other, &us, &other, alg), "4.1.2.4");
	refuse(kind, alg, certificate(&t, &us, &us, &other, SIG_ECDSA_SHA384), "4.1.2.3");
	refuse(kind, SIG_RSA_SHA256, certificate(&t, &us, &us, &other, SIG_RSA_SHA256),
	    "does not sign with");
	refuse(kind, SIG_ED25519, certificate(&t, &us, &us, &other, alg), "does not sign with");

	/* One octet more, one less. */
	der = certificate(&t, &us, &us, &other, alg);
	memcpy(longer, der.p, der.len);
	longer[der.len] = 0;
	refuse(kind, alg, (struct bytes){longer, der.len + 1}, "refuses to sign");
	for (size_t len = 1; len < der.len; len++)
		refuse(kind, alg, (struct bytes){der.p, len}, "refuses to sign");
}

/* Two entries, or none. */
static struct bytes
crl(struct tbs *out, const struct party *issuer, const struct party *aki, enum sig_alg alg,
    unsigned int entries)
{
	static const uint8_t serial[] = {0x11, 0x22, 0x33}, number[] = {7};
	const struct crl_entry entry = {
	    .serial = {serial, sizeof serial}, .revoked_at = NOW - 60, .reason = CRL_SUPERSEDED};
	uint8_t x_buf[1024], head_buf[CRL_HEAD_MAX], tail_buf[2048], one[CRL_ENTRY_MAX];
	struct bytes head, tail;
	struct error e = ERROR_INIT;
	struct extensions x;
	struct tbs_crl t;
	uint64_t len;
	size_t size;
	uint8_t *p = out->buf;

	extensions_init(&x, x_buf, sizeof x_buf);
	extensions_add_authority_key_identifier(&x, (struct bytes){aki->limits.key_id, SKI_LEN});
	extensions_add_crl_number(&x, (struct bytes){number, sizeof number});
	assert_true(extensions_ok(&x));
	t = (struct tbs_crl){
	    .sig_alg = alg,
	    .issuer = issuer->name,
	    .this_update = NOW,
	    .next_update = NOW + 86400,
	    .extensions = extensions_result(&x),
	};
	assert_true(crl_entry_encode(&entry, false, one, &size, &e));
	assert_true(crl_tbs_head(&t, entries * size, head_buf, sizeof head_buf, &head, &len, &e));
	assert_true(crl_tbs_tail(&t, tail_buf, sizeof tail_buf, &tail, &e));
	memcpy(p, head.p, head.len);
	p += head.len;
	for (unsigned int i = 0; i < entries; i++, p += size)
		memcpy(p, one, size);
	memcpy(p, tail.p, tail.len);
	p += tail.len;
	assert_int_equal(p - out->buf, len);
	out->der = (struct bytes){out->buf, len};
	return out->der;
}

static void
crls(void **state)
{
	const enum signproto_kind kind = SIGNPROTO_TBS_CRL;
	const enum sig_alg alg = SIG_ECDSA_SHA256;
	struct tbs t;

	allow(kind, alg, crl(&t, &us, &us, alg, 2));
	allow(kind, alg, crl(&t, &us, &us, alg, 0));
	refuse(kind, alg, crl(&t, &other, &us, alg, 2), "refuses to sign this tbs-crl");
	refuse(kind, alg, crl(&t, &us, &other, alg, 2), "refuses to sign this tbs-crl");
	refuse(kind, alg, crl(&t, &us, &us, SIG_ECDSA_SHA384, 2), "refuses to sign this tbs-crl");
	for (size_t len = 1; len < t.der.len; len++)
		refuse(kind, alg, (struct bytes){t.der.p, len}, "refuses to sign");
}

static struct bytes
request(struct tbs *out, const struct party *name, const struct party *key)
{
	struct error e = ERROR_INIT;

	assert_true(csr_info_build(name->name, key->spki.whole, (struct bytes){0}, out->buf,
	    sizeof out->buf, &out->der, &e));
	return out->der;
}

static void
requests(void **state)
{
	const enum signproto_kind kind = SIGNPROTO_CSR_INFO;
	const enum sig_alg alg = SIG_ECDSA_SHA256;
	struct tbs t;

	allow(kind, alg, request(&t, &us, &us));
	refuse(kind, alg, request(&t, &other, &us), "subject in it is not the key's own");
	refuse(kind, alg, request(&t, &us, &other), "public key in it is not the key's own");
}

static void
kinds_are_not_confused(void **state)
{
	const enum sig_alg alg = SIG_ECDSA_SHA256;
	static const uint8_t digest[32] = {0x30, 30};
	struct bytes der[3];
	struct tbs t[3];

	der[0] = certificate(&t[0], &us, &us, &us, alg);
	der[1] = crl(&t[1], &us, &us, alg, 2);
	der[2] = request(&t[2], &us, &us);
	for (int is = 0; is < 3; is++) {
		for (int called = 0; called < 3; called++) {
			enum signproto_kind kind = SIGNPROTO_TBS_CERTIFICATE + called;

			if (is == called)
				allow(kind, alg, der[is]);
			else
				refuse(kind, alg, der[is], "refuses to sign");
			refuse(kind, alg, (struct bytes){digest, sizeof digest}, "refuses to sign");
		}
	}
	refuse(0, alg, der[0], "unknown kind");
}

/* Whatever octet changes: what comes out is refused, or is still a structure
 * of ours (another serial, another time). It must never be another issuer's. */
static void
mutations_stay_within_the_limits(void **state)
{
	const enum sig_alg alg = SIG_ECDSA_SHA256;
	struct guard_use use;
	unsigned int passed = 0;
	struct certificate c;
	struct bytes der;
	struct tbs t;

	der = certificate(&t, &us, &us, &other, alg);
	for (size_t at = 0; at < der.len; at++) {
		uint8_t *octet = &t.buf[(size_t)(der.p - t.buf) + at];

		for (unsigned int bit = 0; bit < 8; bit++) {
			*octet ^= (uint8_t)(1U << bit);
			if (guard_check(
				&us.limits, SIGNPROTO_TBS_CERTIFICATE, alg, der, &use, NULL)) {
				struct error e = ERROR_INIT;

				passed++;
				assert_true(tbs_certificate_parse(der, &c, &e));
				assert_true(bytes_equal(c.issuer, us.name));
				assert_true(bytes_equal(c.inner_alg, sig_alg_der(alg)));
				assert_memory_equal(
				    c.authority_key_id.p, us.limits.key_id, SKI_LEN);
			}
			*octet ^= (uint8_t)(1U << bit);
		}
	}
	assert_in_range(passed, 1, der.len * 8);
}

static void
streams(void **state)
{
	const enum sig_alg alg = SIG_ECDSA_SHA256;
	struct guard_use whole, pieces;
	struct guard_stream *g;
	struct error e = ERROR_INIT;
	struct bytes der;
	struct tbs t;

	der = crl(&t, &us, &us, alg, 3);
	assert_true(guard_check(&us.limits, SIGNPROTO_TBS_CRL, alg, der, &whole, &e));
	for (size_t step = 1; step <= der.len; step = step * 3 + 1) {
		g = guard_stream_new(&us.limits, SIGNPROTO_TBS_CRL, alg, der.len, &e);
		assert_non_null(g);
		for (size_t at = 0; at < der.len; at += step) {
			size_t n = der.len - at < step ? der.len - at : step;

			assert_true(guard_stream_push(g, (struct bytes){der.p + at, n}, &e));
		}
		assert_true(guard_stream_finish(g, &pieces, &e));
		assert_int_equal(pieces.digest.len, whole.digest.len);
		assert_memory_equal(pieces.digest.octets, whole.digest.octets, whole.digest.len);
		assert_memory_equal(pieces.tbs_sha256, whole.tbs_sha256, 32);
		assert_memory_equal(pieces.scope, whole.scope, 32);
		assert_int_equal(pieces.number_len, 1);
		assert_int_equal(pieces.number[0], 7);
		assert_int_equal(pieces.this_update, NOW);
		assert_int_equal(pieces.next_update, NOW + 86400);
		guard_stream_free(g);
	}

	/* More than announced, less than announced, another kind. */
	g = guard_stream_new(&us.limits, SIGNPROTO_TBS_CRL, alg, der.len - 1, &e);
	assert_non_null(g);
	assert_false(guard_stream_push(g, der, &e));
	assert_int_equal(e.code, ERROR_DENIED);
	guard_stream_free(g);
	error_clear(&e);
	g = guard_stream_new(&us.limits, SIGNPROTO_TBS_CRL, alg, der.len, &e);
	assert_non_null(g);
	assert_true(guard_stream_push(g, (struct bytes){der.p, der.len - 1}, &e));
	assert_false(guard_stream_finish(g, &pieces, &e));
	assert_int_equal(e.code, ERROR_DENIED);
	guard_stream_free(g);
	error_clear(&e);
	assert_null(guard_stream_new(&us.limits, SIGNPROTO_TBS_CERTIFICATE, alg, der.len, &e));
	assert_int_equal(e.code, ERROR_DENIED);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(certificates),
	    cmocka_unit_test(crls),
	    cmocka_unit_test(requests),
	    cmocka_unit_test(kinds_are_not_confused),
	    cmocka_unit_test(mutations_stay_within_the_limits),
	    cmocka_unit_test(streams),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
