#ifndef CHANCERY_CLI_SECRET_H
#define CHANCERY_CLI_SECRET_H

/*
 * Passphrases and PINs: from the terminal without echo, from a private file, or from an
 * open descriptor; never from the command line or the environment. They live in
 * locked memory and are wiped, and OpenSSL's private numbers live in its locked
 * heap. From the first secret on the process leaves no core file and cannot be
 * traced by others of its user.
 */

#include "daemon/cli/options.h"

#define SECRET_MAX 256
#define SECRET_MIN 8 /* of a new passphrase */

struct secret {
	char text[SECRET_MAX + 1];
	size_t len;
};

/* ERROR_USAGE when the options name no one source of a passphrase. */
bool secret_check_options(const struct options *options, struct error *e) MUST_CHECK;

/* The first line of the source, without its end; 1 to SECRET_MAX octets.
 *
 * An existing passphrase, by --passphrase-file or --passphrase-fd, or asked for
 * on the terminal with these words. NULL with an error. */
struct secret *secret_read(
    const struct options *options, const char *words, struct error *e) MUST_CHECK;

/* One of several, of which the first has the number 0: that line of the file, the
 * next line of the descriptor, or asked for. */
struct secret *secret_read_one(
    const struct options *options, unsigned line, const char *words, struct error *e) MUST_CHECK;

/* A new one: at least SECRET_MIN octets, asked for twice on a terminal. */
struct secret *secret_read_new(
    const struct options *options, const char *words, struct error *e) MUST_CHECK;

/* A token's PIN, by --pin-fd or asked for on the terminal with these words. */
struct secret *secret_read_pin(
    const struct options *options, const char *words, struct error *e) MUST_CHECK;

void secret_free(struct secret *s); /* wipes; NULL is legal */

#endif
