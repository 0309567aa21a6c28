#include <string.h>
#include <time.h>

#include "daemon/cli/ceremony.h"
#include "daemon/cli/decision_show.h"
#include "daemon/core/encode.h"

/* --------------------------------------------------------------------- list */

/* "1 more until 2026-11-29T12:00:00Z: bob, carol" */
static void
add_missing(json_t *row, json_t *need)
{
	const char *until = json_string_value(json_object_get(row, "expires_at"));
	json_t *names = json_object_get(need, "may_sign"), *name;
	char words[400];
	int at;
	size_t i;

	at = snprintf(words, sizeof words, "%lld more until %s",
	    (long long)json_integer_value(json_object_get(need, "missing")),
	    until != NULL ? until : "?");
	json_array_foreach(names, i, name)
	{
		const char *text = json_string_value(name);

		if (at > 0 && (size_t)at < sizeof words)
			at += snprintf(words + at, sizeof words - (size_t)at, "%s%s",
			    i == 0 ? ": " : ", ", text != NULL ? text : "?");
	}
	(void)json_object_set_new(row, "note", json_string(words));
}

/* Who signed, and how many are missing; where several limits count, of those that
 * miss most. */
static void
list_needs(json_t *row)
{
	const char *state = json_string_value(json_object_get(row, "state"));
	bool collecting = state != NULL && strcmp(state, "collecting") == 0;
	json_t *needs = json_object_get(row, "needs"), *need, *most = NULL, *names;
	json_int_t missing = -1;
	size_t i;

	json_array_foreach(needs, i, need)
	{
		json_int_t n = json_integer_value(json_object_get(need, "missing"));

		if (n > missing) {
			missing = n;
			most = need;
		}
	}
	names = most != NULL ? json_object_get(most, "signed") : json_object_get(row, "operator");
	(void)json_object_set(row, "signed", names);
	if (collecting && most != NULL) {
		(void)json_object_set_new(row, "missing", json_integer(missing));
		add_missing(row, most);
	} else if (state == NULL || strcmp(state, "applied") != 0) {
		(void)json_object_set(row, "note", json_object_get(row, "outcome"));
	}
}

bool
cmd_decision_list(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"ID", "id"}, {"ACTION", "action"},
	    {"OBJECT", "object"}, {"STATE", "state"}, {"SIGNED", "signed"}, {"MISSING", "missing"}};
	static const struct cli_list list = {.path = "/v1/decisions",
	    .key = "decisions",
	    .nothing = "There is no such decision.",
	    .limit = 50,
	    .id = "id",
	    .notes = "note",
	    .prepare = list_needs,
	    .columns = columns,
	    .count = COUNT_OF(columns)};

	return cli_show_list(cli, &list, e);
}

/* --------------------------------------------------------------------- show */

bool
cmd_decision_show(struct cli *cli, struct error *e)
{
	struct shown_decision d;
	bool ok = true;

	if (!shown_decision_load(cli, cli->words[0], &d, e))
		return false;
	if (cli->json)
		cli_print_json(d.answer);
	else
		ok = shown_decision_print(&d, stdout, e);
	shown_decision_clear(&d);
	return ok;
}

/* --------------------------------------------------------------------- sign */

/* Whether it is worth a passphrase. */
static bool
check_open(const struct shown_decision *d, struct error *e)
{
	const char *id = json_string_value(json_object_get(d->answer, "id"));
	const char *state = json_string_value(json_object_get(d->answer, "state"));
	const char *outcome = json_string_value(json_object_get(d->answer, "outcome"));

	if (state == NULL)
		return error_set(e, ERROR_INTERNAL, "the service's answer has no state");
	if (d->rules.count == 0)
		return error_set(e, ERROR_CONFLICT, "a decision %s takes one signature only",
		    statement_action_name(d->statement.action));
	if (strcmp(state, "collecting") != 0)
		return error_set(e, ERROR_CONFLICT,
		    "decision %s takes no more signatures, it is %s%s%s", id, state,
		    outcome != NULL ? ": " : "", outcome != NULL ? outcome : "");
	if (!statement_check_time(&d->statement, (int64_t)time(NULL), e))
		return error_wrap(e, "decision %s", id);
	return true;
}

/* Each person counts once, with whatever key. */
static bool
check_twice(const struct shown_decision *d, const char *me, struct error *e)
{
	json_t *one;
	size_t i;

	json_array_foreach(json_object_get(d->answer, "signatures"), i, one)
	{
		const char *base64 = json_string_value(json_object_get(one, "spki")), *person;
		uint8_t spki[STATEMENT_SPKI_MAX];
		struct error ignored = ERROR_INIT;
		size_t len;

		if (base64 == NULL ||
		    !base64_decode((struct bytes){(const uint8_t *)base64, strlen(base64)}, false,
			spki, sizeof spki, &len, &ignored))
			continue;
		person = ceremony_person(&d->rules, (struct bytes){spki, len});
		if (person != NULL && strcmp(person, me) == 0)
			return error_set(e, ERROR_CONFLICT,
			    "you (%s) have signed decision %s already: each person counts once, "
			    "and "
			    "another one has to sign",
			    me, json_string_value(json_object_get(d->answer, "id")));
	}
	return true;
}

static bool
sign(struct cli *cli, const struct shown_decision *d, struct error *e)
{
	struct decision decision = {.len = strlen(d->text), .body = d->body};
	const char *me;
	uint8_t spki[STATEMENT_SPKI_MAX];
	json_t *outcome = NULL;
	char sha256[65];
	size_t len;

	if (!decision_own_key(cli, spki, &len, e) ||
	    !ceremony_check_signer(&d->rules, (struct bytes){spki, len}, e))
		return false;
	me = ceremony_person(&d->rules, (struct bytes){spki, len});
	if (!check_twice(d, me, e) ||
	    !decision_put(decision.text, sizeof decision.text, "a statement", d->text, e) ||
	    !decision_put(decision.id, sizeof decision.id, "a decision's id",
		json_string_value(json_object_get(d->answer, "id")), e) ||
	    !shown_decision_print(d, stderr, e))
		return false;
	cli_note("To be signed by you, %s: the statement above.", me);
	if (!ceremony_sign(cli, &decision, &d->rules, &outcome, e))
		return false;
	if (outcome != NULL)
		decision_print(cli, outcome);
	if (outcome != NULL && d->fresh != NULL) {
		const char *end = strstr(d->body, "\n---\n");
		bool waits = d->statement.action == STATEMENT_CA_REKEY && !d->fresh->root;
		uint8_t digest[32];

		limits_sha256(d->body, (size_t)(end + 1 - d->body), digest);
		hex_encode(digest, sizeof digest, sha256);
		ceremony_say_limits(cli, d->fresh->ca, waits ? "waiting" : NULL, sha256);
	}
	json_decref(outcome);
	return true;
}

bool
cmd_decision_sign(struct cli *cli, struct error *e)
{
	struct shown_decision d;
	bool ok;

	if (!shown_decision_load(cli, cli->words[0], &d, e))
		return false;
	ok = check_open(&d, e) && sign(cli, &d, e);
	shown_decision_clear(&d);
	return ok;
}

/* ----------------------------------------------------------------- withdraw */

bool
cmd_decision_withdraw(struct cli *cli, struct error *e)
{
	json_t *body = json_object(), *answer = NULL;
	const char *id = NULL;
	char path[CLI_PATH_MAX];

	if (cli_path(path, "/v1/decisions/", cli->words[0], "/withdraw", e) &&
	    http_post(cli->http, path, body, &answer, e))
		id = cli_member(answer, "id", e);
	if (id != NULL && cli->json)
		cli_print_json(answer);
	else if (id != NULL)
		(void)printf("%s is withdrawn\n", id);
	json_decref(body);
	json_decref(answer);
	return id != NULL;
}
