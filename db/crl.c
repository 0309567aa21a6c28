#include "db/crl.h"

#include <stdlib.h>
#include <string.h>

#include "db/call_int.h"

#define COLUMNS_OF_JOB                                                                             \
	"crl_id, epoch, artifact_id, scope_id, token_key_id, delta, resume, number, base_number, " \
	"this_update, next_update, upto_seq, base_seq, drop_expired_before, drop_upto_seq, "       \
	"ca_name, "                                                                                \
	"tbs_sha256, decision_id, idp, freshest, published, expired_since, prepared"

static const struct db_statement stmt_due = {
    "crl_due", "SELECT scope_id, token_key_id, delta FROM due_scopes($1, $2, $3)", 3};
static const struct db_statement stmt_begin = {
    "crl_begin", "SELECT " COLUMNS_OF_JOB " FROM begin_crl($1, $2, $3, $4, $5, $6, $7)", 7};
/* Nobody relies on a chunk before its digest is committed, and that commit waits for the disk. */
static const struct db_statement stmt_put_chunk = {"crl_put_chunk",
    "WITH later AS (SELECT set_config('synchronous_commit', 'off', true)) "
    "INSERT INTO artifact_chunk (artifact_id, position, data) SELECT $1, $2, $3 FROM later",
    3};
static const struct db_statement stmt_spool_size = {"crl_spool_size",
    "SELECT coalesce(sum(length(data)), 0)::bigint FROM artifact_chunk "
    "WHERE artifact_id = $1 AND position > 0",
    1};
static const struct db_statement stmt_get_chunk = {
    "crl_get_chunk", "SELECT data FROM artifact_chunk WHERE artifact_id = $1 AND position = $2", 2};
static const struct db_statement stmt_spooled = {
    "crl_spooled", "SELECT crl_spooled($1, $2, $3, $4, $5, $6, $7)", 7};
static const struct db_statement stmt_keep_lease = {
    "crl_keep_lease", "SELECT coalesce(crl_keep_lease($1, $2, $3), false)", 3};
static const struct db_statement stmt_complete = {"crl_complete",
    "SELECT " COLUMNS_OF_JOB " FROM crl_issued($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    12};
static const struct db_statement stmt_await_pin = {"crl_await_pin",
    "SELECT " COLUMNS_OF_JOB " FROM await_pin_crl($1, $2, $3, $4, $5, $6, $7, $8)", 8};
static const struct db_statement stmt_claim_pins = {
    "crl_claim_pins", "SELECT " COLUMNS_OF_JOB " FROM claim_pin_crls($1, $2, $3, $4)", 4};
static const struct db_statement stmt_note_alarm = {
    "crl_note_alarm", "SELECT note_crl_alarm($1, $2)", 2};
static const struct db_statement stmt_burn = {"crl_burn", "SELECT burn_crl($1, $2, $3, $4)", 4};

static const struct db_statement stmt_seq = {"crl_seq",
    "SELECT a.event_seq FROM crl_scope s JOIN ca a ON a.id = s.ca_id WHERE s.id = $1", 1};

/* $1 scope, $2 seconds, $3 seq: what may leave a complete CRL. */
#define COMPLETE_ENTRIES "FROM crl_complete_entries($1, to_timestamp($2), $3) "
/* $1 scope, $2 and $3 the window of events. */
#define DELTA_ENTRIES "FROM crl_delta_entries($1, $2, $3) "
/* The first octet's highest bit costs another octet in DER. */
#define SUMS                                                                             \
	"SELECT count(*), coalesce(sum(length(serial) + get_byte(serial, 0) / 128), 0)," \
	" count(*) FILTER (WHERE revoked_at >= '2050-01-01 UTC'),"                       \
	" count(*) FILTER (WHERE reason <> 0),"                                          \
	" count(*) FILTER (WHERE invalidity_date IS NOT NULL),"                          \
	" count(*) FILTER (WHERE reason <> 0 AND invalidity_date IS NOT NULL) "
#define ENTRY "SELECT serial, revoked_at, reason, invalidity_date "

static const struct db_statement stmt_complete_sums = {
    "crl_complete_sums", SUMS COMPLETE_ENTRIES, 3};
static const struct db_statement stmt_delta_sums = {"crl_delta_sums", SUMS DELTA_ENTRIES, 3};
static const struct db_statement stmt_complete_entries = {
    "crl_complete_entries", ENTRY COMPLETE_ENTRIES "ORDER BY serial", 3};
static const struct db_statement stmt_delta_entries = {
    "crl_delta_entries", ENTRY DELTA_ENTRIES "ORDER BY serial", 3};

/* $1 scope, $2 and $3 as above, $4 the last event. */
static const struct db_statement stmt_complete_history = {"crl_complete_history",
    ENTRY "FROM crl_complete_history($1, to_timestamp($2), $3, $4) ORDER BY serial, seq DESC", 4};
static const struct db_statement stmt_delta_expected = {
    "crl_delta_expected", ENTRY "FROM crl_delta_expected($1, $2, $3) ORDER BY serial", 3};

static void
copy_octets(struct bytes from, uint8_t *to, size_t *len, size_t max)
{
	*len = from.len <= max ? from.len : 0;
	if (*len > 0)
		memcpy(to, from.p, *len);
}

/* The scope's values, one behind the other. */
static bool
copy_values(struct db_result *r, size_t row, struct crl_job *job, struct error *err)
{
	struct crl_slice *const slices[] = {&job->idp, &job->freshest, &job->published};
	size_t used = 0;

	for (size_t i = 0; i < COUNT_OF(slices); i++) {
		struct bytes value = db_get_bytes(r, row, 18 + i);

		if (value.len > sizeof job->extensions - used)
			return error_set(err, ERROR_LIMIT,
			    "the extensions of CRLs of CA %s take more than %d octets",
			    job->ca_name, CRL_VALUES_MAX);
		if (value.len > 0)
			memcpy(job->extensions + used, value.p, value.len);
		*slices[i] = (struct crl_slice){used, value.len};
		used += value.len;
	}
	return true;
}

static bool
read_job(struct db_result *r, size_t row, struct crl_job *job, struct error *err)
{
	const char *name = db_get_text(r, row, 15);
	size_t digest_len;

	*job = (struct crl_job){
	    .crl_id = db_get_int64(r, row, 0),
	    .epoch = (int32_t)db_get_int64(r, row, 1),
	    .artifact_id = db_get_int64(r, row, 2),
	    .scope_id = db_get_int64(r, row, 3),
	    .token_key_id = db_get_int64(r, row, 4),
	    .delta = db_get_bool(r, row, 5),
	    .resume = db_get_bool(r, row, 6),
	    .prepared = db_get_bool(r, row, 22),
	    .this_update = db_get_unixtime(r, row, 9),
	    .next_update = db_get_unixtime(r, row, 10),
	    .upto_seq = db_is_null(r, row, 11) ? -1 : db_get_int64(r, row, 11),
	    .base_seq = db_get_int64(r, row, 12),
	    .drop_expired_before = db_get_unixtime(r, row, 13),
	    .drop_upto_seq = db_is_null(r, row, 14) ? -1 : db_get_int64(r, row, 14),
	    .decision_id = db_is_null(r, row, 17) ? 0 : db_get_int64(r, row, 17),
	    .expired_since = db_is_null(r, row, 21) ? -1 : db_get_unixtime(r, row, 21),
	};
	copy_octets(db_get_bytes(r, row, 7), job->number, &job->number_len, sizeof job->number);
	copy_octets(db_get_bytes(r, row, 8), job->base_number, &job->base_number_len,
	    sizeof job->base_number);
	copy_octets(db_get_bytes(r, row, 16), job->tbs_sha256, &digest_len, sizeof job->tbs_sha256);
	for (size_t i = 0; name != NULL && name[i] != '\0' && i + 1 < sizeof job->ca_name; i++)
		job->ca_name[i] = name[i];
	return copy_values(r, row, job, err) && db_result_ok(r, err);
}

static void
on_due(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct crl_due due[CRL_DUE_MAX];
	struct error e = ERROR_INIT;
	size_t n = 0;

	if (err == NULL) {
		n = db_row_count(result);
		if (n > COUNT_OF(due))
			n = COUNT_OF(due);
		for (size_t i = 0; i < n; i++)
			due[i] = (struct crl_due){.scope_id = db_get_int64(result, i, 0),
			    .token_key_id = db_get_int64(result, i, 1),
			    .delta = db_get_bool(result, i, 2)};
		if (!db_result_ok(result, &e))
			err = &e;
	}
	((crl_due_fn *)call.fn)(due, err == NULL ? n : 0, err, call.arg);
}

static void
on_job(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct crl_job job;
	struct error e = ERROR_INIT;
	bool some = err == NULL && db_row_count(result) > 0;

	if (some && !read_job(result, 0, &job, &e))
		err = &e;
	((crl_job_fn *)call.fn)(some && err == NULL ? &job : NULL, err, call.arg);
}

static void
on_done(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	bool held = err == NULL && (db_row_count(result) == 0 || db_get_bool(result, 0, 0));

	((crl_done_fn *)call.fn)(held, err, call.arg);
}

/* Answers that carry nothing: the call has done what it should. */
static void
on_void(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);

	((crl_done_fn *)call.fn)(err == NULL, err, call.arg);
}

struct db_pending *
crl_find_due(struct db *db, const struct crl_room *rooms, size_t room_count, const int64_t *without,
    size_t n, crl_due_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_array_begin(&p, DB_TEXT);
	for (size_t i = 0; i < room_count; i++)
		db_element_text(&p, rooms[i].token);
	db_array_end(&p);
	db_array_begin(&p, DB_INT4);
	for (size_t i = 0; i < room_count; i++)
		db_element_int32(&p, rooms[i].crls);
	db_array_end(&p);
	db_array_begin(&p, DB_INT8);
	for (size_t i = 0; i < n; i++)
		db_element_int64(&p, without[i]);
	db_array_end(&p);
	return db_call(db, &stmt_due, &p, on_due, (db_call_fn *)fn, arg, err);
}

struct db_pending *
crl_begin(struct db *db, int64_t scope_id, bool delta, const struct decision_key *decision,
    int64_t life_s, int lease_s, struct bytes policy_sha256, crl_job_fn *fn, void *arg,
    struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, scope_id);
	db_param_bool(&p, delta);
	if (decision != NULL) {
		db_param_int64(&p, decision->id);
		db_param_int64(&p, decision->epoch);
	} else {
		db_param_null(&p);
		db_param_null(&p);
	}
	db_param_int64(&p, life_s);
	db_param_int64(&p, lease_s);
	db_param_bytes(&p, policy_sha256);
	return db_call(db, &stmt_begin, &p, on_job, (db_call_fn *)fn, arg, err);
}

struct db_pending *
crl_put_chunk(struct db *db, int64_t artifact_id, int position, const void *data, size_t len,
    crl_done_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, artifact_id);
	db_param_int64(&p, position);
	db_param_bytea(&p, data, len);
	return db_call(db, &stmt_put_chunk, &p, on_void, (db_call_fn *)fn, arg, err);
}

struct db_pending *
crl_spool_size(struct db *db, int64_t artifact_id, db_answer_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, artifact_id);
	return db_query(db, &stmt_spool_size, &p, fn, arg, err);
}

struct db_pending *
crl_get_chunk(struct db *db, int64_t artifact_id, int position, db_answer_fn *fn, void *arg,
    struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, artifact_id);
	db_param_int64(&p, position);
	return db_query(db, &stmt_get_chunk, &p, fn, arg, err);
}

struct db_pending *
crl_spooled(struct db *db, const struct crl_job *job, int64_t upto_seq, int64_t entries,
    uint64_t size, const uint8_t tbs_sha256[32], int lease_s, crl_done_fn *fn, void *arg,
    struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, job->crl_id);
	db_param_int64(&p, job->epoch);
	db_param_int64(&p, upto_seq);
	db_param_int64(&p, entries);
	db_param_bytea(&p, tbs_sha256, 32);
	db_param_int64(&p, lease_s);
	db_param_int64(&p, (int64_t)size);
	return db_call(db, &stmt_spooled, &p, on_done, (db_call_fn *)fn, arg, err);
}

struct db_pending *
crl_keep_lease(struct db *db, const struct crl_job *job, int lease_s, crl_done_fn *fn, void *arg,
    struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, job->crl_id);
	db_param_int64(&p, job->epoch);
	db_param_int64(&p, lease_s);
	return db_call(db, &stmt_keep_lease, &p, on_done, (db_call_fn *)fn, arg, err);
}

struct db_pending *
crl_complete(struct db *db, const struct crl_job *job, const struct crl_completion *completion,
    int lease_s, crl_job_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, job->crl_id);
	db_param_int64(&p, job->epoch);
	db_param_bytea(&p, completion->head, completion->head_len);
	db_param_bytea(&p, completion->tail, completion->tail_len);
	db_param_bytea(&p, completion->sha256, 32);
	db_param_int64(&p, completion->period_s);
	if (completion->delta_life_s > 0) {
		db_param_int64(&p, completion->delta_period_s);
		db_param_int64(&p, completion->delta_life_s);
	} else {
		db_param_null(&p);
		db_param_null(&p);
	}
	db_param_int64(&p, lease_s);
	if (completion->align_unit_s > 0)
		db_param_int64(&p, completion->align_unit_s);
	else
		db_param_null(&p);
	db_param_int64(&p, completion->align_offset_s);
	db_param_int64(&p, completion->jitter_s);
	return db_call(db, &stmt_complete, &p, on_job, (db_call_fn *)fn, arg, err);
}

struct db_pending *
crl_burn(struct db *db, const struct crl_job *job, const char *reason, bool final, crl_done_fn *fn,
    void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, job->crl_id);
	db_param_int64(&p, job->epoch);
	db_param_text(&p, reason);
	db_param_bool(&p, final);
	return db_call(db, &stmt_burn, &p, on_void, (db_call_fn *)fn, arg, err);
}

struct db_pending *
crl_await_pin(struct db *db, const struct crl_job *job, int signer_id, const char *said,
    int64_t delta_life_s, int lease_s, const struct signproto_abstract *about, crl_job_fn *fn,
    void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, job->crl_id);
	db_param_int64(&p, job->epoch);
	db_param_int64(&p, signer_id);
	db_param_text(&p, said);
	if (delta_life_s > 0)
		db_param_int64(&p, delta_life_s);
	else
		db_param_null(&p);
	db_param_int64(&p, lease_s);
	db_param_bytea(
	    &p, about != NULL ? about->text.p : NULL, about != NULL ? about->text.len : 0);
	db_param_bytea(&p, about != NULL ? about->signature.p : NULL,
	    about != NULL ? about->signature.len : 0);
	return db_call(db, &stmt_await_pin, &p, on_job, (db_call_fn *)fn, arg, err);
}

static void
on_jobs(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct crl_job jobs[CRL_CLAIM_MAX];
	struct error e = ERROR_INIT;
	size_t n = 0, rows = err == NULL ? db_row_count(result) : 0;

	while (n < rows && n < COUNT_OF(jobs) && read_job(result, n, &jobs[n], &e))
		jobs[n++].listed = true;
	if (error_is_set(&e))
		err = &e;
	((crl_jobs_fn *)call.fn)(jobs, err == NULL ? n : 0, err, call.arg);
}

struct db_pending *
crl_claim_pins(struct db *db, const char *token, int signer_id, const struct pin_digests *digests,
    int lease_s, crl_jobs_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_text(&p, token);
	db_param_int64(&p, signer_id);
	pin_param_digests(&p, digests);
	db_param_int64(&p, lease_s);
	return db_call(db, &stmt_claim_pins, &p, on_jobs, (db_call_fn *)fn, arg, err);
}

struct db_pending *
crl_note_alarm(struct db *db, int64_t scope_id, const char *sentence, crl_done_fn *fn, void *arg,
    struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, scope_id);
	db_param_text(&p, sentence);
	return db_call(db, &stmt_note_alarm, &p, on_void, (db_call_fn *)fn, arg, err);
}

bool
crl_stream_seq(struct db_stream *s, const struct crl_job *job, db_stream_answer_fn *fn, void *arg,
    struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, job->scope_id);
	return db_stream_query(s, &stmt_seq, &p, fn, arg, err);
}

/* The three values of COMPLETE_ROWS or of DELTA_ROWS. */
static void
window(const struct crl_job *job, int64_t upto_seq, int64_t values[3])
{
	values[0] = job->scope_id;
	values[1] = job->delta ? job->base_seq : job->drop_expired_before;
	values[2] = job->delta ? upto_seq : job->drop_upto_seq;
}

bool
crl_stream_sums(struct db_stream *s, const struct crl_job *job, int64_t upto_seq,
    db_stream_answer_fn *fn, void *arg, struct error *err)
{
	struct db_params p = DB_PARAMS_INIT;
	int64_t values[3];

	window(job, upto_seq, values);
	for (size_t i = 0; i < COUNT_OF(values); i++)
		db_param_int64(&p, values[i]);
	return db_stream_query(
	    s, job->delta ? &stmt_delta_sums : &stmt_complete_sums, &p, fn, arg, err);
}

bool
crl_get_sums(struct db_result *result, struct crl_sums *sums, struct error *err)
{
	*sums = (struct crl_sums){
	    .entries = db_get_int64(result, 0, 0),
	    .serial_octets = db_get_int64(result, 0, 1),
	    .generalized = db_get_int64(result, 0, 2),
	    .with_reason = db_get_int64(result, 0, 3),
	    .with_invalidity = db_get_int64(result, 0, 4),
	    .with_both = db_get_int64(result, 0, 5),
	};
	return db_result_ok(result, err);
}

bool
crl_stream_entries(struct db_stream *s, const struct crl_job *job, int64_t upto_seq,
    db_stream_row_fn *row, db_stream_end_fn *end, void *arg, struct error *err)
{
	int64_t values[3];

	window(job, upto_seq, values);
	return db_stream_copy(s, job->delta ? &stmt_delta_entries : &stmt_complete_entries, values,
	    row, end, arg, err);
}

bool
crl_stream_expected(struct db_stream *s, const struct crl_job *job, db_stream_row_fn *row,
    db_stream_end_fn *end, void *arg, struct error *err)
{
	int64_t values[4];

	window(job, job->upto_seq, values);
	values[3] = job->upto_seq;
	return db_stream_copy(s, job->delta ? &stmt_delta_expected : &stmt_complete_history, values,
	    row, end, arg, err);
}

bool
crl_get_entry(struct db_stream_row *row, struct crl_entry *entry, struct error *err)
{
	int64_t reason = db_field_int64(row, 2);

	entry->serial = db_field_bytes(row, 0);
	entry->revoked_at = db_field_unixtime(row, 1);
	entry->reason = (uint8_t)reason;
	entry->has_invalidity_date = !db_field_is_null(row, 3);
	entry->invalidity_date = db_field_unixtime(row, 3);
	if (row->failed || entry->serial.len == 0 || reason != entry->reason)
		return error_set(
		    err, ERROR_INTERNAL, "a row of the revocations is not as expected");
	return true;
}
