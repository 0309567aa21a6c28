#ifndef CHANCERY_X509_LIMITS_INT_H
#define CHANCERY_X509_LIMITS_INT_H

/* What limits.c (rules and text), limits_parse.c and limits_name.c share. */

#include "daemon/x509/limits.h"

#define LIMITS_DIGEST_LEN 32

/* "limits, field 'version': words". Returns false. */
bool limits_fail(struct error *err, const char *field, const char *words);

#endif
