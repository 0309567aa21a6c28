#ifndef CHANCERY_X509_LIMITS_POLICY_H
#define CHANCERY_X509_LIMITS_POLICY_H

/*
 * A CA's policy and the limits of its key: the document that follows from a
 * policy, and whether the two still belong together. Who composes a document,
 * who signs it after others, and the issuer that carries it out all ask here.
 *
 * Functions here are pure; errors are ERROR_INPUT and name the fields.
 */

#include "daemon/x509/capolicy.h"
#include "daemon/x509/limits.h"

#define LIMITS_SUBORDINATE_LIFE_S (10LL * 365 * 86400) /* without `not_after` */

/*
 * What the policy and its text say of the limits of a new CA's key, version 1.
 * now: the ceremony's moment. Not filled in, because a policy knows only names of
 * them: operators, templates, the nonce; and signer ids, unless it lists them.
 * Afterwards limits_sort and limits_format.
 *
 * not-after: the policy's; or else its `validity` from now on, which is that of a
 * root's own certificate; or LIMITS_SUBORDINATE_LIFE_S.
 */
bool limits_from_policy(const struct capolicy *policy, const char *ca, struct bytes text,
    int64_t now, struct limits *out, struct error *err) MUST_CHECK;

/* Checks that the document is for a CA of this policy: token, kind, key, subject,
 * path length, the policy's own signature algorithm, no template beyond the
 * policy's, and a root's own certificate within them. */
bool limits_check_policy(
    const struct limits *l, const struct capolicy *policy, struct error *err) MUST_CHECK;

/* Checks that a policy may follow another one of the same CA together with new
 * limits: it differs only in `templates`, `limits`, `locations`, `targets` and in what
 * certificates its CRLs are about. All else is what the CA was made with. */
bool limits_check_next_policy(
    const struct capolicy *old, const struct capolicy *fresh, struct error *err) MUST_CHECK;

#endif
