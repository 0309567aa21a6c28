#include <string.h>

#include "daemon/cli/cli.h"

bool
cmd_publish_status(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"ID", "id"}, {"CA", "ca"},
	    {"TARGET", "target"}, {"ARTIFACT", "artifact"}, {"NUMBER", "number"},
	    {"STATE", "state"}, {"TRIES", "attempts"}, {"NEXT TRY", "next_at"},
	    {"STANDS", "stands"}, {"AGE", "stands_age"}, {"UNTIL", "stands_until"}};
	static const struct table_column backlog_columns[] = {{"CA", "ca"}, {"TARGET", "target"},
	    {"EARLIER ONES LOOKED AT", "looked_at"}, {"ADDED", "added"}};
	static const struct cli_list backlog = {
	    .key = "backlog", .columns = backlog_columns, .count = COUNT_OF(backlog_columns)};
	char path[CLI_PATH_MAX] = "/v1/publications";
	const struct cli_list list = {.path = path,
	    .key = "publications",
	    .nothing = "Nothing is published: no CA has targets.",
	    .limit = 200,
	    .id = "id",
	    .notes = "last_error",
	    .columns = columns,
	    .count = COUNT_OF(columns),
	    .below = &backlog};

	if (cli->word_count > 0 && !cli_path_add(path, "ca", cli->words[0], e))
		return false;
	return cli_show_list(cli, &list, e);
}

bool
cmd_publish_retry(struct cli *cli, struct error *e)
{
	json_t *body = json_object(), *answer = NULL;
	char path[CLI_PATH_MAX];
	bool ok = false;

	if (strspn(cli->words[0], "0123456789") != strlen(cli->words[0]))
		error_set(e, ERROR_USAGE,
		    "\"%s\" is no publication's ID: \"chancery publish status\" shows them",
		    cli->words[0]);
	else
		ok = cli_path(path, "/v1/publications/", cli->words[0], "/retry", e) &&
		     http_post(cli->http, path, body, &answer, e);
	if (ok && cli->json)
		cli_print_json(answer);
	else if (ok)
		cli_say(cli, "publication %s is tried again now", cli->words[0]);
	json_decref(body);
	json_decref(answer);
	return ok;
}

bool
cmd_publish_entries(struct cli *cli, struct error *e)
{
	json_t *body = json_object(), *answer = NULL;
	char path[CLI_PATH_MAX];
	bool ok = cli_path(path, "/v1/cas/", cli->words[0], "/entries", e) &&
		  http_post(cli->http, path, body, &answer, e);

	if (ok && cli->json)
		cli_print_json(answer);
	else if (ok)
		cli_say(cli,
		    "the valid certificates that CA %s issued before are on their way to their "
		    "entries",
		    cli->words[0]);
	json_decref(body);
	json_decref(answer);
	return ok;
}
