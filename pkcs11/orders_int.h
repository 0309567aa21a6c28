#ifndef CHANCERY_PKCS11_ORDERS_INT_H
#define CHANCERY_PKCS11_ORDERS_INT_H

/* What orders.c (keys and limits), orders_install.c (certificates) and orders_destroy.c
 * share. */

#include "pkcs11/orders.h"

/* "what: key ..., limits version ..., SHA-256 ...", which operators compare with what
 * they signed. */
void orders_log(const struct key_limits *l, const char *what);

/* ERROR_DENIED when the key with this id was destroyed by an order, as this host or the
 * token knows. */
bool orders_check_not_destroyed(struct session *s, const struct orders_env *env,
    const uint8_t id[KEY_ID_LEN], struct error *e) MUST_CHECK;

#endif
