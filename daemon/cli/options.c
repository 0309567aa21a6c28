#include "daemon/cli/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name, *argument, *help;
	bool repeatable;
} options[OPTION_COUNT] = {
    [OPTION_JSON] = {"json", NULL, "write JSON instead of tables and sentences"},
    [OPTION_SOCKET] = {"socket", "PATH", "the service's Unix socket ($CHANCERY_SOCKET)"},
    [OPTION_URL] = {"url", "URL", "the service from afar: https://host:port"},
    [OPTION_CLIENT_CERT] = {"client-cert", "FILE", "client certificate for --url, PEM"},
    [OPTION_CLIENT_KEY] = {"client-key", "FILE", "its key, PEM"},
    [OPTION_CA_FILE] = {"ca-file", "FILE", "roots that the service's certificate must lead to"},
    [OPTION_OPERATOR_KEY] = {"operator-key", "FILE", "your key ($CHANCERY_OPERATOR_KEY)"},
    [OPTION_PASSPHRASE_FILE] = {"passphrase-file", "FILE", "its passphrase, from a 0600 file"},
    [OPTION_PASSPHRASE_FD] = {"passphrase-fd", "N", "its passphrase, from an open descriptor"},
    [OPTION_HELP] = {"help", NULL, "show help"},
    [OPTION_VERSION] = {"version", NULL, "show the version"},
    [OPTION_ADD_OPERATOR] = {"add-operator", "PERSON[:RIGHTS]",
	"a person to be named, with limits,decide or one of them (decide); repeatable", true},
    [OPTION_ADOPT] = {"adopt", "FILE",
	"take over the key of this certificate, which is on the token already"},
    [OPTION_AFTER] = {"after", "ID", "go on behind what the page before ended with"},
    [OPTION_ALL] = {"all", NULL, "everything that waits"},
    [OPTION_ALSO_SIGN] = {"also-sign", "FILE",
	"another operator's key, whose owner signs at this desk; repeatable", true},
    [OPTION_AT_DEVICE] = {"at-device", NULL,
	"send no PIN: the token asks for it at its own device"},
    [OPTION_CA] = {"ca", "CA", "the CA's name"},
    [OPTION_CHAIN] = {"chain", NULL, "with the CA certificates above it"},
    [OPTION_CONFIG] = {"config", "FILE", "the configuration of this host, chanceryd.conf(5)"},
    [OPTION_DELTA] = {"delta", NULL, "a delta CRL"},
    [OPTION_DER] = {"der", NULL, "DER instead of PEM"},
    [OPTION_FOR] = {"for", "TIME", "how long, such as 4h (4h)"},
    [OPTION_FORCE] = {"force", NULL, "overwrite an existing key"},
    [OPTION_FROM] = {"from", "HOST",
	"look where clients look from that host, by its issuer: its name or number"},
    [OPTION_GENERATION] = {"generation", "N", "one of its generations; without, the whole CA"},
    [OPTION_IDEMPOTENCY_KEY] = {"idempotency-key", "KEY", "a repeat gets the first answer"},
    [OPTION_IDLE] = {"idle", "TIME", "locked again after so long without a signature (30m)"},
    [OPTION_IMPORT_ADCS] = {"import-adcs", "FILE",
	"locations from AD CS, as certutil or PowerShell has them (\"-\": standard input)"},
    [OPTION_KEY] = {"key", "FILE", "public key, PEM (default: your own operator key's)"},
    [OPTION_KEY_SHA256] = {"key-sha256", "HEX", "one of the CA's keys"},
    [OPTION_LABEL] = {"label", "TEXT", "the key's label on the token"},
    [OPTION_LIMIT] = {"limit", "N", "at most so many rows, 1 to 1000"},
    [OPTION_LIMITS_OPERATOR] = {"limits-operator", "PERSON=FILE",
	"that person's key for the limits, from a file; repeatable", true},
    [OPTION_NEED] = {"need", "N", "so many of the operators have to come together"},
    [OPTION_NEW_KEY] = {"new-key", NULL, "with a new key"},
    [OPTION_NOT_AFTER] = {"not-after", "TIME",
	"when the limits end: 2046-11-22T12:00:00Z, or a time from now on such as 20y"},
    [OPTION_OUT] = {"out", "FILE", "write there instead of standard output"},
    [OPTION_PIN_FD] = {"pin-fd", "N", "the PIN, from an open descriptor"},
    [OPTION_PARENT] = {"parent", "URL",
	"the parent's service, which is to issue: https://host:port, or its Unix socket"},
    [OPTION_PARENT_CA] = {"parent-ca", "CA", "the CA there"},
    [OPTION_PARENT_CERT] = {"parent-cert", "FILE", "client certificate for --parent, PEM"},
    [OPTION_PARENT_KEY] = {"parent-key", "FILE", "its key, PEM"},
    [OPTION_PARENT_ROOTS] = {"parent-roots", "FILE",
	"roots that the parent's service must lead to"},
    [OPTION_PARENT_TEMPLATE] = {"parent-template", "NAME", "the template there (sub-ca)"},
    [OPTION_POLICY] = {"policy", "FILE", "the CA's policy, chancery-ca-policy(5)"},
    [OPTION_QUORUM] = {"quorum", "N", "how many persons must sign the next change"},
    [OPTION_INVALID_SINCE] = {"invalid-since", "TIME",
	"since when a revoked certificate was not to be trusted (invalidityDate)"},
    [OPTION_REASON] = {"reason", "TEXT", "why; of a revocation a CRL reason such as keyCompromise"},
    [OPTION_REMOVE_OPERATOR] = {"remove-operator", "PERSON",
	"a person no longer to be named; repeatable", true},
    [OPTION_REMOVE_TEMPLATE] = {"remove-template", "NAME",
	"a template no longer to be known; repeatable", true},
    [OPTION_ROLE] = {"role", "ROLE", "administrator, manager, auditor, submitter; repeatable"},
    [OPTION_SAME_KEY] = {"same-key", NULL, "with the key that the CA has"},
    [OPTION_SHARE] = {"share", "FILE", "your share of a PIN that was split, from its document"},
    [OPTION_SIGNATURES] = {"signatures", "N", "locked again after so many signatures"},
    [OPTION_SIGNER] = {"signer", "N", "the signer's id, where several have the token"},
    [OPTION_SIMULATE] = {"simulate", NULL, "also for a renewal, with the same and with a new key"},
    [OPTION_SOAK] = {"soak", "SECONDS", "go on signing for so long, through outages"},
    [OPTION_STATE] = {"state", "STATE", "only those in that state"},
    [OPTION_SUMMARY] = {"summary", NULL,
	"believe the signer about long CRLs, instead of fetching them"},
    [OPTION_TEMPLATE] = {"template", "NAME", "the template's name"},
    [OPTION_TLS] = {"tls", NULL, "the key is of a TLS client certificate, not an operator's"},
    [OPTION_TOKEN] = {"token", "TOKEN", "only that token"},
    [OPTION_WHOLE_PIN] = {"whole-pin", NULL, "ask for the PIN, although it was split"},
    [OPTION_WIPE] = {"wipe", NULL, "overwrite and remove the file when the key is on the token"},
};

const char *
option_name(enum option o)
{
	return options[o].name;
}

const char *
option_argument(enum option o)
{
	return options[o].argument;
}

const char *
option_help(enum option o)
{
	return options[o].help;
}

/* ---------------------------------------------------------------- spelling */

#define WORD_MAX 32

/* Levenshtein distance; words beyond WORD_MAX are as far as can be. */
static size_t
distance(const char *a, const char *b)
{
	size_t row[WORD_MAX + 1], la = strlen(a), lb = strlen(b);

	if (la > WORD_MAX || lb > WORD_MAX)
		return WORD_MAX;
	for (size_t j = 0; j <= lb; j++)
		row[j] = j;
	for (size_t i = 1; i <= la; i++) {
		size_t diagonal = row[0];

		row[0] = i;
		for (size_t j = 1; j <= lb; j++) {
			size_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[lb];
}

const char *
nearest_word(const char *word, const char *const *known, size_t count)
{
	const char *best = NULL;
	size_t least = 3; /* more than two mistakes is another word */

	for (size_t i = 0; i < count; i++) {
		size_t d = distance(word, known[i]);

		if (d < least && d < strlen(known[i])) {
			least = d;
			best = known[i];
		}
	}
	return best;
}

/* ------------------------------------------------------------------- parse */

static bool
unknown_option(const char *arg, struct error *e)
{
	const char *known[OPTION_COUNT], *near, *name = arg + strspn(arg, "-");
	size_t len = strcspn(name, "=");
	char word[WORD_MAX + 1] = "";

	for (size_t i = 0; i < OPTION_COUNT; i++)
		known[i] = options[i].name;
	strncat(word, name, len < WORD_MAX ? len : WORD_MAX);
	near = nearest_word(word, known, OPTION_COUNT);
	return error_set(e, ERROR_USAGE,
	    "there is no option %.80s%s%s%s \"chancery help\" lists all", arg,
	    near != NULL ? ", did you mean --" : "", near != NULL ? near : "",
	    near != NULL ? "?" : ";");
}

static bool
find_option(const char *arg, enum option *found, const char **value)
{
	size_t len = strcspn(arg + 2, "=");

	for (size_t i = 0; i < OPTION_COUNT; i++) {
		if (strlen(options[i].name) == len && strncmp(arg + 2, options[i].name, len) == 0) {
			*found = (enum option)i;
			*value = arg[2 + len] == '=' ? arg + 3 + len : NULL;
			return true;
		}
	}
	return false;
}

static bool
take_value(struct options *out, enum option o, const char *value, struct error *e)
{
	if (o == OPTION_ROLE) {
		if (out->role_count == OPTIONS_ROLES_MAX)
			return error_set(e, ERROR_USAGE, "--role is given more than %d times",
			    OPTIONS_ROLES_MAX);
		out->roles[out->role_count++] = value;
	} else if (options[o].repeatable) {
		if (out->repeat_count == OPTIONS_REPEATS_MAX)
			return error_set(e, ERROR_USAGE,
			    "more than %d repeated options on the command line",
			    OPTIONS_REPEATS_MAX);
		out->repeats[out->repeat_count].which = o;
		out->repeats[out->repeat_count++].value = value;
	} else if (out->value[o] != NULL && options[o].argument != NULL) {
		return error_set(e, ERROR_USAGE, "--%s is given twice", options[o].name);
	}
	out->value[o] = value;
	return true;
}

static bool
take_option(char **argv, int argc, int *i, struct options *out, struct error *e)
{
	const char *arg = argv[*i], *value;
	enum option o;

	if (strcmp(arg, "-h") == 0)
		return take_value(out, OPTION_HELP, "", e);
	if (arg[1] != '-' || !find_option(arg, &o, &value))
		return unknown_option(arg, e);
	if (options[o].argument == NULL) {
		if (value != NULL)
			return error_set(e, ERROR_USAGE, "--%s takes no value", options[o].name);
		return take_value(out, o, "", e);
	}
	if (value == NULL) {
		enum option other;
		const char *rest;

		if (*i + 1 == argc)
			return error_set(e, ERROR_USAGE, "--%s needs a value: %s", options[o].name,
			    options[o].argument);
		value = argv[++*i];
		/* A forgotten value, most likely; --name=--value says otherwise. */
		if (strncmp(value, "--", 2) == 0 && find_option(value, &other, &rest))
			return error_set(e, ERROR_USAGE,
			    "--%s needs a value: %s, and what follows is the option --%s",
			    options[o].name, options[o].argument, options[other].name);
	}
	if (value[0] == '\0')
		return error_set(e, ERROR_USAGE, "the value of --%s is empty; it needs: %s",
		    options[o].name, options[o].argument);
	return take_value(out, o, value, e);
}

bool
options_parse(int argc, char **argv, struct options *out, struct error *e)
{
	bool only_words = false;

	*out = (struct options){0};
	for (int i = 1; i < argc; i++) {
		if (!only_words && strcmp(argv[i], "--") == 0) {
			only_words = true;
		} else if (!only_words && argv[i][0] == '-' && argv[i][1] != '\0') {
			if (!take_option(argv, argc, &i, out, e))
				return false;
		} else if (out->word_count == OPTIONS_WORDS_MAX) {
			return error_set(e, ERROR_USAGE, "more than %d words on the command line",
			    OPTIONS_WORDS_MAX);
		} else {
			out->words[out->word_count++] = argv[i];
		}
	}
	return true;
}

const char *
option_next(const struct options *o, enum option which, size_t *at)
{
	while (*at < o->repeat_count) {
		size_t i = (*at)++;

		if (o->repeats[i].which == which)
			return o->repeats[i].value;
	}
	return NULL;
}

bool
option_number(const struct options *o, enum option which, long min, long max, long fallback,
    long *out, struct error *e)
{
	const char *text = o->value[which];
	char *end;

	*out = fallback;
	if (text == NULL)
		return true;
	errno = 0;
	*out = strtol(text, &end, 10);
	if (text[strspn(text, "0123456789")] != '\0' || *end != '\0' || errno != 0 || *out < min ||
	    *out > max)
		return error_set(e, ERROR_USAGE,
		    "--%s is a whole number of %ld to %ld, not \"%.40s\"", option_name(which), min,
		    max, text);
	return true;
}

const char *
option_or_variable(const struct options *o, enum option which, const char *variable)
{
	const char *value = o->value[which];

	if (value == NULL)
		value = getenv(variable);
	return value != NULL && value[0] != '\0' ? value : NULL;
}
