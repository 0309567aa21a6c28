#ifndef CHANCERY_PKCS11_KEY_H
#define CHANCERY_PKCS11_KEY_H

/*
 * Key pairs on the token, known by their CKA_ID.
 */

#include "daemon/x509/algorithm.h"
#include "daemon/x509/spki.h"
#include "pkcs11/session.h"

#define KEY_ID_LEN 16 /* of the keys that we make; random */

struct key {
	CK_OBJECT_HANDLE private_key;
	enum key_alg alg;
	struct spki spki; /* slices point into spki_der */
	EVP_PKEY *pkey;	  /* the public key, for verifying */
	uint8_t spki_der[SPKI_MAX];
};

/*
 * Makes a key pair that cannot leave the token, and asks the token afterwards
 * whether it is one (sensitive, always so, not extractable, never so, made on
 * the token); if it is not, the pair is destroyed and the error (ERROR_DENIED)
 * says which attribute is wrong. s must be a read-write session. On success key
 * is filled in (key_clear) and id holds its CKA_ID.
 */
bool key_generate(struct session *s, enum key_alg alg, const char *label, uint8_t id[KEY_ID_LEN],
    struct key *key, struct error *e) MUST_CHECK;

/* Finds private and public key by CKA_ID. ERROR_NOT_FOUND when the token does
 * not have both; ERROR_CONFLICT when it has more than one of either. */
bool key_find(struct session *s, struct bytes id, struct key *key, struct error *e) MUST_CHECK;

/* Removes both halves, as far as they exist. s must be a read-write session. */
bool key_destroy(struct session *s, struct bytes id, struct error *e) MUST_CHECK;

/* Frees what a filled key owns; key may be all zero. */
void key_clear(struct key *key);

#endif
