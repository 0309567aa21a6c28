#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "daemon/core/encode.h"
#include "daemon/front/front_int.h"
#include "daemon/front/http_chars.h"
#include "daemon/x509/statement.h"

#define CSR_TEXT_MAX (176 * 1024) /* characters: 131,072 octets in base64, or PEM */

static const char *const no_keys[] = {NULL};

static void
put_identity(struct call *call, struct db_params *p)
{
	db_param_text(p, http_exchange_peer(call->x)->identity);
}

void
api_ask(struct call *call)
{
	struct db_params p = DB_PARAMS_INIT;

	put_identity(call, &p);
	if (call_put_params(call, &p))
		call_ask(call, &p);
	else
		db_params_free(&p);
}

void
api_ask_wait(struct call *call)
{
	api_ask(call);
}

void
api_post(struct call *call)
{
	json_t *body = call_body(call, no_keys);

	if (body == NULL)
		return;
	json_decref(body);
	api_ask(call);
}

void
api_openapi(struct call *call)
{
	http_reply(call->x, 200, call->route->type, openapi_text, openapi_text_len);
}

/* ------------------------------------------------------------- JSON input */

/* The string at key; NULL when it is absent or null. False: answered with 400. */
static bool
get_string(
    struct call *call, json_t *body, const char *key, bool required, size_t max, const char **out)
{
	json_t *v = json_object_get(body, key);

	*out = NULL;
	if (v == NULL || json_is_null(v)) {
		if (!required)
			return true;
		http_reply_error(call->x, 400, NULL, "The key \"%s\" is missing.", key);
		return false;
	}
	if (!json_is_string(v) || json_string_length(v) == 0 || json_string_length(v) > max) {
		http_reply_error(
		    call->x, 400, NULL, "\"%s\" is a string of 1 to %zu octets.", key, max);
		return false;
	}
	*out = json_string_value(v);
	return true;
}

/* base64 without white space; out has room for 3/4 of the text. */
static bool
take_base64(const char *text, uint8_t *out, size_t out_size, size_t *len)
{
	struct error err = ERROR_INIT;

	return base64_decode(
	    (struct bytes){(const uint8_t *)text, strlen(text)}, false, out, out_size, len, &err);
}

/* -------------------------------------------------------------- submitting */

/* PEM goes to the database as it is, which takes its DER out; base64 is DER. */
static bool
put_csr(struct call *call, struct db_params *p, const char *csr)
{
	static const char words[] = "The CSR is neither PEM nor base64 of DER.";
	uint8_t *der;
	size_t len;
	bool ok;

	if (strstr(csr, "-----BEGIN ") != NULL) {
		db_param_bytea(p, csr, strlen(csr));
		return true;
	}
	der = OPENSSL_malloc(strlen(csr));
	if (der == NULL) {
		http_reply_error(call->x, 503, NULL, "There is no memory for the request.");
		return false;
	}
	ok = take_base64(csr, der, strlen(csr), &len);
	if (ok)
		db_param_bytea(p, der, len);
	else
		http_reply_error(call->x, 400, NULL, "%s", words);
	OPENSSL_free(der);
	return ok;
}

static bool
put_submit(struct call *call, json_t *body, struct db_params *p)
{
	const char *ca, *template, *csr, *key;
	json_t *attributes = json_object_get(body, "attributes");
	char *text = NULL;

	if (!get_string(call, body, "ca", true, 64, &ca) ||
	    !get_string(call, body, "template", true, 64, &template) ||
	    !get_string(call, body, "csr", true, CSR_TEXT_MAX, &csr) ||
	    !get_string(call, body, "idempotency_key", false, 800, &key))
		return false;
	if (attributes != NULL && !json_is_null(attributes) && !json_is_object(attributes)) {
		http_reply_error(call->x, 400, NULL, "\"attributes\" is an object.");
		return false;
	}
	db_param_text(p, ca);
	db_param_text(p, template);
	if (!put_csr(call, p, csr))
		return false;
	if (json_is_object(attributes)) {
		text = json_dumps(attributes, JSON_COMPACT);
		db_param_text(p, text == NULL ? "" : text); /* "" is no JSON: refused */
		free(text);
	} else {
		db_param_null(p);
	}
	db_param_text(p, key);
	return true;
}

void
api_submit(struct call *call)
{
	static const char *const keys[] = {
	    "ca", "template", "csr", "attributes", "idempotency_key", NULL};
	json_t *body = call_body(call, keys);
	struct db_params p = DB_PARAMS_INIT;

	if (body == NULL)
		return;
	put_identity(call, &p);
	if (put_submit(call, body, &p))
		call_ask(call, &p);
	else
		db_params_free(&p);
	json_decref(body);
}

/* --------------------------------------------------------------- deciding */

/* root, or the daemon's own user, at the Unix socket. */
static bool
is_local_administrator(const struct http_peer *peer)
{
	return peer->door == HTTP_DOOR_UNIX && (peer->uid == 0 || peer->uid == geteuid());
}

static void
put_text(struct db_params *p, const char *text)
{
	db_param_text(p, text[0] == '\0' ? NULL : text);
}

/* The fields as the one parser of statements reads them, so that the database
 * judges by the same words that the issuer will. */
static void
put_statement(struct call *call, const struct statement *s, struct db_params *p)
{
	char template[STATEMENT_NAME_MAX + 16];

	snprintf(template, sizeof(template), "%s/%u", s->template_name, s->template_version);
	put_identity(call, p);
	db_param_bool(p, is_local_administrator(http_exchange_peer(call->x)));
	db_param_text(p, statement_action_name(s->action));
	put_text(p, s->ca);
	put_text(p, s->object);
	db_param_bytea(p, s->has_csr ? s->csr_sha256 : NULL, 32);
	db_param_text(p, s->template_name[0] == '\0' ? NULL : template);
	put_text(p, s->reason);
	db_param_bytea(p, s->has_body ? s->body_sha256 : NULL, 32);
	db_param_bytea(p, s->nonce, sizeof(s->nonce));
	db_param_unixtime(p, s->issued);
	db_param_unixtime(p, s->expires);
}

static bool
put_decide(struct call *call, json_t *body, struct db_params *p)
{
	const char *text, *signature, *credential, *content;
	uint8_t signature_octets[STATEMENT_SIGNATURE_MAX * 2], credential_octets[32];
	size_t signature_len = 0;
	struct error err = ERROR_INIT;
	struct statement s;

	if (!get_string(call, body, "statement", true, STATEMENT_TEXT_MAX, &text) ||
	    !get_string(call, body, "signature", false, STATEMENT_SIGNATURE_MAX * 2, &signature) ||
	    !get_string(call, body, "credential", false, 64, &credential) ||
	    !get_string(call, body, "body", false, 256 * 1024, &content))
		return false;
	if (!statement_parse(text, strlen(text), &s, &err)) {
		http_reply_error(call->x, 400, NULL, "%s", err.text);
		return false;
	}
	if (signature != NULL &&
	    !take_base64(signature, signature_octets, sizeof signature_octets, &signature_len)) {
		http_reply_error(call->x, 400, NULL, "\"signature\" is not base64.");
		return false;
	}
	if (credential != NULL &&
	    (strlen(credential) != 64 || !hex_decode(credential, 32, credential_octets))) {
		http_reply_error(call->x, 400, NULL,
		    "\"credential\" is the SHA-256 of a public key, 64 hex digits.");
		return false;
	}
	put_statement(call, &s, p);
	db_param_text(p, text);
	db_param_bytea(p, signature == NULL ? NULL : signature_octets, signature_len);
	db_param_bytea(p, credential == NULL ? NULL : credential_octets, 32);
	db_param_text(p, content);
	return true;
}

void
api_decide(struct call *call)
{
	static const char *const keys[] = {"statement", "signature", "credential", "body", NULL};
	json_t *body = call_body(call, keys);
	struct db_params p = DB_PARAMS_INIT;

	if (body == NULL)
		return;
	if (put_decide(call, body, &p))
		call_ask(call, &p);
	else
		db_params_free(&p);
	json_decref(body);
}
