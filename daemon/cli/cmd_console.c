/* What is done at the console of a signer's host, where the token is: chancery-signer
 * does it, and takes the place of this process. */

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/cli/cli.h"
#include "daemon/cli/key_destruction.h"
#include "daemon/core/config.h"

#define ARGUMENTS_MAX 24

struct line {
	const char *argv[ARGUMENTS_MAX];
	size_t count;
};

static void
put(struct line *l, const char *argument)
{
	if (l->count < ARGUMENTS_MAX - 1)
		l->argv[l->count++] = argument;
}

static void
put_option(struct line *l, const struct cli *cli, enum option which, const char *name)
{
	const char *value = cli->options->value[which];

	if (value == NULL)
		return;
	put(l, name);
	if (option_argument(which) != NULL)
		put(l, value);
}

/* Beside this program as in a build, or where it was installed. */
static bool
find_signer(char *out, size_t size, struct error *e)
{
	ssize_t len = readlink("/proc/self/exe", out, size - 1);
	char *slash;

	if (len > 0) {
		out[len] = '\0';
		slash = strrchr(out, '/');
		if (slash != NULL &&
		    snprintf(slash, size - (size_t)(slash - out), "/chancery-signer") <
			(int)(size - (size_t)(slash - out)) &&
		    access(out, X_OK) == 0)
			return true;
	}
	if (snprintf(out, size, "%s/chancery-signer", CHANCERY_LIBEXECDIR) < (int)size &&
	    access(out, X_OK) == 0)
		return true;
	return error_set(e, ERROR_CONFIG,
	    "there is no chancery-signer on this host: this is for the host that has the token");
}

/* work: "--probe"; argument: what follows it, or NULL. */
static bool
hand_over(struct cli *cli, const char *work, const char *argument, struct error *e)
{
	const char *config = cli->options->value[OPTION_CONFIG];
	struct line l = {.count = 0};
	char path[4096];

	if (!find_signer(path, sizeof path, e))
		return false;
	put(&l, "chancery-signer");
	put(&l, "--config");
	put(&l, config != NULL ? config : CONFIG_DEFAULT_PATH);
	put(&l, "--token");
	put(&l, cli->words[0]);
	put(&l, work);
	if (argument != NULL)
		put(&l, argument);
	put_option(&l, cli, OPTION_SOAK, "--soak");
	put_option(&l, cli, OPTION_LABEL, "--label");
	put_option(&l, cli, OPTION_WIPE, "--wipe");
	put_option(&l, cli, OPTION_PIN_FD, "--pin-fd");
	if (strcmp(work, "--import-key") == 0)
		put_option(&l, cli, OPTION_PASSPHRASE_FILE, "--passphrase-file");
	if (cli->json)
		put(&l, "--json");
	/* The type has no const; nothing is written to them. */
	(void)execv(path, (char *const *)(uintptr_t)l.argv);
	return error_set_errno(e, ERROR_SYSTEM, "cannot run %s", path);
}

bool
cmd_token_probe(struct cli *cli, struct error *e)
{
	return hand_over(cli, "--probe", NULL, e);
}

bool
cmd_key_list(struct cli *cli, struct error *e)
{
	return hand_over(cli, "--keys", NULL, e);
}

bool
cmd_key_import(struct cli *cli, struct error *e)
{
	return hand_over(cli, "--import-key", cli->words[1], e);
}

bool
cmd_key_adopt(struct cli *cli, struct error *e)
{
	return hand_over(cli, "--adopt", cli->words[1], e);
}

/* A CA's key is its operators' business, wherever they are. */
bool
cmd_key_destroy(struct cli *cli, struct error *e)
{
	if (cli->options->value[OPTION_CA] != NULL)
		return key_order_destruction(cli, e);
	return hand_over(cli, "--destroy-key", cli->words[1], e);
}
