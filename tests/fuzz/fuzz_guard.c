/*
 * libFuzzer target: the signer's guard, behind the decoder of a SIGN. The first
 * octet chooses the limits (guard_setting.h), the rest is the message. What the
 * guard lets through must be what OpenSSL reads there too, and within the limits
 * as OpenSSL sees them.
 *
 * Seeds are written by pkcs11_guard_test --seeds DIR; their names tell the rule
 * that refuses them (pkcs11_guard_corpus_test).
 */

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "tests/unit/guard_setting.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define expect(condition)                                                                     \
	do {                                                                                  \
		if (!(condition)) {                                                           \
			(void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			abort();                                                              \
		}                                                                             \
	} while (0)

static struct parties all;
static struct key_limits keys[VARIANTS];
static uint8_t own_keys[2][32];

static void
make_once(void)
{
	if (all.us.pkey != NULL)
		return;
	parties_make(&all);
	for (unsigned int i = 0; i < VARIANTS; i++)
		variant_make(i, &all, &keys[i], own_keys);
}

/* SEQUENCE { tbs, algorithm, signature }, which is how certificates, CRLs and
 * requests end. */
static struct bytes
sign_with_nothing(struct bytes tbs, enum sig_alg alg, uint8_t *buf, size_t size)
{
	struct derw w;

	derw_init(&w, buf, size);
	derw_bit_octets(&w, TEXT("\x30\x06\x02\x01\x01\x02\x01\x01"));
	derw_raw(&w, sig_alg_der(alg));
	derw_raw(&w, tbs);
	derw_wrap(&w, 0, DER_SEQUENCE);
	expect(derw_ok(&w));
	return derw_result(&w);
}

static bool
same_name(X509_NAME *name, const uint8_t *der, size_t len)
{
	const uint8_t *p = der;
	X509_NAME *wanted = d2i_X509_NAME(NULL, &p, (long)len);
	bool same = wanted != NULL && X509_NAME_cmp(name, wanted) == 0;

	X509_NAME_free(wanted);
	return same;
}

/* dns:example.com, as OpenSSL has it. */
static void
expect_permitted(X509 *x)
{
	NAME_CONSTRAINTS *nc = NAME_CONSTRAINTS_new();
	GENERAL_SUBTREE *tree = GENERAL_SUBTREE_new();
	ASN1_IA5STRING *text = ASN1_IA5STRING_new();

	expect(ASN1_STRING_set(text, "example.com", -1) == 1);
	GENERAL_NAME_free(tree->base);
	tree->base = GENERAL_NAME_new();
	GENERAL_NAME_set0_value(tree->base, GEN_DNS, text);
	nc->permittedSubtrees = sk_GENERAL_SUBTREE_new_null();
	expect(sk_GENERAL_SUBTREE_push(nc->permittedSubtrees, tree) == 1);
	expect(NAME_CONSTRAINTS_check(x, nc) == X509_V_OK);
	expect(NAME_CONSTRAINTS_check_CN(x, nc) == X509_V_OK);
	NAME_CONSTRAINTS_free(nc);
}

static void
expect_request(X509 *x, struct bytes der)
{
	const uint8_t *p = der.p;
	X509_REQ *req = d2i_X509_REQ(NULL, &p, (long)der.len);

	expect(req != NULL);
	expect(X509_NAME_cmp(X509_REQ_get_subject_name(req), X509_get_subject_name(x)) == 0);
	expect(EVP_PKEY_eq(X509_REQ_get0_pubkey(req), X509_get0_pubkey(x)) == 1);
	X509_REQ_free(req);
}

static void
expect_certificate(const struct guard_request *r, const struct guard_use *use)
{
	static uint8_t buf[CERTIFICATE_MAX + 512];
	struct bytes der = sign_with_nothing(r->tbs, r->alg, buf, sizeof buf);
	const struct limits *l = &r->key->document;
	const uint8_t *p = der.p;
	X509 *x = d2i_X509(NULL, &p, (long)der.len);
	const struct limits_template *line = limits_find_template(l, r->template);
	time_t end = (time_t)l->not_after + 1;

	expect(x != NULL && p == der.p + der.len);
	expect(same_name(X509_get_issuer_name(x), l->subject, l->subject_len));
	expect(X509_get_version(x) == 2);
	expect(ASN1_STRING_length(X509_get0_serialNumber(x)) == SERIAL_LEN);
	expect(X509_cmp_time(X509_get0_notAfter(x), &end) < 0);
	expect(X509_get0_pubkey(x) != NULL);
	expect((X509_get_extension_flags(x) & EXFLAG_INVALID) == 0);
	expect(use->has_decision == (r->statement.len > 0 || r->order != NULL));
	if (line == NULL) {
		expect(l->root && r->template[0] == '\0' && X509_check_ca(x) == 1);
		goto out;
	}
	expect(use->has_decision || line->automatic);
	expect((X509_check_ca(x) == 1) == line->ca);
	expect((X509_get_extension_flags(x) & (EXFLAG_SI | EXFLAG_SS)) == 0);
	expect((X509_get_extension_flags(x) & EXFLAG_KUSAGE) != 0);
	expect(((X509_get_extension_flags(x) & EXFLAG_XKUSAGE) != 0) == (line->purpose_count > 0));
	if (!line->ca)
		expect(
		    (X509_get_key_usage(x) & (X509v3_KU_KEY_CERT_SIGN | X509v3_KU_CRL_SIGN)) == 0);
	if (l->permitted_count > 0)
		expect_permitted(x);
	if (use->has_decision)
		expect_request(x, r->csr);
out:
	X509_free(x);
}

static void
expect_crl(const struct guard_request *r, const struct guard_use *use)
{
	size_t size = r->tbs.len + 512;
	uint8_t *buf = malloc(size);
	struct bytes der = sign_with_nothing(r->tbs, r->alg, buf, size);
	const uint8_t *p = der.p;
	X509_CRL *crl = d2i_X509_CRL(NULL, &p, (long)der.len);

	expect(crl != NULL && p == der.p + der.len);
	expect(same_name(
	    X509_CRL_get_issuer(crl), r->key->document.subject, r->key->document.subject_len));
	expect(use->delta == (X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0));
	expect(use->number_len > 0);
	X509_CRL_free(crl);
	free(buf);
}

static void
expect_own_request(const struct guard_request *r)
{
	static uint8_t buf[CSR_MAX + 512];
	struct bytes der = sign_with_nothing(r->tbs, r->alg, buf, sizeof buf);
	const uint8_t *p = der.p;
	X509_REQ *req = d2i_X509_REQ(NULL, &p, (long)der.len);

	expect(req != NULL && p == der.p + der.len);
	expect(same_name(X509_REQ_get_subject_name(req), all.us.name.p, all.us.name.len));
	expect(EVP_PKEY_eq(X509_REQ_get0_pubkey(req), all.us.pkey) == 1);
	X509_REQ_free(req);
}

/* False when it is no message; *e says what the guard says. */
static bool
judge(const uint8_t *data, size_t size, struct error *e)
{
	struct guard_use use;
	struct signproto_sign m;
	struct guard_request r;

	make_once();
	if (size < 1 || data[0] >= VARIANTS ||
	    !signproto_get_sign((struct bytes){data + 1, size - 1}, &m, NULL) ||
	    !sig_alg_valid(m.sig_alg))
		return false;
	r = (struct guard_request){.key = &keys[data[0]],
	    .signer_id = SIGNER_ID,
	    .now = NOW,
	    .own_keys = (const uint8_t(*)[32])own_keys,
	    .own_key_count = 2,
	    .kind = m.kind,
	    .alg = (enum sig_alg)m.sig_alg,
	    .tbs = m.tbs,
	    .template = m.template,
	    .csr = m.csr,
	    .statement = m.statement,
	    .signature = m.signature,
	    .spki = m.spki,
	    .order = m.order.signature_count > 0 ? &m.order : NULL};
	if (!guard_check(&r, &use, e)) {
		expect(error_is_set(e));
		return true;
	}
	switch (r.kind) {
	case SIGNPROTO_TBS_CERTIFICATE:
		expect_certificate(&r, &use);
		break;
	case SIGNPROTO_TBS_CRL:
		expect_crl(&r, &use);
		break;
	case SIGNPROTO_CSR_INFO:
		expect_own_request(&r);
		break;
	}
	ERR_clear_error();
	return true;
}

#ifndef GUARD_CORPUS_TEST
#include "tests/fuzz/der_mutate.h"

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

/* Signed anew, so that what stands behind the signature is reached. */
static void
sign_anew(struct signproto_sign *m, struct bytes text)
{
	static uint8_t signature[STATEMENT_SIGNATURE_MAX];
	const struct party *by = (text.p[text.len - 2] & 1) != 0 ? &all.alice : &all.bob;
	size_t len;

	if (text.len > STATEMENT_TEXT_MAX || !statement_sign((const char *)text.p, text.len,
						 by->pkey, signature, &len, &(struct error){0}))
		return;
	m->statement = text;
	m->signature = (struct bytes){signature, len};
	m->spki = by->spki.whole;
}

/* The statement as it is, but about the CSR as it is now. */
static void
decide_anew(struct signproto_sign *m)
{
	static char text[STATEMENT_TEXT_MAX + 1];
	struct statement s;
	size_t len;

	if (statement_parse((const char *)m->statement.p, m->statement.len, &s, NULL) &&
	    guard_sha256(m->csr, s.csr_sha256, &(struct error){0}) &&
	    statement_format(&s, text, &len, NULL))
		sign_anew(m, (struct bytes){(const uint8_t *)text, len});
}

/* One part of the message is changed in its own form. */
size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	static uint8_t part[65536 + 64];
	struct bytes *changed;
	struct signproto_sign m;
	struct wire_writer w;
	size_t len = 0;

	make_once();
	if (seed % 8 == 0 || size < 2 ||
	    !signproto_get_sign((struct bytes){data + 1, size - 1}, &m, NULL))
		return LLVMFuzzerMutate(data, size, max_size);
	changed = seed % 8 < 5 ? &m.tbs : seed % 8 < 7 ? &m.csr : &m.statement;
	if (changed->len == 0)
		changed = &m.tbs;
	if (changed->len > sizeof part - 64)
		return LLVMFuzzerMutate(data, size, max_size);
	memcpy(part, changed->p, changed->len);
	len = changed == &m.statement ? LLVMFuzzerMutate(part, changed->len, changed->len + 64)
				      : der_mutate(part, changed->len, changed->len + 64, seed / 8);
	*changed = (struct bytes){part, len};
	if (changed == &m.statement && len > 1)
		sign_anew(&m, m.statement);
	else if (changed == &m.csr)
		decide_anew(&m);
	wire_writer_init(&w, max_size - 1);
	signproto_put_sign(&w, &m);
	if (wire_writer_ok(&w)) {
		size = w.len + 1;
		memcpy(data + 1, w.buf, w.len);
	}
	wire_writer_free(&w);
	return size;
}
#endif

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct error e = ERROR_INIT;

	(void)judge(data, size, &e);
	return 0;
}
