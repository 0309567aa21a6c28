#ifndef CHANCERY_DB_CRL_H
#define CHANCERY_DB_CRL_H

/*
 * The life of a CRL in the database (migrations/0004_crl.sql), and its entries
 * as a stream.
 *
 * building: entries are streamed from one snapshot into chunks of an artifact;
 * signing: the chunks stand and their digest is committed; issued. A CRL is held
 * under a lease; its epoch is the fence, and every call with a stale epoch
 * changes nothing.
 */

#include <stdbool.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/signproto.h"
#include "daemon/x509/crl.h"
#include "db/db.h"
#include "db/decision.h"
#include "db/pin.h"
#include "db/stream.h"

#define CRL_NUMBER_OCTETS_MAX 20   /* RFC 5280 5.2.3 */
#define CRL_VALUES_MAX 8192	   /* octets of a scope's extension values */
#define CRL_CHUNK_MAX (256 * 1024) /* octets of an artifact's chunk as we write them */

/* What has to be done; all copied, nothing borrowed. */
struct crl_job {
	int64_t crl_id, artifact_id, scope_id, token_key_id;
	int64_t decision_id; /* whose order it is, 0: the calendar's */
	int32_t epoch;
	bool delta;
	bool resume;   /* spooled and committed by somebody before: only sign */
	bool prepared; /* a delta whose complete CRL waits for a PIN: only spool */
	bool listed;   /* by an entry of a PIN, which lets it be signed now */
	uint8_t number[CRL_NUMBER_OCTETS_MAX], base_number[CRL_NUMBER_OCTETS_MAX];
	size_t number_len, base_number_len; /* base: 0 for a complete CRL */
	int64_t this_update, next_update;
	int64_t upto_seq; /* -1: that of the snapshot */
	int64_t base_seq;
	/* Entries with not_after before this and seq up to that leave the list;
	 * 0 and -1 where none does. */
	int64_t drop_expired_before, drop_upto_seq;
	uint8_t tbs_sha256[32]; /* of a resumed CRL: what it may be signed with */
	char ca_name[65 + 63];	/* with the label of the scope: for people */
	/* Values of extensions, as the scope has them; empty: absent. */
	uint8_t extensions[CRL_VALUES_MAX];
	struct crl_slice {
		size_t at, len;
	} idp, freshest, published;
	int64_t expired_since; /* of expiredCertsOnCRL; -1: absent */
};

/* One of the values. */
static inline struct bytes
crl_job_value(const struct crl_job *job, struct crl_slice slice)
{
	return (struct bytes){job->extensions + slice.at, slice.len};
}

struct crl_due {
	int64_t scope_id, token_key_id;
	bool delta;
};

/* The callbacks get err != NULL on failure. due is borrowed. */
typedef void crl_due_fn(const struct crl_due *due, size_t n, const struct error *err, void *arg);
/* job == NULL and err == NULL: there is nothing to do (somebody else does it). */
typedef void crl_job_fn(const struct crl_job *job, const struct error *err, void *arg);
typedef void crl_done_fn(bool held, const struct error *err, void *arg);

/* For how many CRLs of a token's keys the caller has room. */
struct crl_room {
	const char *token;
	int crls;
};

/* Scopes that are due, of each token as many as there is room for, CRL_DUE_MAX in all; the
 * n of `without` are left out. */
#define CRL_DUE_MAX 128
struct db_pending *crl_find_due(struct db *db, const struct crl_room *rooms, size_t room_count,
    const int64_t *without, size_t n, crl_due_fn *fn, void *arg, struct error *err) MUST_CHECK;

/* decision: NULL for the calendar; a stale one is ERROR_CONFLICT. life_s: from
 * thisUpdate to nextUpdate. policy_sha256: of the policy that says so; there is no job
 * when another one is in force. The job may be one that was left behind, for another
 * decision or kind: look. */
struct db_pending *crl_begin(struct db *db, int64_t scope_id, bool delta,
    const struct decision_key *decision, int64_t life_s, int lease_s, struct bytes policy_sha256,
    crl_job_fn *fn, void *arg, struct error *err) MUST_CHECK;

/* One chunk of the to-be-signed bytes; position counts from 1. */
struct db_pending *crl_put_chunk(struct db *db, int64_t artifact_id, int position, const void *data,
    size_t len, crl_done_fn *fn, void *arg, struct error *err) MUST_CHECK;
/* Octets of all chunks from position 1 on: bigint in row 0, column 0. */
struct db_pending *crl_spool_size(
    struct db *db, int64_t artifact_id, db_answer_fn *fn, void *arg, struct error *err) MUST_CHECK;
/* Reads it back; the answer's only row has the bytes in column 0, no row: the end. */
struct db_pending *crl_get_chunk(struct db *db, int64_t artifact_id, int position, db_answer_fn *fn,
    void *arg, struct error *err) MUST_CHECK;

/* held is false when the CRL was taken over by another issuer. A lease of 0 s
 * gives it back. size: octets of all chunks; ERROR_UNAVAILABLE when they are not all there. */
struct db_pending *crl_spooled(struct db *db, const struct crl_job *job, int64_t upto_seq,
    int64_t entries, uint64_t size, const uint8_t tbs_sha256[32], int lease_s, crl_done_fn *fn,
    void *arg, struct error *err) MUST_CHECK;
struct db_pending *crl_keep_lease(struct db *db, const struct crl_job *job, int lease_s,
    crl_done_fn *fn, void *arg, struct error *err) MUST_CHECK;

/* May be repeated when the answer was lost. What completes an artifact and the calendar; periods in
 * seconds, delta_life_s 0 for a CA without delta CRLs. The callback's job is the delta that is
 * issued together with this CRL, or NULL. */
struct crl_completion {
	const uint8_t *head, *tail;
	size_t head_len, tail_len;
	uint8_t sha256[32]; /* of the whole CRL */
	int64_t period_s, delta_period_s, delta_life_s;
	int64_t align_unit_s, align_offset_s; /* ticks at the wall clock; unit 0: none */
	int64_t jitter_s;
};
struct db_pending *crl_complete(struct db *db, const struct crl_job *job,
    const struct crl_completion *completion, int lease_s, crl_job_fn *fn, void *arg,
    struct error *err) MUST_CHECK;

/* final: the decision that ordered this CRL is refused with that reason;
 * otherwise it is in the queue again. */
struct db_pending *crl_burn(struct db *db, const struct crl_job *job, const char *reason,
    bool final, crl_done_fn *fn, void *arg, struct error *err) MUST_CHECK;

/* Committed, and waiting for a person's PIN from now on, under no lease. said: why signing
 * it failed before, or NULL. delta_life_s: of the delta that goes with a complete CRL, the
 * job that there may then be, so that one entry covers both; 0: there is none. about: what
 * its signer says of a long one, or NULL. */
struct db_pending *crl_await_pin(struct db *db, const struct crl_job *job, int signer_id,
    const char *said, int64_t delta_life_s, int lease_s, const struct signproto_abstract *about,
    crl_job_fn *fn, void *arg, struct error *err) MUST_CHECK;

/* Those of this signer that an entry lists, at most CRL_CLAIM_MAX; all to be resumed. */
#define CRL_CLAIM_MAX 64
typedef void crl_jobs_fn(
    const struct crl_job *jobs, size_t count, const struct error *err, void *arg);
struct db_pending *crl_claim_pins(struct db *db, const char *token, int signer_id,
    const struct pin_digests *digests, int lease_s, crl_jobs_fn *fn, void *arg,
    struct error *err) MUST_CHECK;

/* Why no CRL of this scope can be begun now, for people; it stands until one is issued. */
struct db_pending *crl_note_alarm(struct db *db, int64_t scope_id, const char *sentence,
    crl_done_fn *fn, void *arg, struct error *err) MUST_CHECK;

/*
 * The entries, on a stream of their own (one snapshot): first the newest event's
 * number, then what their size depends on, then the entries in the order of
 * their serials.
 */
bool crl_stream_seq(struct db_stream *s, const struct crl_job *job, db_stream_answer_fn *fn,
    void *arg, struct error *err) MUST_CHECK; /* bigint in row 0, column 0 */
bool crl_stream_sums(struct db_stream *s, const struct crl_job *job, int64_t upto_seq,
    db_stream_answer_fn *fn, void *arg, struct error *err) MUST_CHECK;
/* From the answer of crl_stream_sums. */
bool crl_get_sums(struct db_result *result, struct crl_sums *sums, struct error *err) MUST_CHECK;
/* Rows are read with crl_get_entry. */
bool crl_stream_entries(struct db_stream *s, const struct crl_job *job, int64_t upto_seq,
    db_stream_row_fn *row, db_stream_end_fn *end, void *arg, struct error *err) MUST_CHECK;

/* What a CRL must hold, read from the events and not from what crl_stream_entries
 * reads, in the same order; job->upto_seq is the last event that counts. Of a serial with
 * several rows the first counts; of a complete CRL's rows only if it is not removeFromCRL. */
bool crl_stream_expected(struct db_stream *s, const struct crl_job *job, db_stream_row_fn *row,
    db_stream_end_fn *end, void *arg, struct error *err) MUST_CHECK;

/* The serial is borrowed from the row. */
bool crl_get_entry(
    struct db_stream_row *row, struct crl_entry *entry, struct error *err) MUST_CHECK;

#endif
