#include <stdlib.h>
#include <string.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/decision.h"
#include "daemon/cli/output.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/pem.h"

#define REASONS                                                                      \
	"unspecified, keyCompromise, cACompromise, affiliationChanged, superseded, " \
	"cessationOfOperation, privilegeWithdrawn, aACompromise"

bool
cmd_cert_list(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"SERIAL", "serial"}, {"STATUS", "status"},
	    {"CA", "ca"}, {"NOT AFTER", "not_after"}, {"SUBJECT", "subject"}};
	const char *ca = cli->options->value[OPTION_CA], *limit = cli->options->value[OPTION_LIMIT];
	char path[1024], escaped_ca[256] = "", escaped_limit[64] = "50";

	if ((ca != NULL && !http_escape(ca, escaped_ca, sizeof escaped_ca)) ||
	    (limit != NULL && !http_escape(limit, escaped_limit, sizeof escaped_limit)))
		return error_set(e, ERROR_USAGE, "--ca or --limit is too long");
	(void)snprintf(path, sizeof path, "/v1/certificates?limit=%s%s%s", escaped_limit,
	    ca != NULL ? "&ca=" : "", escaped_ca);
	return cli_show_list(cli, path, "certificates", columns, COUNT_OF(columns),
	    "There is no such certificate.", e);
}

bool
cmd_cert_show(struct cli *cli, struct error *e)
{
	static const struct table_column fields[] = {{"serial", "serial"}, {"SHA-256", "sha256"},
	    {"status", "status"}, {"revoked", "revoked_at"}, {"reason", "revocation_reason"},
	    {"CA", "ca"}, {"template", "template"}, {"subject", "subject"}, {"names", "names"},
	    {"not before", "not_before"}, {"not after", "not_after"}, {"issued", "issued_at"},
	    {"request", "request"}};
	char path[1200];

	return cli_path(path, sizeof path, "/v1/certificates/", cli->words[0], "", e) &&
	       cli_show_object(cli, path, fields, COUNT_OF(fields), e);
}

static bool
write_der(struct cli *cli, const char *pem, struct error *e)
{
	struct bytes text = {(const uint8_t *)pem, strlen(pem)};
	uint8_t *der = malloc(CERTIFICATE_MAX);
	size_t len;
	bool ok;

	if (der == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a certificate");
	ok = pem_decode(&text, PEM_CERTIFICATE, der, CERTIFICATE_MAX, &len, e) &&
	     output_write(cli, der, len, e);
	free(der);
	return ok;
}

bool
cmd_cert_get(struct cli *cli, struct error *e)
{
	bool chain = cli->options->value[OPTION_CHAIN] != NULL;
	bool as_der = cli->options->value[OPTION_DER] != NULL;
	char path[1200], *pem;
	bool ok;

	if (chain && as_der)
		return error_set(
		    e, ERROR_USAGE, "--der is one certificate; a chain is written as PEM");
	if (!cli_path(path, sizeof path, "/v1/certificates/", cli->words[0],
		chain ? "/pem?chain=1" : "/pem", e) ||
	    !http_get_text(cli->http, path, &pem, e))
		return false;
	ok = as_der ? write_der(cli, pem, e) : output_write(cli, pem, strlen(pem), e);
	free(pem);
	return ok;
}

/* The statement about the certificate that the service shows under the name. */
static bool
decide(struct cli *cli, enum statement_action action, const char *reason, struct error *e)
{
	struct statement s = {.action = action};
	json_t *certificate = NULL, *outcome = NULL;
	const char *ca, *sha256, *subject;
	char path[1200], readable[TABLE_CELL_MAX];
	bool ok = false;

	if (!cli_path(path, sizeof path, "/v1/certificates/", cli->words[0], "", e) ||
	    !http_get(cli->http, path, &certificate, e))
		return false;
	ca = json_string_value(json_object_get(certificate, "ca"));
	sha256 = json_string_value(json_object_get(certificate, "sha256"));
	subject = json_string_value(json_object_get(certificate, "subject"));
	if (ca == NULL || sha256 == NULL || subject == NULL) {
		error_set(e, ERROR_INTERNAL, "the service's answer describes no certificate");
		goto out;
	}
	table_escape(subject, readable, sizeof readable);
	if (!cli->json)
		(void)fprintf(stderr, "The certificate of %s:\n", readable);
	if (decision_put(s.ca, sizeof s.ca, "a CA's name", ca, e) &&
	    decision_put(s.object, sizeof s.object, "a certificate's SHA-256", sha256, e) &&
	    decision_put(s.reason, sizeof s.reason, "a reason", reason, e) &&
	    decision_order(cli, &s, NULL, false, &outcome, e)) {
		decision_print(cli, outcome);
		ok = true;
	}
out:
	json_decref(certificate);
	json_decref(outcome);
	return ok;
}

bool
cmd_cert_revoke(struct cli *cli, struct error *e)
{
	const char *reason = cli->options->value[OPTION_REASON];
	unsigned code;

	if (reason == NULL)
		return error_set(e, ERROR_USAGE, "cert revoke needs --reason: " REASONS);
	if (!statement_reason_code(reason, &code))
		return error_set(e, ERROR_USAGE,
		    "\"%s\" is no reason for a revocation (RFC 5280 5.3.1); the reasons "
		    "are " REASONS,
		    reason);
	return decide(cli, STATEMENT_REVOKE, reason, e);
}

bool
cmd_cert_hold(struct cli *cli, struct error *e)
{
	return decide(cli, STATEMENT_HOLD, "certificateHold", e);
}

bool
cmd_cert_release(struct cli *cli, struct error *e)
{
	return decide(cli, STATEMENT_RELEASE, "", e);
}
