#ifndef CHANCERY_X509_DESTRUCTION_H
#define CHANCERY_X509_DESTRUCTION_H

/*
 * What operators sign to have the key of a CA destroyed on its token (key-destroy,
 * statement.h):
 *
 *	chancery-key-destruction: 1
 *	ca: demo-issuing
 *	token: main
 *	key: <SHA-256, hex>                  of the SubjectPublicKeyInfo
 *	label: demo-issuing                  CKA_LABEL on the token, as who ordered typed it
 *
 * Exactly these lines in this order. A key is destroyed once, so that the document needs
 * nothing else that makes it good for one time. A text that is not byte for byte what
 * destruction_format would write is no such document.
 *
 * Functions here are pure. Errors are ERROR_INPUT, a broken limit ERROR_LIMIT.
 */

#include <stddef.h>
#include <stdint.h>

#include "daemon/core/error.h"
#include "daemon/x509/canon.h"

#define DESTRUCTION_TEXT_MAX 512 /* bytes of a document */
#define DESTRUCTION_LABEL_MAX 64 /* bytes of a label */

struct destruction {
	char ca[CANON_NAME_MAX + 1], token[CANON_NAME_MAX + 1];
	uint8_t key[32];
	char label[DESTRUCTION_LABEL_MAX + 1]; /* printable ASCII */
};

/* Reads len bytes; out is undefined on failure. */
bool destruction_parse(
    const char *text, size_t len, struct destruction *out, struct error *err) MUST_CHECK;

/* Writes the text and a NUL; *len counts without it. Refuses a struct that breaks the
 * rules. */
bool destruction_format(const struct destruction *d, char out[DESTRUCTION_TEXT_MAX + 1],
    size_t *len, struct error *err) MUST_CHECK;

#endif
