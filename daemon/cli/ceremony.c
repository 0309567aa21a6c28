#include "daemon/cli/ceremony.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/cli/limits_draft.h"

/* The keys on this desk; one's own is cli's. */
struct desk {
	struct operator_key keys[CEREMONY_DESK_MAX];
	size_t count;
};

/* --------------------------------------------------------------------- keys */

static void
desk_clear(struct desk *desk)
{
	for (size_t i = 0; i < desk->count; i++)
		operator_key_clear(&desk->keys[i]);
	desk->count = 0;
}

const char *
ceremony_person(const struct ceremony_rules *rules, struct bytes spki)
{
	for (size_t i = 0; i < rules->count; i++) {
		const struct limits_operator *o = limits_find_operator(rules->of[i], spki);

		if (o != NULL && (o->rights & LIMITS_RIGHT_LIMITS) != 0)
			return o->person;
	}
	return NULL;
}

bool
ceremony_check_signer(const struct ceremony_rules *rules, struct bytes spki, struct error *e)
{
	if (rules->count == 0)
		return error_set(e, ERROR_CONFLICT, "no limits say who may sign this");
	return ceremony_person(rules, spki) != NULL || limits_check_signer(rules->of[0], spki, e);
}

static struct bytes
spki_of(const struct operator_key *key)
{
	return (struct bytes){key->spki, key->spki_len};
}

/* Each key must count: named, and of another person than those before it. */
static bool
check_key(const struct cli *cli, const struct desk *desk, const struct operator_key *key,
    const char *file, const struct ceremony_rules *rules, struct error *e)
{
	const char *person;
	bool again;

	if (!ceremony_check_signer(rules, spki_of(key), e))
		return error_wrap(e, "%s", file);
	person = ceremony_person(rules, spki_of(key));
	again = strcmp(person, ceremony_person(rules, spki_of(cli->key))) == 0;
	for (size_t i = 0; i < desk->count && !again; i++)
		again = strcmp(person, ceremony_person(rules, spki_of(&desk->keys[i]))) == 0;
	return !again ||
	       error_set(e, ERROR_INPUT, "%s is %s's, who signs already: each person counts once",
		   file, person);
}

static bool
load_key(struct cli *cli, struct desk *desk, const char *file, const struct ceremony_rules *rules,
    struct error *e)
{
	struct operator_key *key = &desk->keys[desk->count];
	struct secret *passphrase;
	char words[256];
	bool ok;

	if (desk->count == CEREMONY_DESK_MAX)
		return error_set(
		    e, ERROR_USAGE, "--also-sign is given more than %d times", CEREMONY_DESK_MAX);
	(void)snprintf(words, sizeof words, "Passphrase of %.200s", file);
	passphrase = secret_read_one(cli->options, (unsigned)desk->count + 1, words, e);
	ok = passphrase != NULL && operator_key_load(file, passphrase, key, e);
	secret_free(passphrase);
	if (ok && !check_key(cli, desk, key, file, rules, e)) {
		operator_key_clear(key);
		return false;
	}
	desk->count += ok;
	return ok;
}

/* All keys are open before the first signs: a wrong passphrase leaves no half. */
static bool
open_desk(struct cli *cli, const struct ceremony_rules *rules, struct desk *desk, struct error *e)
{
	const char *file;
	size_t at = 0;

	desk->count = 0;
	if (!decision_unlock(cli, e) || !ceremony_check_signer(rules, spki_of(cli->key), e))
		return false;
	while ((file = option_next(cli->options, OPTION_ALSO_SIGN, &at)) != NULL) {
		if (!load_key(cli, desk, file, rules, e)) {
			desk_clear(desk);
			return false;
		}
	}
	return true;
}

/* --------------------------------------------------------------- signatures */

static bool
add_signature(struct cli *cli, struct decision *d, const struct operator_key *key, struct error *e)
{
	json_t *json = json_object(), *answer = NULL;
	const char *state;
	char path[CLI_PATH_MAX];
	bool ok;

	ok = decision_put_signature(key, d->text, d->len, json, e) &&
	     cli_path(path, "/v1/decisions/", d->id, "/signatures", e) &&
	     http_post(cli->http, path, json, &answer, e);
	if (ok) {
		state = json_string_value(json_object_get(answer, "state"));
		d->is_collecting = state != NULL && strcmp(state, "collecting") == 0;
		d->missing = (int)json_integer_value(json_object_get(answer, "missing"));
	}
	json_decref(json);
	json_decref(answer);
	return ok;
}

static bool
sign_with_desk(struct cli *cli, struct decision *d, const struct desk *desk, struct error *e)
{
	for (size_t i = 0; i < desk->count; i++) {
		if (!d->is_collecting)
			cli_note("Enough have signed; %zu of the keys on this desk %s not needed.",
			    desk->count - i, desk->count - i == 1 ? "was" : "were");
		if (!d->is_collecting)
			return true;
		if (!add_signature(cli, d, &desk->keys[i], e))
			return false;
	}
	return true;
}

/* The names in a list, and what it takes to go on. */
static void
say_missing(struct cli *cli, const struct decision *d, json_t *decision)
{
	const char *expires = json_string_value(json_object_get(decision, "expires_at"));
	json_t *need;
	size_t i;

	cli_say(cli, "Decision %s waits for %d more signature%s.", d->id, d->missing,
	    d->missing == 1 ? "" : "s");
	json_array_foreach(json_object_get(decision, "needs"), i, need)
	{
		json_t *names = json_object_get(need, "may_sign"), *name;
		const char *ca = json_string_value(json_object_get(need, "ca"));
		size_t k;

		if (json_integer_value(json_object_get(need, "missing")) == 0)
			continue;
		cli_say(
		    cli, "Who may sign, as the limits of CA %s have it:", ca != NULL ? ca : "?");
		json_array_foreach(names, k, name)
		{
			cli_say(cli, "  %s",
			    json_string_value(name) != NULL ? json_string_value(name) : "?");
		}
	}
	cli_say(cli, "They do so, until %s, with", expires != NULL ? expires : "it expires");
	cli_say(cli, "  chancery decision sign %s", d->id);
}

static bool
end(struct cli *cli, const struct decision *d, json_t **outcome, struct error *e)
{
	json_t *decision = NULL;
	char path[CLI_PATH_MAX];

	*outcome = NULL;
	if (!d->is_collecting)
		return decision_await(cli, d, outcome, e);
	if (!cli_path(path, "/v1/decisions/", d->id, "", e) ||
	    !cli_get_object(cli, path, "id", d->id, &decision, e))
		return false;
	if (cli->json)
		cli_print_json(decision);
	else
		say_missing(cli, d, decision);
	json_decref(decision);
	return true;
}

static size_t
count_desk(const struct cli *cli)
{
	size_t at = 0, n = 0;

	while (option_next(cli->options, OPTION_ALSO_SIGN, &at) != NULL)
		n++;
	return n;
}

static unsigned
greatest_quorum(const struct ceremony_rules *rules)
{
	unsigned most = 0;

	for (size_t i = 0; i < rules->count; i++)
		most = rules->of[i]->quorum > most ? rules->of[i]->quorum : most;
	return most;
}

bool
ceremony_order(struct cli *cli, struct statement *s, const char *body,
    const struct ceremony_rules *rules, json_t **outcome, struct error *e)
{
	/* Longer where others have to be asked. */
	bool here = 1 + count_desk(cli) >= greatest_quorum(rules);
	struct decision d;
	struct desk desk;
	bool ok;

	*outcome = NULL;
	if (!decision_prepare_for(
		s, body, here ? CEREMONY_LIFE_S : STATEMENT_LIFE_CEREMONY_S, &d, e) ||
	    !open_desk(cli, rules, &desk, e))
		return false;
	ok = decision_hand_in(cli, &d, e) && sign_with_desk(cli, &d, &desk, e) &&
	     end(cli, &d, outcome, e);
	desk_clear(&desk);
	return ok;
}

bool
ceremony_sign(struct cli *cli, struct decision *d, const struct ceremony_rules *rules,
    json_t **outcome, struct error *e)
{
	struct desk desk;
	bool ok;

	*outcome = NULL;
	if (!open_desk(cli, rules, &desk, e))
		return false;
	ok = add_signature(cli, d, cli->key, e) && sign_with_desk(cli, d, &desk, e) &&
	     end(cli, d, outcome, e);
	desk_clear(&desk);
	return ok;
}

void
ceremony_say_limits(struct cli *cli, const char *ca, const char *key, const char *sha256)
{
	struct limits_current *current = NULL;
	struct error ignored = ERROR_INIT;

	if (limits_current_load(cli, ca, key, &current, &ignored)) {
		cli_say(cli, "  key SHA-256  %s", current->key_hex);
		cli_say(cli, "  limits       version %u, SHA-256 %s",
		    (unsigned)current->limits.version, sha256);
	} else {
		cli_say(cli, "  limits       SHA-256 %s", sha256);
	}
	cli_say(
	    cli, "Compare both with \"chancery-signer --show-limits\" at the signer's console.");
	limits_current_free(current);
}
