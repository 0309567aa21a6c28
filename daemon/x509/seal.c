#include "daemon/x509/seal_int.h"

#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

#define AES_KEY_LEN 32

bool
seal_agree(EVP_PKEY *own, EVP_PKEY *peer, uint8_t shared[SEAL_SHARED_LEN])
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
	size_t len = SEAL_SHARED_LEN;
	bool ok;

	ok = ctx != NULL && EVP_PKEY_derive_init(ctx) == 1 &&
	     EVP_PKEY_derive_set_peer(ctx, peer) == 1 && EVP_PKEY_derive(ctx, shared, &len) == 1 &&
	     len == SEAL_SHARED_LEN;
	EVP_PKEY_CTX_free(ctx);
	return ok;
}

static OSSL_PARAM
octets(const char *name, const uint8_t *p, size_t len)
{
	/* The type has no const; a derivation only reads. */
	return OSSL_PARAM_construct_octet_string(name, (void *)(uintptr_t)p, len);
}

bool
seal_derive(const uint8_t shared[SEAL_SHARED_LEN], struct bytes salt, struct bytes info,
    uint8_t material[SEAL_MATERIAL_LEN])
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
	    OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
	    octets(OSSL_KDF_PARAM_KEY, shared, SEAL_SHARED_LEN),
	    octets(OSSL_KDF_PARAM_SALT, salt.p, salt.len),
	    octets(OSSL_KDF_PARAM_INFO, info.p, info.len),
	    OSSL_PARAM_construct_end(),
	};
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf != NULL ? EVP_KDF_CTX_new(kdf) : NULL;
	bool ok;

	ok = ctx != NULL && EVP_KDF_derive(ctx, material, SEAL_MATERIAL_LEN, params) == 1;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok;
}

bool
seal_encrypt(
    const uint8_t material[SEAL_MATERIAL_LEN], struct bytes aad, struct bytes plain, uint8_t *out)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n = 0, last = 0;
	bool ok;

	ok = ctx != NULL &&
	     EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, material, material + AES_KEY_LEN) ==
		 1 &&
	     EVP_EncryptUpdate(ctx, NULL, &n, aad.p, (int)aad.len) == 1 &&
	     EVP_EncryptUpdate(ctx, out, &n, plain.p, (int)plain.len) == 1 &&
	     (size_t)n == plain.len && EVP_EncryptFinal_ex(ctx, out + n, &last) == 1 && last == 0 &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, SEAL_TAG_LEN, out + plain.len) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

bool
seal_decrypt(
    const uint8_t material[SEAL_MATERIAL_LEN], struct bytes aad, struct bytes box, uint8_t *plain)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	uint8_t tag[SEAL_TAG_LEN];
	int n = 0, last = 0;
	size_t len;
	bool ok;

	if (box.len < SEAL_TAG_LEN) {
		EVP_CIPHER_CTX_free(ctx);
		return false;
	}
	len = box.len - SEAL_TAG_LEN;
	memcpy(tag, box.p + len, sizeof tag);
	ok = ctx != NULL &&
	     EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, material, material + AES_KEY_LEN) ==
		 1 &&
	     EVP_DecryptUpdate(ctx, NULL, &n, aad.p, (int)aad.len) == 1 &&
	     EVP_DecryptUpdate(ctx, plain, &n, box.p, (int)len) == 1 && (size_t)n == len &&
	     EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, sizeof tag, tag) == 1 &&
	     EVP_DecryptFinal_ex(ctx, plain + n, &last) == 1 && last == 0;
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}
