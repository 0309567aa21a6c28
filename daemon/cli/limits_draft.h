#ifndef CHANCERY_CLI_LIMITS_DRAFT_H
#define CHANCERY_CLI_LIMITS_DRAFT_H

/*
 * Limits of a CA's key as they are made on an operator's desk: from the policy,
 * the templates, the registered operators and the signers that the service
 * shows. Templates are parsed here, and everything that the service said is in
 * the document that the operator sees before signing.
 */

#include "daemon/cli/cli.h"
#include "daemon/x509/capolicy.h"
#include "daemon/x509/limits.h"

struct limits_draft {
	struct limits limits;
	char text[LIMITS_TEXT_MAX + 1]; /* the document */
	size_t len;
	char sha256[65]; /* of the document */
	char *body;	 /* what is signed: document, "---", policy; owned */
};

/* The limits in force, as the service has them, checked to be a document with the
 * digest and of the CA that it names. */
struct limits_current {
	struct limits limits;
	char *text;		     /* owned */
	uint8_t sha256[32], key[32]; /* of the document; of the CA's key */
	char key_hex[65];
	json_t *answer; /* owned */
};

/* Of a new CA by this policy. The document names operators as the policy says; or
 * else the one whose key is used here, with all rights, and the keys of all managers
 * with `decide`. A template that is not applied yet is left out, with a note.
 * The draft is the caller's to free, some 100 kB. */
bool limits_draft_new(struct cli *cli, const char *ca, const struct capolicy *policy,
    const char *policy_text, struct limits_draft **draft, struct error *e) MUST_CHECK;

/* Of a new key for a CA that stands: from --policy, or from the policy that it has. What
 * the policy does not say is as in the limits of the key that is replaced. */
bool limits_draft_rekey(struct cli *cli, const char *ca, const struct limits_current *current,
    struct limits_draft **draft, struct error *e) MUST_CHECK;

/* The next version for a CA, changed as the options say (--policy, --template,
 * --add-operator, --remove-operator, --quorum). What a new policy does not say
 * stays as it is. */
bool limits_draft_change(struct cli *cli, const char *ca, const struct limits_current *current,
    struct limits_draft **draft, struct error *e) MUST_CHECK;

/* The next version for a key that is retired, alone or with the whole CA: without
 * templates, and otherwise as it is. */
bool limits_draft_retire(struct cli *cli, const struct limits_current *current,
    enum limits_retired retired, struct limits_draft **draft, struct error *e) MUST_CHECK;

void limits_draft_free(struct limits_draft *draft); /* NULL is legal */

/* Refuses a key that the limits do not name with the right to change them, and says
 * who may sign. */
bool limits_check_signer(const struct limits *l, struct bytes spki, struct error *e) MUST_CHECK;

/* key: which of the CA's keys, by its CKA_ID in hex; "waiting": the one that waits for its
 * certificate; NULL: the one that signs. */
bool limits_current_load(struct cli *cli, const char *ca, const char *key,
    struct limits_current **current, struct error *e) MUST_CHECK;
void limits_current_free(struct limits_current *current); /* NULL is legal */

#endif
