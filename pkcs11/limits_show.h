#ifndef CHANCERY_PKCS11_LIMITS_SHOW_H
#define CHANCERY_PKCS11_LIMITS_SHOW_H

/*
 * The limits of a token's keys for people at the signer's console: what this host
 * goes by, read from its state directory and verified, without the token, the issuer
 * or the database. Operators compare it with what they signed.
 */

#include <stdio.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

/* Writes a paragraph for each key. A key whose limits are not valid has the reason in
 * its paragraph; the first such reason is the error. */
bool limits_show(const char *state_dir, FILE *out, struct error *e) MUST_CHECK;

#endif
