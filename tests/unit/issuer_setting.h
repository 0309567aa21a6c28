#ifndef CHANCERY_TESTS_ISSUER_SETTING_H
#define CHANCERY_TESTS_ISSUER_SETTING_H

/*
 * For cmocka tests of the issuer, which include that first: a root CA as the issuer's cache
 * makes it, with OpenSSL in the signer's place.
 */

#include "tests/unit/x509_util.h"

#include "daemon/issuer/ca_cache.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/serial.h"

#define DAY 86400LL
#define CA_KEY "prime256v1" /* not the key that shared_key calls p256 */

/* len: the room in out, and then what was used of it. */
static void
sign_tbs(const char *key, struct bytes tbs, uint8_t *out, size_t *len)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();

	assert_true(EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, shared_key(key)) == 1);
	assert_true(EVP_DigestSign(ctx, out, len, tbs.p, tbs.len) == 1);
	EVP_MD_CTX_free(ctx);
}

static struct bytes
bytes_copy(struct bytes from)
{
	uint8_t *p = malloc(from.len);

	assert_non_null(p);
	memcpy(p, from.p, from.len);
	return (struct bytes){p, from.len};
}

/* By this policy, a day old, with CA_KEY; for ca_release. */
static struct issuing_ca *
issuing_ca_make(const char *policy, const char *name, int64_t now)
{
	static const uint8_t serial[SERIAL_LEN] = {1, 2, 3};
	uint8_t buf[CERTIFICATE_MAX], whole[CERTIFICATE_MAX], signature[128];
	struct issuing_ca *ca = calloc(1, sizeof *ca);
	struct bytes spki = TO_DER(PUBKEY, shared_key(CA_KEY)), tbs, der;
	size_t signature_len = sizeof signature;
	struct location_names names;
	struct error e = ERROR_INIT;

	assert_non_null(ca);
	assert_ok(capolicy_parse(policy, strlen(policy), "test", &ca->policy, &e), e);
	assert_ok(capolicy_build_root(&ca->policy, spki, BYTES(serial), now - DAY, INT64_MAX, buf,
		      sizeof buf, &tbs, NULL, &e),
	    e);
	sign_tbs(CA_KEY, tbs, signature, &signature_len);
	assert_ok(certificate_assemble(tbs, ca->policy.sig_alg,
		      (struct bytes){signature, signature_len}, whole, sizeof whole, &der, &e),
	    e);
	capolicy_names(&ca->policy, name, &names);
	assert_ok(capolicy_context(&ca->policy, &names, NULL, der, &ca->context, &e), e);
	ca->row = (struct ca_row){.ca_id = 1,
	    .issuer_name_id = 2,
	    .generation_id = 3,
	    .scope_id = 4,
	    .root = true,
	    .active = true,
	    .token = "main"};
	(void)snprintf(ca->row.name, sizeof ca->row.name, "%s", name);
	ca->row.policy = strdup(policy);
	ca->row.subject = bytes_copy(ca->policy.subject);
	ca->row.certificate = bytes_copy(der);
	ca->references = 1;
	free_bytes(spki);
	return ca;
}

#endif
