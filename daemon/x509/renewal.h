#ifndef CHANCERY_X509_RENEWAL_H
#define CHANCERY_X509_RENEWAL_H

/*
 * What operators sign to have another certificate for a CA's key: one in place of the
 * one that it has (ca-renew, statement.h), or a rollover certificate, by which one of a
 * root's keys vouches for another (ca-rollover; RFC 4210 4.4).
 *
 *	chancery-renewal: 1
 *	ca: demo-root
 *	replaces: <SHA-256, hex>             of the TBSCertificate in force; "-": none
 *	key: <SHA-256, hex>                  of the SubjectPublicKeyInfo in it
 *	signer: <SHA-256, hex>               of that of the key that signs; "-": a parent's
 *	not-after: 2046-11-22T12:00:00Z      the new one ends then or before; "-": a
 *	                                     parent says when
 *
 * Exactly these lines in this order. That it names what it replaces makes it good for
 * one certificate: the next one replaces another. A text that is not byte for byte
 * what renewal_format would write is no such document.
 *
 * Functions here are pure. Errors are ERROR_INPUT, a broken limit ERROR_LIMIT.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/error.h"
#include "daemon/x509/canon.h"

#define RENEWAL_TEXT_MAX 512 /* bytes of a document */
#define RENEWAL_DIGEST_LEN 32

struct renewal {
	char ca[CANON_NAME_MAX + 1];
	bool has_replaces, has_signer;
	uint8_t replaces[RENEWAL_DIGEST_LEN];
	uint8_t key[RENEWAL_DIGEST_LEN], signer[RENEWAL_DIGEST_LEN];
	int64_t not_after; /* seconds since 1970; 0: a parent says */
};

/* Reads len bytes; out is undefined on failure. */
bool renewal_parse(const char *text, size_t len, struct renewal *out, struct error *err) MUST_CHECK;

/* Writes the text and a NUL; *len counts without it. Refuses a struct that breaks
 * the rules. */
bool renewal_format(const struct renewal *r, char out[RENEWAL_TEXT_MAX + 1], size_t *len,
    struct error *err) MUST_CHECK;

#endif
