#ifndef CHANCERY_PKCS11_CONFINE_H
#define CHANCERY_PKCS11_CONFINE_H

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/error.h"

/*
 * The signer's sandbox: it writes its own directory in state_dir, which is made
 * when it is missing, and what the token's configuration lists as writable. With
 * SoftHSM also the directory of its tokens, which its own configuration names; of
 * files it then reads only what SoftHSM needs. A vendor's module reads anything
 * that its user may, and uses devices. Enters it, before the module is loaded.
 */
bool confine_signer(
    const struct config *cfg, const struct config_token *token, struct error *err) MUST_CHECK;

/* The directory of the tokens in the text of a softhsm2.conf, or false. */
bool confine_find_tokens(const char *text, char *out, size_t size);

#endif
