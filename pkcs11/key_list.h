#ifndef CHANCERY_PKCS11_KEY_LIST_H
#define CHANCERY_PKCS11_KEY_LIST_H

/*
 * The keys on a token, and whose they are: of a CA whose limits this host has, or of
 * nobody here. For people at the signer's console.
 */

#include <stdio.h>

#include "pkcs11/session.h"

/* Some lines for each private key; json: an object a line. */
bool key_list(
    struct session *s, const char *state_dir, bool json, FILE *out, struct error *e) MUST_CHECK;

#endif
