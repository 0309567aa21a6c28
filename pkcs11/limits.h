#ifndef CHANCERY_PKCS11_LIMITS_H
#define CHANCERY_PKCS11_LIMITS_H

/*
 * What a key on the token may be used for, kept in the signer's state
 * directory, one file for each key, named after its CKA_ID. A key without
 * limits signs nothing.
 *
 * The file is text in one canonical form; a file that differs from what we
 * would write is refused as damaged.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/signproto.h"
#include "daemon/x509/algorithm.h"
#include "daemon/x509/limits.h"
#include "daemon/x509/spki.h"

#define KEY_LIMITS_VERSION 1

enum key_purpose {
	KEY_PURPOSE_CA = 1, /* certificates, CRLs and its own request */
};

struct key_limits {
	uint8_t id[SIGNPROTO_ID_MAX]; /* CKA_ID */
	size_t id_len;
	enum key_purpose purpose;
	enum key_alg algorithm;
	uint8_t subject[SIGNPROTO_SUBJECT_MAX]; /* whole Name: issuer of all it signs */
	size_t subject_len;
	uint8_t spki_sha256[32]; /* of the public key */
	uint8_t key_id[SKI_LEN]; /* its subject key identifier */

	/* Of the CA's own certificate, once operators had it installed. */
	bool installed;
	int64_t not_before, not_after; /* seconds since 1970 */
	int path_length;	       /* -1: none */

	/* What operators signed, and its SHA-256. */
	struct limits document;
	uint8_t document_sha256[32];
};

/* "ca"; false for any other word. */
bool key_limits_purpose_parse(const char *word, enum key_purpose *purpose) MUST_CHECK;

/* Fills l in for a fresh key. ERROR_LIMIT when id or subject is too long. */
bool key_limits_init(struct key_limits *l, struct bytes id, enum key_purpose purpose,
    struct bytes subject, const struct spki *spki, struct error *e) MUST_CHECK;

/* Writes the key's file, durably. A key gets its limits once: ERROR_CONFLICT
 * when the file exists. */
bool key_limits_save(const struct key_limits *l, const char *state_dir, struct error *e) MUST_CHECK;

/* Reads the limits of the key with this id. ERROR_DENIED, with a sentence that
 * says so, when there are none. */
bool key_limits_load(
    struct key_limits *l, const char *state_dir, struct bytes id, struct error *e) MUST_CHECK;

/* The id as hex for sentences and logs. */
#define KEY_ID_TEXT_MAX (2 * SIGNPROTO_ID_MAX + 1)
void key_limits_id_text(struct bytes id, char out[KEY_ID_TEXT_MAX]);

#endif
