#ifndef CHANCERY_TESTS_GUARD_SETTING_H
#define CHANCERY_TESTS_GUARD_SETTING_H

/*
 * A key with its limits, and a request that the guard lets through, in parts: a
 * test changes one of them and builds the request.
 */

#include <stdlib.h>
#include <string.h>

#include <openssl/ec.h>
#include <openssl/param_build.h>

#include "daemon/x509/crl.h"
#include "daemon/x509/derw.h"
#include "daemon/x509/name.h"
#include "pkcs11/guard_int.h"

#define NOW 1795305600 /* 2026-11-22 */
#define DAY 86400
#define SIGNER_ID 1
#define ALG SIG_ECDSA_SHA256

/* Somebody with a name and a key. */
struct party {
	EVP_PKEY *pkey;
	uint8_t name_buf[NAME_DER_MAX], spki_buf[SPKI_MAX], sha256[32], key_id[SKI_LEN];
	struct bytes name;
	struct spki spki;
};

/* The CA, another CA, who asks for a certificate, a responder, two operators,
 * and somebody whom nobody knows. */
struct parties {
	struct party us, other, host, responder, alice, bob, mallory;
};

struct setting {
	const struct parties *all;
	struct key_limits key;
	struct guard_request r;
	uint8_t own_keys[2][32];

	/* The certificate. Empty octets leave their extension out; written as they
	 * are: serial (content of the INTEGER), extra (whole Extensions), tail
	 * (behind the extensions). */
	uint8_t serial[SERIAL_LEN + 2];
	size_t serial_len;
	struct bytes version, inner_alg, issuer, subject, spki, aki, ski, extra, tail;
	int64_t not_before, not_after;
	struct bytes not_before_raw, not_after_raw; /* whole elements instead */
	bool has_constraints, ca, constraints_plain, usage_plain, purposes_critical, san_critical;
	int path_length;
	uint16_t key_usage;
	struct bytes purposes[4];
	size_t purpose_count;
	struct san names[4];
	size_t name_count;

	/* Its approval: made from these when `approved`, and signed by `decider`. */
	bool approved;
	struct statement statement;
	const struct party *decider;
	struct bytes csr_subject, csr_spki;
	struct san csr_names[4];
	size_t csr_name_count;
	bool keep_digest; /* of the statement, whatever the CSR */

	/* Of a renewal: made from these when `ordered`, and signed by `decider` and,
	 * unless NULL, by `second`. */
	bool ordered;
	struct renewal renewal;
	const struct party *second;
	struct signproto_order order;
	char body[RENEWAL_TEXT_MAX + 1];
	uint8_t signature2[STATEMENT_SIGNATURE_MAX];

	/* A CRL instead, or the key's request. */
	int64_t this_update, next_update;
	struct bytes crl_extra;

	uint8_t x_buf[4096], tbs_buf[8192], csr_buf[4096], signature[STATEMENT_SIGNATURE_MAX];
	uint8_t idp_buf[512];
	char text[STATEMENT_TEXT_MAX + 1];
};

#define TEXT(s) ((struct bytes){(const uint8_t *)(s), sizeof(s) - 1})

/* Extensions of a CRL: the content of an issuingDistributionPoint, a base's number. */
#define IDP(value) "\x30\x0f\x06\x03\x55\x1d\x1c\x01\x01\xff\x04\x05\x30\x03" value
#define DELTA(n) "\x30\x0d\x06\x03\x55\x1d\x1b\x01\x01\xff\x04\x03\x02\x01" n
#define DNS(s) ((struct san){SAN_DNS, TEXT(s)})

#define must(call)                     \
	do {                           \
		if (!(call)) {         \
			perror(#call); \
			abort();       \
		}                      \
	} while (0)

/* The same key for the same name in each run: what was written with it is good in
 * the next. */
static inline EVP_PKEY *
key_of_name(const char *name, uint8_t point[65])
{
	EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	EC_POINT *public = EC_POINT_new(group);
	OSSL_PARAM_BLD *params = OSSL_PARAM_BLD_new();
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	OSSL_PARAM *list = NULL;
	EVP_PKEY *key = NULL;
	uint8_t secret[32];
	BIGNUM *d;

	must(EVP_Digest(name, strlen(name), secret, NULL, EVP_sha256(), NULL) == 1);
	secret[0] &= 0x7f; /* below the order */
	d = BN_bin2bn(secret, sizeof secret, NULL);
	must(EC_POINT_mul(group, public, d, NULL, NULL, NULL) == 1);
	must(EC_POINT_point2oct(group, public, POINT_CONVERSION_UNCOMPRESSED, point, 65, NULL) ==
	     65);
	must(OSSL_PARAM_BLD_push_utf8_string(params, "group", "P-256", 0) == 1);
	must(OSSL_PARAM_BLD_push_BN(params, "priv", d) == 1);
	must(OSSL_PARAM_BLD_push_octet_string(params, "pub", point, 65) == 1);
	list = OSSL_PARAM_BLD_to_param(params);
	must(EVP_PKEY_fromdata_init(ctx) == 1);
	must(EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_KEYPAIR, list) == 1);
	OSSL_PARAM_free(list);
	OSSL_PARAM_BLD_free(params);
	EVP_PKEY_CTX_free(ctx);
	BN_free(d);
	EC_POINT_free(public);
	EC_GROUP_free(group);
	return key;
}

static inline void
party_make(struct party *p, const char *name)
{
	struct error e = ERROR_INIT;
	uint8_t point[65];
	struct bytes spki;

	p->pkey = key_of_name(name, point);
	must(spki_encode_ec(KEY_P256, (struct bytes){point, 65}, p->spki_buf, SPKI_MAX, &spki, &e));
	must(spki_parse(spki, &p->spki, &e));
	must(spki_sha256(&p->spki, p->sha256, &e) && spki_ski(&p->spki, p->key_id, &e));
	must(name_from_text(name, p->name_buf, sizeof p->name_buf, &p->name, &e));
}

static inline void
parties_make(struct parties *all)
{
	party_make(&all->us, "CN=Unit CA,O=Example,C=DE");
	party_make(&all->other, "CN=Other CA,O=Example,C=DE");
	party_make(&all->host, "CN=host.example.com,O=Example");
	party_make(&all->responder, "CN=Responder,O=Example");
	party_make(&all->alice, "CN=alice");
	party_make(&all->bob, "CN=bob");
	party_make(&all->mallory, "CN=mallory");
}

static inline void
parties_free(struct parties *all)
{
	struct party *p[] = {&all->us, &all->other, &all->host, &all->responder, &all->alice,
	    &all->bob, &all->mallory};

	for (size_t i = 0; i < COUNT_OF(p); i++)
		EVP_PKEY_free(p[i]->pkey);
}

/* ---- limits */

static inline struct limits_template *
limits_add_template(struct limits *l, const char *name, uint16_t usage, const char *purpose)
{
	struct limits_template *t = &l->templates[l->template_count++];
	struct bytes oid;

	(void)snprintf(t->name, sizeof t->name, "%s", name);
	t->key_usage = usage;
	t->validity_s = 90LL * DAY;
	t->path_length = -1;
	if (purpose != NULL) {
		must(oid_purpose_from_name(purpose, &oid));
		memcpy(t->purposes[0].oid, oid.p, oid.len);
		t->purposes[0].len = oid.len;
		t->purpose_count = 1;
	}
	return t;
}

static inline void
limits_add_operator(struct limits *l, const struct party *p, const char *person, unsigned rights)
{
	struct limits_operator *o = &l->operators[l->operator_count++];

	(void)snprintf(o->person, sizeof o->person, "%s", person);
	o->rights = rights;
	memcpy(o->spki, p->spki.whole.p, p->spki.whole.len);
	o->spki_len = p->spki.whole.len;
}

static inline void
limits_add_name(struct limits_name *names, size_t *count, const char *text)
{
	struct error e = ERROR_INIT;

	must(limits_name_from_text(text, &names[(*count)++], &e));
}

#define PERMIT(s, text) \
	limits_add_name((s)->key.document.permitted, &(s)->key.document.permitted_count, text)
#define EXCLUDE(s, text) \
	limits_add_name((s)->key.document.excluded, &(s)->key.document.excluded_count, text)

static inline void
limits_make(struct limits *l, const struct parties *all)
{
	const uint16_t tls = KU_DIGITAL_SIGNATURE | KU_KEY_ENCIPHERMENT;
	struct limits_template *ca;

	(void)snprintf(l->ca, sizeof l->ca, "unit");
	l->version = 1;
	l->algorithm = KEY_P256;
	l->signatures[l->signature_count++] = ALG;
	memcpy(l->subject, all->us.name.p, all->us.name.len);
	l->subject_len = all->us.name.len;
	l->not_after = NOW + 4000LL * DAY;
	l->path_length = -1;
	l->signer_ids[l->signer_count++] = SIGNER_ID;
	l->signer_ids[l->signer_count++] = 9;
	l->quorum = 1;
	memcpy(l->responders[l->responder_count++], all->responder.sha256, 32);
	limits_add_operator(l, &all->alice, "alice", LIMITS_RIGHT_LIMITS | LIMITS_RIGHT_DECIDE);
	limits_add_operator(l, &all->bob, "bob", LIMITS_RIGHT_LIMITS);
	limits_add_template(l, "auto", tls, "serverAuth")->automatic = true;
	limits_add_template(l, "free", tls, NULL)->automatic = true;
	(void)limits_add_template(l, "manual", tls, "serverAuth");
	(void)limits_add_template(l, "ocsp", KU_DIGITAL_SIGNATURE, "OCSPSigning");
	ca = limits_add_template(l, "sub-ca", KU_KEY_CERT_SIGN | KU_CRL_SIGN, NULL);
	ca->ca = true;
	ca->path_length = 2;
}

/* ---- variants, by a number: what the fuzz target chooses from */

#define VARIANT_ROOT 1
#define VARIANT_NAMES 2
#define VARIANT_NOT_INSTALLED 4
#define VARIANTS 8

/* A key with its limits. */
static inline void
variant_make(unsigned int variant, const struct parties *all, struct key_limits *key,
    uint8_t own_keys[2][32])
{
	struct limits *l = &key->document;

	memset(key, 0, sizeof *key);
	limits_make(l, all);
	l->root = (variant & VARIANT_ROOT) != 0;
	if ((variant & VARIANT_NAMES) != 0)
		limits_add_name(l->permitted, &l->permitted_count, "dns:example.com");
	key->installed = (variant & VARIANT_NOT_INSTALLED) == 0;
	key->not_before = NOW - 100LL * DAY;
	key->not_after = NOW + 3000LL * DAY;
	key->path_length = -1;
	memset(key->tbs_sha256, 7, sizeof key->tbs_sha256);
	memcpy(key->spki_sha256, all->us.sha256, 32);
	memcpy(key->key_id, all->us.key_id, SKI_LEN);
	memcpy(own_keys[0], all->us.sha256, 32);
	memcpy(own_keys[1], all->other.sha256, 32);
}

/* ---- settings that pass */

static inline void
set_serial(struct setting *s, uint16_t signer_id, int64_t at)
{
	static const uint8_t random[SERIAL_RANDOM_LEN] = {5, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11};

	serial_build(s->serial, signer_id, at, random);
	s->serial_len = SERIAL_LEN;
}

static inline void
set_subject_key(struct setting *s, const struct party *p)
{
	s->spki = p->spki.whole;
	s->ski = (struct bytes){p->key_id, SKI_LEN};
}

/* A certificate for a server by the template that needs no decision. */
static inline struct setting *
setting_new(const struct parties *all)
{
	struct setting *s = calloc(1, sizeof *s);

	must(s != NULL);
	s->all = all;
	variant_make(0, all, &s->key, s->own_keys);
	s->r = (struct guard_request){.key = &s->key,
	    .signer_id = SIGNER_ID,
	    .now = NOW,
	    .own_keys = (const uint8_t(*)[32])s->own_keys,
	    .own_key_count = 2,
	    .kind = SIGNPROTO_TBS_CERTIFICATE,
	    .alg = ALG,
	    .template = "auto"};
	set_serial(s, SIGNER_ID, NOW);
	s->version = TEXT("\xa0\x03\x02\x01\x02");
	s->inner_alg = sig_alg_der(ALG);
	s->issuer = all->us.name;
	s->subject = all->host.name;
	set_subject_key(s, &all->host);
	s->aki = (struct bytes){all->us.key_id, SKI_LEN};
	s->not_before = NOW;
	s->not_after = NOW + 90LL * DAY - 1;
	s->has_constraints = true;
	s->path_length = -1;
	s->key_usage = KU_DIGITAL_SIGNATURE;
	must(oid_purpose_from_name("serverAuth", &s->purposes[s->purpose_count++]));
	s->names[s->name_count++] = DNS("host.example.com");
	s->decider = &all->alice;
	s->statement = (struct statement){.action = STATEMENT_APPROVE,
	    .ca = "unit",
	    .object = "2f1c0f5e-6d0e-4b59-8a53-1f2f5f0a6a11",
	    .has_csr = true,
	    .template_name = "manual",
	    .template_version = 3,
	    .issued = NOW - 60,
	    .expires = NOW + 540};
	s->csr_subject = s->subject;
	s->csr_spki = s->spki;
	s->csr_names[s->csr_name_count++] = s->names[0];
	s->this_update = NOW;
	s->next_update = NOW + 7 * DAY;
	return s;
}

/* The same by a template that needs one. */
static inline struct setting *
setting_manual(const struct parties *all)
{
	struct setting *s = setting_new(all);

	s->approved = true;
	s->r.template = "manual";
	return s;
}

/* A CA below this one. */
static inline struct setting *
setting_sub_ca(const struct parties *all)
{
	struct setting *s = setting_manual(all);

	s->r.template = "sub-ca";
	(void)snprintf(s->statement.template_name, sizeof s->statement.template_name, "sub-ca");
	s->ca = true;
	s->path_length = 1;
	s->key_usage = KU_KEY_CERT_SIGN | KU_CRL_SIGN;
	s->purpose_count = s->name_count = s->csr_name_count = 0;
	return s;
}

/* A responder's certificate. */
static inline struct setting *
setting_ocsp(const struct parties *all)
{
	struct setting *s = setting_manual(all);

	s->r.template = "ocsp";
	(void)snprintf(s->statement.template_name, sizeof s->statement.template_name, "ocsp");
	must(oid_purpose_from_name("OCSPSigning", &s->purposes[0]));
	s->name_count = s->csr_name_count = 0;
	s->subject = s->csr_subject = all->responder.name;
	set_subject_key(s, &all->responder);
	s->csr_spki = s->spki;
	return s;
}

/* A root's own, before it has one. */
static inline struct setting *
setting_root(const struct parties *all)
{
	struct setting *s = setting_new(all);

	s->key.document.root = true;
	s->key.installed = false;
	s->r.template = "";
	s->subject = s->issuer;
	set_subject_key(s, &all->us);
	s->aki = (struct bytes){0};
	s->ca = true;
	s->key_usage = KU_KEY_CERT_SIGN | KU_CRL_SIGN;
	s->purpose_count = s->name_count = 0;
	s->not_after = s->key.document.not_after;
	return s;
}

/* The same anew, in place of the one that it has. */
static inline struct setting *
setting_renewal(const struct parties *all)
{
	struct setting *s = setting_root(all);

	s->key.installed = true;
	s->ordered = true;
	s->statement = (struct statement){.action = STATEMENT_CA_RENEW,
	    .ca = "unit",
	    .object = "unit",
	    .has_body = true,
	    .issued = NOW - 60,
	    .expires = NOW + 540};
	s->renewal = (struct renewal){
	    .ca = "unit", .not_after = s->not_after, .has_replaces = true, .has_signer = true};
	memcpy(s->renewal.signer, all->us.sha256, sizeof s->renewal.signer);
	memcpy(s->renewal.replaces, s->key.tbs_sha256, sizeof s->renewal.replaces);
	memcpy(s->renewal.key, all->us.sha256, sizeof s->renewal.key);
	return s;
}

/* For another key of the root's own. */
static inline struct setting *
setting_rollover(const struct parties *all)
{
	struct setting *s = setting_renewal(all);

	s->statement.action = STATEMENT_CA_ROLLOVER;
	s->renewal.has_replaces = false;
	memset(s->renewal.replaces, 0, sizeof s->renewal.replaces);
	memcpy(s->renewal.key, all->other.sha256, sizeof s->renewal.key);
	set_subject_key(s, &all->other);
	s->aki = (struct bytes){all->us.key_id, SKI_LEN};
	s->not_after = s->renewal.not_after = s->key.not_after;
	return s;
}

static inline struct setting *
setting_crl(const struct parties *all)
{
	struct setting *s = setting_new(all);

	s->r.kind = SIGNPROTO_TBS_CRL;
	s->r.template = "";
	return s;
}

static inline struct setting *
setting_csr(const struct parties *all)
{
	struct setting *s = setting_new(all);

	s->r.kind = SIGNPROTO_CSR_INFO;
	s->r.template = "";
	s->subject = all->us.name;
	s->spki = all->us.spki.whole;
	s->ski = (struct bytes){all->us.key_id, SKI_LEN};
	s->key.installed = false;
	s->ca = true;
	s->key_usage = KU_KEY_CERT_SIGN | KU_CRL_SIGN;
	s->purpose_count = s->name_count = 0;
	s->aki = (struct bytes){0};
	return s;
}

/* ---- building */

/* [0] for an AKI or SKI as we write it would hide what a test puts in. */
static inline struct bytes
build_extensions(struct setting *s)
{
	struct extensions x;

	extensions_init(&x, s->x_buf, sizeof s->x_buf);
	if (s->has_constraints)
		extensions_add_basic_constraints(&x, s->ca, s->path_length, !s->constraints_plain);
	if (s->key_usage != 0 && !s->usage_plain)
		extensions_add_key_usage(&x, s->key_usage);
	if (s->usage_plain)
		extensions_add(&x, oid_key_usage, false, TEXT("\x03\x02\x07\x80"));
	if (s->purpose_count > 0)
		extensions_add_extended_key_usage(
		    &x, s->purposes, s->purpose_count, s->purposes_critical);
	if (s->aki.len > 0)
		extensions_add_authority_key_identifier(&x, s->aki);
	if (s->ski.len > 0)
		extensions_add_subject_key_identifier(&x, s->ski);
	if (s->name_count > 0)
		extensions_add_subject_alt_name(&x, s->names, s->name_count, s->san_critical);
	must(extensions_ok(&x));
	return extensions_result(&x);
}

static inline void
build_certificate(struct setting *s)
{
	struct bytes x = build_extensions(s);
	struct derw w;
	size_t mark;

	derw_init(&w, s->tbs_buf, sizeof s->tbs_buf);
	derw_raw(&w, s->tail);
	mark = derw_mark(&w);
	derw_raw(&w, s->extra);
	derw_raw(&w, x);
	if (x.len + s->extra.len > 0) {
		derw_wrap(&w, mark, DER_SEQUENCE);
		derw_wrap(&w, mark, DER_CONTEXT_CONSTRUCTED(3));
	}
	derw_raw(&w, s->spki);
	derw_raw(&w, s->subject);
	mark = derw_mark(&w);
	if (s->not_after_raw.len > 0)
		derw_raw(&w, s->not_after_raw);
	else
		derw_time(&w, s->not_after);
	if (s->not_before_raw.len > 0)
		derw_raw(&w, s->not_before_raw);
	else
		derw_time(&w, s->not_before);
	derw_wrap(&w, mark, DER_SEQUENCE);
	derw_raw(&w, s->issuer);
	derw_raw(&w, s->inner_alg);
	derw_element(&w, DER_INTEGER, (struct bytes){s->serial, s->serial_len});
	derw_raw(&w, s->version);
	derw_wrap(&w, 0, DER_SEQUENCE);
	must(derw_ok(&w));
	s->r.tbs = derw_result(&w);
}

static inline void
build_approval(struct setting *s)
{
	uint8_t info_buf[4096], x_buf[1024];
	struct bytes info, csr;
	struct error e = ERROR_INIT;
	struct extensions x;
	size_t len;

	extensions_init(&x, x_buf, sizeof x_buf);
	if (s->csr_name_count > 0)
		extensions_add_subject_alt_name(&x, s->csr_names, s->csr_name_count, false);
	must(csr_info_build(s->csr_subject, s->csr_spki, extensions_result(&x), info_buf,
	    sizeof info_buf, &info, &e));
	/* Possession is the issuer's and the operator's to see. */
	must(csr_assemble(info, ALG, TEXT("signature"), s->csr_buf, sizeof s->csr_buf, &csr, &e));
	s->r.csr = csr;
	if (!s->keep_digest)
		must(guard_sha256(csr, s->statement.csr_sha256, &e));
	must(statement_format(&s->statement, s->text, &len, &e));
	s->r.statement = (struct bytes){(const uint8_t *)s->text, len};
	must(statement_sign(s->text, len, s->decider->pkey, s->signature, &len, &e));
	s->r.signature = (struct bytes){s->signature, len};
	s->r.spki = s->decider->spki.whole;
}

static inline void
build_order(struct setting *s)
{
	const struct party *by[] = {s->decider, s->second};
	uint8_t *to[] = {s->signature, s->signature2};
	struct error e = ERROR_INIT;
	size_t len, body_len;

	must(renewal_format(&s->renewal, s->body, &body_len, &e));
	s->order = (struct signproto_order){.body = {(const uint8_t *)s->body, body_len}};
	if (!s->keep_digest)
		must(guard_sha256(s->order.body, s->statement.body_sha256, &e));
	must(statement_format(&s->statement, s->text, &len, &e));
	s->order.statement = (struct bytes){(const uint8_t *)s->text, len};
	for (size_t i = 0; i < COUNT_OF(by) && by[i] != NULL; i++) {
		size_t n;

		must(statement_sign(s->text, len, by[i]->pkey, to[i], &n, &e));
		s->order.signatures[s->order.signature_count++] =
		    (struct signproto_operator_signature){by[i]->spki.whole, {to[i], n}};
	}
	s->r.order = &s->order;
}

static inline void
build_crl(struct setting *s)
{
	static const uint8_t serial[] = {0x11, 0x22, 0x33}, number[] = {7};
	const struct crl_entry entry = {
	    .serial = {serial, sizeof serial}, .revoked_at = NOW - 60, .reason = CRL_SUPERSEDED};
	uint8_t head_buf[CRL_HEAD_MAX], tail_buf[2048], one[CRL_ENTRY_MAX];
	struct error e = ERROR_INIT;
	struct bytes head, tail;
	struct extensions x;
	struct tbs_crl t;
	uint64_t len;
	size_t size;

	extensions_init(&x, s->x_buf, sizeof s->x_buf);
	if (s->aki.len > 0)
		extensions_add_authority_key_identifier(&x, s->aki);
	extensions_add_crl_number(&x, (struct bytes){number, sizeof number});
	must(extensions_ok(&x));
	memcpy(
	    s->x_buf + x.len, s->crl_extra.p != NULL ? s->crl_extra.p : s->x_buf, s->crl_extra.len);
	t = (struct tbs_crl){
	    .sig_alg = ALG,
	    .issuer = s->issuer,
	    .this_update = s->this_update,
	    .next_update = s->next_update,
	    .extensions = {s->x_buf, x.len + s->crl_extra.len},
	};
	must(crl_entry_encode(&entry, false, one, &size, &e));
	must(crl_tbs_head(&t, 2 * size, head_buf, sizeof head_buf, &head, &len, &e));
	must(crl_tbs_tail(&t, tail_buf, sizeof tail_buf, &tail, &e));
	memcpy(s->tbs_buf, head.p, head.len);
	memcpy(s->tbs_buf + head.len, one, size);
	memcpy(s->tbs_buf + head.len + size, one, size);
	memcpy(s->tbs_buf + head.len + 2 * size, tail.p, tail.len);
	s->r.tbs = (struct bytes){s->tbs_buf, len};
}

static inline void
build_request(struct setting *s)
{
	struct bytes x = build_extensions(s);
	struct derw w;
	size_t mark;

	memcpy(s->x_buf + x.len, s->extra.p != NULL ? s->extra.p : s->x_buf, s->extra.len);
	derw_init(&w, s->tbs_buf, sizeof s->tbs_buf);
	mark = derw_mark(&w);
	derw_raw(&w, s->tail);
	if (x.len > 0) {
		size_t attribute = derw_mark(&w);

		derw_raw(&w, (struct bytes){x.p, x.len + s->extra.len});
		derw_wrap(&w, attribute, DER_SEQUENCE);
		derw_wrap(&w, attribute, DER_SET);
		derw_oid(&w, oid_extension_request);
		derw_wrap(&w, attribute, DER_SEQUENCE);
	}
	derw_wrap(&w, mark, DER_CONTEXT_CONSTRUCTED(0));
	derw_raw(&w, s->spki);
	derw_raw(&w, s->subject);
	derw_unsigned(&w, 0);
	derw_wrap(&w, 0, DER_SEQUENCE);
	must(derw_ok(&w));
	s->r.tbs = derw_result(&w);
}

static inline void
setting_build(struct setting *s)
{
	switch (s->r.kind) {
	case SIGNPROTO_TBS_CRL:
		build_crl(s);
		return;
	case SIGNPROTO_CSR_INFO:
		build_request(s);
		return;
	default:
		build_certificate(s);
		if (s->approved)
			build_approval(s);
		if (s->ordered)
			build_order(s);
	}
}

#endif
