#ifndef CHANCERY_CLI_CLI_H
#define CHANCERY_CLI_CLI_H

/*
 * The command line: a table of commands, from which usage and help are made,
 * and what every command gets.
 *
 * Exit status: 0 done, 1 refused or failed, 2 wrong usage.
 */

#include "daemon/cli/http.h"
#include "daemon/cli/options.h"
#include "daemon/cli/table.h"

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
	const char *group, *verb; /* verb NULL: the group is the whole command */
	const char *words;	  /* "NAME FILE"; "" for none */
	size_t words_min, words_max;
	const char *help;	/* one phrase */
	enum option options[6]; /* its own; ended by OPTION_COUNT or full */
	size_t option_count;
	cli_handler *run;
};

extern const struct cli_command cli_commands[];
extern const size_t cli_command_count;

int cli_main(int argc, char **argv);

/* Asks the API and prints: JSON as it came, or by the caller's table. */
bool cli_show_list(struct cli *cli, const char *path, const char *key,
    const struct table_column *columns, size_t count, const char *nothing,
    struct error *e) MUST_CHECK;
bool cli_show_object(struct cli *cli, const char *path, const struct table_column *fields,
    size_t count, struct error *e) MUST_CHECK;
/* Prints JSON with a final newline. */
void cli_print_json(json_t *value);
/* A sentence for a person; nothing with --json. */
void cli_say(const struct cli *cli, const char *fmt, ...) PRINTF(2, 3);

/* A whole file, or standard input for "-": at most max octets, NUL-terminated,
 * the caller's to free. */
bool cli_read_file(
    const char *path, size_t max, char **text, size_t *len, struct error *e) MUST_CHECK;

/* "/v1/cas/" and a name, escaped, and an optional rest ("/csr"). */
bool cli_path(char *out, size_t size, const char *prefix, const char *name, const char *rest,
    struct error *e) MUST_CHECK;

cli_handler cmd_ca_create, cmd_ca_list, cmd_ca_show, cmd_ca_csr, cmd_ca_install;
cli_handler cmd_operator_init, cmd_operator_add, cmd_operator_list;
cli_handler cmd_request_submit, cmd_request_list, cmd_request_show, cmd_request_approve,
    cmd_request_deny, cmd_request_withdraw;
cli_handler cmd_cert_list, cmd_cert_show, cmd_cert_get, cmd_cert_revoke, cmd_cert_hold,
    cmd_cert_release;
cli_handler cmd_crl_issue, cmd_crl_show;
cli_handler cmd_publish_status, cmd_publish_retry;
cli_handler cmd_template_list, cmd_template_apply, cmd_template_show;
cli_handler cmd_token_status, cmd_status;

#endif
