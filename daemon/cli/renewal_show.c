#include "daemon/cli/renewal_show.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "daemon/core/encode.h"
#include "daemon/x509/name.h"
#include "daemon/x509/pem.h"

bool
ca_certificate_load(struct cli *cli, const char *ca, struct ca_certificate **out, struct error *e)
{
	struct ca_certificate *c = malloc(sizeof *c);
	char path[CLI_PATH_MAX], *pem = NULL;
	struct bytes text;
	size_t len;
	bool ok = false;

	if (c == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a certificate");
	if (!cli_path(path, "/v1/cas/", ca, "/chain", e) ||
	    !http_get_text(cli->http, path, &pem, e))
		goto out;
	text = (struct bytes){(const uint8_t *)pem, strlen(pem)};
	ok = (pem_decode(&text, PEM_CERTIFICATE, c->der, sizeof c->der, &len, e) &&
		 certificate_parse((struct bytes){c->der, len}, &c->c, e)) ||
	     error_wrap(e, "what the service shows as the certificate of CA %s", ca);
out:
	free(pem);
	if (ok)
		*out = c;
	else
		free(c);
	return ok;
}

void
ca_certificate_tbs_sha256(const struct ca_certificate *c, uint8_t digest[32])
{
	SHA256(c->c.tbs.p, c->c.tbs.len, digest);
}

void
ca_certificate_show(FILE *out, const struct ca_certificate *in_force)
{
	char subject[NAME_TEXT_MAX], hex[65], from[CANON_TIME_SIZE], to[CANON_TIME_SIZE];
	struct error ignored = ERROR_INIT;
	uint8_t digest[32];

	if (!name_to_text(in_force->c.subject, subject, sizeof subject, &ignored))
		(void)snprintf(subject, sizeof subject, "(a name that cannot be read)");
	SHA256(in_force->c.whole.p, in_force->c.whole.len, digest);
	hex_encode(digest, sizeof digest, hex);
	canon_time_text(in_force->c.not_before, from);
	canon_time_text(in_force->c.not_after, to);
	(void)fprintf(out, "The certificate that is in force now:\n  subject      ");
	table_write_escaped(out, subject, false);
	(void)fprintf(out, "\n  valid        %s to %s\n  SHA-256      %s\n", from, to, hex);
}

/* All of it is letters, digits and punctuation: it was parsed or written here. */
static void
put_lines(FILE *out, const char *text)
{
	while (*text != '\0') {
		size_t len = strcspn(text, "\n");

		(void)fprintf(out, "  %.*s\n", (int)len, text);
		text += len + (text[len] == '\n');
	}
}

void
renewal_show(FILE *out, const char *text, const struct ca_certificate *in_force)
{
	if (in_force != NULL)
		ca_certificate_show(out, in_force);
	(void)fprintf(out, "The renewal:\n");
	put_lines(out, text);
}

bool
rollover_compose(const char *ca, const uint8_t by[32], const uint8_t of[32], int64_t not_after,
    char *text, struct error *e)
{
	struct renewal r = {.has_signer = true, .not_after = not_after};
	size_t len;

	if (strlen(ca) >= sizeof r.ca)
		return error_set(e, ERROR_USAGE, "%.80s is too long for a CA's name", ca);
	memcpy(r.ca, ca, strlen(ca) + 1);
	memcpy(r.signer, by, sizeof r.signer);
	memcpy(r.key, of, sizeof r.key);
	return renewal_format(&r, text, &len, e);
}
