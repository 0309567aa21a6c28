#ifndef CHANCERY_X509_PEM_H
#define CHANCERY_X509_PEM_H

/*
 * PEM armour (RFC 7468), strict on the base64 inside, lax on the text around
 * it: tools put readable text before a block.
 */

#include "daemon/core/error.h"
#include "daemon/x509/der.h"

#define PEM_LABEL_MAX 64

#define PEM_CERTIFICATE "CERTIFICATE"
#define PEM_CERTIFICATE_REQUEST "CERTIFICATE REQUEST"
#define PEM_PUBLIC_KEY "PUBLIC KEY"
#define PEM_CRL "X509 CRL"

/* Decodes the first block of this label into out (at most out_size octets) and
 * moves *text behind it, so that a chain is read by calling again. Blocks of
 * other labels are skipped; CERTIFICATE REQUEST also takes the old "NEW
 * CERTIFICATE REQUEST". ERROR_NOT_FOUND when there is no such block,
 * ERROR_INPUT when a block is broken, ERROR_LIMIT when it does not fit. */
bool pem_decode(struct bytes *text, const char *label, uint8_t *out, size_t out_size, size_t *len,
    struct error *err) MUST_CHECK;

/* Octets that pem_encode writes for der_len octets, its NUL included. */
size_t pem_encoded_size(const char *label, size_t der_len);

/* Writes the block, 64 characters a line, with a final newline and NUL. False
 * when out is too small. */
bool pem_encode(const char *label, struct bytes der, char *out, size_t out_size) MUST_CHECK;

#endif
