#ifndef CHANCERY_X509_CRL_TALLY_H
#define CHANCERY_X509_CRL_TALLY_H

/*
 * Number and fingerprint of a sequence of CRL entries, in constant memory: whether two
 * sources have the same ones in the same order. A GMAC (NIST SP 800-38D) under a key that
 * is drawn for one comparison and never leaves it: who chose the entries cannot know it, so
 * that different ones do not look alike, and millions take a tenth of what SHA-256 would.
 */

#include <openssl/types.h>

#include "daemon/core/error.h"
#include "daemon/x509/crl.h"

#define CRL_TALLY_KEY_LEN 32
#define CRL_TALLY_LEN 16

struct crl_tally {
	EVP_MAC_CTX *mac;
	uint64_t count;
	uint8_t held[4096]; /* taken in when full: records are small, and millions */
	size_t held_len;
};

/* t is zeroed before its first use. ERROR_SYSTEM when OpenSSL has no GMAC. */
bool crl_tally_begin(
    struct crl_tally *t, const uint8_t key[CRL_TALLY_KEY_LEN], struct error *err) MUST_CHECK;
/* ERROR_INPUT for a serial that RFC 5280 4.1.2.2 does not allow. */
bool crl_tally_add(
    struct crl_tally *t, const struct crl_entry *entry, struct error *err) MUST_CHECK;
bool crl_tally_end(struct crl_tally *t, uint8_t tag[CRL_TALLY_LEN], struct error *err) MUST_CHECK;
void crl_tally_free(struct crl_tally *t); /* legal on a zeroed one, and twice */

#endif
