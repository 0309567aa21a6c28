/* Where the artifacts of a CA are to be found, and locations from AD CS. */

#include <stdlib.h>
#include <string.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/locations_former.h"
#include "daemon/cli/locations_import.h"
#include "daemon/cli/output.h"
#include "daemon/x509/capolicy_report.h"

#define IMPORT_FILE_MAX 65536
#define GENERATIONS_MAX 1000

/* ---- lines and sentences */

struct listing {
	json_t *lines, *findings; /* arrays */
	bool failed;
};

static void
on_line(const struct location_line *line, void *arg)
{
	struct listing *l = arg;
	char flags[LOCATION_FLAGS_TEXT_MAX];

	location_flags_text(line->flags, flags);
	if (json_array_append_new(l->lines,
		json_pack("{s:s, s:s, s:i, s:s, s:s}", "artifact",
		    location_artifact_name(line->artifact), "crl", line->label, "generation",
		    line->generation, "flags", flags, "url", line->url)) != 0)
		l->failed = true;
}

static void
on_finding(const char *sentence, void *arg)
{
	struct listing *l = arg;

	if (json_array_append_new(l->findings, json_string(sentence)) != 0)
		l->failed = true;
}

static bool
show(struct cli *cli, struct listing *l, struct error *e)
{
	json_t *line, *finding, *all;
	size_t i;

	if (cli->json) {
		all = json_pack("{s:O, s:O}", "locations", l->lines, "findings", l->findings);
		if (all != NULL)
			cli_print_json(all);
		json_decref(all);
		return all != NULL || error_set(e, ERROR_SYSTEM, "no memory for the answer");
	}
	if (json_array_size(l->lines) == 0)
		cli_say(cli, "The policy has no locations.");
	/* Not in columns: an address is of use whole. */
	json_array_foreach(l->lines, i, line)
	{
		int generation = (int)json_integer_value(json_object_get(line, "generation"));

		cli_say(cli, "%s", cli_text(line, "url"));
		cli_say(cli, "    %s%s%s, generation %d: %s", cli_text(line, "artifact"),
		    *cli_text(line, "crl") != '\0' ? " " : "", cli_text(line, "crl"), generation,
		    cli_text(line, "flags"));
	}
	json_array_foreach(l->findings, i, finding)
	{
		cli_note("warning: %s", json_string_value(finding));
	}
	return true;
}

/* ---- the CA */

struct subject {
	json_t *answer; /* of the service, or NULL */
	char *text;
	struct capolicy *policy;
	struct location_subject of;
	struct locations_former former;
	const char *labels[CAPOLICY_SCOPE_MAX];
};

static int
index_in(json_t *answer, const char *object)
{
	json_int_t i = json_integer_value(
	    json_object_get(json_object_get(answer, object), "index"));

	return i > 0 && i < GENERATIONS_MAX ? (int)i : 0;
}

/* Of the CRLs that new certificates get. */
static void
take_labels(struct subject *s)
{
	json_t *crl;
	size_t i;

	json_array_foreach(json_object_get(s->answer, "crls"), i, crl)
	{
		if (json_is_true(json_object_get(crl, "current")) &&
		    s->of.label_count < COUNT_OF(s->labels))
			s->labels[s->of.label_count++] = cli_text(crl, "label");
	}
	s->of.labels = s->labels;
}

/* The policy is the present key's; what an earlier one has stands apart. */
static bool
take_former(struct subject *s, struct error *e)
{
	json_t *g;
	size_t i;

	s->of.first_key = s->of.keys - 1;
	s->of.first_certificate = s->of.certificates - 1;
	json_array_foreach(json_object_get(s->answer, "generations"), i, g)
	{
		int index = (int)json_integer_value(json_object_get(g, "index"));

		if (json_integer_value(json_object_get(g, "key_index")) == s->of.first_key &&
		    index >= 0 && index < s->of.first_certificate)
			s->of.first_certificate = index;
	}
	if (!locations_former_read(s->answer, s->of.ca, s->of.first_key, &s->former, e))
		return false;
	s->of.former = s->former.lines;
	s->of.former_count = s->former.count;
	return true;
}

/* What the service has of the CA. */
static bool
ask_service(struct cli *cli, const char *ca, struct subject *s, struct error *e)
{
	char path[CLI_PATH_MAX];
	const char *text;

	if (!cli_path(path, "/v1/cas/", ca, "", e) ||
	    !cli_get_object(cli, path, "name", ca, &s->answer, e))
		return false;
	s->of.certificates = index_in(s->answer, "certificate") + 1;
	s->of.keys = index_in(s->answer, "key") + 1;
	s->of.labelled_key = s->of.keys - 1;
	take_labels(s);
	text = cli_member(s->answer, "policy", e);
	if (text == NULL || !take_former(s, e))
		return false;
	s->text = strdup(text);
	return s->text != NULL || error_set_errno(e, ERROR_SYSTEM, "allocating a policy");
}

/* A draft counts for a CA that need not exist. */
static bool
load(struct cli *cli, const char *ca, struct subject *s, struct error *e)
{
	const char *file = cli->options->value[OPTION_POLICY];
	size_t len;

	s->of = (struct location_subject){.ca = ca, .certificates = 1, .keys = 1};
	if (file != NULL && !output_read_file(file, CAPOLICY_TEXT_MAX, &s->text, &len, e))
		return false;
	if (file == NULL && !ask_service(cli, ca, s, e))
		return false;
	s->policy = calloc(1, sizeof *s->policy);
	if (s->policy == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a policy");
	return capolicy_parse(s->text, strlen(s->text), file != NULL ? file : ca, s->policy, e);
}

static bool
report(struct cli *cli, const struct subject *s, struct error *e)
{
	struct listing l = {json_array(), json_array(), false};
	const struct location_report to = {on_line, on_finding, &l};
	struct location_subject of = s->of;
	bool ok = l.lines != NULL && l.findings != NULL;

	/* One renewal with the same key, and one with a new one. */
	if (cli->options->value[OPTION_SIMULATE] != NULL) {
		of.certificates += 2;
		of.keys++;
	}
	if (!ok)
		error_set(e, ERROR_SYSTEM, "no memory for the answer");
	ok = ok && capolicy_report(s->policy, &of, &to, e);
	if (ok && l.failed)
		ok = error_set(e, ERROR_SYSTEM, "no memory for the answer");
	ok = ok && show(cli, &l, e);
	json_decref(l.lines);
	json_decref(l.findings);
	return ok;
}

/* ---- AD CS */

static bool
import(struct cli *cli, const char *file, struct error *e)
{
	char *text = NULL, *yaml = NULL;
	size_t len;
	bool ok = output_read_file(file, IMPORT_FILE_MAX, &text, &len, e) &&
		  locations_import(text, &yaml, e) && output_write(cli, yaml, strlen(yaml), e);

	free(text);
	free(yaml);
	return ok;
}

bool
cmd_ca_locations(struct cli *cli, struct error *e)
{
	const char *adcs = cli->options->value[OPTION_IMPORT_ADCS];
	struct subject s = {0};
	bool ok;

	if (adcs != NULL && cli->word_count == 0)
		return import(cli, adcs, e);
	if (adcs != NULL || cli->word_count == 0)
		return error_set(e, ERROR_USAGE,
		    "ca locations needs the name of a CA, or --import-adcs FILE and no name");
	ok = load(cli, cli->words[0], &s, e) && report(cli, &s, e);
	if (s.policy != NULL)
		capolicy_free(s.policy);
	free(s.policy);
	locations_former_free(&s.former);
	free(s.text);
	json_decref(s.answer);
	return ok;
}
