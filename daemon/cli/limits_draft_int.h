#ifndef CHANCERY_CLI_LIMITS_DRAFT_INT_H
#define CHANCERY_CLI_LIMITS_DRAFT_INT_H

/* What the drafts of new limits (limits_draft.c) and of changed ones
 * (limits_change.c) share. */

#include "daemon/cli/limits_draft.h"
#include "daemon/cli/people.h"

/* Signers that report the document's token, if it names none yet. */
bool limits_find_signers(struct cli *cli, struct limits *l, struct error *e) MUST_CHECK;

/* The operators whom the policy names, or else the usual ones. The one who works
 * here must be among them, with the right to change limits. */
bool limits_find_operators(
    struct cli *cli, const struct capolicy *policy, struct limits *l, struct error *e) MUST_CHECK;

/* All keys of a person, with these rights: that of --limits-operator, or those
 * that are registered. */
bool limits_add_person(struct cli *cli, const struct people *people, struct limits *l,
    const char *person, unsigned rights, struct error *e) MUST_CHECK;

/* The lines of the policy's templates; those that are not applied are left out,
 * with a note. */
bool limits_find_templates(
    struct cli *cli, const struct capolicy *policy, struct limits *l, struct error *e) MUST_CHECK;

/* The line of a template in its newest version; *found: it is applied. */
bool limits_ask_template(struct cli *cli, const char *name, struct limits_template *out,
    bool *found, struct error *e) MUST_CHECK;

/* Adds a line, or replaces that of the same template. */
bool limits_put_template(
    struct limits *l, const struct limits_template *t, struct error *e) MUST_CHECK;

/* Whether the limits name one's own key with the right to change them: a signature
 * that would not count is not worth a passphrase. */
bool limits_check_myself(struct cli *cli, const struct limits *l, struct error *e) MUST_CHECK;

/* With --adopt: the key of that certificate, whose subject and kind of key the policy
 * must have. */
bool limits_adopt(
    struct cli *cli, const struct capolicy *policy, struct limits *l, struct error *e) MUST_CHECK;

/* Whom --limits-operator gives a key of must be named. */
bool limits_check_key_files(struct cli *cli, const struct limits *l, struct error *e) MUST_CHECK;

struct limits_draft *limits_draft_alloc(struct error *e) MUST_CHECK;

/* A new nonce, all in order, the text, its digest and the body. policy_text may be
 * empty. */
bool limits_draft_finish(
    struct limits_draft *d, const char *policy_text, struct error *e) MUST_CHECK;

#endif
