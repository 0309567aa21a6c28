#include <stdlib.h>
#include <string.h>

#include <openssl/sha.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/decision.h"
#include "daemon/cli/limits_note.h"
#include "daemon/cli/operator_key.h"
#include "daemon/cli/output.h"
#include "daemon/core/encode.h"
#include "daemon/x509/spki.h"

#define PUBLIC_KEY_MAX 4096    /* octets of DER */
#define FINGERPRINT_SHOWN "16" /* digits of it in a table */

/* -------------------------------------------------------------------- init */

bool
cmd_operator_init(struct cli *cli, struct error *e)
{
	bool force = cli->options->value[OPTION_FORCE] != NULL, ok = false;
	char path[OPERATOR_PATH_MAX], public_path[OPERATOR_PATH_MAX + 8];
	struct operator_key key = {0};
	struct secret *passphrase = NULL;

	if (!operator_key_path(cli->options, path, sizeof path, e) ||
	    !operator_key_check_new(path, force, e))
		return false;
	(void)snprintf(public_path, sizeof public_path, "%s" OPERATOR_KEY_PUBLIC, path);
	passphrase = secret_read_new(cli->options, "Passphrase for your new operator key", e);
	ok = passphrase != NULL && operator_key_create(path, passphrase, force, &key, e);
	if (ok && cli->json) {
		json_t *out = json_pack("{s:s, s:s, s:s}", "file", path, "public_key_file",
		    public_path, "sha256", key.sha256);

		cli_print_json(out);
		json_decref(out);
	} else if (ok) {
		cli_say(cli, "Your key is in %s; nobody else ever needs that file.", path);
		cli_say(cli, "Its public key is in %s.", public_path);
		cli_say(cli, "Its fingerprint is SHA-256 %s.", key.sha256);
		cli_say(cli, "Who administers the service registers the public key with "
			     "\"chancery operator add\".");
	}
	secret_free(passphrase);
	operator_key_clear(&key);
	return ok;
}

/* --------------------------------------------------------------------- add */

struct new_key {
	uint8_t der[PUBLIC_KEY_MAX];
	size_t len;
	char pem[8192], fingerprint[65];
};

/* The public key to register, --key or one's own. */
static bool
public_key(struct cli *cli, struct new_key *key, struct error *e)
{
	const char *file = cli->options->value[OPTION_KEY];
	bool tls = cli->options->value[OPTION_TLS] != NULL;
	uint8_t digest[SHA256_DIGEST_LENGTH];
	struct spki spki;

	if (file == NULL) {
		if (!decision_unlock(cli, e))
			return false;
		key->len = cli->key->spki_len;
		memcpy(key->der, cli->key->spki, key->len);
	} else if (!public_key_read(file, key->der, sizeof key->der, &key->len, e)) {
		return false;
	}
	if (tls ? !spki_parse((struct bytes){key->der, key->len}, &spki, e)
		: !statement_check_key(key->der, key->len, e))
		return file != NULL ? error_wrap(e, "%s", file) : false;
	SHA256(key->der, key->len, digest);
	hex_encode(digest, sizeof digest, key->fingerprint);
	return public_key_pem(key->der, key->len, key->pem, sizeof key->pem, e);
}

static bool
is_first_operator(struct cli *cli, bool *first, struct error *e)
{
	json_t *answer = NULL, *operators;
	bool ok;

	if (!http_get(cli->http, "/v1/operators?limit=1", &answer, e))
		return false;
	operators = json_object_get(answer, "operators");
	*first = json_array_size(operators) == 0;
	ok = json_is_array(operators) ||
	     error_set(e, ERROR_INTERNAL, "the service's answer has no list \"operators\"");
	json_decref(answer);
	return ok;
}

/* "administrator,manager", each once. */
static bool
join_roles(const struct options *o, char *out, size_t size, struct error *e)
{
	static const char *const known[] = {"administrator", "manager", "auditor", "submitter"};
	bool given[COUNT_OF(known)] = {false};
	size_t at = 0;

	if (o->role_count == 0)
		return error_set(e, ERROR_USAGE,
		    "operator add needs --role: administrator, manager, auditor or submitter");
	for (size_t i = 0; i < o->role_count; i++) {
		size_t k = 0;

		while (k < COUNT_OF(known) && strcmp(known[k], o->roles[i]) != 0)
			k++;
		if (k == COUNT_OF(known))
			return error_set(e, ERROR_USAGE,
			    "there is no role \"%.40s\"; --role is administrator, manager, auditor "
			    "or submitter, and may be given several times",
			    o->roles[i]);
		given[k] = true;
	}
	for (size_t k = 0; k < COUNT_OF(known); k++) {
		if (given[k])
			at += (size_t)snprintf(
			    out + at, size - at, "%s%s", at > 0 ? "," : "", known[k]);
	}
	return true;
}

bool
cmd_operator_add(struct cli *cli, struct error *e)
{
	struct statement s = {.action = STATEMENT_OPERATOR_ADD};
	const char *name = cli->words[0];
	bool tls = cli->options->value[OPTION_TLS] != NULL, first;
	char body[16384], roles[128];
	struct new_key key;

	if (tls && cli->options->value[OPTION_KEY] == NULL)
		return error_set(e, ERROR_USAGE,
		    "--tls needs --key FILE: the client certificate, or its public key");
	if (!join_roles(cli->options, roles, sizeof roles, e) ||
	    !decision_put(s.object, sizeof s.object, "a person's name", name, e) ||
	    !is_first_operator(cli, &first, e) || !public_key(cli, &key, e))
		return false;
	if (first && tls)
		return error_set(e, ERROR_CONFLICT,
		    "nobody is registered yet: the first needs an operator's key (without --tls)");
	if ((size_t)snprintf(body, sizeof body, "person: %s\nroles: %s\nkind: %s\n%s", name, roles,
		tls ? "tls_client" : "operator_key", key.pem) >= sizeof body)
		return error_set(e, ERROR_LIMIT, "the public key is too long");
	cli_note("To be registered:");
	cli_note("  person  %s", name);
	cli_note("  roles   %s", roles);
	cli_note("  key     %s, SHA-256 %s", tls ? "TLS client" : "operator's", key.fingerprint);
	if (!decision_order(cli, &s, body, first, e))
		return false;
	if (!tls && strstr(roles, "manager") != NULL)
		limits_note_operator(cli, name, (struct bytes){key.der, key.len});
	return true;
}

/* -------------------------------------------------------------------- list */

/* The keys that are valid, as "operator 0123456789abcdef". */
static void
list_keys(json_t *row)
{
	json_t *keys = json_array(), *one;
	size_t i;

	json_array_foreach(json_object_get(row, "credentials"), i, one)
	{
		const char *kind = json_string_value(json_object_get(one, "kind"));
		const char *sha256 = json_string_value(json_object_get(one, "sha256"));

		if (kind == NULL || sha256 == NULL ||
		    json_is_string(json_object_get(one, "revoked_at")))
			continue;
		(void)json_array_append_new(
		    keys, json_sprintf("%s %." FINGERPRINT_SHOWN "s",
			      strcmp(kind, "tls_client") == 0 ? "tls" : "operator", sha256));
	}
	(void)json_object_set_new(row, "keys", keys);
}

bool
cmd_operator_list(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {
	    {"NAME", "name"}, {"ROLES", "roles"}, {"KEYS", "keys"}, {"SINCE", "created_at"}};
	static const struct cli_list list = {.path = "/v1/operators",
	    .key = "operators",
	    .nothing = "Nobody is registered; see \"chancery help operator\".",
	    .limit = 200,
	    .prepare = list_keys,
	    .columns = columns,
	    .count = COUNT_OF(columns)};

	return cli_show_list(cli, &list, e);
}
