#ifndef CHANCERY_TESTS_CRL_LISTS_H
#define CHANCERY_TESTS_CRL_LISTS_H

/* CRLs at random: what stands in them, OpenSSL's of them, and the rules that they keep. */

#include "tests/unit/x509_util.h"

#include "daemon/x509/crl.h"
#include "daemon/x509/crl_check.h"
#include "daemon/x509/name.h"

#define ISSUER "CN=Demo CA,O=Example,C=DE"

static const char *const urls[] = {"http://crl.example/a.crl", "http://b.example/delta.crl"};
static const uint8_t key_id[20] = {
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20};
static const uint8_t reasons[] = {0, 1, 2, 3, 4, 5, 6, 9, 10, 8};

/* A list that is built on both sides. */
struct list {
	struct crl_entry *entries;
	uint8_t (*serials)[20];
	size_t count;
	bool delta, idp, freshest;
	int64_t this_update, next_update;
	uint8_t number[20], base[20];
	size_t number_len, base_len;
	enum sig_alg alg;
	EVP_PKEY *key;
};

static void
make_list(struct list *l, size_t count, bool delta)
{
	memset(l, 0, sizeof *l);
	l->entries = calloc(count + 1, sizeof *l->entries);
	l->serials = calloc(count + 1, sizeof *l->serials);
	l->count = count;
	l->delta = delta;
	l->idp = random_below(2);
	l->freshest = !delta && random_below(2);
	l->this_update = 1795348800 + random_below(1000000000);
	l->next_update = l->this_update + 1 + random_below(1000000);
	l->number_len = 1 + random_below(20);
	random_octets(l->number, l->number_len);
	l->number[0] = (uint8_t)(1 + l->number[0] % 0x7f);
	l->base[0] = 1;
	l->base_len = 1;
	l->key = shared_key(random_below(2) ? "rsa2048" : "p384");
	l->alg = l->key == shared_key("p384") ? SIG_ECDSA_SHA384
		 : random_below(2)	      ? SIG_PSS_SHA256
					      : SIG_RSA_SHA256;
	for (size_t i = 0; i < count; i++) {
		struct crl_entry *e = &l->entries[i];
		size_t len = 1 + random_below(20);

		random_octets(l->serials[i], len);
		l->serials[i][len - 1] |= 1;
		if (len == 20)
			l->serials[i][0] &= 0x7f;
		e->serial = (struct bytes){l->serials[i], len};
		e->revoked_at = (int64_t)(random_u64() % 2840140800); /* 1970 to 2060 */
		e->reason = reasons[random_below(delta ? 10 : 9)];
		e->has_invalidity_date = random_below(3) == 0;
		e->invalidity_date = (int64_t)(random_u64() % 4102444800) - 1000000000;
	}
}

static void
free_list(struct list *l)
{
	free(l->entries);
	free(l->serials);
}

/* A serial without zero octets in front. */
static struct bytes
as_number(struct bytes serial)
{
	while (serial.p[0] == 0)
		serial = (struct bytes){serial.p + 1, serial.len - 1};
	return serial;
}

static ASN1_INTEGER *
integer(struct bytes b)
{
	BIGNUM *n = BN_bin2bn(b.p, (int)b.len, NULL);
	ASN1_INTEGER *i = BN_to_ASN1_INTEGER(n, NULL);

	BN_free(n);
	return i;
}

static void
add_revoked(X509_CRL *crl, const struct crl_entry *entry)
{
	X509_REVOKED *r = X509_REVOKED_new();
	ASN1_INTEGER *serial = integer(entry->serial);
	ASN1_TIME *when = ASN1_TIME_set(NULL, (time_t)entry->revoked_at);

	X509_REVOKED_set_serialNumber(r, serial);
	X509_REVOKED_set_revocationDate(r, when);
	if (entry->reason != 0) {
		ASN1_ENUMERATED *reason = ASN1_ENUMERATED_new();

		ASN1_ENUMERATED_set(reason, entry->reason);
		X509_REVOKED_add1_ext_i2d(r, NID_crl_reason, reason, 0, 0);
		ASN1_ENUMERATED_free(reason);
	}
	if (entry->has_invalidity_date) {
		ASN1_GENERALIZEDTIME *t = ASN1_GENERALIZEDTIME_set(
		    NULL, (time_t)entry->invalidity_date);

		X509_REVOKED_add1_ext_i2d(r, NID_invalidity_date, t, 0, 0);
		ASN1_GENERALIZEDTIME_free(t);
	}
	X509_CRL_add0_revoked(crl, r);
	ASN1_INTEGER_free(serial);
	ASN1_TIME_free(when);
}

static void
add_number(X509_CRL *crl, int nid, struct bytes number, int critical)
{
	ASN1_INTEGER *n = integer(number);

	X509_CRL_add1_ext_i2d(crl, nid, n, critical, X509V3_ADD_APPEND);
	ASN1_INTEGER_free(n);
}

static DIST_POINT_NAME *
full_name(const char *url)
{
	DIST_POINT_NAME *name = DIST_POINT_NAME_new();
	GENERAL_NAME *g = GENERAL_NAME_new();
	ASN1_IA5STRING *s = ASN1_IA5STRING_new();

	ASN1_STRING_set(s, url, -1);
	GENERAL_NAME_set0_value(g, GEN_URI, s);
	name->type = 0;
	name->name.fullname = GENERAL_NAMES_new();
	sk_GENERAL_NAME_push(name->name.fullname, g);
	return name;
}

static void
add_extensions(X509_CRL *crl, const struct list *l)
{
	AUTHORITY_KEYID *aki = AUTHORITY_KEYID_new();

	aki->keyid = ASN1_OCTET_STRING_new();
	ASN1_OCTET_STRING_set(aki->keyid, key_id, sizeof key_id);
	X509_CRL_add1_ext_i2d(crl, NID_authority_key_identifier, aki, 0, X509V3_ADD_APPEND);
	AUTHORITY_KEYID_free(aki);
	add_number(crl, NID_crl_number, (struct bytes){l->number, l->number_len}, 0);
	if (l->delta)
		add_number(crl, NID_delta_crl, (struct bytes){l->base, l->base_len}, 1);
	if (l->idp) {
		ISSUING_DIST_POINT *idp = ISSUING_DIST_POINT_new();

		idp->distpoint = full_name(urls[0]);
		X509_CRL_add1_ext_i2d(
		    crl, NID_issuing_distribution_point, idp, 1, X509V3_ADD_APPEND);
		ISSUING_DIST_POINT_free(idp);
	}
	if (l->freshest) {
		CRL_DIST_POINTS *points = CRL_DIST_POINTS_new();
		DIST_POINT *point = DIST_POINT_new();

		point->distpoint = full_name(urls[1]);
		sk_DIST_POINT_push(points, point);
		X509_CRL_add1_ext_i2d(crl, NID_freshest_crl, points, 0, X509V3_ADD_APPEND);
		CRL_DIST_POINTS_free(points);
	}
}

static X509_CRL *
openssl_crl(const struct list *l)
{
	X509_CRL *crl = X509_CRL_new();
	X509_NAME *name = X509_NAME_new();
	ASN1_TIME *t = ASN1_TIME_new();
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx = NULL;

	X509_CRL_set_version(crl, X509_CRL_VERSION_2);
	X509_NAME_add_entry_by_txt(name, "C", MBSTRING_UTF8, (const uint8_t *)"DE", -1, -1, 0);
	X509_NAME_add_entry_by_txt(name, "O", MBSTRING_UTF8, (const uint8_t *)"Example", -1, -1, 0);
	X509_NAME_add_entry_by_txt(
	    name, "CN", MBSTRING_UTF8, (const uint8_t *)"Demo CA", -1, -1, 0);
	X509_CRL_set_issuer_name(crl, name);
	ASN1_TIME_set(t, (time_t)l->this_update);
	X509_CRL_set1_lastUpdate(crl, t);
	ASN1_TIME_set(t, (time_t)l->next_update);
	X509_CRL_set1_nextUpdate(crl, t);
	for (size_t i = 0; i < l->count; i++)
		add_revoked(crl, &l->entries[i]);
	add_extensions(crl, l);
	assert_int_equal(EVP_DigestSignInit(ctx, &pctx, sig_alg_md(l->alg), NULL, l->key), 1);
	if (sig_alg_family(l->alg) == SIG_FAMILY_PSS) {
		EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
		EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST);
	}
	assert_true(X509_CRL_sign_ctx(crl, ctx) > 0);
	EVP_MD_CTX_free(ctx);
	ASN1_TIME_free(t);
	X509_NAME_free(name);
	return crl;
}

static struct crl_rules
rules_for(const struct list *l, size_t len)
{
	static uint8_t issuer_buf[NAME_DER_MAX];
	struct error e = ERROR_INIT;
	struct crl_rules rules = {.key_id = BYTES(key_id), .sig_alg = l->alg, .total_len = len};

	assert_ok(name_from_text(ISSUER, issuer_buf, sizeof issuer_buf, &rules.issuer, &e), e);
	return rules;
}

#endif
