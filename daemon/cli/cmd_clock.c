#include "daemon/cli/cli.h"

bool
cmd_clock_confirm(struct cli *cli, struct error *e)
{
	json_t *body = json_object(), *answer = NULL;
	bool ok = http_post(cli->http, "/v1/clock/confirm", body, &answer, e);

	if (ok && cli->json)
		cli_print_json(answer);
	else if (ok)
		cli_say(cli, "the clock is confirmed; signing goes on");
	json_decref(body);
	json_decref(answer);
	return ok;
}
