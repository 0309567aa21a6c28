#ifndef CHANCERY_X509_ALGORITHM_H
#define CHANCERY_X509_ALGORITHM_H

/*
 * Key and signature algorithms: their names, numbers and DER.
 *
 * The numbers of both enums go over the wire between our processes and must
 * never change.
 */

#include <openssl/evp.h>

#include "daemon/x509/der.h"

/* Keys that a CA of ours can have on its token. */
enum key_alg {
	KEY_NONE = 0,
	KEY_RSA2048 = 1,
	KEY_RSA3072 = 2,
	KEY_RSA4096 = 3,
	KEY_P256 = 17,
	KEY_P384 = 18,
	KEY_P521 = 19,
	KEY_ED25519 = 33,
};

/* Signatures. */
enum sig_alg {
	SIG_NONE = 0,
	SIG_RSA_SHA256 = 1,
	SIG_RSA_SHA384 = 2,
	SIG_RSA_SHA512 = 3,
	SIG_PSS_SHA256 = 17,
	SIG_PSS_SHA384 = 18,
	SIG_PSS_SHA512 = 19,
	SIG_ECDSA_SHA256 = 33,
	SIG_ECDSA_SHA384 = 34,
	SIG_ECDSA_SHA512 = 35,
	SIG_ED25519 = 49,
};

enum sig_family {
	SIG_FAMILY_NONE = 0,
	SIG_FAMILY_RSA, /* RSASSA-PKCS1-v1_5 */
	SIG_FAMILY_PSS, /* RSASSA-PSS, MGF1 with the same digest */
	SIG_FAMILY_ECDSA,
	SIG_FAMILY_EDDSA,
};

#define DIGEST_MAX 64
#define SIG_MAX 1024	    /* octets of a signature: RSA-8192 */
#define SIG_ALG_DER_MAX 128 /* AlgorithmIdentifier of a signature */
#define SIG_ALG_TEXT "sha256, sha384, sha512"
#define KEY_ALG_TEXT "rsa2048, rsa3072, rsa4096, p256, p384, p521, ed25519"

/* "rsa2048" ... "ed25519"; NULL for what is no key algorithm. */
const char *key_alg_name(enum key_alg alg);
bool key_alg_from_name(const char *name, enum key_alg *alg) MUST_CHECK;
bool key_alg_is_rsa(enum key_alg alg);
/* Modulus or field size in bits. */
unsigned key_alg_bits(enum key_alg alg);
/* Upper bound of a signature made with this key, as it stands in the BIT
 * STRING, in octets (RSA, Ed25519: exact; ECDSA: DER of two full-length integers). */
size_t key_alg_sig_max(enum key_alg alg);
/* Octets of r, and of s, in a token's raw ECDSA signature; 0 for RSA and Ed25519. */
size_t key_alg_field_len(enum key_alg alg);

/* "rsa-sha256", "pss-sha384", "ecdsa-sha512", "ed25519"; NULL for no algorithm. */
const char *sig_alg_name(enum sig_alg alg);
bool sig_alg_from_name(const char *name, enum sig_alg *alg) MUST_CHECK;
/* True for every number above but SIG_NONE: for numbers off the wire. */
bool sig_alg_valid(unsigned number);
enum sig_family sig_alg_family(enum sig_alg alg);

/* The algorithm that a key signs with. digest: "sha256", "sha384", "sha512", or
 * NULL for the usual one of the key (P-384: sha384, P-521: sha512, others
 * sha256). pss counts for RSA keys only, and is refused for others; Ed25519 has one
 * algorithm, and takes no digest. */
bool sig_alg_choose(enum key_alg key, const char *digest, bool pss, enum sig_alg *alg) MUST_CHECK;

/* True when a key of this kind can make that signature. */
bool sig_alg_fits_key(enum sig_alg alg, enum key_alg key);

/* The whole AlgorithmIdentifier: RSA with NULL parameters (RFC 4055 5), ECDSA
 * and Ed25519 without any (RFC 5758 3.2, RFC 8410 3), PSS with explicit
 * parameters, salt as long as the digest, trailerField left out as DER wants
 * (RFC 4055 3.1). Static memory; empty for SIG_NONE. */
struct bytes sig_alg_der(enum sig_alg alg);

/* Recognises an AlgorithmIdentifier. Exactly the bytes of sig_alg_der are what
 * we write; of others' this also takes RSA without parameters (RFC 4055 2.1)
 * and PSS with another salt length. salt_len is set for PSS, else 0. Returns
 * false for everything else. */
bool sig_alg_parse(struct bytes der, enum sig_alg *alg, unsigned *salt_len) MUST_CHECK;

/* OpenSSL's digest, its name ("sha256") and its length; NULL and 0 for Ed25519. */
const EVP_MD *sig_alg_md(enum sig_alg alg);
const char *sig_alg_digest_name(enum sig_alg alg);
size_t sig_alg_digest_len(enum sig_alg alg);

/* What stands before the digest in a PKCS#1 v1.5 signature's DigestInfo (RFC
 * 8017 9.2 note 1), for tokens that only have CKM_RSA_PKCS. Empty for ECDSA. */
struct bytes sig_alg_digest_info(enum sig_alg alg);

#endif
