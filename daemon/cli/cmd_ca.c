#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/cli/ceremony.h"
#include "daemon/cli/chain_file.h"
#include "daemon/cli/cli.h"
#include "daemon/cli/limits_draft.h"
#include "daemon/cli/limits_show.h"
#include "daemon/cli/output.h"
#include "daemon/cli/parent.h"
#include "daemon/x509/capolicy.h"
#include "daemon/x509/pem.h"

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
cmd_ca_generations(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"N", "index"}, {"KEY", "key_index"},
	    {"STATE", "state"}, {"NOT AFTER", "not_after"}, {"KEY RETIRED", "key_retired_at"},
	    {"LAST CERTIFICATE", "used_until"}, {"KEY SHA-256", "key_sha256"}};
	char path[CLI_PATH_MAX];
	const struct cli_list list = {.path = path,
	    .key = "generations",
	    .nothing = "This CA has no key yet.",
	    .columns = columns,
	    .count = COUNT_OF(columns)};

	return cli_path(path, "/v1/cas/", cli->words[0], "", e) && cli_show_list(cli, &list, e);
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
create(
    struct cli *cli, const char *ca, struct limits_draft *draft, bool from_parent, struct error *e)
{
	struct statement s = {.action = STATEMENT_CA_CREATE};
	json_t *outcome = NULL;
	bool made;

	cli_note("The limits of the key of CA %s, version 1, SHA-256 %s:", ca, draft->sha256);
	limits_show(stderr, draft->text, (int64_t)time(NULL));
	if (!decision_put_ca(&s, ca, e) ||
	    !ceremony_order(cli, &s, draft->body, &CEREMONY_RULE(&draft->limits), &outcome, e))
		return false;
	if (outcome != NULL) {
		decision_print(cli, outcome);
		ceremony_say_limits(cli, ca, NULL, draft->sha256);
	}
	made = outcome != NULL;
	json_decref(outcome);
	return !made || !from_parent || parent_install(cli, ca, e);
}

bool
cmd_ca_create(struct cli *cli, struct error *e)
{
	const char *file = cli->options->value[OPTION_POLICY], *ca = cli->words[0];
	struct capolicy *policy = calloc(1, sizeof *policy);
	struct limits_draft *draft = NULL;
	char *text = NULL;
	bool from_parent, ok = false;
	size_t len;

	if (policy == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a CA's policy");
	if (file == NULL)
		error_set(
		    e, ERROR_USAGE, "ca create needs --policy FILE; see chancery-ca-policy(5)");
	else if (parent_is_given(cli, &from_parent, e))
		ok = output_read_file(file, CAPOLICY_TEXT_MAX, &text, &len, e) &&
		     capolicy_parse(text, len, file, policy, e) &&
		     (!from_parent || policy->kind == CA_SUBORDINATE ||
			 error_set(e, ERROR_USAGE, "a root has no parent")) &&
		     limits_draft_new(cli, ca, policy, text, &draft, e) &&
		     create(cli, ca, draft, from_parent, e);
	limits_draft_free(draft);
	capolicy_free(policy);
	free(policy);
	free(text);
	return ok;
}

/* Before anybody signs: in a ceremony only the issuer would see it, after the last signature. */
static bool
check_key(const char *ca, const char *chain, const struct limits_current *current, struct error *e)
{
	bool has;

	return chain_has_key(chain, current->key, &has, e) &&
	       (has ||
		   error_set(e, ERROR_INPUT,
		       "none of the certificates is for the key of CA %s: was another CSR signed? "
		       "\"chancery ca csr %s\" writes the right one",
		       ca, ca));
}

bool
ca_install_pem(struct cli *cli, const char *ca, const char *chain, struct error *e)
{
	struct statement s = {.action = STATEMENT_CA_INSTALL};
	struct limits_current *current = NULL;
	json_t *outcome = NULL;
	bool ok;

	ok = decision_put_ca(&s, ca, e) && limits_current_load(cli, ca, "waiting", &current, e) &&
	     check_key(ca, chain, current, e) && chain_show(chain, e) &&
	     ceremony_order(cli, &s, chain, &CEREMONY_RULE(&current->limits), &outcome, e);
	if (ok && outcome != NULL)
		decision_print(cli, outcome);
	limits_current_free(current);
	json_decref(outcome);
	return ok;
}

bool
cmd_ca_install(struct cli *cli, struct error *e)
{
	bool from_parent, ok;
	char *pem = NULL;

	if (!parent_is_given(cli, &from_parent, e))
		return false;
	if (from_parent != (cli->word_count == 1))
		return error_set(e, ERROR_USAGE,
		    "ca install takes files with the certificates, or --parent to fetch them");
	if (from_parent)
		return parent_install(cli, cli->words[0], e);
	ok = chain_files_read(cli->words + 1, cli->word_count - 1, &pem, e) &&
	     ca_install_pem(cli, cli->words[0], pem, e);
	free(pem);
	return ok;
}
