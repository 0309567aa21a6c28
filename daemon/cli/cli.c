#include "daemon/cli/cli.h"

#include <stdio.h>
#include <string.h>

#include "daemon/cli/decision.h"
#include "daemon/cli/secret.h"

#define PROGRAM "chancery"

#define OWN(...) {__VA_ARGS__}, sizeof((enum option[]){__VA_ARGS__}) / sizeof(enum option)
#define NO_OWN {OPTION_COUNT}, 0

const struct cli_command cli_commands[] = {
    {"ca", "create", "NAME --policy FILE", 1, 1, "make a CA: key on the token, certificate or CSR",
	OWN(OPTION_POLICY, OPTION_ADOPT, OPTION_LIMITS_OPERATOR, OPTION_ALSO_SIGN, OPTION_PARENT,
	    OPTION_PARENT_CA, OPTION_PARENT_TEMPLATE, OPTION_PARENT_CERT, OPTION_PARENT_KEY,
	    OPTION_PARENT_ROOTS),
	cmd_ca_create},
    {"ca", "list", "", 0, 0, "CAs by name", OWN(OPTION_LIMIT, OPTION_AFTER), cmd_ca_list},
    {"ca", "show", "NAME", 1, 1, "one CA", NO_OWN, cmd_ca_show},
    {"ca", "csr", "NAME", 1, 1, "its CSR, PEM", OWN(OPTION_OUT), cmd_ca_csr},
    {"ca", "install", "NAME [FILE...]", 1, 9, "install its certificate with the chain",
	OWN(OPTION_ALSO_SIGN, OPTION_PARENT, OPTION_PARENT_CA, OPTION_PARENT_TEMPLATE,
	    OPTION_PARENT_CERT, OPTION_PARENT_KEY, OPTION_PARENT_ROOTS),
	cmd_ca_install},
    {"ca", "renew", "NAME --same-key|--new-key", 1, 1, "begin the renewal of its certificate",
	OWN(OPTION_SAME_KEY, OPTION_NEW_KEY, OPTION_POLICY, OPTION_NOT_AFTER, OPTION_ADD_OPERATOR,
	    OPTION_REMOVE_OPERATOR, OPTION_LIMITS_OPERATOR, OPTION_ALSO_SIGN, OPTION_PARENT,
	    OPTION_PARENT_CA, OPTION_PARENT_TEMPLATE, OPTION_PARENT_CERT, OPTION_PARENT_KEY,
	    OPTION_PARENT_ROOTS),
	cmd_ca_renew},
    {"ca", "rollover", "NAME", 1, 1, "have a root's old and new key vouch for each other",
	OWN(OPTION_ALSO_SIGN), cmd_ca_rollover},
    {"ca", "install-cross", "NAME FILE...", 2, 9, "hand out by what a CA elsewhere vouches for it",
	NO_OWN, cmd_ca_install_cross},
    {"ca", "retire", "NAME", 1, 1, "have it, or one of its keys, sign no certificate any more",
	OWN(OPTION_GENERATION, OPTION_ALSO_SIGN), cmd_ca_retire},
    {"ca", "generations", "NAME", 1, 1, "its certificates and keys, newest first", NO_OWN,
	cmd_ca_generations},
    {"ca", "limits show", "NAME", 1, 1, "the limits of its key, as operators signed them",
	OWN(OPTION_KEY_SHA256), cmd_ca_limits_show},
    {"ca", "limits change", "NAME", 1, 1, "change them; shows the difference before it is signed",
	OWN(OPTION_POLICY, OPTION_TEMPLATE, OPTION_ADD_OPERATOR, OPTION_REMOVE_OPERATOR,
	    OPTION_LIMITS_OPERATOR, OPTION_QUORUM, OPTION_NOT_AFTER, OPTION_REMOVE_TEMPLATE,
	    OPTION_KEY_SHA256, OPTION_ALSO_SIGN),
	cmd_ca_limits_change},
    {"ca", "locations", "[CA]", 0, 1, "the address of each artifact, and what is wrong with it",
	OWN(OPTION_POLICY, OPTION_SIMULATE, OPTION_IMPORT_ADCS), cmd_ca_locations},
    {"decision", "list", "", 0, 0, "decisions, newest first",
	OWN(OPTION_STATE, OPTION_LIMIT, OPTION_AFTER), cmd_decision_list},
    {"decision", "show", "ID", 1, 1, "one decision: what it says, who signed, who is missing",
	NO_OWN, cmd_decision_show},
    {"decision", "sign", "ID", 1, 1, "sign what others signed", OWN(OPTION_ALSO_SIGN),
	cmd_decision_sign},
    {"decision", "withdraw", "ID", 1, 1, "take back what still waits for signatures", NO_OWN,
	cmd_decision_withdraw},
    {"operator", "init", "", 0, 0, "make your operator key", OWN(OPTION_FORCE), cmd_operator_init},
    {"operator", "add", "NAME --role ROLE", 1, 1, "register a person's key and roles",
	OWN(OPTION_ROLE, OPTION_KEY, OPTION_TLS), cmd_operator_add},
    {"operator", "list", "", 0, 0, "persons, roles and keys", OWN(OPTION_LIMIT, OPTION_AFTER),
	cmd_operator_list},
    {"operator", "pin-signer", "TOKEN FINGERPRINT", 2, 2,
	"know the token's signer by what its console shows", OWN(OPTION_SIGNER, OPTION_FORCE),
	cmd_operator_pin_signer},
    {"pin", "list", "", 0, 0, "what waits until somebody enters a PIN",
	OWN(OPTION_TOKEN, OPTION_LIMIT, OPTION_AFTER), cmd_pin_list},
    {"pin", "enter", "[ID...]", 0, OPTIONS_WORDS_MAX, "see what waits, and let it be signed",
	OWN(OPTION_ALL, OPTION_TOKEN, OPTION_PIN_FD, OPTION_AT_DEVICE, OPTION_SHARE,
	    OPTION_WHOLE_PIN, OPTION_SUMMARY),
	cmd_pin_enter},
    {"request", "submit", "FILE --ca CA --template NAME", 1, 1,
	"submit a CSR, PEM or DER (\"-\": standard input)",
	OWN(OPTION_CA, OPTION_TEMPLATE, OPTION_IDEMPOTENCY_KEY), cmd_request_submit},
    {"request", "list", "", 0, 0, "requests, newest first",
	OWN(OPTION_STATE, OPTION_CA, OPTION_LIMIT, OPTION_AFTER), cmd_request_list},
    {"request", "show", "ID", 1, 1, "one request", NO_OWN, cmd_request_show},
    {"request", "approve", "ID...", 1, OPTIONS_WORDS_MAX, "have the certificates issued",
	OWN(OPTION_REASON), cmd_request_approve},
    {"request", "deny", "ID... --reason TEXT", 1, OPTIONS_WORDS_MAX, "decide against requests",
	OWN(OPTION_REASON), cmd_request_deny},
    {"request", "withdraw", "ID", 1, 1, "take a request back", NO_OWN, cmd_request_withdraw},
    {"cert", "list", "", 0, 0, "certificates, newest first",
	OWN(OPTION_CA, OPTION_LIMIT, OPTION_AFTER), cmd_cert_list},
    {"cert", "show", "REF", 1, 1, "one certificate: by serial number, SHA-256 or request id",
	NO_OWN, cmd_cert_show},
    {"cert", "get", "REF", 1, 1, "the certificate itself",
	OWN(OPTION_CHAIN, OPTION_DER, OPTION_OUT), cmd_cert_get},
    {"cert", "revoke", "REF --reason TEXT", 1, 1, "revoke for good",
	OWN(OPTION_REASON, OPTION_INVALID_SINCE), cmd_cert_revoke},
    {"cert", "hold", "REF", 1, 1, "suspend", NO_OWN, cmd_cert_hold},
    {"cert", "release", "REF", 1, 1, "end a suspension", NO_OWN, cmd_cert_release},
    {"crl", "issue", "CA", 1, 1, "issue a CRL now", OWN(OPTION_DELTA), cmd_crl_issue},
    {"crl", "show", "CA", 1, 1, "the CRLs of a CA, newest first", OWN(OPTION_LIMIT, OPTION_AFTER),
	cmd_crl_show},
    {"crl", "forecast", "[CA]", 0, 1, "the next CRLs, when and how large", NO_OWN,
	cmd_crl_forecast},
    {"clock", "confirm", "", 0, 0, "the clock is right: sign again after it jumped", NO_OWN,
	cmd_clock_confirm},
    {"publish", "status", "[CA]", 0, 1, "what is published where", OWN(OPTION_LIMIT, OPTION_AFTER),
	cmd_publish_status},
    {"publish", "retry", "ID", 1, 1, "try a publication again now", NO_OWN, cmd_publish_retry},
    {"publish", "entries", "CA", 1, 1, "have earlier certificates put into directory entries",
	NO_OWN, cmd_publish_entries},
    {"template", "list", "", 0, 0, "templates by name", OWN(OPTION_LIMIT, OPTION_AFTER),
	cmd_template_list},
    {"template", "apply", "FILE", 1, 1, "make this the template's newest version", NO_OWN,
	cmd_template_apply},
    {"template", "show", "NAME", 1, 1, "a template's newest version", NO_OWN, cmd_template_show},
    {"token", "list", "", 0, 0, "the tokens, and who let them sign for how long", NO_OWN,
	cmd_token_list},
    {"token", "unlock", "TOKEN", 1, 1, "let the token sign for a time, with your PIN",
	OWN(OPTION_FOR, OPTION_IDLE, OPTION_SIGNATURES, OPTION_SIGNER, OPTION_PIN_FD,
	    OPTION_AT_DEVICE, OPTION_SHARE, OPTION_WHOLE_PIN),
	cmd_token_unlock},
    {"token", "split-pin", "OPERATOR OPERATOR... --need N", 2, OPTIONS_WORDS_MAX,
	"set a PIN that nobody knows, and give each of them a share",
	OWN(OPTION_NEED, OPTION_TOKEN, OPTION_SIGNER, OPTION_PIN_FD, OPTION_SHARE,
	    OPTION_WHOLE_PIN),
	cmd_token_split_pin},
    {"token", "lock", "TOKEN", 1, 1, "end that at once", OWN(OPTION_SIGNER), cmd_token_lock},
    {"token", "clear", "TOKEN", 1, 1, "allow PINs again after one was wrong", OWN(OPTION_SIGNER),
	cmd_token_clear},
    {"token", "status", "", 0, 0, "the tokens that CAs sign with", NO_OWN, cmd_token_status},
    {"token", "probe", "TOKEN", 1, 1, "what a token can do, by trial, at its host's console",
	OWN(OPTION_CONFIG, OPTION_SOAK, OPTION_PIN_FD), cmd_token_probe},
    {"key", "attest", "CA [CERTIFICATE]", 1, 2, "proof that a CA's key is on its token",
	OWN(OPTION_OUT), cmd_key_attest},
    {"key", "list", "TOKEN", 1, 1, "the keys on a token, at its host's console",
	OWN(OPTION_CONFIG, OPTION_PIN_FD), cmd_key_list},
    {"key", "import", "TOKEN FILE", 2, 2,
	"a PKCS#12 file's key into a token, at its host's console",
	OWN(OPTION_CONFIG, OPTION_LABEL, OPTION_WIPE, OPTION_PIN_FD), cmd_key_import},
    {"key", "adopt", "TOKEN SHA256", 2, 2, "agree at the console that limits take a key over",
	OWN(OPTION_CONFIG), cmd_key_adopt},
    {"key", "destroy", "TOKEN SHA256", 2, 2,
	"destroy a key: at the console, or with --ca by operators' order",
	OWN(OPTION_CONFIG, OPTION_LABEL, OPTION_CA, OPTION_ALSO_SIGN, OPTION_PIN_FD),
	cmd_key_destroy},
    {"signer", "reseed", "TOKEN", 1, 1, "say where a signer goes on whose journal is closed",
	OWN(OPTION_SIGNER, OPTION_CA, OPTION_KEY_SHA256, OPTION_ALSO_SIGN), cmd_signer_reseed},
    {"status", NULL, "", 0, 0, "the service at a glance", NO_OWN, cmd_status},
    {"doctor", NULL, "[CA]", 0, 1, "what is wrong, here and where clients look", OWN(OPTION_FROM),
	cmd_doctor},
};
const size_t cli_command_count = COUNT_OF(cli_commands);

/* ------------------------------------------------------------------ choice */

#define WORDS_MAX 64

/* How many words the command's verb is ("limits show" is two), if the words
 * behind its group are those; otherwise 0. */
static size_t
match_verb(const struct cli_command *c, const char *const *words, size_t count)
{
	const char *at = c->verb;
	size_t used = 0;

	for (;;) {
		size_t len = strcspn(at, " ");

		if (used == count || strlen(words[used]) != len ||
		    strncmp(words[used], at, len) != 0)
			return 0;
		used++;
		if (at[len] == '\0')
			return used;
		at += len + 1;
	}
}

/* What the word might have been: another command's group, or a verb of the group. */
static const char *
near_word(const char *group, const char *word)
{
	const char *known[WORDS_MAX];
	size_t n = 0;

	if (group == NULL)
		known[n++] = "help";
	for (size_t i = 0; i < cli_command_count && n < WORDS_MAX; i++) {
		const struct cli_command *c = &cli_commands[i];

		if (group == NULL)
			known[n++] = c->group;
		else if (strcmp(c->group, group) == 0 && c->verb != NULL)
			known[n++] = c->verb;
	}
	return nearest_word(word, known, n);
}

/* "list, show": all verbs of a group, or what stands behind the first word of
 * those that have two. False: none. */
static bool
list_verbs(const char *group, const char *first, char *out, size_t size)
{
	size_t at = 0, len = strlen(first);

	out[0] = '\0';
	for (size_t i = 0; i < cli_command_count && at < size; i++) {
		const struct cli_command *c = &cli_commands[i];

		if (strcmp(c->group, group) != 0 || c->verb == NULL ||
		    strncmp(c->verb, first, len) != 0 || (len > 0 && c->verb[len] != ' '))
			continue;
		at += (size_t)snprintf(
		    out + at, size - at, "%s%s", at > 0 ? ", " : "", c->verb + len + (len > 0));
	}
	return at > 0;
}

static void
unknown_command(const char *group, const char *verb, bool group_known, struct error *e)
{
	const char *near = group_known ? (verb != NULL ? near_word(group, verb) : NULL)
				       : near_word(NULL, group);
	char verbs[240];

	if (group_known && verb != NULL && verb[0] != '\0' &&
	    list_verbs(group, verb, verbs, sizeof verbs)) {
		error_set(e, ERROR_USAGE, "\"%s %s\" needs a further word: %s", group, verb, verbs);
		return;
	}
	if (group_known) {
		(void)list_verbs(group, "", verbs, sizeof verbs);
		if (verb == NULL)
			error_set(e, ERROR_USAGE, "\"%s\" needs a further word: %s", group, verbs);
		else if (near != NULL)
			error_set(e, ERROR_USAGE,
			    "there is no command \"%s %.40s\", did you mean \"%s %s\"?", group,
			    verb, group, near);
		else
			error_set(e, ERROR_USAGE,
			    "there is no command \"%s %.40s\"; behind \"%s\" stands one of %s",
			    group, verb, group, verbs);
		return;
	}
	error_set(e, ERROR_USAGE,
	    "there is no command \"%.40s\"%s%s%s \"" PROGRAM " help\" lists all", group,
	    near != NULL ? ", did you mean \"" : "", near != NULL ? near : "",
	    near != NULL ? "\"?" : ";");
}

const struct cli_command *
cli_find_command(const char *const *words, size_t count, size_t *used, struct error *e)
{
	bool group_known = false;

	for (size_t i = 0; i < cli_command_count; i++) {
		const struct cli_command *c = &cli_commands[i];

		if (strcmp(c->group, words[0]) != 0)
			continue;
		group_known = true;
		*used = 1 + (c->verb != NULL ? match_verb(c, words + 1, count - 1) : 0);
		if (c->verb == NULL || *used > 1)
			return c;
	}
	unknown_command(words[0], count > 1 ? words[1] : NULL, group_known, e);
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
		return error_set(e, ERROR_USAGE,
		    "usage: " PROGRAM " %s%s%s%s%s; \"" PROGRAM " help %s%s%s\" says more",
		    c->group, gap, verb, c->words[0] != '\0' ? " " : "",
		    c->words[0] != '\0' ? c->words : " (and no further words)", c->group, gap,
		    verb);
	return true;
}

static bool
run(const struct options *options, struct error *e)
{
	struct cli cli = {.options = options, .json = options->value[OPTION_JSON] != NULL};
	const struct cli_command *command;
	size_t used;
	bool ok;

	command = cli_find_command(options->words, options->word_count, &used, e);
	if (command == NULL || !check_usage(command, options, options->word_count - used, e) ||
	    !secret_check_options(options, e))
		return false;
	cli.words = options->words + used;
	cli.word_count = options->word_count - used;
	cli.http = http_open(options, e);
	ok = cli.http != NULL && command->run(&cli, e);
	decision_lock(&cli);
	http_close(cli.http);
	return ok;
}

static int
fail(const struct error *e)
{
	cli_note(PROGRAM ": %s", e->text);
	return e->code == ERROR_USAGE ? 2 : 1;
}

static bool
is_help(const struct options *o, size_t i)
{
	return i < o->word_count && strcmp(o->words[i], "help") == 0;
}

/* "help ca", "ca help", "ca --help": the words that help is asked for. NULL
 * when it is not. */
static const char *const *
asks_for_help(const struct options *o, size_t *count)
{
	size_t before = is_help(o, 0), behind = o->word_count == 2 && is_help(o, 1);

	*count = o->word_count - before - behind;
	return before + behind > 0 || o->value[OPTION_HELP] != NULL ? o->words + before : NULL;
}

int
cli_main(int argc, char **argv)
{
	const char *const *about;
	struct options options;
	struct error e = ERROR_INIT;
	size_t count;

	table_choose_locale();
	if (!options_parse(argc, argv, &options, &e))
		return fail(&e);
	about = asks_for_help(&options, &count);
	if (options.value[OPTION_VERSION] != NULL) {
		(void)printf(PROGRAM " " CHANCERY_VERSION "\n");
	} else if (about != NULL) {
		if (!cli_help(about, count, &e))
			return fail(&e);
	} else if (options.word_count == 0) {
		cli_print_help(stderr);
		return 2;
	} else if (!run(&options, &e)) {
		(void)fflush(stdout);
		return fail(&e);
	}
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	error_set_errno(&e, ERROR_SYSTEM, "writing to standard output");
	return fail(&e);
}
