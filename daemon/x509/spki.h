#ifndef CHANCERY_X509_SPKI_H
#define CHANCERY_X509_SPKI_H

/*
 * SubjectPublicKeyInfo (RFC 5280 4.1.2.7, RFC 3279, RFC 5480, RFC 8410), and
 * verification with the key in it.
 *
 * OpenSSL's decoders cost a quarter of a millisecond a key, so the structure
 * is taken apart here and the key is made from its numbers.
 */

#include <openssl/evp.h>

#include "daemon/core/error.h"
#include "daemon/x509/algorithm.h"

#define SPKI_MAX 2048 /* octets of the structure */
#define SPKI_RSA_BITS_MIN 2048
#define SPKI_RSA_BITS_MAX 8192
#define SPKI_RSA_EXPONENT_BITS_MAX 64
#define SKI_LEN 20

enum spki_kind {
	SPKI_RSA = 1,
	SPKI_EC, /* bits tells the curve: 256, 384, 521 */
	SPKI_ED25519,
};

struct spki {
	enum spki_kind kind;
	unsigned bits;	       /* modulus or field */
	struct bytes whole;    /* the SEQUENCE, for copying */
	struct bytes key;      /* content of the BIT STRING, unused-bits octet excluded */
	struct bytes modulus;  /* RSA: big-endian, no leading zero */
	struct bytes exponent; /* RSA */
};

/* Takes a whole SubjectPublicKeyInfo apart. RSA: 2048 to 8192 bits, odd modulus,
 * odd exponent of at least 3 and at most 64 bits. EC: named curves P-256, P-384,
 * P-521, uncompressed point of the right length (that it lies on the curve is
 * checked when the key is used). Ed25519. Everything else: ERROR_INPUT with a
 * sentence. All slices point into der. */
bool spki_parse(struct bytes der, struct spki *spki, struct error *err) MUST_CHECK;

/* "rsa2048", "p256", "ed25519" ... for people and for the database. */
void spki_describe(const struct spki *spki, char out[16]);

/* The CA key algorithm that this is, or KEY_NONE (RSA of other sizes). */
enum key_alg spki_key_alg(const struct spki *spki);

/* Subject key identifier: the SHA-1 of the BIT STRING's content (RFC 5280 4.2.1.2
 * (1)). An identifier, not a signature: nothing rests on SHA-1 here, and a parent
 * CA that computes it itself instead of copying it comes to the same octets. */
bool spki_ski(const struct spki *spki, uint8_t ski[SKI_LEN], struct error *err) MUST_CHECK;

/* SHA-256 over the whole structure: how keys are known in the database. */
bool spki_sha256(const struct spki *spki, uint8_t digest[32], struct error *err) MUST_CHECK;

/* Builds the structure; result points to the end of buf (SPKI_MAX octets is
 * always enough). For EC, point is the uncompressed one: 0x04, x, y. */
bool spki_encode_rsa(struct bytes modulus, struct bytes exponent, void *buf, size_t size,
    struct bytes *spki, struct error *err) MUST_CHECK;
bool spki_encode_ed25519(
    struct bytes key, void *buf, size_t size, struct bytes *spki, struct error *err) MUST_CHECK;
bool spki_encode_ec(enum key_alg curve, struct bytes point, void *buf, size_t size,
    struct bytes *spki, struct error *err) MUST_CHECK;

/* Checks that an EC key lies on its curve; all other keys pass. A tenth of what
 * spki_to_pkey costs, which checks it too. */
bool spki_check_point(const struct spki *spki, struct error *err) MUST_CHECK;

/* OpenSSL's key object; the caller frees it with EVP_PKEY_free. NULL with an
 * error when the numbers are no key (a point off the curve). */
EVP_PKEY *spki_to_pkey(const struct spki *spki, struct error *err) MUST_CHECK;

/* Verify a signature (content of the BIT STRING, unused-bits octet excluded)
 * over the bytes, or over a digest that the caller streamed. ERROR_INPUT when
 * it is wrong or the algorithm does not go with the key. PSS: the salt must be
 * as long as the digest. Ed25519 has no digest: there it is all bytes (sig_input.h). */
bool spki_verify(const struct spki *spki, enum sig_alg alg, struct bytes signed_bytes,
    struct bytes signature, struct error *err) MUST_CHECK;
bool spki_verify_digest(const struct spki *spki, enum sig_alg alg, struct bytes digest,
    struct bytes signature, struct error *err) MUST_CHECK;

/* The same for a key object that is kept: the signer verifies all it makes.
 * salt_len: PSS salt in octets (ignored otherwise). Safe for several threads
 * on one key. */
bool pkey_verify(EVP_PKEY *key, enum sig_alg alg, unsigned salt_len, struct bytes signed_bytes,
    struct bytes signature, struct error *err) MUST_CHECK;
bool pkey_verify_digest(EVP_PKEY *key, enum sig_alg alg, unsigned salt_len, struct bytes digest,
    struct bytes signature, struct error *err) MUST_CHECK;

/* A token's raw r || s (two halves of equal length) to the DER Ecdsa-Sig-Value
 * of RFC 3279 2.2.3. Result points to the end of buf (144 octets do). */
bool ecdsa_signature_from_raw(
    struct bytes raw, void *buf, size_t size, struct bytes *der, struct error *err) MUST_CHECK;

#endif
