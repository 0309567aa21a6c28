#ifndef CHANCERY_PKCS11_KEY_H
#define CHANCERY_PKCS11_KEY_H

/*
 * Key pairs on the token, known by their CKA_ID.
 */

#include "daemon/x509/algorithm.h"
#include "daemon/x509/spki.h"
#include "pkcs11/session.h"

#define KEY_ID_LEN 16 /* of the keys that we make */

struct key {
	CK_OBJECT_HANDLE private_key;
	enum key_alg alg;
	bool always_authenticate; /* CKA_ALWAYS_AUTHENTICATE, as the token says */
	struct spki spki;	  /* slices point into spki_der */
	EVP_PKEY *pkey;		  /* the public key, for verifying */
	uint8_t spki_der[SPKI_MAX];
};

/* A key pair to be made. */
struct key_wanted {
	enum key_alg alg;
	const char *label;
	const uint8_t *id;		/* KEY_ID_LEN octets: CKA_ID */
	const enum sig_alg *signatures; /* what the key is for ... */
	size_t signature_count;		/* ... at least one */
	/* The PIN for each signature, where the token knows of that; the session has one
	 * then (session.h). */
	bool always_authenticate;
};

/* Whether the token has what the key and its signatures take, by its mechanisms
 * (ability.h). ERROR_INPUT. */
bool key_is_possible(
    struct session *s, const struct key_wanted *wanted, struct error *e) MUST_CHECK;

/*
 * Makes a key pair that cannot leave the token, and asks the token afterwards whether it
 * is one (key_check); then each of the signatures is tried, over random octets, and not
 * given out. If one of that fails, the pair is destroyed. So it is when the token turns
 * out to have another one with that id, which another process made at the same moment:
 * ERROR_UNAVAILABLE, and the caller finds that one the next time. s must be a read-write
 * session. On success key is filled in (key_clear).
 */
bool key_generate(struct session *s, const struct key_wanted *wanted, struct key *key,
    struct error *e) MUST_CHECK;

/* Asks the token whether the private key is sensitive, always was, cannot be extracted,
 * never could, and was made on the token; ERROR_DENIED says which of it is not so. */
bool key_check(struct session *s, const struct key *key, struct error *e) MUST_CHECK;

/* Finds private and public key by CKA_ID. ERROR_NOT_FOUND when the token has
 * neither; ERROR_CONFLICT when it has one half only, or more than one of either. */
bool key_find(struct session *s, struct bytes id, struct key *key, struct error *e) MUST_CHECK;

/* Frees what a filled key owns; key may be all zero. */
void key_clear(struct key *key);

#endif
