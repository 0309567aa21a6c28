#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include "daemon/cli/chain_file.h"
#include "daemon/cli/cli.h"
#include "daemon/cli/decision.h"
#include "daemon/cli/output.h"
#include "daemon/core/encode.h"
#include "daemon/x509/attestation.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/csr.h"
#include "daemon/x509/pem.h"

#define WORDS "the key signed: "

struct proof {
	struct statement statement;
	struct certificate certificate; /* points into der */
	uint8_t der[CERTIFICATE_MAX];
	uint8_t signature[SIG_MAX];
	size_t signature_len;
	enum sig_alg alg;
};

/* The certificate that the operator has, or else the one that the service shows. */
static bool
read_certificate(struct cli *cli, struct proof *p, struct error *e)
{
	char path[CLI_PATH_MAX], *pem = NULL;
	struct bytes rest;
	size_t len;
	bool ok;

	if (cli->word_count > 1)
		ok = chain_files_read(cli->words + 1, 1, &pem, e);
	else
		ok = cli_path(path, "/v1/cas/", cli->words[0], "/chain", e) &&
		     http_get_text(cli->http, path, &pem, e);
	if (ok) {
		rest = (struct bytes){(const uint8_t *)pem, strlen(pem)};
		ok = pem_decode(&rest, PEM_CERTIFICATE, p->der, sizeof p->der, &len, e) &&
		     certificate_parse((struct bytes){p->der, len}, &p->certificate, e);
	}
	free(pem);
	return ok;
}

static bool
read_signature(struct proof *p, json_t *outcome, struct error *e)
{
	const char *text = cli_member(outcome, "outcome", e), *base64;
	char alg[32];

	if (text == NULL)
		return false;
	if (strncmp(text, WORDS, strlen(WORDS)) != 0)
		return error_set(e, ERROR_INTERNAL, "the service shows no proof: %.200s", text);
	text += strlen(WORDS);
	base64 = strchr(text, ' ');
	if (base64 == NULL || (size_t)(base64 - text) >= sizeof alg)
		return error_set(e, ERROR_INTERNAL, "the service shows no proof");
	(void)snprintf(alg, sizeof alg, "%.*s", (int)(base64 - text), text);
	base64++;
	return (sig_alg_from_name(alg, &p->alg) ||
		   error_set(e, ERROR_INTERNAL, "the proof is of no signature known here")) &&
	       base64_decode((struct bytes){(const uint8_t *)base64, strlen(base64)}, false,
		   p->signature, sizeof p->signature, &p->signature_len, e);
}

/* The proof is a whole PKCS#10 request, whose nonce others leave alone: what a CA elsewhere
 * takes to certify the key. */
static bool
write_csr(struct cli *cli, const struct proof *p, struct bytes info, struct error *e)
{
	uint8_t buf[CSR_MAX];
	struct bytes csr;
	char *pem = NULL;
	size_t size;
	bool ok;

	if (cli->options->value[OPTION_OUT] == NULL)
		return true;
	if (!csr_assemble(info, p->alg, (struct bytes){p->signature, p->signature_len}, buf,
		sizeof buf, &csr, e))
		return false;
	size = pem_encoded_size(PEM_CERTIFICATE_REQUEST, csr.len);
	pem = malloc(size);
	ok = pem != NULL && pem_encode(PEM_CERTIFICATE_REQUEST, csr, pem, size);
	if (!ok)
		error_set(e, ERROR_SYSTEM, "no memory for PEM");
	ok = ok && output_write_pem(cli, pem, PEM_CERTIFICATE_REQUEST, 1, e);
	free(pem);
	return ok;
}

/* What was signed follows from the certificate and our own nonce. */
static bool
verify(struct cli *cli, const struct proof *p, struct error *e)
{
	const struct certificate *c = &p->certificate;
	uint8_t buf[CSR_MAX];
	struct bytes info;

	if (!attestation_build(
		c->subject, c->spki.whole, p->statement.nonce, buf, sizeof buf, &info, e) ||
	    !spki_verify(&c->spki, p->alg, info, (struct bytes){p->signature, p->signature_len}, e))
		return error_wrap(e, "the certificate's key did not sign what it was asked for");
	return write_csr(cli, p, info, e);
}

/* Also while it waits for a PIN that somebody else enters: only who holds the nonce can
 * verify the answer. */
static bool
await(struct cli *cli, const struct decision *d, json_t **outcome, struct error *e)
{
	time_t end = time(NULL) + DECISION_LIFE_S;
	bool told = false;

	while (decision_await(cli, d, outcome, e)) {
		const char *state = cli_member(*outcome, "state", e);

		if (state == NULL)
			break;
		if (strcmp(state, "applied") == 0)
			return true;
		if (!told)
			cli_note("The signature waits until somebody enters the token's PIN.");
		told = true;
		json_decref(*outcome);
		*outcome = NULL;
		if (time(NULL) >= end)
			return error_set(e, ERROR_TIMEOUT, "nobody entered the token's PIN");
		(void)nanosleep(&(struct timespec){.tv_sec = 1}, NULL);
	}
	return false;
}

static bool
attest(struct cli *cli, struct proof *p, struct error *e)
{
	struct decision *d = calloc(1, sizeof *d);
	struct statement *s = &p->statement;
	uint8_t digest[32];
	json_t *outcome = NULL;
	char hex[65];
	bool ok = false;

	s->action = STATEMENT_KEY_ATTEST;
	if (d == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a decision");
	if (!decision_put_ca(s, cli->words[0], e) || !decision_prepare(s, NULL, false, d, e) ||
	    !decision_hand_in(cli, d, e) || !await(cli, d, &outcome, e))
		goto out;
	ok = read_signature(p, outcome, e) && verify(cli, p, e) &&
	     spki_sha256(&p->certificate.spki, digest, e);
	if (!ok)
		goto out;
	hex_encode(digest, sizeof digest, hex);
	if (cli->json)
		cli_print_json(outcome);
	cli_say(cli,
	    "The key of the certificate signed just now, on the token of CA %s, what only this "
	    "statement asks for.",
	    cli->words[0]);
	cli_say(cli, "  key          SHA-256 %s", hex);
out:
	json_decref(outcome);
	free(d);
	return ok;
}

bool
cmd_key_attest(struct cli *cli, struct error *e)
{
	struct proof *p = calloc(1, sizeof *p);
	bool ok;

	if (p == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a proof");
	ok = read_certificate(cli, p, e) && attest(cli, p, e);
	free(p);
	return ok;
}
