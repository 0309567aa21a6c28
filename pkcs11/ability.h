#ifndef CHANCERY_PKCS11_ABILITY_H
#define CHANCERY_PKCS11_ABILITY_H

/*
 * What a token says that it can do, by its mechanisms (PKCS#11 2.40 5.5,
 * C_GetMechanismInfo), in our terms.
 */

#include "daemon/x509/algorithm.h"
#include "pkcs11/session.h"

/* The mechanisms that a key is made with, and that a digest is signed with; and their
 * names, "CKM_RSA_PKCS". */
CK_MECHANISM_TYPE ability_generator(enum key_alg alg);
CK_MECHANISM_TYPE ability_signer(enum sig_alg alg);
const char *ability_mechanism_name(CK_MECHANISM_TYPE type);

/* Whether the token makes such keys: the mechanism is there, and the size within its
 * bounds. ERROR_INPUT says which of it is not so. */
bool ability_check_key(struct session *s, enum key_alg alg, struct error *e) MUST_CHECK;

/* Whether the token has the mechanism for such signatures. ERROR_INPUT. */
bool ability_check_signature(struct session *s, enum sig_alg alg, struct error *e) MUST_CHECK;

#endif
