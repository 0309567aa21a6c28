#ifndef CHANCERY_PKCS11_KEY_ADOPT_H
#define CHANCERY_PKCS11_KEY_ADOPT_H

/*
 * Key pairs that were on the token before there were limits for them: looking for one,
 * and giving it the CKA_ID of its limits.
 *
 * Whoever brings limits names himself as their operator, which is harmless with a key
 * that is made for them, and would hand over one that is there. So root has to agree at
 * the signer's console, once for each document (chancery-signer --adopt).
 */

#include "pkcs11/key.h"

/* Notes that the document with this SHA-256 may take over the key that it names. */
bool key_adopt_allow(
    const char *state_dir, const uint8_t document_sha256[32], struct error *e) MUST_CHECK;

/* ERROR_UNAVAILABLE, with what to do, while that was not noted. */
bool key_adopt_check_allowed(
    const char *state_dir, const uint8_t document_sha256[32], struct error *e) MUST_CHECK;

/* It is over; that there is no note is no error. */
bool key_adopt_forget(
    const char *state_dir, const uint8_t document_sha256[32], struct error *e) MUST_CHECK;

/*
 * Finds the pair whose SubjectPublicKeyInfo has this digest, whatever its CKA_ID, tries
 * what wanted asks of it, and gives both halves the CKA_ID of wanted. A pair that was
 * half done is finished. s must be a read-write session. ERROR_NOT_FOUND when the token
 * has no such public key or not its private half; ERROR_DENIED when the private key could
 * leave the token (key_check_adopted). On success key is filled in (key_clear).
 */
bool key_adopt(struct session *s, const uint8_t spki_sha256[32], const struct key_wanted *wanted,
    struct key *key, struct error *e) MUST_CHECK;

/* *there: the token has a public key whose SubjectPublicKeyInfo has this digest. */
bool key_is_there(
    struct session *s, const uint8_t spki_sha256[32], bool *there, struct error *e) MUST_CHECK;

/* As key_check, without what only a key that was made on the token can say. */
bool key_check_adopted(struct session *s, const struct key *key, struct error *e) MUST_CHECK;

#endif
