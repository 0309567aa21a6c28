#ifndef CHANCERY_PKCS11_ORDERS_INT_H
#define CHANCERY_PKCS11_ORDERS_INT_H

/* What orders.c (keys and limits) and orders_install.c (certificates) share. */

#include "pkcs11/orders.h"

/* "what: key ..., limits version ..., SHA-256 ...", which operators compare with what
 * they signed. */
void orders_log(const struct key_limits *l, const char *what);

#endif
