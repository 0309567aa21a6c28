#ifndef CHANCERY_PKCS11_KEY_INT_H
#define CHANCERY_PKCS11_KEY_INT_H

#include "pkcs11/key.h"

/* CKA_EC_PARAMS of a curve: the DER of its object identifier (RFC 5480 2.1.1.1).
 * Static memory. */
bool key_curve_params(enum key_alg alg, struct bytes *params) MUST_CHECK;

/* Reads a public key object into key: algorithm, SubjectPublicKeyInfo, and the
 * key for verifying. The caller clears key on failure. */
bool key_read_public(
    struct session *s, CK_OBJECT_HANDLE handle, struct key *key, struct error *e) MUST_CHECK;

#endif
