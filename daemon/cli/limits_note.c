#include "daemon/cli/limits_note.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/cli/limits_draft.h"

#define CAS_MAX 100 /* that are looked at */

/* Whether a CA's limits need no widening. */
typedef bool knows_fn(const struct limits *l, const void *what);

static bool
has_operator(const struct limits *l, const void *what)
{
	const struct bytes *spki = what;
	const struct limits_operator *o = limits_find_operator(l, *spki);

	return o != NULL && (o->rights & LIMITS_RIGHT_DECIDE) != 0;
}

static bool
has_purpose(const struct limits_template *t, const struct limits_purpose *purpose)
{
	for (size_t i = 0; i < t->purpose_count; i++) {
		if (t->purposes[i].len == purpose->len &&
		    memcmp(t->purposes[i].oid, purpose->oid, purpose->len) == 0)
			return true;
	}
	return false;
}

/* What the new version issues is within the line, or no line was meant for it. */
static bool
has_template(const struct limits *l, const void *what)
{
	const struct limits_template *fresh = what, *line = limits_find_template(l, fresh->name);

	if (line == NULL || fresh->validity_s > line->validity_s || fresh->ca != line->ca ||
	    (fresh->automatic && !line->automatic) ||
	    (fresh->key_usage & ~(unsigned)line->key_usage) != 0 ||
	    (line->path_length >= 0 &&
		(fresh->path_length < 0 || fresh->path_length > line->path_length)) ||
	    (fresh->purpose_count == 0) != (line->purpose_count == 0))
		return false;
	for (size_t i = 0; i < fresh->purpose_count; i++) {
		if (!has_purpose(line, &fresh->purposes[i]))
			return false;
	}
	return true;
}

static bool
needs_widening(struct cli *cli, const char *ca, knows_fn *knows, const void *what)
{
	struct limits_current *current = NULL;
	struct error ignored = ERROR_INIT;
	bool needs;

	if (!limits_current_load(cli, ca, NULL, &current, &ignored))
		return false;
	needs = !knows(&current->limits, what);
	limits_current_free(current);
	return needs;
}

/* One line for each of the CAs in the list. */
static void
note_each(struct cli *cli, json_t *names, knows_fn *knows, const void *what, const char *problem,
    const char *remedy)
{
	json_t *one;
	size_t i;

	json_array_foreach(names, i, one)
	{
		const char *ca = json_string_value(
		    json_is_object(one) ? json_object_get(one, "name") : one);

		if (i < CAS_MAX && ca != NULL && needs_widening(cli, ca, knows, what))
			cli_note(
			    "The limits of CA %s %s: \"chancery ca limits change %s %s\" changes "
			    "that.",
			    ca, problem, ca, remedy);
	}
}

void
limits_note_operator(struct cli *cli, const char *person, struct bytes spki)
{
	struct error ignored = ERROR_INIT;
	json_t *answer = NULL;
	char problem[256], remedy[128];

	if (!http_get(cli->http, "/v1/cas?limit=100", &answer, &ignored))
		return;
	(void)snprintf(problem, sizeof problem,
	    "were signed before and do not name this key, so that %s cannot approve its requests",
	    person);
	(void)snprintf(remedy, sizeof remedy, "--add-operator %s", person);
	note_each(cli, json_object_get(answer, "cas"), has_operator, &spki, problem, remedy);
	json_decref(answer);
}

void
limits_note_template(struct cli *cli, const struct template *t)
{
	struct error ignored = ERROR_INIT;
	struct limits_template *line = malloc(sizeof *line);
	json_t *answer = NULL;
	char path[CLI_PATH_MAX], remedy[128];

	if (line != NULL && limits_template_from(t, line, &ignored) &&
	    cli_path(path, "/v1/templates/", template_name(t), "", &ignored) &&
	    cli_get_object(cli, path, "name", template_name(t), &answer, &ignored)) {
		(void)snprintf(remedy, sizeof remedy, "--template %s", template_name(t));
		note_each(cli, json_object_get(answer, "cas"), has_template, line,
		    "were signed before and do not allow all that this version issues", remedy);
	}
	json_decref(answer);
	free(line);
}
