#include "daemon/x509/algorithm.h"

#include <openssl/evp.h>

static const struct {
	enum key_alg alg;
	const char *name;
	bool rsa;
	unsigned bits;
} keys[] = {
    {KEY_RSA2048, "rsa2048", true, 2048},
    {KEY_RSA3072, "rsa3072", true, 3072},
    {KEY_RSA4096, "rsa4096", true, 4096},
    {KEY_P256, "p256", false, 256},
    {KEY_P384, "p384", false, 384},
    {KEY_P521, "p521", false, 521},
    {KEY_ED25519, "ed25519", false, 256},
};

/* AlgorithmIdentifiers, whole. 1.2.840.113549.1.1 is pkcs-1, 1.2.840.10045.4.3
 * ecdsa-with-SHA2, 2.16.840.1.101.3.4.2 NIST's digests. */
#define RSA_ALG(last)                                                                              \
	{                                                                                          \
		0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, last, 0x05, 0x00 \
	}
#define ECDSA_ALG(last)                                                          \
	{                                                                        \
		0x30, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, last \
	}
#define SHA2_OID(last) 0x06, 0x09, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, last
/* rsassa-pss { [0] hash, [1] mgf1 with the same hash, [2] salt length } */
#define PSS_ALG(last, salt)                                                                       \
	{                                                                                         \
		0x30, 0x41, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10, 0x30, 0x34, \
		    0xa0, 0x0f, 0x30, 0x0d, SHA2_OID(last), 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a,   \
		    0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8, 0x30, 0x0d,          \
		    SHA2_OID(last), 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, salt                      \
	}
/* DigestInfo up to the digest: RFC 8017 9.2. */
#define DIGEST_INFO(last, len)                                                      \
	{                                                                           \
		0x30, 0x11 + len, 0x30, 0x0d, SHA2_OID(last), 0x05, 0x00, 0x04, len \
	}

static const uint8_t rsa_sha256[] = RSA_ALG(11), rsa_sha384[] = RSA_ALG(12),
		     rsa_sha512[] = RSA_ALG(13);
static const uint8_t pss_sha256[] = PSS_ALG(1, 32), pss_sha384[] = PSS_ALG(2, 48),
		     pss_sha512[] = PSS_ALG(3, 64);
static const uint8_t ecdsa_sha256[] = ECDSA_ALG(2), ecdsa_sha384[] = ECDSA_ALG(3),
		     ecdsa_sha512[] = ECDSA_ALG(4);
static const uint8_t ed25519[] = {0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70};
static const uint8_t info_sha256[] = DIGEST_INFO(1, 32), info_sha384[] = DIGEST_INFO(2, 48),
		     info_sha512[] = DIGEST_INFO(3, 64);

#define B(octets)                     \
	{                             \
		octets, sizeof octets \
	}

static const struct {
	enum sig_alg alg;
	const char *name;
	enum sig_family family;
	const char *digest;
	size_t digest_len;
	struct bytes der, info;
} sigs[] = {
    {SIG_RSA_SHA256, "rsa-sha256", SIG_FAMILY_RSA, "sha256", 32, B(rsa_sha256), B(info_sha256)},
    {SIG_RSA_SHA384, "rsa-sha384", SIG_FAMILY_RSA, "sha384", 48, B(rsa_sha384), B(info_sha384)},
    {SIG_RSA_SHA512, "rsa-sha512", SIG_FAMILY_RSA, "sha512", 64, B(rsa_sha512), B(info_sha512)},
    {SIG_PSS_SHA256, "pss-sha256", SIG_FAMILY_PSS, "sha256", 32, B(pss_sha256), B(info_sha256)},
    {SIG_PSS_SHA384, "pss-sha384", SIG_FAMILY_PSS, "sha384", 48, B(pss_sha384), B(info_sha384)},
    {SIG_PSS_SHA512, "pss-sha512", SIG_FAMILY_PSS, "sha512", 64, B(pss_sha512), B(info_sha512)},
    {SIG_ECDSA_SHA256, "ecdsa-sha256", SIG_FAMILY_ECDSA, "sha256", 32, B(ecdsa_sha256), {0}},
    {SIG_ECDSA_SHA384, "ecdsa-sha384", SIG_FAMILY_ECDSA, "sha384", 48, B(ecdsa_sha384), {0}},
    {SIG_ECDSA_SHA512, "ecdsa-sha512", SIG_FAMILY_ECDSA, "sha512", 64, B(ecdsa_sha512), {0}},
    {SIG_ED25519, "ed25519", SIG_FAMILY_EDDSA, NULL, 0, B(ed25519), {0}},
};

/* Index into keys[] or sigs[]; their size when there is none. */
static size_t
find_key(enum key_alg alg)
{
	size_t i = 0;

	while (i < COUNT_OF(keys) && keys[i].alg != alg)
		i++;
	return i;
}

static size_t
find_sig(enum sig_alg alg)
{
	size_t i = 0;

	while (i < COUNT_OF(sigs) && sigs[i].alg != alg)
		i++;
	return i;
}

const char *
key_alg_name(enum key_alg alg)
{
	size_t i = find_key(alg);

	return i < COUNT_OF(keys) ? keys[i].name : NULL;
}

bool
key_alg_from_name(const char *name, enum key_alg *alg)
{
	for (size_t i = 0; i < COUNT_OF(keys); i++) {
		if (strcmp(keys[i].name, name) == 0) {
			*alg = keys[i].alg;
			return true;
		}
	}
	return false;
}

bool
key_alg_is_rsa(enum key_alg alg)
{
	size_t i = find_key(alg);

	return i < COUNT_OF(keys) && keys[i].rsa;
}

unsigned
key_alg_bits(enum key_alg alg)
{
	size_t i = find_key(alg);

	return i < COUNT_OF(keys) ? keys[i].bits : 0;
}

size_t
key_alg_field_len(enum key_alg alg)
{
	return key_alg_is_rsa(alg) || alg == KEY_ED25519 ? 0 : (key_alg_bits(alg) + 7) / 8;
}

size_t
key_alg_sig_max(enum key_alg alg)
{
	unsigned bits = key_alg_bits(alg);
	size_t integer;

	if (key_alg_is_rsa(alg))
		return bits / 8;
	if (alg == KEY_ED25519)
		return 64;
	if (bits == 0)
		return 0;
	/* An integer takes one octet more when its highest bit is set, which
	 * 521 bits in 66 octets never have. */
	integer = 2 + (bits + 8) / 8;
	return 2 * integer + (2 * integer < 0x80 ? 2 : 3);
}

const char *
sig_alg_name(enum sig_alg alg)
{
	size_t i = find_sig(alg);

	return i < COUNT_OF(sigs) ? sigs[i].name : NULL;
}

bool
sig_alg_from_name(const char *name, enum sig_alg *alg)
{
	for (size_t i = 0; i < COUNT_OF(sigs); i++) {
		if (strcmp(sigs[i].name, name) == 0) {
			*alg = sigs[i].alg;
			return true;
		}
	}
	return false;
}

bool
sig_alg_valid(unsigned number)
{
	return find_sig((enum sig_alg)number) < COUNT_OF(sigs);
}

enum sig_family
sig_alg_family(enum sig_alg alg)
{
	size_t i = find_sig(alg);

	return i < COUNT_OF(sigs) ? sigs[i].family : SIG_FAMILY_NONE;
}

bool
sig_alg_choose(enum key_alg key, const char *digest, bool pss, enum sig_alg *alg)
{
	enum sig_family family = SIG_FAMILY_ECDSA;

	if (find_key(key) == COUNT_OF(keys) || (pss && !key_alg_is_rsa(key)))
		return false;
	if (key == KEY_ED25519) {
		*alg = SIG_ED25519;
		return digest == NULL;
	}
	if (key_alg_is_rsa(key))
		family = pss ? SIG_FAMILY_PSS : SIG_FAMILY_RSA;
	if (digest == NULL)
		digest = key == KEY_P384 ? "sha384" : key == KEY_P521 ? "sha512" : "sha256";
	for (size_t i = 0; i < COUNT_OF(sigs); i++) {
		if (sigs[i].family == family && strcmp(sigs[i].digest, digest) == 0) {
			*alg = sigs[i].alg;
			return true;
		}
	}
	return false;
}

bool
sig_alg_fits_key(enum sig_alg alg, enum key_alg key)
{
	enum sig_family family = sig_alg_family(alg);

	if (find_key(key) == COUNT_OF(keys))
		return false;
	if (key_alg_is_rsa(key))
		return family == SIG_FAMILY_RSA || family == SIG_FAMILY_PSS;
	if (key == KEY_ED25519)
		return family == SIG_FAMILY_EDDSA;
	return family == SIG_FAMILY_ECDSA;
}

struct bytes
sig_alg_der(enum sig_alg alg)
{
	size_t i = find_sig(alg);

	return i < COUNT_OF(sigs) ? sigs[i].der : (struct bytes){0};
}

/* AlgorithmIdentifier of a digest, with NULL parameters or none (RFC 4055 2.1):
 * which of ours it is, by the digest's length; 0 for others. */
static size_t
read_digest_alg(struct der *d)
{
	static const uint8_t nist[] = {0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2};
	struct bytes oid, null;
	struct der alg;

	if (!der_enter(d, DER_SEQUENCE, &alg) || !der_read_oid(&alg, &oid))
		return 0;
	if (!der_end(&alg) && (!der_read(&alg, DER_NULL, &null) || null.len != 0 || !der_end(&alg)))
		return 0;
	if (oid.len != sizeof nist + 1 || memcmp(oid.p, nist, sizeof nist) != 0)
		return 0;
	switch (oid.p[sizeof nist]) {
	case 1:
		return 32;
	case 2:
		return 48;
	case 3:
		return 64;
	default:
		return 0;
	}
}

/* RSASSA-PSS-params (RFC 4055 3.1) with explicit digest, MGF1 over the same one
 * and no trailerField. All defaults mean SHA-1, so absent fields are refused. */
static bool
parse_pss(struct der *params, enum sig_alg *alg, unsigned *salt_len)
{
	static const uint8_t mgf1[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8};
	size_t digest_len, mgf_digest_len;
	struct der field, mgf;
	struct bytes oid;
	uint32_t salt;

	if (!der_enter(params, DER_CONTEXT_CONSTRUCTED(0), &field))
		return false;
	digest_len = read_digest_alg(&field);
	if (digest_len == 0 || !der_end(&field) ||
	    !der_enter(params, DER_CONTEXT_CONSTRUCTED(1), &field) ||
	    !der_enter(&field, DER_SEQUENCE, &mgf) || !der_end(&field) ||
	    !der_read_oid(&mgf, &oid) || !bytes_equal(oid, (struct bytes)B(mgf1)))
		return false;
	mgf_digest_len = read_digest_alg(&mgf);
	if (mgf_digest_len != digest_len || !der_end(&mgf))
		return false;
	salt = 20;
	if (der_next_is(params, DER_CONTEXT_CONSTRUCTED(2)) &&
	    (!der_enter(params, DER_CONTEXT_CONSTRUCTED(2), &field) ||
		!der_read_small(&field, SIG_MAX, &salt) || salt == 20 || !der_end(&field)))
		return false;
	if (!der_end(params))
		return false;
	*salt_len = salt;
	*alg = digest_len == 32	  ? SIG_PSS_SHA256
	       : digest_len == 48 ? SIG_PSS_SHA384
				  : SIG_PSS_SHA512;
	return true;
}

bool
sig_alg_parse(struct bytes der, enum sig_alg *alg, unsigned *salt_len)
{
	static const uint8_t pss[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10};
	struct der d, params;
	struct bytes oid;

	*salt_len = 0;
	for (size_t i = 0; i < COUNT_OF(sigs); i++) {
		if (bytes_equal(sigs[i].der, der)) {
			*alg = sigs[i].alg;
			if (sigs[i].family == SIG_FAMILY_PSS)
				*salt_len = (unsigned)sigs[i].digest_len;
			return true;
		}
	}
	if (!der_enter_only(der, DER_SEQUENCE, &d) || !der_read_oid(&d, &oid))
		return false;
	if (bytes_equal(oid, (struct bytes)B(pss)))
		return der_enter(&d, DER_SEQUENCE, &params) && der_end(&d) &&
		       parse_pss(&params, alg, salt_len);
	/* RSA with the parameters left out: the OID with its header stands
	 * where ours has it. */
	for (size_t i = 0; i < COUNT_OF(sigs); i++) {
		if (sigs[i].family == SIG_FAMILY_RSA && der_end(&d) &&
		    bytes_equal(oid, (struct bytes){sigs[i].der.p + 4, 9})) {
			*alg = sigs[i].alg;
			return true;
		}
	}
	return false;
}

const EVP_MD *
sig_alg_md(enum sig_alg alg)
{
	switch (sig_alg_digest_len(alg)) {
	case 32:
		return EVP_sha256();
	case 48:
		return EVP_sha384();
	case 64:
		return EVP_sha512();
	default:
		return NULL;
	}
}

const char *
sig_alg_digest_name(enum sig_alg alg)
{
	size_t i = find_sig(alg);

	return i < COUNT_OF(sigs) ? sigs[i].digest : NULL;
}

size_t
sig_alg_digest_len(enum sig_alg alg)
{
	size_t i = find_sig(alg);

	return i < COUNT_OF(sigs) ? sigs[i].digest_len : 0;
}

struct bytes
sig_alg_digest_info(enum sig_alg alg)
{
	size_t i = find_sig(alg);

	return i < COUNT_OF(sigs) ? sigs[i].info : (struct bytes){0};
}
