#ifndef CHANCERY_DB_REQUEST_H
#define CHANCERY_DB_REQUEST_H

/*
 * The queue of requests as the issuer works on it: typed calls of the functions
 * of migrations/0002_queue.sql. Each call is one transaction for a whole batch.
 *
 *	request_claim           submitted|approved -> claimed
 *	request_finish_checks   claimed -> pending|rejected|failed, or stays claimed;
 *	                        signing -> failed
 *	request_begin_signing   claimed -> signing; serial and bytes are committed
 *	request_complete        signing -> issued
 *	request_release         claimed|signing -> submitted|approved, for later
 *	request_await_pins      signing -> awaiting-pin, held by nobody
 *	request_claim_pins      awaiting-pin -> signing
 *
 * Each claim raises the request's epoch. Calls name (id, epoch), and a request
 * that has another epoch or state by now is left out of the answer: its lease
 * ended and it is somebody else's, so the caller drops what it has. All calls
 * may be repeated after ERROR_UNAVAILABLE.
 *
 * Batches hold at most REQUEST_BATCH_MAX. Arguments are copied before a call
 * returns. Each call returns a handle for db_cancel, NULL with err set if it
 * could not be sent; answers as with db_query.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"
#include "db/db.h"
#include "db/pin.h"

#define REQUEST_BATCH_MAX 256
#define REQUEST_NAMES_MAX 128	/* subject alternative names of one request */
#define REQUEST_SOURCES_MAX 256 /* CAs of one claim */
#define SERIAL_LEN 20		/* octets of a serial number */

/* What names a claim. */
struct request_key {
	int64_t id;
	int32_t epoch;
};

/* A serial that was given away, with the only bytes it may ever sign. */
struct request_intent {
	int64_t issuer_name_id;
	int64_t generation_id;
	int64_t scope_id;
	uint8_t serial[SERIAL_LEN];
	struct bytes tbs;
};

/* A claimed request; slices live as long as its batch. */
struct request_claim {
	struct request_key key;
	char public_id[DB_UUID_TEXT_SIZE];
	int64_t ca_id;
	int64_t template_version_id;
	bool cleared;		/* decided, or checked under an automatic template */
	bool automatic;		/* its template issues without a decision */
	int64_t due_us;		/* its place in the queue, microseconds since the epoch */
	struct bytes csr;	/* DER */
	const char *attributes; /* JSON object */
	/* The statement by which an operator approved it, its signature and public
	 * key; empty when none did. */
	struct bytes statement, signature, spki;
	bool has_intent; /* it was being signed before: sign these bytes again */
	struct request_intent intent;
};

struct request_batch {
	size_t count;
	struct request_claim *claims;
	struct db_result *rows; /* owned; what the slices point into */
};

void request_batch_free(struct request_batch *batch);

/* A CA whose requests are wanted. */
struct request_source {
	int64_t ca_id;
	int64_t since_us; /* none that was due before this; 0: all */
	bool signs;	  /* otherwise only what waits for a decision after its check */
};

/* Up to limit requests, of each of the count CAs its share first. batch is the
 * callback's to free; NULL with err. It may be empty. If it is not, the caller has
 * promised to claim again look_ms from now, and submitters send no hints until
 * shortly before; with look_ms 0 it promises nothing. */
typedef void request_claim_fn(struct request_batch *batch, const struct error *err, void *arg);
struct db_pending *request_claim(struct db *db, const struct request_source *sources, size_t count,
    unsigned limit, unsigned lease_s, unsigned look_ms, request_claim_fn *answer, void *arg,
    struct error *err) MUST_CHECK;

enum request_outcome {
	REQUEST_PASSED,
	REQUEST_REJECTED, /* breaks a rule: final */
	REQUEST_FAILED,	  /* cannot be issued for another reason, also while signing: final */
};

/* What a check found; strings and slices are borrowed for the call. */
struct request_check {
	struct request_key key;
	enum request_outcome outcome;
	const char *reason; /* one sentence for the submitter; NULL if passed */
	/* What the CSR asks for; subject NULL if it could not be read. */
	const char *subject;
	const char *const *names; /* "dns:a.example", ...; without control bytes */
	size_t names_count;
	const char *key_type;
	struct bytes spki_sha256;
	struct bytes csr_sha256;
};

enum request_next {
	REQUEST_NEXT_SIGN,    /* still claimed and cleared: begin signing */
	REQUEST_NEXT_PENDING, /* waits for an operator */
	REQUEST_NEXT_NONE,    /* rejected or failed */
};

struct request_checked {
	int64_t id;
	enum request_next next;
};

/* checked lists those whose claim still held; valid during the callback. */
typedef void request_checked_fn(
    const struct request_checked *checked, size_t count, const struct error *err, void *arg);
struct db_pending *request_finish_checks(struct db *db, const struct request_check *checks,
    size_t count, request_checked_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* ids lists the requests that were changed, in no particular order; valid
 * during the callback. err is NULL, or set with count 0. */
typedef void request_ids_fn(const int64_t *ids, size_t count, const struct error *err, void *arg);

/* Requests must be cleared, or have an automatic template. One that has a live
 * intent must be given it unchanged (claim.intent); all others get the intent given
 * here. Only those answered may be sent to the token. */
struct db_pending *request_begin_signing(struct db *db, const struct request_key *keys,
    const struct request_intent *intents, size_t count, request_ids_fn *answer, void *arg,
    struct error *err) MUST_CHECK;

/* The live intents of claimed requests can no longer be signed (their key was
 * retired, their validity has passed): they stay on record, and the requests
 * may begin anew. */
struct db_pending *request_abandon_intents(struct db *db, const struct request_key *keys,
    size_t count, request_ids_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* The signer does not take the serials of requests that are being signed: likewise, and
 * they wait, longer each time; the 20th time they have failed. reasons: of each, NULL
 * for none. */
struct db_pending *request_refuse_intents(struct db *db, const struct request_key *keys,
    const char *const *reasons, size_t count, request_ids_fn *answer, void *arg,
    struct error *err) MUST_CHECK;

/* An issued certificate; borrowed for the call. Serial, CA, generation, scope
 * and template come from the request's intent. */
struct request_certificate {
	struct request_key key;
	const char *subject;
	const char *const *names;
	size_t names_count;
	const char *key_type;
	int64_t not_before, not_after; /* seconds since the epoch */
	struct bytes spki_sha256;
	struct bytes der; /* must hold the intent's to-be-signed bytes */
};

struct db_pending *request_complete(struct db *db, const struct request_certificate *certificates,
    size_t count, request_ids_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* Back into the queue, not to be claimed for retry_after_ms; reason is what
 * people see meanwhile, and may be NULL. */
struct db_pending *request_release(struct db *db, const struct request_key *keys, size_t count,
    unsigned retry_after_ms, const char *reason, request_ids_fn *answer, void *arg,
    struct error *err) MUST_CHECK;

/* Being signed, and waiting for a person's PIN from now on. said: why signing them failed
 * before, of each; NULL where it did not. wait_s after their serial was given away they
 * get another one. */
struct db_pending *request_await_pins(struct db *db, const struct request_key *keys,
    const char *const *said, size_t count, int signer_id, unsigned wait_s, request_ids_fn *answer,
    void *arg, struct error *err) MUST_CHECK;

/* Those of this signer that an entry lists, ready to be sent to it as they stand; as
 * request_claim answers. */
struct db_pending *request_claim_pins(struct db *db, const char *token, int signer_id,
    const struct pin_digests *digests, unsigned lease_s, request_claim_fn *answer, void *arg,
    struct error *err) MUST_CHECK;

/* Keeps claims for lease_s from now. */
struct db_pending *request_extend(struct db *db, const struct request_key *keys, size_t count,
    unsigned lease_s, request_ids_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* How many requests were changed; err is NULL or set. */
typedef void request_count_fn(int64_t count, const struct error *err, void *arg);

/* Puts requests whose lease ended back into the queue; call every few seconds,
 * from any number of issuers. */
struct db_pending *request_sweep(
    struct db *db, request_count_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* Pending for longer than max_age_s: expired. */
struct db_pending *request_expire(struct db *db, int64_t max_age_s, request_count_fn *answer,
    void *arg, struct error *err) MUST_CHECK;

#endif
