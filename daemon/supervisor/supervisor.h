#ifndef CHANCERY_SUPERVISOR_SUPERVISOR_H
#define CHANCERY_SUPERVISOR_SUPERVISOR_H

/*
 * The supervisor: opens the listening sockets, runs a signer for each token, the
 * issuer and the front, connects signers with the issuer, restarts what ends.
 *
 * SIGHUP reads the configuration again, SIGTERM and SIGINT drain (a second one
 * kills). What runs where is in state_dir/run.json:
 *
 *   {"pid": 1, "state": "starting|running|stopping",
 *    "children": {"issuer": {"pid": 2, "state": "running", "restarts": 0,
 *                            "sandbox": "...", "status": "..."},
 *                 "front": ..., "signer-NAME": ...},
 *    "listeners": [{"kind": "unix|http|https", "index": 0,
 *                   "configured": "127.0.0.1:0", "address": "127.0.0.1:40123",
 *                   "port": 40123}]}
 *
 * pid is null where there is no process, port for a Unix socket. The state is
 * "running" once all children were ready at the same time.
 */

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"

struct supervisor_programs {
	const char *self;   /* started with --role NAME --config PATH */
	const char *signer; /* started with --token NAME --config PATH */
	/* What a configuration that is read again has to pass besides; NULL: nothing. */
	bool (*check)(const struct config *cfg, struct error *err);
};

/* Runs until it was told to stop; returns true when all children then ended by
 * themselves. cfg is taken over, also on failure. False with err set when it
 * cannot start or a child had to be killed at the end. */
bool supervisor_run(
    const struct supervisor_programs *programs, struct config *cfg, struct error *err) MUST_CHECK;

#endif
