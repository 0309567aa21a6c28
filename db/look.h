#ifndef CHANCERY_DB_LOOK_H
#define CHANCERY_DB_LOOK_H

/*
 * Looks that operators ordered of this issuer's host (migration 0016).
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "db/db.h"
#include "db/result.h"

#define DB_LOOK_CLAIM_MAX 8

struct db_look {
	int64_t id;
	const char *url, *artifact;
	struct bytes wanted; /* SHA-256, or empty */
	/* Where its CA may name the address: DER of certificates, and of the values of CRLs'
	 * issuingDistributionPoint and of extensions like cRLDistributionPoints; ... */
	const char *ca;
	struct db_array certificates, idps, points;
	/* ... policies, each with the indexes of a generation, and the labels of CRLs. */
	struct db_array policies, certificate_indexes, key_indexes, labels;
};

/* Slices and strings are valid during the call, which comes exactly once after a true
 * db_look_claim, at the latest when the connection is closed. */
typedef void db_look_claim_fn(
    const struct db_look *rows, size_t count, const struct error *err, void *arg);
/* resume: those too that this issuer took and has not reported. */
bool db_look_claim(struct db *db, unsigned signer_id, unsigned limit, bool resume,
    db_look_claim_fn *fn, void *arg, struct error *err) MUST_CHECK;

struct db_look_end {
	int64_t id;
	const char *error;     /* why nothing was fetched; or NULL, and: */
	uint64_t size;	       /* octets */
	const uint8_t *sha256; /* 32 octets */
	struct bytes content;  /* the whole of it, or empty */
};

/* Nobody waits for the answer; a failure is logged at debug level. */
bool db_look_report(struct db *db, const struct db_look_end *end, struct error *err) MUST_CHECK;

#endif
