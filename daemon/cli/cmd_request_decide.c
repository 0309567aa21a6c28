#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/decision.h"
#include "daemon/x509/csr.h"
#include "daemon/x509/name.h"

/*
 * Approving and denying: what the CSR itself asks for is shown, and its digest
 * goes into the statement, so that a service which shows another CSR than it
 * has gets a signature that is good for nothing.
 */

/* One of the requests on the command line. */
struct item {
	const char *id;
	struct decision decision;
	bool alive; /* nothing went wrong with it yet */
};

static bool
show_csr(struct bytes der, struct statement *s, struct error *e)
{
	struct csr *csr = calloc(1, sizeof *csr);
	char subject[NAME_TEXT_MAX], name[SAN_TEXT_MAX], key[16];
	bool ok = false;

	if (csr == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a CSR");
	/* Nothing is approved whose maker did not prove to have the private key. */
	if (!csr_parse(der, csr, e) || (s->action == STATEMENT_APPROVE && !csr_verify(csr, e)) ||
	    !csr_sha256(csr, s->csr_sha256, e) ||
	    !name_to_text(csr->subject, subject, sizeof subject, e))
		goto out;
	s->has_csr = true;
	spki_describe(&csr->spki, key);
	cli_note("The CSR asks for:");
	cli_note("  subject  %s", subject[0] != '\0' ? subject : "(none)");
	cli_note("  key      %s", key);
	for (size_t i = 0; i < csr->name_count; i++) {
		if (!san_to_text(&csr->names[i], name, sizeof name)) {
			error_set(e, ERROR_INPUT, "a name in the CSR cannot be shown");
			goto out;
		}
		cli_note("  name     %s", name);
	}
	if (csr->has_basic_constraints && csr->ca)
		cli_note("  to be a CA");
	ok = true;
out:
	free(csr);
	return ok;
}

static bool
read_csr(json_t *request, struct statement *s, struct error *e)
{
	const char *pem = cli_member(request, "csr", e);
	uint8_t *buf = NULL;
	struct bytes der;
	bool ok;

	if (pem == NULL)
		return false;
	buf = malloc(CSR_MAX);
	if (buf == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a CSR");
	ok = csr_from_input(
		 (struct bytes){(const uint8_t *)pem, strlen(pem)}, buf, CSR_MAX, &der, e) &&
	     show_csr(der, s, e);
	free(buf);
	return ok || error_wrap(e, "the request's CSR");
}

/* "tls-server/3" into the statement. */
static bool
put_template(struct statement *s, json_t *request, struct error *e)
{
	const char *template = cli_member(request, "template", e), *slash, *digits;
	char name[STATEMENT_NAME_MAX + 1];

	if (template == NULL)
		return false;
	slash = strrchr(template, '/');
	digits = slash != NULL ? slash + 1 : "";
	if (slash == NULL || (size_t)(slash - template) >= sizeof name || digits[0] == '\0' ||
	    strlen(digits) > 7 || digits[strspn(digits, "0123456789")] != '\0')
		return error_set(e, ERROR_INTERNAL, "the service names no template and version");
	memcpy(name, template, (size_t)(slash - template));
	name[slash - template] = '\0';
	s->template_version = (uint32_t)strtoul(digits, NULL, 10);
	return decision_put(
	    s->template_name, sizeof s->template_name, "a template's name", name, e);
}

/* The request as it stands, shown, and the statement about it. */
static bool
prepare(struct cli *cli, enum statement_action action, struct item *item, struct error *e)
{
	const char *reason = cli->options->value[OPTION_REASON], *ca, *id;
	struct statement s = {.action = action};
	json_t *request = NULL;
	char path[CLI_PATH_MAX];
	bool ok;

	if (!cli_path(path, "/v1/requests/", item->id, "", e) ||
	    !cli_get_object(cli, path, "id", item->id, &request, e))
		return false;
	ca = cli_member(request, "ca", e);
	id = cli_member(request, "id", e);
	cli_note("Request %s", item->id);
	ok = ca != NULL && id != NULL && decision_put(s.ca, sizeof s.ca, "a CA's name", ca, e) &&
	     decision_put(s.object, sizeof s.object, "a request's id", id, e) &&
	     decision_put(s.reason, sizeof s.reason, "a reason", reason != NULL ? reason : "", e) &&
	     put_template(&s, request, e) && read_csr(request, &s, e) &&
	     decision_prepare(&s, NULL, false, &item->decision, e);
	json_decref(request);
	return ok;
}

/* Among several, each failure is told when it happens. */
static void
note_failure(struct cli *cli, struct item *item, struct error *why, struct error *e)
{
	item->alive = false;
	if (cli->word_count > 1)
		cli_note("chancery: request %s: %s", item->id, why->text);
	else
		*e = *why;
	error_clear(why);
}

static size_t
count_alive(const struct item *items, size_t count)
{
	size_t alive = 0;

	for (size_t i = 0; i < count; i++)
		alive += items[i].alive;
	return alive;
}

static void
prepare_all(struct cli *cli, enum statement_action action, struct item *items, struct error *e)
{
	struct error why = ERROR_INIT;

	for (size_t i = 0; i < cli->word_count; i++) {
		items[i].id = cli->words[i];
		items[i].alive = true;
		if (!prepare(cli, action, &items[i], &why))
			note_failure(cli, &items[i], &why, e);
	}
}

static void
carry_out(struct cli *cli, struct item *items, json_t *outcomes, struct error *e)
{
	struct error why = ERROR_INIT;

	for (size_t i = 0; i < cli->word_count; i++) {
		if (items[i].alive && !decision_hand_in(cli, &items[i].decision, &why))
			note_failure(cli, &items[i], &why, e);
	}
	for (size_t i = 0; i < cli->word_count; i++) {
		json_t *outcome = NULL;

		if (!items[i].alive)
			continue;
		if (!decision_await(cli, &items[i].decision, &outcome, &why)) {
			note_failure(cli, &items[i], &why, e);
			continue;
		}
		if (cli->json)
			(void)json_array_append(outcomes, outcome);
		else
			decision_print(cli, outcome);
		json_decref(outcome);
	}
}

/* All that are named, though one may fail. With --json one request gives the
 * decision, several give the list of those that were carried out. */
static bool
decide_all(struct cli *cli, enum statement_action action, struct error *e)
{
	struct item *items = calloc(cli->word_count, sizeof *items);
	json_t *outcomes = json_array();
	size_t alive = 0;

	if (items == NULL || outcomes == NULL) {
		error_set(e, ERROR_SYSTEM, "no memory for %zu decisions", cli->word_count);
		goto out;
	}
	prepare_all(cli, action, items, e);
	if (count_alive(items, cli->word_count) > 0) {
		/* Without the key nothing is decided, and it is asked for once. */
		if (!decision_unlock(cli, e))
			goto out;
		carry_out(cli, items, outcomes, e);
	}
	alive = count_alive(items, cli->word_count);
	if (cli->json && cli->word_count > 1)
		cli_print_json(outcomes);
	else if (cli->json && alive > 0)
		cli_print_json(json_array_get(outcomes, 0));
	if (alive < cli->word_count && !error_is_set(e))
		error_set(e, ERROR_DENIED, "%zu of %zu requests are not %s",
		    cli->word_count - alive, cli->word_count,
		    action == STATEMENT_APPROVE ? "approved" : "denied");
out:
	json_decref(outcomes);
	free(items);
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
