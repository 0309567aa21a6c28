#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/output.h"
#include "daemon/x509/csr.h"

#define WAIT_S 20

/* ------------------------------------------------------------------ reading */

bool
cmd_request_list(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"ID", "id"}, {"STATE", "state"},
	    {"CA", "ca"}, {"TEMPLATE", "template"}, {"SUBJECT", "subject"}, {"REASON", "reason"}};
	static const struct cli_list list = {.path = "/v1/requests",
	    .key = "requests",
	    .nothing = "There is no such request.",
	    .limit = 50,
	    .columns = columns,
	    .count = COUNT_OF(columns)};

	return cli_show_list(cli, &list, e);
}

bool
cmd_request_show(struct cli *cli, struct error *e)
{
	static const struct table_column fields[] = {{"id", "id"}, {"state", "state"},
	    {"reason", "reason"}, {"CA", "ca"}, {"template", "template"}, {"subject", "subject"},
	    {"names", "names"}, {"key", "key_type"}, {"submitter", "submitter"},
	    {"submitted", "submitted_at"}, {"changed", "changed_at"}, {"CSR SHA-256", "csr_sha256"},
	    {"serial", "serial"}, {"certificate SHA-256", "certificate"}};
	char path[CLI_PATH_MAX];

	return cli_path(path, "/v1/requests/", cli->words[0], "", e) &&
	       cli_show_object(cli, path, "id", cli->words[0], fields, COUNT_OF(fields), e);
}

/* --------------------------------------------------------------- submitting */

/* The file as JSON string: PEM as it is, DER in base64. */
static bool
csr_text(const char *file, char **out, struct error *e)
{
	uint8_t *buf = malloc(CSR_MAX);
	char *text = NULL, *base64 = NULL;
	struct bytes der;
	size_t len;
	bool ok = false;

	if (buf == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a CSR");
	if (!output_read_file(file, CSR_PEM_MAX, &text, &len, e))
		goto out;
	if (!csr_from_input((struct bytes){(uint8_t *)text, len}, buf, CSR_MAX, &der, e)) {
		error_wrap(e, "%s", strcmp(file, "-") == 0 ? "standard input" : file);
		goto out;
	}
	base64 = malloc(der.len / 3 * 4 + 8);
	if (base64 == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating a CSR");
		goto out;
	}
	EVP_EncodeBlock((unsigned char *)base64, der.p, (int)der.len);
	*out = base64;
	ok = true;
out:
	free(text);
	free(buf);
	return ok;
}

/* Waits until the request is checked; *answer is replaced by what it is then.
 * It is submitted already: when that cannot be seen, *answer stays. */
static bool
await_check(struct cli *cli, json_t **answer, struct error *e)
{
	const char *id = cli_id(*answer, e);
	struct error why = ERROR_INIT;
	char path[CLI_PATH_MAX], rest[32];
	json_t *now = NULL;

	(void)snprintf(rest, sizeof rest, "?wait=%d", WAIT_S);
	if (id == NULL || !cli_path(path, "/v1/requests/", id, rest, e))
		return false;
	if (!cli_get_object(cli, path, "id", id, &now, &why)) {
		cli_note(
		    "chancery: the request is submitted, but what became of it is not known: %s",
		    why.text);
		return true;
	}
	json_decref(*answer);
	*answer = now;
	return true;
}

static bool
report(struct cli *cli, json_t *request, struct error *e)
{
	const char *id = cli_member(request, "id", e);
	const char *state = cli_member(request, "state", e);
	const char *reason = json_string_value(json_object_get(request, "reason"));

	if (id == NULL || state == NULL)
		return false;
	if (cli->json)
		cli_print_json(request);
	if (strcmp(state, "rejected") == 0 || strcmp(state, "failed") == 0)
		return error_set(e, ERROR_DENIED, "request %s is %s: %s", id, state,
		    reason != NULL ? reason : "no reason given");
	cli_say(cli, "%s is %s", id, state);
	return true;
}

bool
cmd_request_submit(struct cli *cli, struct error *e)
{
	const char *const *value = cli->options->value;
	json_t *body = NULL, *answer = NULL;
	char *csr = NULL;
	bool ok = false;

	if (value[OPTION_CA] == NULL || value[OPTION_TEMPLATE] == NULL)
		return error_set(
		    e, ERROR_USAGE, "request submit needs --ca CA and --template NAME");
	if (!csr_text(cli->words[0], &csr, e))
		return false;
	body = json_pack("{s:s, s:s, s:s, s:s*}", "ca", value[OPTION_CA], "template",
	    value[OPTION_TEMPLATE], "csr", csr, "idempotency_key", value[OPTION_IDEMPOTENCY_KEY]);
	if (body == NULL)
		error_set(e, ERROR_USAGE, "a word on the command line is not UTF-8");
	else
		ok = http_post(cli->http, "/v1/requests", body, &answer, e) &&
		     await_check(cli, &answer, e) && report(cli, answer, e);
	json_decref(body);
	json_decref(answer);
	free(csr);
	return ok;
}

bool
cmd_request_withdraw(struct cli *cli, struct error *e)
{
	json_t *body = json_object(), *answer = NULL;
	char path[CLI_PATH_MAX];
	bool ok = cli_path(path, "/v1/requests/", cli->words[0], "/withdraw", e) &&
		  http_post(cli->http, path, body, &answer, e) && report(cli, answer, e);

	json_decref(body);
	json_decref(answer);
	return ok;
}
