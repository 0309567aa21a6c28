#include "daemon/cli/operator_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "daemon/core/config.h"
#include "daemon/x509/pem.h"

/* 16 MiB of memory for each guess, within what OpenSSL opens by default. */
#define SCRYPT_N 16384
#define SCRYPT_R 8
#define SCRYPT_P 1

bool
operator_key_path(const struct options *options, char *out, size_t size, struct error *e)
{
	const char *path = options->value[OPTION_OPERATOR_KEY], *home = getenv("HOME");
	int n;

	if (path == NULL)
		path = getenv("CHANCERY_OPERATOR_KEY");
	if (path != NULL)
		n = snprintf(out, size, "%s", path);
	else if (home != NULL && home[0] == '/')
		n = snprintf(out, size, "%s/.config/chancery/operator.pem", home);
	else
		return error_set(e, ERROR_USAGE,
		    "no home directory to look for your key in: use --operator-key or "
		    "$CHANCERY_OPERATOR_KEY");
	if (n < 0 || (size_t)n >= size)
		return error_set(e, ERROR_USAGE, "the path of the operator key is too long");
	return true;
}

void
operator_key_clear(struct operator_key *k)
{
	EVP_PKEY_free(k->key);
	*k = (struct operator_key){0};
}

/* Fills in what the service knows the key by. */
static bool
describe(struct operator_key *k, struct error *e)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	if (!statement_public_key(k->key, k->spki, &k->spki_len, e))
		return false;
	SHA256(k->spki, k->spki_len, digest);
	for (size_t i = 0; i < sizeof digest; i++)
		(void)snprintf(k->sha256 + 2 * i, 3, "%02x", digest[i]);
	return true;
}

/* The folders above path that do not exist yet. */
static void
make_folders(const char *path)
{
	char part[4096];

	for (const char *p = strchr(path + 1, '/'); p != NULL; p = strchr(p + 1, '/')) {
		if ((size_t)(p - path) >= sizeof part)
			return;
		memcpy(part, path, (size_t)(p - path));
		part[p - path] = '\0';
		if (mkdir(part, 0700) != 0 && errno != EEXIST)
			return; /* opening the file will say why */
	}
}

static X509_SIG *
encrypt(EVP_PKEY *key, const struct secret *passphrase)
{
	PKCS8_PRIV_KEY_INFO *plain = EVP_PKEY2PKCS8(key);
	X509_ALGOR *pbe = PKCS5_pbe2_set_scrypt(
	    EVP_aes_256_cbc(), NULL, 0, NULL, SCRYPT_N, SCRYPT_R, SCRYPT_P);
	X509_SIG *sealed = NULL;

	if (plain != NULL && pbe != NULL)
		sealed = PKCS8_set0_pbe(passphrase->text, (int)passphrase->len, plain, pbe);
	if (sealed == NULL)
		X509_ALGOR_free(pbe); /* otherwise owned by sealed */
	PKCS8_PRIV_KEY_INFO_free(plain);
	return sealed;
}

static bool
write_file(const char *path, const char *from, X509_SIG *sealed, struct error *e)
{
	int fd = open(from, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	FILE *f = fd >= 0 ? fdopen(fd, "w") : NULL;
	bool ok;

	if (f == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "creating %s", from);
		if (fd >= 0)
			(void)close(fd);
		return false;
	}
	ok = PEM_write_PKCS8(f, sealed) == 1 && fflush(f) == 0 && fsync(fd) == 0;
	if (fclose(f) != 0)
		ok = false;
	if (ok && strcmp(path, from) != 0)
		ok = rename(from, path) == 0;
	if (!ok) {
		error_set_errno(e, ERROR_SYSTEM, "writing %s", path);
		(void)unlink(from);
	}
	return ok;
}

bool
operator_key_create(const char *path, const struct secret *passphrase, bool force,
    struct operator_key *out, struct error *e)
{
	char fresh[4096 + 8];
	X509_SIG *sealed = NULL;
	bool ok = false;

	*out = (struct operator_key){0};
	if (!force && access(path, F_OK) == 0)
		return error_set(e, ERROR_CONFLICT,
		    "%s exists already; use --force to replace it, and its decisions can no longer "
		    "be signed",
		    path);
	out->key = EVP_EC_gen("P-256");
	sealed = out->key != NULL ? encrypt(out->key, passphrase) : NULL;
	if (sealed == NULL) {
		error_set_openssl(e, ERROR_SYSTEM, "making an operator's key");
		goto out;
	}
	make_folders(path);
	(void)snprintf(fresh, sizeof fresh, force ? "%s.new" : "%s", path);
	ok = write_file(path, fresh, sealed, e) && describe(out, e);
out:
	X509_SIG_free(sealed);
	if (!ok)
		operator_key_clear(out);
	return ok;
}

static int
give_passphrase(char *buf, int size, int writing, void *arg)
{
	const struct secret *s = arg;

	if ((size_t)size < s->len)
		return -1;
	memcpy(buf, s->text, s->len);
	return (int)s->len;
}

bool
operator_key_load(
    const char *path, const struct secret *passphrase, struct operator_key *out, struct error *e)
{
	FILE *f;
	int fd;

	*out = (struct operator_key){0};
	if (!config_open_secret(path, &fd, e))
		return error_wrap(e, "your operator key");
	f = fdopen(fd, "r");
	if (f == NULL) {
		(void)close(fd);
		return error_set_errno(e, ERROR_SYSTEM, "reading %s", path);
	}
	out->key = PEM_read_PrivateKey(f, NULL, give_passphrase, (void *)passphrase);
	(void)fclose(f);
	if (out->key == NULL)
		return error_set_openssl(e, ERROR_DENIED,
		    "%s cannot be opened: the passphrase is wrong, or it is no private key", path);
	if (describe(out, e))
		return true;
	operator_key_clear(out);
	return false;
}

bool
public_key_pem(const uint8_t *spki, size_t len, char *out, size_t size, struct error *e)
{
	if (pem_encode(PEM_PUBLIC_KEY, (struct bytes){spki, len}, out, size))
		return true;
	return error_set(e, ERROR_LIMIT, "the public key is too long");
}
