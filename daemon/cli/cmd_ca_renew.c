#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/sha.h>

#include "daemon/cli/ceremony.h"
#include "daemon/cli/limits_draft.h"
#include "daemon/cli/limits_show.h"
#include "daemon/cli/parent.h"
#include "daemon/cli/renewal_show.h"
#include "daemon/x509/capolicy.h"

/* The CA's policy, as the service has it. */
static bool
load_policy(struct cli *cli, const char *ca, struct capolicy *policy, struct error *e)
{
	json_t *answer = NULL;
	char path[CLI_PATH_MAX];
	const char *text;
	bool ok;

	if (!cli_path(path, "/v1/cas/", ca, "", e) ||
	    !cli_get_object(cli, path, "name", ca, &answer, e))
		return false;
	text = cli_member(answer, "policy", e);
	ok = text != NULL && (capolicy_parse(text, strlen(text), ca, policy, e) ||
				 error_wrap(e, "the policy of CA %s", ca));
	json_decref(answer);
	return ok;
}

/* When a root's new certificate ends: as long from now as its policy says, and as its
 * limits allow. That has to be later than now. */
static bool
put_end(const struct limits *l, const struct capolicy *policy, const struct ca_certificate *old,
    struct renewal *r, struct error *e)
{
	char end[CANON_TIME_SIZE];

	r->not_after = (int64_t)time(NULL) + policy->validity_s - 1;
	if (r->not_after > l->not_after)
		r->not_after = l->not_after;
	if (r->not_after > old->c.not_after)
		return true;
	if (l->not_after > old->c.not_after)
		return error_set(e, ERROR_CONFLICT,
		    "the certificate in force was made this very second: renewed it would last no "
		    "longer");
	canon_time_text(l->not_after, end);
	return error_set(e, ERROR_CONFLICT,
	    "the renewed certificate would end no later than the one in force, because the limits "
	    "of its key end at %s: let them last longer first, with \"chancery ca limits change %s "
	    "--not-after 30y\"",
	    end, l->ca);
}

static bool
compose(struct cli *cli, const char *ca, const struct limits_current *current,
    const struct ca_certificate *old, char text[RENEWAL_TEXT_MAX + 1], struct error *e)
{
	struct capolicy *policy = calloc(1, sizeof *policy);
	struct renewal r = {.not_after = 0};
	uint8_t key[SHA256_DIGEST_LENGTH];
	size_t len;
	bool ok;

	if (policy == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a policy");
	SHA256(old->c.spki.whole.p, old->c.spki.whole.len, key);
	if (memcmp(key, current->key, sizeof key) != 0)
		ok = error_set(e, ERROR_INTERNAL,
		    "the service shows a certificate of CA %s and limits of another key", ca);
	else
		ok = decision_put(r.ca, sizeof r.ca, "a CA's name", ca, e) &&
		     load_policy(cli, ca, policy, e);
	memcpy(r.key, key, sizeof r.key);
	memcpy(r.signer, key, sizeof r.signer);
	r.has_signer = current->limits.root;
	r.has_replaces = true;
	ca_certificate_tbs_sha256(old, r.replaces);
	ok = ok && (!current->limits.root || put_end(&current->limits, policy, old, &r, e)) &&
	     renewal_format(&r, text, &len, e);
	capolicy_free(policy);
	free(policy);
	return ok;
}

static void
say_next(struct cli *cli, const char *ca, bool root)
{
	if (root || cli->options->value[OPTION_PARENT] != NULL)
		return;
	cli_say(cli, "  chancery ca csr %s --out FILE", ca);
	cli_say(cli, "  chancery ca install %s CERTIFICATE", ca);
}

/* The order is carried out; where others have to sign it, they end it. */
static bool
go_on(struct cli *cli, const char *ca, json_t *outcome, struct error *e)
{
	bool done = outcome != NULL;

	json_decref(outcome);
	return !done || cli->options->value[OPTION_PARENT] == NULL || parent_install(cli, ca, e);
}

static bool
renew_same_key(struct cli *cli, const char *ca, const struct limits_current *current,
    const struct ca_certificate *old, struct error *e)
{
	struct statement s = {.action = STATEMENT_CA_RENEW};
	char text[RENEWAL_TEXT_MAX + 1];
	json_t *outcome = NULL;

	if (!compose(cli, ca, current, old, text, e))
		return false;
	renewal_show(stderr, text, old);
	if (!decision_put_ca(&s, ca, e) ||
	    !ceremony_order(cli, &s, text, &CEREMONY_RULE(&current->limits), &outcome, e))
		return false;
	if (outcome != NULL) {
		decision_print(cli, outcome);
		say_next(cli, ca, current->limits.root);
	}
	return go_on(cli, ca, outcome, e);
}

static bool
renew_new_key(struct cli *cli, const char *ca, const struct limits_current *current,
    struct limits_draft *draft, const struct ca_certificate *old, struct error *e)
{
	const struct ceremony_rules rules = {{&draft->limits, &current->limits}, 2};
	struct statement s = {.action = STATEMENT_CA_REKEY};
	json_t *outcome = NULL;

	ca_certificate_show(stderr, old);
	cli_note(
	    "Its key is to be replaced by a new one. The limits of that, version 1, SHA-256 %s;"
	    " what differs from those of the old key is marked:",
	    draft->sha256);
	limits_show_change(stderr, current->text, draft->text, (int64_t)time(NULL));
	if (!decision_put(s.ca, sizeof s.ca, "a CA's name", ca, e) ||
	    !decision_put(s.object, sizeof s.object, "a key's digest", current->key_hex, e) ||
	    !ceremony_order(cli, &s, draft->body, &rules, &outcome, e))
		return false;
	if (outcome != NULL) {
		decision_print(cli, outcome);
		say_next(cli, ca, current->limits.root);
		ceremony_say_limits(
		    cli, ca, current->limits.root ? NULL : "waiting", draft->sha256);
	}
	return go_on(cli, ca, outcome, e);
}

static bool
renew(struct cli *cli, const char *ca, bool same_key, struct error *e)
{
	struct limits_current *current = NULL;
	struct limits_draft *draft = NULL;
	struct ca_certificate *old = NULL;
	bool ok;

	ok = ca_certificate_load(cli, ca, &old, e) &&
	     limits_current_load(cli, ca, NULL, &current, e) &&
	     (!current->limits.root || cli->options->value[OPTION_PARENT] == NULL ||
		 error_set(e, ERROR_USAGE, "CA %s is a root and has no parent", ca));
	if (ok && same_key)
		ok = renew_same_key(cli, ca, current, old, e);
	else if (ok)
		ok = limits_draft_rekey(cli, ca, current, &draft, e) &&
		     renew_new_key(cli, ca, current, draft, old, e);
	limits_draft_free(draft);
	limits_current_free(current);
	free(old);
	return ok;
}

bool
cmd_ca_renew(struct cli *cli, struct error *e)
{
	static const enum option of_new_keys[] = {OPTION_POLICY, OPTION_NOT_AFTER,
	    OPTION_ADD_OPERATOR, OPTION_REMOVE_OPERATOR, OPTION_LIMITS_OPERATOR};
	bool same_key = cli->options->value[OPTION_SAME_KEY] != NULL, from_parent;

	if (same_key == (cli->options->value[OPTION_NEW_KEY] != NULL))
		return error_set(e, ERROR_USAGE,
		    "ca renew needs to know with which key: --same-key or --new-key");
	for (size_t i = 0; same_key && i < COUNT_OF(of_new_keys); i++)
		if (cli->options->value[of_new_keys[i]] != NULL)
			return error_set(e, ERROR_USAGE,
			    "--%s says something of a new key's limits, and goes with --new-key",
			    option_name(of_new_keys[i]));
	return parent_is_given(cli, &from_parent, e) && renew(cli, cli->words[0], same_key, e);
}
