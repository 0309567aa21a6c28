#ifndef CHANCERY_PKCS11_PROBE_H
#define CHANCERY_PKCS11_PROBE_H

/*
 * What a token can do, found out by trial at the signer's console: with scratch keys,
 * which are gone at the end, and with a PIN as the other works there (console_login.h).
 * With access: auto it works beside a signer that runs, as far as the token lets two
 * processes in.
 */

#include <stdio.h>

#include "daemon/core/config.h"

struct probe_options {
	bool json;
	unsigned soak_s;    /* keep signing for so long, through outages; 0: do not */
	const char *member; /* of a group; NULL of a single token */
	int pin_fd;	    /* as console_login_begin takes it */
};

/*
 * Writes the table of what the token can do to out: a line each, or one JSON object of
 * texts. With soak_s the outages are told as they come, on notes. ERROR_CONFLICT when
 * anything is left on the token that could not be removed, or a soak ended without a
 * token; every other error says why nothing could be tried. Takes the signals INT and
 * TERM for an early end.
 */
bool probe_run(const struct config_token *config, const char *state_dir,
    const struct probe_options *options, FILE *out, FILE *notes, struct error *e) MUST_CHECK;

#endif
