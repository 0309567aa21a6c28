#ifndef CHANCERY_ISSUER_CONFINE_H
#define CHANCERY_ISSUER_CONFINE_H

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"

/* The issuer's sandbox, which its couriers share: they connect anywhere, and of
 * files they write the spool and what lies in issuer.publish_dirs. Nothing but this
 * very program can be executed. Enters it; makes the spool, if that is missing. */
bool confine_issuer(const struct config *cfg, struct error *err) MUST_CHECK;

#endif
