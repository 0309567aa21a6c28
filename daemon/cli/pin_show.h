#ifndef CHANCERY_CLI_PIN_SHOW_H
#define CHANCERY_CLI_PIN_SHOW_H

/*
 * What waits for a PIN, as the operator's own client reads it: the octets that would
 * be signed are fetched, digested, decoded and shown here. Nothing that the service says
 * about them is believed; the digest is what the PIN is then bound to.
 */

#include "daemon/cli/cli.h"
#include "daemon/x509/pin_envelope.h"

/* Fetches and shows one operation on standard error, and fills in what an entry lists of
 * it. listed: its row in /v1/pin/operations. */
bool pin_show_operation(
    struct cli *cli, json_t *listed, struct pin_operation *operation, struct error *e) MUST_CHECK;

#endif
