#ifndef CHANCERY_X509_CRL_CHECK_H
#define CHANCERY_X509_CRL_CHECK_H

/*
 * Checks a TBSCertList while it streams by, in pieces of any size and in
 * constant memory: what the signer puts between the bytes and the token.
 *
 * Written apart from the encoder on purpose: it knows only RFC 5280 5 and the
 * CA's limits, not how we build a list. Anything that is not exactly a version
 * 2 TBSCertList in DER, of this issuer, key and algorithm, is refused:
 * revokedCertificates present but empty; unknown, repeated or wrongly critical
 * extensions; no AKI or no CRL number; a freshestCRL in a delta; removeFromCRL
 * in a complete CRL; serials that are not positive or longer than 20 octets.
 */

#include "daemon/core/error.h"
#include "daemon/x509/algorithm.h"
#include "daemon/x509/crl.h"
#include "daemon/x509/extension.h"

/* The largest element that is kept whole: issuer, or all CRL extensions. */
#define CRL_CHECK_ELEMENT_MAX 16384
/* The largest entry that can be legal. */
#define CRL_CHECK_ENTRY_MAX 128

/* Sees each entry as it passes; its serial without leading zeros, borrowed for
 * the call. False refuses the list with the error that it set. */
typedef bool crl_check_entry_fn(const struct crl_entry *entry, void *arg, struct error *err);

/* What the list must be. Borrowed until the check is over. */
struct crl_rules {
	struct bytes issuer; /* whole Name, compared byte for byte */
	struct bytes key_id; /* AKI must be this keyIdentifier and nothing else */
	enum sig_alg sig_alg;
	uint64_t total_len;	   /* of the TBSCertList, as announced */
	crl_check_entry_fn *entry; /* NULL: nobody looks at the entries */
	void *arg;
};

/* What the list is; valid after crl_check_finish. */
struct crl_summary {
	int64_t this_update, next_update;
	uint64_t entries;
	bool delta;
	uint8_t number[CRL_NUMBER_MAX], base_number[CRL_NUMBER_MAX]; /* big-endian */
	size_t number_len, base_number_len;			     /* the latter 0 unless delta */
	int64_t expired_since; /* of expiredCertsOnCRL; 0: absent */
	struct bytes idp;      /* value of issuingDistributionPoint, in the checker; empty: none */
};

struct crl_check {
	struct crl_rules rules;
	struct crl_summary summary;
	unsigned state;			/* which field comes next */
	uint64_t seen;			/* octets taken */
	uint64_t list_left;		/* octets of revokedCertificates still to come */
	uint64_t tbs_left;		/* octets of the TBSCertList's content still to come */
	size_t held;			/* octets in element[] */
	bool failed, finished, removed; /* removed: a removeFromCRL was seen */
	uint8_t element[CRL_CHECK_ELEMENT_MAX];
};

void crl_check_begin(struct crl_check *c, const struct crl_rules *rules);

/* Takes the next piece. After a failure every further piece fails too. */
bool crl_check_push(struct crl_check *c, struct bytes piece, struct error *err) MUST_CHECK;

/* All pieces were given. True when they were exactly one such list; then the
 * summary is filled in. */
bool crl_check_finish(
    struct crl_check *c, const struct crl_summary **summary, struct error *err) MUST_CHECK;

#endif
