#ifndef CHANCERY_CLI_OUTPUT_H
#define CHANCERY_CLI_OUTPUT_H

/* What a command fetches: to standard output, or to the file of --out. */

#include "daemon/cli/cli.h"

bool output_write(struct cli *cli, const void *data, size_t len, struct error *e) MUST_CHECK;

#endif
