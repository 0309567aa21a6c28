#ifndef CHANCERY_DB_PUBLISH_H
#define CHANCERY_DB_PUBLISH_H

/*
 * The outbox's statements (migration 0005). Each call is one statement and one
 * transaction; its answer comes later, exactly once, at the latest when the
 * connection is closed. A false result means that the statement was not sent,
 * and no answer comes. Slices and strings in an
 * answer are valid during the callback.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "db/db.h"

#define DB_PUBLISH_CLAIM_MAX 64 /* rows of one claim */

struct db_publish_claim {
	int64_t publication;
	int epoch;
	int attempts; /* this one included */
	int64_t lease_ms;
	int64_t target_id;
	const char *target; /* "ca/target" */
	const char *kind, *artifact;
	const char *write_url, *read_url;
	const char *credential, *bind_dn; /* "" : none */
	const char *tls, *auth;
	bool webdav;
	const char *region, *certificate, *user, *host_key; /* "" : none */
	const char *schema;
	const char *mode, *group; /* of a file: "0644"; "" : as it comes */
	int64_t artifact_id;
	int64_t size;
	struct bytes sha256;
	struct bytes issuer;	    /* DER of the certificate whose key signs the CRLs, or empty */
	struct db_array companions; /* of DER certificates */
	bool crossed;		    /* CAs elsewhere vouch for this one, or did */
	struct db_array crosses;    /* if so: their certificates, DER; else nothing */
	/* Of a certificate for its subject's entry: */
	bool absent;	       /* it is to be taken out of there */
	bool vouched;	       /* an operator decided about the names in it */
	const char *requester; /* "": nobody with a name */
	const char *entry;     /* "", or the DN where it was put */
};

/* How an attempt ended, for db_publish_report. */
struct db_publish_end {
	int64_t publication;
	int epoch;
	int64_t artifact_id;
	const char *outcome;	    /* "done", "different", "nowhere" or "failed" */
	const char *error;	    /* sentence, or NULL */
	const uint8_t *read_sha256; /* of what was read, 32 octets, or NULL */
	const char *entry;	    /* DN of the entry that it was put into, or NULL */
};

struct db_publish_expiring {
	int64_t publication;
	const char *target, *artifact;
	int64_t left_s; /* below 0: has ended */
	int attempts;
	const char *last_error; /* or NULL */
};

/* holder: the issuer's signer id; busy: ids of targets to leave alone. rows is valid during the
 * callback; err is NULL or the reason why there is nothing. */
typedef void db_publish_claimed_fn(
    const struct db_publish_claim *rows, size_t count, const struct error *err, void *arg);
bool db_publish_claim(struct db *db, unsigned holder, unsigned limit, unsigned retries,
    unsigned lease_s, const int64_t *busy, size_t busy_count, db_publish_claimed_fn *fn, void *arg,
    struct error *err) MUST_CHECK;

/* outcome: "done", "superseded", "retry", "nowhere", "replaced" or "stale"; NULL with err. */
typedef void db_publish_reported_fn(
    const char *outcome, int64_t retry_ms, const struct error *err, void *arg);
bool db_publish_report(struct db *db, const struct db_publish_end *end, db_publish_reported_fn *fn,
    void *arg, struct error *err) MUST_CHECK;

/* One chunk of an artifact; data is empty where there is none at the position. */
typedef void db_publish_chunk_fn(struct bytes data, const struct error *err, void *arg);
bool db_publish_read_chunk(struct db *db, int64_t artifact_id, int position,
    db_publish_chunk_fn *fn, void *arg, struct error *err) MUST_CHECK;

/* A number: how many claims of a dead predecessor were released; milliseconds
 * until something is due, -1 for nothing. */
typedef void db_publish_number_fn(int64_t n, const struct error *err, void *arg);
bool db_publish_release(struct db *db, unsigned holder, db_publish_number_fn *fn, void *arg,
    struct error *err) MUST_CHECK;
/* What was read back so long ago is due again, at most limit of it; how many. */
bool db_publish_recheck(struct db *db, unsigned after_s, unsigned limit, db_publish_number_fn *fn,
    void *arg, struct error *err) MUST_CHECK;
/* Certificates that have ended are to leave their subjects' entries, where the policy
 * says so; how many. */
bool db_publish_expire(struct db *db, unsigned limit, db_publish_number_fn *fn, void *arg,
    struct error *err) MUST_CHECK;
/* Certificates from before the policy go to their subjects' entries, if that was ordered:
 * looks at so many; milliseconds until there may be more to do, -1 for nothing. */
bool db_publish_before(struct db *db, unsigned limit, db_publish_number_fn *fn, void *arg,
    struct error *err) MUST_CHECK;
bool db_publish_next(
    struct db *db, db_publish_number_fn *fn, void *arg, struct error *err) MUST_CHECK;

typedef void db_publish_expiring_fn(
    const struct db_publish_expiring *rows, size_t count, const struct error *err, void *arg);
bool db_publish_expiring(
    struct db *db, db_publish_expiring_fn *fn, void *arg, struct error *err) MUST_CHECK;

#endif
