#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/cli/chain_file.h"
#include "daemon/cli/decision.h"
#include "daemon/cli/table.h"
#include "daemon/x509/canon.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/name.h"
#include "daemon/x509/pem.h"

static void
put_name(const char *what, struct bytes name)
{
	char text[NAME_TEXT_MAX];
	struct error ignored = ERROR_INIT;

	if (!name_to_text(name, text, sizeof text, &ignored))
		(void)snprintf(text, sizeof text, "(a name that cannot be read)");
	(void)fputs(what, stderr);
	table_write_escaped(stderr, text, false);
	(void)fputc('\n', stderr);
}

/* What the operator is about to sign, certificate by certificate. */
static bool
show(const char *pem, struct error *e)
{
	struct bytes rest = {(const uint8_t *)pem, strlen(pem)};
	char from[CANON_TIME_SIZE], to[CANON_TIME_SIZE];
	uint8_t *der = malloc(CERTIFICATE_MAX);
	struct error end = ERROR_INIT;
	struct certificate c;
	size_t len;
	bool ok = der != NULL || error_set_errno(e, ERROR_SYSTEM, "allocating a certificate");

	while (ok && pem_decode(&rest, PEM_CERTIFICATE, der, CERTIFICATE_MAX, &len, &end)) {
		ok = certificate_parse((struct bytes){der, len}, &c, e);
		if (!ok)
			break;
		canon_time_text(c.not_before, from);
		canon_time_text(c.not_after, to);
		put_name("A certificate of ", c.subject);
		put_name("  by           ", c.issuer);
		(void)fprintf(stderr, "  valid        %s to %s\n", from, to);
	}
	free(der);
	return ok;
}

bool
cmd_ca_install_cross(struct cli *cli, struct error *e)
{
	struct statement s = {.action = STATEMENT_CA_CROSS};
	const char *ca = cli->words[0];
	char *pem = NULL;
	bool ok;

	ok = chain_files_read(cli->words + 1, cli->word_count - 1, &pem, e) && show(pem, e) &&
	     decision_put_ca(&s, ca, e) && decision_order(cli, &s, pem, false, e);
	free(pem);
	return ok;
}
