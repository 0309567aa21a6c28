#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "daemon/cli/decision_show.h"
#include "daemon/cli/limits_show.h"
#include "daemon/core/encode.h"

/*
 * The reseed of a signer whose journal is closed. Challenge and floors come from
 * the service; the operator sees them, and knows better than any database which
 * CRL was published last.
 */

static bool
take_hex(json_t *object, const char *key, uint8_t *out, size_t max, size_t *len, struct error *e)
{
	const char *text = cli_member(object, key, e);

	if (text == NULL)
		return false;
	*len = strlen(text) / 2;
	return (*len <= max && strlen(text) % 2 == 0 && hex_decode(text, *len, out)) ||
	       error_set(e, ERROR_INTERNAL, "the service's \"%s\" is no hexadecimal", key);
}

static bool
take_time(json_t *object, const char *key, int64_t *out, struct error *e)
{
	const char *text = cli_member(object, key, e);

	return text != NULL && (canon_time(text, out) ||
				   error_set(e, ERROR_INTERNAL,
				       "the service's \"%s\" is no time: \"%.40s\"", key, text));
}

/* A CRL number in decimal, or null where that is allowed. */
static bool
take_number(json_t *object, const char *key, bool may_be_absent, uint8_t out[CRL_NUMBER_MAX],
    size_t *len, struct error *e)
{
	struct bytes number;
	const char *text;

	*len = 0;
	if (may_be_absent && json_is_null(json_object_get(object, key)))
		return true;
	text = cli_member(object, key, e);
	if (text == NULL || !crl_number_from_text(text, out, &number, e))
		return false;
	*len = number.len;
	return true;
}

static bool
take_scope(struct reseed *r, json_t *scope, struct error *e)
{
	struct reseed_scope *s = &r->scopes[r->scope_count];
	size_t len = 0;

	if (r->scope_count == RESEED_SCOPES_MAX)
		return error_set(e, ERROR_LIMIT,
		    "more than %d CRL scopes: reseed one CA after the other with --ca, or one key "
		    "after the other with --key-sha256",
		    RESEED_SCOPES_MAX);
	*s = (struct reseed_scope){0};
	if (!json_is_null(json_object_get(scope, "scope")) &&
	    !take_hex(scope, "scope", s->scope, sizeof s->scope, &len, e))
		return false;
	if (!take_number(scope, "number", false, s->number, &s->number_len, e) ||
	    !take_number(scope, "base", true, s->base, &s->base_len, e) ||
	    !take_time(scope, "this_update", &s->this_update, e))
		return false;
	r->scope_count++;
	return true;
}

static bool
take_key(struct reseed *r, json_t *one, const char *ca, struct error *e)
{
	struct reseed_key *key = &r->keys[r->key_count];
	json_t *scope;
	size_t i;

	if (r->key_count == RESEED_KEYS_MAX)
		return error_set(e, ERROR_LIMIT,
		    "more than %d keys: reseed one CA after the other with --ca", RESEED_KEYS_MAX);
	*key = (struct reseed_key){.first_scope = r->scope_count};
	if (!decision_put(key->ca, sizeof key->ca, "a CA's name", ca, e) ||
	    !take_hex(one, "id", key->id, sizeof key->id, &key->id_len, e))
		return false;
	json_array_foreach(json_object_get(one, "scopes"), i, scope)
	{
		if (!take_scope(r, scope, e))
			return false;
	}
	key->scope_count = r->scope_count - key->first_scope;
	r->key_count++;
	return true;
}

/* only, key: the CA whose keys alone are to go on, and which key; NULL: all. */
static bool
take_answer(json_t *answer, const char *only, const char *key, struct reseed *r, struct error *e)
{
	const char *token = cli_member(answer, "token", e), *ca, *sha256;
	json_t *one;
	size_t i, len;

	*r = (struct reseed){
	    .signer_id = (uint16_t)json_integer_value(json_object_get(answer, "signer_id"))};
	if (token == NULL || !decision_put(r->token, sizeof r->token, "a token's name", token, e) ||
	    !take_hex(answer, "challenge", r->challenge, sizeof r->challenge, &len, e) ||
	    !take_time(answer, "floor", &r->floor, e))
		return false;
	json_array_foreach(json_object_get(answer, "keys"), i, one)
	{
		ca = cli_member(one, "ca", e);
		sha256 = cli_member(one, "key_sha256", e);
		if (ca == NULL || sha256 == NULL)
			return false;
		if ((only == NULL || strcmp(ca, only) == 0) &&
		    (key == NULL || strcasecmp(sha256, key) == 0) && !take_key(r, one, ca, e))
			return false;
	}
	if (r->key_count > 0)
		return true;
	if (key != NULL)
		return error_set(e, ERROR_NOT_FOUND, "signer %u has no key %s%s%s on token %s",
		    (unsigned)r->signer_id, key, only != NULL ? " of CA " : "",
		    only != NULL ? only : "", r->token);
	return only == NULL
		   ? error_set(e, ERROR_NOT_FOUND,
			 "signer %u has no key on token %s, so there is nothing to reseed",
			 (unsigned)r->signer_id, r->token)
		   : error_set(e, ERROR_NOT_FOUND, "signer %u has no key of CA %s on token %s",
			 (unsigned)r->signer_id, only, r->token);
}

static bool
order(struct cli *cli, const struct reseed *r, json_t *answer, struct error *e)
{
	struct statement s = {.action = STATEMENT_SIGNER_RESEED};
	struct ceremony_rules rules = {.count = r->key_count};
	struct limits_current **keys = NULL;
	char *text = malloc(RESEED_TEXT_MAX + 1);
	const char *journal = json_string_value(json_object_get(answer, "journal"));
	json_t *outcome = NULL;
	bool ok = false;
	size_t len;

	if (text == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating a reseed document");
		goto out;
	}
	if (!reseed_format(r, text, &len, e) || !reseed_keys_load(cli, r, &keys, e) ||
	    !decision_put(s.object, sizeof s.object, "a token's name", r->token, e))
		goto out;
	for (size_t i = 0; i < r->key_count; i++)
		rules.of[i] = &keys[i]->limits;
	cli_note("Signer %u of token %s: %s", (unsigned)r->signer_id, r->token,
	    journal != NULL ? journal : "?");
	cli_note("Where it goes on:");
	limits_show(stderr, text, (int64_t)time(NULL));
	ok = ceremony_order(cli, &s, text, &rules, &outcome, e);
	if (outcome != NULL)
		decision_print(cli, outcome);
out:
	reseed_keys_free(keys, r->key_count);
	json_decref(outcome);
	free(text);
	return ok;
}

bool
cmd_signer_reseed(struct cli *cli, struct error *e)
{
	const char *signer = cli->options->value[OPTION_SIGNER];
	struct reseed *r = malloc(sizeof *r);
	json_t *answer = NULL;
	char path[CLI_PATH_MAX];
	long id;
	bool ok;

	if (r == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a reseed document");
	ok = option_number(cli->options, OPTION_SIGNER, 1, UINT16_MAX, 0, &id, e) &&
	     cli_path(path, "/v1/tokens/", cli->words[0], "/reseed", e) &&
	     (signer == NULL || cli_path_add(path, "signer", signer, e)) &&
	     cli_get_object(cli, path, "token", cli->words[0], &answer, e) &&
	     take_answer(answer, cli->options->value[OPTION_CA],
		 cli->options->value[OPTION_KEY_SHA256], r, e) &&
	     order(cli, r, answer, e);
	json_decref(answer);
	free(r);
	return ok;
}
