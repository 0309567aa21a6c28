#ifndef CHANCERY_CLI_CLI_H
#define CHANCERY_CLI_CLI_H

/*
 * The command line: a table of commands, from which usage and help are made,
 * and what every command gets.
 *
 * Standard output carries what was asked for; sentences about failures, what is
 * about to be signed and hints go to standard error. Exit status: 0 done, 1
 * refused or failed, 2 wrong usage.
 *
 * The service is a stranger here: what it sends is checked for its type, never
 * reaches the terminal unescaped, and where the operator signs, is checked
 * against what was asked for.
 */

#include "daemon/cli/http.h"
#include "daemon/cli/options.h"
#include "daemon/cli/table.h"
#include "daemon/core/wire.h"

#define CLI_PATH_MAX 2048 /* octets of a path of the API, escaped */

struct cli {
	const struct options *options;
	/* The words after the command's own. */
	const char *const *words;
	size_t word_count;
	struct http *http;
	bool json;
	struct operator_key *key; /* unlocked at the first decision; see decision.h */
};

/* True when done; otherwise e says why (ERROR_USAGE: exit status 2). */
typedef bool cli_handler(struct cli *cli, struct error *e);

struct cli_command {
	const char *group, *verb; /* one or more words; NULL: the group is the whole command */
	const char *words;	  /* "NAME FILE", with options that must be given; "" for none */
	size_t words_min, words_max;
	const char *help;	 /* one phrase */
	enum option options[16]; /* its own */
	size_t option_count;
	cli_handler *run;
};

extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;

int cli_main(int argc, char **argv);

/* The command that the words name; *used is how many of them. ERROR_USAGE with
 * what it might have been. */
const struct cli_command *cli_find_command(
    const char *const *words, size_t count, size_t *used, struct error *e) MUST_CHECK;

/* Help on standard output: on everything, a group, or a command. */
bool cli_help(const char *const *words, size_t count, struct error *e) MUST_CHECK;
void cli_print_help(FILE *out);

/* ---- show.c */

/* What is listed from where. The filters --ca and --state and the page (--limit,
 * --after) are taken from the options. */
struct cli_list {
	const char *path;	      /* "/v1/cas", perhaps with a query */
	const char *key;	      /* of the array in the answer */
	const char *nothing;	      /* what to say instead of an empty table */
	unsigned limit;		      /* without --limit; 0: no pages */
	const char *id, *notes;	      /* paths in a row: sentences below the table; or NULL */
	void (*prepare)(json_t *row); /* adds what columns need to a row; or NULL */
	const struct table_column *columns;
	size_t count;
	const struct cli_list
	    *below; /* its key and columns: another table, if not empty; or NULL */
};

#define CLI_LIMIT_MAX 1000

/* Asks the API and prints: JSON as it came, or a table. */
bool cli_show_list(struct cli *cli, const struct cli_list *list, struct error *e) MUST_CHECK;

/* One object by lines. It is refused unless the member named by key is what
 * was asked for, letters' case aside; key NULL: nothing is asked. */
bool cli_show_object(struct cli *cli, const char *path, const char *key, const char *wanted,
    const struct table_column *fields, size_t count, struct error *e) MUST_CHECK;

/* GET of the object, with the same check; the answer is the caller's. */
bool cli_get_object(struct cli *cli, const char *path, const char *key, const char *wanted,
    json_t **answer, struct error *e) MUST_CHECK;

/* The text at key, or "". */
const char *cli_text(json_t *object, const char *key);
/* What stands at key in hexadecimal, in buf; none, or more than size: no octets. */
struct bytes cli_octets(json_t *object, const char *key, uint8_t *buf, size_t size);
/* The text in an answer, or NULL with ERROR_INTERNAL. */
const char *cli_member(json_t *answer, const char *key, struct error *e) MUST_CHECK;

/* The "id" in an answer, fit for a path: letters, digits and "-"; or NULL with
 * ERROR_INTERNAL. */
const char *cli_id(json_t *answer, struct error *e) MUST_CHECK;

/* Prints JSON with a final newline. */
void cli_print_json(json_t *value);
/* A sentence for a person on standard output; nothing with --json. */
void cli_say(const struct cli *cli, const char *fmt, ...) PRINTF(2, 3);
/* A line for a person on standard error, with or without --json. */
void cli_note(const char *fmt, ...) PRINTF(1, 2);

/* "/v1/cas/" and a name, escaped, and an optional rest ("/csr"). */
bool cli_path(char out[CLI_PATH_MAX], const char *prefix, const char *name, const char *rest,
    struct error *e) MUST_CHECK;

/* Puts "?key=value", or "&key=value", behind a path. */
bool cli_path_add(
    char path[CLI_PATH_MAX], const char *key, const char *value, struct error *e) MUST_CHECK;

/* ---- commands */

cli_handler cmd_ca_create, cmd_ca_list, cmd_ca_show, cmd_ca_generations, cmd_ca_rollover,
    cmd_ca_install_cross, cmd_ca_retire, cmd_ca_csr, cmd_ca_install, cmd_ca_renew;
cli_handler cmd_ca_limits_show, cmd_ca_limits_change, cmd_ca_locations;
cli_handler cmd_decision_list, cmd_decision_show, cmd_decision_sign, cmd_decision_withdraw;
cli_handler cmd_operator_init, cmd_operator_add, cmd_operator_list;
cli_handler cmd_request_submit, cmd_request_list, cmd_request_show, cmd_request_approve,
    cmd_request_deny, cmd_request_withdraw;
cli_handler cmd_cert_list, cmd_cert_show, cmd_cert_get, cmd_cert_revoke, cmd_cert_hold,
    cmd_cert_release;
cli_handler cmd_crl_issue, cmd_crl_show, cmd_crl_forecast;
cli_handler cmd_publish_status, cmd_publish_retry, cmd_publish_entries, cmd_clock_confirm;
cli_handler cmd_template_list, cmd_template_apply, cmd_template_show;
cli_handler cmd_signer_reseed;
cli_handler cmd_key_attest, cmd_key_list, cmd_key_import, cmd_key_adopt, cmd_key_destroy,
    cmd_token_probe;
cli_handler cmd_operator_pin_signer;
cli_handler cmd_token_list, cmd_token_unlock, cmd_token_split_pin, cmd_token_lock, cmd_token_clear;
cli_handler cmd_pin_list, cmd_pin_enter;
cli_handler cmd_token_status, cmd_status, cmd_doctor;

#endif
