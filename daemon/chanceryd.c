/*
 * chanceryd(8): the supervisor, and, with --role, the issuer and the front that
 * it starts. The signer is a program of its own, so that nothing here links
 * PKCS#11.
 */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/core/config.h"
#include "daemon/core/control.h"
#include "daemon/core/log.h"
#include "daemon/front/front.h"
#include "daemon/issuer/issuer.h"
#include "daemon/publish/courier.h"
#include "daemon/publish/writer.h"
#include "daemon/supervisor/install.h"
#include "daemon/supervisor/supervisor.h"
#include "db/migrate.h"
#include "db/needs.h"

enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
};

enum action {
	ACTION_SUPERVISE,
	ACTION_CHECK,
	ACTION_MIGRATE,
	ACTION_ISSUER,
	ACTION_FRONT,
	ACTION_COURIER,
	ACTION_WRITER,
	ACTION_VERSION,
	ACTION_HELP,
};

struct options {
	enum action action;
	const char *config;
	const char *migrations; /* NULL: where they are installed */
	const char *writer;	/* a writer's name ... */
	char **directories;	/* ... and all that stands after "--" */
	size_t directory_count;
};

static const char help[] =
    "usage: chanceryd [--config PATH] [--foreground]\n"
    "       chanceryd [--config PATH] --check-config\n"
    "       chanceryd [--config PATH] --migrate [--migrations DIR]\n"
    "\n"
    "The daemon of the Chancery certification authority.\n"
    "\n"
    "  --config PATH     configuration, by default " CONFIG_DEFAULT_PATH "\n"
    "  --check-config    check the configuration and stop\n"
    "  --migrate         bring the database's schema to this version and stop\n"
    "  --migrations DIR  directory of the migrations\n"
    "  --foreground      stay in the foreground, which it always does\n"
    "  --version         show the version\n"
    "  --help            show this\n"
    "\n"
    "See chanceryd(8) and chanceryd.conf(5).\n";

/* ---- the command line */

static bool
set_action(struct options *o, enum action action, struct error *err)
{
	if (o->action != ACTION_SUPERVISE)
		return error_set(err, ERROR_USAGE,
		    "only one of --check-config, --migrate, --role, --version, --help can be "
		    "given");
	o->action = action;
	return true;
}

static bool
set_role(struct options *o, const char *role, struct error *err)
{
	if (strcmp(role, "issuer") == 0)
		return set_action(o, ACTION_ISSUER, err);
	if (strcmp(role, "front") == 0)
		return set_action(o, ACTION_FRONT, err);
	if (strcmp(role, "courier") == 0)
		return set_action(o, ACTION_COURIER, err);
	if (strncmp(role, "writer-", strlen("writer-")) == 0) {
		o->writer = role;
		return set_action(o, ACTION_WRITER, err);
	}
	return error_set(err, ERROR_USAGE,
	    "role '%s' is unknown; allowed: issuer, front, courier, writer-USER", role);
}

static bool
parse_options(int argc, char **argv, struct options *o, struct error *err)
{
	static const struct option known[] = {
	    {"config", required_argument, NULL, 'c'},
	    {"check-config", no_argument, NULL, 't'},
	    {"migrate", no_argument, NULL, 'm'},
	    {"migrations", required_argument, NULL, 'd'},
	    {"role", required_argument, NULL, 'r'},
	    {"foreground", no_argument, NULL, 'f'},
	    {"version", no_argument, NULL, 'v'},
	    {"help", no_argument, NULL, 'h'},
	    {NULL, 0, NULL, 0},
	};
	bool ok = true;
	int c;

	*o = (struct options){.action = ACTION_SUPERVISE, .config = CONFIG_DEFAULT_PATH};
	opterr = 0;
	/* "+": no reordering; ":" tells a missing value from an unknown option. */
	while (ok && (c = getopt_long(argc, argv, "+:h", known, NULL)) != -1) {
		switch (c) {
		case 'c':
			o->config = optarg;
			break;
		case 'd':
			o->migrations = optarg;
			break;
		case 't':
			ok = set_action(o, ACTION_CHECK, err);
			break;
		case 'm':
			ok = set_action(o, ACTION_MIGRATE, err);
			break;
		case 'r':
			ok = set_role(o, optarg, err);
			break;
		case 'f':
			break;
		case 'v':
			ok = set_action(o, ACTION_VERSION, err);
			break;
		case 'h':
			ok = set_action(o, ACTION_HELP, err);
			break;
		case ':':
			return error_set(
			    err, ERROR_USAGE, "option %s needs a value", argv[optind - 1]);
		default:
			return error_set(err, ERROR_USAGE,
			    "option %s is unknown, or takes no value", argv[optind - 1]);
		}
	}
	if (!ok)
		return false;
	if (o->action == ACTION_WRITER) {
		o->directories = argv + optind;
		o->directory_count = (size_t)(argc - optind);
	} else if (optind < argc)
		return error_set(err, ERROR_USAGE, "argument '%s' is not expected", argv[optind]);
	if (o->migrations != NULL && o->action != ACTION_MIGRATE)
		return error_set(err, ERROR_USAGE, "--migrations belongs to --migrate");
	return true;
}

/* ---- what it can do */

static bool
migrate(const struct options *o, const struct config *cfg, struct error *err)
{
	char self[PATH_MAX], found[PATH_MAX];
	const char *dir = o->migrations;
	size_t applied = 0;

	if (cfg->database_owner == NULL)
		return error_set(err, ERROR_CONFIG,
		    "%s: --migrate needs the key 'database.owner', the connection of the schema's "
		    "owner",
		    cfg->path);
	if (dir == NULL) {
		if (!install_find_self(self, err) || !install_find_migrations(self, found, err))
			return false;
		dir = found;
	}
	if (!db_migrate(cfg->database_owner, dir, &applied, err))
		return false;
	if (applied > 0)
		printf("%zu migration%s applied\n", applied, applied == 1 ? "" : "s");
	else
		printf("the schema is up to date\n");
	return true;
}

/* What only libpq can judge; a process that starts with such a string ends again and again. */
static bool
check_database(const struct config *cfg, struct error *err)
{
	const struct {
		const char *key, *conninfo;
	} all[] = {{"owner", cfg->database_owner}, {"issuer", cfg->database_issuer},
	    {"front", cfg->database_front}};

	for (size_t i = 0; i < COUNT_OF(all); i++)
		if (all[i].conninfo != NULL && !db_conninfo_check(all[i].conninfo, err))
			return error_wrap(err, "%s: key 'database.%s'", cfg->path, all[i].key);
	return true;
}

static bool
supervise(struct config *cfg, struct error *err)
{
	char self[PATH_MAX], signer[PATH_MAX];
	struct supervisor_programs programs = {
	    .self = self, .signer = signer, .check = check_database};

	return install_find_self(self, err) && install_find_signer(self, signer, err) &&
	       supervisor_run(&programs, cfg, err);
}

/* The issuer or the front, as a child of the supervisor. */
static int
play_role(const struct options *o, const char *name,
    int (*role_main)(const struct config *cfg, int control_fd))
{
	struct error err = ERROR_INIT;
	struct config cfg;
	int status;

	log_init(name, LOG_LEVEL_INFO);
	if (!config_load_for_role(o->config, &cfg, &err)) {
		log_failure(LOG_LEVEL_ERROR, "-", &err);
		return EXIT_FAILED;
	}
	log_init(name, cfg.log_level);
	status = role_main(&cfg, CONTROL_FD);
	config_free(&cfg);
	return status;
}

static int
act(const struct options *o)
{
	struct error err = ERROR_INIT;
	struct config cfg = {0};
	bool ok;

	/* The schema needs no token: its files may be missing as yet. */
	if (o->action == ACTION_MIGRATE)
		ok = config_load_for_role(o->config, &cfg, &err);
	else
		ok = config_load(o->config, &cfg, &err) && check_database(&cfg, &err);
	if (ok && o->action == ACTION_CHECK)
		printf("%s is good\n", o->config);
	else if (ok && o->action == ACTION_MIGRATE)
		ok = migrate(o, &cfg, &err);
	else if (ok)
		ok = supervise(&cfg, &err);
	config_free(&cfg);
	if (ok)
		return EXIT_OK;
	fprintf(stderr, "chanceryd: %s\n", err.text);
	return EXIT_FAILED;
}

int
main(int argc, char **argv)
{
	struct error err = ERROR_INIT;
	struct options o;

	if (!parse_options(argc, argv, &o, &err)) {
		fprintf(stderr, "chanceryd: %s (chanceryd --help)\n", err.text);
		return EXIT_USAGE;
	}
	switch (o.action) {
	case ACTION_HELP:
		(void)fputs(help, stdout);
		return EXIT_OK;
	case ACTION_VERSION:
		printf("chanceryd %s\n", CHANCERY_VERSION);
		return EXIT_OK;
	case ACTION_ISSUER:
		return play_role(&o, "issuer", issuer_main);
	case ACTION_COURIER: /* the issuer's child: all it needs comes with its job */
		return courier_main();
	case ACTION_WRITER: /* all it may know: what it is not told, no other user can learn */
		return writer_main(o.writer, CONTROL_FD, o.directories, o.directory_count);
	case ACTION_FRONT:
		return play_role(&o, "front", front_main);
	default:
		return act(&o);
	}
}
