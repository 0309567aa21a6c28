#ifndef CHANCERY_CLI_OPTIONS_H
#define CHANCERY_CLI_OPTIONS_H

/*
 * The words and options of one command line. Options may stand before, between
 * or after the words; "--" ends them; "--name value" and "--name=value" mean
 * the same. An option's value is never empty, and is not taken for one when it
 * is itself the name of an option ("--ca --json").
 */

#include <stdbool.h>
#include <stddef.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

#define OPTIONS_WORDS_MAX 256
#define OPTIONS_ROLES_MAX 8
#define OPTIONS_REPEATS_MAX 64 /* of all repeatable options together, but --role */

enum option {
	OPTION_JSON,
	OPTION_SOCKET,
	OPTION_URL,
	OPTION_CLIENT_CERT,
	OPTION_CLIENT_KEY,
	OPTION_CA_FILE,
	OPTION_OPERATOR_KEY,
	OPTION_PASSPHRASE_FILE,
	OPTION_PASSPHRASE_FD,
	OPTION_HELP,
	OPTION_VERSION,
	OPTION_GLOBAL_COUNT, /* those above are taken by every command */
	OPTION_ADD_OPERATOR = OPTION_GLOBAL_COUNT,
	OPTION_ADOPT,
	OPTION_AFTER,
	OPTION_ALL,
	OPTION_ALSO_SIGN,
	OPTION_AT_DEVICE,
	OPTION_CA,
	OPTION_CHAIN,
	OPTION_CONFIG,
	OPTION_DELTA,
	OPTION_DER,
	OPTION_FOR,
	OPTION_FORCE,
	OPTION_FROM,
	OPTION_GENERATION,
	OPTION_IDEMPOTENCY_KEY,
	OPTION_IDLE,
	OPTION_IMPORT_ADCS,
	OPTION_KEY,
	OPTION_KEY_SHA256,
	OPTION_LABEL,
	OPTION_LIMIT,
	OPTION_LIMITS_OPERATOR,
	OPTION_NEED,
	OPTION_NEW_KEY,
	OPTION_NOT_AFTER,
	OPTION_OUT,
	OPTION_PIN_FD,
	OPTION_PARENT,
	OPTION_PARENT_CA,
	OPTION_PARENT_CERT,
	OPTION_PARENT_KEY,
	OPTION_PARENT_ROOTS,
	OPTION_PARENT_TEMPLATE,
	OPTION_POLICY,
	OPTION_QUORUM,
	OPTION_REASON,
	OPTION_INVALID_SINCE,
	OPTION_REMOVE_OPERATOR,
	OPTION_REMOVE_TEMPLATE,
	OPTION_ROLE,
	OPTION_SAME_KEY,
	OPTION_SHARE,
	OPTION_SIGNATURES,
	OPTION_SIGNER,
	OPTION_SIMULATE,
	OPTION_SOAK,
	OPTION_STATE,
	OPTION_SUMMARY,
	OPTION_TEMPLATE,
	OPTION_TLS,
	OPTION_TOKEN,
	OPTION_WHOLE_PIN,
	OPTION_WIPE,
	OPTION_COUNT,
};

struct options {
	const char *value[OPTION_COUNT]; /* of a flag: "" when given; NULL: absent */
	const char *roles[OPTIONS_ROLES_MAX];
	size_t role_count;
	struct {
		enum option which;
		const char *value;
	} repeats[OPTIONS_REPEATS_MAX]; /* in the order of the command line */
	size_t repeat_count;
	const char *words[OPTIONS_WORDS_MAX];
	size_t word_count;
};

/* Strings point into argv. ERROR_USAGE names the option and what is known. */
bool options_parse(int argc, char **argv, struct options *out, struct error *e) MUST_CHECK;

const char *option_name(enum option o);	    /* "json" */
const char *option_argument(enum option o); /* "PATH"; NULL for a flag */
const char *option_help(enum option o);	    /* one phrase */

/* The values of a repeatable option, one by one; *at starts as 0. NULL after the
 * last. */
const char *option_next(const struct options *o, enum option which, size_t *at);

/* An option's value as a whole number of min to max; fallback without it. */
bool option_number(const struct options *o, enum option which, long min, long max, long fallback,
    long *out, struct error *e) MUST_CHECK;

/* The option's value, or else the variable's of the environment unless empty,
 * or NULL. */
const char *option_or_variable(const struct options *o, enum option which, const char *variable);

/* The known word that looks most like the given one, or NULL when none does. */
const char *nearest_word(const char *word, const char *const *known, size_t count);

#endif
