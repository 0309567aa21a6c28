#include "db/request.h"

#include <stdlib.h>
#include <string.h>

#include "db/call_int.h"

static bool
check_count(size_t count, struct db_params *p, struct error *err)
{
	if (count <= REQUEST_BATCH_MAX)
		return true;
	db_params_free(p);
	return error_set(
	    err, ERROR_INTERNAL, "a batch of %zu requests; at most %d", count, REQUEST_BATCH_MAX);
}

/* The first two parameters of most functions. */
static void
param_keys(struct db_params *p, const struct request_key *keys, size_t count)
{
	db_array_begin(p, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_element_int64(p, keys[i].id);
	db_array_end(p);
	db_array_begin(p, DB_INT4);
	for (size_t i = 0; i < count; i++)
		db_element_int32(p, keys[i].epoch);
	db_array_end(p);
}

/* Names travel one a line: arrays of arrays would have to be rectangular. */
static bool
element_names(struct db_params *p, const char *const *names, size_t count, struct error *err)
{
	char *text = NULL;
	size_t len = 0, at = 0;
	bool ok = false;

	for (size_t i = 0; i < count; i++) {
		if (strchr(names[i], '\n') != NULL)
			return error_set(err, ERROR_INPUT,
			    "RFC 5280 4.2.1.6: a subject alternative name with a line feed in it");
		len += strlen(names[i]) + 1;
	}
	if (count == 0) {
		db_element_text(p, "");
		return true;
	}
	text = malloc(len);
	if (text == NULL) {
		error_set(err, ERROR_SYSTEM, "out of memory");
		goto out;
	}
	for (size_t i = 0; i < count; i++) {
		size_t n = strlen(names[i]);

		memcpy(text + at, names[i], n);
		at += n;
		text[at++] = '\n';
	}
	db_element_textn(p, text, at - 1);
	ok = true;
out:
	free(text);
	return ok;
}

/* ------------------------------------------------------------------ answers */

static void
answer_ids(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct error failure = ERROR_INIT;
	int64_t ids[REQUEST_BATCH_MAX];
	size_t count = result != NULL ? db_row_count(result) : 0;

	if (err != NULL) {
		((request_ids_fn *)call.fn)(NULL, 0, err, call.arg);
		return;
	}
	if (count > REQUEST_BATCH_MAX)
		error_set(&failure, ERROR_INTERNAL, "a batch answered with %zu rows", count);
	for (size_t i = 0; i < count && !error_is_set(&failure); i++)
		ids[i] = db_get_int64(result, i, 0);
	if (error_is_set(&failure) || !db_result_ok(result, &failure))
		((request_ids_fn *)call.fn)(NULL, 0, &failure, call.arg);
	else
		((request_ids_fn *)call.fn)(ids, count, NULL, call.arg);
}

static void
answer_count(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct error failure = ERROR_INIT;
	int64_t count;

	if (err != NULL) {
		((request_count_fn *)call.fn)(0, err, call.arg);
		return;
	}
	count = db_get_int64(result, 0, 0);
	if (!db_result_ok(result, &failure))
		((request_count_fn *)call.fn)(0, &failure, call.arg);
	else
		((request_count_fn *)call.fn)(count, NULL, call.arg);
}

static enum request_next
next_of(const char *state)
{
	if (state != NULL && strcmp(state, "claimed") == 0)
		return REQUEST_NEXT_SIGN;
	if (state != NULL && strcmp(state, "pending") == 0)
		return REQUEST_NEXT_PENDING;
	return REQUEST_NEXT_NONE;
}

static void
answer_checked(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct error failure = ERROR_INIT;
	struct request_checked checked[REQUEST_BATCH_MAX];
	size_t count = result != NULL ? db_row_count(result) : 0;

	if (err != NULL) {
		((request_checked_fn *)call.fn)(NULL, 0, err, call.arg);
		return;
	}
	if (count > REQUEST_BATCH_MAX)
		error_set(&failure, ERROR_INTERNAL, "a batch answered with %zu rows", count);
	for (size_t i = 0; i < count && !error_is_set(&failure); i++) {
		checked[i].id = db_get_int64(result, i, 0);
		checked[i].next = next_of(db_get_text(result, i, 1));
	}
	if (error_is_set(&failure) || !db_result_ok(result, &failure))
		((request_checked_fn *)call.fn)(NULL, 0, &failure, call.arg);
	else
		((request_checked_fn *)call.fn)(checked, count, NULL, call.arg);
}

/* ------------------------------------------------------------------ claiming */

void
request_batch_free(struct request_batch *batch)
{
	if (batch == NULL)
		return;
	free(batch->claims);
	db_result_free(batch->rows);
	free(batch);
}

static bool
read_claim(struct db_result *r, size_t i, struct request_claim *c, struct error *err)
{
	struct bytes serial;

	c->key.id = db_get_int64(r, i, 0);
	db_get_uuid(r, i, 1, c->public_id);
	c->key.epoch = (int32_t)db_get_int64(r, i, 2);
	c->ca_id = db_get_int64(r, i, 3);
	c->template_version_id = db_get_int64(r, i, 4);
	c->cleared = db_get_bool(r, i, 5);
	c->automatic = db_get_bool(r, i, 6);
	c->due_us = db_get_int64(r, i, 7);
	c->csr = db_get_bytes(r, i, 8);
	c->attributes = db_get_text(r, i, 9);
	c->statement = db_get_bytes(r, i, 15);
	c->signature = db_get_bytes(r, i, 16);
	c->spki = db_get_bytes(r, i, 17);
	c->has_intent = !db_is_null(r, i, 11);
	if (!c->has_intent)
		return db_result_ok(r, err);
	serial = db_get_bytes(r, i, 11);
	if (serial.len != sizeof c->intent.serial)
		return error_set(err, ERROR_INTERNAL, "request %s: its serial has %zu octets",
		    c->public_id, serial.len);
	memcpy(c->intent.serial, serial.p, serial.len);
	c->intent.issuer_name_id = db_get_int64(r, i, 10);
	c->intent.generation_id = db_get_int64(r, i, 12);
	c->intent.scope_id = db_get_int64(r, i, 13);
	c->intent.tbs = db_get_bytes(r, i, 14);
	return db_result_ok(r, err);
}

static struct request_batch *
read_batch(struct db_result *result, struct error *err)
{
	size_t count = db_row_count(result);
	struct request_batch *batch = calloc(1, sizeof *batch);

	if (batch != NULL)
		batch->claims = calloc(count + 1, sizeof *batch->claims);
	if (batch == NULL || batch->claims == NULL) {
		error_set(err, ERROR_SYSTEM, "out of memory");
		goto fail;
	}
	for (size_t i = 0; i < count; i++) {
		if (!read_claim(result, i, &batch->claims[i], err))
			goto fail;
	}
	batch->count = count;
	batch->rows = db_result_take(result);
	return batch;
fail:
	request_batch_free(batch);
	return NULL;
}

static void
answer_claim(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct db_call call = db_call_take(arg);
	struct error failure = ERROR_INIT;
	struct request_batch *batch = NULL;

	if (err == NULL)
		batch = read_batch(result, &failure);
	((request_claim_fn *)call.fn)(batch,
	    err != NULL	    ? err
	    : batch == NULL ? &failure
			    : NULL,
	    call.arg);
}

static void
param_sources(struct db_params *p, const struct request_source *sources, size_t count)
{
	db_array_begin(p, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_element_int64(p, sources[i].ca_id);
	db_array_end(p);
	db_array_begin(p, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_element_int64(p, sources[i].since_us);
	db_array_end(p);
	db_array_begin(p, DB_BOOL);
	for (size_t i = 0; i < count; i++)
		db_element_bool(p, sources[i].signs);
	db_array_end(p);
}

struct db_pending *
request_claim(struct db *db, const struct request_source *sources, size_t count, unsigned limit,
    unsigned lease_s, unsigned look_ms, request_claim_fn *answer, void *arg, struct error *err)
{
	static const struct db_statement statement = {
	    .name = "request_claim",
	    .sql = "SELECT request_id, public_id, epoch, ca_id, template_version_id, cleared, "
		   "automatic, due_us, csr, attributes, issuer_name_id, serial, generation_id, "
		   "scope_id, tbs, statement, signature, spki "
		   "FROM chancery_store.claim_requests($1, $2, $3, $4, $5, $6)",
	    .nparams = 6,
	};
	struct db_params p = DB_PARAMS_INIT;

	if (!check_count(limit, &p, err) || !check_count(count, &p, err))
		return NULL;
	param_sources(&p, sources, count);
	db_param_int64(&p, limit);
	db_param_int64(&p, lease_s);
	db_param_int64(&p, look_ms);
	return db_call(db, &statement, &p, answer_claim, (db_call_fn *)answer, arg, err);
}

struct db_pending *
request_claim_pins(struct db *db, const char *token, int signer_id,
    const struct pin_digests *digests, unsigned lease_s, request_claim_fn *answer, void *arg,
    struct error *err)
{
	static const struct db_statement statement = {
	    .name = "request_claim_pins",
	    .sql = "SELECT request_id, public_id, epoch, ca_id, template_version_id, cleared, "
		   "automatic, due_us, csr, attributes, issuer_name_id, serial, generation_id, "
		   "scope_id, tbs, statement, signature, spki "
		   "FROM chancery_store.claim_pins($1, $2, $3, $4)",
	    .nparams = 4,
	};
	struct db_params p = DB_PARAMS_INIT;

	db_param_text(&p, token);
	db_param_int64(&p, signer_id);
	pin_param_digests(&p, digests);
	db_param_int64(&p, lease_s);
	return db_call(db, &statement, &p, answer_claim, (db_call_fn *)answer, arg, err);
}

/* ------------------------------------------------------------------ checking */

static const char *const outcome_words[] = {
    [REQUEST_PASSED] = "passed",
    [REQUEST_REJECTED] = "rejected",
    [REQUEST_FAILED] = "failed",
};

static void
param_check_keys(struct db_params *p, const struct request_check *checks, size_t count)
{
	db_array_begin(p, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_element_int64(p, checks[i].key.id);
	db_array_end(p);
	db_array_begin(p, DB_INT4);
	for (size_t i = 0; i < count; i++)
		db_element_int32(p, checks[i].key.epoch);
	db_array_end(p);
}

/* What the CSRs ask for; NULL where it is not known, or was told before. */
static void
param_summaries(
    struct db_params *p, const struct request_check *checks, size_t count, struct error *err)
{
	db_array_begin(p, DB_TEXT);
	for (size_t i = 0; i < count; i++)
		db_element_text(p, checks[i].subject);
	db_array_end(p);
	db_array_begin(p, DB_TEXT);
	for (size_t i = 0; i < count; i++) {
		if (!element_names(p, checks[i].names, checks[i].names_count, err))
			break;
	}
	db_array_end(p);
	db_array_begin(p, DB_TEXT);
	for (size_t i = 0; i < count; i++)
		db_element_text(p, checks[i].key_type);
	db_array_end(p);
	db_array_begin(p, DB_BYTEA);
	for (size_t i = 0; i < count; i++)
		db_element_bytes(p, checks[i].spki_sha256);
	db_array_end(p);
	db_array_begin(p, DB_BYTEA);
	for (size_t i = 0; i < count; i++)
		db_element_bytes(p, checks[i].csr_sha256);
	db_array_end(p);
}

static void
param_outcomes(struct db_params *p, const struct request_check *checks, size_t count)
{
	db_array_begin(p, DB_TEXT);
	for (size_t i = 0; i < count; i++)
		db_element_text(p, outcome_words[checks[i].outcome]);
	db_array_end(p);
	db_array_begin(p, DB_TEXT);
	for (size_t i = 0; i < count; i++)
		db_element_text(p, checks[i].reason);
	db_array_end(p);
}

/* Sends, or frees p and passes on why it could not be built. */
static struct db_pending *
send_built(struct db *db, const struct db_statement *statement, struct db_params *p,
    const struct error *failure, db_answer_fn *answer, db_call_fn *fn, void *arg, struct error *err)
{
	if (!error_is_set(failure))
		return db_call(db, statement, p, answer, fn, arg, err);
	db_params_free(p);
	error_set(err, failure->code, "%s", failure->text);
	return NULL;
}

struct db_pending *
request_finish_checks(struct db *db, const struct request_check *checks, size_t count,
    request_checked_fn *answer, void *arg, struct error *err)
{
	static const struct db_statement statement = {
	    .name = "request_finish_checks",
	    .sql = "SELECT request_id, state FROM "
		   "chancery_store.finish_checks($1, $2, $3, $4, $5, $6, $7, $8, $9)",
	    .nparams = 9,
	};
	struct db_params p = DB_PARAMS_INIT;
	struct error failure = ERROR_INIT;

	if (!check_count(count, &p, err))
		return NULL;
	param_check_keys(&p, checks, count);
	param_outcomes(&p, checks, count);
	param_summaries(&p, checks, count, &failure);
	return send_built(
	    db, &statement, &p, &failure, answer_checked, (db_call_fn *)answer, arg, err);
}

/* ------------------------------------------------------------------- signing */

static void
param_intents(struct db_params *p, const struct request_intent *intents, size_t count)
{
	db_array_begin(p, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_element_int64(p, intents[i].issuer_name_id);
	db_array_end(p);
	db_array_begin(p, DB_BYTEA);
	for (size_t i = 0; i < count; i++)
		db_element_bytea(p, intents[i].serial, sizeof intents[i].serial);
	db_array_end(p);
	db_array_begin(p, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_element_int64(p, intents[i].generation_id);
	db_array_end(p);
	db_array_begin(p, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_element_int64(p, intents[i].scope_id);
	db_array_end(p);
	db_array_begin(p, DB_BYTEA);
	for (size_t i = 0; i < count; i++)
		db_element_bytes(p, intents[i].tbs);
	db_array_end(p);
}

struct db_pending *
request_begin_signing(struct db *db, const struct request_key *keys,
    const struct request_intent *intents, size_t count, request_ids_fn *answer, void *arg,
    struct error *err)
{
	static const struct db_statement statement = {
	    .name = "request_begin_signing",
	    .sql = "SELECT chancery_store.begin_signing($1, $2, $3, $4, $5, $6, $7)",
	    .nparams = 7,
	};
	struct db_params p = DB_PARAMS_INIT;

	if (!check_count(count, &p, err))
		return NULL;
	param_keys(&p, keys, count);
	param_intents(&p, intents, count);
	return db_call(db, &statement, &p, answer_ids, (db_call_fn *)answer, arg, err);
}

struct db_pending *
request_abandon_intents(struct db *db, const struct request_key *keys, size_t count,
    request_ids_fn *answer, void *arg, struct error *err)
{
	static const struct db_statement statement = {
	    .name = "request_abandon_intents",
	    .sql = "SELECT chancery_store.abandon_intents($1, $2)",
	    .nparams = 2,
	};
	struct db_params p = DB_PARAMS_INIT;

	if (!check_count(count, &p, err))
		return NULL;
	param_keys(&p, keys, count);
	return db_call(db, &statement, &p, answer_ids, (db_call_fn *)answer, arg, err);
}

struct db_pending *
request_refuse_intents(struct db *db, const struct request_key *keys, const char *const *reasons,
    size_t count, request_ids_fn *answer, void *arg, struct error *err)
{
	static const struct db_statement statement = {
	    .name = "request_refuse_intents",
	    .sql = "SELECT chancery_store.refuse_intents($1, $2, $3)",
	    .nparams = 3,
	};
	struct db_params p = DB_PARAMS_INIT;

	if (!check_count(count, &p, err))
		return NULL;
	param_keys(&p, keys, count);
	db_array_begin(&p, DB_TEXT);
	for (size_t i = 0; i < count; i++)
		db_element_text(&p, reasons[i]);
	db_array_end(&p);
	return db_call(db, &statement, &p, answer_ids, (db_call_fn *)answer, arg, err);
}

static void
param_certificates(
    struct db_params *p, const struct request_certificate *c, size_t count, struct error *err)
{
	db_array_begin(p, DB_INT8);
	for (size_t i = 0; i < count; i++)
		db_element_int64(p, c[i].key.id);
	db_array_end(p);
	db_array_begin(p, DB_INT4);
	for (size_t i = 0; i < count; i++)
		db_element_int32(p, c[i].key.epoch);
	db_array_end(p);
	db_array_begin(p, DB_TEXT);
	for (size_t i = 0; i < count; i++)
		db_element_text(p, c[i].subject);
	db_array_end(p);
	db_array_begin(p, DB_TEXT);
	for (size_t i = 0; i < count; i++) {
		if (!element_names(p, c[i].names, c[i].names_count, err))
			break;
	}
	db_array_end(p);
	db_array_begin(p, DB_TEXT);
	for (size_t i = 0; i < count; i++)
		db_element_text(p, c[i].key_type);
	db_array_end(p);
	db_array_begin(p, DB_TIMESTAMPTZ);
	for (size_t i = 0; i < count; i++)
		db_element_unixtime(p, c[i].not_before);
	db_array_end(p);
	db_array_begin(p, DB_TIMESTAMPTZ);
	for (size_t i = 0; i < count; i++)
		db_element_unixtime(p, c[i].not_after);
	db_array_end(p);
	db_array_begin(p, DB_BYTEA);
	for (size_t i = 0; i < count; i++)
		db_element_bytes(p, c[i].spki_sha256);
	db_array_end(p);
	db_array_begin(p, DB_BYTEA);
	for (size_t i = 0; i < count; i++)
		db_element_bytes(p, c[i].der);
	db_array_end(p);
}

struct db_pending *
request_complete(struct db *db, const struct request_certificate *certificates, size_t count,
    request_ids_fn *answer, void *arg, struct error *err)
{
	static const struct db_statement statement = {
	    .name = "request_complete",
	    .sql = "SELECT chancery_store.complete_requests($1, $2, $3, $4, $5, $6, $7, $8, $9)",
	    .nparams = 9,
	};
	struct db_params p = DB_PARAMS_INIT;
	struct error failure = ERROR_INIT;

	if (!check_count(count, &p, err))
		return NULL;
	param_certificates(&p, certificates, count, &failure);
	return send_built(db, &statement, &p, &failure, answer_ids, (db_call_fn *)answer, arg, err);
}

/* ------------------------------------------------------ giving up, keeping up */

struct db_pending *
request_release(struct db *db, const struct request_key *keys, size_t count,
    unsigned retry_after_ms, const char *reason, request_ids_fn *answer, void *arg,
    struct error *err)
{
	static const struct db_statement statement = {
	    .name = "request_release",
	    .sql = "SELECT chancery_store.release_requests($1, $2, $3 / 1000.0::float8, $4)",
	    .nparams = 4,
	};
	struct db_params p = DB_PARAMS_INIT;

	if (!check_count(count, &p, err))
		return NULL;
	param_keys(&p, keys, count);
	db_param_int64(&p, retry_after_ms);
	db_param_text(&p, reason);
	return db_call(db, &statement, &p, answer_ids, (db_call_fn *)answer, arg, err);
}

struct db_pending *
request_await_pins(struct db *db, const struct request_key *keys, const char *const *said,
    size_t count, int signer_id, unsigned wait_s, request_ids_fn *answer, void *arg,
    struct error *err)
{
	static const struct db_statement statement = {
	    .name = "request_await_pins",
	    .sql = "SELECT chancery_store.await_pins($1, $2, $3, $4, $5)",
	    .nparams = 5,
	};
	struct db_params p = DB_PARAMS_INIT;

	if (!check_count(count, &p, err))
		return NULL;
	param_keys(&p, keys, count);
	db_array_begin(&p, DB_TEXT);
	for (size_t i = 0; i < count; i++)
		db_element_text(&p, said[i]);
	db_array_end(&p);
	db_param_int64(&p, signer_id);
	db_param_int64(&p, wait_s);
	return db_call(db, &statement, &p, answer_ids, (db_call_fn *)answer, arg, err);
}

struct db_pending *
request_extend(struct db *db, const struct request_key *keys, size_t count, unsigned lease_s,
    request_ids_fn *answer, void *arg, struct error *err)
{
	static const struct db_statement statement = {
	    .name = "request_extend",
	    .sql = "SELECT chancery_store.extend_leases($1, $2, $3)",
	    .nparams = 3,
	};
	struct db_params p = DB_PARAMS_INIT;

	if (!check_count(count, &p, err))
		return NULL;
	param_keys(&p, keys, count);
	db_param_int64(&p, lease_s);
	return db_call(db, &statement, &p, answer_ids, (db_call_fn *)answer, arg, err);
}

struct db_pending *
request_sweep(struct db *db, request_count_fn *answer, void *arg, struct error *err)
{
	static const struct db_statement statement = {
	    .name = "request_sweep",
	    .sql = "SELECT chancery_store.sweep_leases()",
	};
	struct db_params p = DB_PARAMS_INIT;

	return db_call(db, &statement, &p, answer_count, (db_call_fn *)answer, arg, err);
}

struct db_pending *
request_expire(
    struct db *db, int64_t max_age_s, request_count_fn *answer, void *arg, struct error *err)
{
	static const struct db_statement statement = {
	    .name = "request_expire",
	    .sql = "SELECT chancery_store.expire_requests(make_interval(secs => $1::bigint))",
	    .nparams = 1,
	};
	struct db_params p = DB_PARAMS_INIT;

	db_param_int64(&p, max_age_s);
	return db_call(db, &statement, &p, answer_count, (db_call_fn *)answer, arg, err);
}
