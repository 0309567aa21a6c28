#ifndef CHANCERY_CLI_PIN_SHOW_H
#define CHANCERY_CLI_PIN_SHOW_H

/*
 * What waits for a PIN, as the operator's own client reads it: the octets that would
 * be signed are fetched, digested, decoded and shown here. Nothing that the service says
 * about them is believed; the digest is what the PIN is then bound to. A CRL of more than
 * CRL_ABSTRACT_FROM octets, or any of which there is one with --summary, is not fetched: its
 * signer has said what it is, and signed that with the key that the operator pinned.
 */

#include "daemon/cli/cli.h"
#include "daemon/cli/pin_entry.h"

/* Shows one operation on standard error, and fills in what an entry lists of
 * it. signer: whose PIN it is. listed: its row in /v1/pin/operations. */
bool pin_show_operation(struct cli *cli, const struct pin_signer *signer, json_t *listed,
    struct pin_operation *operation, struct error *e) MUST_CHECK;

#endif
