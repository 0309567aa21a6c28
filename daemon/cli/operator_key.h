#ifndef CHANCERY_CLI_OPERATOR_KEY_H
#define CHANCERY_CLI_OPERATOR_KEY_H

/*
 * An operator's key: P-256 in a file of its own, PKCS#8 encrypted with the
 * operator's passphrase (PBES2 with scrypt and AES-256-CBC, RFC 8018, RFC 7914).
 */

#include <openssl/evp.h>

#include "daemon/cli/options.h"
#include "daemon/cli/secret.h"
#include "daemon/x509/statement.h"

#define OPERATOR_PATH_MAX 4096
#define OPERATOR_KEY_PUBLIC ".pub"
#define OPERATOR_KEY_VARIABLE "CHANCERY_OPERATOR_KEY"

struct operator_key {
	EVP_PKEY *key;
	uint8_t spki[STATEMENT_SPKI_MAX];
	size_t spki_len;
	char sha256[65]; /* hex of the SPKI's digest: how the service knows it */
};

/* --operator-key, $CHANCERY_OPERATOR_KEY, or ~/.config/chancery/operator.pem. */
bool operator_key_path(
    const struct options *options, char *out, size_t size, struct error *e) MUST_CHECK;

/* Refuses a path where a key is already, unless force. */
bool operator_key_check_new(const char *path, bool force, struct error *e) MUST_CHECK;

/* Makes a key and its file (0600; folders above it 0700), and the file of its
 * public key, PEM, beside it (OPERATOR_KEY_PUBLIC after its name, 0644). An
 * existing file is only replaced with force. */
bool operator_key_create(const char *path, const struct secret *passphrase, bool force,
    struct operator_key *out, struct error *e) MUST_CHECK;

/* The file must be private (config_open_secret) and hold an encrypted key.
 * ERROR_DENIED: wrong passphrase; ERROR_CONFIG: another kind of file. */
bool operator_key_load(const char *path, const struct secret *passphrase, struct operator_key *out,
    struct error *e) MUST_CHECK;

/* Makes the folders above path that do not exist yet, for nobody else (0700). What goes
 * wrong shows when the file is written. */
void operator_key_make_folders(const char *path);

void operator_key_clear(struct operator_key *k);

/* The SubjectPublicKeyInfo in a file: a public key or a certificate, PEM. */
bool public_key_read(
    const char *file, uint8_t *der, size_t size, size_t *der_len, struct error *e) MUST_CHECK;

/* PEM "PUBLIC KEY" of an SPKI into out. */
bool public_key_pem(
    const uint8_t *spki, size_t len, char *out, size_t size, struct error *e) MUST_CHECK;

#endif
