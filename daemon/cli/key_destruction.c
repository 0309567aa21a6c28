#include "daemon/cli/key_destruction.h"

#include <string.h>

#include "daemon/cli/ceremony.h"
#include "daemon/cli/limits_draft.h"
#include "daemon/x509/destruction.h"

/* Whoever means this key knows its label; the signer compares it with the token's. */
static bool
take_label(struct cli *cli, char label[DESTRUCTION_LABEL_MAX + 1], struct error *e)
{
	const char *given = cli->options->value[OPTION_LABEL];
	char line[DESTRUCTION_LABEL_MAX + 2] = "";

	if (given == NULL) {
		(void)fprintf(stderr, "The key's label on the token, to destroy it for good: ");
		if (fgets(line, sizeof line, stdin) == NULL)
			return error_set(e, ERROR_INPUT, "no label was given");
		line[strcspn(line, "\n")] = '\0';
		given = line;
	}
	return decision_put(label, DESTRUCTION_LABEL_MAX + 1, "a key's label", given, e);
}

static bool
compose(struct cli *cli, const struct limits_current *current, struct destruction *d,
    char text[DESTRUCTION_TEXT_MAX + 1], struct error *e)
{
	size_t len;

	if (strcmp(current->limits.token, cli->words[0]) != 0)
		return error_set(e, ERROR_INPUT, "the key of CA %s is on token %s, not on %s",
		    current->limits.ca, current->limits.token, cli->words[0]);
	memcpy(d->ca, current->limits.ca, sizeof d->ca);
	memcpy(d->token, current->limits.token, sizeof d->token);
	memcpy(d->key, current->key, sizeof d->key);
	return take_label(cli, d->label, e) && destruction_format(d, text, &len, e);
}

static bool
order(struct cli *cli, const struct limits_current *current, const char *text, struct error *e)
{
	struct statement s = {.action = STATEMENT_KEY_DESTROY};
	const char *ca = current->limits.ca;
	json_t *outcome = NULL;

	cli_note("The key %s of CA %s is to be destroyed on token %s. It cannot be made again; "
		 "copies in the HSM's backups stay.",
	    current->key_hex, ca, current->limits.token);
	decision_show_text(text);
	if (!decision_put_ca(&s, ca, e) ||
	    !ceremony_order(cli, &s, text, &CEREMONY_RULE(&current->limits), &outcome, e))
		return false;
	if (outcome != NULL)
		decision_print(cli, outcome);
	json_decref(outcome);
	return true;
}

bool
key_order_destruction(struct cli *cli, struct error *e)
{
	char text[DESTRUCTION_TEXT_MAX + 1];
	struct limits_current *current = NULL;
	struct destruction d = {.ca = ""};
	bool ok;

	ok = limits_current_load(cli, cli->options->value[OPTION_CA], cli->words[1], &current, e) &&
	     compose(cli, current, &d, text, e) && order(cli, current, text, e);
	limits_current_free(current);
	return ok;
}
