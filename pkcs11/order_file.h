#ifndef CHANCERY_PKCS11_ORDER_FILE_H
#define CHANCERY_PKCS11_ORDER_FILE_H

/*
 * What operators ordered, kept in the signer's state directory with all their
 * signatures: whoever reads it later verifies it anew.
 *
 *	chancery-order: 1
 *	signature: <SubjectPublicKeyInfo> <signature>      (both base64; 1 to 16 times)
 *	statement: <its length>
 *	body: <its length>
 *	sha256: <of all lines above, the statement and the body>
 *	---
 *	<the statement><the body>
 *
 * A file that is not byte for byte what we would write is refused as damaged.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/signproto.h"

#define ORDER_FILE_BODY_MAX (128 * 1024)
#define ORDER_FILE_MAX (ORDER_FILE_BODY_MAX + 16 * 1024)

/* Writes dir/name durably, once: ERROR_CONFLICT when it exists. */
bool order_file_write(const char *dir, const char *name, const struct signproto_order *order,
    struct error *e) MUST_CHECK;

struct order_file; /* an order that was read */

/* *out is owned by the caller. ERROR_NOT_FOUND: there is none; ERROR_DENIED: it is
 * damaged. */
bool order_file_read(
    const char *dir, const char *name, struct order_file **out, struct error *e) MUST_CHECK;
const struct signproto_order *order_file_order(const struct order_file *f); /* borrowed */
void order_file_free(struct order_file *f);				    /* NULL is legal */

#endif
