#ifndef CHANCERY_TESTS_UNIT_X509_UTIL_H
#define CHANCERY_TESTS_UNIT_X509_UTIL_H

/*
 * What the tests of daemon/x509 share: OpenSSL as the other party, hexadecimal,
 * and random numbers that are the same in each run.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "daemon/core/error.h"
#include "daemon/x509/der.h"

#define BYTES(array) ((struct bytes){array, sizeof(array)})

/* An error must be there, with these words in it. */
#define assert_error(e, words)                                            \
	do {                                                              \
		if (strstr((e).text, words) == NULL)                      \
			fail_msg("'%s' is not in '%s'", words, (e).text); \
	} while (0)

/* Fails with the error's text. */
#define assert_ok(call, e)                                   \
	do {                                                 \
		if (!(call))                                 \
			fail_msg("%s: %s", #call, (e).text); \
	} while (0)

UNUSED static uint64_t random_state = 0x9e3779b97f4a7c15;

UNUSED static uint64_t
random_u64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

UNUSED static unsigned
random_below(unsigned n)
{
	return (unsigned)(random_u64() >> 33) % n;
}

UNUSED static void
random_octets(uint8_t *out, size_t len)
{
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(random_u64() >> 24);
}

UNUSED static struct bytes
text_bytes(const char *s)
{
	return (struct bytes){(const uint8_t *)s, strlen(s)};
}

/* Hexadecimal (spaces allowed) to octets in a static buffer, one of a few in
 * turn. */
UNUSED static struct bytes
hex(const char *text)
{
	static uint8_t buffers[8][1024];
	static unsigned turn;
	uint8_t *out = buffers[turn++ % 8];
	size_t len = 0;
	unsigned octet;

	while (*text != '\0') {
		if (*text == ' ') {
			text++;
			continue;
		}
		assert_int_equal(sscanf(text, "%2x", &octet), 1);
		assert_true(len < 1024);
		out[len++] = (uint8_t)octet;
		text += 2;
	}
	return (struct bytes){out, len};
}

UNUSED static void
assert_bytes(struct bytes have, struct bytes want)
{
	if (!bytes_equal(have, want)) {
		for (size_t i = 0; i < have.len; i++)
			fprintf(stderr, "%02x", have.p[i]);
		fprintf(stderr, " (have)\n");
		for (size_t i = 0; i < want.len; i++)
			fprintf(stderr, "%02x", want.p[i]);
		fprintf(stderr, " (want)\n");
	}
	assert_int_equal(have.len, want.len);
	if (have.len > 0)
		assert_memory_equal(have.p, want.p, have.len);
}

/* "rsa2048", "p256", "ed25519" ... */
UNUSED static EVP_PKEY *
make_key(const char *kind)
{
	EVP_PKEY *key = NULL;

	if (strncmp(kind, "rsa", 3) == 0)
		key = EVP_RSA_gen((unsigned)atoi(kind + 3));
	else if (strncmp(kind, "p256", 4) == 0) /* also "p256-bob": another one */
		key = EVP_EC_gen("P-256");
	else if (strcmp(kind, "p384") == 0)
		key = EVP_EC_gen("P-384");
	else if (strcmp(kind, "p521") == 0)
		key = EVP_EC_gen("P-521");
	else if (kind[0] == 'e')
		key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	else
		key = EVP_EC_gen(kind);
	assert_non_null(key);
	return key;
}

/* The same key for the same kind through the whole run. */
UNUSED static EVP_PKEY *
shared_key(const char *kind)
{
	static struct {
		char kind[16];
		EVP_PKEY *key;
	} keys[8];
	size_t i = 0;

	while (i < 8 && keys[i].key != NULL && strcmp(keys[i].kind, kind) != 0)
		i++;
	assert_true(i < 8);
	if (keys[i].key == NULL) {
		(void)snprintf(keys[i].kind, sizeof keys[i].kind, "%s", kind);
		keys[i].key = make_key(kind);
	}
	return keys[i].key;
}

/* i2d of anything into memory that the caller frees. */
#define TO_DER(type, object)                                      \
	__extension__({                                           \
		uint8_t *to_der_p = NULL;                         \
		int to_der_len = i2d_##type((object), &to_der_p); \
		assert_true(to_der_len > 0);                      \
		(struct bytes){to_der_p, (size_t)to_der_len};     \
	})

UNUSED static void
free_bytes(struct bytes b)
{
	OPENSSL_free((void *)(uintptr_t)b.p);
}

UNUSED static void
add_conf_extension(STACK_OF(X509_EXTENSION) * list, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *x;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, NULL, NULL, NULL, NULL, 0);
	x = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	assert_non_null(x);
	assert_true(sk_X509_EXTENSION_push(list, x) > 0);
}

/* A request by OpenSSL: subject "/C=DE/CN=a", extensions may be NULL. */
UNUSED static struct bytes
make_csr(EVP_PKEY *key, const char *digest, const char *common_name,
    STACK_OF(X509_EXTENSION) * extensions, const char *password)
{
	const EVP_MD *md = digest != NULL ? EVP_get_digestbyname(digest) : NULL;
	X509_REQ *req = X509_REQ_new();
	X509_NAME *name = X509_REQ_get_subject_name(req);
	struct bytes der;

	assert_true(X509_REQ_set_version(req, 0));
	assert_true(X509_NAME_add_entry_by_txt(
	    name, "C", MBSTRING_UTF8, (const unsigned char *)"DE", -1, -1, 0));
	assert_true(X509_NAME_add_entry_by_txt(
	    name, "CN", MBSTRING_UTF8, (const unsigned char *)common_name, -1, -1, 0));
	assert_true(X509_REQ_set_pubkey(req, key));
	if (extensions != NULL)
		assert_true(X509_REQ_add_extensions(req, extensions));
	if (password != NULL)
		assert_true(X509_REQ_add1_attr_by_NID(req, NID_pkcs9_challengePassword,
		    MBSTRING_ASC, (const unsigned char *)password, -1));
	assert_true(X509_REQ_sign(req, key, md) > 0);
	der = TO_DER(X509_REQ, req);
	X509_REQ_free(req);
	return der;
}

#endif
