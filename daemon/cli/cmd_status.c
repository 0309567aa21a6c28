#include "daemon/cli/cli.h"

bool
cmd_token_status(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"TOKEN", "token"}, {"STATE", "state"},
	    {"LABEL", "label"}, {"MODEL", "model"}, {"THREADS", "threads"},
	    {"SIGNATURES", "signatures"}, {"SINCE", "since"}, {"STALE", "stale"},
	    {"WHAT IT SAYS", "sentence"}};

	return cli_show_list(cli, "/v1/tokens", "tokens", columns, COUNT_OF(columns),
	    "No issuer has reported a token yet.", e);
}

static void
print_counts(const char *heading, json_t *counts)
{
	const char *key;
	json_t *value;

	(void)printf("%-16s", heading);
	json_object_foreach(counts, key, value)
	{
		(void)printf(" %" JSON_INTEGER_FORMAT " %s", json_integer_value(value), key);
	}
	(void)printf(json_object_size(counts) == 0 ? " none\n" : "\n");
}

bool
cmd_status(struct cli *cli, struct error *e)
{
	static const struct table_column fields[] = {{"decisions open  ", "open_decisions"},
	    {"to be published ", "unpublished"}, {"operators       ", "operators"},
	    {"database's time ", "database_time"}};
	json_t *answer = NULL;

	if (!http_get(cli->http, "/v1/status", &answer, e))
		return false;
	if (cli->json) {
		cli_print_json(answer);
	} else {
		print_counts("CAs", json_object_get(answer, "cas"));
		print_counts("requests open", json_object_get(answer, "open_requests"));
		table_print_object(stdout, answer, fields, COUNT_OF(fields));
	}
	json_decref(answer);
	return true;
}
