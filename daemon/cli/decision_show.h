#ifndef CHANCERY_CLI_DECISION_SHOW_H
#define CHANCERY_CLI_DECISION_SHOW_H

/*
 * A decision that somebody handed in, as the next one to sign it has to see it.
 * The service is not believed: statement, digest of the body, limits document and
 * policy are read and checked here, signatures verified here.
 */

#include "daemon/cli/ceremony.h"
#include "daemon/cli/cli.h"
#include "daemon/cli/limits_draft.h"
#include "daemon/cli/people.h"
#include "daemon/cli/renewal_show.h"
#include "daemon/x509/limits.h"
#include "daemon/x509/statement.h"

struct shown_decision {
	json_t *answer;		 /* owned; the rest is borrowed from it */
	const char *text, *body; /* body may be NULL */
	struct statement statement;
	struct limits_current *current;	 /* owned; in force for the CA; NULL: none */
	struct limits *fresh;		 /* owned; of the body; NULL: none in it */
	struct ca_certificate *in_force; /* owned; of an open renewal; NULL: none */
	struct limits_current **keys;	 /* owned; of a reseed: those of each key */
	size_t key_count;
	struct ceremony_rules rules; /* whose signatures count; none: no ceremony */
	struct people people;	     /* who is registered; owned */
};

/* Fetches and checks. ERROR_INTERNAL where the service contradicts itself. */
bool shown_decision_load(
    struct cli *cli, const char *id, struct shown_decision *d, struct error *e) MUST_CHECK;
void shown_decision_clear(struct shown_decision *d);

/* The limits of the keys that a reseed document is about, each of them checked to be
 * of that key: the id on the token is the beginning of the digest of its first limits.
 * *keys is the caller's, with what it points to. */
bool reseed_keys_load(struct cli *cli, const struct reseed *r, struct limits_current ***keys,
    struct error *e) MUST_CHECK;
void reseed_keys_free(struct limits_current **keys, size_t count);

/* The whole of it: statement, limits with what changes, policy, certificates, who
 * signed and who is missing. */
bool shown_decision_print(const struct shown_decision *d, FILE *out, struct error *e) MUST_CHECK;

#endif
