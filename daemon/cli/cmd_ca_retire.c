#include <string.h>
#include <time.h>

#include "daemon/cli/ceremony.h"
#include "daemon/cli/limits_draft.h"
#include "daemon/cli/limits_show.h"

/* Keys that one CA can have; more than renewals with a new key every year for a life. */
#define KEYS_MAX 64

struct retirement {
	const char *key; /* SHA-256 in hex, borrowed from the answer */
	long long generation;
	enum limits_retired what;
};

static bool
is_in_state(json_t *generation, const char *state)
{
	return strcmp(cli_text(generation, "state"), state) == 0;
}

static bool
has(json_t *generation, const char *name)
{
	return json_is_string(json_object_get(generation, name));
}

/* The generation that signs; or else that signed last; or else that waits. */
static json_t *
find_current(json_t *generations)
{
	json_t *g, *last = NULL;
	size_t i;

	json_array_foreach(generations, i, g)
	{
		if (is_in_state(g, "active"))
			return g;
		if (last == NULL || (!has(last, "sha256") && has(g, "sha256")))
			last = g;
	}
	return last;
}

static bool
add(struct retirement *all, size_t *count, json_t *g, enum limits_retired what, struct error *e)
{
	const char *key = cli_text(g, "key_sha256");

	for (size_t i = 0; i < *count; i++)
		if (strcmp(all[i].key, key) == 0)
			return true;
	if (*count == KEYS_MAX)
		return error_set(e, ERROR_LIMIT, "a CA with more than %d keys in use", KEYS_MAX);
	all[(*count)++] = (struct retirement){
	    key, json_integer_value(json_object_get(g, "index")), what};
	return true;
}

/* With the key that signs the CA is over; older ones could be made to sign, too. */
static bool
choose_all(json_t *ca, struct retirement *all, size_t *count, struct error *e)
{
	json_t *generations = json_object_get(ca, "generations");
	json_t *current = find_current(generations), *g;
	size_t i;

	if (current == NULL)
		return error_set(e, ERROR_INTERNAL, "the service shows a CA without a key");
	if (!is_in_state(ca, "retired") && !add(all, count, current, LIMITS_CA_RETIRED, e))
		return false;
	json_array_foreach(generations, i, g)
	{
		if (is_in_state(g, "superseded") && !has(g, "key_retired_at") &&
		    strcmp(cli_text(g, "key_sha256"), cli_text(current, "key_sha256")) != 0 &&
		    !add(all, count, g, LIMITS_KEY_RETIRED, e))
			return false;
	}
	return *count > 0 ||
	       error_set(e, ERROR_CONFLICT, "CA %s is retired already", cli_text(ca, "name"));
}

static bool
choose_one(json_t *ca, long index, struct retirement *all, size_t *count, struct error *e)
{
	json_t *generations = json_object_get(ca, "generations");
	json_t *current = find_current(generations), *g = NULL;
	size_t i;

	json_array_foreach(generations, i, g)
	{
		if (json_integer_value(json_object_get(g, "index")) == index)
			break;
	}
	if (i == json_array_size(generations))
		return error_set(e, ERROR_NOT_FOUND,
		    "CA %s has no generation %ld: \"chancery ca generations %s\" lists them",
		    cli_text(ca, "name"), index, cli_text(ca, "name"));
	if (is_in_state(g, "retired"))
		return error_set(e, ERROR_CONFLICT, "generation %ld is over already", index);
	if (has(g, "key_retired_at"))
		return error_set(
		    e, ERROR_CONFLICT, "the key of generation %ld is retired already", index);
	if (is_in_state(g, "awaiting-certificate"))
		return error_set(e, ERROR_CONFLICT,
		    "generation %ld has no certificate and signs none: it ends when another "
		    "renewal takes its place, or with the whole CA",
		    index);
	if (g != current && strcmp(cli_text(g, "key_sha256"), cli_text(current, "key_sha256")) == 0)
		return error_set(e, ERROR_CONFLICT,
		    "generation %ld has the key that the CA signs with: it is retired as "
		    "generation %lld",
		    index, (long long)json_integer_value(json_object_get(current, "index")));
	return add(all, count, g, LIMITS_KEY_RETIRED, e);
}

static bool
order(struct cli *cli, const char *ca, const struct retirement *r, struct error *e)
{
	struct statement s = {.action = STATEMENT_CA_LIMITS};
	struct limits_current *current = NULL;
	struct limits_draft *draft = NULL;
	json_t *outcome = NULL;
	bool ok;

	ok = limits_current_load(cli, ca, r->key, &current, e) &&
	     limits_draft_retire(cli, current, r->what, &draft, e);
	if (ok) {
		cli_note("The key of generation %lld of CA %s is to sign no certificate any more, "
			 "for good, and CRLs until the last one that it signed has ended.%s",
		    r->generation, ca,
		    r->what == LIMITS_CA_RETIRED
			? " The CA gets no other key: it is retired as a whole."
			: "");
		limits_show_change(stderr, current->text, draft->text, (int64_t)time(NULL));
		ok = decision_put_ca(&s, ca, e) &&
		     ceremony_order(
			 cli, &s, draft->body, &CEREMONY_RULE(&current->limits), &outcome, e);
	}
	if (ok && outcome != NULL)
		decision_print(cli, outcome);
	json_decref(outcome);
	limits_draft_free(draft);
	limits_current_free(current);
	return ok;
}

bool
cmd_ca_retire(struct cli *cli, struct error *e)
{
	const char *ca = cli->words[0];
	struct retirement all[KEYS_MAX];
	json_t *answer = NULL;
	char path[CLI_PATH_MAX];
	size_t count = 0;
	long index;
	bool ok;

	ok = option_number(cli->options, OPTION_GENERATION, 0, 1000000, -1, &index, e) &&
	     cli_path(path, "/v1/cas/", ca, "", e) &&
	     cli_get_object(cli, path, "name", ca, &answer, e);
	if (ok)
		ok = index < 0 ? choose_all(answer, all, &count, e)
			       : choose_one(answer, index, all, &count, e);
	for (size_t i = 0; ok && i < count; i++)
		ok = order(cli, ca, &all[i], e);
	json_decref(answer);
	return ok;
}
