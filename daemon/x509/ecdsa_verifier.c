/* EC_GROUP_precompute_mult is deprecated without another name for what it does;
 * where it is gone there is no table, and all else stays true. */
#define OPENSSL_SUPPRESS_DEPRECATED

#include "daemon/x509/ecdsa_verifier.h"

#include <stdlib.h>

#include <openssl/obj_mac.h>

#include "daemon/x509/ecdsa_int.h"

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

static int
check(const struct ecdsa_verifier *v, struct bytes digest, struct bytes signature, EC_POINT *a,
    EC_POINT *b, BN_CTX *ctx)
{
	struct ecdsa_numbers n;
	int result = ecdsa_prepare(v->curve, digest, signature, &n, ctx);

	if (result != 1)
		return result;
	if (EC_POINT_mul(v->curve, a, n.u1, NULL, NULL, ctx) != 1 ||
	    EC_POINT_mul(v->key, b, n.u2, NULL, NULL, ctx) != 1 ||
	    EC_POINT_add(v->curve, a, a, b, ctx) != 1)
		return -1;
	return ecdsa_judge(v->curve, a, &n, ctx);
}

bool
ecdsa_verifier_check(
    const struct ecdsa_verifier *v, struct bytes digest, struct bytes signature, struct error *e)
{
	BN_CTX *ctx = BN_CTX_new();
	EC_POINT *a = EC_POINT_new(v->curve), *b = EC_POINT_new(v->key);
	int result = -1;

	if (ctx != NULL && a != NULL && b != NULL) {
		BN_CTX_start(ctx);
		result = check(v, digest, signature, a, b, ctx);
		BN_CTX_end(ctx);
	}
	EC_POINT_free(a);
	EC_POINT_free(b);
	BN_CTX_free(ctx);
	if (result < 0)
		return error_set_openssl(e, ERROR_INTERNAL, "cannot verify a signature");
	return result == 1 || error_set(e, ERROR_INPUT, "the signature is wrong");
}
