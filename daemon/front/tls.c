#include "daemon/front/tls.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "daemon/core/config.h"

/* Never ask at the terminal: a role has none. */
static int
no_passphrase(char *buf, int size, int writing, void *arg)
{
	return 0;
}

static int
accept_any(int ok, X509_STORE_CTX *store)
{
	return 1;
}

static bool
use_key(SSL_CTX *ctx, const char *path, struct error *err)
{
	EVP_PKEY *key = NULL;
	BIO *bio = NULL;
	bool ok = false;
	int fd = -1;

	if (!config_open_secret(path, &fd, err))
		return false;
	bio = BIO_new_fd(fd, BIO_CLOSE);
	if (bio == NULL) {
		close(fd);
		error_set_openssl(err, ERROR_SYSTEM, "TLS key %s", path);
		goto out;
	}
	key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
	if (key == NULL) {
		error_set_openssl(err, ERROR_CONFIG,
		    "TLS key %s is not a private key in PEM form without a passphrase", path);
		goto out;
	}
	if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1) {
		error_set_openssl(
		    err, ERROR_CONFIG, "TLS key %s does not belong to its certificate", path);
		goto out;
	}
	ok = true;
out:
	EVP_PKEY_free(key);
	BIO_free(bio);
	return ok;
}

SSL_CTX *
tls_context_new(const char *certificate, const char *key, struct error *err)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (ctx == NULL || SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1) {
		error_set_openssl(err, ERROR_SYSTEM, "TLS cannot be set up");
		goto fail;
	}
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
				     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_TICKET);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(ctx, 0);
	SSL_CTX_set_max_cert_list(ctx, TLS_PEER_CHAIN_MAX);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	SSL_CTX_set_default_passwd_cb(ctx, no_passphrase);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, accept_any);
	if (SSL_CTX_use_certificate_chain_file(ctx, certificate) != 1) {
		error_set_openssl(err, ERROR_CONFIG,
		    "TLS certificate %s is not a chain of certificates in PEM form", certificate);
		goto fail;
	}
	if (!use_key(ctx, key, err))
		goto fail;
	return ctx;
fail:
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return NULL;
}

bool
tls_peer_identity(SSL *ssl, char *out, size_t out_size)
{
	X509 *peer = SSL_get0_peer_certificate(ssl);
	unsigned char digest[EVP_MAX_MD_SIZE], *der = NULL;
	unsigned digest_len = 0;
	int len;
	bool ok;

	out[0] = '\0';
	if (peer == NULL)
		return true;
	len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(peer), &der);
	ok = len > 0 &&
	     EVP_Digest(der, (size_t)len, digest, &digest_len, EVP_sha256(), NULL) == 1 &&
	     out_size >= 4 + 2 * (size_t)digest_len + 1;
	OPENSSL_free(der);
	if (!ok)
		return false;
	memcpy(out, "tls:", 4);
	for (unsigned i = 0; i < digest_len; i++)
		snprintf(out + 4 + 2 * i, 3, "%02x", digest[i]);
	return true;
}
