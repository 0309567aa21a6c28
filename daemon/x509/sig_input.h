#ifndef CHANCERY_X509_SIG_INPUT_H
#define CHANCERY_X509_SIG_INPUT_H

/*
 * What a signature is made over, from a structure that comes in pieces: its digest; or
 * with Ed25519, which takes no digest (RFC 8032 5.1.6 reads the message twice, RFC 8410
 * has no pre-hashed one), the structure itself, kept in memory.
 */

#include <openssl/evp.h>

#include "daemon/core/error.h"
#include "daemon/x509/algorithm.h"

/* Octets of a structure that is kept whole: a CRL of more than a million entries. */
#define SIG_INPUT_WHOLE_MAX (64UL * 1024 * 1024)

/* All zero: not begun. */
struct sig_input {
	EVP_MD_CTX *md; /* NULL for Ed25519 */
	uint8_t digest[DIGEST_MAX];
	uint8_t *whole;
	size_t len, size;
};

bool sig_input_begin(struct sig_input *in, enum sig_alg alg, struct error *err) MUST_CHECK;

/* ERROR_LIMIT: more than can be kept. */
bool sig_input_add(struct sig_input *in, struct bytes piece, struct error *err) MUST_CHECK;

/* The result lives as long as in does. */
bool sig_input_end(struct sig_input *in, struct bytes *out, struct error *err) MUST_CHECK;

/* in may be all zero, and is afterwards. */
void sig_input_free(struct sig_input *in);

#endif
