#include <string.h>

#include "daemon/cli/cli.h"

/* How the token is, and how the signer's journal. */
static void
join_sentences(json_t *row)
{
	const char *state = json_string_value(json_object_get(row, "sentence"));
	const char *journal = json_string_value(json_object_get(row, "journal"));
	const char *challenge = json_string_value(json_object_get(row, "challenge"));
	const char *word = json_string_value(json_object_get(row, "state"));
	bool closed = word != NULL && strcmp(word, "closed") == 0;

	(void)json_object_set_new(row, "note",
	    json_sprintf("%s%s%s%s%s", state != NULL ? state : "", journal != NULL ? "; " : "",
		journal != NULL ? journal : "", closed && challenge != NULL ? "; challenge " : "",
		closed && challenge != NULL ? challenge : ""));
}

bool
cmd_token_status(struct cli *cli, struct error *e)
{
	static const struct table_column columns[] = {{"TOKEN", "token"}, {"STATE", "state"},
	    {"LABEL", "label"}, {"SERIAL", "serial"}, {"THREADS", "threads"},
	    {"SIGNATURES", "signatures"}, {"SINCE", "since"}, {"STALE", "stale"}};
	static const struct cli_list list = {.path = "/v1/tokens",
	    .key = "tokens",
	    .nothing = "No issuer has reported a token yet.",
	    .id = "token",
	    .notes = "note",
	    .prepare = join_sentences,
	    .columns = columns,
	    .count = COUNT_OF(columns)};

	return cli_show_list(cli, &list, e);
}

/* {"pending": 3, "issued": 1} as the list "3 pending, 1 issued". */
static bool
counts_to_list(json_t *answer, const char *member, struct error *e)
{
	json_t *counts = json_object_get(answer, member), *list = json_array(), *value;
	const char *state;

	if (!json_is_object(counts) || list == NULL) {
		json_decref(list);
		return error_set(
		    e, ERROR_INTERNAL, "the service's answer has no numbers \"%s\"", member);
	}
	json_object_foreach(counts, state, value)
	{
		(void)json_array_append_new(list,
		    json_sprintf("%" JSON_INTEGER_FORMAT " %s", json_integer_value(value), state));
	}
	if (json_array_size(list) == 0)
		(void)json_array_append_new(list, json_string("none"));
	return json_object_set_new(answer, member, list) == 0;
}

/* {"held": true, "reason": ...} as a sentence. */
static void
clock_to_text(json_t *answer)
{
	json_t *clock = json_object_get(answer, "clock");
	const char *reason = json_string_value(json_object_get(clock, "reason"));
	const char *apart = json_string_value(json_object_get(clock, "apart"));

	(void)json_object_set_new(answer, "clock",
	    reason != NULL  ? json_sprintf("NOTHING IS SIGNED: %s; see \"clock confirm\"", reason)
	    : apart != NULL ? json_sprintf("an issuer signs nothing: %s", apart)
			    : json_string("as it was"));
}

/* The numbers, and below them who runs and how each process is confined. */
static void
print_status(json_t *answer, const struct table_column *fields, size_t count)
{
	static const struct table_column columns[] = {{"PROCESS", "name"}, {"PID", "pid"},
	    {"STATE", "state"}, {"UID", "uid"}, {"CAPS", "capabilities"}, {"CALLS", "profile"},
	    {"LANDLOCK", "landlock"}, {"SOCKETS", "sockets"}, {"MISSING", "missing"}};
	json_t *processes = json_object_get(answer, "processes");

	table_print_object(stdout, answer, fields, count);
	if (!json_is_array(processes))
		return;
	(void)fputc('\n', stdout);
	table_print(stdout, processes, columns, COUNT_OF(columns), "No process is known.");
}

bool
cmd_status(struct cli *cli, struct error *e)
{
	static const struct table_column fields[] = {{"CAs", "cas"},
	    {"open requests", "open_requests"}, {"waiting for a PIN", "waiting_for_pin"},
	    {"open decisions", "open_decisions"},
	    {"to be signed by others", "collecting_decisions"}, {"to be published", "unpublished"},
	    {"renewal due", "renewals_due"}, {"operators", "operators"},
	    {"database's time", "database_time"}, {"clock", "clock"}};
	json_t *answer = NULL;
	bool ok;

	if (!http_get(cli->http, "/v1/status", &answer, e))
		return false;
	ok = cli->json ||
	     (counts_to_list(answer, "cas", e) && counts_to_list(answer, "open_requests", e));
	if (ok && cli->json)
		cli_print_json(answer);
	else if (ok) {
		clock_to_text(answer);
		print_status(answer, fields, COUNT_OF(fields));
	}
	json_decref(answer);
	return ok;
}
