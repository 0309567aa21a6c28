#include "tests/unit/x509_util.h"

#include "daemon/x509/cert.h"
#include "daemon/x509/derw.h"
#include "daemon/x509/name.h"

#define ROUNDS 300

static const char *const signer_kinds[] = {"p256", "p256", "p256", "rsa2048", "p384", "p521"};

/* What both sides build a certificate from. */
struct plan {
	EVP_PKEY *signer;
	enum sig_alg alg;
	uint8_t serial[SERIAL_LEN];
	size_t serial_len;
	int64_t not_before, not_after;
	char issuer[256], subject[256];
	const char *subject_key;
	uint16_t usage;
	bool ca;
	int path_length;
	size_t san_count, purpose_count, cdp_count, freshest_count, aia_count, ocsp_count,
	    policy_count;
	uint8_t ski[SKI_LEN], aki[SKI_LEN];
};

static const char *const urls[] = {"http://crl.example/a.crl",
    "ldap://127.0.0.1:389/cn=demo%20ca?certificateRevocationList;binary", "http://b.example/x",
    "http://c.example/a-rather-long-path-so-that-lengths-need-two-octets/and-still-a-bit-longer"};
static const char *const purposes[] = {
    "serverAuth", "clientAuth", "codeSigning", "emailProtection", "timeStamping", "OCSPSigning"};
static const struct policy policies[] = {
    {{(const uint8_t *)"\x2a\x03\x04", 3}, NULL},
    {{(const uint8_t *)"\x67\x81\x0c\x01\x02\x01", 6}, "http://cps.example/"},
};
static const char *const policy_oids[] = {"1.2.3.4", "2.23.140.1.2.1"};

static void
make_plan(struct plan *p)
{
	static const char *const subject_keys[] = {"rsa2048", "p256", "p384", "ed25519"};
	const char *kind = signer_kinds[random_below(COUNT_OF(signer_kinds))];
	static const char *const digests[] = {"sha256", "sha384", "sha512"};
	enum key_alg key;

	memset(p, 0, sizeof *p);
	p->signer = shared_key(kind);
	assert_true(key_alg_from_name(kind, &key));
	assert_true(sig_alg_choose(
	    key, digests[random_below(3)], kind[0] == 'r' && random_below(2), &p->alg));
	p->serial_len = 1 + random_below(SERIAL_LEN);
	random_octets(p->serial, p->serial_len);
	/* Positive within 20 octets of DER; leading zeros are dropped anyhow. */
	p->serial[0] &= p->serial_len == SERIAL_LEN ? 0x7f : 0xff;
	p->serial[p->serial_len - 1] |= 1;
	p->not_before = (int64_t)(random_u64() % 4733510400) - 631152000;
	p->not_after = p->not_before + (int64_t)(random_u64() % 1000000000);
	(void)snprintf(p->issuer, sizeof p->issuer, "CN=CA %u,O=Example,C=DE", random_below(1000));
	(void)snprintf(p->subject, sizeof p->subject,
	    "emailAddress=u%u@x.example,serialNumber=%u,CN=M\xc3\xbcller "
	    "%u,OU=a,OU=b,L=K\xc3\xb6ln,C=DE",
	    random_below(1000), random_below(1000000), random_below(1000));
	p->subject_key = subject_keys[random_below(4)];
	p->usage = (uint16_t)random_below(0x200);
	p->ca = random_below(2);
	p->path_length = p->ca ? (int)random_below(400) - 100 : -1;
	p->san_count = random_below(7);
	p->purpose_count = random_below(COUNT_OF(purposes) + 1);
	p->cdp_count = random_below(COUNT_OF(urls) + 1);
	p->freshest_count = random_below(3);
	p->aia_count = random_below(3);
	p->ocsp_count = random_below(2);
	p->policy_count = random_below(3);
	random_octets(p->ski, sizeof p->ski);
	random_octets(p->aki, sizeof p->aki);
}

/* ---- ours */

static const uint8_t ip4[] = {192, 0, 2, 1};
static const uint8_t ip6[] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
static const struct san sans[] = {
    {SAN_DNS, {(const uint8_t *)"a.example", 9}},
    {SAN_IP, {ip4, sizeof ip4}},
    {SAN_DNS, {(const uint8_t *)"*.b.example", 11}},
    {SAN_EMAIL, {(const uint8_t *)"a@b.example", 11}},
    {SAN_IP, {ip6, sizeof ip6}},
    {SAN_URI, {(const uint8_t *)"urn:uuid:1234", 13}},
};

static struct bytes
our_extensions(const struct plan *p, uint8_t *buf, size_t size)
{
	struct bytes oids[COUNT_OF(purposes)];
	struct extensions x;

	for (size_t i = 0; i < p->purpose_count; i++)
		assert_true(oid_purpose_from_name(purposes[i], &oids[i]));
	extensions_init(&x, buf, size);
	extensions_add_subject_key_identifier(&x, BYTES(p->ski));
	extensions_add_authority_key_identifier(&x, BYTES(p->aki));
	extensions_add_basic_constraints(&x, p->ca, p->path_length < 0 ? -1 : p->path_length, true);
	extensions_add_key_usage(&x, p->usage);
	extensions_add_extended_key_usage(&x, oids, p->purpose_count, false);
	extensions_add_subject_alt_name(&x, sans, p->san_count, false);
	extensions_add_crl_distribution_points(
	    &x, &(struct distribution_point){.urls = urls, .url_count = p->cdp_count}, 1);
	extensions_add_freshest_crl(
	    &x, &(struct distribution_point){.urls = urls, .url_count = p->freshest_count}, 1);
	extensions_add_authority_info_access(&x, urls, p->aia_count, urls + 2, p->ocsp_count);
	extensions_add_certificate_policies(&x, policies, p->policy_count);
	assert_true(extensions_ok(&x));
	return extensions_result(&x);
}

static void
build_ours(const struct plan *p, uint8_t *buf, size_t size, struct bytes *tbs)
{
	struct bytes spki = TO_DER(PUBKEY, shared_key(p->subject_key));
	uint8_t issuer[NAME_DER_MAX], subject[NAME_DER_MAX], extensions[8192];
	struct tbs_certificate t = {
	    .serial = {p->serial, p->serial_len},
	    .sig_alg = p->alg,
	    .not_before = p->not_before,
	    .not_after = p->not_after,
	    .spki = spki,
	    .extensions = our_extensions(p, extensions, sizeof extensions),
	};
	struct error e = ERROR_INIT;

	assert_ok(name_from_text(p->issuer, issuer, sizeof issuer, &t.issuer, &e), e);
	assert_ok(name_from_text(p->subject, subject, sizeof subject, &t.subject, &e), e);
	assert_ok(tbs_certificate_build(&t, buf, size, tbs, &e), e);
	free_bytes(spki);
}

/* ---- OpenSSL's */

static X509_NAME *
openssl_name(const char *text)
{
	X509_NAME *name = X509_NAME_new();
	char copy[256], *parts[16], *rest = copy;
	size_t count = 0;

	(void)snprintf(copy, sizeof copy, "%s", text);
	while (rest != NULL)
		parts[count++] = strsep(&rest, ",");
	while (count-- > 0) {
		char *value = strchr(parts[count], '=');

		*value++ = '\0';
		assert_true(X509_NAME_add_entry_by_txt(
		    name, parts[count], MBSTRING_UTF8, (const unsigned char *)value, -1, -1, 0));
	}
	return name;
}

static void
add_i2d(X509 *x, int nid, void *value, int critical)
{
	assert_int_equal(X509_add1_ext_i2d(x, nid, value, critical, X509V3_ADD_APPEND), 1);
}

static GENERAL_NAME *
general_url(const char *url)
{
	GENERAL_NAME *g = GENERAL_NAME_new();
	ASN1_IA5STRING *s = ASN1_IA5STRING_new();

	ASN1_STRING_set(s, url, -1);
	GENERAL_NAME_set0_value(g, GEN_URI, s);
	return g;
}

static void
add_distribution_points(X509 *x, int nid, size_t count)
{
	CRL_DIST_POINTS *list;
	DIST_POINT *point;

	if (count == 0)
		return;
	list = CRL_DIST_POINTS_new();
	point = DIST_POINT_new();
	point->distpoint = DIST_POINT_NAME_new();
	point->distpoint->type = 0;
	point->distpoint->name.fullname = GENERAL_NAMES_new();
	for (size_t i = 0; i < count; i++)
		sk_GENERAL_NAME_push(point->distpoint->name.fullname, general_url(urls[i]));
	sk_DIST_POINT_push(list, point);
	add_i2d(x, nid, list, 0);
	CRL_DIST_POINTS_free(list);
}

static void
add_access(X509 *x, const struct plan *p)
{
	AUTHORITY_INFO_ACCESS *list;

	if (p->aia_count + p->ocsp_count == 0)
		return;
	list = AUTHORITY_INFO_ACCESS_new();
	for (size_t i = 0; i < p->aia_count + p->ocsp_count; i++) {
		ACCESS_DESCRIPTION *a = ACCESS_DESCRIPTION_new();
		bool ocsp = i >= p->aia_count;

		ASN1_OBJECT_free(a->method);
		GENERAL_NAME_free(a->location);
		a->method = OBJ_nid2obj(ocsp ? NID_ad_OCSP : NID_ad_ca_issuers);
		a->location = general_url(ocsp ? urls[2 + i - p->aia_count] : urls[i]);
		sk_ACCESS_DESCRIPTION_push(list, a);
	}
	add_i2d(x, NID_info_access, list, 0);
	AUTHORITY_INFO_ACCESS_free(list);
}

static void
add_policies(X509 *x, size_t count)
{
	CERTIFICATEPOLICIES *list;

	if (count == 0)
		return;
	list = CERTIFICATEPOLICIES_new();
	for (size_t i = 0; i < count; i++) {
		POLICYINFO *info = POLICYINFO_new();

		info->policyid = OBJ_txt2obj(policy_oids[i], 1);
		if (policies[i].cps != NULL) {
			POLICYQUALINFO *q = POLICYQUALINFO_new();

			q->pqualid = OBJ_nid2obj(NID_id_qt_cps);
			q->d.cpsuri = ASN1_IA5STRING_new();
			ASN1_STRING_set(q->d.cpsuri, policies[i].cps, -1);
			info->qualifiers = sk_POLICYQUALINFO_new_null();
			sk_POLICYQUALINFO_push(info->qualifiers, q);
		}
		sk_POLICYINFO_push(list, info);
	}
	add_i2d(x, NID_certificate_policies, list, 0);
	CERTIFICATEPOLICIES_free(list);
}

static void
add_conf(X509 *x, int nid, const char *value)
{
	X509_EXTENSION *ext;
	X509V3_CTX ctx;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, NULL, NULL, NULL, NULL, 0);
	ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(ext);
	assert_int_equal(X509_add_ext(x, ext, -1), 1);
	X509_EXTENSION_free(ext);
}

static void
add_usage_and_purposes(X509 *x, const struct plan *p)
{
	char text[256] = "critical";

	for (unsigned i = 0; i < 9; i++) {
		if (p->usage & 1 << i)
			(void)sprintf(
			    text + strlen(text), ",%s", key_usage_name((uint16_t)(1 << i)));
	}
	if (p->usage != 0)
		add_conf(x, NID_key_usage, text);
	text[0] = '\0';
	for (size_t i = 0; i < p->purpose_count; i++)
		(void)sprintf(text + strlen(text), "%s%s", i > 0 ? "," : "", purposes[i]);
	if (p->purpose_count > 0)
		add_conf(x, NID_ext_key_usage, text);
}

static void
add_names(X509 *x, size_t count)
{
	static const char *const names[] = {"DNS:a.example", ",IP:192.0.2.1", ",DNS:*.b.example",
	    ",email:a@b.example", ",IP:2001:db8::1", ",URI:urn:uuid:1234"};
	char text[256] = "";

	for (size_t i = 0; i < count; i++)
		strcat(text, names[i]);
	if (count > 0)
		add_conf(x, NID_subject_alt_name, text);
}

static void
add_key_ids(X509 *x, const struct plan *p)
{
	ASN1_OCTET_STRING *ski = ASN1_OCTET_STRING_new();
	AUTHORITY_KEYID *aki = AUTHORITY_KEYID_new();

	ASN1_OCTET_STRING_set(ski, p->ski, SKI_LEN);
	add_i2d(x, NID_subject_key_identifier, ski, 0);
	aki->keyid = ASN1_OCTET_STRING_new();
	ASN1_OCTET_STRING_set(aki->keyid, p->aki, SKI_LEN);
	add_i2d(x, NID_authority_key_identifier, aki, 0);
	ASN1_OCTET_STRING_free(ski);
	AUTHORITY_KEYID_free(aki);
}

static void
sign_openssl(X509 *x, EVP_PKEY *key, enum sig_alg alg)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx = NULL;

	assert_int_equal(EVP_DigestSignInit(ctx, &pctx, sig_alg_md(alg), NULL, key), 1);
	if (sig_alg_family(alg) == SIG_FAMILY_PSS) {
		EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
		EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, RSA_PSS_SALTLEN_DIGEST);
	}
	assert_true(X509_sign_ctx(x, ctx) > 0);
	EVP_MD_CTX_free(ctx);
}

static X509 *
build_openssl(const struct plan *p)
{
	X509 *x = X509_new();
	BIGNUM *serial = BN_bin2bn(p->serial, (int)p->serial_len, NULL);
	X509_NAME *issuer = openssl_name(p->issuer), *subject = openssl_name(p->subject);
	char text[64];

	X509_set_version(x, X509_VERSION_3);
	BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(x));
	X509_set_issuer_name(x, issuer);
	X509_set_subject_name(x, subject);
	assert_non_null(ASN1_TIME_set(X509_getm_notBefore(x), (time_t)p->not_before));
	assert_non_null(ASN1_TIME_set(X509_getm_notAfter(x), (time_t)p->not_after));
	assert_true(X509_set_pubkey(x, shared_key(p->subject_key)));
	add_key_ids(x, p);
	if (p->path_length >= 0)
		(void)snprintf(text, sizeof text, "critical,CA:TRUE,pathlen:%d", p->path_length);
	else
		(void)snprintf(text, sizeof text, "critical,CA:%s", p->ca ? "TRUE" : "FALSE");
	add_conf(x, NID_basic_constraints, text);
	add_usage_and_purposes(x, p);
	add_names(x, p->san_count);
	add_distribution_points(x, NID_crl_distribution_points, p->cdp_count);
	add_distribution_points(x, NID_freshest_crl, p->freshest_count);
	add_access(x, p);
	add_policies(x, p->policy_count);
	sign_openssl(x, p->signer, p->alg);
	BN_free(serial);
	X509_NAME_free(issuer);
	X509_NAME_free(subject);
	return x;
}

/* What certificate_parse reads is what was planned. */
static void
check_parsed(const struct plan *p, struct bytes der)
{
	struct bytes signer_spki = TO_DER(PUBKEY, p->signer);
	uint8_t *serial = (uint8_t *)(uintptr_t)p->serial;
	size_t serial_len = p->serial_len;
	struct error e = ERROR_INIT;
	struct san names[8];
	struct extension x;
	char text[NAME_TEXT_MAX];
	struct certificate c;
	struct spki key;
	size_t count = 0;

	while (serial[0] == 0) {
		serial++;
		serial_len--;
	}
	assert_ok(certificate_parse(der, &c, &e), e);
	assert_bytes(c.serial, (struct bytes){serial, serial_len});
	assert_int_equal(c.sig_alg, p->alg);
	assert_int_equal(c.not_before, p->not_before);
	assert_int_equal(c.not_after, p->not_after);
	assert_ok(name_to_text(c.issuer, text, sizeof text, &e), e);
	assert_string_equal(text, p->issuer);
	assert_ok(name_to_text(c.subject, text, sizeof text, &e), e);
	assert_string_equal(text, p->subject);
	assert_bytes(c.subject_key_id, BYTES(p->ski));
	assert_bytes(c.authority_key_id, BYTES(p->aki));
	assert_int_equal(c.has_key_usage, p->usage != 0);
	assert_int_equal(c.key_usage, p->usage);
	assert_true(c.has_basic_constraints && c.basic_constraints_critical);
	assert_int_equal(c.ca, p->ca);
	assert_int_equal(c.path_length, p->path_length < 0 ? -1 : p->path_length);
	if (extension_find(c.extensions, oid_subject_alt_name, &x))
		assert_ok(extension_read_subject_alt_name(x.value, names, 8, &count, &e), e);
	assert_int_equal(count, p->san_count);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(names[i].type, sans[i].type);
		assert_bytes(names[i].value, sans[i].value);
	}
	assert_false(certificate_is_self_issued(&c));
	assert_ok(spki_parse(signer_spki, &key, &e), e);
	assert_ok(certificate_verify(&c, &key, &e), e);
	free_bytes(signer_spki);
}

static void
like_openssl(void **state)
{
	static uint8_t buf[CERTIFICATE_MAX], whole_buf[CERTIFICATE_MAX];

	for (int i = 0; i < ROUNDS; i++) {
		struct bytes der, want, tbs, whole, want_tbs;
		const ASN1_BIT_STRING *sig = NULL;
		struct error e = ERROR_INIT;
		uint8_t *p = NULL;
		struct plan plan;
		X509 *x;
		int len;

		make_plan(&plan);
		x = build_openssl(&plan);
		want = TO_DER(X509, x);
		len = i2d_re_X509_tbs(x, &p);
		assert_true(len > 0);
		want_tbs = (struct bytes){p, (size_t)len};
		build_ours(&plan, buf, sizeof buf, &tbs);
		assert_bytes(tbs, want_tbs);
		X509_get0_signature(&sig, NULL, x);
		der = (struct bytes){ASN1_STRING_get0_data(sig), (size_t)ASN1_STRING_length(sig)};
		assert_ok(certificate_assemble(
			      tbs, plan.alg, der, whole_buf, sizeof whole_buf, &whole, &e),
		    e);
		assert_bytes(whole, want);
		check_parsed(&plan, whole);
		free_bytes(want);
		free_bytes(want_tbs);
		X509_free(x);
	}
}

/* ---- refusals */

static struct bytes
some_certificate(void)
{
	static uint8_t buf[CERTIFICATE_MAX];
	struct bytes der;
	struct plan p;
	X509 *x;

	make_plan(&p);
	p.signer = shared_key("p256");
	p.alg = SIG_ECDSA_SHA256;
	p.san_count = 6;
	p.policy_count = 2;
	x = build_openssl(&p);
	der = TO_DER(X509, x);
	assert_true(der.len <= sizeof buf);
	memcpy(buf, der.p, der.len);
	X509_free(x);
	free_bytes(der);
	return (struct bytes){buf, der.len};
}

static void
cut_off_and_flipped(void **state)
{
	struct bytes der = some_certificate();
	struct error e = ERROR_INIT;
	struct certificate c;
	struct bytes spki_der = TO_DER(PUBKEY, shared_key("p256"));
	struct spki key;

	assert_ok(spki_parse(spki_der, &key, &e), e);
	for (size_t i = 0; i < der.len; i++) {
		uint8_t *copy = malloc(i + 1);

		memcpy(copy, der.p, i);
		assert_false(certificate_parse((struct bytes){copy, i}, &c, &(struct error){0}));
		free(copy);
	}
	for (size_t i = 0; i < der.len; i++) {
		uint8_t *copy = malloc(der.len);

		memcpy(copy, der.p, der.len);
		copy[i] ^= (uint8_t)(1 << random_below(8));
		if (certificate_parse((struct bytes){copy, der.len}, &c, &(struct error){0}) &&
		    certificate_verify(&c, &key, &(struct error){0}))
			fail_msg("byte %zu does not matter", i);
		free(copy);
	}
	free_bytes(spki_der);
}

static void
expect_refused(X509 *x, const char *words)
{
	struct error e = ERROR_INIT;
	struct certificate c;
	struct bytes der;

	assert_true(X509_sign(x, shared_key("p256"), EVP_sha256()) > 0);
	der = TO_DER(X509, x);
	assert_false(certificate_parse(der, &c, &e));
	assert_error(e, words);
	free_bytes(der);
	X509_free(x);
}

static X509 *
plain(void)
{
	X509 *x = X509_new();
	X509_NAME *name = openssl_name("CN=x");

	X509_set_version(x, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
	X509_set_issuer_name(x, name);
	X509_set_subject_name(x, name);
	ASN1_TIME_set(X509_getm_notBefore(x), 0);
	ASN1_TIME_set(X509_getm_notAfter(x), 1000);
	X509_set_pubkey(x, shared_key("p256"));
	X509_NAME_free(name);
	return x;
}

static void
refused(void **state)
{
	uint8_t long_serial[21] = {1};
	struct error e = ERROR_INIT;
	struct certificate c;
	X509_NAME *empty;
	struct bytes der;
	BIGNUM *n;
	X509 *x;

	/* The plain one is fine, and self-issued. */
	x = plain();
	assert_true(X509_sign(x, shared_key("p256"), EVP_sha256()) > 0);
	der = TO_DER(X509, x);
	assert_ok(certificate_parse(der, &c, &e), e);
	assert_true(certificate_is_self_issued(&c));
	assert_int_equal(c.path_length, -1);
	free_bytes(der);
	X509_free(x);

	x = plain();
	X509_set_version(x, X509_VERSION_1);
	expect_refused(x, "version is not 3");
	x = plain();
	ASN1_INTEGER_set(X509_get_serialNumber(x), 0);
	expect_refused(x, "serial number");
	x = plain();
	ASN1_INTEGER_set(X509_get_serialNumber(x), -5);
	expect_refused(x, "serial number");
	x = plain();
	n = BN_bin2bn(long_serial, sizeof long_serial, NULL);
	BN_to_ASN1_INTEGER(n, X509_get_serialNumber(x));
	BN_free(n);
	expect_refused(x, "serial number");
	x = plain();
	ASN1_TIME_set(X509_getm_notAfter(x), -1000);
	expect_refused(x, "notAfter is before");
	x = plain();
	add_conf(x, NID_key_usage, "digitalSignature");
	add_conf(x, NID_key_usage, "digitalSignature");
	expect_refused(x, "2.5.29.15 stands twice");
	x = plain();
	empty = X509_NAME_new();
	X509_set_issuer_name(x, empty);
	X509_NAME_free(empty);
	expect_refused(x, "issuer is empty");

	/* An old root that signed itself with SHA-1 is read, not verified. */
	x = plain();
	assert_true(X509_sign(x, shared_key("p256"), EVP_sha1()) > 0);
	der = TO_DER(X509, x);
	assert_ok(certificate_parse(der, &c, &e), e);
	assert_int_equal(c.sig_alg, SIG_NONE);
	assert_false(certificate_verify(&c, &c.spki, &e));
	free_bytes(der);
	X509_free(x);
}

/* The two AlgorithmIdentifiers must be equal; nothing may follow. */
static void
put_together_wrongly(void **state)
{
	static uint8_t buf[CERTIFICATE_MAX];
	struct bytes der = some_certificate(), whole;
	struct error e = ERROR_INIT;
	struct certificate c, d;

	assert_ok(certificate_parse(der, &c, &e), e);
	assert_ok(
	    certificate_assemble(c.tbs, SIG_ECDSA_SHA384, c.signature, buf, sizeof buf, &whole, &e),
	    e);
	assert_false(certificate_parse(whole, &d, &e));
	assert_error(e, "algorithms differ");
	e = ERROR_INIT;
	assert_ok(tbs_certificate_parse(c.tbs, &d, &e), e);
	assert_bytes(d.serial, c.serial);
	assert_int_equal(d.signature.len, 0);
	memcpy(buf, der.p, der.len);
	buf[der.len] = 0;
	assert_false(certificate_parse((struct bytes){buf, der.len + 1}, &d, &e));
	assert_error(e, "something follows");
	e = ERROR_INIT;
	assert_false(certificate_parse((struct bytes){buf, CERTIFICATE_MAX + 1}, &d, &e));
	assert_int_equal(e.code, ERROR_LIMIT);
}

static void
builder_refuses(void **state)
{
	struct bytes spki = TO_DER(PUBKEY, shared_key("p256")), tbs;
	const struct tbs_certificate good = {
	    .serial = hex("01"),
	    .sig_alg = SIG_ECDSA_SHA256,
	    .issuer = hex("30 0c 31 0a 30 08 06 03 55 04 03 0c 01 61"),
	    .not_before = 0,
	    .not_after = 1,
	    .subject = hex("30 00"),
	    .spki = spki,
	};
	struct tbs_certificate t = good;
	struct error e = ERROR_INIT;
	uint8_t buf[1024];

	assert_ok(tbs_certificate_build(&t, buf, sizeof buf, &tbs, &e), e);
	t.serial = hex("00 00");
	assert_false(tbs_certificate_build(&t, buf, sizeof buf, &tbs, &e));
	assert_error(e, "positive");
	e = ERROR_INIT;
	t.serial = (struct bytes){0};
	assert_false(tbs_certificate_build(&t, buf, sizeof buf, &tbs, &e));
	e = ERROR_INIT;
	t.serial = hex("80 00000000000000000000000000000000000000");
	assert_false(tbs_certificate_build(&t, buf, sizeof buf, &tbs, &e));
	assert_error(e, "at most 20");
	e = ERROR_INIT;
	t = good;
	t.not_after = -1;
	assert_false(tbs_certificate_build(&t, buf, sizeof buf, &tbs, &e));
	e = ERROR_INIT;
	t = good;
	t.not_after = INT64_MAX;
	assert_false(tbs_certificate_build(&t, buf, sizeof buf, &tbs, &e));
	assert_int_equal(e.code, ERROR_LIMIT);
	e = ERROR_INIT;
	t = good;
	t.sig_alg = SIG_NONE;
	assert_false(tbs_certificate_build(&t, buf, sizeof buf, &tbs, &e));
	e = ERROR_INIT;
	t = good;
	assert_false(tbs_certificate_build(&t, buf, 100, &tbs, &e));
	assert_int_equal(e.code, ERROR_LIMIT);
	e = ERROR_INIT;
	t.extensions = hex("30 0b 06 03 551d0f 04 04 03 02 05 a0 30 0b 06 03 551d0f 04 04 03 02 05 "
			   "a0");
	assert_false(tbs_certificate_build(&t, buf, sizeof buf, &tbs, &e));
	assert_error(e, "stands twice");
	free_bytes(spki);
}

static void
extension_limits(void **state)
{
	uint8_t buf[256];
	struct extensions x;
	const char *const bad_url = "http://a b/";
	struct error e = ERROR_INIT;
	struct bytes value;
	const struct idp nothing = {0}, two = {.only_user = true, .only_ca = true},
			 unspecified = {.only_user = true, .only_reasons = 1},
			 remove = {.only_user = true, .only_reasons = 1 << 8 | 2};

	extensions_init(&x, buf, sizeof buf);
	extensions_add_basic_constraints(&x, false, 0, true);
	assert_false(extensions_ok(&x));
	extensions_init(&x, buf, sizeof buf);
	extensions_add_crl_distribution_points(
	    &x, &(struct distribution_point){.urls = &bad_url, .url_count = 1}, 1);
	assert_false(extensions_ok(&x));
	extensions_init(&x, buf, 10);
	extensions_add_key_usage(&x, KU_CRL_SIGN);
	assert_false(extensions_ok(&x));
	assert_int_equal(extensions_result(&x).len, 0);
	extensions_init(&x, buf, sizeof buf);
	extensions_add_key_usage(&x, 0);
	extensions_add_crl_distribution_points(&x, NULL, 0);
	assert_true(extensions_ok(&x));
	assert_int_equal(x.len, 0);
	extensions_add_crl_number(&x, hex("7f ff 00000000000000000000000000000000 0000"));
	assert_true(extensions_ok(&x));
	extensions_add_crl_number(&x, hex("80 ff 00000000000000000000000000000000 0000"));
	assert_false(extensions_ok(&x));
	assert_false(idp_encode(&nothing, buf, sizeof buf, &value, &e));
	assert_error(e, "5.2.5");
	e = ERROR_INIT;
	assert_false(idp_encode(&two, buf, sizeof buf, &value, &e));
	e = ERROR_INIT;
	assert_false(idp_encode(&unspecified, buf, sizeof buf, &value, &e));
	e = ERROR_INIT;
	assert_false(idp_encode(&remove, buf, sizeof buf, &value, &e));
	e = ERROR_INIT;
	assert_false(extension_url_check("ftp", &e));
	assert_error(e, "no URL");
}

struct location {
	const char *value, *words;
};

static void
locations_of(bool (*check)(struct bytes value, struct error *err), const struct location *cases,
    size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct error e = ERROR_INIT;

		if (cases[i].words == NULL)
			assert_ok(check(hex(cases[i].value), &e), e);
		else if (check(hex(cases[i].value), &e))
			fail_msg("'%s' was taken", cases[i].value);
		else
			assert_error(e, cases[i].words);
	}
}

#define URI "86 03 613a62"
static void
locations(void **state)
{
	static const struct location points[] = {
	    {"30 0b 30 09 a0 07 a0 05" URI, NULL},
	    {"30 10 30 0e a0 0c a0 0a" URI URI, NULL},
	    {"30 16 30 09 a0 07 a0 05" URI "30 09 a0 07 a0 05" URI, NULL},
	    {"30 00", "4.2.1.13"},
	    {"31 0b 30 09 a0 07 a0 05" URI, "4.2.1.13"},
	    {"30 02 30 00", "has no name"},
	    {"30 06 30 04 a0 02 a0 00", "no full name"},
	    {"30 0b 30 09 a0 07 a1 05" URI, "no full name"},
	    {"30 0b 30 09 a0 07 a0 05 82 03 613a62", "no URI"},
	    {"30 0b 30 09 a0 07 a0 05 86 03 616262", "no URI"},
	    {"30 0f 30 0d a0 07 a0 05" URI "81 02 0640", "has reasons"},
	    {"30 0f 30 0d a0 07 a0 05" URI "81 02 0780", "no ReasonFlags"},
	    {"30 0d 30 0b a0 07 a0 05" URI "a2 00", "cRLIssuer"},
	    {"30 04 30 02 a2 00", "has no name"},
	};
	static const struct location some[] = {
	    {"30 0b 30 09 a0 07 a0 05" URI, NULL},
	    {"30 1a 30 09 a0 07 a0 05" URI "30 0d a0 07 a0 05" URI "81 02 0640", NULL},
	    {"30 1b 30 0e a0 07 a0 05" URI "81 03 076080 30 09 a0 07 a0 05" URI, NULL},
	    {"30 0f 30 0d a0 07 a0 05" URI "81 02 0640", "for all reasons"},
	    {"30 1a 30 09 a0 07 a0 05" URI "30 0d a0 07 a0 05" URI "81 02 0780", "no ReasonFlags"},
	    {"30 1a 30 09 a0 07 a0 05" URI "30 0d a0 07 a0 05" URI "81 02 0540", "no ReasonFlags"},
	    {"30 1a 30 09 a0 07 a0 05" URI "30 0d a0 07 a0 05" URI "81 02 0840", "no ReasonFlags"},
	    {"30 1b 30 09 a0 07 a0 05" URI "30 0e a0 07 a0 05" URI "81 03 066040",
		"no ReasonFlags"},
	    {"30 19 30 09 a0 07 a0 05" URI "30 0c a0 07 a0 05" URI "81 01 00", "no ReasonFlags"},
	    {"30 1a 30 09 a0 07 a0 05" URI "30 0d a0 07 a0 05" URI "82 02 0640", "cRLIssuer"},
	};
	static const struct location access[] = {
	    {"30 11 30 0f 06 08 2b06010505073001 " URI, NULL},
	    {"30 11 30 0f 06 08 2b06010505073002 " URI, NULL},
	    {"30 00", "4.2.2.1"},
	    {"30 11 30 0f 06 08 2b06010505073003 " URI, "access method"},
	    {"30 11 30 0f 06 08 2b06010505073001 82 03 613a62", "no URI"},
	    {"30 13 30 11 06 08 2b06010505073001 " URI "05 00", "just a method"},
	};

	locations_of(extension_check_distribution_points, points, COUNT_OF(points));
	locations_of(extension_check_certificate_points, some, COUNT_OF(some));
	locations_of(extension_check_authority_info_access, access, COUNT_OF(access));
}

/* All sets of reasons as OpenSSL has them, and back. */
static void
sets_of_reasons(void **state)
{
	const char *const url = "a:b";
	uint8_t buf[64];

	for (unsigned set = 2; set <= REASONS_ALL; set += 2) {
		const struct idp idp = {.urls = &url, .url_count = 1, .only_reasons = set};
		struct error e = ERROR_INIT;
		const uint8_t *at;
		ISSUING_DIST_POINT *read;
		struct bytes value;
		unsigned again = 0;

		if ((set & ~REASONS_ALL) != 0)
			continue;
		assert_ok(idp_encode(&idp, buf, sizeof buf, &value, &e), e);
		at = value.p;
		read = d2i_ISSUING_DIST_POINT(NULL, &at, (long)value.len);
		assert_non_null(read);
		assert_ptr_equal(at, value.p + value.len);
		/* Behind certificateHold(6) CRLReason leaves two numbers out. */
		for (int bit = 0; bit <= 10; bit++)
			assert_int_equal(bit != 7 && bit != 8 && (set >> bit & 1) != 0,
			    bit != 7 && bit != 8 &&
				ASN1_BIT_STRING_get_bit(
				    read->onlysomereasons, bit > 8 ? bit - 2 : bit));
		assert_ok(extension_read_reasons(
			      (struct bytes){
				  value.p + value.len - (set & 0x400 ? 3 : 2), set & 0x400 ? 3 : 2},
			      &again, &e),
		    e);
		assert_int_equal(again, set);
		ISSUING_DIST_POINT_free(read);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(like_openssl),
	    cmocka_unit_test(cut_off_and_flipped),
	    cmocka_unit_test(refused),
	    cmocka_unit_test(put_together_wrongly),
	    cmocka_unit_test(sets_of_reasons),
	    cmocka_unit_test(builder_refuses),
	    cmocka_unit_test(extension_limits),
	    cmocka_unit_test(locations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
