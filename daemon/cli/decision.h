#ifndef CHANCERY_CLI_DECISION_H
#define CHANCERY_CLI_DECISION_H

/*
 * Orders of an operator: the statement is shown, signed with the operator's own
 * key, handed in, and its outcome awaited. In three steps, so that several are
 * all seen before the first is signed, and handed in before the first is waited
 * for.
 */

#include "daemon/cli/cli.h"
#include "daemon/cli/operator_key.h"
#include "daemon/x509/statement.h"

#define DECISION_LIFE_S 600
#define DECISION_WAIT_S 60
#define DECISION_ID_MAX 64

struct decision {
	char text[STATEMENT_TEXT_MAX + 1]; /* the statement as it is signed */
	size_t len;
	const char *body; /* what it covers, borrowed; or NULL */
	bool is_unsigned; /* of the very first operator, whose key nobody knows yet */
	char id[DECISION_ID_MAX + 1];
	/* Handed in: it waits for the signatures of so many others. */
	bool is_collecting;
	int missing;
};

/* Fills in digest of the body, nonce and times (DECISION_LIFE_S, or life_s), and shows the
 * statement on standard error: whoever is asked for the passphrase then has read it. */
bool decision_prepare(struct statement *s, const char *body, bool is_unsigned, struct decision *d,
    struct error *e) MUST_CHECK;
bool decision_prepare_for(struct statement *s, const char *body, int64_t life_s, struct decision *d,
    struct error *e) MUST_CHECK;

/* Signs (asks for the passphrase, once for the whole command) and hands in. */
bool decision_hand_in(struct cli *cli, struct decision *d, struct error *e) MUST_CHECK;

/* Waits until it is applied, or waits for a PIN; *outcome is the decision as the service shows it,
 * the caller's. A refusal is ERROR_DENIED with the service's sentence, no
 * outcome after DECISION_WAIT_S is ERROR_TIMEOUT. */
bool decision_await(
    struct cli *cli, const struct decision *d, json_t **outcome, struct error *e) MUST_CHECK;

/* All three, and prints the outcome. */
bool decision_order(struct cli *cli, struct statement *s, const char *body, bool is_unsigned,
    struct error *e) MUST_CHECK;

/* Prints an outcome: its sentence, or with --json the decision. */
void decision_print(struct cli *cli, json_t *outcome);

/* An order about a CA as a whole. */
bool decision_put_ca(struct statement *s, const char *ca, struct error *e) MUST_CHECK;
/* Copies a word into a statement's field. */
bool decision_put(
    char *to, size_t size, const char *what, const char *from, struct error *e) MUST_CHECK;

/* The operator's key, unlocked; belongs to cli. */
bool decision_unlock(struct cli *cli, struct error *e) MUST_CHECK;
void decision_lock(struct cli *cli);

/* The public half of the operator's key: from the file beside it, or else unlocked.
 * spki: STATEMENT_SPKI_MAX octets. */
bool decision_own_key(struct cli *cli, uint8_t *spki, size_t *spki_len, struct error *e) MUST_CHECK;

/* Adds "signature" of the text and "credential", whose it is, to a JSON object. */
bool decision_put_signature(const struct operator_key *key, const char *text, size_t len,
    json_t *json, struct error *e) MUST_CHECK;

/* Prints text on standard error as it is signed, line by line, harmless for the
 * terminal. */
void decision_show_text(const char *text);

#endif
