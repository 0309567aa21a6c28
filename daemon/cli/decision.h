#ifndef CHANCERY_CLI_DECISION_H
#define CHANCERY_CLI_DECISION_H

/*
 * Orders of an operator: the statement is shown, signed with the operator's own
 * key, handed in, and its outcome awaited.
 */

#include "daemon/cli/cli.h"
#include "daemon/x509/statement.h"

#define DECISION_LIFE_S 600
#define DECISION_WAIT_S 60

/*
 * Fills in digest of the body, nonce and times, shows the statement on standard
 * error, asks for the passphrase (once for the whole command), signs, hands in
 * and waits. body: what the statement covers, or NULL. unsigned_first: for the
 * very first operator, whose key nobody knows yet.
 *
 * *outcome is the decision as the service shows it, the caller's; NULL may be
 * passed. A refusal is ERROR_DENIED with the service's sentence.
 */
bool decision_order(struct cli *cli, struct statement *s, const char *body, bool unsigned_first,
    json_t **outcome, struct error *e) MUST_CHECK;

/* Prints an outcome: its sentence, or with --json the decision. */
void decision_print(struct cli *cli, json_t *outcome);

/* Copies a word of the command line into a statement's field. */
bool decision_put(
    char *to, size_t size, const char *what, const char *from, struct error *e) MUST_CHECK;

/* The operator's key, unlocked; belongs to cli. */
bool decision_unlock(struct cli *cli, struct error *e) MUST_CHECK;
void decision_lock(struct cli *cli);

#endif
