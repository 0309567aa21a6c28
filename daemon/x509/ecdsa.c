#include "daemon/x509/ecdsa_int.h"

#include "daemon/x509/inverse.h"

/* In 1 .. order - 1. */
static bool
in_range(const BIGNUM *n, const BIGNUM *order)
{
	return !BN_is_zero(n) && BN_cmp(n, order) < 0;
}

static bool
read_number(struct der *d, BIGNUM *n)
{
	struct bytes magnitude;

	return der_read_unsigned(d, &magnitude) && magnitude.len <= P256_OCTETS &&
	       BN_bin2bn(magnitude.p, (int)magnitude.len, n) != NULL;
}

int
ecdsa_prepare(const EC_GROUP *curve, struct bytes digest, struct bytes signature,
    struct ecdsa_numbers *n, BN_CTX *ctx)
{
	const BIGNUM *order = EC_GROUP_get0_order(curve);
	BIGNUM *s, *w;
	struct der d;

	n->r = BN_CTX_get(ctx);
	n->u1 = BN_CTX_get(ctx);
	n->u2 = BN_CTX_get(ctx);
	s = BN_CTX_get(ctx);
	w = BN_CTX_get(ctx);
	if (w == NULL)
		return -1;
	if (digest.len != P256_OCTETS || !der_enter_only(signature, DER_SEQUENCE, &d) ||
	    !read_number(&d, n->r) || !read_number(&d, s) || !der_end(&d) ||
	    !in_range(n->r, order) || !in_range(s, order))
		return 0;
	if (inverse_mod(w, s, order, ctx) != 1 ||
	    BN_bin2bn(digest.p, (int)digest.len, n->u1) == NULL ||
	    BN_mod_mul(n->u1, n->u1, w, order, ctx) != 1 ||
	    BN_mod_mul(n->u2, n->r, w, order, ctx) != 1)
		return -1;
	return 1;
}

int
ecdsa_judge(const EC_GROUP *curve, const EC_POINT *sum, const struct ecdsa_numbers *n, BN_CTX *ctx)
{
	BIGNUM *x = BN_CTX_get(ctx);

	if (x == NULL)
		return -1;
	if (EC_POINT_is_at_infinity(curve, sum))
		return 0;
	if (EC_POINT_get_affine_coordinates(curve, sum, x, NULL, ctx) != 1 ||
	    BN_nnmod(x, x, EC_GROUP_get0_order(curve), ctx) != 1)
		return -1;
	return BN_cmp(x, n->r) == 0;
}
