#include "daemon/x509/inverse.h"

#include <endian.h>
#include <stdbool.h>
#include <string.h>

/*
 * The binary Euclidean algorithm on pairs of numbers, with a * factor = value, or
 * = -value in the second pair (mod n). Halving a value halves its factor: by that
 * multiple of n first added which makes it even, for as many bits as are to go at once.
 */

#define LIMBS (INVERSE_BITS_MAX / 64)
/* A factor may grow by n / 2 with each bit that goes, of which there are 512. */
#define FACTOR_LIMBS (LIMBS + 1)
#define SHIFT_MAX 63

struct pair {
	uint64_t value[LIMBS], factor[FACTOR_LIMBS];
};

struct modulus {
	uint64_t limbs[LIMBS];
	uint64_t negated_inverse; /* -1 / n mod 2^64 */
};

__extension__ typedef unsigned __int128 wide;

static void
shift_right(uint64_t *a, size_t limbs, unsigned bits)
{
	for (size_t i = 0; i + 1 < limbs; i++)
		a[i] = a[i] >> bits | a[i + 1] << (64 - bits);
	a[limbs - 1] >>= bits;
}

static void
add(uint64_t *a, const uint64_t *b, size_t limbs)
{
	wide sum = 0;

	for (size_t i = 0; i < limbs; i++) {
		sum += (wide)a[i] + b[i];
		a[i] = (uint64_t)sum;
		sum >>= 64;
	}
}

static void
subtract(uint64_t *a, const uint64_t *b, size_t limbs)
{
	uint64_t borrow = 0;

	for (size_t i = 0; i < limbs; i++) {
		wide difference = (wide)a[i] - b[i] - borrow;

		a[i] = (uint64_t)difference;
		borrow = (uint64_t)(difference >> 64) & 1;
	}
}

static int
compare(const uint64_t *a, const uint64_t *b, size_t limbs)
{
	for (size_t i = limbs; i-- > 0;) {
		if (a[i] != b[i])
			return a[i] < b[i] ? -1 : 1;
	}
	return 0;
}

/* a / 2^bits (mod n) */
static void
divide(uint64_t a[FACTOR_LIMBS], unsigned bits, const struct modulus *n)
{
	uint64_t times = (a[0] * n->negated_inverse) & (((uint64_t)1 << bits) - 1);
	wide sum = 0;

	for (size_t i = 0; i < LIMBS; i++) {
		sum += (wide)times * n->limbs[i] + a[i];
		a[i] = (uint64_t)sum;
		sum >>= 64;
	}
	a[LIMBS] += (uint64_t)sum;
	shift_right(a, FACTOR_LIMBS, bits);
}

/* The value is not 0. */
static void
make_odd(struct pair *p, const struct modulus *n)
{
	while ((p->value[0] & 1) == 0) {
		unsigned bits = p->value[0] == 0 ? SHIFT_MAX
						 : (unsigned)__builtin_ctzll(p->value[0]);

		shift_right(p->value, LIMBS, bits);
		divide(p->factor, bits, n);
	}
}

static void
take_off(struct pair *greater, const struct pair *lesser, const struct modulus *n)
{
	subtract(greater->value, lesser->value, LIMBS);
	add(greater->factor, lesser->factor, FACTOR_LIMBS);
	make_odd(greater, n);
}

/* False: they have a common divisor. */
static bool
invert(uint64_t factor[FACTOR_LIMBS], const uint64_t a[LIMBS], const struct modulus *n)
{
	static const uint64_t one[LIMBS] = {1};
	struct pair u = {.factor = {1}}, v = {0};
	int order;

	memcpy(u.value, a, sizeof u.value);
	memcpy(v.value, n->limbs, sizeof v.value);
	make_odd(&u, n);
	while ((order = compare(u.value, v.value, LIMBS)) != 0) {
		if (order > 0)
			take_off(&u, &v, n);
		else
			take_off(&v, &u, n);
	}
	memcpy(factor, u.factor, sizeof u.factor);
	return compare(u.value, one, LIMBS) == 0;
}

/* ---------------------------------------------------------------- from and to BIGNUM */

static bool
get_limbs(const BIGNUM *a, uint64_t limbs[LIMBS])
{
	if (BN_bn2lebinpad(a, (uint8_t *)limbs, LIMBS * 8) < 0)
		return false;
	for (size_t i = 0; i < LIMBS; i++)
		limbs[i] = le64toh(limbs[i]);
	return true;
}

static bool
put_limbs(uint64_t limbs[FACTOR_LIMBS], BIGNUM *out)
{
	for (size_t i = 0; i < FACTOR_LIMBS; i++)
		limbs[i] = htole64(limbs[i]);
	return BN_lebin2bn((const uint8_t *)limbs, FACTOR_LIMBS * 8, out) != NULL;
}

/* Newton: each step doubles the bits that are right, and an odd number is its own
 * inverse mod 2^3. */
static void
set_inverse(struct modulus *n)
{
	uint64_t inverse = n->limbs[0];

	for (int bits = 3; bits < 64; bits *= 2)
		inverse *= 2 - n->limbs[0] * inverse;
	n->negated_inverse = -inverse;
}

int
inverse_mod(BIGNUM *out, const BIGNUM *a, const BIGNUM *n, BN_CTX *ctx)
{
	uint64_t limbs[LIMBS], factor[FACTOR_LIMBS];
	struct modulus m = {0};
	BIGNUM *product;
	int result = -1;

	if (!BN_is_odd(n) || BN_is_negative(a) || BN_is_zero(a) || BN_cmp(a, n) >= 0 ||
	    !get_limbs(n, m.limbs) || !get_limbs(a, limbs))
		return 0;
	set_inverse(&m);
	if (!invert(factor, limbs, &m))
		return 0;
	BN_CTX_start(ctx);
	product = BN_CTX_get(ctx);
	if (product != NULL && put_limbs(factor, out) && BN_nnmod(out, out, n, ctx) == 1 &&
	    BN_mod_mul(product, out, a, n, ctx) == 1 && BN_is_one(product))
		result = 1;
	BN_CTX_end(ctx);
	return result;
}
