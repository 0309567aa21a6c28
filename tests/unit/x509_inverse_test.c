/* The inverse is the one that OpenSSL computes. */

#include "tests/unit/x509_util.h"

#include <openssl/bn.h>
#include <openssl/err.h>

#include "daemon/x509/inverse.h"

#define ROUNDS 2000

/* Order and field of P-256; all bits set; with limbs of 0; small ones. */
static const char *const moduli[] = {
    "FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551",
    "FFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF",
    "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF43",
    "8000000000000000000000000000000000000000000000000000000000000001",
    "10000000000000000000000000000000000000001",
    "FFFFFFFFFFFFFFC5",
    "3",
};

static BN_CTX *ctx;
static BIGNUM *a, *n, *ours, *theirs;

static void
set(BIGNUM *number, const char *hex)
{
	assert_true(BN_hex2bn(&number, hex) > 0);
}

/* Of a and n as they are set. */
static void
compare(void)
{
	bool exists = BN_mod_inverse(theirs, a, n, ctx) != NULL;

	ERR_clear_error();
	assert_int_equal(inverse_mod(ours, a, n, ctx), exists ? 1 : 0);
	if (exists)
		assert_int_equal(BN_cmp(ours, theirs), 0);
}

static void
test_random(void **state)
{
	for (size_t m = 0; m < COUNT_OF(moduli); m++) {
		set(n, moduli[m]);
		for (int i = 0; i < ROUNDS; i++) {
			do
				assert_int_equal(BN_rand_range(a, n), 1);
			while (BN_is_zero(a));
			compare();
		}
	}
}

/* Powers of 2, and what lies beside them; and the same below the modulus. */
static void
test_edges(void **state)
{
	for (size_t m = 0; m < COUNT_OF(moduli); m++) {
		set(n, moduli[m]);
		for (int bit = 0; bit < BN_num_bits(n); bit++) {
			for (int more = -1; more <= 1; more++) {
				BN_zero(a);
				assert_true(BN_set_bit(a, bit) && BN_add_word(a, 2) &&
					    BN_sub_word(a, (BN_ULONG)(2 + more)));
				if (BN_is_zero(a) || BN_cmp(a, n) >= 0)
					continue;
				compare();
				assert_true(BN_sub(a, n, a));
				compare();
			}
		}
	}
}

static void
test_common_divisor(void **state)
{
	set(n, "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF"); /* divisible by 3, 5, 17 */
	for (BN_ULONG number = 1; number < 500; number++) {
		assert_true(BN_set_word(a, number));
		compare();
	}
}

static void
refuse(const char *number, const char *modulus)
{
	set(a, number);
	set(n, modulus);
	assert_int_equal(inverse_mod(ours, a, n, ctx), 0);
}

static void
test_refused(void **state)
{
	refuse("0", moduli[0]);
	refuse(moduli[0], moduli[0]);
	refuse("10", "F");
	refuse("-2", moduli[0]);
	refuse("3", "10");
	refuse("1", "1");
	refuse("2", "10000000000000000000000000000000000000000000000000000000000000001");
}

static int
set_up(void **state)
{
	ctx = BN_CTX_new();
	a = BN_new();
	n = BN_new();
	ours = BN_new();
	theirs = BN_new();
	return ctx == NULL || a == NULL || n == NULL || ours == NULL || theirs == NULL;
}

static int
tear_down(void **state)
{
	BN_free(a);
	BN_free(n);
	BN_free(ours);
	BN_free(theirs);
	BN_CTX_free(ctx);
	return 0;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_random),
	    cmocka_unit_test(test_edges),
	    cmocka_unit_test(test_common_divisor),
	    cmocka_unit_test(test_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
