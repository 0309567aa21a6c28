#ifndef CHANCERY_PKCS11_ACCESS_H
#define CHANCERY_PKCS11_ACCESS_H

/*
 * Who may bring a PIN to this start of the signer, and whether what came is that:
 * the announcement of the start, and the checks of a statement pin-... with its
 * envelope (daemon/x509/pin_envelope.h). The persons are those of the
 * configuration, so that nothing that front, database or issuer say makes one.
 */

#include <openssl/types.h>

#include "daemon/core/config.h"
#include "daemon/core/signproto.h"
#include "daemon/x509/pin_envelope.h"
#include "daemon/x509/signer_start.h"

struct access_operator {
	char name[CONFIG_PERSON_MAX + 1];
	uint8_t spki[STATEMENT_SPKI_MAX];
	size_t spki_len;
	uint8_t key_sha256[32];
};

struct access {
	const struct config_token *config; /* borrowed */
	struct access_operator operators[CONFIG_PIN_OPERATORS_MAX];
	size_t operator_count;
	EVP_PKEY *identity, *key; /* owned; the latter X25519, of this start */
	uint8_t identity_spki[SIGNER_IDENTITY_SPKI_LEN];
	uint8_t fingerprint[32]; /* of that */
	struct signer_start start;
	char text[SIGNER_START_TEXT_MAX + 1]; /* of start */
	uint8_t signature[SIGNER_START_SIGNATURE_LEN];
	char shares[PIN_SHARES_TEXT_MAX + 1]; /* what status said of them last */
};

/* What was found to be an operator's. */
struct access_entry {
	enum statement_action action;
	const struct access_operator *person;
	uint8_t nonce[16];
	int64_t expires; /* of the statement */
	struct pin_envelope envelope;
};

/* The person of that name; NULL: the configuration has none. */
const struct access_operator *access_find_person(const struct access *a, const char *name);

/* The persons' keys alone. operators: CONFIG_PIN_OPERATORS_MAX of them. */
bool access_read_operators(const struct config_token *config, struct access_operator *operators,
    size_t *count, struct error *e) MUST_CHECK;

/* Reads the persons' keys and the signer's own, which is made if need be, and makes
 * a key for this start. ERROR_CONFIG for what is no operator's key. */
bool access_open(const struct config_token *config, const char *state_dir, uint16_t signer_id,
    int64_t now, struct access **access, struct error *e) MUST_CHECK;
void access_free(struct access *a); /* NULL is legal */

/* Announces with the token's serial, once that is known. */
bool access_announce(struct access *a, const char *serial, struct error *e) MUST_CHECK;

/*
 * Checks everything about an order but whether it came before, and does not open the
 * envelope. Fills in *entry (some 30 kB). ERROR_DENIED says which rule it breaks.
 */
bool access_check(const struct access *a, const struct signproto_order *order, int64_t now,
    struct access_entry *entry, struct error *e) MUST_CHECK;

#endif
