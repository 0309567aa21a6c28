#ifndef CHANCERY_CLI_PEOPLE_H
#define CHANCERY_CLI_PEOPLE_H

/*
 * The operators whom the service has registered, with their valid keys. The
 * service could name anybody: whoever signs limits that are made from this list
 * gets each key's fingerprint to see.
 */

#include "daemon/cli/cli.h"
#include "daemon/x509/der.h"
#include "daemon/x509/statement.h"

#define PEOPLE_KEYS_MAX 1024

struct person_key {
	char person[STATEMENT_NAME_MAX + 1];
	bool manager;
	uint8_t spki[STATEMENT_SPKI_MAX];
	size_t spki_len;
};

struct people {
	struct person_key *keys; /* owned */
	size_t count;
};

/* Asks the service, page by page; keys that are none of an operator (P-256,
 * Ed25519), or not those that their digest says, are ERROR_INTERNAL. */
bool people_load(struct cli *cli, struct people *people, struct error *e) MUST_CHECK;
void people_free(struct people *people);

/* Whose key it is; NULL: of nobody who is registered. */
const struct person_key *people_find_key(const struct people *people, struct bytes spki);
bool people_has(const struct people *people, const char *person);

#endif
