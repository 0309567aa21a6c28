#ifndef CHANCERY_X509_LIMITS_INT_H
#define CHANCERY_X509_LIMITS_INT_H

/* What limits.c (rules and text), limits_parse.c and limits_name.c share. */

#include "daemon/x509/limits.h"

#define LIMITS_NAME_TEXT_SIZE (LIMITS_NAME_MAX + 8) /* "email:", the name, NUL */
#define LIMITS_DIGEST_LEN 32

/* "dns:example.com" */
void limits_name_text(const struct limits_name *name, char out[LIMITS_NAME_TEXT_SIZE]);

/* "serverAuth", or dotted when it has no name here. */
void limits_purpose_text(const struct limits_purpose *purpose, char out[OID_TEXT_MAX]);

/* Those that are given apply to every document. */
bool limits_fail(struct error *err, const char *field, const char *words);

#endif
