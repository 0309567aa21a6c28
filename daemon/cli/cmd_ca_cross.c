#include <stdlib.h>

#include "daemon/cli/chain_file.h"
#include "daemon/cli/decision.h"

bool
cmd_ca_install_cross(struct cli *cli, struct error *e)
{
	struct statement s = {.action = STATEMENT_CA_CROSS};
	const char *ca = cli->words[0];
	char *pem = NULL;
	bool ok;

	ok = chain_files_read(cli->words + 1, cli->word_count - 1, &pem, e) && chain_show(pem, e) &&
	     decision_put_ca(&s, ca, e) && decision_order(cli, &s, pem, false, e);
	free(pem);
	return ok;
}
