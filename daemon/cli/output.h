#ifndef CHANCERY_CLI_OUTPUT_H
#define CHANCERY_CLI_OUTPUT_H

/* Files that commands read, and what they fetch: to standard output, or to the
 * file of --out. */

#include "daemon/cli/cli.h"

/* A whole file, or standard input for "-": at most max octets, NUL-terminated,
 * the caller's to free. */
bool output_read_file(
    const char *path, size_t max, char **text, size_t *len, struct error *e) MUST_CHECK;

bool output_write(struct cli *cli, const void *data, size_t len, struct error *e) MUST_CHECK;

/* The PEM blocks of this label in text, taken apart and written anew, so that
 * nothing else that the service may have put around them gets out; with --json
 * as {"pem": "..."}. most: more of them are ERROR_LIMIT; none is
 * ERROR_INTERNAL. */
bool output_write_pem(
    struct cli *cli, const char *text, const char *label, size_t most, struct error *e) MUST_CHECK;

#endif
