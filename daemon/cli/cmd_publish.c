#include "daemon/cli/cli.h"

bool
cmd_publish_status(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"ID", "id"}, {"CA", "ca"},
	    {"TARGET", "target"}, {"KIND", "kind"}, {"ARTIFACT", "artifact"}, {"NUMBER", "number"},
	    {"STATE", "state"}, {"TRIES", "attempts"}, {"NEXT TRY", "next_at"},
	    {"LAST ERROR", "last_error"}};
	char path[1200] = "/v1/publications?limit=1000";

	if (cli->word_count > 0 &&
	    !cli_path(path, sizeof path, "/v1/publications?limit=1000&ca=", cli->words[0], "", e))
		return false;
	return cli_show_list(cli, path, "publications", columns, COUNT_OF(columns),
	    "Nothing is published: no CA has targets.", e);
}

bool
cmd_publish_retry(struct cli *cli, struct error *e)
{
	json_t *body = json_object(), *answer = NULL;
	char path[1200];
	bool ok = cli_path(path, sizeof path, "/v1/publications/", cli->words[0], "/retry", e) &&
		  http_post(cli->http, path, body, &answer, e);

	if (ok && cli->json)
		cli_print_json(answer);
	else if (ok)
		cli_say(cli, "publication %s is tried again now", cli->words[0]);
	json_decref(body);
	json_decref(answer);
	return ok;
}
