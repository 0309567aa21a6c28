#ifndef CHANCERY_X509_INVERSE_H
#define CHANCERY_X509_INVERSE_H

/*
 * The inverse that each ECDSA verification needs: BN_mod_inverse takes longer than
 * the multiplication of a point by a table does. How long this one takes depends on
 * the numbers, so it is for what everybody may know, as signatures.
 */

#include <openssl/bn.h>

#include "daemon/core/attr.h"

#define INVERSE_BITS_MAX 256

/* out = a^-1 mod n, for an odd n and 0 < a < n. 1; 0: they have a common divisor, or
 * are none of those; -1: OpenSSL fails. The product with a is checked. */
int inverse_mod(BIGNUM *out, const BIGNUM *a, const BIGNUM *n, BN_CTX *ctx) MUST_CHECK;

#endif
