#ifndef CHANCERY_CLI_CHAIN_FILE_H
#define CHANCERY_CLI_CHAIN_FILE_H

/* Certificates in files, in whatever form a parent CA hands them out. */

#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

#define CHAIN_FILE_MAX 131072 /* octets of one file, and of what they are as PEM */

/*
 * The certificates of all these files, in their order, as PEM: PEM with one or more
 * certificates, one certificate in DER, or PKCS#7 (RFC 2315, "certs-only") in
 * either. "-" is standard input. *pem is the caller's to free.
 */
bool chain_files_read(
    const char *const *paths, size_t count, char **pem, struct error *e) MUST_CHECK;

/* Shows on standard error what the operator is about to sign, certificate by certificate. */
bool chain_show(const char *pem, struct error *e) MUST_CHECK;

/* Whether one of them is for the public key with this SHA-256. */
bool chain_has_key(
    const char *pem, const uint8_t sha256[32], bool *has, struct error *e) MUST_CHECK;

#endif
