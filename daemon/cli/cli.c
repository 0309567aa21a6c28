#include "daemon/cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/cli/decision.h"

#define PROGRAM "chancery"

#define OWN(...) {__VA_ARGS__}, sizeof((enum option[]){__VA_ARGS__}) / sizeof(enum option)
#define NO_OWN {OPTION_COUNT}, 0

const struct cli_command cli_commands[] = {
    {"ca", "create", "NAME", 1, 1, "make a CA: key on the token, certificate or CSR",
	OWN(OPTION_POLICY), cmd_ca_create},
    {"ca", "list", "", 0, 0, "all CAs", NO_OWN, cmd_ca_list},
    {"ca", "show", "NAME", 1, 1, "one CA", NO_OWN, cmd_ca_show},
    {"ca", "csr", "NAME", 1, 1, "its CSR, PEM", OWN(OPTION_OUT), cmd_ca_csr},
    {"ca", "install", "NAME FILE", 2, 2, "install its certificate with the chain, PEM", NO_OWN,
	cmd_ca_install},
    {"operator", "init", "", 0, 0, "make your operator key", OWN(OPTION_FORCE), cmd_operator_init},
    {"operator", "add", "NAME", 1, 1, "register a person's key and roles",
	OWN(OPTION_ROLE, OPTION_KEY, OPTION_TLS), cmd_operator_add},
    {"operator", "list", "", 0, 0, "persons, roles and keys", NO_OWN, cmd_operator_list},
    {"request", "submit", "FILE", 1, 1, "submit a CSR, PEM or DER (\"-\": standard input)",
	OWN(OPTION_CA, OPTION_TEMPLATE, OPTION_IDEMPOTENCY_KEY), cmd_request_submit},
    {"request", "list", "", 0, 0, "requests, newest first",
	OWN(OPTION_STATE, OPTION_CA, OPTION_LIMIT), cmd_request_list},
    {"request", "show", "ID", 1, 1, "one request", NO_OWN, cmd_request_show},
    {"request", "approve", "ID...", 1, OPTIONS_WORDS_MAX, "have the certificates issued",
	OWN(OPTION_REASON), cmd_request_approve},
    {"request", "deny", "ID...", 1, OPTIONS_WORDS_MAX, "decide against requests",
	OWN(OPTION_REASON), cmd_request_deny},
    {"request", "withdraw", "ID", 1, 1, "take a request back", NO_OWN, cmd_request_withdraw},
    {"cert", "list", "", 0, 0, "certificates, newest first", OWN(OPTION_CA, OPTION_LIMIT),
	cmd_cert_list},
    {"cert", "show", "REF", 1, 1, "one certificate: by serial, SHA-256 or request id", NO_OWN,
	cmd_cert_show},
    {"cert", "get", "REF", 1, 1, "the certificate itself",
	OWN(OPTION_CHAIN, OPTION_DER, OPTION_OUT), cmd_cert_get},
    {"cert", "revoke", "REF", 1, 1, "revoke for good", OWN(OPTION_REASON), cmd_cert_revoke},
    {"cert", "hold", "REF", 1, 1, "suspend", NO_OWN, cmd_cert_hold},
    {"cert", "release", "REF", 1, 1, "end a suspension", NO_OWN, cmd_cert_release},
    {"crl", "issue", "CA", 1, 1, "issue a CRL now", OWN(OPTION_DELTA), cmd_crl_issue},
    {"crl", "show", "CA", 1, 1, "the CRLs of a CA, newest first", OWN(OPTION_LIMIT), cmd_crl_show},
    {"publish", "status", "[CA]", 0, 1, "what is published where", NO_OWN, cmd_publish_status},
    {"publish", "retry", "ID", 1, 1, "try a publication again now", NO_OWN, cmd_publish_retry},
    {"template", "list", "", 0, 0, "templates", NO_OWN, cmd_template_list},
    {"template", "apply", "FILE", 1, 1, "make this the template's newest version", NO_OWN,
	cmd_template_apply},
    {"template", "show", "NAME", 1, 1, "a template's newest version", NO_OWN, cmd_template_show},
    {"token", "status", "", 0, 0, "the tokens that CAs sign with", NO_OWN, cmd_token_status},
    {"status", NULL, "", 0, 0, "the service at a glance", NO_OWN, cmd_status},
};
const size_t cli_command_count = COUNT_OF(cli_commands);

/* -------------------------------------------------------------------- help */

static void
print_usage_line(FILE *out, const struct cli_command *c)
{
	char left[64];

	(void)snprintf(left, sizeof left, "%s%s%s%s%s", c->group, c->verb != NULL ? " " : "",
	    c->verb != NULL ? c->verb : "", c->words[0] != '\0' ? " " : "", c->words);
	(void)fprintf(out, "  %-26s %s\n", left, c->help);
}

static void
print_option(FILE *out, enum option o)
{
	char left[64];

	(void)snprintf(left, sizeof left, "--%s%s%s", option_name(o),
	    option_argument(o) != NULL ? " " : "",
	    option_argument(o) != NULL ? option_argument(o) : "");
	(void)fprintf(out, "  %-26s %s\n", left, option_help(o));
}

/* group NULL: everything; verb NULL: all of the group. */
static void
print_help(FILE *out, const char *group, const char *verb)
{
	(void)fprintf(out, "usage: " PROGRAM " [options] COMMAND\n\ncommands:\n");
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = &cli_commands[i];

		if ((group != NULL && strcmp(c->group, group) != 0) ||
		    (verb != NULL && c->verb != NULL && strcmp(c->verb, verb) != 0))
			continue;
		print_usage_line(out, c);
		for (size_t k = 0; group != NULL && k < c->option_count; k++) {
			(void)fputs("  ", out);
			print_option(out, c->options[k]);
		}
	}
	(void)fprintf(out, "\noptions of every command:\n");
	for (int o = 0; o < OPTION_GLOBAL_COUNT; o++)
		print_option(out, (enum option)o);
	(void)fprintf(
	    out, "\nExit status: 0 done, 1 refused or failed, 2 wrong usage. See chancery(1).\n");
}

/* ------------------------------------------------------------------ choice */

static bool
unknown_command(const char *group, const char *verb, struct error *e)
{
	const char *known[64], *near;
	size_t n = 0;
	bool group_known = false;

	for (size_t i = 0; i < cli_command_count && n < COUNT_OF(known); i++)
		group_known = group_known || strcmp(cli_commands[i].group, group) == 0;
	for (size_t i = 0; i < cli_command_count && n < COUNT_OF(known); i++) {
		const struct cli_command *c = &cli_commands[i];

		if (!group_known)
			known[n++] = c->group;
		else if (strcmp(c->group, group) == 0 && c->verb != NULL)
			known[n++] = c->verb;
	}
	if (group_known && verb == NULL)
		return error_set(e, ERROR_USAGE,
		    "\"%s\" needs a further word; see \"" PROGRAM " help %s\"", group, group);
	near = nearest_word(group_known ? verb : group, known, n);
	return error_set(e, ERROR_USAGE,
	    "there is no command \"%s%s%s\"%s%s%s; see \"" PROGRAM " help\"", group,
	    group_known ? " " : "", group_known ? verb : "",
	    near != NULL ? ", did you mean \"" : "", near != NULL ? near : "",
	    near != NULL ? "\"?" : "");
}

static const struct cli_command *
find_command(const struct options *o, size_t *used, struct error *e)
{
	const char *group = o->words[0], *verb = o->word_count > 1 ? o->words[1] : NULL;

	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = &cli_commands[i];

		if (strcmp(c->group, group) != 0)
			continue;
		if (c->verb == NULL || (verb != NULL && strcmp(c->verb, verb) == 0)) {
			*used = c->verb == NULL ? 1 : 2;
			return c;
		}
	}
	(void)unknown_command(group, verb, e);
	return NULL;
}

static bool
takes_option(const struct cli_command *c, enum option o)
{
	if (o < OPTION_GLOBAL_COUNT)
		return true;
	for (size_t i = 0; i < c->option_count; i++) {
		if (c->options[i] == o)
			return true;
	}
	return false;
}

static bool
check_usage(const struct cli_command *c, const struct options *o, size_t words, struct error *e)
{
	const char *verb = c->verb != NULL ? c->verb : "", *gap = c->verb != NULL ? " " : "";

	for (int i = OPTION_GLOBAL_COUNT; i < OPTION_COUNT; i++) {
		if (o->value[i] != NULL && !takes_option(c, (enum option)i))
			return error_set(e, ERROR_USAGE,
			    "\"%s%s%s\" has no option --%s; see \"" PROGRAM " help %s%s%s\"",
			    c->group, gap, verb, option_name((enum option)i), c->group, gap, verb);
	}
	if (words < c->words_min || words > c->words_max)
		return error_set(e, ERROR_USAGE, "usage: " PROGRAM " %s%s%s%s%s", c->group, gap,
		    verb, c->words[0] != '\0' ? " " : "",
		    c->words[0] != '\0' ? c->words : " (and no further words)");
	return true;
}

static bool
run(const struct options *options, struct error *e)
{
	struct cli cli = {.options = options, .json = options->value[OPTION_JSON] != NULL};
	const struct cli_command *command;
	size_t used;
	bool ok;

	command = find_command(options, &used, e);
	if (command == NULL || !check_usage(command, options, options->word_count - used, e))
		return false;
	cli.words = options->words + used;
	cli.word_count = options->word_count - used;
	cli.http = http_open(options, e);
	ok = cli.http != NULL && command->run(&cli, e);
	decision_lock(&cli);
	http_close(cli.http);
	if (ok && fflush(stdout) != 0)
		ok = error_set_errno(e, ERROR_SYSTEM, "writing to standard output");
	return ok;
}

static void
print_failure(const struct error *e)
{
	char text[2 * ERROR_TEXT_MAX];

	table_escape(e->text, text, sizeof text);
	(void)fprintf(stderr, PROGRAM ": %s\n", text);
}

int
cli_main(int argc, char **argv)
{
	struct options options;
	struct error e = ERROR_INIT;

	if (setlocale(LC_CTYPE, "") == NULL || MB_CUR_MAX == 1)
		(void)setlocale(LC_CTYPE, "C.UTF-8");
	if (!options_parse(argc, argv, &options, &e)) {
		print_failure(&e);
		return 2;
	}
	if (options.value[OPTION_VERSION] != NULL) {
		(void)printf(PROGRAM " " CHANCERY_VERSION "\n");
		return 0;
	}
	if (options.word_count > 0 && strcmp(options.words[0], "help") == 0) {
		print_help(stdout, options.word_count > 1 ? options.words[1] : NULL,
		    options.word_count > 2 ? options.words[2] : NULL);
		return 0;
	}
	if (options.value[OPTION_HELP] != NULL) {
		print_help(stdout, options.word_count > 0 ? options.words[0] : NULL,
		    options.word_count > 1 ? options.words[1] : NULL);
		return 0;
	}
	if (options.word_count == 0) {
		print_help(stderr, NULL, NULL);
		return 2;
	}
	if (run(&options, &e))
		return 0;
	print_failure(&e);
	return e.code == ERROR_USAGE ? 2 : 1;
}

/* ---------------------------------------------------------- for all commands */

void
cli_print_json(json_t *value)
{
	(void)json_dumpf(value, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY);
	(void)fputc('\n', stdout);
}

void
cli_say(const struct cli *cli, const char *fmt, ...)
{
	char raw[TABLE_CELL_MAX], text[2 * TABLE_CELL_MAX];
	va_list ap;

	if (cli->json)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(raw, sizeof raw, fmt, ap);
	va_end(ap);
	table_escape(raw, text, sizeof text);
	(void)printf("%s\n", text);
}

bool
cli_path(
    char *out, size_t size, const char *prefix, const char *name, const char *rest, struct error *e)
{
	char escaped[1024];

	if (!http_escape(name, escaped, sizeof escaped) || name[0] == '\0' ||
	    (size_t)snprintf(out, size, "%s%s%s", prefix, escaped, rest) >= size)
		return error_set(e, ERROR_USAGE, "a name on the command line is empty or too long");
	return true;
}

bool
cli_show_list(struct cli *cli, const char *path, const char *key,
    const struct table_column *columns, size_t count, const char *nothing, struct error *e)
{
	json_t *answer = NULL;

	if (!http_get(cli->http, path, &answer, e))
		return false;
	if (cli->json) {
		cli_print_json(answer);
	} else {
		table_print(stdout, json_object_get(answer, key), columns, count, nothing);
		if (json_is_string(json_object_get(answer, "next")))
			(void)printf("There are more; see --limit.\n");
	}
	json_decref(answer);
	return true;
}

bool
cli_show_object(struct cli *cli, const char *path, const struct table_column *fields, size_t count,
    struct error *e)
{
	json_t *answer = NULL;

	if (!http_get(cli->http, path, &answer, e))
		return false;
	if (cli->json)
		cli_print_json(answer);
	else
		table_print_object(stdout, answer, fields, count);
	json_decref(answer);
	return true;
}

bool
cli_read_file(const char *path, size_t max, char **text, size_t *len, struct error *e)
{
	int fd = strcmp(path, "-") == 0 ? dup(STDIN_FILENO) : open(path, O_RDONLY | O_CLOEXEC);
	char *buf = malloc(max + 2);
	size_t at = 0;
	ssize_t n = 0;
	bool ok = false;

	if (fd < 0 || buf == NULL) {
		error_set_errno(e, ERROR_INPUT, "%s cannot be opened", path);
		goto out;
	}
	while (at <= max && (n = read(fd, buf + at, max + 1 - at)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			error_set_errno(e, ERROR_INPUT, "%s cannot be read", path);
			goto out;
		}
		at += (size_t)n;
	}
	if (at > max) {
		error_set(e, ERROR_LIMIT, "%s is longer than %zu octets", path, max);
		goto out;
	}
	buf[at] = '\0';
	*text = buf;
	*len = at;
	buf = NULL;
	ok = true;
out:
	free(buf);
	if (fd >= 0)
		(void)close(fd);
	return ok;
}
