#ifndef CHANCERY_ISSUER_CHAIN_H
#define CHANCERY_ISSUER_CHAIN_H

/*
 * The chain of a CA's own certificate: from what an operator handed over to an
 * ordered, verified path that ends in a self-signed root.
 */

#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/x509/cert.h"

#define CHAIN_LENGTH_MAX 12	/* certificates in a path */
#define CHAIN_CANDIDATES_MAX 64 /* certificates to choose from */

struct chain {
	struct certificate certs[CHAIN_LENGTH_MAX]; /* the CA's own first, the root last */
	size_t count;
};

/* Certificates to choose from; slices are owned by the pool. */
struct chain_pool {
	struct bytes der[CHAIN_CANDIDATES_MAX];
	size_t count;
};

/* Copies a certificate into the pool; ERROR_LIMIT when it is full. */
bool chain_pool_add(struct chain_pool *pool, struct bytes der, struct error *e) MUST_CHECK;
/* The same for one that is the issuer, by name, of a certificate in the pool and
 * not there itself; any other is left out. */
bool chain_pool_add_issuer(struct chain_pool *pool, struct bytes der, struct error *e) MUST_CHECK;
/* All CERTIFICATE blocks of a PEM text; ERROR_INPUT when there is none. */
bool chain_pool_add_pem(struct chain_pool *pool, const char *text, struct error *e) MUST_CHECK;
void chain_pool_free(struct chain_pool *pool);

/* The first certificate of the pool whose key is spki; ERROR_NOT_FOUND. */
bool chain_find_own(const struct chain_pool *pool, struct bytes spki, struct certificate *out,
    struct error *e) MUST_CHECK;

/* The certificate of the pool whose subject is child's issuer, whose key verifies child and
 * that may stand above so many CAs that are not self-issued, child among them; false when
 * there is none, with a sentence. A CA may have several for one key: a renewed one beside
 * one that has ended. */
bool chain_find_issuer(const struct chain_pool *pool, const struct certificate *child, size_t below,
    int64_t now, struct certificate *out, struct error *e) MUST_CHECK;

/*
 * Builds the path of the certificate whose key is spki (RFC 5280 6.1, without
 * policies and name constraints): each one's issuer is found by name, is a CA
 * (basicConstraints, keyCertSign, pathLenConstraint), is valid at now, and
 * verifies the signature; the last one is self-signed. Of several certificates
 * that fit the first one counts; where that leads to no root, a root before the others. The slices
 * of *chain point into the pool. ERROR_NOT_FOUND when the key's certificate, or an issuer, is
 * missing: the sentence names it.
 */
bool chain_build(const struct chain_pool *pool, struct bytes spki, int64_t now, struct chain *chain,
    struct error *e) MUST_CHECK;

#endif
