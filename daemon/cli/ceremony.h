#ifndef CHANCERY_CLI_CEREMONY_H
#define CHANCERY_CLI_CEREMONY_H

/*
 * Orders that several persons sign: the first one hands the statement in, the
 * others add their signatures, at the same desk (--also-sign) or later from their
 * own ("chancery decision sign").
 */

#include "daemon/cli/cli.h"
#include "daemon/cli/decision.h"
#include "daemon/x509/limits.h"
#include "daemon/x509/reseed.h"

#define CEREMONY_DESK_MAX 15 /* keys of --also-sign */
/* A statement that all have signed who must: the token may be away for a while, and
 * the signer, too, takes none that has expired. */
#define CEREMONY_LIFE_S 86400

/* The limits that say who counts, one for each key that the order is about; most
 * are about one. Borrowed. */
struct ceremony_rules {
	const struct limits *of[RESEED_KEYS_MAX];
	size_t count;
};
#define CEREMONY_RULE(l) ((struct ceremony_rules){{(l)}, 1})

/* Under which name a key counts there, or NULL. */
const char *ceremony_person(const struct ceremony_rules *rules, struct bytes spki);

/* Refuses a key that does not count anywhere, and says whose do. */
bool ceremony_check_signer(
    const struct ceremony_rules *rules, struct bytes spki, struct error *e) MUST_CHECK;

/*
 * Shows the statement, signs it with one's own key and those of --also-sign, and
 * hands it in. Where enough have signed, waits for the outcome (*outcome, the caller's); otherwise
 * says who is missing and what they type, and *outcome is NULL.
 */
bool ceremony_order(struct cli *cli, struct statement *s, const char *body,
    const struct ceremony_rules *rules, json_t **outcome, struct error *e) MUST_CHECK;

/* The same for the others: adds signatures to a decision that was handed in, whose
 * text, length and id d has. */
bool ceremony_sign(struct cli *cli, struct decision *d, const struct ceremony_rules *rules,
    json_t **outcome, struct error *e) MUST_CHECK;

/* What the operators compare with the signer's console: the fingerprints of the
 * CA's key (that of limits_current_load) and of its limits. */
void ceremony_say_limits(struct cli *cli, const char *ca, const char *key, const char *sha256);

#endif
