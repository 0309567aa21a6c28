#include <stdlib.h>
#include <string.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/decision.h"
#include "daemon/x509/template.h"

bool
cmd_template_list(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"NAME", "name"}, {"VERSION", "version"},
	    {"AUTOMATIC", "automatic"}, {"APPLIED", "applied_at"}};

	return cli_show_list(cli, "/v1/templates?limit=1000", "templates", columns,
	    COUNT_OF(columns), "There is no template; see \"chancery help template apply\".", e);
}

/* The YAML itself: it can be edited and applied again. */
bool
cmd_template_show(struct cli *cli, struct error *e)
{
	json_t *answer = NULL;
	const char *body;
	char path[1200];

	if (!cli_path(path, sizeof path, "/v1/templates/", cli->words[0], "", e) ||
	    !http_get(cli->http, path, &answer, e))
		return false;
	body = json_string_value(json_object_get(answer, "body"));
	if (cli->json)
		cli_print_json(answer);
	else
		(void)fputs(body != NULL ? body : "", stdout);
	json_decref(answer);
	return true;
}

bool
cmd_template_apply(struct cli *cli, struct error *e)
{
	struct statement s = {.action = STATEMENT_TEMPLATE_APPLY};
	struct template *t = NULL;
	json_t *outcome = NULL;
	char *text = NULL;
	size_t len;
	bool ok = false;

	if (!cli_read_file(cli->words[0], TEMPLATE_TEXT_MAX, &text, &len, e))
		return false;
	if (template_parse(text, len, cli->words[0], &t, e) &&
	    decision_put(s.object, sizeof s.object, "a template's name", template_name(t), e) &&
	    decision_order(cli, &s, text, false, &outcome, e)) {
		decision_print(cli, outcome);
		ok = true;
	}
	template_free(t);
	json_decref(outcome);
	free(text);
	return ok;
}
