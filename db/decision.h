#ifndef CHANCERY_DB_DECISION_H
#define CHANCERY_DB_DECISION_H

/*
 * Operators' decisions as the issuer works on them (migrations/0003_decision.sql):
 * claimed under a lease, verified, applied in one transaction each. A call with
 * a stale epoch is ERROR_CONFLICT and changes nothing.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"
#include "db/db.h"

#define DECISION_BATCH_MAX 32
#define DECISION_ROLES_MAX 8
#define DECISION_SIGNATURES_MAX 16 /* of one ceremony */
#define DECISION_LIMITS_MAX 64	   /* documents that one decision depends on */

struct decision_key {
	int64_t id;
	int epoch;
};

/* Somebody's signature of a decision's statement. */
struct decision_signature {
	struct bytes spki, signature;
	int64_t received_at;
};

/* A decision and what it is about; borrowed for the callback, copied by who
 * needs it longer. Absent text is NULL. */
struct decision_row {
	struct decision_key key;
	char public_id[DB_UUID_TEXT_SIZE];
	const char *action, *statement, *body, *received_via;
	struct bytes signature;
	int64_t received_at;
	struct bytes nonce;	      /* as the row has it; the statement must have the same */
	struct bytes credential_spki; /* empty: unsigned */
	bool credential_live;	      /* an operator's key, not revoked */
	const char *person;
	char roles[DECISION_ROLES_MAX][32];
	size_t role_count;
	bool first_operator;			   /* nobody is registered yet */
	char request_public_id[DB_UUID_TEXT_SIZE]; /* "" without a request */
	struct bytes request_csr_sha256;
	const char *request_template; /* "name/version" */
	struct bytes certificate_sha256;
	const char *ca_name;
	const char *token; /* that it is an order for, as far as the database can say */
	/* Of a ceremony: what others than the first signed, with keys that are valid;
	 * and the limits that say who counts and how many it takes, those in force
	 * (none for ca-create, which brings its own). */
	struct decision_signature more[DECISION_SIGNATURES_MAX - 1];
	size_t more_count;
	struct bytes limits[DECISION_LIMITS_MAX]; /* text */
	size_t limits_count;
	bool overfull; /* there are more than fit here */
};

typedef void decisions_fn(
    const struct decision_row *rows, size_t n, const struct error *err, void *arg);
/* tokens: the names of those that this host has. An order for another one comes only
 * when nobody took it for ten seconds. clock: this host's is not in doubt; otherwise no
 * order about a CA comes by which something is signed with the time. */
struct db_pending *decision_claim(struct db *db, int limit, int lease_s, const char *const *tokens,
    size_t token_count, bool clock, decisions_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* The outcome is in the decision's row; err only when it could not be written. */
typedef void decision_done_fn(const struct error *err, void *arg);

/* Keeps the leases of those that are still held for lease_s from now. */
struct db_pending *decision_keep(struct db *db, const struct decision_key *keys, size_t n,
    int lease_s, decision_done_fn *answer, void *arg, struct error *err) MUST_CHECK;

struct db_pending *decision_refuse(struct db *db, struct decision_key key, const char *outcome,
    decision_done_fn *answer, void *arg, struct error *err) MUST_CHECK;
/* Back into the queue for after_s seconds. */
struct db_pending *decision_retry(struct db *db, struct decision_key key, int after_s,
    const char *outcome, decision_done_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* Closes the ceremonies that did not get their signatures in time. */
struct db_pending *decision_expire(
    struct db *db, decision_done_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* approve, deny */
struct db_pending *decision_apply_request(struct db *db, struct decision_key key,
    decision_done_fn *answer, void *arg, struct error *err) MUST_CHECK;
/* revoke, hold, release; reason: CRLReason of a revocation, since: its invalidityDate or
 * -1. publish_s: a CRL is wanted so many seconds later, -1: when the calendar makes one. */
struct db_pending *decision_apply_revocation(struct db *db, struct decision_key key,
    unsigned reason, int64_t since, int64_t publish_s, decision_done_fn *answer, void *arg,
    struct error *err) MUST_CHECK;
/* kind: "operator_key" or "tls_client". */
struct db_pending *decision_apply_operator(struct db *db, struct decision_key key,
    const char *person, const char *const *roles, size_t role_count, const char *kind,
    struct bytes spki, decision_done_fn *answer, void *arg, struct error *err) MUST_CHECK;
/* The signer has taken it. */
struct db_pending *decision_apply_reseed(struct db *db, struct decision_key key, const char *token,
    int signer_id, decision_done_fn *answer, void *arg, struct error *err) MUST_CHECK;
/* outcome: at most 1,000 characters. */
struct db_pending *decision_apply_attest(struct db *db, struct decision_key key,
    const char *outcome, decision_done_fn *answer, void *arg, struct error *err) MUST_CHECK;
struct db_pending *decision_apply_template(struct db *db, struct decision_key key, const char *name,
    bool automatic, decision_done_fn *answer, void *arg, struct error *err) MUST_CHECK;

#endif
