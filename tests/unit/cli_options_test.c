/* The command line's words and options, the table of commands, the manual. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "daemon/cli/cli.h"

#define MANUAL "daemon/man/chancery.1"
#define ARGV_MAX 300

static struct options options;
static struct error err;

/* Parses words that are separated by blanks; "''" is the empty word. */
static bool
parse(const char *line)
{
	static char text[8192];
	char *argv[ARGV_MAX] = {(char *)"chancery"}, *save = NULL;
	int argc = 1;

	(void)snprintf(text, sizeof text, "%s", line);
	for (char *w = strtok_r(text, " ", &save); w != NULL; w = strtok_r(NULL, " ", &save)) {
		assert_true(argc < ARGV_MAX);
		argv[argc++] = strcmp(w, "''") == 0 ? (char *)"" : w;
	}
	err = ERROR_INIT;
	return options_parse(argc, argv, &options, &err);
}

static void
expect_refused(const char *line, const char *words)
{
	if (parse(line))
		fail_msg("taken: %s", line);
	assert_int_equal(err.code, ERROR_USAGE);
	if (strstr(err.text, words) == NULL)
		fail_msg("%s: %s", line, err.text);
}

static void
test_words_and_options_in_any_order(void **state)
{
	static const char *const lines[] = {"--json request list --state pending --limit 5",
	    "request --limit=5 list --state=pending --json",
	    "request list --json --limit 5 --state pending"};

	for (size_t i = 0; i < COUNT_OF(lines); i++) {
		assert_true(parse(lines[i]));
		assert_int_equal(options.word_count, 2);
		assert_string_equal(options.words[0], "request");
		assert_string_equal(options.words[1], "list");
		assert_string_equal(options.value[OPTION_STATE], "pending");
		assert_string_equal(options.value[OPTION_LIMIT], "5");
		assert_non_null(options.value[OPTION_JSON]);
		assert_null(options.value[OPTION_CA]);
	}
}

static void
test_values(void **state)
{
	assert_true(parse("--reason=a=b x"));
	assert_string_equal(options.value[OPTION_REASON], "a=b");
	assert_true(parse("--reason -5 x"));
	assert_string_equal(options.value[OPTION_REASON], "-5");
	assert_true(parse("--reason --really x"));
	assert_string_equal(options.value[OPTION_REASON], "--really");
	assert_true(parse("--reason=--json x"));
	assert_string_equal(options.value[OPTION_REASON], "--json");
	assert_null(options.value[OPTION_JSON]);
	assert_true(parse("request submit -"));
	assert_string_equal(options.words[2], "-");
	assert_true(parse("ca show -- --json"));
	assert_string_equal(options.words[2], "--json");
	assert_null(options.value[OPTION_JSON]);
	assert_true(parse("-h"));
	assert_non_null(options.value[OPTION_HELP]);
	assert_true(parse("--json --json status"));
}

static void
test_roles_repeat(void **state)
{
	char line[512] = "operator add x";

	assert_true(parse("operator add x --role manager --role=auditor"));
	assert_int_equal(options.role_count, 2);
	assert_string_equal(options.roles[0], "manager");
	assert_string_equal(options.roles[1], "auditor");
	for (int i = 0; i <= OPTIONS_ROLES_MAX; i++)
		strcat(line, " --role r");
	expect_refused(line, "more than 8 times");
}

static void
test_other_options_repeat(void **state)
{
	char line[2048] = "ca limits change x";
	size_t at = 0;

	assert_true(parse("ca create x --also-sign b --limits-operator=c=f --also-sign=d"));
	assert_string_equal(option_next(&options, OPTION_ALSO_SIGN, &at), "b");
	assert_string_equal(option_next(&options, OPTION_ALSO_SIGN, &at), "d");
	assert_null(option_next(&options, OPTION_ALSO_SIGN, &at));
	at = 0;
	assert_string_equal(option_next(&options, OPTION_LIMITS_OPERATOR, &at), "c=f");
	assert_null(option_next(&options, OPTION_LIMITS_OPERATOR, &at));
	at = 0;
	assert_null(option_next(&options, OPTION_ADD_OPERATOR, &at));
	for (int i = 0; i <= OPTIONS_REPEATS_MAX; i++)
		strcat(line, " --add-operator=x");
	expect_refused(line, "more than 64 repeated options");
	expect_refused("ca create x --template a --template b", "given twice");
}

static void
test_refusals(void **state)
{
	static const struct {
		const char *line, *words;
	} cases[] = {
	    {"--jsn status", "did you mean --json?"},
	    {"-json status", "did you mean --json?"},
	    {"--passphrasefile x", "did you mean --passphrase-file?"},
	    {"--xyzzy=3", "there is no option --xyzzy=3"},
	    {"-x", "there is no option -x"},
	    {"--=x", "there is no option"},
	    {"--json=yes status", "--json takes no value"},
	    {"--ca", "--ca needs a value: CA"},
	    {"--ca --json", "what follows is the option --json"},
	    {"--ca --template=x", "what follows is the option --template"},
	    {"--ca ''", "the value of --ca is empty"},
	    {"--ca=", "the value of --ca is empty"},
	    {"--ca a --ca b", "--ca is given twice"},
	};

	for (size_t i = 0; i < COUNT_OF(cases); i++)
		expect_refused(cases[i].line, cases[i].words);
}

static void
test_too_many_words(void **state)
{
	char line[4 * OPTIONS_WORDS_MAX + 8] = "";

	for (int i = 0; i < OPTIONS_WORDS_MAX; i++)
		strcat(line, "w ");
	assert_true(parse(line));
	strcat(line, "w ");
	expect_refused(line, "more than 256 words");
}

static void
test_numbers(void **state)
{
	static const char *const bad[] = {
	    "0", "1001", "-1", "+1", "1x", "x", "1.0", "0x10", "99999999999999999999999"};
	char line[64];
	long n;

	assert_true(parse("x"));
	assert_true(option_number(&options, OPTION_LIMIT, 1, 1000, 50, &n, &err));
	assert_int_equal(n, 50);
	assert_true(parse("--limit 1000"));
	assert_true(option_number(&options, OPTION_LIMIT, 1, 1000, 50, &n, &err));
	assert_int_equal(n, 1000);
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		(void)snprintf(line, sizeof line, "--limit=%s", bad[i]);
		assert_true(parse(line));
		assert_false(option_number(&options, OPTION_LIMIT, 1, 1000, 50, &n, &err));
		assert_int_equal(err.code, ERROR_USAGE);
	}
}

static void
test_option_before_variable(void **state)
{
	assert_int_equal(setenv("CHANCERY_TEST", "from-variable", 1), 0);
	assert_true(parse("--socket from-option"));
	assert_string_equal(
	    option_or_variable(&options, OPTION_SOCKET, "CHANCERY_TEST"), "from-option");
	assert_true(parse("x"));
	assert_string_equal(
	    option_or_variable(&options, OPTION_SOCKET, "CHANCERY_TEST"), "from-variable");
	assert_int_equal(setenv("CHANCERY_TEST", "", 1), 0);
	assert_null(option_or_variable(&options, OPTION_SOCKET, "CHANCERY_TEST"));
	assert_int_equal(unsetenv("CHANCERY_TEST"), 0);
	assert_null(option_or_variable(&options, OPTION_SOCKET, "CHANCERY_TEST"));
}

static void
test_nearest_word(void **state)
{
	static const char *const known[] = {"request", "cert", "crl", "ca"};
	char longer[200];

	assert_string_equal(nearest_word("reqest", known, 4), "request");
	assert_string_equal(nearest_word("requets", known, 4), "request");
	assert_string_equal(nearest_word("certs", known, 4), "cert");
	assert_null(nearest_word("frobnicate", known, 4));
	assert_null(nearest_word("x", known, 0));
	memset(longer, 'x', sizeof longer);
	longer[sizeof longer - 1] = '\0';
	assert_null(nearest_word(longer, known, 4));
}

/* ---------------------------------------------------------------- commands */

static void
expect_no_command(const char *line, const char *words)
{
	size_t used;

	assert_true(parse(line));
	if (cli_find_command(options.words, options.word_count, &used, &err) != NULL)
		fail_msg("found: %s", line);
	assert_int_equal(err.code, ERROR_USAGE);
	if (strstr(err.text, words) == NULL)
		fail_msg("%s: %s", line, err.text);
}

static void
test_commands_are_found(void **state)
{
	const struct cli_command *c;
	char line[64];
	size_t used;

	for (size_t i = 0; i < cli_command_count; i++) {
		(void)snprintf(line, sizeof line, "%s %s word", cli_commands[i].group,
		    cli_commands[i].verb != NULL ? cli_commands[i].verb : "word");
		assert_true(parse(line));
		c = cli_find_command(options.words, options.word_count, &used, &err);
		assert_ptr_equal(c, &cli_commands[i]);
		assert_int_equal(used, c->verb == NULL ? 1 : strchr(c->verb, ' ') != NULL ? 3 : 2);
	}
}

static void
test_mistyped_commands(void **state)
{
	expect_no_command("reqest list", "did you mean \"request\"?");
	expect_no_command("hlep", "did you mean \"help\"?");
	expect_no_command("xyzzy", "there is no command \"xyzzy\"");
	expect_no_command("''", "there is no command \"\"");
	expect_no_command("ca", "\"ca\" needs a further word: create, list, show, csr, install");
	expect_no_command("ca lst", "did you mean \"ca list\"?");
	expect_no_command("ca frobnicate", "one of create, list, show, csr, install");
	expect_no_command("ca limits", "\"ca limits\" needs a further word: show, change");
	expect_no_command("ca limits chnge", "\"ca limits\" needs a further word: show, change");
}

/* The handler of each command is called with as many words as it looks at. */
static void
test_table_is_sound(void **state)
{
	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = &cli_commands[i];

		assert_non_null(c->run);
		assert_true(c->words_min <= c->words_max);
		assert_true(c->words_max <= OPTIONS_WORDS_MAX);
		assert_int_equal(c->words[0] == '\0', c->words_max == 0);
		assert_true(c->option_count <= COUNT_OF(c->options));
		for (size_t k = 0; k < c->option_count; k++)
			assert_in_range(c->options[k], OPTION_GLOBAL_COUNT, OPTION_COUNT - 1);
	}
}

/* ------------------------------------------------------------------ manual */

static char *
read_manual(void)
{
	FILE *f = fopen(MANUAL, "r");
	char *text = calloc(1, 1 << 17);

	assert_non_null(f);
	assert_non_null(text);
	assert_true(fread(text, 1, (1 << 17) - 1, f) > 0);
	assert_int_equal(fclose(f), 0);
	return text;
}

static size_t
count(const char *text, const char *word)
{
	size_t n = 0;

	for (const char *p = text; (p = strstr(p, word)) != NULL; p++)
		n++;
	return n;
}

/* ".Ic ca create Ar NAME\n" as the manual has it: options that must be given, which the usage
 * has among the words, stand there with the others. */
static void
command_line_of(const struct cli_command *c, char *out, size_t size)
{
	const char *w = c->words, *more = strstr(w, " --");
	int len = (int)(more != NULL ? (size_t)(more - w) : strlen(w));
	char words[80] = "";

	if (w[0] == '[')
		(void)snprintf(words, sizeof words, " Op Ar %.*s", len - 2, w + 1);
	else if (len > 3 && strncmp(w + len - 3, "...", 3) == 0)
		(void)snprintf(words, sizeof words, " Ar %.*s ...", len - 3, w);
	else if (len > 0)
		(void)snprintf(words, sizeof words, " Ar %.*s", len, w);
	(void)snprintf(out, size, ".It Xo\n.Ic %s%s%s%s\n", c->group, c->verb != NULL ? " " : "",
	    c->verb != NULL ? c->verb : "", words);
}

/* Every command with its words and with its options, and no other. */
static void
test_manual_has_every_command(void **state)
{
	char *manual = read_manual(), head[160], option[96];

	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = &cli_commands[i];
		const char *at, *end;
		size_t lines = 0;

		command_line_of(c, head, sizeof head);
		at = strstr(manual, head);
		if (at == NULL)
			fail_msg(MANUAL " lacks\n%s", head);
		end = strstr(at, "\n.Xc\n");
		assert_non_null(end);
		for (size_t k = 0; k < c->option_count; k++) {
			enum option o = c->options[k];
			const char *found;

			(void)snprintf(option, sizeof option, "Fl -%s%s%s\n", option_name(o),
			    option_argument(o) != NULL ? " Ar " : "",
			    option_argument(o) != NULL ? option_argument(o) : "");
			found = strstr(at, option);
			if (found == NULL || found > end)
				fail_msg(MANUAL ": %s %s lacks %s", c->group,
				    c->verb != NULL ? c->verb : "", option);
		}
		for (const char *p = at + strlen(".It Xo\n"); p < end; p = strchr(p, '\n') + 1)
			lines++;
		assert_int_equal(lines, 1 + c->option_count);
	}
	assert_int_equal(count(manual, "\n.It Xo\n"), cli_command_count);
	free(manual);
}

static void
test_manual_has_every_option(void **state)
{
	char *manual = read_manual(), entry[96];

	for (int o = 0; o < OPTION_COUNT; o++) {
		(void)snprintf(entry, sizeof entry, "\n.It Fl -%s%s%s\n",
		    option_name((enum option)o),
		    option_argument((enum option)o) != NULL ? " Ar " : "",
		    option_argument((enum option)o) != NULL ? option_argument((enum option)o) : "");
		if (count(manual, entry) != 1)
			fail_msg(MANUAL " lacks%s", entry);
	}
	assert_int_equal(count(manual, "\n.It Fl -"), OPTION_COUNT);
	free(manual);
}

static void
test_manual_has_the_rest(void **state)
{
	static const char *const entries[] = {"\n.It Ev CHANCERY_SOCKET\n",
	    "\n.It Ev CHANCERY_OPERATOR_KEY\n", "\n.It Ev HOME\n",
	    "\n.It Pa " HTTP_SOCKET_DEFAULT "\n", "\n.It Pa ~/.config/chancery/operator.pem\n",
	    "\n.It 0\n", "\n.It 1\n", "\n.It 2\n", "\n.Sh EXAMPLES\n"};
	char *manual = read_manual();

	for (size_t i = 0; i < COUNT_OF(entries); i++) {
		if (strstr(manual, entries[i]) == NULL)
			fail_msg(MANUAL " lacks%s", entries[i]);
	}
	free(manual);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_words_and_options_in_any_order),
	    cmocka_unit_test(test_values),
	    cmocka_unit_test(test_roles_repeat),
	    cmocka_unit_test(test_other_options_repeat),
	    cmocka_unit_test(test_refusals),
	    cmocka_unit_test(test_too_many_words),
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_option_before_variable),
	    cmocka_unit_test(test_nearest_word),
	    cmocka_unit_test(test_commands_are_found),
	    cmocka_unit_test(test_mistyped_commands),
	    cmocka_unit_test(test_table_is_sound),
	    cmocka_unit_test(test_manual_has_every_command),
	    cmocka_unit_test(test_manual_has_every_option),
	    cmocka_unit_test(test_manual_has_the_rest),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
