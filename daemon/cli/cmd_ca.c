#include <stdlib.h>
#include <string.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/decision.h"
#include "daemon/cli/output.h"
#include "daemon/x509/capolicy.h"
#include "daemon/x509/pem.h"

#define CHAIN_FILE_MAX 262144

bool
cmd_ca_list(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"NAME", "name"}, {"KIND", "kind"},
	    {"STATE", "state"}, {"KEY", "key/algorithm"}, {"TOKEN", "key/token"},
	    {"NOT AFTER", "certificate/not_after"}, {"SUBJECT", "subject"}};
	static const struct cli_list list = {.path = "/v1/cas",
	    .key = "cas",
	    .nothing = "There is no CA yet; see \"chancery help ca create\".",
	    .limit = 200,
	    .columns = columns,
	    .count = COUNT_OF(columns)};

	return cli_show_list(cli, &list, e);
}

bool
cmd_ca_show(struct cli *cli, struct error *e)
{
	static const struct table_column fields[] = {{"name", "name"}, {"kind", "kind"},
	    {"state", "state"}, {"subject", "subject"}, {"key", "key/algorithm"},
	    {"token", "key/token"}, {"key label", "key/label"}, {"key SHA-256", "key/spki_sha256"},
	    {"certificate SHA-256", "certificate/sha256"}, {"subject key id", "certificate/ski"},
	    {"not before", "certificate/not_before"}, {"not after", "certificate/not_after"},
	    {"templates", "templates"}, {"created", "created_at"}};
	char path[CLI_PATH_MAX];

	return cli_path(path, "/v1/cas/", cli->words[0], "", e) &&
	       cli_show_object(cli, path, "name", cli->words[0], fields, COUNT_OF(fields), e);
}

bool
cmd_ca_csr(struct cli *cli, struct error *e)
{
	char path[CLI_PATH_MAX], *pem;
	bool ok;

	if (!cli_path(path, "/v1/cas/", cli->words[0], "/csr", e) ||
	    !http_get_text(cli->http, path, &pem, e))
		return false;
	ok = output_write_pem(cli, pem, PEM_CERTIFICATE_REQUEST, 1, e);
	free(pem);
	return ok;
}

static bool
order(struct cli *cli, enum statement_action action, const char *body, struct error *e)
{
	struct statement s = {.action = action};

	return decision_put(s.ca, sizeof s.ca, "a CA's name", cli->words[0], e) &&
	       decision_put(s.object, sizeof s.object, "a CA's name", cli->words[0], e) &&
	       decision_order(cli, &s, body, false, e);
}

bool
cmd_ca_create(struct cli *cli, struct error *e)
{
	const char *file = cli->options->value[OPTION_POLICY];
	struct capolicy *policy = calloc(1, sizeof *policy);
	char *text = NULL;
	size_t len;
	bool ok = false;

	if (policy == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a CA's policy");
	if (file == NULL)
		error_set(
		    e, ERROR_USAGE, "ca create needs --policy FILE; see chancery-ca-policy(5)");
	else if (output_read_file(file, CAPOLICY_TEXT_MAX, &text, &len, e) &&
		 capolicy_parse(text, len, file, policy, e))
		ok = order(cli, STATEMENT_CA_CREATE, text, e);
	capolicy_free(policy);
	free(policy);
	free(text);
	return ok;
}

bool
cmd_ca_install(struct cli *cli, struct error *e)
{
	char *text = NULL;
	size_t len;
	bool ok = false;

	if (!output_read_file(cli->words[1], CHAIN_FILE_MAX, &text, &len, e))
		return false;
	if (strlen(text) != len || strstr(text, "-----BEGIN CERTIFICATE-----") == NULL)
		error_set(e, ERROR_INPUT,
		    "%s holds no certificate in PEM: the CA's certificate and those above it are "
		    "needed",
		    cli->words[1]);
	else
		ok = order(cli, STATEMENT_CA_INSTALL, text, e);
	free(text);
	return ok;
}
