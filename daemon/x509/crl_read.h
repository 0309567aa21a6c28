#ifndef CHANCERY_X509_CRL_READ_H
#define CHANCERY_X509_CRL_READ_H

/*
 * Reads a whole signed CRL (CertificateList, RFC 5280 5.1) while it streams by,
 * in constant memory: its to-be-signed part goes through crl_check.h, its
 * signature is verified with the CA's key, and its entries are tallied, so that
 * they can be compared with what another source says they should be.
 */

#include <openssl/types.h>

#include "daemon/core/error.h"
#include "daemon/x509/crl.h"
#include "daemon/x509/crl_check.h"
#include "daemon/x509/spki.h"

/* Number and digest of a sequence of entries; order counts. */
struct crl_tally {
	EVP_MD_CTX *md;
	uint64_t count;
	uint8_t held[4096]; /* digested when full: records are small, and millions */
	size_t held_len;
};

bool crl_tally_begin(struct crl_tally *t, struct error *err) MUST_CHECK;
bool crl_tally_add(
    struct crl_tally *t, const struct crl_entry *entry, struct error *err) MUST_CHECK;
bool crl_tally_end(struct crl_tally *t, uint8_t digest[32], struct error *err) MUST_CHECK;
void crl_tally_free(struct crl_tally *t); /* legal on a zeroed one, and twice */

/* The algorithm that a CRL says it is signed with, from its first octets (256 do),
 * for who does not know what its CA uses. */
bool crl_peek_algorithm(struct bytes head, enum sig_alg *alg, struct error *err) MUST_CHECK;

struct crl_reader;

/* What the CRL is; borrowed from the reader. */
struct crl_contents {
	const struct crl_summary *summary;
	uint8_t entries_sha256[32]; /* of the tally, as crl_tally_end gives it */
};

/* rules: those of the to-be-signed part; its total_len, entry and arg are the
 * reader's own and ignored. Issuer, key id and key must outlive the reader.
 * total_len: octets of the whole CRL. */
struct crl_reader *crl_reader_new(const struct crl_rules *rules, const struct spki *key,
    uint64_t total_len, struct error *err) MUST_CHECK;

/* The next piece, of any size. After a failure every further piece fails too. */
bool crl_reader_push(struct crl_reader *r, struct bytes piece, struct error *err) MUST_CHECK;

/* All pieces were given. True when they were exactly one CRL within the rules,
 * signed with the key. ERROR_INPUT says what it is instead. */
bool crl_reader_finish(
    struct crl_reader *r, struct crl_contents *contents, struct error *err) MUST_CHECK;

void crl_reader_free(struct crl_reader *r); /* NULL is legal */

#endif
