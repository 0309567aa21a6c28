#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/decision.h"
#include "daemon/cli/limits_note.h"
#include "daemon/cli/output.h"
#include "daemon/x509/template.h"

bool
cmd_template_list(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"NAME", "name"}, {"VERSION", "version"},
	    {"AUTOMATIC", "automatic"}, {"APPLIED", "applied_at"}};
	static const struct cli_list list = {.path = "/v1/templates",
	    .key = "templates",
	    .nothing = "There is no template; see \"chancery help template apply\".",
	    .limit = 200,
	    .columns = columns,
	    .count = COUNT_OF(columns)};

	return cli_show_list(cli, &list, e);
}

/* The YAML itself: it can be edited and applied again. */
bool
cmd_template_show(struct cli *cli, struct error *e)
{
	json_t *answer = NULL;
	const char *body;
	char path[CLI_PATH_MAX];

	if (!cli_path(path, "/v1/templates/", cli->words[0], "", e) ||
	    !cli_get_object(cli, path, "name", cli->words[0], &answer, e))
		return false;
	body = cli_member(answer, "body", e);
	if (body != NULL && cli->json)
		cli_print_json(answer);
	else if (body != NULL && isatty(STDOUT_FILENO))
		table_write_escaped(stdout, body, true);
	else if (body != NULL)
		(void)fputs(body, stdout);
	json_decref(answer);
	return body != NULL;
}

bool
cmd_template_apply(struct cli *cli, struct error *e)
{
	struct statement s = {.action = STATEMENT_TEMPLATE_APPLY};
	struct template *t = NULL;
	char *text = NULL;
	size_t len;
	bool ok;

	if (!output_read_file(cli->words[0], TEMPLATE_TEXT_MAX, &text, &len, e))
		return false;
	ok = template_parse(text, len, cli->words[0], &t, e) &&
	     decision_put(s.object, sizeof s.object, "a template's name", template_name(t), e) &&
	     decision_order(cli, &s, text, false, e);
	if (ok)
		limits_note_template(cli, t);
	template_free(t);
	free(text);
	return ok;
}
