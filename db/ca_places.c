#include "db/ca_places.h"

#include <stdlib.h>

#include <jansson.h>

#include "daemon/core/encode.h"

struct ca_places {
	json_t *scopes, *targets; /* arrays */
};

struct ca_places *
ca_places_new(struct error *err)
{
	struct ca_places *places = calloc(1, sizeof *places);

	if (places != NULL) {
		places->scopes = json_array();
		places->targets = json_array();
		if (places->scopes != NULL && places->targets != NULL)
			return places;
	}
	error_set(err, ERROR_SYSTEM, "no memory for the places of a CA");
	ca_places_free(places);
	return NULL;
}

void
ca_places_free(struct ca_places *places)
{
	if (places == NULL)
		return;
	json_decref(places->scopes);
	json_decref(places->targets);
	free(places);
}

/* Takes the object over. */
static bool
append(json_t *array, json_t *object, struct error *err)
{
	return json_array_append_new(array, object) == 0 ||
	       error_set(err, ERROR_SYSTEM, "writing down the places of a CA");
}

static bool
put_octets(json_t *object, const char *key, struct bytes octets)
{
	char *hex;
	bool ok;

	if (octets.len == 0)
		return true;
	hex = malloc(2 * octets.len + 1);
	if (hex == NULL)
		return false;
	hex_encode(octets.p, octets.len, hex);
	ok = json_object_set_new(object, key, json_string(hex)) == 0;
	free(hex);
	return ok;
}

/* As a list of CRLReasons; all: none. */
static bool
put_reasons(json_t *object, unsigned reasons)
{
	json_t *list;

	if (reasons == 0)
		return true;
	list = json_array();
	for (int i = 0; reasons >> i != 0; i++)
		if ((reasons >> i & 1) != 0 && json_array_append_new(list, json_integer(i)) != 0) {
			json_decref(list);
			return false;
		}
	return json_object_set_new(object, "reasons", list) == 0;
}

bool
ca_places_add_scope(struct ca_places *places, const struct ca_new_scope *scope, struct error *err)
{
	json_t *object = json_pack("{s:s, s:s, s:s, s:i, s:i, s:s*}", "kind", scope->kind,
	    "attribute", scope->attribute, "label", scope->label, "shard", scope->shard, "shards",
	    scope->shards, "whole", scope->whole);

	if (object != NULL && !put_reasons(object, scope->reasons)) {
		json_decref(object);
		object = NULL;
	}
	if (object != NULL && (!put_octets(object, "idp", scope->idp) ||
				  !put_octets(object, "freshest", scope->freshest) ||
				  !put_octets(object, "published", scope->published))) {
		json_decref(object);
		object = NULL;
	}
	return append(places->scopes, object, err);
}

static bool
put_true(json_t *options, const char *key, bool value)
{
	return !value || json_object_set_new(options, key, json_true()) == 0;
}

static bool
put_more(json_t *options, const struct ca_target *t)
{
	json_t *templates = t->template_count > 0 ? json_array() : NULL;

	for (size_t i = 0; i < t->template_count; i++)
		if (json_array_append_new(templates, json_string(t->templates[i])) != 0) {
			json_decref(templates);
			return false;
		}
	if (t->template_count > 0 && json_object_set_new(options, "templates", templates) != 0)
		return false;
	return put_true(options, "webdav", t->webdav) &&
	       put_true(options, "remove_revoked", t->remove_revoked) &&
	       put_true(options, "remove_expired", t->remove_expired);
}

bool
ca_places_add_target(struct ca_places *places, const struct ca_target *t, struct error *err)
{
	/* An option that is NULL is left out. */
	json_t *options = json_pack("{s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, "
				    "s:s*, s:s*}",
	    "credential", t->credential, "bind_dn", t->bind_dn, "tls", t->tls, "auth", t->auth,
	    "region", t->region, "certificate", t->certificate, "user", t->user, "host_key",
	    t->host_key, "schema", t->schema, "mode", t->mode, "group", t->group);

	if (options != NULL && !put_more(options, t)) {
		json_decref(options);
		options = NULL;
	}
	/* Takes options over, also when it fails. */
	return append(places->targets,
	    json_pack("{s:s, s:s, s:s, s:s, s:s, s:s*, s:o}", "name", t->name, "kind", t->kind,
		"artifact", t->artifact, "write", t->write, "read", t->read, "label", t->label,
		"options", options),
	    err);
}

static bool
param(json_t *array, struct db_params *p, struct error *err)
{
	char *text = json_dumps(array, JSON_COMPACT);

	if (text == NULL)
		return error_set(err, ERROR_SYSTEM, "writing down the places of a CA");
	db_param_text(p, text);
	free(text);
	return true;
}

bool
ca_places_scopes_param(const struct ca_places *places, struct db_params *p, struct error *err)
{
	return param(places->scopes, p, err);
}

bool
ca_places_targets_param(const struct ca_places *places, struct db_params *p, struct error *err)
{
	return param(places->targets, p, err);
}
