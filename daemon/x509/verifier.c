#include "daemon/x509/verifier.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/obj_mac.h>

#include "daemon/x509/ecdsa_int.h"

#define RSA_OCTETS_MAX (SPKI_RSA_BITS_MAX / 8)

struct verifier {
	EC_GROUP *p256;
	EC_POINT *key, *sum;
	BN_CTX *ctx;
};

void
verifier_free(struct verifier *v)
{
	if (v == NULL)
		return;
	EC_POINT_free(v->key);
	EC_POINT_free(v->sum);
	EC_GROUP_free(v->p256);
	BN_CTX_free(v->ctx);
	free(v);
}

struct verifier *
verifier_new(struct error *e)
{
	struct verifier *v = calloc(1, sizeof *v);

	if (v == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating a verifier");
		return NULL;
	}
	v->ctx = BN_CTX_new();
	v->p256 = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	if (v->p256 != NULL) {
		v->key = EC_POINT_new(v->p256);
		v->sum = EC_POINT_new(v->p256);
	}
	if (v->ctx != NULL && v->key != NULL && v->sum != NULL)
		return v;
	error_set_openssl(e, ERROR_SYSTEM, "allocating a verifier");
	verifier_free(v);
	return NULL;
}

/* --------------------------------------------------------------------- P-256 */

/* Of the point that the verifier holds. */
static int
check_p256(struct verifier *v, struct bytes digest, struct bytes signature)
{
	struct ecdsa_numbers n;
	int result;

	result = ecdsa_prepare(v->p256, digest, signature, &n, v->ctx);
	if (result != 1)
		return result;
	if (EC_POINT_mul(v->p256, v->sum, n.u1, v->key, n.u2, v->ctx) != 1)
		return -1;
	return ecdsa_judge(v->p256, v->sum, &n, v->ctx);
}

/* ----------------------------------------------------------------------- RSA */

/* EMSA-PKCS1-v1_5 (RFC 8017 9.2): what a right signature must come to, in len octets;
 * false when the key is too short for it. */
static bool
encode(enum sig_alg alg, struct bytes digest, uint8_t *out, size_t len)
{
	struct bytes info = sig_alg_digest_info(alg);
	size_t tail = info.len + digest.len;

	if (len < tail + 11)
		return false;
	memset(out, 0xff, len);
	out[0] = 0;
	out[1] = 1;
	out[len - tail - 1] = 0;
	memcpy(out + len - tail, info.p, info.len);
	memcpy(out + len - digest.len, digest.p, digest.len);
	return true;
}

/* RFC 8017 8.2.2. The whole encoding is made and compared, nothing of what the
 * signature came to is parsed. */
static int
check_rsa(struct verifier *v, const struct spki *spki, enum sig_alg alg, struct bytes digest,
    struct bytes signature)
{
	uint8_t expected[RSA_OCTETS_MAX], got[RSA_OCTETS_MAX];
	BIGNUM *n = BN_CTX_get(v->ctx), *e = BN_CTX_get(v->ctx), *s = BN_CTX_get(v->ctx);
	size_t len = spki->modulus.len;

	if (s == NULL)
		return -1;
	if (len > sizeof got || signature.len != len || !encode(alg, digest, expected, len))
		return 0;
	if (BN_bin2bn(spki->modulus.p, (int)len, n) == NULL ||
	    BN_bin2bn(spki->exponent.p, (int)spki->exponent.len, e) == NULL ||
	    BN_bin2bn(signature.p, (int)signature.len, s) == NULL)
		return -1;
	if (BN_cmp(s, n) >= 0)
		return 0;
	if (BN_mod_exp_mont(s, s, e, n, v->ctx, NULL) != 1 ||
	    BN_bn2binpad(s, got, (int)len) != (int)len)
		return -1;
	return memcmp(got, expected, len) == 0;
}

/* -------------------------------------------------------------------- either */

static bool
is_quick(const struct spki *spki, enum sig_alg alg)
{
	if (spki->kind == SPKI_RSA)
		return sig_alg_family(alg) == SIG_FAMILY_RSA;
	return spki_key_alg(spki) == KEY_P256 && alg == SIG_ECDSA_SHA256;
}

static bool
check_by_object(const struct spki *spki, enum sig_alg alg, unsigned salt_len,
    struct bytes signed_bytes, struct bytes signature, struct error *e)
{
	EVP_PKEY *key = spki_to_pkey(spki, e);
	bool ok = key != NULL && pkey_verify(key, alg, salt_len, signed_bytes, signature, e);

	EVP_PKEY_free(key);
	return ok;
}

bool
verifier_check(struct verifier *v, const struct spki *spki, enum sig_alg alg, unsigned salt_len,
    struct bytes signed_bytes, struct bytes signature, struct error *e)
{
	uint8_t octets[DIGEST_MAX];
	struct bytes digest = {octets, sig_alg_digest_len(alg)};
	int result;

	if (!is_quick(spki, alg))
		return check_by_object(spki, alg, salt_len, signed_bytes, signature, e);
	if (EVP_Digest(signed_bytes.p, signed_bytes.len, octets, NULL, sig_alg_md(alg), NULL) != 1)
		return error_set_openssl(
		    e, ERROR_INTERNAL, "cannot compute %s", sig_alg_digest_name(alg));
	/* Also checks that the point lies on the curve. */
	if (spki->kind == SPKI_EC &&
	    EC_POINT_oct2point(v->p256, v->key, spki->key.p, spki->key.len, v->ctx) != 1)
		return error_set_openssl(
		    e, ERROR_INPUT, "the EC public key is no point of its curve (RFC 5480 2.2)");
	BN_CTX_start(v->ctx);
	result = spki->kind == SPKI_RSA ? check_rsa(v, spki, alg, digest, signature)
					: check_p256(v, digest, signature);
	BN_CTX_end(v->ctx);
	if (result < 0)
		return error_set_openssl(e, ERROR_INTERNAL, "cannot verify a signature");
	return result == 1 || error_set(e, ERROR_INPUT, "the signature is wrong");
}
