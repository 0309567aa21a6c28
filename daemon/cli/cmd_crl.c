#include "daemon/cli/cli.h"
#include "daemon/cli/decision.h"

bool
cmd_crl_issue(struct cli *cli, struct error *e)
{
	struct statement s = {.action = STATEMENT_CRL_ISSUE};
	const char *kind = cli->options->value[OPTION_DELTA] != NULL ? "delta" : "full";
	json_t *outcome = NULL;

	if (!decision_put(s.ca, sizeof s.ca, "a CA's name", cli->words[0], e) ||
	    !decision_put(s.object, sizeof s.object, "a kind of CRL", kind, e) ||
	    !decision_order(cli, &s, NULL, false, &outcome, e))
		return false;
	decision_print(cli, outcome);
	json_decref(outcome);
	return true;
}

bool
cmd_crl_show(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"NUMBER", "number"}, {"DELTA", "delta"},
	    {"BASE", "base_number"}, {"STATE", "state"}, {"ENTRIES", "entries"},
	    {"THIS UPDATE", "this_update"}, {"NEXT UPDATE", "next_update"}, {"SIZE", "size"}};
	const char *limit = cli->options->value[OPTION_LIMIT];
	char path[1200], rest[128] = "/crls?limit=", escaped[64] = "20";

	if (limit != NULL && !http_escape(limit, escaped, sizeof escaped))
		return error_set(e, ERROR_USAGE, "--limit is too long");
	(void)snprintf(rest, sizeof rest, "/crls?limit=%s", escaped);
	return cli_path(path, sizeof path, "/v1/cas/", cli->words[0], rest, e) &&
	       cli_show_list(cli, path, "crls", columns, COUNT_OF(columns),
		   "This CA has issued no CRL yet.", e);
}
