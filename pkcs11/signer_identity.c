#include "pkcs11/signer_identity.h"

#include <string.h>

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "daemon/x509/statement.h"
#include "pkcs11/store.h"

#define IDENTITY_FILE "identity.pem"
#define PEM_MAX 1024

static bool
public_part(EVP_PKEY *key, uint8_t spki[SIGNER_IDENTITY_SPKI_LEN], struct error *e)
{
	uint8_t der[STATEMENT_SPKI_MAX];
	size_t len = 0;

	if (!EVP_PKEY_is_a(key, "ED25519") || !statement_public_key(key, der, &len, e))
		return error_set(e, ERROR_CONFIG, "the signer's identity key is not Ed25519");
	memcpy(spki, der, SIGNER_IDENTITY_SPKI_LEN);
	return true;
}

bool
signer_identity_read(
    const char *state_dir, EVP_PKEY **key, uint8_t spki[SIGNER_IDENTITY_SPKI_LEN], struct error *e)
{
	char text[PEM_MAX];
	BIO *in = NULL;
	size_t len = 0;
	bool ok = false;

	*key = NULL;
	if (!store_read(state_dir, IDENTITY_FILE, text, sizeof text, &len, e))
		goto out;
	in = BIO_new_mem_buf(text, (int)len);
	if (in != NULL)
		*key = PEM_read_bio_PrivateKey(in, NULL, NULL, NULL);
	if (*key == NULL) {
		(void)error_set_openssl(e, ERROR_CONFIG,
		    "%s/%s is no private key; without it operators do not know this signer",
		    state_dir, IDENTITY_FILE);
		goto out;
	}
	ok = public_part(*key, spki, e);
out:
	if (!ok) {
		EVP_PKEY_free(*key);
		*key = NULL;
	}
	BIO_free(in);
	OPENSSL_cleanse(text, sizeof text);
	return ok;
}

static bool
make(const char *state_dir, struct error *e)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	BIO *out = BIO_new(BIO_s_secmem());
	char *text = NULL;
	bool ok = false;
	long len = 0;

	if (key == NULL || out == NULL ||
	    PEM_write_bio_PKCS8PrivateKey(out, key, NULL, NULL, 0, NULL, NULL) != 1 ||
	    (len = BIO_get_mem_data(out, &text)) <= 0)
		(void)error_set_openssl(e, ERROR_INTERNAL, "cannot make the signer's identity key");
	else
		ok = store_write(state_dir, IDENTITY_FILE, text, (size_t)len, false, e);
	BIO_free(out);
	EVP_PKEY_free(key);
	return ok;
}

bool
signer_identity_open(
    const char *state_dir, EVP_PKEY **key, uint8_t spki[SIGNER_IDENTITY_SPKI_LEN], struct error *e)
{
	struct error why = ERROR_INIT;

	if (signer_identity_read(state_dir, key, spki, &why))
		return true;
	if (why.code != ERROR_NOT_FOUND) {
		*e = why;
		return false;
	}
	return make(state_dir, e) && signer_identity_read(state_dir, key, spki, e);
}
