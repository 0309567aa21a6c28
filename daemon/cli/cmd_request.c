#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/decision.h"
#include "daemon/x509/csr.h"
#include "daemon/x509/name.h"

#define WAIT_S 20

static const struct table_column request_columns[] = {{"ID", "id"}, {"STATE", "state"},
    {"CA", "ca"}, {"TEMPLATE", "template"}, {"SUBJECT", "subject"}, {"REASON", "reason"}};

/* ------------------------------------------------------------------ reading */

static bool
list_path(struct cli *cli, char *out, size_t size, struct error *e)
{
	static const enum option filters[] = {OPTION_STATE, OPTION_CA};
	const char *limit = cli->options->value[OPTION_LIMIT];
	char escaped[256];
	int n;

	if (!http_escape(limit != NULL ? limit : "50", escaped, sizeof escaped))
		return error_set(e, ERROR_USAGE, "--limit is too long");
	n = snprintf(out, size, "/v1/requests?limit=%s", escaped);
	for (size_t i = 0; i < COUNT_OF(filters); i++) {
		const char *value = cli->options->value[filters[i]];

		if (value == NULL)
			continue;
		if (!http_escape(value, escaped, sizeof escaped))
			return error_set(
			    e, ERROR_USAGE, "--%s is too long", option_name(filters[i]));
		n += snprintf(
		    out + n, size - (size_t)n, "&%s=%s", option_name(filters[i]), escaped);
	}
	return true;
}

bool
cmd_request_list(struct cli *cli, struct error *e)
{
	char path[1024];

	return list_path(cli, path, sizeof path, e) &&
	       cli_show_list(cli, path, "requests", request_columns, COUNT_OF(request_columns),
		   "There is no such request.", e);
}

bool
cmd_request_show(struct cli *cli, struct error *e)
{
	static const struct table_column fields[] = {{"id", "id"}, {"state", "state"},
	    {"reason", "reason"}, {"CA", "ca"}, {"template", "template"}, {"subject", "subject"},
	    {"names", "names"}, {"key", "key_type"}, {"submitter", "submitter"},
	    {"submitted", "submitted_at"}, {"changed", "changed_at"}, {"CSR SHA-256", "csr_sha256"},
	    {"serial", "serial"}, {"certificate SHA-256", "certificate"}};
	char path[1200];

	return cli_path(path, sizeof path, "/v1/requests/", cli->words[0], "", e) &&
	       cli_show_object(cli, path, fields, COUNT_OF(fields), e);
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
	if (!cli_read_file(file, CSR_PEM_MAX, &text, &len, e))
		goto out;
	if (!csr_from_input((struct bytes){(uint8_t *)text, len}, buf, CSR_MAX, &der, e)) {
		error_wrap(e, "%s", file);
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

/* Waits until the request is checked; *answer is replaced by what it is then. */
static bool
await_check(struct cli *cli, json_t **answer, struct error *e)
{
	const char *id = json_string_value(json_object_get(*answer, "id"));
	char path[256], rest[32];
	json_t *now = NULL;

	(void)snprintf(rest, sizeof rest, "?wait=%d", WAIT_S);
	if (id == NULL)
		return error_set(e, ERROR_INTERNAL, "the service gave the request no id");
	if (!cli_path(path, sizeof path, "/v1/requests/", id, rest, e) ||
	    !http_get(cli->http, path, &now, e))
		return false;
	json_decref(*answer);
	*answer = now;
	return true;
}

static bool
report(struct cli *cli, json_t *request, struct error *e)
{
	const char *id = json_string_value(json_object_get(request, "id"));
	const char *state = json_string_value(json_object_get(request, "state"));
	const char *reason = json_string_value(json_object_get(request, "reason"));

	if (id == NULL || state == NULL)
		return error_set(e, ERROR_INTERNAL, "the service's answer says no state");
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
	char path[1200];
	bool ok = cli_path(path, sizeof path, "/v1/requests/", cli->words[0], "/withdraw", e) &&
		  http_post(cli->http, path, body, &answer, e) && report(cli, answer, e);

	json_decref(body);
	json_decref(answer);
	return ok;
}

/* ----------------------------------------------------------------- deciding */

/* Shows what the CSR itself asks for: the service's word is not taken for it. */
static bool
show_csr(struct cli *cli, struct bytes der, struct statement *s, struct error *e)
{
	struct csr *csr = calloc(1, sizeof *csr);
	char subject[NAME_TEXT_MAX], name[SAN_TEXT_MAX], key[16];
	bool ok = false;

	if (csr == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a CSR");
	if (!csr_parse(der, csr, e) || !csr_sha256(csr, s->csr_sha256, e) ||
	    !name_to_text(csr->subject, subject, sizeof subject, e))
		goto out;
	s->has_csr = true;
	ok = true;
	if (cli->json)
		goto out;
	spki_describe(&csr->spki, key);
	(void)fprintf(stderr, "The CSR asks for:\n  subject  %s\n  key      %s\n", subject, key);
	for (size_t i = 0; i < csr->name_count; i++) {
		if (san_to_text(&csr->names[i], name, sizeof name))
			(void)fprintf(stderr, "  name     %s\n", name);
	}
out:
	free(csr);
	return ok;
}

static bool
read_csr(struct cli *cli, json_t *request, struct statement *s, struct error *e)
{
	const char *pem = json_string_value(json_object_get(request, "csr"));
	uint8_t *buf = malloc(CSR_MAX);
	struct bytes der;
	bool ok = false;

	if (buf == NULL)
		error_set_errno(e, ERROR_SYSTEM, "allocating a CSR");
	else if (pem == NULL)
		error_set(e, ERROR_INTERNAL, "the service does not show the request's CSR");
	else
		ok = csr_from_input((struct bytes){(const uint8_t *)pem, strlen(pem)}, buf, CSR_MAX,
			 &der, e) &&
		     show_csr(cli, der, s, e);
	free(buf);
	return ok;
}

/* "tls-server/3" into the statement. */
static bool
put_template(struct statement *s, const char *template, struct error *e)
{
	const char *slash = template != NULL ? strrchr(template, '/') : NULL;

	if (slash == NULL || (size_t)(slash - template) >= sizeof s->template_name)
		return error_set(e, ERROR_INTERNAL, "the service names no template version");
	memcpy(s->template_name, template, (size_t)(slash - template));
	s->template_name[slash - template] = '\0';
	s->template_version = (uint32_t)strtoul(slash + 1, NULL, 10);
	return true;
}

static bool
prepare(struct cli *cli, const char *id, json_t *request, struct statement *s, struct error *e)
{
	const char *reason = cli->options->value[OPTION_REASON];
	const char *ca = json_string_value(json_object_get(request, "ca"));
	const char *own_id = json_string_value(json_object_get(request, "id"));

	if (ca == NULL || own_id == NULL || strcasecmp(own_id, id) != 0)
		return error_set(
		    e, ERROR_INTERNAL, "the service shows another request than %s", id);
	return decision_put(s->ca, sizeof s->ca, "a CA's name", ca, e) &&
	       decision_put(s->object, sizeof s->object, "a request's id", own_id, e) &&
	       decision_put(
		   s->reason, sizeof s->reason, "a reason", reason != NULL ? reason : "", e) &&
	       put_template(s, json_string_value(json_object_get(request, "template")), e) &&
	       read_csr(cli, request, s, e);
}

static bool
decide(struct cli *cli, const char *id, enum statement_action action, json_t *outcomes,
    struct error *e)
{
	struct statement s = {.action = action};
	json_t *request = NULL, *outcome = NULL;
	char path[1200];
	bool ok = false;

	if (!cli_path(path, sizeof path, "/v1/requests/", id, "", e) ||
	    !http_get(cli->http, path, &request, e))
		return false;
	if (prepare(cli, id, request, &s, e) && decision_order(cli, &s, NULL, false, &outcome, e)) {
		ok = true;
		if (cli->json)
			(void)json_array_append(outcomes, outcome);
		else
			decision_print(cli, outcome);
	}
	json_decref(request);
	json_decref(outcome);
	return ok;
}

/* All that are named, though one may fail; the first failure is the outcome. */
static bool
decide_all(struct cli *cli, enum statement_action action, struct error *e)
{
	json_t *outcomes = json_array();

	for (size_t i = 0; i < cli->word_count; i++) {
		struct error one = ERROR_INIT;

		if (decide(cli, cli->words[i], action, outcomes, &one))
			continue;
		if (error_is_set(e))
			(void)fprintf(stderr, "chancery: %s\n", one.text);
		else
			*e = one;
	}
	if (cli->json)
		cli_print_json(
		    json_array_size(outcomes) == 1 ? json_array_get(outcomes, 0) : outcomes);
	json_decref(outcomes);
	return !error_is_set(e);
}

bool
cmd_request_approve(struct cli *cli, struct error *e)
{
	return decide_all(cli, STATEMENT_APPROVE, e);
}

bool
cmd_request_deny(struct cli *cli, struct error *e)
{
	if (cli->options->value[OPTION_REASON] == NULL)
		return error_set(
		    e, ERROR_USAGE, "request deny needs --reason TEXT: the submitter will read it");
	return decide_all(cli, STATEMENT_DENY, e);
}
