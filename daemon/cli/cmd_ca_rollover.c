#include <string.h>

#include "daemon/cli/ceremony.h"
#include "daemon/cli/limits_draft.h"
#include "daemon/cli/renewal_show.h"
#include "daemon/core/encode.h"

/* A root's key, as the service shows its newest generation. */
struct root_key {
	char hex[65];
	uint8_t sha256[32];
	int64_t not_after;
};

static bool
read_key(json_t *generation, struct root_key *out, struct error *e)
{
	const char *hex = cli_member(generation, "key_sha256", e);
	const char *end = cli_member(generation, "not_after", e);

	if (hex == NULL || end == NULL)
		return false;
	if (strlen(hex) != 64 || !hex_decode(hex, sizeof out->sha256, out->sha256) ||
	    !canon_time(end, &out->not_after))
		return error_set(e, ERROR_INTERNAL,
		    "the service shows a generation whose key or end cannot be read");
	memcpy(out->hex, hex, sizeof out->hex);
	return true;
}

static bool
has_state(json_t *generation, const char *state)
{
	const char *own = json_string_value(json_object_get(generation, "state"));

	return own != NULL && strcmp(own, state) == 0;
}

/* The key that signs, and the last one before it; newest generations come first. */
static bool
find_keys(
    json_t *ca, const char *name, struct root_key *fresh, struct root_key *old, struct error *e)
{
	const char *kind = cli_member(ca, "kind", e);
	bool has_fresh = false;
	json_t *g;
	size_t i;

	if (kind == NULL)
		return false;
	if (strcmp(kind, "root") != 0)
		return error_set(e, ERROR_INPUT,
		    "CA %s is no root: it is its parent that vouches for its keys", name);
	json_array_foreach(json_object_get(ca, "generations"), i, g)
	{
		if (!has_fresh && has_state(g, "active")) {
			if (!read_key(g, fresh, e))
				return false;
			has_fresh = true;
		} else if (has_fresh && has_state(g, "superseded")) {
			if (!read_key(g, old, e))
				return false;
			if (strcmp(old->hex, fresh->hex) != 0)
				return true;
		}
	}
	return error_set(e, ERROR_CONFLICT,
	    "CA %s has no older key that is still in use: rollover certificates are for a root "
	    "that "
	    "was renewed with a new key",
	    name);
}

static bool
order(struct cli *cli, const char *ca, const struct root_key *by, const struct root_key *of,
    struct error *e)
{
	int64_t end = by->not_after < of->not_after ? by->not_after : of->not_after;
	struct statement s = {.action = STATEMENT_CA_ROLLOVER};
	struct limits_current *current = NULL;
	char text[RENEWAL_TEXT_MAX + 1];
	json_t *outcome = NULL;
	bool ok;

	if (!rollover_compose(ca, by->sha256, of->sha256, end, text, e) ||
	    !limits_current_load(cli, ca, by->hex, &current, e))
		return false;
	cli_note("The key %s is to sign a certificate for the key %s.", by->hex, of->hex);
	renewal_show(stderr, text, NULL);
	ok = decision_put_ca(&s, ca, e) &&
	     ceremony_order(cli, &s, text, &CEREMONY_RULE(&current->limits), &outcome, e);
	if (ok && outcome != NULL)
		decision_print(cli, outcome);
	json_decref(outcome);
	limits_current_free(current);
	return ok;
}

bool
cmd_ca_rollover(struct cli *cli, struct error *e)
{
	struct root_key fresh = {.not_after = 0}, old = {.not_after = 0};
	const char *ca = cli->words[0];
	json_t *answer = NULL;
	char path[CLI_PATH_MAX];
	bool ok;

	ok = cli_path(path, "/v1/cas/", ca, "", e) &&
	     cli_get_object(cli, path, "name", ca, &answer, e) &&
	     find_keys(answer, ca, &fresh, &old, e) && order(cli, ca, &old, &fresh, e) &&
	     order(cli, ca, &fresh, &old, e);
	json_decref(answer);
	return ok;
}
