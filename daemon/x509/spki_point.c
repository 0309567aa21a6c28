/* Whether an EC public key is a point of its curve. */

#include <openssl/bn.h>

#include "daemon/x509/spki.h"

/* b of y^2 = x^3 - 3x + b (FIPS 186-4 D.1.2); OpenSSL has the primes. */
static const struct {
	unsigned bits;
	const BIGNUM *(*prime)(void);
	const char *b;
} curves[] = {
    {256, BN_get0_nist_prime_256,
	"5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604b"},
    {384, BN_get0_nist_prime_384,
	"b3312fa7e23ee7e4988e056be3f82d19181d9c6efe8141120314088f5013875a"
	"c656398d8a2ed19d2a85c8edd3ec2aef"},
    {521, BN_get0_nist_prime_521,
	"51953eb9618e1c9a1f929a21a0b68540eea2da725b99b315f3b8b489918ef109"
	"e156193951ec7e937b1652c0bd3bb1bf073573df883d2c34f1ef451fd46b503f00"},
};

/* *on: y^2 = (x^2 - 3) x + b; false when out of memory. */
static bool
solve(const BIGNUM *x, const BIGNUM *y, const BIGNUM *p, const char *b_hex, BN_CTX *ctx, bool *on)
{
	BIGNUM *left = BN_CTX_get(ctx), *right = BN_CTX_get(ctx), *b = BN_CTX_get(ctx);

	if (b == NULL || BN_hex2bn(&b, b_hex) == 0 || BN_mod_sqr(left, y, p, ctx) != 1 ||
	    BN_mod_sqr(right, x, p, ctx) != 1 || BN_sub_word(right, 3) != 1 ||
	    BN_mod_mul(right, right, x, p, ctx) != 1 || BN_mod_add(right, right, b, p, ctx) != 1)
		return false;
	*on = BN_cmp(left, right) == 0;
	return true;
}

static bool
check_point(const BIGNUM *p, const char *b, struct bytes x_octets, struct bytes y_octets, bool *on)
{
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *x, *y;
	bool ok = false;

	*on = false;
	if (ctx == NULL)
		return false;
	BN_CTX_start(ctx);
	x = BN_CTX_get(ctx);
	y = BN_CTX_get(ctx);
	if (y != NULL && BN_bin2bn(x_octets.p, (int)x_octets.len, x) != NULL &&
	    BN_bin2bn(y_octets.p, (int)y_octets.len, y) != NULL)
		ok = (BN_cmp(x, p) >= 0 || BN_cmp(y, p) >= 0) || solve(x, y, p, b, ctx, on);
	BN_CTX_end(ctx);
	BN_CTX_free(ctx);
	return ok;
}

bool
spki_check_point(const struct spki *spki, struct error *err)
{
	size_t half = spki->key.len / 2;
	bool on = false;

	if (spki->kind != SPKI_EC)
		return true;
	for (size_t i = 0; i < COUNT_OF(curves); i++) {
		if (curves[i].bits != spki->bits)
			continue;
		if (!check_point(curves[i].prime(), curves[i].b,
			(struct bytes){spki->key.p + 1, half},
			(struct bytes){spki->key.p + 1 + half, half}, &on))
			return error_set_openssl(err, ERROR_SYSTEM, "cannot compute with a point");
	}
	return on || error_set(err, ERROR_INPUT,
			 "the EC public key is no point of P-%u: that is no key", spki->bits);
}
