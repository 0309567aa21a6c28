#ifndef CHANCERY_CLI_PARENT_H
#define CHANCERY_CLI_PARENT_H

/*
 * A subordinate CA's certificate from a parent that is another Chancery, by its REST
 * API (--parent and what belongs to it): its CSR is submitted there like any other
 * request, and waits for the decision of the parent's operators.
 */

#include "daemon/cli/cli.h"

/* Whether --parent is given; refuses the other options of it without it. */
bool parent_is_given(const struct cli *cli, bool *given, struct error *e) MUST_CHECK;

/* Submits the CSR of the CA (waiting or new), waits until it is decided, and fetches the
 * chain: PEM, the caller's to free. Submitting the same CSR again finds the first request,
 * so that who was interrupted repeats it. ERROR_TIMEOUT when nobody decided in time;
 * ERROR_DENIED when the parent did not issue, with its reason. */
bool parent_fetch(struct cli *cli, const char *ca, char **pem, struct error *e) MUST_CHECK;

/* Hands certificates to the service as those of the CA, by a ceremony; cmd_ca.c. */
bool ca_install_pem(struct cli *cli, const char *ca, const char *pem, struct error *e) MUST_CHECK;

/* parent_fetch, and installs what came. */
bool parent_install(struct cli *cli, const char *ca, struct error *e) MUST_CHECK;

#endif
