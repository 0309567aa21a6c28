#ifndef CHANCERY_X509_CRL_READ_H
#define CHANCERY_X509_CRL_READ_H

/*
 * Reads a whole signed CRL (CertificateList, RFC 5280 5.1) while it streams by,
 * in constant memory: its to-be-signed part goes through crl_check.h, and its
 * signature is verified with the CA's key.
 */

#include "daemon/core/error.h"
#include "daemon/x509/crl.h"
#include "daemon/x509/crl_check.h"
#include "daemon/x509/spki.h"

/* The algorithm that a CRL says it is signed with, from its first octets (256 do),
 * for who does not know what its CA uses. */
bool crl_peek_algorithm(struct bytes head, enum sig_alg *alg, struct error *err) MUST_CHECK;

struct crl_reader;

/* rules: those of the to-be-signed part; its total_len is the reader's own and
 * ignored. Issuer, key id and key must outlive the reader.
 * total_len: octets of the whole CRL. */
struct crl_reader *crl_reader_new(const struct crl_rules *rules, const struct spki *key,
    uint64_t total_len, struct error *err) MUST_CHECK;

/* The next piece, of any size. After a failure every further piece fails too. */
bool crl_reader_push(struct crl_reader *r, struct bytes piece, struct error *err) MUST_CHECK;

/* All pieces were given. True when they were exactly one CRL within the rules,
 * signed with the key; the summary is the reader's. ERROR_INPUT says what it is
 * instead. */
bool crl_reader_finish(
    struct crl_reader *r, const struct crl_summary **summary, struct error *err) MUST_CHECK;

void crl_reader_free(struct crl_reader *r); /* NULL is legal */

#endif
