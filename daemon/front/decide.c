/*
 * Handing in decisions, and signatures of decisions that others handed in. What
 * several persons have to sign is verified here before it is stored: a signature
 * that is none would only come to light when the issuer looks at the end. It is a
 * courtesy all the same; the issuer verifies everything again.
 */

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/encode.h"
#include "daemon/front/front_int.h"
#include "daemon/x509/limits.h"
#include "daemon/x509/statement.h"

#define BODY_MAX (256 * 1024) /* octets of what goes beside a statement */

/* ------------------------------------------------------------- verification */

/* A signature whose key is asked for. */
struct handed_in {
	struct call *call;
	char statement[STATEMENT_TEXT_MAX + 1]; /* empty: that of the decision */
	uint8_t signature[STATEMENT_SIGNATURE_MAX];
	size_t signature_len;
	struct db_params store; /* of the query that takes it */
};

static void
handed_in_free(struct handed_in *h)
{
	db_params_free(&h->store);
	free(h);
}

static void
on_gone(enum http_gone how, void *arg)
{
	struct handed_in *h = arg;

	if (how == HTTP_LEAVING)
		return; /* the answer is on its way */
	front_cancel(h->call->asked);
	h->call->asked = NULL;
	handed_in_free(h);
}

/* signer: {"statement": ..., "spki": ...} of the database. */
static bool
verify(const struct handed_in *h, json_t *signer, struct error *err)
{
	const char *spki = json_string_value(json_object_get(signer, "spki"));
	const char *text = h->statement[0] != '\0'
			       ? h->statement
			       : json_string_value(json_object_get(signer, "statement"));
	uint8_t key[STATEMENT_SPKI_MAX];
	size_t len;

	if (spki == NULL || text == NULL || !call_base64(spki, key, sizeof key, &len))
		return error_set(err, ERROR_INTERNAL, "the database names no key");
	return statement_verify(text, strlen(text), h->signature, h->signature_len, key, len, err);
}

static void
on_signer(const char *json, const struct error *err, void *arg)
{
	struct handed_in *h = arg;
	struct call *call = h->call;
	struct error why = ERROR_INIT;
	json_t *signer;

	call->asked = NULL;
	if (err != NULL) {
		handed_in_free(h);
		call_fail(call, err);
		return;
	}
	signer = json_loads(json, 0, NULL);
	if (verify(h, signer, &why))
		call_ask(call, &h->store);
	else
		http_reply_error(
		    call->x, why.code == ERROR_DENIED ? 403 : 400, NULL, "%s", why.text);
	json_decref(signer);
	handed_in_free(h);
}

/* Stores what is in h->store once the signature is verified; h is taken over. */
static void
ask_verified(struct handed_in *h, const char *decision, const uint8_t credential[32])
{
	struct db_params p = DB_PARAMS_INIT;
	struct call *call = h->call;
	struct error err = ERROR_INIT;

	call_put_identity(call, &p);
	db_param_text(&p, decision);
	db_param_bytea(&p, credential, 32);
	http_on_gone(call->x, on_gone, h);
	call->asked = front_ask(call->front->db, FRONT_SIGNER, &p, on_signer, h, &err);
	if (call->asked != NULL)
		return;
	handed_in_free(h);
	call_fail(call, &err);
}

static struct handed_in *
handed_in_new(struct call *call)
{
	struct handed_in *h = calloc(1, sizeof *h);

	if (h == NULL)
		http_reply_error(call->x, 503, NULL, "There is no memory for the request.");
	else
		h->call = call;
	return h;
}

static bool
take_signature(
    struct call *call, const char *text, uint8_t octets[STATEMENT_SIGNATURE_MAX], size_t *len)
{
	if (call_base64(text, octets, STATEMENT_SIGNATURE_MAX, len) && *len > 0)
		return true;
	http_reply_error(call->x, 400, NULL, "\"signature\" is base64 of at most %d octets.",
	    STATEMENT_SIGNATURE_MAX);
	return false;
}

static bool
take_credential(struct call *call, const char *text, uint8_t octets[32])
{
	if (strlen(text) == 64 && hex_decode(text, 32, octets))
		return true;
	http_reply_error(
	    call->x, 400, NULL, "\"credential\" is the SHA-256 of a public key, 64 hex digits.");
	return false;
}

/* ----------------------------------------------------------------- deciding */

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
	call_put_identity(call, p);
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

/* What a client hands in, read and checked. */
struct order {
	const char *text, *body; /* borrowed; body may be NULL */
	struct statement statement;
	bool is_signed, has_credential;
	uint8_t signature[STATEMENT_SIGNATURE_MAX], credential[32];
	size_t signature_len;
};

/* Limits that are none would be refused by the issuer, after days of collecting. */
static bool
check_limits(struct call *call, const struct order *o)
{
	struct limits_body parts;
	struct error err = ERROR_INIT;
	struct limits *l;
	bool ok;

	if (o->body == NULL || (o->statement.action != STATEMENT_CA_CREATE &&
				   o->statement.action != STATEMENT_CA_REKEY &&
				   o->statement.action != STATEMENT_CA_LIMITS))
		return true;
	l = malloc(sizeof *l);
	if (l == NULL) {
		http_reply_error(call->x, 503, NULL, "There is no memory for the request.");
		return false;
	}
	ok = limits_body_parse(
	    (struct bytes){(const uint8_t *)o->body, strlen(o->body)}, &parts, l, &err);
	if (ok && strcmp(l->ca, o->statement.ca) != 0)
		ok = error_set(&err, ERROR_INPUT,
		    "the limits are of CA \"%s\", the statement is about \"%s\"", l->ca,
		    o->statement.ca);
	free(l);
	if (!ok)
		http_reply_error(call->x, 400, NULL, "%s", err.text);
	return ok;
}

static bool
read_order(struct call *call, json_t *body, struct order *o)
{
	const char *signature, *credential;
	struct error err = ERROR_INIT;

	if (!call_string(call, body, "statement", true, STATEMENT_TEXT_MAX, &o->text) ||
	    !call_string(call, body, "signature", false, STATEMENT_SIGNATURE_MAX * 2, &signature) ||
	    !call_string(call, body, "credential", false, 64, &credential) ||
	    !call_string(call, body, "body", false, BODY_MAX, &o->body))
		return false;
	if (!statement_parse(o->text, strlen(o->text), &o->statement, &err)) {
		http_reply_error(call->x, 400, NULL, "%s", err.text);
		return false;
	}
	o->is_signed = signature != NULL;
	o->has_credential = credential != NULL;
	return (signature == NULL ||
		   take_signature(call, signature, o->signature, &o->signature_len)) &&
	       (credential == NULL || take_credential(call, credential, o->credential)) &&
	       check_limits(call, o);
}

static void
put_order(struct call *call, const struct order *o, struct db_params *p)
{
	put_statement(call, &o->statement, p);
	db_param_text(p, o->text);
	db_param_bytea(p, o->is_signed ? o->signature : NULL, o->signature_len);
	db_param_bytea(p, o->has_credential ? o->credential : NULL, 32);
	db_param_text(p, o->body);
}

static void
decide_verified(struct call *call, const struct order *o)
{
	struct handed_in *h = handed_in_new(call);

	if (h == NULL)
		return;
	(void)snprintf(h->statement, sizeof h->statement, "%s", o->text);
	memcpy(h->signature, o->signature, o->signature_len);
	h->signature_len = o->signature_len;
	put_order(call, o, &h->store);
	ask_verified(h, NULL, o->credential);
}

void
api_decide(struct call *call)
{
	static const char *const keys[] = {"statement", "signature", "credential", "body", NULL};
	json_t *body = call_body(call, keys);
	struct db_params p = DB_PARAMS_INIT;
	struct order o = {0};

	if (body == NULL)
		return;
	if (!read_order(call, body, &o)) {
		json_decref(body);
		return;
	}
	if (statement_is_ceremony(o.statement.action) && o.is_signed && o.has_credential) {
		decide_verified(call, &o);
	} else {
		put_order(call, &o, &p);
		call_ask(call, &p);
	}
	json_decref(body);
}

/* ------------------------------------------------------------------ signing */

void
api_sign(struct call *call)
{
	static const char *const keys[] = {"signature", "credential", NULL};
	const char *signature, *credential;
	json_t *body = call_body(call, keys);
	struct handed_in *h = NULL;
	char id[ROUTE_VALUE_SIZE];
	uint8_t octets[32];

	if (body == NULL)
		return;
	if (call_param(call, "id", id) != CALL_FOUND ||
	    !call_string(call, body, "signature", true, STATEMENT_SIGNATURE_MAX * 2, &signature) ||
	    !call_string(call, body, "credential", true, 64, &credential) ||
	    !take_credential(call, credential, octets))
		goto out;
	h = handed_in_new(call);
	if (h == NULL)
		goto out;
	if (!take_signature(call, signature, h->signature, &h->signature_len)) {
		handed_in_free(h);
		goto out;
	}
	call_put_identity(call, &h->store);
	db_param_text(&h->store, id);
	db_param_bytea(&h->store, h->signature, h->signature_len);
	db_param_bytea(&h->store, octets, sizeof octets);
	ask_verified(h, id, octets);
out:
	json_decref(body);
}
