#ifndef CHANCERY_X509_CRL_SCAN_H
#define CHANCERY_X509_CRL_SCAN_H

/*
 * Looks over a signed CRL of any size while it streams by: which list it is, how
 * new, and whether the CA's key signed it. Its entries are digested and stepped
 * over. Unlike crl_read.h this takes whatever the key signed, with extensions
 * that we would not write: what stands at a place may come from another program
 * that has or had the key.
 */

#include "daemon/core/error.h"
#include "daemon/x509/crl.h"
#include "daemon/x509/spki.h"

/* The largest element that is kept whole: issuer, or all CRL extensions. */
#define CRL_SCAN_ELEMENT_MAX 16384

struct crl_scan;

/* What it is; borrowed from the scan. */
struct crl_facts {
	int64_t this_update;
	bool delta;
	struct bytes number; /* magnitude, big-endian without leading zeros; empty: none */
	struct bytes idp;    /* value of issuingDistributionPoint; empty: none */
};

/* issuer (a whole Name) and key must outlive the scan. */
struct crl_scan *crl_scan_new(
    struct bytes issuer, const struct spki *key, struct error *err) MUST_CHECK;

/* The next piece, of any size. After a failure every further piece fails too. */
bool crl_scan_push(struct crl_scan *s, struct bytes piece, struct error *err) MUST_CHECK;

/* All pieces were given. True when they were one CRL of that issuer, signed with
 * the key. ERROR_INPUT says what it is instead. */
bool crl_scan_finish(struct crl_scan *s, struct crl_facts *facts, struct error *err) MUST_CHECK;

void crl_scan_free(struct crl_scan *s); /* NULL is legal */

#endif
