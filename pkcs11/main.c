/*
 * chancery-signer: the only process that loads the PKCS#11 module and sees a
 * PIN. Started by the supervisor, one for each token login.
 */

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/evp.h>

#include "daemon/core/config.h"
#include "daemon/core/control.h"
#include "daemon/core/encode.h"
#include "daemon/core/log.h"
#include "daemon/core/sandbox.h"
#include "pkcs11/confine.h"
#include "pkcs11/console.h"
#include "pkcs11/guard.h"
#include "pkcs11/journal_show.h"
#include "pkcs11/limits_show.h"
#include "pkcs11/signer.h"
#include "pkcs11/signer_identity.h"
#include "pkcs11/store.h"

static const char usage[] =
    "usage: chancery-signer --config PATH --token NAME\n"
    "       chancery-signer --config PATH --token NAME --show-limits\n"
    "       chancery-signer --config PATH --token NAME --journal[=DIR] [--json]\n"
    "       chancery-signer --config PATH --token NAME --probe [--pin-fd N] [--soak SECONDS] "
    "[--json]\n"
    "       chancery-signer --config PATH --token NAME --identity\n"
    "       chancery-signer --config PATH --token NAME --keys [--json]\n"
    "       chancery-signer --config PATH --token NAME --import-key FILE [--wipe]\n"
    "           [--label TEXT] [--passphrase-file FILE]\n"
    "       chancery-signer --config PATH --token NAME --adopt SHA256\n"
    "       chancery-signer --config PATH --token NAME --destroy-key SHA256 [--label TEXT]\n"
    "       chancery-signer --rules\n"
    "--probe, --keys, --import-key and --destroy-key take the PIN from the configuration. Where\n"
    "its operators have it, they stop the signer and enter it: at the terminal, or with\n"
    "--pin-fd N through an open descriptor.\n"
    "Where NAME is a group of tokens, --probe, --keys, --import-key and --destroy-key also take\n"
    "--member with one of its tokens, as `select` names it.\n"
    "Started by chanceryd with its control channel at descriptor 3.\n"
    "--show-limits prints what operators signed about each key of the token, as this\n"
    "host goes by it, and stops.\n"
    "--journal prints what the signer signed, and checks that nothing is missing; DIR\n"
    "is a copy of the journal, with older segments that were moved away.\n"
    "--probe tries what the token can do, with keys that are gone afterwards; --soak goes\n"
    "on signing for some time, through outages, and says how it went.\n"
    "--identity prints the fingerprint by which operators who have the token's PIN know\n"
    "this signer: each of them pins it (chancery operator pin-signer).\n"
    "--keys lists the keys on the token, and the CAs that they belong to.\n"
    "--import-key puts the private key of a PKCS#12 file on the token, from where it\n"
    "cannot be taken again; --wipe overwrites and removes the file afterwards.\n"
    "--adopt agrees that the limits with this SHA-256, which operators signed for a new\n"
    "CA, take over the key that they name.\n"
    "--destroy-key destroys a key that no CA here has, and asks for its label.\n"
    "--rules prints what the guard checks before anything is signed: on what, by which\n"
    "name, and the section that asks for it.\n";

#define SOAK_MAX_S (30 * 86400)

/* Keys and PINs pass through this memory: nobody gets a look at it, with or
 * without a sandbox, and none of it gets to a disk. Where that is not permitted, the pages
 * with PINs are locked all the same (pin.h). */
static bool
harden(const char *name, struct error *e)
{
	(void)umask(077);
	if (!sandbox_lock_memory())
		log_warning(name,
		    "its memory is not locked, but for PINs: RLIMIT_MEMLOCK is not unlimited "
		    "(LimitMEMLOCK=infinity in systemd's unit)");
	return sandbox_hide(e);
}

/* For auditors: a line for each rule. */
static int
list_rules(void)
{
	const char *kind, *name, *reference;

	for (size_t i = 0; guard_rule(i, &kind, &name, &reference); i++)
		(void)printf("%s\t%s\t%s\n", kind, name, reference);
	return 0;
}

/* What is shown for people: needs neither the token nor the daemon. */
struct shown {
	bool limits, journal, json, identity;
	const char *journal_dir; /* NULL: the signer's own */
};

static bool
show_journal(const char *state_dir, const struct shown *what, struct error *e)
{
	char dir[4096 + 16];

	(void)snprintf(dir, sizeof dir, "%s/journal", state_dir);
	return journal_show(
	    what->journal_dir != NULL ? what->journal_dir : dir, what->json, stdout, stderr, e);
}

/* The key is made by the signer itself, whose file it is, when it is started. */
static bool
show_identity(const char *state_dir, struct error *e)
{
	uint8_t spki[SIGNER_IDENTITY_SPKI_LEN], fingerprint[32];
	char hex[2 * sizeof fingerprint + 1];
	EVP_PKEY *key;

	if (!signer_identity_read(state_dir, &key, spki, e))
		return e->code == ERROR_NOT_FOUND
			   ? error_wrap(e, "no identity yet: the signer makes it when it is first "
					   "started with access: session or operation")
			   : false;
	EVP_PKEY_free(key);
	signer_identity_fingerprint(spki, sizeof spki, fingerprint);
	hex_encode(fingerprint, sizeof fingerprint, hex);
	(void)puts(hex);
	return true;
}

static int
show(const char *path, const char *name, const struct shown *what)
{
	struct error why = ERROR_INIT;
	struct config config;
	char dir[4096];
	bool ok;

	if (!config_load_for_role(path, &config, &why)) {
		(void)fprintf(stderr, "chancery-signer: %s\n", why.text);
		return 1;
	}
	if (config_find_token(&config, name) == NULL)
		ok = error_set(
		    &why, ERROR_CONFIG, "the configuration %s has no token '%s'", path, name);
	else
		ok = store_signer_dir(&config, name, dir, sizeof dir, &why) &&
		     (what->identity	 ? show_identity(dir, &why)
			 : what->journal ? show_journal(dir, what, &why)
					 : limits_show(dir, stdout, &why));
	config_free(&config);
	if (!ok)
		(void)fprintf(stderr, "chancery-signer: %s\n", why.text);
	return ok ? 0 : 1;
}

static int
serve(const char *path, const char *name)
{
	const struct config_token *token;
	struct error why = ERROR_INIT;
	struct config config;
	int status = 1;

	if (!harden(name, &why) || !config_load_for_role(path, &config, &why)) {
		log_failure(LOG_LEVEL_ERROR, name, &why);
		return 1;
	}
	log_init("signer", config.log_level);
	token = config_find_token(&config, name);
	if (token == NULL)
		log_error(name, "the configuration %s has no such token", path);
	else if (!confine_signer(&config, token, &why))
		log_failure(LOG_LEVEL_ERROR, name, &why);
	else
		status = signer_main(&config, token, CONTROL_FD);
	config_free(&config);
	return status;
}

static bool
parse_seconds(const char *text, unsigned *seconds)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value < 1 || value > SOAK_MAX_S)
		return false;
	*seconds = (unsigned)value;
	return true;
}

static bool
parse_descriptor(const char *text, int *fd)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value < 0 || value > INT_MAX ||
	    fcntl((int)value, F_GETFD) < 0)
		return false;
	*fd = (int)value;
	return true;
}

/* Options that belong to one work only. */
static bool
options_fit(const struct console_task *task, const struct shown *what)
{
	bool importing = task->work == CONSOLE_IMPORT;

	if (what->json && !what->journal && task->work != CONSOLE_PROBE &&
	    task->work != CONSOLE_KEYS)
		return false;
	if (!importing && task->wipe)
		return false;
	if ((task->work == CONSOLE_NONE || task->work == CONSOLE_ADOPT) && task->pin_fd >= 0)
		return false;
	if (task->work == CONSOLE_NONE && task->member != NULL)
		return false;
	if (!importing && task->work != CONSOLE_DESTROY && task->label != NULL)
		return false;
	if (!importing && task->passphrase_file != NULL)
		return false;
	return task->soak_s == 0 || task->work == CONSOLE_PROBE;
}

static int
wrong_usage(const char *why)
{
	(void)fprintf(stderr, "chancery-signer: %s (chancery-signer --help)\n", why);
	return 2;
}

int
main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"token", required_argument, NULL, 't'},
	    {"show-limits", no_argument, NULL, 'L'},
	    {"journal", optional_argument, NULL, 'J'},
	    {"json", no_argument, NULL, 'j'},
	    {"probe", no_argument, NULL, 'P'},
	    {"soak", required_argument, NULL, 'S'},
	    {"identity", no_argument, NULL, 'I'},
	    {"keys", no_argument, NULL, 'K'},
	    {"import-key", required_argument, NULL, 'i'},
	    {"passphrase-file", required_argument, NULL, 'F'},
	    {"label", required_argument, NULL, 'l'},
	    {"wipe", no_argument, NULL, 'w'},
	    {"adopt", required_argument, NULL, 'A'},
	    {"destroy-key", required_argument, NULL, 'D'},
	    {"member", required_argument, NULL, 'M'},
	    {"pin-fd", required_argument, NULL, 'f'},
	    {"rules", no_argument, NULL, 'R'},
	    {"version", no_argument, NULL, 'V'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	const char *path = NULL, *name = NULL;
	struct shown what = {.limits = false};
	struct console_task task = {.work = CONSOLE_NONE, .pin_fd = -1};
	unsigned works = 0;
	int option;

	log_init("signer", LOG_LEVEL_INFO);
	while ((option = getopt_long(argc, argv, "c:t:h", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			path = optarg;
			break;
		case 't':
			name = optarg;
			break;
		case 'L':
			what.limits = true;
			break;
		case 'J':
			what.journal = true;
			what.journal_dir = optarg;
			break;
		case 'j':
			what.json = true;
			break;
		case 'P':
			task.work = CONSOLE_PROBE;
			works++;
			break;
		case 'K':
			task.work = CONSOLE_KEYS;
			works++;
			break;
		case 'i':
			task.work = CONSOLE_IMPORT;
			task.file = optarg;
			works++;
			break;
		case 'A':
			task.work = CONSOLE_ADOPT;
			task.document = optarg;
			works++;
			break;
		case 'D':
			task.work = CONSOLE_DESTROY;
			task.key = optarg;
			works++;
			break;
		case 'M':
			task.member = optarg;
			break;
		case 'f':
			if (!parse_descriptor(optarg, &task.pin_fd)) {
				(void)fputs(
				    "chancery-signer: --pin-fd takes an open descriptor\n", stderr);
				return 2;
			}
			break;
		case 'F':
			task.passphrase_file = optarg;
			break;
		case 'l':
			task.label = optarg;
			break;
		case 'w':
			task.wipe = true;
			break;
		case 'S':
			if (!parse_seconds(optarg, &task.soak_s)) {
				(void)fprintf(stderr,
				    "chancery-signer: --soak takes 1 to %d seconds\n", SOAK_MAX_S);
				return 2;
			}
			break;
		case 'I':
			what.identity = true;
			break;
		case 'R':
			return list_rules();
		case 'V':
			(void)puts("chancery-signer " CHANCERY_VERSION);
			return 0;
		case 'h':
			(void)fputs(usage, stdout);
			return 0;
		default: /* which getopt has named */
			return wrong_usage("wrong options");
		}
	}
	task.config = path;
	task.token = name;
	task.json = what.json;
	if (path == NULL || name == NULL)
		return wrong_usage("--config PATH and --token NAME are needed");
	if (optind != argc)
		return wrong_usage("it takes options only, and no further words");
	if (what.limits + what.journal + what.identity + works > 1 || !options_fit(&task, &what))
		return wrong_usage("these options do not go together");
	if (works > 0)
		return console_run(&task);
	return what.limits || what.journal || what.identity ? show(path, name, &what)
							    : serve(path, name);
}
