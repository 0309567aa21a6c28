/* Proofs that a key is on its token. */

#include "tests/unit/x509_util.h"

#include <openssl/x509.h>

#include "daemon/x509/attestation.h"
#include "daemon/x509/name.h"

static const uint8_t nonce[ATTESTATION_NONCE_LEN] = {
    0xab, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 0xef};

static struct {
	uint8_t name[NAME_DER_MAX], spki[SPKI_MAX], buf[4096];
	struct bytes subject, key, info;
} made;

static int
set_up(void **state)
{
	EVP_PKEY *pkey = EVP_EC_gen("P-256");
	unsigned char *p = made.spki;
	struct error err = ERROR_INIT;

	assert_true(name_from_text("CN=A,O=B", made.name, sizeof made.name, &made.subject, &err));
	made.key = (struct bytes){made.spki, (size_t)i2d_PUBKEY(pkey, &p)};
	EVP_PKEY_free(pkey);
	assert_true(attestation_build(
	    made.subject, made.key, nonce, made.buf, sizeof made.buf, &made.info, &err));
	return 0;
}

static bool
is_one(struct bytes info)
{
	struct error err = ERROR_INIT;
	struct csr csr;

	return csr_info_parse(info, &csr, &err) && attestation_is(info, &csr);
}

static void
test_is_what_it_says(void **state)
{
	static const char text[] = "chancery attest: ab0102030405060708090a0b0c0d0eef";
	struct error err = ERROR_INIT;
	struct csr csr;

	assert_true(is_one(made.info));
	assert_true(csr_info_parse(made.info, &csr, &err));
	assert_true(bytes_equal(csr.subject, made.subject));
	assert_true(bytes_equal(csr.spki.whole, made.key));
	assert_int_equal(csr.attribute_count, 1);
	assert_int_equal(csr.extensions.len, 0);
	assert_memory_equal(made.info.p + made.info.len - strlen(text), text, strlen(text));
}

/* Each octet exchanged: either no proof, or one for another name, key or nonce, which is
 * again what is built for these. */
static void
test_nothing_else_is(void **state)
{
	uint8_t other[sizeof made.buf];

	memcpy(other, made.info.p, made.info.len);
	for (size_t i = 0; i < made.info.len; i++) {
		size_t from_end = made.info.len - i;

		other[i] ^= 0x20; /* the other case of letters */
		if (from_end <= 32)
			assert_false(
			    is_one((struct bytes){other, made.info.len}) && made.info.p[i] >= 'a');
		else if (from_end <= 32 + 17 + 2 + 2 + 11 + 2 + 2)
			assert_false(is_one((struct bytes){other, made.info.len}));
		other[i] ^= 0x20;
	}
	assert_true(is_one((struct bytes){other, made.info.len}));
}

/* The CA's own request is another thing. */
static void
test_a_request_is_none(void **state)
{
	struct error err = ERROR_INIT;
	uint8_t buf[4096];
	struct bytes info;

	assert_true(csr_info_build(
	    made.subject, made.key, (struct bytes){0}, buf, sizeof buf, &info, &err));
	assert_false(is_one(info));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_is_what_it_says),
	    cmocka_unit_test(test_nothing_else_is),
	    cmocka_unit_test(test_a_request_is_none),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
