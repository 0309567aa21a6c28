#include "daemon/cli/cli.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "daemon/core/encode.h"

/* ------------------------------------------------------------------- paths */

bool
cli_path(
    char out[CLI_PATH_MAX], const char *prefix, const char *name, const char *rest, struct error *e)
{
	char escaped[CLI_PATH_MAX / 2];

	if (name[0] == '\0')
		return error_set(e, ERROR_USAGE, "a name on the command line is empty");
	/* Segments that a URL's reader would take away (RFC 3986 5.2.4). */
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return error_set(e, ERROR_USAGE, "\"%s\" is no name", name);
	if (!http_escape(name, escaped, sizeof escaped) ||
	    (size_t)snprintf(out, CLI_PATH_MAX, "%s%s%s", prefix, escaped, rest) >= CLI_PATH_MAX)
		return error_set(e, ERROR_USAGE, "a name on the command line is too long");
	return true;
}

bool
cli_path_add(char path[CLI_PATH_MAX], const char *key, const char *value, struct error *e)
{
	char escaped[CLI_PATH_MAX / 2];
	size_t at = strlen(path);

	if (!http_escape(value, escaped, sizeof escaped) ||
	    (size_t)snprintf(path + at, CLI_PATH_MAX - at, "%c%s=%s",
		strchr(path, '?') != NULL ? '&' : '?', key, escaped) >= CLI_PATH_MAX - at)
		return error_set(e, ERROR_USAGE, "--%s is too long", key);
	return true;
}

/* --------------------------------------------------------------- sentences */

void
cli_print_json(json_t *value)
{
	(void)table_write_json(stdout, value);
}

static void
print_line(FILE *out, const char *fmt, va_list ap)
{
	char *raw = NULL;

	if (vasprintf(&raw, fmt, ap) < 0)
		return;
	table_write_escaped(out, raw, false);
	(void)fputc('\n', out);
	free(raw);
}

void
cli_say(const struct cli *cli, const char *fmt, ...)
{
	va_list ap;

	if (cli->json)
		return;
	va_start(ap, fmt);
	print_line(stdout, fmt, ap);
	va_end(ap);
}

void
cli_note(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_line(stderr, fmt, ap);
	va_end(ap);
}

/* ----------------------------------------------------------------- objects */

const char *
cli_text(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text != NULL ? text : "";
}

struct bytes
cli_octets(json_t *object, const char *key, uint8_t *buf, size_t size)
{
	const char *hex = cli_text(object, key);
	size_t len = strlen(hex) / 2;

	if (len == 0 || len > size || !hex_decode(hex, len, buf))
		return (struct bytes){NULL, 0};
	return (struct bytes){buf, len};
}

const char *
cli_member(json_t *answer, const char *key, struct error *e)
{
	const char *text = json_string_value(json_object_get(answer, key));

	if (text == NULL)
		error_set(e, ERROR_INTERNAL, "the service's answer has no text \"%s\"", key);
	return text;
}

#define PLAIN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"

const char *
cli_id(json_t *answer, struct error *e)
{
	const char *id = cli_member(answer, "id", e);

	if (id == NULL || (id[0] != '\0' && strspn(id, PLAIN) == strlen(id)))
		return id;
	error_set(e, ERROR_INTERNAL, "the service's answer has \"%.40s\" for an id", id);
	return NULL;
}

bool
cli_get_object(struct cli *cli, const char *path, const char *key, const char *wanted,
    json_t **answer, struct error *e)
{
	json_t *json = NULL;
	const char *got;
	bool ok;

	if (!http_get(cli->http, path, &json, e))
		return false;
	got = key != NULL ? cli_member(json, key, e) : NULL;
	ok = key == NULL || got != NULL;
	if (ok && key != NULL && strcasecmp(got, wanted) != 0)
		ok = error_set(e, ERROR_INTERNAL,
		    "asked for \"%.80s\", the service answers with \"%.80s\"", wanted, got);
	if (ok)
		*answer = json;
	else
		json_decref(json);
	return ok;
}

bool
cli_show_object(struct cli *cli, const char *path, const char *key, const char *wanted,
    const struct table_column *fields, size_t count, struct error *e)
{
	json_t *answer;

	if (!cli_get_object(cli, path, key, wanted, &answer, e))
		return false;
	if (cli->json)
		cli_print_json(answer);
	else
		table_print_object(stdout, answer, fields, count);
	json_decref(answer);
	return true;
}

/* ------------------------------------------------------------------- lists */

static bool
list_path(struct cli *cli, const struct cli_list *l, char path[CLI_PATH_MAX], struct error *e)
{
	static const enum option taken[] = {OPTION_CA, OPTION_STATE, OPTION_AFTER};
	const struct options *o = cli->options;
	char number[24];
	long limit;

	if (snprintf(path, CLI_PATH_MAX, "%s", l->path) >= CLI_PATH_MAX)
		return error_set(e, ERROR_USAGE, "a name on the command line is too long");
	if (l->limit == 0)
		return true;
	if (!option_number(o, OPTION_LIMIT, 1, CLI_LIMIT_MAX, l->limit, &limit, e))
		return false;
	(void)snprintf(number, sizeof number, "%ld", limit);
	if (!cli_path_add(path, "limit", number, e))
		return false;
	for (size_t i = 0; i < COUNT_OF(taken); i++) {
		if (o->value[taken[i]] != NULL &&
		    !cli_path_add(path, option_name(taken[i]), o->value[taken[i]], e))
			return false;
	}
	return true;
}

/* How to go on, ready to be copied: only of letters that a shell leaves alone. */
static void
note_next(json_t *next)
{
	const char *text = json_string_value(next);
	size_t len = text != NULL ? strlen(text) : 0;

	if (len == 0)
		return;
	if (len > 80 || strspn(text, PLAIN "._@") != len)
		cli_note("There may be more.");
	else
		cli_note("There may be more: the same command with --after=%s goes on.", text);
}

static bool
check_rows(json_t *rows, const char *key, struct error *e)
{
	size_t i;
	json_t *row;
	bool ok = json_is_array(rows);

	json_array_foreach(rows, i, row)
	{
		ok = ok && json_is_object(row);
	}
	return ok || error_set(e, ERROR_INTERNAL, "the service's answer has no list \"%s\"", key);
}

static void
prepare_rows(const struct cli_list *l, json_t *rows)
{
	size_t i;
	json_t *row;

	json_array_foreach(rows, i, row)
	{
		if (l->prepare != NULL)
			l->prepare(row);
	}
}

bool
cli_show_list(struct cli *cli, const struct cli_list *l, struct error *e)
{
	json_t *answer = NULL, *rows, *more;
	char path[CLI_PATH_MAX];
	bool ok;

	if (!list_path(cli, l, path, e) || !http_get(cli->http, path, &answer, e))
		return false;
	rows = json_object_get(answer, l->key);
	more = l->below != NULL ? json_object_get(answer, l->below->key) : NULL;
	ok = check_rows(rows, l->key, e) && (more == NULL || check_rows(more, l->below->key, e));
	if (ok && cli->json) {
		cli_print_json(answer);
	} else if (ok) {
		prepare_rows(l, rows);
		table_print(stdout, rows, l->columns, l->count,
		    cli->options->value[OPTION_AFTER] != NULL ? "There are no more." : l->nothing);
		if (l->notes != NULL)
			table_print_notes(stdout, rows, l->id, l->notes);
		if (more != NULL && json_array_size(more) > 0) {
			(void)putc('\n', stdout);
			table_print(stdout, more, l->below->columns, l->below->count, "");
		}
		(void)fflush(stdout);
		note_next(json_object_get(answer, "next"));
	}
	json_decref(answer);
	return ok;
}
