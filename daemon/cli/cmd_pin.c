#include <stdlib.h>
#include <string.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/pin_entry.h"
#include "daemon/cli/pin_show.h"

#define PAGES_MAX 4000 /* of a service that may go on for ever */

bool
cmd_pin_list(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"ID", "id"}, {"TOKEN", "token"},
	    {"KIND", "kind"}, {"CA", "ca"}, {"OF", "object"}, {"SINCE", "since"},
	    {"ANEW AT", "expires_at"}};
	const char *token = cli->options->value[OPTION_TOKEN];
	char path[CLI_PATH_MAX] = "/v1/pin/operations";
	struct cli_list list = {.path = path,
	    .key = "operations",
	    .nothing = "Nothing waits for a PIN.",
	    .limit = 200,
	    .id = "id",
	    .notes = "said",
	    .columns = columns,
	    .count = COUNT_OF(columns)};

	return pin_check_token(cli, e) &&
	       (token == NULL || cli_path_add(path, "token", token, e)) &&
	       cli_show_list(cli, &list, e);
}

/* --------------------------------------------------------------------- enter */

/* What is entered: rows of one token and one of its signers. */
struct chosen {
	json_t *rows; /* array; owned */
	char token[STATEMENT_NAME_MAX + 1];
	unsigned signer_id;
	size_t left_out; /* of others, or too many */
};

static bool
is_asked_for(const struct cli *cli, const char *id)
{
	if (cli->options->value[OPTION_ALL] != NULL)
		return true;
	for (size_t i = 0; i < cli->word_count; i++) {
		if (strcmp(cli->words[i], id) == 0)
			return true;
	}
	return false;
}

/* Named ones have to be of one token; of all, those of the first one are taken. */
static bool
take_row(struct cli *cli, json_t *row, struct chosen *c, struct error *e)
{
	const char *id = cli_id(row, e), *token = cli_member(row, "token", e);
	unsigned signer_id = (unsigned)json_integer_value(json_object_get(row, "signer_id"));

	if (id == NULL || token == NULL)
		return false;
	if (!is_asked_for(cli, id))
		return true;
	if (json_array_size(c->rows) == 0) {
		c->signer_id = signer_id;
		if (strlen(token) >= sizeof c->token)
			return error_set(e, ERROR_INTERNAL, "the service shows no token's name");
		memcpy(c->token, token, strlen(token) + 1);
	}
	if (strcmp(token, c->token) != 0 || signer_id != c->signer_id) {
		if (cli->options->value[OPTION_ALL] == NULL)
			return error_set(e, ERROR_USAGE,
			    "these operations are of several tokens or signers; a PIN is of one: "
			    "enter "
			    "it for each with --token");
		c->left_out++;
	} else if (json_array_size(c->rows) == PIN_ENVELOPE_OPERATIONS_MAX) {
		c->left_out++;
	} else if (json_array_append(c->rows, row) != 0) {
		return error_set(e, ERROR_SYSTEM, "no memory for what waits");
	}
	return true;
}

static bool
take_page(struct cli *cli, char path[CLI_PATH_MAX], struct chosen *c, struct error *e)
{
	const char *token = cli->options->value[OPTION_TOKEN], *next;
	json_t *answer = NULL, *row;
	bool ok = true;
	size_t i;

	if (!http_get(cli->http, path, &answer, e))
		return false;
	json_array_foreach(json_object_get(answer, "operations"), i, row)
	{
		ok = ok && take_row(cli, row, c, e);
	}
	next = json_string_value(json_object_get(answer, "next"));
	(void)snprintf(
	    path, CLI_PATH_MAX, "%s", next != NULL ? "/v1/pin/operations?limit=256" : "");
	if (ok && next != NULL)
		ok = cli_path_add(path, "after", next, e) &&
		     (token == NULL || cli_path_add(path, "token", token, e));
	json_decref(answer);
	return ok;
}

/* Pages until all that was asked for is there, and no more than fits into an entry. */
static bool
choose(struct cli *cli, struct chosen *c, struct error *e)
{
	char path[CLI_PATH_MAX] = "/v1/pin/operations?limit=256";
	const char *token = cli->options->value[OPTION_TOKEN];
	bool all = cli->options->value[OPTION_ALL] != NULL;

	if (all == (cli->word_count > 0))
		return error_set(e, ERROR_USAGE,
		    "say which: the ids of what waits (chancery pin list), or --all");
	c->rows = json_array();
	if (c->rows == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for what waits");
	if (token != NULL && !cli_path_add(path, "token", token, e))
		return false;
	for (unsigned page = 0; page < PAGES_MAX && path[0] != '\0'; page++) {
		size_t taken = json_array_size(c->rows);

		if (taken == PIN_ENVELOPE_OPERATIONS_MAX || (!all && taken == cli->word_count))
			break;
		if (!take_page(cli, path, c, e))
			return false;
	}
	if (!all && json_array_size(c->rows) < cli->word_count)
		return error_set(e, ERROR_NOT_FOUND,
		    "only %zu of these %zu operations wait (any more): see \"chancery pin list\"",
		    json_array_size(c->rows), cli->word_count);
	return true;
}

static bool
show_all(struct cli *cli, const struct chosen *c, const struct pin_signer *signer,
    struct pin_envelope *env, struct error *e)
{
	json_t *row;
	size_t i;

	json_array_foreach(c->rows, i, row)
	{
		if (!pin_show_operation(cli, signer, row, &env->operations[i], e))
			return false;
	}
	env->operation_count = json_array_size(c->rows);
	if (c->left_out > 0)
		cli_note("%zu more wait, for another token, or because a PIN is entered for %d at "
			 "most: enter it again for them.",
		    c->left_out, PIN_ENVELOPE_OPERATIONS_MAX);
	cli_note("Your PIN of token %s will be used for %zu operation%s, shown above, and for "
		 "nothing else.",
	    c->token, env->operation_count, env->operation_count == 1 ? "" : "s");
	return true;
}

static bool
enter(struct cli *cli, const struct chosen *c, struct error *e)
{
	struct pin_envelope *env = calloc(1, sizeof *env);
	struct pin_signer signer;
	bool ok;

	if (env == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating an entry of a PIN");
	ok = pin_signer_find(cli, c->token, c->signer_id, &signer, e);
	if (ok && signer.start.access != SIGNER_ACCESS_OPERATION)
		ok = error_set(e, ERROR_CONFLICT,
		    "token %s is unlocked for a time and not for single operations: \"chancery "
		    "token "
		    "unlock %s\"",
		    c->token, c->token);
	ok = ok && pin_signer_usable(&signer, e) && show_all(cli, c, &signer, env, e) &&
	     pin_entry_send(cli, STATEMENT_PIN_OPERATE, &signer, env, e);
	free(env);
	return ok;
}

bool
cmd_pin_enter(struct cli *cli, struct error *e)
{
	struct chosen c = {0};
	bool ok = choose(cli, &c, e);

	if (ok && json_array_size(c.rows) > 0) {
		ok = enter(cli, &c, e);
	} else if (ok) {
		ok = pin_check_token(cli, e);
		if (ok)
			cli_say(cli, "Nothing waits for a PIN.");
	}
	json_decref(c.rows);
	return ok;
}
