#include <stdlib.h>
#include <string.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/decision.h"
#include "daemon/cli/operator_key.h"
#include "daemon/x509/pem.h"

#define PUBLIC_KEY_FILE_MAX 16384

bool
cmd_operator_init(struct cli *cli, struct error *e)
{
	char path[4096];
	struct operator_key key = {0};
	struct secret *passphrase = NULL;
	bool ok = false;

	if (operator_key_path(cli->options, path, sizeof path, e) &&
	    (passphrase = secret_read_new(
		 cli->options, "Passphrase for your new operator key", e)) != NULL)
		ok = operator_key_create(
		    path, passphrase, cli->options->value[OPTION_FORCE] != NULL, &key, e);
	if (ok && cli->json) {
		json_t *out = json_pack("{s:s, s:s}", "file", path, "sha256", key.sha256);

		cli_print_json(out);
		json_decref(out);
	} else if (ok) {
		cli_say(cli, "Your key is in %s.", path);
		cli_say(cli, "Its fingerprint: SHA-256 %s", key.sha256);
		cli_say(cli, "An administrator registers it with \"chancery operator add\".");
	}
	secret_free(passphrase);
	operator_key_clear(&key);
	return ok;
}

/* The public key to register: --key, or one's own. */
static bool
public_key(struct cli *cli, char *pem, size_t size, struct error *e)
{
	const char *file = cli->options->value[OPTION_KEY];
	struct bytes rest;
	uint8_t der[4096];
	char *text;
	size_t len, der_len;
	bool ok;

	if (file == NULL)
		return decision_unlock(cli, e) &&
		       public_key_pem(cli->key->spki, cli->key->spki_len, pem, size, e);
	if (!cli_read_file(file, PUBLIC_KEY_FILE_MAX, &text, &len, e))
		return false;
	rest = (struct bytes){(const uint8_t *)text, len};
	ok = pem_decode(&rest, PEM_PUBLIC_KEY, der, sizeof der, &der_len, e) &&
	     public_key_pem(der, der_len, pem, size, e);
	free(text);
	return ok || error_wrap(e, "%s", file);
}

static bool
is_first_operator(struct cli *cli, bool *first, struct error *e)
{
	json_t *answer = NULL;

	if (!http_get(cli->http, "/v1/operators?limit=1", &answer, e))
		return false;
	*first = json_array_size(json_object_get(answer, "operators")) == 0;
	json_decref(answer);
	return true;
}

bool
cmd_operator_add(struct cli *cli, struct error *e)
{
	struct statement s = {.action = STATEMENT_OPERATOR_ADD};
	char pem[8192], body[16384], roles[512] = "";
	json_t *outcome = NULL;
	bool first;

	if (cli->options->role_count == 0)
		return error_set(e, ERROR_USAGE,
		    "operator add needs --role: administrator, manager, auditor or submitter");
	for (size_t i = 0; i < cli->options->role_count; i++) {
		if (strlen(roles) + strlen(cli->options->roles[i]) + 2 > sizeof roles)
			return error_set(e, ERROR_USAGE, "the roles are too long");
		if (i > 0)
			strcat(roles, ",");
		strcat(roles, cli->options->roles[i]);
	}
	if (!decision_put(s.object, sizeof s.object, "a person's name", cli->words[0], e) ||
	    !is_first_operator(cli, &first, e) || !public_key(cli, pem, sizeof pem, e))
		return false;
	if ((size_t)snprintf(body, sizeof body, "person: %s\nroles: %s\nkind: %s\n%s",
		cli->words[0], roles,
		cli->options->value[OPTION_TLS] != NULL ? "tls_client" : "operator_key",
		pem) >= sizeof body)
		return error_set(e, ERROR_LIMIT, "the public key is too long");
	if (!decision_order(cli, &s, body, first, &outcome, e))
		return false;
	decision_print(cli, outcome);
	json_decref(outcome);
	return true;
}

bool
cmd_operator_list(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {
	    {"NAME", "name"}, {"ROLES", "roles"}, {"SINCE", "created_at"}};

	return cli_show_list(cli, "/v1/operators?limit=1000", "operators", columns,
	    COUNT_OF(columns), "Nobody is registered; see \"chancery help operator\".", e);
}
