#include "daemon/cli/cli.h"
#include "daemon/cli/decision.h"

bool
cmd_crl_issue(struct cli *cli, struct error *e)
{
	struct statement s = {.action = STATEMENT_CRL_ISSUE};
	const char *kind = cli->options->value[OPTION_DELTA] != NULL ? "delta" : "full";

	return decision_put(s.ca, sizeof s.ca, "a CA's name", cli->words[0], e) &&
	       decision_put(s.object, sizeof s.object, "a kind of CRL", kind, e) &&
	       decision_order(cli, &s, NULL, false, e);
}

bool
cmd_crl_show(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"NUMBER", "number"}, {"DELTA", "delta"},
	    {"BASE", "base_number"}, {"STATE", "state"}, {"ENTRIES", "entries"},
	    {"THIS UPDATE", "this_update"}, {"NEXT UPDATE", "next_update"}, {"SIZE", "size"},
	    {"CRL", "label"}};
	char path[CLI_PATH_MAX];
	const struct cli_list list = {.path = path,
	    .key = "crls",
	    .nothing = "This CA has issued no CRL yet.",
	    .limit = 20,
	    .columns = columns,
	    .count = COUNT_OF(columns)};

	return cli_path(path, "/v1/cas/", cli->words[0], "/crls", e) &&
	       cli_show_list(cli, &list, e);
}

bool
cmd_crl_forecast(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"DUE", "due_at"}, {"CA", "ca"},
	    {"KIND", "kind"}, {"BECAUSE", "because"}, {"ENTRIES", "entries"}, {"SIZE", "size"},
	    {"NEEDS A PIN", "pin"}, {"CRL", "label"}};
	char path[CLI_PATH_MAX] = "/v1/forecast";
	const struct cli_list list = {.path = path,
	    .key = "crls",
	    .nothing = "No CRL is in the calendar.",
	    .columns = columns,
	    .count = COUNT_OF(columns)};

	if (cli->word_count > 0 && !cli_path_add(path, "ca", cli->words[0], e))
		return false;
	return cli_show_list(cli, &list, e);
}
