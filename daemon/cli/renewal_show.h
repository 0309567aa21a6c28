#ifndef CHANCERY_CLI_RENEWAL_SHOW_H
#define CHANCERY_CLI_RENEWAL_SHOW_H

/* What an operator is shown of a renewal before signing it: the document, and the
 * certificate that it is to replace. */

#include <stdio.h>

#include "daemon/cli/cli.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/renewal.h"

/* The certificate that a CA signs under, as the service has it. */
struct ca_certificate {
	uint8_t der[CERTIFICATE_MAX];
	struct certificate c; /* points into der */
};

/* *out is the caller's to free. */
bool ca_certificate_load(
    struct cli *cli, const char *ca, struct ca_certificate **out, struct error *e) MUST_CHECK;

void ca_certificate_tbs_sha256(const struct ca_certificate *c, uint8_t digest[32]);

/* Subject, validity and digest of the one in force. */
void ca_certificate_show(FILE *out, const struct ca_certificate *in_force);

/* Composes a rollover, signed with the key of `by`, for the key of `of`. text takes
 * RENEWAL_TEXT_MAX + 1 bytes. */
bool rollover_compose(const char *ca, const uint8_t by[32], const uint8_t of[32], int64_t not_after,
    char *text, struct error *e) MUST_CHECK;

/* The document, line by line; in_force may be NULL. */
void renewal_show(FILE *out, const char *text, const struct ca_certificate *in_force);

#endif
