#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/decision.h"
#include "daemon/cli/pin_entry.h"
#include "daemon/cli/pinned.h"
#include "daemon/core/encode.h"
#include "daemon/core/yaml.h"

#define UNLOCK_FOR_S (4 * 3600)
#define UNLOCK_IDLE_S (30 * 60)
#define UNLOCK_MAX_S (366LL * 86400)

/* ---------------------------------------------------------------------- list */

bool
cmd_token_list(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"TOKEN", "token"}, {"SIGNER", "signer_id"},
	    {"ACCESS", "access"}, {"STATE", "state"}, {"UNLOCKED BY", "unlocked_by"},
	    {"UNTIL", "unlocked_until"}, {"LEFT", "signatures_left"}, {"STALE", "stale"}};
	static const struct cli_list list = {.path = "/v1/tokens",
	    .key = "tokens",
	    .nothing = "No issuer has reported a token yet.",
	    .id = "token",
	    .notes = "sentence",
	    .columns = columns,
	    .count = COUNT_OF(columns)};

	return cli_show_list(cli, &list, e);
}

/* ------------------------------------------------------- unlock, lock, clear */

/* --for and the like; 0 where the option says so. */
static bool
duration(
    const struct options *o, enum option which, int64_t fallback, int64_t *out, struct error *e)
{
	const char *text = o->value[which];

	*out = fallback;
	if (text == NULL)
		return true;
	return (yaml_duration(text, out) && *out > 0 && *out <= UNLOCK_MAX_S) ||
	       error_set(
		   e, ERROR_USAGE, "--%s needs a time such as 4h, 30m or 90s", option_name(which));
}

static bool
find_signer(struct cli *cli, struct pin_signer *signer, struct error *e)
{
	long id;

	return option_number(cli->options, OPTION_SIGNER, 1, UINT16_MAX, 0, &id, e) &&
	       pin_signer_find(cli, cli->words[0], (unsigned)id, signer, e);
}

static bool
send_plain(struct cli *cli, enum statement_action action, struct error *e)
{
	struct pin_envelope *env = calloc(1, sizeof *env);
	struct pin_signer signer;
	bool ok;

	if (env == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating an entry of a PIN");
	ok = find_signer(cli, &signer, e) && pin_entry_send(cli, action, &signer, env, e);
	free(env);
	return ok;
}

bool
cmd_token_lock(struct cli *cli, struct error *e)
{
	return send_plain(cli, STATEMENT_PIN_LOCK, e);
}

bool
cmd_token_clear(struct cli *cli, struct error *e)
{
	return send_plain(cli, STATEMENT_PIN_CLEAR, e);
}

static void
show_unlock(const struct pin_envelope *env, const char *token)
{
	char until[CANON_TIME_SIZE];

	canon_time_text(env->until, until);
	cli_note("Your PIN will unlock token %s for whatever its CAs sign:", token);
	cli_note("  until        %s", until);
	cli_note("  idle         locked after %u s without a signature", (unsigned)env->idle_s);
	if (env->signatures > 0)
		cli_note("  signatures   locked after %llu", (unsigned long long)env->signatures);
	else
		cli_note("  signatures   as many as come");
}

bool
cmd_token_unlock(struct cli *cli, struct error *e)
{
	struct pin_envelope *env = calloc(1, sizeof *env);
	struct pin_signer signer;
	int64_t for_s, idle_s;
	long signatures;
	bool ok;

	if (env == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating an entry of a PIN");
	ok = duration(cli->options, OPTION_FOR, UNLOCK_FOR_S, &for_s, e) &&
	     duration(cli->options, OPTION_IDLE, UNLOCK_IDLE_S, &idle_s, e) &&
	     option_number(cli->options, OPTION_SIGNATURES, 1, 1000000000000L, 0, &signatures, e) &&
	     find_signer(cli, &signer, e);
	if (ok && signer.start.access != SIGNER_ACCESS_SESSION)
		ok = error_set(e, ERROR_CONFLICT,
		    "token %s wants a PIN for each operation and cannot be unlocked: \"chancery "
		    "pin "
		    "enter\"",
		    cli->words[0]);
	ok = ok && pin_signer_usable(&signer, e);
	if (ok) {
		env->unlock = true;
		env->until = (int64_t)time(NULL) + for_s;
		env->idle_s = (uint32_t)idle_s;
		env->signatures = (uint64_t)signatures;
		show_unlock(env, cli->words[0]);
		ok = pin_entry_send(cli, STATEMENT_PIN_UNLOCK, &signer, env, e);
	}
	free(env);
	return ok;
}

/* --------------------------------------------------------------------- split */

/* --token, or the only one that people have the PIN of. */
static bool
find_split_signer(struct cli *cli, struct pin_signer *signer, struct error *e)
{
	const char *wanted = cli->options->value[OPTION_TOKEN], *found = wanted, *token;
	json_t *answer = NULL, *row;
	bool ok = true;
	size_t i;
	long id;

	if (wanted == NULL && !http_get(cli->http, "/v1/tokens", &answer, e))
		return false;
	json_array_foreach(json_object_get(answer, "tokens"), i, row)
	{
		token = json_string_value(json_object_get(row, "token"));
		if (token == NULL || !json_is_string(json_object_get(row, "start")))
			continue;
		if (found != NULL && strcmp(found, token) != 0)
			ok = error_set(
			    e, ERROR_USAGE, "there are several tokens: say which with --token");
		found = token;
	}
	if (ok && found == NULL)
		ok = error_set(e, ERROR_CONFLICT,
		    "no token has its PIN from people: a PIN that nobody knows cannot be in a "
		    "file, "
		    "so the token needs access: session or access: operation first "
		    "(chanceryd.conf(5))");
	ok = ok && option_number(cli->options, OPTION_SIGNER, 1, UINT16_MAX, 0, &id, e) &&
	     pin_signer_find(cli, found, (unsigned)id, signer, e);
	json_decref(answer);
	return ok;
}

static bool
take_holders(struct cli *cli, struct pin_envelope *env, struct error *e)
{
	long need;

	if (cli->options->value[OPTION_NEED] == NULL)
		return error_set(
		    e, ERROR_USAGE, "say with --need how many of them have to come together");
	if (cli->word_count > PIN_SHARES_MAX)
		return error_set(e, ERROR_USAGE, "at most %d operators can have a share of a PIN",
		    PIN_SHARES_MAX);
	if (!option_number(cli->options, OPTION_NEED, 2, (long)cli->word_count, 0, &need, e))
		return false;
	env->need = (uint8_t)need;
	for (size_t i = 0; i < cli->word_count; i++)
		if (!decision_put(env->holders[i], sizeof env->holders[i], "a person's name",
			cli->words[i], e))
			return false;
	env->holder_count = cli->word_count;
	return true;
}

static void
show_split(const struct pin_envelope *env, const char *token)
{
	cli_note("Token %s gets a new PIN that nobody knows, instead of the present one.", token);
	cli_note("From then on it takes %u of these, each with their own share:", env->need);
	for (size_t i = 0; i < env->holder_count; i++)
		cli_note("  %s", env->holders[i]);
}

bool
cmd_token_split_pin(struct cli *cli, struct error *e)
{
	struct pin_envelope *env = calloc(1, sizeof *env);
	struct pin_signer *signer = calloc(1, sizeof *signer);
	bool ok = false;

	if (env == NULL || signer == NULL)
		(void)error_set_errno(e, ERROR_SYSTEM, "allocating an entry of a PIN");
	else
		ok = take_holders(cli, env, e) && find_split_signer(cli, signer, e) &&
		     pin_signer_usable(signer, e);
	if (ok) {
		show_split(env, signer->start.token);
		ok = pin_entry_send(cli, STATEMENT_PIN_SPLIT, signer, env, e);
	}
	free(signer);
	free(env);
	return ok;
}

/* ----------------------------------------------------------------------- pin */

bool
cmd_operator_pin_signer(struct cli *cli, struct error *e)
{
	const char *token = cli->words[0], *text = cli->words[1];
	bool force = cli->options->value[OPTION_FORCE] != NULL, added;
	uint8_t fingerprint[32];
	long id;

	if (!option_number(cli->options, OPTION_SIGNER, 1, UINT16_MAX, 0, &id, e))
		return false;
	if (strlen(token) > STATEMENT_NAME_MAX ||
	    token[strspn(token,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")] != '\0')
		return error_set(e, ERROR_USAGE, "\"%.64s\" is no name of a token", token);
	if (strlen(text) != 64 || !hex_decode(text, sizeof fingerprint, fingerprint))
		return error_set(e, ERROR_USAGE,
		    "a fingerprint is 64 hexadecimal digits, as \"chancery-signer --identity\" "
		    "prints it "
		    "at the signer's console");
	if (!pinned_add(cli->options, token, (unsigned)id, fingerprint, force, &added, e))
		return false;
	cli_say(cli,
	    added ? "The signer of token %s is pinned."
		  : "The signer of token %s is pinned as it was.",
	    token);
	return true;
}
