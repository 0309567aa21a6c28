/*
 * Handing in an entry of a PIN: an envelope that only one start of one signer can
 * open. What is none, or is not signed by the key that comes with it, is refused
 * here, as a courtesy; the signer, which knows whose key counts, judges the rest.
 */

#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "daemon/core/encode.h"
#include "daemon/front/front_int.h"
#include "daemon/x509/pin_envelope.h"
#include "daemon/x509/statement.h"

struct handed_in {
	const char *text, *body; /* borrowed */
	char token[ROUTE_VALUE_SIZE];
	struct statement statement;
	struct pin_envelope *envelope; /* owned */
	uint8_t signature[STATEMENT_SIGNATURE_MAX], spki[STATEMENT_SPKI_MAX];
	size_t signature_len, spki_len;
};

static bool
check(struct handed_in *h, struct error *err)
{
	size_t text_len = strlen(h->text), body_len = strlen(h->body);
	uint8_t sha256[SHA256_DIGEST_LENGTH];

	if (!statement_parse(h->text, text_len, &h->statement, err) ||
	    !pin_envelope_parse(h->body, body_len, h->envelope, err))
		return false;
	if (!statement_is_pin(h->statement.action))
		return error_set(err, ERROR_INPUT, "%s is a decision, and no entry of a PIN",
		    statement_action_name(h->statement.action));
	if (strcmp(h->statement.object, h->token) != 0 || strcmp(h->envelope->token, h->token) != 0)
		return error_set(err, ERROR_INPUT,
		    "the entry is for token %s, and was handed in for token %s", h->envelope->token,
		    h->token);
	SHA256((const uint8_t *)h->body, body_len, sha256);
	if (!h->statement.has_body || memcmp(sha256, h->statement.body_sha256, sizeof sha256) != 0)
		return error_set(
		    err, ERROR_INPUT, "the statement is about another envelope than came with it");
	return pin_envelope_check_action(h->envelope, h->statement.action, err) &&
	       statement_verify(
		   h->text, text_len, h->signature, h->signature_len, h->spki, h->spki_len, err);
}

static bool
read_entry(struct call *call, json_t *body, struct handed_in *h)
{
	const char *signature, *spki;
	struct error err = ERROR_INIT;

	if (!call_string(call, body, "statement", true, STATEMENT_TEXT_MAX, &h->text) ||
	    !call_string(call, body, "body", true, PIN_ENVELOPE_TEXT_MAX, &h->body) ||
	    !call_string(call, body, "signature", true, STATEMENT_SIGNATURE_MAX * 2, &signature) ||
	    !call_string(call, body, "spki", true, STATEMENT_SPKI_MAX * 2, &spki) ||
	    call_param(call, "token", h->token) != CALL_FOUND)
		return false;
	if (!call_base64(signature, h->signature, sizeof h->signature, &h->signature_len) ||
	    !call_base64(spki, h->spki, sizeof h->spki, &h->spki_len)) {
		http_reply_error(call->x, 400, NULL,
		    "\"signature\" and \"spki\" are base64 of at most %d and %d octets.",
		    STATEMENT_SIGNATURE_MAX, STATEMENT_SPKI_MAX);
		return false;
	}
	if (check(h, &err))
		return true;
	http_reply_error(call->x, err.code == ERROR_DENIED ? 403 : 400, NULL, "%s", err.text);
	return false;
}

static void
put_entry(struct call *call, const struct handed_in *h, struct db_params *p)
{
	char instance[2 * sizeof h->envelope->instance + 1];

	hex_encode(h->envelope->instance, sizeof h->envelope->instance, instance);
	call_put_identity(call, p);
	db_param_text(p, h->token);
	db_param_text(p, statement_action_name(h->statement.action));
	db_param_text(p, instance);
	db_param_int64(p, (int64_t)h->envelope->operation_count);
	db_param_bytea(p, h->statement.nonce, sizeof h->statement.nonce);
	db_param_unixtime(p, h->statement.expires);
	db_param_text(p, h->text);
	db_param_text(p, h->body);
	db_param_bytea(p, h->spki, h->spki_len);
	db_param_bytea(p, h->signature, h->signature_len);
}

void
api_pin_enter(struct call *call)
{
	static const char *const keys[] = {"statement", "body", "signature", "spki", NULL};
	json_t *body = call_body(call, keys);
	struct db_params p = DB_PARAMS_INIT;
	struct handed_in h = {0};

	if (body == NULL)
		return;
	h.envelope = malloc(sizeof *h.envelope);
	if (h.envelope == NULL) {
		http_reply_error(call->x, 503, NULL, "There is no memory for the request.");
	} else if (read_entry(call, body, &h)) {
		put_entry(call, &h, &p);
		call_ask(call, &p);
	}
	free(h.envelope);
	json_decref(body);
}
