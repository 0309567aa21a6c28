#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>

#include "daemon/front/front_int.h"

#define CSR_TEXT_MAX (176 * 1024) /* characters: 131,072 octets in base64, or PEM */

static const char *const no_keys[] = {NULL};

void
api_ask(struct call *call)
{
	struct db_params p = DB_PARAMS_INIT;

	call_put_identity(call, &p);
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

/* The certificates of this front's listeners. */
static json_t *
tls_json(const struct front *f)
{
	json_t *list = json_array();

	for (size_t i = 0; i < f->tls_count; i++) {
		time_t end = (time_t)f->tls[i].not_after;
		char text[32] = "";
		struct tm tm;

		(void)strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&end, &tm));
		(void)json_array_append_new(
		    list, json_pack("{s:s, s:s}", "listen", f->tls[i].listen, "not_after", text));
	}
	return list;
}

void
api_add_processes(struct call *call, const char *json)
{
	json_t *status = json_loads(json, 0, NULL);
	char *text = NULL;

	if (status != NULL && json_object_set_new(status, "tls", tls_json(call->front)) == 0 &&
	    json_object_set_new(status, "processes", processes_json(&call->front->processes)) == 0)
		text = json_dumps(status, JSON_COMPACT);
	if (text != NULL)
		call_answer(call, text);
	else
		http_reply_error(call->x, 503, NULL, "There is no memory for the answer.");
	free(text);
	json_decref(status);
}

void
api_openapi(struct call *call)
{
	http_reply(call->x, 200, call->route->type, openapi_text, openapi_text_len);
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
	ok = call_base64(csr, der, strlen(csr), &len);
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

	if (!call_string(call, body, "ca", true, 64, &ca) ||
	    !call_string(call, body, "template", true, 64, &template) ||
	    !call_string(call, body, "csr", true, CSR_TEXT_MAX, &csr) ||
	    !call_string(call, body, "idempotency_key", false, 800, &key))
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
	call_put_identity(call, &p);
	if (put_submit(call, body, &p))
		call_ask(call, &p);
	else
		db_params_free(&p);
	json_decref(body);
}

/* ----------------------------------------------------- looks from other hosts */

#define LOOK_URL_MAX 2047

void
api_look(struct call *call)
{
	static const char *const keys[] = {"host", "ca", "url", "artifact", "wanted", NULL};
	const char *host, *ca, *url, *artifact, *wanted;
	json_t *body = call_body(call, keys);
	struct db_params p = DB_PARAMS_INIT;

	if (body == NULL)
		return;
	if (call_string(call, body, "host", true, 253, &host) &&
	    call_string(call, body, "ca", true, 64, &ca) &&
	    call_string(call, body, "url", true, LOOK_URL_MAX, &url) &&
	    call_string(call, body, "artifact", true, 32, &artifact) &&
	    call_string(call, body, "wanted", false, 64, &wanted)) {
		call_put_identity(call, &p);
		db_param_text(&p, host);
		db_param_text(&p, ca);
		db_param_text(&p, url);
		db_param_text(&p, artifact);
		db_param_text(&p, wanted);
		call_ask(call, &p);
	}
	json_decref(body);
}
