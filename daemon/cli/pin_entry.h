#ifndef CHANCERY_CLI_PIN_ENTRY_H
#define CHANCERY_CLI_PIN_ENTRY_H

/*
 * Entries of PINs: sealed to the present start of a token's signer, which this
 * client knows by the fingerprint that its operator pinned, signed with the
 * operator's key, and handed in.
 */

#include "daemon/cli/cli.h"
#include "daemon/cli/secret.h"
#include "daemon/x509/pin_envelope.h"
#include "daemon/x509/signer_start.h"

#define PIN_ENTRY_WAIT_S 60

/* A signer as the service shows it. */
struct pin_signer {
	struct signer_start start; /* verified under the pinned fingerprint */
	uint8_t fingerprint[32];
	uint8_t identity[SIGNER_IDENTITY_SPKI_LEN]; /* whose fingerprint that is */
	char state[SIGNER_START_SERIAL_MAX + 1], sentence[ERROR_TEXT_MAX];
	char shares[PIN_SHARES_TEXT_MAX]; /* as the service shows them; only a commitment of the
					   * signer's, and one's own key, make a share one */
	size_t shares_len;		  /* 0: the PIN is not split */
};

/* Refuses a --token that no issuer reports: of that nothing waits, and nothing ever will.
 * ERROR_NOT_FOUND. */
bool pin_check_token(struct cli *cli, struct error *e) MUST_CHECK;

/* The token's signer; signer_id 0: its only one that waits for people. ERROR_DENIED when the
 * operator has not pinned it, or what the service shows is not signed with the pinned key. */
bool pin_signer_find(struct cli *cli, const char *token, unsigned signer_id,
    struct pin_signer *signer, struct error *e) MUST_CHECK;

/* Refuses a signer that would only spoil the entry: its logins went wrong, and none is
 * tried until that is cleared. */
bool pin_signer_usable(const struct pin_signer *signer, struct error *e) MUST_CHECK;

/* Asks for the PIN, or takes the operator's share of one that is split; or none goes along
 * (--at-device). Seals and signs env (its limits, operations or holders are the caller's),
 * hands it in, and waits for what the signer says.
 * A refusal is ERROR_DENIED with its sentence. On success the outcome is printed. */
bool pin_entry_send(struct cli *cli, enum statement_action action, const struct pin_signer *signer,
    struct pin_envelope *env, struct error *e) MUST_CHECK;

#endif
