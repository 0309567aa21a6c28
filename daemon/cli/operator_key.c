#include "daemon/cli/operator_key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "daemon/cli/output.h"
#include "daemon/core/config.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/pem.h"

/* 16 MiB of memory for each guess, within what OpenSSL opens by default. */
#define SCRYPT_N 16384
#define SCRYPT_R 8
#define SCRYPT_P 1

#define PUBLIC_KEY_FILE_MAX 16384

bool
operator_key_path(const struct options *options, char *out, size_t size, struct error *e)
{
	const char *path = option_or_variable(options, OPTION_OPERATOR_KEY, OPERATOR_KEY_VARIABLE);
	const char *home = getenv("HOME");
	int n;

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

void
operator_key_make_folders(const char *path)
{
	char part[OPERATOR_PATH_MAX];

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

/* Not every file system can refuse to replace (EINVAL): there the look before
 * has to do. */
static bool
move_file(const char *from, const char *to, bool replace)
{
	return (!replace && renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) ||
	       ((replace || errno == EINVAL) && rename(from, to) == 0);
}

/* Writes a new file of that mode beside path and gives it path's name: there is
 * a whole file or none. What has that name already is only replaced if told to. */
static bool
write_file(const char *path, mode_t mode, bool replace, X509_SIG *sealed, const char *text,
    struct error *e)
{
	char fresh[OPERATOR_PATH_MAX + 8];
	FILE *f = NULL;
	bool ok = false;
	int fd;

	(void)snprintf(fresh, sizeof fresh, "%s.XXXXXX", path);
	fd = mkostemp(fresh, O_CLOEXEC);
	if (fd < 0)
		return error_set_errno(e, ERROR_SYSTEM, "creating %s", path);
	f = fchmod(fd, mode) == 0 ? fdopen(fd, "w") : NULL;
	if (f == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "creating %s", path);
		(void)close(fd);
		goto out;
	}
	ok = sealed != NULL ? PEM_write_PKCS8(f, sealed) == 1 : fputs(text, f) >= 0;
	ok = ok && fflush(f) == 0 && fsync(fd) == 0;
	if (fclose(f) != 0)
		ok = false;
	ok = ok && move_file(fresh, path, replace);
	if (!ok)
		error_set_errno(e, ERROR_SYSTEM, "writing %s", path);
out:
	if (!ok)
		(void)unlink(fresh);
	return ok;
}

bool
operator_key_check_new(const char *path, bool force, struct error *e)
{
	struct stat st;

	if (force || lstat(path, &st) != 0)
		return true;
	return error_set(e, ERROR_CONFLICT,
	    "%s exists already; --force replaces it, and whoever is registered with the old key "
	    "must then be registered anew",
	    path);
}

bool
operator_key_create(const char *path, const struct secret *passphrase, bool force,
    struct operator_key *out, struct error *e)
{
	char pem[1024], public_path[OPERATOR_PATH_MAX];
	X509_SIG *sealed = NULL;
	bool ok = false;

	*out = (struct operator_key){0};
	if (!operator_key_check_new(path, force, e))
		return false;
	if ((size_t)snprintf(public_path, sizeof public_path, "%s" OPERATOR_KEY_PUBLIC, path) >=
	    sizeof public_path)
		return error_set(e, ERROR_USAGE, "the path of the operator key is too long");
	out->key = EVP_EC_gen("P-256");
	sealed = out->key != NULL ? encrypt(out->key, passphrase) : NULL;
	if (sealed == NULL) {
		error_set_openssl(e, ERROR_SYSTEM, "making an operator's key");
		goto out;
	}
	operator_key_make_folders(path);
	ok = describe(out, e) && public_key_pem(out->spki, out->spki_len, pem, sizeof pem, e) &&
	     write_file(path, 0600, force, sealed, NULL, e) &&
	     write_file(public_path, 0644, true, NULL, pem, e);
out:
	X509_SIG_free(sealed);
	if (!ok)
		operator_key_clear(out);
	return ok;
}

/* Files that ask for a passphrase in the old way of PEM are none of ours. */
static int
refuse_passphrase(char *buf, int size, int writing, void *arg)
{
	return -1;
}

/* The passphrase goes straight to the decryption, not by a callback, whose
 * copies nobody wipes. */
static EVP_PKEY *
decrypt(X509_SIG *sealed, const struct secret *passphrase)
{
	PKCS8_PRIV_KEY_INFO *plain = PKCS8_decrypt(sealed, passphrase->text, (int)passphrase->len);
	EVP_PKEY *key = plain != NULL ? EVP_PKCS82PKEY(plain) : NULL;

	PKCS8_PRIV_KEY_INFO_free(plain); /* wipes */
	return key;
}

bool
operator_key_load(
    const char *path, const struct secret *passphrase, struct operator_key *out, struct error *e)
{
	X509_SIG *sealed = NULL;
	bool ok = false;
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
	sealed = PEM_read_PKCS8(f, NULL, refuse_passphrase, NULL);
	(void)fclose(f);
	if (sealed == NULL) {
		ERR_clear_error();
		return error_set(e, ERROR_CONFIG,
		    "%s is no operator key: it holds no \"ENCRYPTED PRIVATE KEY\" in PEM (RFC 5958 "
		    "3); \"openssl pkcs8 -topk8\" makes one of another key",
		    path);
	}
	out->key = decrypt(sealed, passphrase);
	X509_SIG_free(sealed);
	if (out->key == NULL) {
		ERR_clear_error();
		return error_set(
		    e, ERROR_DENIED, "%s cannot be opened: the passphrase is wrong", path);
	}
	ok = describe(out, e) || error_wrap(e, "%s", path);
	if (!ok)
		operator_key_clear(out);
	return ok;
}

bool
public_key_pem(const uint8_t *spki, size_t len, char *out, size_t size, struct error *e)
{
	if (pem_encode(PEM_PUBLIC_KEY, (struct bytes){spki, len}, out, size))
		return true;
	return error_set(e, ERROR_LIMIT, "the public key is too long");
}

bool
public_key_read(const char *file, uint8_t *der, size_t size, size_t *der_len, struct error *e)
{
	struct certificate certificate;
	struct error why = ERROR_INIT;
	uint8_t whole[PUBLIC_KEY_FILE_MAX];
	struct bytes text;
	char *buf = NULL;
	size_t len, whole_len;
	bool ok = false;

	if (!output_read_file(file, PUBLIC_KEY_FILE_MAX, &buf, &len, e))
		return false;
	text = (struct bytes){(const uint8_t *)buf, len};
	ok = pem_decode(&text, PEM_PUBLIC_KEY, der, size, der_len, &why);
	if (ok || why.code != ERROR_NOT_FOUND) {
		if (!ok)
			error_set(e, why.code, "%s: %s", file, why.text);
		goto out;
	}
	text = (struct bytes){(const uint8_t *)buf, len};
	if (!pem_decode(&text, PEM_CERTIFICATE, whole, sizeof whole, &whole_len, &why)) {
		error_set(e, ERROR_INPUT,
		    "%s holds neither a public key nor a certificate in PEM (\"openssl pkey "
		    "-pubout\" "
		    "makes a public key of a private one)",
		    file);
		goto out;
	}
	if (!certificate_parse((struct bytes){whole, whole_len}, &certificate, e)) {
		error_wrap(e, "%s", file);
		goto out;
	}
	if (certificate.spki.whole.len > size) {
		error_set(e, ERROR_LIMIT, "%s: its public key is too long", file);
		goto out;
	}
	memcpy(der, certificate.spki.whole.p, certificate.spki.whole.len);
	*der_len = certificate.spki.whole.len;
	ok = true;
out:
	/* Somebody may have named a private key. */
	OPENSSL_cleanse(buf, len);
	free(buf);
	return ok;
}
