#ifndef CHANCERY_X509_CRL_H
#define CHANCERY_X509_CRL_H

/*
 * CRLs (RFC 5280 5), encoded as a stream: the list is never in memory.
 *
 * A first pass over the entries counts what their sizes depend on; with the size
 * of all (crl_sums_size), crl_tbs_head gives the first bytes of the TBSCertList
 * and its length. A second pass encodes each entry (crl_entry_encode), and crl_tbs_tail ends
 * it. The signed CertificateList is crl_list_head, the same to-be-signed bytes
 * again, crl_list_tail. With no entries revokedCertificates is absent (RFC
 * 5280 5.1.2.6), which crl_tbs_head sees from a sum of 0.
 */

#include "daemon/core/error.h"
#include "daemon/x509/algorithm.h"
#include "daemon/x509/extension.h"

/* Octets of one encoded entry, at most: 22 of serial, 17 of time, and 12 + 26
 * of extensions, with their headers. */
#define CRL_ENTRY_MAX 96
#define CRL_HEAD_MAX 8192      /* buffer for crl_tbs_head: issuer and small fields */
#define CRL_LIST_HEAD_MAX 16   /* buffer for crl_list_head */
#define CRL_LIST_TAIL_MAX 2048 /* buffer for crl_list_tail */
#define CRL_TBS_MAX ((uint64_t)1 << 40)

/* CRLReason (RFC 5280 5.3.1). */
enum crl_reason {
	CRL_UNSPECIFIED = 0,
	CRL_KEY_COMPROMISE = 1,
	CRL_CA_COMPROMISE = 2,
	CRL_AFFILIATION_CHANGED = 3,
	CRL_SUPERSEDED = 4,
	CRL_CESSATION_OF_OPERATION = 5,
	CRL_CERTIFICATE_HOLD = 6,
	/* 7 is not used */
	CRL_REMOVE_FROM_CRL = 8,
	CRL_PRIVILEGE_WITHDRAWN = 9,
	CRL_AA_COMPROMISE = 10,
};

/* "keyCompromise" ... and back; NULL for a number that is no reason. */
const char *crl_reason_name(unsigned reason);
bool crl_reason_from_name(const char *name, enum crl_reason *reason) MUST_CHECK;

struct crl_entry {
	struct bytes serial; /* big-endian, positive, at most 20 octets in DER */
	int64_t revoked_at;  /* unix seconds */
	uint8_t reason;	     /* enum crl_reason; unspecified is left out (5.3.1) */
	bool has_invalidity_date;
	int64_t invalidity_date;
};

/* What the size of entries depends on, added up. */
struct crl_sums {
	int64_t entries;
	int64_t serial_octets; /* content of the INTEGERs */
	int64_t generalized;   /* revoked at a time that is a GeneralizedTime (5.1.2.6) */
	int64_t with_reason, with_invalidity, with_both;
};

/* Octets that all of them take. ERROR_INTERNAL for sums that no entries have. */
bool crl_sums_size(const struct crl_sums *s, uint64_t *size, struct error *err) MUST_CHECK;

/* Writes the entry forwards; *size: its octets. delta: removeFromCRL stands only in
 * delta CRLs (5.3.1). ERROR_INPUT for a serial, a reason or a time that cannot stand in
 * a CRL. */
bool crl_entry_encode(const struct crl_entry *entry, bool delta, uint8_t out[CRL_ENTRY_MAX],
    size_t *size, struct error *err) MUST_CHECK;

/* What a TBSCertList is built from, entries apart. Everything is borrowed and
 * must be the same for head and tail. */
struct tbs_crl {
	enum sig_alg sig_alg;
	struct bytes issuer; /* whole Name: the CA certificate's subject, byte for byte */
	int64_t this_update, next_update; /* unix seconds */
	struct bytes extensions;	  /* concatenated; with AKI and CRL number (5.2) */
};

/* The bytes before the first entry, and the length of the whole TBSCertList.
 * entries_len: octets of all entries. head points to the end of buf
 * (CRL_HEAD_MAX octets do). */
bool crl_tbs_head(const struct tbs_crl *t, uint64_t entries_len, void *buf, size_t size,
    struct bytes *head, uint64_t *tbs_len, struct error *err) MUST_CHECK;

/* The bytes after the last entry: crlExtensions. tail points to the end of buf
 * (length of the extensions and 16 octets). */
bool crl_tbs_tail(const struct tbs_crl *t, void *buf, size_t size, struct bytes *tail,
    struct error *err) MUST_CHECK;

/* CertificateList around tbs_len octets: what goes before (at most
 * CRL_LIST_HEAD_MAX) and after (at most CRL_LIST_TAIL_MAX), and the length of
 * the whole. signature: content of the BIT STRING. */
bool crl_list_head(uint64_t tbs_len, enum sig_alg alg, size_t signature_len,
    uint8_t out[CRL_LIST_HEAD_MAX], size_t *len, uint64_t *list_len, struct error *err) MUST_CHECK;
bool crl_list_tail(enum sig_alg alg, struct bytes signature, void *buf, size_t size,
    struct bytes *tail, struct error *err) MUST_CHECK;

#endif
