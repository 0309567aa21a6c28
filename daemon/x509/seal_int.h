#ifndef CHANCERY_X509_SEAL_INT_H
#define CHANCERY_X509_SEAL_INT_H

/*
 * What is encrypted to a key is encrypted in one way, that of HPKE's base mode (RFC
 * 9180): a key agreement with an ephemeral key, HKDF-SHA256, AES-256-GCM. A key is
 * derived for each message, and its nonce with it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

#include "daemon/core/wire.h"

#define SEAL_SHARED_LEN 32   /* of X25519, and of ECDH over P-256 */
#define SEAL_MATERIAL_LEN 44 /* key and nonce */
#define SEAL_TAG_LEN 16

/* Fails for a peer that would make the secret all zeros (RFC 7748 6.1). */
bool seal_agree(EVP_PKEY *own, EVP_PKEY *peer, uint8_t shared[SEAL_SHARED_LEN]);

bool seal_derive(const uint8_t shared[SEAL_SHARED_LEN], struct bytes salt, struct bytes info,
    uint8_t material[SEAL_MATERIAL_LEN]);

/* out: plain.len + SEAL_TAG_LEN octets. */
bool seal_encrypt(
    const uint8_t material[SEAL_MATERIAL_LEN], struct bytes aad, struct bytes plain, uint8_t *out);

/* plain: box.len - SEAL_TAG_LEN octets, undefined on failure. */
bool seal_decrypt(
    const uint8_t material[SEAL_MATERIAL_LEN], struct bytes aad, struct bytes box, uint8_t *plain);

#endif
