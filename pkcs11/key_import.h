#ifndef CHANCERY_PKCS11_KEY_IMPORT_H
#define CHANCERY_PKCS11_KEY_IMPORT_H

/*
 * A private key from a PKCS#12 file (RFC 7292) into the token, at the signer's console:
 * the way of a CA that moves here with a key that was kept in a file. The key was outside
 * once, and nothing can take that back.
 */

#include <openssl/evp.h>

#include "pkcs11/key.h"

#define KEY_IMPORT_FILE_MAX 262144 /* octets */

/* Takes the private key out of the file's octets. NULL: ERROR_DENIED when the passphrase
 * does not fit, ERROR_INPUT when there is no key of a kind that a CA has. The caller frees
 * it. */
EVP_PKEY *key_import_read(struct bytes file, const char *passphrase, struct error *e) MUST_CHECK;

/* After the last key was freed, when the process has nothing more to do with keys. */
void key_import_end(void);

/*
 * Makes both halves on the token: private, sensitive, not extractable, for signing only,
 * with that label and with the subject key identifier as CKA_ID, until limits take the
 * key over (key_adopt.h). Asks the token afterwards whether it is so, and tries a
 * signature. ERROR_CONFLICT when the token has the public key already. s must be a
 * read-write session. digest: SHA-256 of the SubjectPublicKeyInfo.
 */
bool key_import(struct session *s, EVP_PKEY *pkey, const char *label, uint8_t digest[32],
    struct error *e) MUST_CHECK;

#endif
