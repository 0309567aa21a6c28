#include <stdlib.h>
#include <string.h>

#include "daemon/core/encode.h"
#include "daemon/core/log.h"
#include "daemon/front/front_int.h"
#include "daemon/front/http_field.h"

enum call_value
call_param(struct call *call, const char *name, char out[ROUTE_VALUE_SIZE])
{
	size_t len = strlen(name);
	enum http_param found = HTTP_PARAM_ABSENT;

	for (size_t i = 0; i < call->values.count; i++)
		if (strncmp(call->values.name[i], name, len) == 0 &&
		    call->values.name[i][len] == '}') {
			memcpy(out, call->values.value[i], ROUTE_VALUE_SIZE);
			found = HTTP_PARAM_FOUND;
		}
	if (found == HTTP_PARAM_ABSENT)
		found = http_query_get(
		    http_exchange_request(call->x)->query, name, out, ROUTE_VALUE_SIZE);
	if (found == HTTP_PARAM_ABSENT)
		return CALL_ABSENT;
	/* No name, id or word of ours is anything but ASCII. */
	for (const char *c = out; found == HTTP_PARAM_FOUND && *c != '\0'; c++)
		if ((unsigned char)*c >= 0x7f)
			found = HTTP_PARAM_BAD;
	if (found == HTTP_PARAM_BAD || out[0] == '\0') {
		http_reply_error(call->x, 400, NULL,
		    "The parameter \"%s\" stands twice, is empty, or is longer than %d characters "
		    "of "
		    "ASCII.",
		    name, ROUTE_VALUE_SIZE - 1);
		return CALL_BAD;
	}
	return CALL_FOUND;
}

/* ---------------------------------------------------------------- answers */

void
call_fail(struct call *call, const struct error *err)
{
	static const struct {
		const char *sqlstate;
		int status;
	} own[] = {{"CH400", 400}, {"CH401", 401}, {"CH403", 403}, {"CH404", 404}, {"CH409", 409},
	    {"CH413", 413}, {"CH503", 503}};

	for (size_t i = 0; i < COUNT_OF(own); i++)
		if (err->source == ERROR_POSTGRES && strcmp(err->foreign, own[i].sqlstate) == 0) {
			http_reply_error(call->x, own[i].status, NULL, "%s", err->text);
			return;
		}
	if (error_is_retryable(err)) {
		log_failure(LOG_LEVEL_DEBUG, call->route->path, err);
		http_reply_error(
		    call->x, 503, NULL, "The database is away; try again in a moment.");
		return;
	}
	/* What the server itself complains about is for the log, not for clients. */
	log_failure(LOG_LEVEL_ERROR, call->route->path, err);
	http_reply_error(call->x, 500, NULL, "Something went wrong here; the log says what.");
}

void
call_answer(struct call *call, const char *json)
{
	const struct route *r = call->route;
	json_t *text;

	if (strcmp(r->type, "application/json") == 0) {
		http_reply_field(call->x, "Cache-Control", "no-store");
		http_reply(call->x, r->status, r->type, json, strlen(json));
		return;
	}
	text = json_loads(json, JSON_DECODE_ANY, NULL);
	if (!json_is_string(text))
		http_reply_error(call->x, 500, NULL, "Something went wrong here.");
	else
		http_reply(
		    call->x, r->status, r->type, json_string_value(text), json_string_length(text));
	json_decref(text);
}

/* ----------------------------------------------------------------- input */

struct known_params {
	const struct route *route;
	const char *unknown;
	int unknown_len;
};

static bool
is_in_path(const char *path, const char *name, size_t len)
{
	const char *open = strchr(path, '{');

	for (; open != NULL; open = strchr(open + 1, '{'))
		if (strncmp(open + 1, name, len) == 0 && open[1 + len] == '}')
			return true;
	return false;
}

static bool
is_known(const char *name, size_t len, void *arg)
{
	struct known_params *k = arg;

	for (const struct route_param *p = k->route->params;
	     p < k->route->params + ROUTE_PARAMS_MAX && p->type != PARAM_NONE; p++)
		if (strlen(p->name) == len && memcmp(p->name, name, len) == 0 &&
		    !is_in_path(k->route->path, name, len))
			return true;
	k->unknown = name;
	k->unknown_len = len < 64 ? (int)len : 64;
	return false;
}

/* Digits only, min <= *n <= max. */
static bool
read_int(const char *s, long long min, long long max, long long *n)
{
	size_t len = strlen(s);

	if (len == 0 || len > 18 || strspn(s, "0123456789") != len)
		return false;
	*n = strtoll(s, NULL, 10);
	return *n >= min && *n <= max;
}

static bool
put_int(struct call *call, const struct route_param *param, const char *text, struct db_params *p)
{
	long long min = 0, max = INT64_MAX, n;

	switch (param->type) {
	case PARAM_LIMIT:
		min = 1;
		max = ROUTE_LIST_MAX;
		break;
	case PARAM_INT:
		max = INT32_MAX;
		break;
	case PARAM_FLAG:
		max = 1;
		break;
	case PARAM_WAIT:
		max = ROUTE_WAIT_MAX_S;
		break;
	default:
		break;
	}
	if (!read_int(text, min, max, &n)) {
		http_reply_error(call->x, 400, NULL,
		    "The parameter \"%s\" is a number from %lld to %lld.", param->name, min, max);
		return false;
	}
	if (param->type == PARAM_WAIT)
		call->wait_s = (unsigned)n;
	else if (param->type == PARAM_FLAG)
		db_param_bool(p, n == 1);
	else
		db_param_int64(p, n);
	return true;
}

bool
call_put_params(struct call *call, struct db_params *p)
{
	struct known_params known = {.route = call->route};
	char text[ROUTE_VALUE_SIZE];

	if (!http_query_each(http_exchange_request(call->x)->query, is_known, &known)) {
		http_reply_error(call->x, 400, NULL, "\"%.*s\" is no parameter of this query.",
		    known.unknown_len, known.unknown);
		return false;
	}
	for (const struct route_param *param = call->route->params;
	     param < call->route->params + ROUTE_PARAMS_MAX && param->type != PARAM_NONE; param++)
		switch (call_param(call, param->name, text)) {
		case CALL_BAD:
			return false;
		case CALL_ABSENT:
			if (param->type == PARAM_FLAG)
				db_param_bool(p, false);
			else if (param->type != PARAM_WAIT)
				db_param_null(p);
			break;
		default:
			if (param->type == PARAM_TEXT)
				db_param_text(p, text);
			else if (!put_int(call, param, text, p))
				return false;
		}
	return true;
}

json_t *
call_body(struct call *call, const char *const *keys)
{
	const struct http_request *r = http_exchange_request(call->x);
	const char *type = http_request_field(r, "Content-Type"), *key;
	json_error_t why;
	json_t *doc, *value;

	if (r->body_len == 0 && keys[0] == NULL)
		return json_object();
	/* Also keeps a web page from making a browser send this: a form cannot. */
	if (type == NULL || !http_type_is(type, "application/json") ||
	    http_request_field(r, "Content-Encoding") != NULL) {
		http_reply_error(call->x, 415, NULL,
		    "The body is a JSON object, Content-Type application/json.");
		return NULL;
	}
	doc = json_loadb((const char *)r->body, r->body_len, JSON_REJECT_DUPLICATES, &why);
	if (doc == NULL || !json_is_object(doc)) {
		if (doc == NULL)
			http_reply_error(call->x, 400, NULL,
			    "The body is not JSON: line %d, column %d: %s.", why.line, why.column,
			    why.text);
		else
			http_reply_error(call->x, 400, NULL, "The body is not a JSON object.");
		json_decref(doc);
		return NULL;
	}
	json_object_foreach(doc, key, value)
	{
		size_t i;

		for (i = 0; keys[i] != NULL && strcmp(keys[i], key) != 0; i++)
			;
		if (keys[i] == NULL) {
			http_reply_error(
			    call->x, 400, NULL, "\"%.64s\" is no key of this object.", key);
			json_decref(doc);
			return NULL;
		}
	}
	return doc;
}

void
call_put_identity(struct call *call, struct db_params *p)
{
	db_param_text(p, http_exchange_peer(call->x)->identity);
}

bool
call_string(
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

bool
call_base64(const char *text, uint8_t *out, size_t out_size, size_t *len)
{
	struct error err = ERROR_INIT;

	return base64_decode(
	    (struct bytes){(const uint8_t *)text, strlen(text)}, false, out, out_size, len, &err);
}

/* -------------------------------------------------------------- the query */

static void
on_gone(enum http_gone how, void *arg)
{
	struct call *call = arg;

	if (how == HTTP_LEAVING) {
		call->waited = true; /* the answer is on its way: no waiting after it */
		return;
	}
	front_cancel(call->asked);
	call->asked = NULL;
}

/* Whether the client wants to wait for another state than that. */
static bool
wants_to_wait(struct call *call, const char *json)
{
	json_t *doc;
	const char *state, *id;
	bool waits = false;

	if (call->wait_s == 0 || call->waited)
		return false;
	doc = json_loads(json, 0, NULL);
	state = json_string_value(json_object_get(doc, "state"));
	id = json_string_value(json_object_get(doc, "id"));
	if (state != NULL && id != NULL && !wait_is_settled(state)) {
		wait_begin(call, id);
		waits = true;
	}
	json_decref(doc);
	return waits;
}

static void
on_answer(const char *json, const struct error *err, void *arg)
{
	struct call *call = arg;

	call->asked = NULL;
	if (err != NULL)
		call_fail(call, err);
	else if (call->route->query == FRONT_STATUS)
		api_add_processes(call, json);
	else if (!wants_to_wait(call, json))
		call_answer(call, json);
}

void
call_ask(struct call *call, struct db_params *p)
{
	struct error err = ERROR_INIT;

	http_on_gone(call->x, on_gone, call);
	call->asked = front_ask(call->front->db, call->route->query, p, on_answer, call, &err);
	if (call->asked == NULL)
		call_fail(call, &err);
}
