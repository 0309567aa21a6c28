#ifndef CHANCERY_CLI_KEY_DESTRUCTION_H
#define CHANCERY_CLI_KEY_DESTRUCTION_H

#include "daemon/cli/cli.h"

/* "key destroy TOKEN SHA256 --ca CA": has the key of a CA destroyed, by as many signatures as
 * its limits say. The label is --label, or is asked for. */
bool key_order_destruction(struct cli *cli, struct error *e) MUST_CHECK;

#endif
