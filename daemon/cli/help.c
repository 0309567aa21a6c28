#include <string.h>

#include "daemon/cli/cli.h"

#define LEFT 30 /* columns before the explanations */

static void
print_line(FILE *out, int indent, const char *left, const char *right)
{
	bool fits = strlen(left) <= (size_t)(LEFT - indent);

	(void)fprintf(out, "%*s%-*s%s%*s %s\n", indent, "", fits ? LEFT - indent : 0, left,
	    fits ? "" : "\n", fits ? 0 : LEFT, "", right);
}

/* With its words: "ca show NAME". */
static void
name_command(const struct cli_command *c, char *out, size_t size)
{
	(void)snprintf(out, size, "%s%s%s%s%s", c->group, c->verb != NULL ? " " : "",
	    c->verb != NULL ? c->verb : "", c->words[0] != '\0' ? " " : "", c->words);
}

static void
print_command(FILE *out, const struct cli_command *c)
{
	char left[80];

	name_command(c, left, sizeof left);
	print_line(out, 2, left, c->help);
}

static void
print_option(FILE *out, int indent, enum option o)
{
	char left[64];

	(void)snprintf(left, sizeof left, "--%s%s%s", option_name(o),
	    option_argument(o) != NULL ? " " : "",
	    option_argument(o) != NULL ? option_argument(o) : "");
	print_line(out, indent, left, option_help(o));
}

static void
print_global_options(FILE *out)
{
	(void)fprintf(out, "\noptions of every command:\n");
	for (int o = 0; o < OPTION_GLOBAL_COUNT; o++)
		print_option(out, 2, (enum option)o);
	(void)fprintf(
	    out, "\nExit status: 0 done, 1 refused or failed, 2 wrong usage. See chancery(1).\n");
}

void
cli_print_help(FILE *out)
{
	(void)fprintf(out, "usage: chancery [options] COMMAND\n\ncommands:\n");
	for (size_t i = 0; i < cli_command_count; i++)
		print_command(out, &cli_commands[i]);
	(void)fprintf(out, "\n\"chancery help COMMAND\" shows a command's own options.\n");
	print_global_options(out);
}

static void
print_with_options(const struct cli_command *c)
{
	print_command(stdout, c);
	for (size_t i = 0; i < c->option_count; i++)
		print_option(stdout, 4, c->options[i]);
}

/* "ca limits": the first word of verbs that have two. */
static bool
begins_verb(const struct cli_command *c, const char *const *words)
{
	size_t len = strlen(words[1]);

	return strcmp(c->group, words[0]) == 0 && c->verb != NULL &&
	       strncmp(c->verb, words[1], len) == 0 && c->verb[len] == ' ';
}

static bool
help_begun(const char *const *words)
{
	size_t shown = 0;

	for (size_t i = 0; i < cli_command_count; i++) {
		if (!begins_verb(&cli_commands[i], words))
			continue;
		if (shown++ == 0)
			(void)printf(
			    "usage: chancery [options] %s %s COMMAND\n\n", words[0], words[1]);
		print_with_options(&cli_commands[i]);
	}
	if (shown > 0)
		print_global_options(stdout);
	return shown > 0;
}

bool
cli_help(const char *const *words, size_t count, struct error *e)
{
	const struct cli_command *first = NULL, *only = NULL;
	char usage[80];
	size_t used;

	if (count == 0) {
		cli_print_help(stdout);
		return true;
	}
	for (size_t i = 0; i < cli_command_count && first == NULL; i++) {
		if (strcmp(cli_commands[i].group, words[0]) == 0)
			first = &cli_commands[i];
	}
	if (count == 2 && help_begun(words))
		return true;
	/* Words behind the command's own do not matter: "ca show x --help". */
	if (first == NULL || count > 1)
		only = cli_find_command(words, count, &used, e);
	if (first == NULL || (count > 1 && only == NULL))
		return false;
	if (only == NULL && first->verb == NULL)
		only = first;
	if (only != NULL)
		name_command(only, usage, sizeof usage);
	else
		(void)snprintf(usage, sizeof usage, "%s COMMAND", words[0]);
	(void)printf("usage: chancery [options] %s\n\n", usage);
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = &cli_commands[i];

		if (only != NULL ? c == only : strcmp(c->group, words[0]) == 0)
			print_with_options(c);
	}
	print_global_options(stdout);
	return true;
}
