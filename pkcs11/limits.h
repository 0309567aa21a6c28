#ifndef CHANCERY_PKCS11_LIMITS_H
#define CHANCERY_PKCS11_LIMITS_H

/*
 * What a key on the token may be used for, kept in the signer's state directory in
 * files that are named after its CKA_ID: what operators signed (limits_chain.h), and
 * the key that it is for. A key without them signs nothing.
 *
 * The key's own file, ID.key, is text in one canonical form with its digest at the
 * end; one that differs from what we would write is refused as damaged.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/signproto.h"
#include "daemon/x509/algorithm.h"
#include "daemon/x509/limits.h"
#include "daemon/x509/spki.h"
#include "pkcs11/key.h"

#define KEY_LIMITS_COUNT_MAX 1024 /* keys of one token */

struct key_limits {
	uint8_t id[KEY_ID_LEN];	 /* CKA_ID */
	uint8_t spki_sha256[32]; /* of the public key */
	uint8_t key_id[SKI_LEN]; /* its subject key identifier */

	/* Of the CA's own certificate. Of a root, what it signed for itself; of a
	 * subordinate, what operators had installed, and until then it signs nothing
	 * but its own request. */
	bool installed;
	uint8_t tbs_sha256[32];	       /* of its TBSCertificate */
	int64_t not_before, not_after; /* seconds since 1970 */
	int path_length;	       /* -1: none */
	int64_t ordered;	       /* when the order to install it was issued; of a root 0 */

	/* What operators signed, the version in force, and its SHA-256. */
	struct limits document;
	uint8_t document_sha256[32];
};

/* Fills l in for a fresh key with these limits. ERROR_CONFLICT when it is not of
 * their algorithm. */
bool key_limits_init(struct key_limits *l, const uint8_t id[KEY_ID_LEN],
    const struct limits *document, const uint8_t document_sha256[32], const struct spki *spki,
    struct error *e) MUST_CHECK;

/* Writes the key's own file, durably; the limits in it are not written (limits_chain.h). */
bool key_limits_save(const struct key_limits *l, const char *state_dir, struct error *e) MUST_CHECK;

/* Reads the key with this id and the limits in force, and verifies all signatures.
 * ERROR_DENIED, with a sentence that says so, when there are none or they are not
 * what operators signed. What the token remembers is not asked here
 * (limits_floor.h). */
bool key_limits_load(
    struct key_limits *l, const char *state_dir, struct bytes id, struct error *e) MUST_CHECK;

/* True when there is a file of the key, whatever is in it. */
bool key_limits_is_known(const char *state_dir, const uint8_t id[KEY_ID_LEN]) MUST_CHECK;

/* Whether there is a file of any key or limits. */
bool key_limits_any(const char *state_dir, bool *found, struct error *e) MUST_CHECK;

/* The ids of all keys that have limits here, in rising order. *ids is owned by the
 * caller (free). */
bool key_limits_list(
    const char *state_dir, uint8_t (**ids)[KEY_ID_LEN], size_t *count, struct error *e) MUST_CHECK;

/* SHA-256 of the SubjectPublicKeyInfo of each of them, in the same order. *digests is
 * owned by the caller (free). */
bool key_limits_list_keys(
    const char *state_dir, uint8_t (**digests)[32], size_t *count, struct error *e) MUST_CHECK;

/* The id as hex for sentences and logs. */
#define KEY_ID_TEXT_MAX (2 * SIGNPROTO_ID_MAX + 1)
void key_limits_id_text(struct bytes id, char out[KEY_ID_TEXT_MAX]);

#endif
