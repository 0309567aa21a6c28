/* Templates: reading them, checking requests against them, and certificates
 * built by them as OpenSSL reads and verifies them. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include "daemon/x509/capolicy.h"
#include "daemon/x509/csr.h"
#include "daemon/x509/template.h"

/* After ours, whose names it would replace. */
#include <openssl/x509v3.h>
#undef KU_KEY_CERT_SIGN
#undef KU_CRL_SIGN

#define MANUAL "daemon/man/chancery-template.5"
#define NOW 1795348800LL /* 2026-11-22T12:00:00Z */
#define DAY 86400LL

/* What OpenSSL calls the bits of keyUsage. */
enum {
	OSSL_DIGITAL_SIGNATURE = 0x0080,
	OSSL_KEY_ENCIPHERMENT = 0x0020,
	OSSL_KEY_AGREEMENT = 0x0008,
	OSSL_KEY_CERT_SIGN = 0x0004,
	OSSL_CRL_SIGN = 0x0002,
};

static const char good[] = "name: tls-server\n"
			   "approval: manual\n"
			   "validity: 90d\n"
			   "renewal: 30d\n"
			   "exceed_issuer: cut\n"
			   "key: {types: [rsa, ec], rsa_min_bits: 3072, curves: [p256]}\n"
			   "subject: {from: request, required: [CN], allowed: [CN, O, OU, C]}\n"
			   "san: {allowed: [dns, ip], required: true, max: 3}\n"
			   "key_usage: [digitalSignature, keyEncipherment]\n"
			   "extended_key_usage: [serverAuth, 1.3.6.1.5.5.7.3.2]\n"
			   "basic_constraints: {ca: false}\n"
			   "policies: [{oid: 2.23.140.1.2.1, cps: \"http://x/cps\"}]\n";

static struct template *
must_parse(const char *text)
{
	struct error err = ERROR_INIT;
	struct template *t = NULL;

	if (!template_parse(text, strlen(text), "t.yaml", &t, &err))
		fail_msg("%s", err.text);
	return t;
}

/* The good template with one replacement. */
static bool
parse_altered(const char *from, const char *to, struct template **t, struct error *err)
{
	const char *at = strstr(good, from);
	char text[4096];
	int len;

	if (at == NULL)
		fail_msg("'%s' is not in the template", from);
	len = snprintf(
	    text, sizeof text, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
	assert_in_range(len, 1, sizeof text - 1);
	*err = ERROR_INIT;
	return template_parse(text, (size_t)len, "t.yaml", t, err);
}

static void
test_reads_everything(void **state)
{
	struct template *t = must_parse(good);

	assert_string_equal(template_name(t), "tls-server");
	assert_false(template_is_automatic(t));
	assert_false(template_makes_ca(t));
	assert_int_equal(template_validity_s(t), 90 * DAY);
	assert_int_equal(template_renewal_s(t), 30 * DAY);
	template_free(t);
	template_free(NULL);
}

static const struct {
	const char *from, *to;
	const char *error;
} refused[] = {
    {"name: tls-server", "name: TLS", "t.yaml:1:7: key 'name': 'TLS' is not allowed"},
    {"name: tls-server", "name: -a", "t.yaml:1:7: key 'name': '-a' is not allowed"},
    {"approval: manual", "approval: auto",
	"t.yaml:2:11: key 'approval': 'auto' is not allowed; allowed: manual, automatic"},
    {"validity: 90d", "validity: 90", "t.yaml:3:11: key 'validity': '90' is not allowed"},
    {"validity: 90d", "validity: 51y", "key 'validity': '51y' is not allowed"},
    {"renewal: 30d", "renewal: 90d", "t.yaml:4:10: key 'renewal': is not shorter"},
    {"exceed_issuer: cut\n", "", "key 'exceed_issuer': is missing"},
    {"[rsa, ec]", "[dsa]", "key 'key.types[0]': 'dsa' is not allowed; allowed: rsa, ec, ed25519"},
    {"[rsa, ec]", "[rsa, rsa]", "key 'key.types[1]': stands twice"},
    {"[rsa, ec]", "[]", "key 'key.types': has 0 items; allowed: 1 to 3"},
    {"[rsa, ec]", "[ec]", "key 'key.rsa_min_bits': is given, but 'types' has no rsa"},
    {"[rsa, ec]", "[rsa]", "key 'key.curves': is given, but 'types' has no ec"},
    {"rsa_min_bits: 3072", "rsa_min_bits: 1024",
	"'1024' is not allowed; allowed: a whole number "
	"from 2048 to 8192"},
    {"curves: [p256]", "curves: [p224]", "key 'key.curves[0]': 'p224' is not allowed"},
    {"from: request", "from: template", "key 'subject.from': 'template' is not allowed"},
    {"required: [CN]", "required: [DC]", "key 'subject.required[0]': 'DC' is required but not"},
    {"allowed: [CN, O", "allowed: [CN, commonName, O",
	"t.yaml:7:56: key 'subject.allowed[1]': stands twice"},
    {"allowed: [CN, O", "allowed: [CN, Organisation, O",
	"key 'subject.allowed[1]': 'Organisation' is no attribute type"},
    {"required: [CN], allowed: [CN, O, OU, C]}\nsan: {allowed: [dns, ip], required: true",
	"allowed: [CN]}\nsan: {allowed: [dns, ip]", "key 'subject': requires no attribute, so"},
    {"allowed: [dns, ip]", "allowed: [dns, dir]",
	"key 'san.allowed[1]': 'dir' is not allowed; allowed: dns, ip, email, uri, upn"},
    {"max: 3", "max: 101", "key 'san.max': '101' is not allowed; allowed: a whole number from 1"},
    {"keyEncipherment]", "keyEncypherment]", "key 'key_usage[1]': 'keyEncypherment' is no key"},
    {"keyEncipherment]", "digitalSignature]", "key 'key_usage[1]': stands twice"},
    {"keyEncipherment]", "keyCertSign]", "key 'key_usage': has keyCertSign or cRLSign"},
    {"keyEncipherment]", "encipherOnly]", "mean nothing without keyAgreement"},
    {"[digitalSignature, keyEncipherment]", "[keyEncipherment]",
	"key 'key_usage': has nothing that a key of type ec can be used for"},
    {"serverAuth", "serverauth", "key 'extended_key_usage[0]': 'serverauth' is no purpose"},
    {"serverAuth", "clientAuth", "key 'extended_key_usage[1]': stands twice"},
    {"{ca: false}", "{ca: true}", "key 'key_usage': lacks keyCertSign, which a CA needs"},
    {"{ca: false}", "{ca: false, path_length: 0}",
	"key 'basic_constraints.path_length': is given without 'ca: true'"},
    {"{ca: false}", "{}", "key 'basic_constraints.ca': is missing"},
    {"oid: 2.23.140.1.2.1", "oid: 2.x", "key 'policies[0].oid': "},
    {"http://x/cps", "x cps", "key 'policies[0].cps': "},
    {"approval: manual", "approval: manual\nzzz: 1", "t.yaml:3:1: key 'zzz': unknown key"},
};

static void
test_refusals(void **state)
{
	struct template *t = NULL;
	struct error err;

	for (size_t i = 0; i < COUNT_OF(refused); i++) {
		if (parse_altered(refused[i].from, refused[i].to, &t, &err) ||
		    strstr(err.text, refused[i].error) == NULL)
			fail_msg("'%s' -> '%s'\ngave:   %s\nwanted: %s", refused[i].from,
			    refused[i].to, err.text, refused[i].error);
		assert_null(t);
		assert_int_equal(err.code, ERROR_CONFIG);
		assert_memory_equal(err.text, "t.yaml:", 7);
	}
	err = ERROR_INIT;
	assert_false(template_parse(good, TEMPLATE_TEXT_MAX + 1, "t.yaml", &t, &err));
	assert_int_equal(err.code, ERROR_LIMIT);
}

static void
test_every_prefix(void **state)
{
	for (size_t i = 0; i < strlen(good); i++) {
		struct template *t = NULL;
		struct error err = ERROR_INIT;

		if (!template_parse(good, i, "t.yaml", &t, &err))
			assert_true(error_is_set(&err));
		template_free(t);
	}
}

/* ---- requests and CAs made on the spot */

static EVP_PKEY *keys[6];
enum {
	RSA2048,
	RSA3072,
	P256,
	P384,
	ED25519,
	CA_KEY,
};

static int
make_keys(void **state)
{
	keys[RSA2048] = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	keys[RSA3072] = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)3072);
	keys[P256] = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	keys[P384] = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-384");
	keys[ED25519] = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	keys[CA_KEY] = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	for (size_t i = 0; i < COUNT_OF(keys); i++)
		if (keys[i] == NULL)
			return -1;
	return 0;
}

static int
free_keys(void **state)
{
	for (size_t i = 0; i < COUNT_OF(keys); i++)
		EVP_PKEY_free(keys[i]);
	return 0;
}

struct request {
	uint8_t *der;
	struct csr csr;
};

/* subject: "CN=a/O=b"; extensions: "subjectAltName=DNS:a;keyUsage=..." as in
 * OpenSSL's configuration, '|' for a ';' in a value. Both may be empty. */
static struct request
request_new(int key, const char *subject, const char *extensions)
{
	X509_REQ *req = X509_REQ_new();
	STACK_OF(X509_EXTENSION) *list = sk_X509_EXTENSION_new_null();
	char copy[512], *save, *save2;
	struct request r = {0};
	struct error err = ERROR_INIT;
	int len;

	(void)snprintf(copy, sizeof copy, "%s", subject);
	for (char *rdn = strtok_r(copy, "/", &save); rdn != NULL;
	     rdn = strtok_r(NULL, "/", &save)) {
		char *type = strtok_r(rdn, "=", &save2), *value = strtok_r(NULL, "", &save2);

		assert_int_equal(X509_NAME_add_entry_by_txt(X509_REQ_get_subject_name(req), type,
				     MBSTRING_UTF8, (unsigned char *)value, -1, -1, 0),
		    1);
	}
	(void)snprintf(copy, sizeof copy, "%s", extensions);
	for (char *e = strtok_r(copy, ";", &save); e != NULL; e = strtok_r(NULL, ";", &save)) {
		char *name = strtok_r(e, "=", &save2), *value = strtok_r(NULL, "", &save2);
		X509_EXTENSION *x;

		for (char *c = value; *c != '\0'; c++)
			if (*c == '|')
				*c = ';';
		x = X509V3_EXT_nconf(NULL, NULL, name, value);
		assert_non_null(x);
		sk_X509_EXTENSION_push(list, x);
	}
	if (sk_X509_EXTENSION_num(list) > 0)
		assert_int_equal(X509_REQ_add_extensions(req, list), 1);
	sk_X509_EXTENSION_pop_free(list, X509_EXTENSION_free);
	assert_int_equal(X509_REQ_set_pubkey(req, keys[key]), 1);
	assert_true(X509_REQ_sign(req, keys[key], key == ED25519 ? NULL : EVP_sha256()) > 0);
	len = i2d_X509_REQ(req, &r.der);
	assert_true(len > 0);
	X509_REQ_free(req);
	if (!csr_parse((struct bytes){r.der, (size_t)len}, &r.csr, &err))
		fail_msg("%s", err.text);
	return r;
}

static void
request_free(struct request *r)
{
	OPENSSL_free(r->der);
}

struct ca {
	uint8_t der[4096];
	struct bytes certificate;
	struct capolicy policy;
	struct ca_context *context;
	X509 *x;
};

static struct bytes
sign(int key, struct bytes tbs, uint8_t sig[SIG_MAX])
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	size_t len = SIG_MAX;

	assert_int_equal(
	    EVP_DigestSignInit_ex(ctx, NULL, "SHA256", NULL, NULL, keys[key], NULL), 1);
	assert_int_equal(EVP_DigestSign(ctx, sig, &len, tbs.p, tbs.len), 1);
	EVP_MD_CTX_free(ctx);
	return (struct bytes){sig, len};
}

static X509 *
assemble(int key, enum sig_alg alg, struct bytes tbs, uint8_t *out, size_t size, struct bytes *der)
{
	uint8_t sig[SIG_MAX];
	struct error err = ERROR_INIT;
	const uint8_t *at;
	X509 *x;

	if (!certificate_assemble(tbs, alg, sign(key, tbs, sig), out, size, der, &err))
		fail_msg("%s", err.text);
	at = der->p;
	x = d2i_X509(NULL, &at, (long)der->len);
	assert_non_null(x);
	assert_ptr_equal(at, der->p + der->len);
	assert_int_equal(X509_verify(x, keys[key]), 1);
	return x;
}

/* A self-signed CA; more: further keys of its policy. */
static struct ca *
ca_new(const char *validity, const char *more)
{
	static const uint8_t serial[20] = {0x11, 2, 3};
	struct ca *ca = calloc(1, sizeof *ca);
	uint8_t buf[4096];
	struct error err = ERROR_INIT;
	struct location_names names;
	struct bytes tbs, spki = {0};
	char text[1024];
	uint8_t *der = NULL;

	assert_non_null(ca);
	(void)snprintf(text, sizeof text,
	    "subject: \"CN=CA,O=Example,C=DE\"\nkind: root\ntoken: t\nkey: p256\nvalidity: %s\n"
	    "crl: {period: 7d, overlap: 1d, delta_period: 1d, delta_overlap: 1h}\n%s",
	    validity, more);
	if (!capolicy_parse(text, strlen(text), "p", &ca->policy, &err))
		fail_msg("%s", err.text);
	spki.len = (size_t)i2d_PUBKEY(keys[CA_KEY], &der);
	spki.p = der;
	if (!capolicy_build_root(&ca->policy, spki, (struct bytes){serial, 20}, NOW - 10 * DAY,
		INT64_MAX, buf, sizeof buf, &tbs, NULL, &err))
		fail_msg("%s", err.text);
	ca->x = assemble(
	    CA_KEY, ca->policy.sig_alg, tbs, ca->der, sizeof ca->der, &ca->certificate);
	capolicy_names(&ca->policy, "ca", &names);
	if (!capolicy_context(&ca->policy, &names, NULL, ca->certificate, &ca->context, &err))
		fail_msg("%s", err.text);
	OPENSSL_free(der);
	return ca;
}

static void
ca_free(struct ca *ca)
{
	X509_free(ca->x);
	ca_context_free(ca->context);
	capolicy_free(&ca->policy);
	free(ca);
}

/* ---- checking requests */

static const struct {
	int key;
	const char *subject, *extensions;
	const char *error; /* NULL: fits */
} requests[] = {
    {RSA3072, "CN=a.example", "subjectAltName=DNS:a.example", NULL},
    {P256, "C=DE/O=Example/OU=a/OU=b/CN=a.example", "subjectAltName=DNS:a.example,IP:192.0.2.1",
	NULL},
    {P256, "CN=a", "subjectAltName=DNS:a;basicConstraints=CA:FALSE;keyUsage=nonRepudiation", NULL},
    {P256, "CN=a", "subjectAltName=DNS:a;extendedKeyUsage=clientAuth,serverAuth", NULL},
    {RSA2048, "CN=a", "subjectAltName=DNS:a",
	"template 'tls-server', key.rsa_min_bits: the "
	"request's RSA key has 2048 bits; allowed: at least 3072"},
    {P384, "CN=a", "subjectAltName=DNS:a",
	"template 'tls-server', key.curves: the request's key is on p384; allowed: p256"},
    {ED25519, "CN=a", "subjectAltName=DNS:a",
	"template 'tls-server', key.types: the request's key is of type ed25519; allowed: rsa, ec"},
    {P256, "O=a", "subjectAltName=DNS:a",
	"template 'tls-server', subject.required: the request's subject lacks the attribute CN"},
    {P256, "", "subjectAltName=DNS:a", "subject.required: the request's subject lacks"},
    {P256, "CN=a/L=Bonn", "subjectAltName=DNS:a",
	"subject.allowed: the request's subject has the attribute L; allowed: CN, O, OU, C"},
    {P256, "CN=a/CN=b", "subjectAltName=DNS:a",
	"subject.allowed: the request's subject has the attribute CN more than once"},
    {P256, "CN=a", "",
	"san.required: the request has no subject alternative name; ask for at "
	"least one of: dns, ip"},
    {P256, "CN=a", "subjectAltName=DNS:a,email:x@example.com",
	"san.allowed: the request asks for the name email:x@example.com; allowed: dns, ip"},
    {P256, "CN=a", "subjectAltName=DNS:a,DNS:b,DNS:c,DNS:d",
	"san.max: the request asks for 4 subject alternative names; allowed: at most 3"},
    {P256, "CN=a", "subjectAltName=DNS:a;basicConstraints=critical,CA:TRUE",
	"basic_constraints.ca: the request asks for a certificate of a CA; this template makes "
	"none "
	"of a CA"},
    {P256, "CN=a", "subjectAltName=DNS:a;keyUsage=keyCertSign",
	"key_usage: the request asks for keyCertSign or cRLSign"},
    {P256, "CN=a", "subjectAltName=DNS:a;extendedKeyUsage=codeSigning",
	"extended_key_usage: the request asks for codeSigning; allowed: serverAuth, "
	"1.3.6.1.5.5.7.3.2"},
};

/* What the signer would refuse. */
static void
test_weak_exponent(void **state)
{
	struct request r = request_new(RSA3072, "CN=a", "subjectAltName=DNS:a");
	static const uint8_t three[] = {3};
	struct template *t = must_parse(good);
	struct error err = ERROR_INIT;

	r.csr.spki.exponent = (struct bytes){three, sizeof three};
	assert_false(template_check_csr(t, &r.csr, &err));
	assert_non_null(strstr(err.text, "public exponent of less than 65537"));
	request_free(&r);
	template_free(t);
}

static void
test_check_requests(void **state)
{
	struct template *t = must_parse(good);

	for (size_t i = 0; i < COUNT_OF(requests); i++) {
		struct request r = request_new(
		    requests[i].key, requests[i].subject, requests[i].extensions);
		struct error err = ERROR_INIT;
		bool fits = template_check_csr(t, &r.csr, &err);

		if (fits != (requests[i].error == NULL) ||
		    (!fits && strstr(err.text, requests[i].error) == NULL))
			fail_msg("%s %s\ngave:   %s\nwanted: %s", requests[i].subject,
			    requests[i].extensions, err.text, requests[i].error);
		assert_int_equal(err.code, fits ? ERROR_NONE : ERROR_INPUT);
		request_free(&r);
	}
	template_free(t);
}

static const char user[] = "name: user\napproval: automatic\nvalidity: 1y\nexceed_issuer: refuse\n"
			   "key: {types: [rsa, ec, ed25519]}\n"
			   "subject: {from: request, allowed: [CN]}\n"
			   "san: {allowed: [upn, email], required: true}\n"
			   "key_usage: [digitalSignature, keyEncipherment, keyAgreement]\n";

static void
test_user_principal_name(void **state)
{
	static const struct {
		const char *san;
		bool fits;
	} cases[] = {
	    {"subjectAltName=otherName:1.3.6.1.4.1.311.20.2.3|UTF8:jo@example.com", true},
	    {"subjectAltName=otherName:1.3.6.1.4.1.311.20.2.3|UTF8:jo", false},
	    {"subjectAltName=otherName:1.3.6.1.4.1.311.20.2.3|UTF8:j o@example.com", false},
	    {"subjectAltName=otherName:1.3.6.1.4.1.311.20.2.3|IA5:jo@example.com", false},
	    {"subjectAltName=otherName:1.3.6.1.4.1.311.20.2.4|UTF8:jo@example.com", false},
	};
	struct template *t = must_parse(user);

	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct request r = request_new(P256, "", cases[i].san);
		struct error err = ERROR_INIT;

		assert_int_equal(template_check_csr(t, &r.csr, &err), cases[i].fits);
		assert_true(cases[i].fits || strstr(err.text, "san.allowed: ") != NULL);
		request_free(&r);
	}
	template_free(t);
}

/* ---- certificates */

static const uint8_t serial[20] = {0x7f, 0, 1, 9, 9, 9};

/* Builds, signs and gives OpenSSL's view, or NULL with err. */
static X509 *
issue(const struct template *t, const struct request *r, const struct ca *ca, struct error *err)
{
	static uint8_t buf[CERTIFICATE_MAX], out[CERTIFICATE_MAX];
	struct template_order order = {
	    .t = t,
	    .csr = &r->csr,
	    .ca = ca->context,
	    .serial = {serial, sizeof serial},
	    .now = NOW,
	};
	struct template_built built;
	struct bytes der;
	X509 *x;

	*err = ERROR_INIT;
	if (!template_build(&order, buf, sizeof buf, &built, err))
		return NULL;
	x = assemble(CA_KEY, ca->context->sig_alg, built.tbs, out, sizeof out, &der);
	assert_int_equal(X509_check_issued(ca->x, x), X509_V_OK);
	assert_int_equal(X509_cmp_time(X509_get0_notBefore(x), &(time_t){NOW + 1}), -1);
	assert_int_equal(built.not_before, NOW);
	return x;
}

static void
verify_chain(X509 *leaf, X509 *root, int purpose)
{
	X509_STORE *store = X509_STORE_new();
	X509_STORE_CTX *ctx = X509_STORE_CTX_new();

	X509_STORE_add_cert(store, root);
	assert_int_equal(X509_STORE_CTX_init(ctx, store, leaf, NULL), 1);
	X509_STORE_CTX_set_time(ctx, 0, NOW + 60);
	X509_STORE_CTX_set_purpose(ctx, purpose);
	X509_STORE_CTX_set_flags(ctx, X509_V_FLAG_X509_STRICT | X509_V_FLAG_CHECK_SS_SIGNATURE);
	if (X509_verify_cert(ctx) != 1)
		fail_msg("%s", X509_verify_cert_error_string(X509_STORE_CTX_get_error(ctx)));
	X509_STORE_CTX_free(ctx);
	X509_STORE_free(store);
}

static bool
has_critical(X509 *x, int nid, bool *critical)
{
	int at = X509_get_ext_by_NID(x, nid, -1);

	if (at < 0)
		return false;
	*critical = X509_EXTENSION_get_critical(X509_get_ext(x, at));
	/* Nothing stands twice. */
	assert_int_equal(X509_get_ext_by_NID(x, nid, at), -1);
	return true;
}

static const char locations[] =
    "locations: {cdp: [{url: \"http://x/a.crl\", flags: [in_certificates]}, "
    "{url: \"http://x/d.crl\", flags: [in_freshest, in_certificate_freshest]}], "
    "aia: [{url: \"http://x/a.cer\", flags: [in_certificates]}, "
    "{url: \"http://x/ocsp\", flags: [as_ocsp]}]}\n";

static void
test_server_certificate(void **state)
{
	struct ca *ca = ca_new("10y", locations);
	struct template *t = must_parse(good);
	struct request r = request_new(P256, "C=DE/CN=a.example",
	    "subjectAltName=DNS:a.example,IP:192.0.2.1;keyUsage=keyAgreement");
	struct error err;
	X509 *x = issue(t, &r, ca, &err);
	bool critical = true;

	if (x == NULL)
		fail_msg("%s", err.text);
	verify_chain(x, ca->x, X509_PURPOSE_SSL_SERVER);
	assert_int_equal(X509_check_host(x, "a.example", 0, 0, NULL), 1);
	assert_int_equal(X509_check_ip_asc(x, "192.0.2.1", 0), 1);
	/* EC enciphers nothing, whatever the template lists. */
	assert_int_equal(X509_get_key_usage(x), OSSL_DIGITAL_SIGNATURE);
	assert_int_equal(X509_get_extended_key_usage(x), XKU_SSL_SERVER | XKU_SSL_CLIENT);
	assert_int_equal(X509_check_ca(x), 0);
	assert_true(has_critical(x, NID_subject_alt_name, &critical));
	assert_false(critical);
	assert_true(has_critical(x, NID_basic_constraints, &critical));
	assert_true(critical);
	assert_true(has_critical(x, NID_key_usage, &critical));
	assert_true(critical);
	assert_true(has_critical(x, NID_subject_key_identifier, &critical));
	assert_false(critical);
	assert_true(has_critical(x, NID_authority_key_identifier, &critical));
	assert_true(has_critical(x, NID_crl_distribution_points, &critical));
	assert_true(has_critical(x, NID_freshest_crl, &critical));
	assert_true(has_critical(x, NID_info_access, &critical));
	assert_true(has_critical(x, NID_certificate_policies, &critical));
	assert_int_equal(X509_get_ext_count(x), 10);
	assert_int_equal(X509_cmp_time(X509_get0_notAfter(x), &(time_t){NOW + 90 * DAY - 1}), -1);
	assert_int_equal(X509_cmp_time(X509_get0_notAfter(x), &(time_t){NOW + 90 * DAY - 2}), 1);
	X509_free(x);
	request_free(&r);
	template_free(t);
	ca_free(ca);
}

static void
test_usage_fits_the_key(void **state)
{
	static const struct {
		int key;
		unsigned usage;
	} cases[] = {
	    {RSA2048, OSSL_DIGITAL_SIGNATURE | OSSL_KEY_ENCIPHERMENT},
	    {P384, OSSL_DIGITAL_SIGNATURE | OSSL_KEY_AGREEMENT},
	    {ED25519, OSSL_DIGITAL_SIGNATURE},
	};
	struct ca *ca = ca_new("10y", "");
	struct template *t = must_parse(user);

	assert_true(template_is_automatic(t));
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct request r = request_new(
		    cases[i].key, "", "subjectAltName=email:jo@example.com");
		struct error err;
		X509 *x = issue(t, &r, ca, &err);
		bool critical = false;

		if (x == NULL)
			fail_msg("%s", err.text);
		assert_int_equal(X509_get_key_usage(x), cases[i].usage);
		/* Without a subject the names are critical. */
		assert_true(has_critical(x, NID_subject_alt_name, &critical));
		assert_true(critical);
		assert_int_equal(X509_get_ext_by_NID(x, NID_basic_constraints, -1), -1);
		assert_int_equal(X509_get_ext_by_NID(x, NID_crl_distribution_points, -1), -1);
		X509_free(x);
		request_free(&r);
	}
	template_free(t);
	ca_free(ca);
}

static void
test_never_beyond_the_ca(void **state)
{
	struct ca *ca = ca_new("40d", "");
	struct template *cut = must_parse(good), *refuse = must_parse(user);
	struct request r = request_new(P256, "CN=a", "subjectAltName=DNS:a");
	struct error err = ERROR_INIT;
	int64_t from = 0, to = 0;
	X509 *x = issue(cut, &r, ca, &err);

	assert_non_null(x);
	assert_int_equal(ASN1_TIME_compare(X509_get0_notAfter(x), X509_get0_notAfter(ca->x)), 0);
	X509_free(x);

	assert_false(template_validity(refuse, ca->context, NOW, &from, &to, &err));
	assert_int_equal(err.code, ERROR_CONFLICT);
	assert_non_null(
	    strstr(err.text, "template 'user', exceed_issuer: the certificate would outlive"));
	err = ERROR_INIT;
	assert_true(template_validity(
	    cut, ca->context, ca->context->not_after, &from, &to, &err)); /* its last second */
	assert_int_equal(from, to);
	assert_false(
	    template_validity(cut, ca->context, ca->context->not_after + 1, &from, &to, &err));
	assert_non_null(strstr(err.text, "the CA's own certificate has expired"));
	err = ERROR_INIT;
	assert_false(
	    template_validity(cut, ca->context, ca->context->not_before - 1, &from, &to, &err));
	assert_non_null(strstr(err.text, "is not valid yet"));
	request_free(&r);
	template_free(cut);
	template_free(refuse);
	ca_free(ca);
}

static void
test_impostors(void **state)
{
	struct ca *ca = ca_new("10y", "");
	struct template *t = must_parse(good);
	struct request r = request_new(
	    P256, "C=DE/O=Example/CN=CA", "subjectAltName=DNS:a.example");
	struct error err;

	assert_null(issue(t, &r, ca, &err));
	assert_string_equal(err.text, "the request's subject is the name of the issuing CA itself");
	request_free(&r);
	r = request_new(CA_KEY, "CN=a", "subjectAltName=DNS:a.example");
	assert_null(issue(t, &r, ca, &err));
	assert_string_equal(err.text, "the request's key is the key of the issuing CA itself");
	request_free(&r);
	template_free(t);
	ca_free(ca);
}

/* ---- the templates that come with us */

static char *
slurp(const char *path)
{
	char *text = calloc(1, 64 * 1024);
	FILE *f = fopen(path, "r");

	if (f == NULL)
		fail_msg("%s: run the test from the top of the source tree", path);
	assert_non_null(text);
	assert_true(fread(text, 1, 64 * 1024 - 1, f) > 0);
	(void)fclose(f);
	return text;
}

static struct template *
built_in(const char *name)
{
	struct error err = ERROR_INIT;
	struct template *t = NULL;
	char path[128], *text;

	(void)snprintf(path, sizeof path, "daemon/templates/%s.yaml", name);
	text = slurp(path);
	if (!template_parse(text, strlen(text), path, &t, &err))
		fail_msg("%s", err.text);
	free(text);
	assert_string_equal(template_name(t), name);
	return t;
}

static void
test_built_in_templates(void **state)
{
	static const struct {
		const char *name, *subject, *extensions;
		int purpose;
	} cases[] = {
	    {"tls-server", "CN=a.example", "subjectAltName=DNS:a.example", X509_PURPOSE_SSL_SERVER},
	    {"tls-client", "CN=robot", "", X509_PURPOSE_SSL_CLIENT},
	    {"user", "CN=Jo/GN=J/SN=O/emailAddress=jo@example.com",
		"subjectAltName=email:jo@example.com", X509_PURPOSE_SMIME_SIGN},
	    {"device", "CN=printer/serialNumber=12", "subjectAltName=URI:urn:dev:12",
		X509_PURPOSE_SSL_CLIENT},
	};
	struct ca *ca = ca_new("10y", locations);

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		for (int key = RSA2048; key <= P384; key++) {
			struct template *t = built_in(cases[i].name);
			struct request r = request_new(key, cases[i].subject, cases[i].extensions);
			struct error err;
			X509 *x = issue(t, &r, ca, &err);

			if (x == NULL)
				fail_msg("%s", err.text);
			verify_chain(x, ca->x, cases[i].purpose);
			X509_free(x);
			request_free(&r);
			template_free(t);
		}
	ca_free(ca);
}

static void
test_subordinate_ca(void **state)
{
	struct template *t = built_in("sub-ca");
	struct ca *free_ca = ca_new("20y", ""), *one = ca_new("20y", "path_length: 1\n"),
		  *last = ca_new("20y", "path_length: 0\n");
	struct request r = request_new(P384, "O=Example/CN=Sub",
	    "basicConstraints=critical,CA:TRUE,pathlen:0;keyUsage=critical,keyCertSign,cRLSign");
	struct request deep = request_new(
	    P384, "O=Example/CN=Sub", "basicConstraints=critical,CA:TRUE,pathlen:3");
	struct request leaf = request_new(P384, "CN=Sub", "basicConstraints=CA:FALSE");
	struct error err;
	X509 *x;

	assert_true(template_makes_ca(t));
	x = issue(t, &r, free_ca, &err);
	assert_non_null(x);
	verify_chain(x, free_ca->x, X509_PURPOSE_ANY);
	assert_int_equal(X509_check_ca(x), 1);
	assert_int_equal(X509_get_pathlen(x), 0);
	assert_int_equal(X509_get_key_usage(x), OSSL_KEY_CERT_SIGN | OSSL_CRL_SIGN);
	X509_free(x);
	x = issue(t, &r, one, &err);
	assert_non_null(x);
	verify_chain(x, one->x, X509_PURPOSE_ANY);
	X509_free(x);
	assert_null(issue(t, &r, last, &err));
	assert_non_null(strstr(err.text, "the CA's own certificate has path length 0"));
	assert_null(issue(t, &deep, free_ca, &err));
	assert_non_null(strstr(err.text, "asks for a path length of 3; allowed: at most 0"));
	assert_null(issue(t, &leaf, free_ca, &err));
	assert_non_null(strstr(err.text, "that is none of a CA; this template makes CA"));
	request_free(&r);
	request_free(&deep);
	request_free(&leaf);
	ca_free(free_ca);
	ca_free(one);
	ca_free(last);
	template_free(t);
}

/* ---- the manual */

static const struct {
	const char *from, *to, *prefix;
} mappings[] = {
    {"approval: manual", "approval: manual\nzzz: 1", ""},
    {"key: {", "key: {zzz: 1, ", "key."},
    {"subject: {", "subject: {zzz: 1, ", "subject."},
    {"san: {", "san: {zzz: 1, ", "san."},
    {"basic_constraints: {", "basic_constraints: {zzz: 1, ", "basic_constraints."},
    {"policies: [{", "policies: [{zzz: 1, ", "policies[]."},
};

static void
test_every_key_is_in_the_manual(void **state)
{
	char *manual = slurp(MANUAL), *list, *save, entry[128];
	size_t known = 0, items = 0;
	struct template *t = NULL;
	struct error err;

	for (size_t i = 0; i < COUNT_OF(mappings); i++) {
		assert_false(parse_altered(mappings[i].from, mappings[i].to, &t, &err));
		list = strstr(err.text, "unknown key; allowed: ");
		if (list == NULL)
			fail_msg("%s", err.text);
		list += strlen("unknown key; allowed: ");
		for (char *k = strtok_r(list, ", ", &save); k != NULL;
		     k = strtok_r(NULL, ", ", &save)) {
			(void)snprintf(
			    entry, sizeof entry, "\n.It Ic %s%s\n", mappings[i].prefix, k);
			if (strstr(manual, entry) == NULL)
				fail_msg("%s lacks key %s%s", MANUAL, mappings[i].prefix, k);
			known++;
		}
	}
	for (const char *m = manual; (m = strstr(m, "\n.It Ic ")) != NULL; m++)
		items++;
	/* And the manual has no key that does not exist. */
	assert_int_equal(items, known);
	free(manual);
}

static void
test_example_of_the_manual(void **state)
{
	char *manual = slurp(MANUAL), *text = strstr(manual, ".Bd -literal"), *end;

	assert_non_null(text);
	text = strchr(text, '\n') + 1;
	end = strstr(text, ".Ed");
	assert_non_null(end);
	*end = '\0';
	template_free(must_parse(text));
	free(manual);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_reads_everything),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_every_prefix),
	    cmocka_unit_test(test_check_requests),
	    cmocka_unit_test(test_weak_exponent),
	    cmocka_unit_test(test_user_principal_name),
	    cmocka_unit_test(test_server_certificate),
	    cmocka_unit_test(test_usage_fits_the_key),
	    cmocka_unit_test(test_never_beyond_the_ca),
	    cmocka_unit_test(test_impostors),
	    cmocka_unit_test(test_built_in_templates),
	    cmocka_unit_test(test_subordinate_ca),
	    cmocka_unit_test(test_every_key_is_in_the_manual),
	    cmocka_unit_test(test_example_of_the_manual),
	};
	return cmocka_run_group_tests(tests, make_keys, free_keys);
}
