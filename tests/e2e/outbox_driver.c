/*
 * The outbox on a loop of its own, without the rest of the issuer: for tests
 * that need short deadlines and restarts. Started with --role courier it is the
 * courier, as chanceryd would be.
 *
 *   outbox_driver DSN STATE_DIR CREDENTIALS_DIR CA_FILE SIGNER_ID ATTEMPT_S WATCH_S COMMANDS_DIR
 *                 [KRB5_CONFIG]
 */

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "daemon/core/log.h"
#include "daemon/publish/courier.h"
#include "daemon/publish/outbox.h"
#include "db/db.h"

struct driver {
	struct event_base *base;
	struct outbox *outbox;
};

static void
on_hint(struct db *db, void *arg)
{
	struct driver *d = arg;

	(void)db;
	outbox_poke(d->outbox);
}

static void
on_drained(void *arg)
{
	struct driver *d = arg;

	log_info("-", "drained");
	(void)event_base_loopbreak(d->base);
}

static void
on_term(evutil_socket_t fd, short what, void *arg)
{
	struct driver *d = arg;

	(void)fd;
	(void)what;
	outbox_drain(d->outbox, on_drained, d);
}

int
main(int argc, char **argv)
{
	char root[] = "/";
	struct config_publish_dir everywhere[] = {{.path = root}};
	const struct config_publish_dirs publish_dirs = {everywhere, 1};
	const struct db_options options = {.application = "outbox_driver"};
	struct driver d = {NULL, NULL};
	struct event *term = NULL;
	struct error err = ERROR_INIT;
	struct db *db = NULL;
	int status = 1;

	if (argc == 3 && strcmp(argv[1], "--role") == 0 && strcmp(argv[2], "courier") == 0)
		return courier_main();
	log_init("outbox", LOG_LEVEL_DEBUG);
	if ((argc != 9 && argc != 10) || signal(SIGPIPE, SIG_IGN) == SIG_ERR) {
		log_error("-", "wrong use");
		return 2;
	}
	struct outbox_config config = {
	    .state_dir = argv[2],
	    .credentials_dir = argv[3],
	    .ca_file = argv[4][0] != '\0' ? argv[4] : NULL,
	    .krb5_config = argc == 10 ? argv[9] : NULL,
	    .signer_id = (unsigned)atoi(argv[5]),
	    .attempt_s = (unsigned)atoi(argv[6]),
	    .watch_s = (unsigned)atoi(argv[7]),
	    .commands_dir = argv[8],
	    .publish_dirs = &publish_dirs,
	    .sandbox = SANDBOX_BEST_EFFORT,
	};

	d.base = event_base_new();
	if (d.base == NULL || (db = db_open(d.base, argv[1], &options, NULL, NULL, &err)) == NULL ||
	    (d.outbox = outbox_start(d.base, db, &config, &err)) == NULL ||
	    !db_listen(db, "chancery_publish", on_hint, &d, &err) ||
	    (term = evsignal_new(d.base, SIGTERM, on_term, &d)) == NULL ||
	    event_add(term, NULL) < 0)
		goto out;
	log_info("-", "runs");
	status = event_base_dispatch(d.base) < 0;
out:
	if (error_is_set(&err))
		log_failure(LOG_LEVEL_ERROR, "-", &err);
	outbox_stop(d.outbox);
	db_close(db);
	if (term != NULL)
		event_free(term);
	if (d.base != NULL)
		event_base_free(d.base);
	return status;
}
