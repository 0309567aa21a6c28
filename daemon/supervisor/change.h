#ifndef CHANCERY_SUPERVISOR_CHANGE_H
#define CHANCERY_SUPERVISOR_CHANGE_H

/*
 * What a reload changes. A process whose own part of the configuration is as
 * before is told to reload and goes on (log level, PIN, renewed TLS
 * certificate); one whose part changed is drained and started anew.
 */

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"

bool change_of_token(const struct config_token *a, const struct config_token *b) MUST_CHECK;
bool change_of_issuer(const struct config *a, const struct config *b) MUST_CHECK;
/* Of that user. */
bool change_of_writer(const struct config *a, const struct config *b, const char *user) MUST_CHECK;
bool change_of_front(const struct config *a, const struct config *b) MUST_CHECK;

#endif
