#ifndef CHANCERY_PKCS11_KEY_INT_H
#define CHANCERY_PKCS11_KEY_INT_H

#include "daemon/core/signproto.h"
#include "pkcs11/key.h"

/* CKA_EC_PARAMS of a curve: the DER of its object identifier (RFC 5480 2.1.1.1).
 * Static memory. */
bool key_curve_params(enum key_alg alg, struct bytes *params) MUST_CHECK;

/* Reads a public key object into key: algorithm, SubjectPublicKeyInfo, and the
 * key for verifying. The caller clears key on failure. */
bool key_read_public(
    struct session *s, CK_OBJECT_HANDLE handle, struct key *key, struct error *e) MUST_CHECK;

/* Objects of a class, at most that many. */
#define KEY_OBJECTS_MAX 1024
bool key_list_objects(struct session *s, CK_OBJECT_CLASS class,
    CK_OBJECT_HANDLE found[KEY_OBJECTS_MAX], CK_ULONG *count, struct error *e) MUST_CHECK;

/* The one public key whose SubjectPublicKeyInfo has this SHA-256. ERROR_NOT_FOUND;
 * ERROR_CONFLICT when there are several. */
bool key_find_public(struct session *s, const uint8_t spki_sha256[32], CK_OBJECT_HANDLE *handle,
    struct error *e) MUST_CHECK;

/* The private key with this CKA_ID; CK_INVALID_HANDLE when there is none. */
bool key_find_private(
    struct session *s, struct bytes id, CK_OBJECT_HANDLE *handle, struct error *e) MUST_CHECK;

/* The same of the public key. */
bool key_find_public_half(
    struct session *s, struct bytes id, CK_OBJECT_HANDLE *handle, struct error *e) MUST_CHECK;

/* CKA_ID of an object; *len is 0 where it has none. */
bool key_read_id(struct session *s, CK_OBJECT_HANDLE handle, uint8_t id[SIGNPROTO_ID_MAX],
    size_t *len, struct error *e) MUST_CHECK;

/* Asks whether the token wants the PIN for each signature with the key. */
void key_read_always_authenticate(struct session *s, struct key *key);

/* Tries each of the wanted signatures, and gives none out. */
bool key_try(struct session *s, const struct key_wanted *wanted, const struct key *key,
    struct error *e) MUST_CHECK;

#endif
