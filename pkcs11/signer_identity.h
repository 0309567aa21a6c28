#ifndef CHANCERY_PKCS11_SIGNER_IDENTITY_H
#define CHANCERY_PKCS11_SIGNER_IDENTITY_H

/*
 * The key by which operators know a signer again (daemon/x509/signer_start.h):
 * Ed25519, made once, in the signer's state directory. It signs announcements and
 * nothing else, so it is of no use for signing as a CA; who has it can ask
 * operators for their PINs.
 */

#include <stdbool.h>
#include <stdint.h>

#include <openssl/types.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/x509/signer_start.h"

/* Reads it, or makes it when there is none. *key is the caller's. */
bool signer_identity_open(const char *state_dir, EVP_PKEY **key,
    uint8_t spki[SIGNER_IDENTITY_SPKI_LEN], struct error *e) MUST_CHECK;

/* Reads it. ERROR_NOT_FOUND when there is none. */
bool signer_identity_read(const char *state_dir, EVP_PKEY **key,
    uint8_t spki[SIGNER_IDENTITY_SPKI_LEN], struct error *e) MUST_CHECK;

#endif
