/* EC_GROUP_precompute_mult is deprecated without another name for what it does;
 * where it is gone there is no table, and all else stays true. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "daemon/x509/ecdsa_verifier.h"

#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/obj_mac.h>
#include <stdlib.h>

#define P256_OCTETS 32

struct ecdsa_verifier {
	EC_GROUP *curve;
	EC_GROUP *key; /* the same curve with the key as its generator */
};

void
ecdsa_verifier_free(struct ecdsa_verifier *v)
{
	if (v == NULL)
		return;
	EC_GROUP_free(v->curve);
	EC_GROUP_free(v->key);
	free(v);
}

/* A multiplication of the generator is what OpenSSL has tables for, so the key
 * becomes the generator of a curve of its own. */
static bool
set_key(struct ecdsa_verifier *v, struct bytes point)
{
	EC_POINT *q = EC_POINT_new(v->curve);
	bool ok = q != NULL && EC_POINT_oct2point(v->curve, q, point.p, point.len, NULL) == 1 &&
		  EC_GROUP_set_generator(v->key, q, EC_GROUP_get0_order(v->curve),
		      EC_GROUP_get0_cofactor(v->curve)) == 1;

#ifndef OPENSSL_NO_DEPRECATED_3_0
	ok = ok && EC_GROUP_precompute_mult(v->key, NULL) == 1;
#endif
	EC_POINT_free(q);
	return ok;
}

struct ecdsa_verifier *
ecdsa_verifier_new(const struct spki *spki, struct error *e)
{
	struct ecdsa_verifier *v = NULL;

	if (spki_key_alg(spki) != KEY_P256) {
		error_set(e, ERROR_INPUT, "only keys p256 are verified by a table");
		return NULL;
	}
	v = calloc(1, sizeof *v);
	if (v == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating a verifier");
		return NULL;
	}
	v->curve = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	v->key = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	if (v->curve != NULL && v->key != NULL && set_key(v, spki->key))
		return v;
	error_set_openssl(e, ERROR_INPUT, "no table can be made of this key");
	ecdsa_verifier_free(v);
	return NULL;
}

/* ------------------------------------------------------------------- verify */

/* In 1 .. order - 1. */
static bool
in_range(const BIGNUM *n, const BIGNUM *order)
{
	return !BN_is_zero(n) && !BN_is_negative(n) && BN_cmp(n, order) < 0;
}

static bool
read_number(struct der *d, BIGNUM *n)
{
	struct bytes magnitude;

	return der_read_unsigned(d, &magnitude) && magnitude.len <= P256_OCTETS &&
	       BN_bin2bn(magnitude.p, (int)magnitude.len, n) != NULL;
}

static bool
read_signature(struct bytes signature, BIGNUM *r, BIGNUM *s)
{
	struct der d;

	return der_enter_only(signature, DER_SEQUENCE, &d) && read_number(&d, r) &&
	       read_number(&d, s) && der_end(&d);
}

/* The x coordinate of e/s G + r/s Q, modulo the order; -1 when OpenSSL fails, 0 at
 * infinity. */
static int
recompute(const struct ecdsa_verifier *v, struct bytes digest, const BIGNUM *r, const BIGNUM *s,
    BIGNUM *x, BN_CTX *ctx)
{
	const BIGNUM *order = EC_GROUP_get0_order(v->curve);
	EC_POINT *a = EC_POINT_new(v->curve), *b = EC_POINT_new(v->key);
	BIGNUM *w = BN_CTX_get(ctx), *u1 = BN_CTX_get(ctx), *u2 = BN_CTX_get(ctx);
	int result = -1;

	if (a == NULL || b == NULL || u2 == NULL || BN_mod_inverse(w, s, order, ctx) == NULL ||
	    BN_bin2bn(digest.p, (int)digest.len, u1) == NULL ||
	    BN_mod_mul(u1, u1, w, order, ctx) != 1 || BN_mod_mul(u2, r, w, order, ctx) != 1 ||
	    EC_POINT_mul(v->curve, a, u1, NULL, NULL, ctx) != 1 ||
	    EC_POINT_mul(v->key, b, u2, NULL, NULL, ctx) != 1 ||
	    EC_POINT_add(v->curve, a, a, b, ctx) != 1)
		goto out;
	if (EC_POINT_is_at_infinity(v->curve, a)) {
		result = 0;
		goto out;
	}
	if (EC_POINT_get_affine_coordinates(v->curve, a, x, NULL, ctx) == 1 &&
	    BN_nnmod(x, x, order, ctx) == 1)
		result = 1;
out:
	EC_POINT_free(a);
	EC_POINT_free(b);
	return result;
}

bool
ecdsa_verifier_check(
    const struct ecdsa_verifier *v, struct bytes digest, struct bytes signature, struct error *e)
{
	const BIGNUM *order = EC_GROUP_get0_order(v->curve);
	BN_CTX *ctx = BN_CTX_new();
	BIGNUM *r, *s, *x;
	int result = 0;
	bool right;

	if (ctx == NULL)
		return error_set_openssl(e, ERROR_SYSTEM, "allocating numbers");
	BN_CTX_start(ctx);
	r = BN_CTX_get(ctx);
	s = BN_CTX_get(ctx);
	x = BN_CTX_get(ctx);
	if (x == NULL)
		result = -1;
	else if (digest.len == P256_OCTETS && read_signature(signature, r, s) &&
		 in_range(r, order) && in_range(s, order))
		result = recompute(v, digest, r, s, x, ctx);
	right = result == 1 && BN_cmp(x, r) == 0;
	BN_CTX_end(ctx);
	BN_CTX_free(ctx);
	if (result < 0)
		return error_set_openssl(e, ERROR_INTERNAL, "cannot verify a signature");
	return right || error_set(e, ERROR_INPUT, "the signature is wrong");
}
