#include <stdlib.h>
#include <string.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/decision.h"
#include "daemon/cli/output.h"
#include "daemon/x509/canon.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/name.h"
#include "daemon/x509/pem.h"

#define REASONS                                                                      \
	"unspecified, keyCompromise, cACompromise, affiliationChanged, superseded, " \
	"cessationOfOperation, privilegeWithdrawn, aACompromise"

#define SHA256_DIGITS 64
#define SERIAL_DIGITS 40
#define UUID_LEN 36
#define CHAIN_MAX 16 /* certificates */

static void
to_hex(struct bytes from, char *out, size_t size)
{
	out[0] = '\0';
	for (size_t i = 0; i < from.len && 2 * i + 2 < size; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", from.p[i]);
}

bool
cmd_cert_list(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"SERIAL", "serial"}, {"STATUS", "status"},
	    {"CA", "ca"}, {"NOT AFTER", "not_after"}, {"SUBJECT", "subject"}};
	static const struct cli_list list = {.path = "/v1/certificates",
	    .key = "certificates",
	    .nothing = "There is no such certificate.",
	    .limit = 50,
	    .columns = columns,
	    .count = COUNT_OF(columns)};

	return cli_show_list(cli, &list, e);
}

/* ----------------------------------------------------------------- by name */

/* What a certificate is called by on the command line: a SHA-256 or a serial
 * number, with or without colons, or the id of its request. */
struct reference {
	char text[80];
	enum reference_kind { BY_SHA256, BY_SERIAL, BY_REQUEST } kind;
};

static bool
read_reference(const char *word, struct reference *r, struct error *e)
{
	bool uuid = strchr(word, '-') != NULL;
	size_t at = 0;

	for (const char *p = word; *p != '\0'; p++) {
		if (*p == ':' && !uuid)
			continue;
		if (at + 1 == sizeof r->text || strchr("0123456789abcdefABCDEF-", *p) == NULL)
			goto fail;
		r->text[at++] = (char)(*p >= 'A' && *p <= 'F' ? *p - 'A' + 'a' : *p);
	}
	r->text[at] = '\0';
	r->kind = uuid ? BY_REQUEST : at == SHA256_DIGITS ? BY_SHA256 : BY_SERIAL;
	if (uuid ? at == UUID_LEN : at == SHA256_DIGITS || (at > 0 && at <= SERIAL_DIGITS))
		return true;
fail:
	error_set(e, ERROR_USAGE,
	    "\"%.80s\" names no certificate: give its serial number or SHA-256 in hex, or the id "
	    "of "
	    "its request",
	    word);
	return false;
}

/* Refuses what the service shows when it is not what was asked for. */
static bool
check_answer(const struct reference *r, json_t *answer, struct error *e)
{
	static const char *const keys[] = {
	    [BY_SHA256] = "sha256", [BY_SERIAL] = "serial", [BY_REQUEST] = "request"};
	const char *got = cli_member(answer, keys[r->kind], e);

	return got != NULL &&
	       (strcmp(got, r->text) == 0 ||
		   error_set(e, ERROR_INTERNAL,
		       "asked for the certificate %s, the service answers with %.80s", r->text,
		       got));
}

/* There is none of this request: why, if the service knows the request. */
static void
explain(struct cli *cli, const struct reference *r, struct error *e)
{
	struct error ignored = ERROR_INIT, why = ERROR_INIT;
	char path[CLI_PATH_MAX];
	json_t *request = NULL;
	const char *state;

	if (e->code != ERROR_NOT_FOUND || r->kind != BY_REQUEST ||
	    !cli_path(path, "/v1/requests/", r->text, "", &ignored) ||
	    !cli_get_object(cli, path, "id", r->text, &request, &ignored))
		return;
	state = cli_text(request, "state");
	if (strcmp(state, "issued") != 0) {
		error_set(&why, ERROR_NOT_FOUND, "request %s has no certificate: it is %.20s%s",
		    r->text, state,
		    strcmp(state, "pending") == 0
			? ", and a manager has to approve it (chancery request approve)"
			: "");
		*e = why;
	}
	json_decref(request);
}

bool
cmd_cert_show(struct cli *cli, struct error *e)
{
	static const struct table_column fields[] = {{"serial", "serial"}, {"SHA-256", "sha256"},
	    {"status", "status"}, {"revoked", "revoked_at"}, {"reason", "revocation_reason"},
	    {"invalid", "invalid_since"}, {"CA", "ca"}, {"template", "template"},
	    {"subject", "subject"}, {"names", "names"}, {"key SHA-256", "spki_sha256"},
	    {"not before", "not_before"}, {"not after", "not_after"}, {"issued", "issued_at"},
	    {"request", "request"}};
	struct reference reference;
	json_t *answer = NULL;
	char path[CLI_PATH_MAX];
	bool ok;

	if (!read_reference(cli->words[0], &reference, e) ||
	    !cli_path(path, "/v1/certificates/", reference.text, "", e))
		return false;
	if (!http_get(cli->http, path, &answer, e)) {
		explain(cli, &reference, e);
		return false;
	}
	ok = check_answer(&reference, answer, e);
	if (ok && cli->json)
		cli_print_json(answer);
	else if (ok)
		table_print_object(stdout, answer, fields, COUNT_OF(fields));
	json_decref(answer);
	return ok;
}

/* The certificate itself. Whatever is asked by digest or serial number is
 * checked against its own octets: the service's word does not count. */
static bool
fetch(struct cli *cli, const struct reference *r, bool chain, char **pem, uint8_t *der,
    struct certificate *certificate, char sha256[65], struct error *e)
{
	char path[CLI_PATH_MAX], serial[2 * SERIAL_DIGITS + 1];
	uint8_t digest[SHA256_DIGITS / 2];
	struct bytes text;
	size_t len;

	if (!cli_path(path, "/v1/certificates/", r->text, chain ? "/pem?chain=1" : "/pem", e))
		return false;
	if (!http_get_text(cli->http, path, pem, e)) {
		explain(cli, r, e);
		return false;
	}
	text = (struct bytes){(const uint8_t *)*pem, strlen(*pem)};
	if (!pem_decode(&text, PEM_CERTIFICATE, der, CERTIFICATE_MAX, &len, e) ||
	    !certificate_parse((struct bytes){der, len}, certificate, e) ||
	    !certificate_sha256(certificate, digest, e)) {
		error_wrap(e, "what the service sent as certificate");
		return false;
	}
	to_hex((struct bytes){digest, sizeof digest}, sha256, 65);
	to_hex(certificate->serial, serial, sizeof serial);
	if ((r->kind == BY_SHA256 && strcmp(r->text, sha256) != 0) ||
	    (r->kind == BY_SERIAL && strcmp(r->text, serial) != 0)) {
		error_set(e, ERROR_INTERNAL,
		    "asked for the certificate %s, the service sends that with the serial number "
		    "%s",
		    r->text, serial);
		return false;
	}
	return true;
}

bool
cmd_cert_get(struct cli *cli, struct error *e)
{
	bool chain = cli->options->value[OPTION_CHAIN] != NULL;
	bool as_der = cli->options->value[OPTION_DER] != NULL, ok = false;
	struct certificate certificate;
	struct reference reference;
	uint8_t *der = NULL;
	char *pem = NULL, sha256[65];

	if (as_der && (chain || cli->json))
		return error_set(e, ERROR_USAGE,
		    "--der writes the octets of one certificate: neither --chain nor --json goes "
		    "with it");
	if (!read_reference(cli->words[0], &reference, e))
		return false;
	der = malloc(CERTIFICATE_MAX);
	if (der == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a certificate");
	if (fetch(cli, &reference, chain, &pem, der, &certificate, sha256, e))
		ok = as_der ? output_write(cli, der, certificate.whole.len, e)
			    : output_write_pem(cli, pem, PEM_CERTIFICATE, chain ? CHAIN_MAX : 1, e);
	free(pem);
	free(der);
	return ok;
}

/* --------------------------------------------------------------- deciding */

static bool
show(const struct certificate *c, const char *ca, struct error *e)
{
	char subject[NAME_TEXT_MAX], issuer[NAME_TEXT_MAX], serial[2 * SERIAL_DIGITS + 1];

	if (!name_to_text(c->subject, subject, sizeof subject, e) ||
	    !name_to_text(c->issuer, issuer, sizeof issuer, e))
		return false;
	to_hex(c->serial, serial, sizeof serial);
	cli_note("The certificate says of itself:");
	cli_note("  subject  %s", subject);
	cli_note("  issuer   %s", issuer);
	cli_note("  serial   %s", serial);
	cli_note("The service says that it is of CA %s.", ca);
	return true;
}

/* The statement about the certificate, of which the octets were seen. */
static bool
decide(struct cli *cli, enum statement_action action, const char *reason, struct error *e)
{
	struct statement s = {.action = action};
	struct certificate certificate;
	struct reference reference;
	json_t *answer = NULL;
	uint8_t *der = NULL;
	char path[CLI_PATH_MAX], *pem = NULL, sha256[65];
	const char *ca;
	bool ok = false;

	if (!read_reference(cli->words[0], &reference, e))
		return false;
	der = malloc(CERTIFICATE_MAX);
	if (der == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a certificate");
	if (!fetch(cli, &reference, false, &pem, der, &certificate, sha256, e) ||
	    !cli_path(path, "/v1/certificates/", sha256, "", e) ||
	    !cli_get_object(cli, path, "sha256", sha256, &answer, e))
		goto out;
	ca = cli_member(answer, "ca", e);
	ok = ca != NULL && show(&certificate, ca, e) &&
	     decision_put(s.ca, sizeof s.ca, "a CA's name", ca, e) &&
	     decision_put(s.object, sizeof s.object, "a certificate's SHA-256", sha256, e) &&
	     decision_put(s.reason, sizeof s.reason, "a reason", reason, e) &&
	     decision_order(cli, &s, NULL, false, e);
out:
	json_decref(answer);
	free(pem);
	free(der);
	return ok;
}

bool
cmd_cert_revoke(struct cli *cli, struct error *e)
{
	const char *reason = cli->options->value[OPTION_REASON];
	const char *since = cli->options->value[OPTION_INVALID_SINCE];
	char text[STATEMENT_REASON_MAX + 1];
	int64_t time;
	unsigned code;

	if (reason == NULL)
		return error_set(e, ERROR_USAGE, "cert revoke needs --reason: " REASONS);
	if (!statement_reason_code(reason, &code))
		return error_set(e, ERROR_USAGE,
		    "\"%s\" is no reason for a revocation (RFC 5280 5.3.1); the reasons "
		    "are " REASONS,
		    reason);
	if (since == NULL)
		return decide(cli, STATEMENT_REVOKE, reason, e);
	if (!canon_time(since, &time))
		return error_set(e, ERROR_USAGE,
		    "--invalid-since is a time such as 2026-11-22T12:00:00Z, not \"%.40s\"", since);
	(void)snprintf(text, sizeof text, "%s" STATEMENT_SINCE "%s", reason, since);
	return decide(cli, STATEMENT_REVOKE, text, e);
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
