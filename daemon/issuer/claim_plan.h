#ifndef CHANCERY_ISSUER_CLAIM_PLAN_H
#define CHANCERY_ISSUER_CLAIM_PLAN_H

/*
 * Which requests an issuer asks for: those of the CAs that it can sign for, and of
 * each CA those that came since its last look. There is a plan for each token of
 * the configuration, so that nobody's request waits in a batch for another token.
 *
 * Requests of a CA whose token is not configured on this host are left to others:
 * claimed and put back, they would be kept from an issuer that can sign. While a
 * token of this host is away, or locked, only requests that need no signature yet are taken.
 *
 * The queue is passed over in its order, and what has left it cannot always be
 * cleared away behind (a dump of the database that takes an hour keeps it). So a
 * look begins where the last one ended, a second before: that is how much longer
 * than others a submission's transaction may take. Whatever takes longer, or was
 * put back, waits for a full look.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"
#include "daemon/issuer/ca_cache.h"
#include "daemon/issuer/signer_client.h"
#include "daemon/issuer/token_access.h"
#include "db/request.h"

struct claim_plan;

/* For the CAs of the configuration's token number token; the first plan has also those
 * whose token is not configured. What is handed in must outlive the plan. */
struct claim_plan *claim_plan_new(const struct config *config, size_t token,
    const struct signer_client *signers, const struct token_access *access,
    struct error *e) MUST_CHECK;
void claim_plan_free(struct claim_plan *p); /* NULL is legal */

/* Of all CAs those of the plan to ask for now; how many. Each call begins with another one. */
size_t claim_plan_make(struct claim_plan *p, struct issuing_ca *const *cas, size_t count, bool full,
    struct request_source sources[REQUEST_SOURCES_MAX]);

/* What came of it; limit is how many were asked for. */
void claim_plan_note(
    struct claim_plan *p, bool full, const struct request_batch *batch, unsigned limit);

#endif
