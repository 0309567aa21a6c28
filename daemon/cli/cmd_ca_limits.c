#include <string.h>
#include <time.h>

#include "daemon/cli/ceremony.h"
#include "daemon/cli/limits_draft.h"
#include "daemon/cli/limits_show.h"

bool
cmd_ca_limits_show(struct cli *cli, struct error *e)
{
	const char *ca = cli->words[0], *since;
	struct limits_current *c = NULL;

	if (!limits_current_load(cli, ca, cli->options->value[OPTION_KEY_SHA256], &c, e))
		return false;
	since = json_string_value(json_object_get(c->answer, "applied_at"));
	if (cli->json) {
		cli_print_json(c->answer);
	} else {
		cli_say(cli, "key SHA-256     %s", c->key_hex);
		cli_say(cli, "limits          version %u, in force since %s",
		    (unsigned)c->limits.version, since != NULL ? since : "?");
		cli_say(cli, "limits SHA-256  %s",
		    json_string_value(json_object_get(c->answer, "sha256")));
		limits_show(stdout, c->text, (int64_t)time(NULL));
	}
	limits_current_free(c);
	return true;
}

static bool
order(struct cli *cli, const char *ca, const struct limits_current *current,
    const struct limits_draft *draft, struct error *e)
{
	struct statement s = {.action = STATEMENT_CA_LIMITS};
	json_t *outcome = NULL;

	cli_note("The limits of the key of CA %s, version %u, SHA-256 %s; what changes is marked:",
	    ca, (unsigned)draft->limits.version, draft->sha256);
	limits_show_change(stderr, current->text, draft->text, (int64_t)time(NULL));
	if (!decision_put_ca(&s, ca, e) ||
	    !ceremony_order(cli, &s, draft->body, &CEREMONY_RULE(&current->limits), &outcome, e))
		return false;
	if (outcome != NULL) {
		decision_print(cli, outcome);
		ceremony_say_limits(cli, ca, current->key_hex, draft->sha256);
	}
	json_decref(outcome);
	return true;
}

bool
cmd_ca_limits_change(struct cli *cli, struct error *e)
{
	static const enum option changes[] = {OPTION_POLICY, OPTION_TEMPLATE, OPTION_ADD_OPERATOR,
	    OPTION_REMOVE_OPERATOR, OPTION_QUORUM, OPTION_NOT_AFTER, OPTION_REMOVE_TEMPLATE};
	const char *ca = cli->words[0];
	struct limits_current *current = NULL;
	struct limits_draft *draft = NULL;
	bool any = false, ok;

	for (size_t i = 0; i < COUNT_OF(changes); i++)
		any = any || cli->options->value[changes[i]] != NULL;
	if (!any)
		return error_set(e, ERROR_USAGE,
		    "ca limits change needs to know what: --policy, --template, --add-operator, "
		    "--remove-operator, --remove-template, --quorum or --not-after");
	ok = limits_current_load(cli, ca, cli->options->value[OPTION_KEY_SHA256], &current, e) &&
	     limits_draft_change(cli, ca, current, &draft, e) && order(cli, ca, current, draft, e);
	limits_draft_free(draft);
	limits_current_free(current);
	return ok;
}
