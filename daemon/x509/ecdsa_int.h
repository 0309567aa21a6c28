#ifndef CHANCERY_X509_ECDSA_INT_H
#define CHANCERY_X509_ECDSA_INT_H

/*
 * The parts of an ECDSA verification (FIPS 186-5 6.4.2) on P-256 that are not the
 * multiplication of points, for those who multiply in different ways.
 */

#include <openssl/bn.h>
#include <openssl/ec.h>

#include "daemon/x509/der.h"

#define P256_OCTETS 32

/* All belong to a BN_CTX. */
struct ecdsa_numbers {
	BIGNUM *r, *u1, *u2;
};

/* Reads the DER Ecdsa-Sig-Value and computes u1 and u2, by which base point and key
 * are to be multiplied. 1; 0: the signature or the digest's length is wrong; -1:
 * OpenSSL fails. */
int ecdsa_prepare(const EC_GROUP *curve, struct bytes digest, struct bytes signature,
    struct ecdsa_numbers *n, BN_CTX *ctx);

/* Whether the sum of both points says that the signature is right: 1, 0, or -1. */
int ecdsa_judge(
    const EC_GROUP *curve, const EC_POINT *sum, const struct ecdsa_numbers *n, BN_CTX *ctx);

#endif
