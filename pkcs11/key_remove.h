#ifndef CHANCERY_PKCS11_KEY_REMOVE_H
#define CHANCERY_PKCS11_KEY_REMOVE_H

/*
 * Destroying a key for good, at the signer's console: one that no CA here has, such as
 * what an attempt left behind. A key with limits belongs to its CA's operators, and is
 * destroyed by their order only (orders.h).
 */

#include "daemon/core/signproto.h"
#include "pkcs11/key.h"

#define KEY_LABEL_MAX 64 /* octets; longer ones do not fit */

struct key_remains {
	CK_OBJECT_HANDLE public_key, private_key; /* CK_INVALID_HANDLE: none */
	uint8_t id[SIGNPROTO_ID_MAX];		  /* CKA_ID of both */
	size_t id_len;
	char label[KEY_LABEL_MAX + 1];
};

/* Finds the pair by the SHA-256 of its SubjectPublicKeyInfo. ERROR_DENIED when limits are
 * for it here; ERROR_NOT_FOUND. */
bool key_find_unowned(struct session *s, const char *state_dir, const uint8_t spki_sha256[32],
    struct key_remains *key, struct error *e) MUST_CHECK;

/* What there is of the pair with this CKA_ID; nothing is a success. */
bool key_find_remains(
    struct session *s, struct bytes id, struct key_remains *key, struct error *e) MUST_CHECK;

/* s must be a read-write session. */
bool key_remove(struct session *s, const struct key_remains *key, struct error *e) MUST_CHECK;

#endif
