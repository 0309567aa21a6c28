#ifndef CHANCERY_FRONT_CONFINE_H
#define CHANCERY_FRONT_CONFINE_H

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"

/* The front's sandbox: it reads its configuration and TLS certificates, writes no
 * file, starts nothing, and connects to the database only. Enters it. */
bool confine_front(const struct config *cfg, struct error *err) MUST_CHECK;

#endif
