#include "daemon/issuer/crl_build.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "daemon/core/log.h"
#include "daemon/issuer/crl_gate.h"
#include "daemon/x509/crl.h"

#define LEASE_S 30
#define LEASE_RENEW_S 10
#define RETRY_S 1
#define SIGN_DEADLINE_MS 60000
/* Chunks on their way into the database before the stream is paused. */
#define CHUNKS_IN_FLIGHT_MAX 4

enum stage { SPOOLING, COMMITTING, SIGNING, GATING, COMPLETING };

struct crl_build {
	const struct crl_build_env *env;
	struct issuing_ca *ca;
	struct crl_job job;
	crl_built_fn *built;
	void *arg;
	enum stage stage;
	double began_s[COMPLETING +
		       1]; /* of each stage, by a clock that nobody sets; 0: was not here */
	struct db_pending *pending; /* the one question whose answer moves the stage */
	struct db_pending *keeping; /* the lease */
	struct event *retry, *lease;
	EVP_MD_CTX *md;
	bool draining;
	struct error last; /* why it waits */

	/* spooling */
	struct db_stream *stream;
	uint8_t extensions[CRL_HEAD_MAX];
	size_t extensions_len;
	int64_t entries, entries_seen;
	uint64_t tbs_len, tbs_written;
	uint8_t *chunk;
	size_t chunk_len;
	int chunks_sent;
	struct db_pending *chunks[CHUNKS_IN_FLIGHT_MAX + 2];
	size_t chunks_in_flight;
	bool spooled; /* all rows came; waiting for the last chunks */
	uint8_t tbs_sha256[32];

	/* signing, gating */
	bool abstract;		/* the signer is only shown it, for who enters a PIN */
	uint64_t call;		/* id at the signer, 0: none */
	int position;		/* of the chunk to read next */
	struct db_result *held; /* a chunk that the full channel did not take */
	bool end_held;		/* the end, likewise */
	uint8_t signature[SIGNPROTO_SIGNATURE_MAX];
	size_t signature_len;
	uint8_t head[CRL_LIST_HEAD_MAX], tail_buf[CRL_LIST_TAIL_MAX];
	size_t head_len;
	struct bytes tail;
	uint8_t sha256[32]; /* of the whole CRL */
	struct crl_gate *gate;
};

static void start_signing(struct crl_build *b);
static void read_chunk(struct crl_build *b);

static void
enter(struct crl_build *b, enum stage stage)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	b->stage = stage;
	b->began_s[stage] = (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int64_t
crl_build_scope(const struct crl_build *b)
{
	return b->job.scope_id;
}

struct issuing_ca *
crl_build_ca(const struct crl_build *b)
{
	return b->ca;
}

const char *
crl_build_token(const struct crl_build *b)
{
	return b->ca->row.token;
}

/* Lets go of everything that could still call back. */
static void
quiesce(struct crl_build *b)
{
	db_cancel(b->pending);
	b->pending = NULL;
	for (size_t i = 0; i < COUNT_OF(b->chunks); i++) {
		db_cancel(b->chunks[i]);
		b->chunks[i] = NULL;
	}
	b->chunks_in_flight = 0;
	db_stream_close(b->stream);
	b->stream = NULL;
	signer_cancel(b->env->signers, b->call);
	b->call = 0;
	db_result_free(b->held);
	b->held = NULL;
	b->end_held = false;
	crl_gate_free(b->gate);
	b->gate = NULL;
}

void
crl_build_free(struct crl_build *b)
{
	if (b == NULL)
		return;
	quiesce(b);
	db_cancel(b->keeping);
	if (b->retry != NULL)
		event_free(b->retry);
	if (b->lease != NULL)
		event_free(b->lease);
	EVP_MD_CTX_free(b->md);
	ca_release(b->ca);
	free(b->chunk);
	free(b);
}

static void
ignore_done(bool held, const struct error *err, void *arg)
{
}

static void
finish(struct crl_build *b, const struct crl_job *together, const struct error *err)
{
	quiesce(b);
	b->built(b, together, err, b->arg);
}

/* The lease goes back: who looks next goes on where this one stood. */
static void
give_back(struct crl_build *b, const struct error *why)
{
	struct error e = ERROR_INIT;

	if (crl_keep_lease(b->env->db, &b->job, 0, ignore_done, NULL, &e) == NULL)
		log_failure(LOG_LEVEL_DEBUG, b->job.ca_name, &e);
	finish(b, NULL, why);
}

/* The number is given up. final: another attempt would fail, too. */
static void
burn(struct crl_build *b, const struct error *why, bool final)
{
	struct error e = ERROR_INIT;

	quiesce(b);
	if (crl_burn(b->env->db, &b->job, why->text, final, ignore_done, NULL, &e) == NULL)
		log_failure(LOG_LEVEL_WARNING, b->job.ca_name, &e);
	finish(b, NULL, why);
}

/* Tries the stage again in a moment, or as soon as it is poked. */
static void
wait_for_better(struct crl_build *b, const struct error *why)
{
	const struct timeval later = {RETRY_S, 0};

	if (strcmp(why->text, b->last.text) != 0)
		log_failure(LOG_LEVEL_WARNING, b->job.ca_name, why);
	b->last = *why;
	if (b->draining)
		give_back(b, why);
	else if (event_add(b->retry, &later) != 0)
		burn(b, why, false);
}

static void
on_waits(const struct crl_job *together, const struct error *err, void *arg)
{
	struct crl_build *b = arg;

	b->pending = NULL;
	finish(b, together, err);
}

/* Of the delta that goes with this CRL; 0: there is none. Where the CA's end cut
 * the one's life, it cuts the other's. */
static int64_t
life_of_delta(const struct crl_build *b)
{
	const struct capolicy *policy = &b->ca->policy;
	int64_t own_s = b->job.next_update - b->job.this_update;
	int64_t life_s = policy->delta_period_s + policy->delta_overlap_s;

	if (policy->delta_period_s == 0)
		return 0;
	return life_s < own_s ? life_s : own_s;
}

/* For a person who enters a PIN; said: why signing failed before, or NULL; about: what its
 * signer says of a long one, or NULL. */
static void
wait_for_pin(struct crl_build *b, const struct error *said, const struct signproto_abstract *about)
{
	struct error e = ERROR_INIT;

	b->pending = crl_await_pin(b->env->db, &b->job, b->env->signer_id,
	    said != NULL ? said->text : NULL, life_of_delta(b), LEASE_S, about, on_waits, b, &e);
	if (b->pending == NULL)
		wait_for_better(b, &e);
}

/*
 * Before the digest is committed a failure burns the number; after it the
 * number belongs to these bytes, and what may pass by itself is tried again. In
 * between nobody knows: the lease ends, and who takes over finds out.
 */
static void
fail(struct crl_build *b, const struct error *why)
{
	struct error e = *why; /* may live in what is let go now */
	bool retryable = error_is_retryable(why);

	quiesce(b);
	if (e.code == ERROR_LOCKED)
		token_access_note_locked(b->env->access, b->ca->row.token, &e);
	/* The issuer whose signer signs this CA's CRLs goes on with these bytes. */
	if (e.code == ERROR_ELSEWHERE)
		give_back(b, &e);
	else if (retryable && b->stage == SIGNING &&
		 token_access_by_operation(b->env->access, b->ca->row.token))
		wait_for_pin(b, &e, NULL);
	else if (retryable && b->stage >= SIGNING)
		wait_for_better(b, &e);
	else if (retryable && b->stage == COMMITTING)
		finish(b, NULL, &e);
	else
		burn(b, &e, !retryable);
}

static void
fail_now(struct crl_build *b, struct error *e)
{
	error_wrap(e, "CRL of %s", b->job.ca_name);
	fail(b, e);
}

/* ------------------------------------------------------------- extensions */

static void
add_value(struct crl_build *b, struct extensions *x, struct bytes oid, bool critical,
    struct crl_slice value)
{
	if (value.len > 0)
		extensions_add(x, oid, critical, crl_job_value(&b->job, value));
}

static bool
build_extensions(struct crl_build *b, struct error *e)
{
	const struct crl_job *job = &b->job;
	struct extensions x;
	struct bytes done;

	extensions_init(&x, b->extensions, sizeof b->extensions);
	extensions_add_authority_key_identifier(&x, b->ca->context->key_id);
	extensions_add_crl_number(&x, (struct bytes){job->number, job->number_len});
	if (job->delta)
		extensions_add_delta_crl_indicator(
		    &x, (struct bytes){job->base_number, job->base_number_len});
	add_value(b, &x, oid_issuing_distribution_point, true, job->idp);
	/* RFC 5280 5.2.6: never in a delta CRL. */
	if (!job->delta)
		add_value(b, &x, oid_freshest_crl, false, job->freshest);
	add_value(b, &x, oid_crl_published_locations, false, job->published);
	if (job->expired_since >= 0)
		extensions_add_expired_certs_on_crl(&x, job->expired_since);
	if (!extensions_ok(&x))
		return error_set(
		    e, ERROR_LIMIT, "the CRL's extensions are longer than %d octets", CRL_HEAD_MAX);
	done = extensions_result(&x);
	b->extensions_len = done.len;
	return true;
}

static struct tbs_crl
tbs_of(const struct crl_build *b)
{
	return (struct tbs_crl){
	    .sig_alg = b->ca->policy.sig_alg,
	    .issuer = b->ca->row.subject,
	    .this_update = b->job.this_update,
	    .next_update = b->job.next_update,
	    .extensions = {b->extensions, b->extensions_len},
	};
}

/* --------------------------------------------------------------- spooling */

static void commit_spool(struct crl_build *b);

static void
on_chunk_stored(bool held, const struct error *err, void *arg)
{
	struct crl_build *b = arg;

	/* Answers come in the order of the questions. */
	memmove(b->chunks, b->chunks + 1, sizeof b->chunks - sizeof b->chunks[0]);
	b->chunks[COUNT_OF(b->chunks) - 1] = NULL;
	b->chunks_in_flight--;
	if (err != NULL)
		fail(b, err);
	else if (b->spooled && b->chunks_in_flight == 0)
		commit_spool(b);
	else if (b->stream != NULL && b->chunks_in_flight < CHUNKS_IN_FLIGHT_MAX)
		db_stream_resume(b->stream);
}

static bool
store_chunk(struct crl_build *b, struct error *e)
{
	struct db_pending *p;

	if (b->chunk_len == 0)
		return true;
	if (b->chunks_in_flight == COUNT_OF(b->chunks))
		return error_set(
		    e, ERROR_INTERNAL, "a CRL's chunks come faster than they are stored");
	p = crl_put_chunk(b->env->db, b->job.artifact_id, b->chunks_sent + 1, b->chunk,
	    b->chunk_len, on_chunk_stored, b, e);
	if (p == NULL)
		return false;
	b->chunks[b->chunks_in_flight++] = p;
	b->chunks_sent++;
	b->chunk_len = 0;
	return true;
}

static bool
append(struct crl_build *b, struct bytes data, struct error *e)
{
	if (EVP_DigestUpdate(b->md, data.p, data.len) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	b->tbs_written += data.len;
	while (data.len > 0) {
		size_t n = CRL_CHUNK_MAX - b->chunk_len;

		if (n > data.len)
			n = data.len;
		memcpy(b->chunk + b->chunk_len, data.p, n);
		b->chunk_len += n;
		data = (struct bytes){data.p + n, data.len - n};
		if (b->chunk_len == CRL_CHUNK_MAX && !store_chunk(b, e))
			return false;
	}
	return true;
}

static void
on_committed(bool held, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	b->pending = NULL;
	if (err != NULL) {
		fail(b, err);
		return;
	}
	if (!held) {
		error_set(&e, ERROR_CONFLICT, "another issuer took this CRL over");
		finish(b, NULL, &e);
		return;
	}
	if (b->job.prepared)
		finish(b, NULL, NULL);
	else
		start_signing(b);
}

static void
commit_spool(struct crl_build *b)
{
	struct error e = ERROR_INIT;

	enter(b, COMMITTING);
	free(b->chunk);
	b->chunk = NULL;
	b->pending = crl_spooled(b->env->db, &b->job, b->job.upto_seq, b->entries, b->tbs_sha256,
	    LEASE_S, on_committed, b, &e);
	if (b->pending == NULL)
		fail_now(b, &e);
}

static bool
finish_spool(struct crl_build *b, struct error *e)
{
	struct tbs_crl tbs = tbs_of(b);
	uint8_t buf[CRL_HEAD_MAX];
	struct bytes tail;

	if (!crl_tbs_tail(&tbs, buf, sizeof buf, &tail, e) || !append(b, tail, e))
		return false;
	if (b->entries_seen != b->entries || b->tbs_written != b->tbs_len)
		return error_set(e, ERROR_INTERNAL,
		    "the two passes over the revocations of %s differ: %lld and %lld entries",
		    b->job.ca_name, (long long)b->entries, (long long)b->entries_seen);
	if (EVP_DigestFinal_ex(b->md, b->tbs_sha256, NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	return store_chunk(b, e);
}

static void
on_rows_end(struct db_stream *s, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		fail(b, err);
		return;
	}
	db_stream_close(b->stream);
	b->stream = NULL;
	b->spooled = true;
	if (!finish_spool(b, &e))
		fail_now(b, &e);
}

static bool
on_row(struct db_stream *s, struct db_stream_row *row, void *arg, struct error *err)
{
	struct crl_build *b = arg;
	uint8_t der[CRL_ENTRY_MAX];
	struct crl_entry entry;
	struct crl_row from;
	size_t len;

	if (!crl_get_entry(row, &from, err))
		return false;
	entry = (struct crl_entry){
	    .serial = from.serial,
	    .revoked_at = from.revoked_at,
	    .reason = (uint8_t)from.reason,
	    .has_invalidity_date = from.invalidity_date >= 0,
	    .invalidity_date = from.invalidity_date,
	};
	if (!crl_entry_encode(&entry, b->job.delta, der, &len, err) ||
	    !append(b, (struct bytes){der, len}, err))
		return false;
	b->entries_seen++;
	if (b->chunks_in_flight >= CHUNKS_IN_FLIGHT_MAX)
		db_stream_pause(s);
	return true;
}

/* The size of an entry depends on its shape, and on its serial octet by octet. */
static bool
add_shape(struct crl_build *b, const struct crl_shape *shape, uint64_t *total, struct error *e)
{
	static const uint8_t serial[20] = {1};
	const int64_t y2050 = 2524608000;
	struct crl_entry entry = {
	    .serial = {serial, sizeof serial},
	    .revoked_at = shape->generalized ? y2050 : y2050 - 1,
	    .reason = shape->with_reason ? CRL_KEY_COMPROMISE : CRL_UNSPECIFIED,
	    .has_invalidity_date = shape->with_invalidity,
	};
	int64_t short_of = shape->count * (int64_t)sizeof serial - shape->serial_octets;
	size_t size;

	if (short_of < 0 || shape->serial_octets < shape->count)
		return error_set(e, ERROR_INTERNAL, "%lld revoked serials have %lld octets",
		    (long long)shape->count, (long long)shape->serial_octets);
	if (!crl_entry_size(&entry, b->job.delta, &size, e))
		return false;
	b->entries += shape->count;
	*total += size * (uint64_t)shape->count - (uint64_t)short_of;
	return true;
}

static bool
begin_rows(struct crl_build *b, struct db_result *shapes, struct error *e)
{
	struct tbs_crl tbs;
	uint8_t buf[CRL_HEAD_MAX];
	struct bytes head;
	uint64_t total = 0;

	for (size_t r = 0; r < db_row_count(shapes); r++) {
		struct crl_shape shape;

		crl_get_shape(shapes, r, &shape);
		if (!db_result_ok(shapes, e) || !add_shape(b, &shape, &total, e))
			return false;
	}
	if (!build_extensions(b, e))
		return false;
	tbs = tbs_of(b);
	return crl_tbs_head(&tbs, total, buf, sizeof buf, &head, &b->tbs_len, e) &&
	       append(b, head, e) &&
	       crl_stream_entries(b->stream, &b->job, b->job.upto_seq, on_row, on_rows_end, b, e);
}

static void
on_shapes(struct db_stream *s, struct db_result *result, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	if (err != NULL)
		fail(b, err);
	else if (!begin_rows(b, result, &e))
		fail_now(b, &e);
}

static void
ask_shapes(struct crl_build *b)
{
	struct error e = ERROR_INIT;

	if (!crl_stream_shapes(b->stream, &b->job, b->job.upto_seq, on_shapes, b, &e))
		fail_now(b, &e);
}

static void
on_seq(struct db_stream *s, struct db_result *result, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		fail(b, err);
		return;
	}
	/* A delta that goes with a complete CRL ends where that one did. */
	if (b->job.upto_seq < 0)
		b->job.upto_seq = db_get_int64(result, 0, 0);
	if (db_result_ok(result, &e))
		ask_shapes(b);
	else
		fail_now(b, &e);
}

static void
on_stream_ready(struct db_stream *s, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	if (err != NULL)
		fail(b, err);
	else if (!crl_stream_seq(b->stream, &b->job, on_seq, b, &e))
		fail_now(b, &e);
}

static bool
start_spooling(struct crl_build *b, struct error *e)
{
	enter(b, SPOOLING);
	b->chunk = malloc(CRL_CHUNK_MAX);
	if (b->chunk == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a chunk of a CRL");
	if (EVP_DigestInit_ex(b->md, EVP_sha256(), NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	b->stream = db_stream_open(b->env->base, b->env->conninfo, on_stream_ready, b, e);
	return b->stream != NULL;
}

/* --------------------------------------------------------- signing, gating */

static bool judge(struct crl_build *b, struct error *e);

/* True when it went out, or waits for room in the channel. */
static bool
send_end(struct crl_build *b, struct error *e)
{
	struct error why = ERROR_INIT;

	b->end_held = false;
	if (signer_stream_end(b->env->signers, b->call, &why))
		return true;
	b->end_held = why.code == ERROR_LIMIT;
	if (!b->end_held)
		*e = why;
	return b->end_held;
}

/* All chunks went past: compare, or sum up. */
static bool
end_of_chunks(struct crl_build *b, struct error *e)
{
	uint8_t sha256[32];

	if (b->stage == GATING)
		return judge(b, e);
	if (EVP_DigestFinal_ex(b->md, sha256, NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	if (memcmp(sha256, b->tbs_sha256, sizeof sha256) != 0)
		return error_set(e, ERROR_INTERNAL,
		    "the spooled CRL of %s is not what was committed: it is not signed",
		    b->job.ca_name);
	return send_end(b, e);
}

static bool
digest(struct crl_build *b, struct bytes data, struct error *e)
{
	if (EVP_DigestUpdate(b->md, data.p, data.len) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	return true;
}

/* The next octets of the signed CRL. */
static bool
show_gate(struct crl_build *b, struct bytes data, struct error *e)
{
	return digest(b, data, e) && crl_gate_push(b->gate, data, e);
}

/* Takes a chunk's row; *full when the signer's channel has no room for it now. */
static bool
use_chunk(struct crl_build *b, struct db_result *result, bool *full, struct error *e)
{
	struct bytes data = db_get_bytes(result, 0, 0);

	*full = false;
	if (!db_result_ok(result, e))
		return false;
	if (b->stage == SIGNING &&
	    !signer_stream_data(b->env->signers, b->call, data.p, data.len, e)) {
		*full = e->code == ERROR_LIMIT;
		return false;
	}
	return b->stage == SIGNING ? digest(b, data, e) : show_gate(b, data, e);
}

static void
on_chunk(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;
	bool full;

	b->pending = NULL;
	if (err != NULL) {
		fail(b, err);
		return;
	}
	if (db_row_count(result) == 0) {
		if (!end_of_chunks(b, &e))
			fail_now(b, &e);
		return;
	}
	if (use_chunk(b, result, &full, &e))
		read_chunk(b);
	else if (full)
		b->held = db_result_take(result);
	else
		fail_now(b, &e);
}

static void
read_chunk(struct crl_build *b)
{
	struct error e = ERROR_INIT;

	b->pending = crl_get_chunk(b->env->db, b->job.artifact_id, b->position++, on_chunk, b, &e);
	if (b->pending == NULL)
		fail_now(b, &e);
}

static void
poke_held(struct crl_build *b)
{
	struct db_result *held = b->held;
	struct error e = ERROR_INIT;
	bool full;

	b->held = NULL;
	if (use_chunk(b, held, &full, &e)) {
		db_result_free(held);
		read_chunk(b);
	} else if (full) {
		b->held = held;
	} else {
		db_result_free(held);
		fail_now(b, &e);
	}
}

void
crl_build_poke(struct crl_build *b)
{
	struct error e = ERROR_INIT;

	if (event_pending(b->retry, EV_TIMEOUT, NULL))
		event_active(b->retry, EV_TIMEOUT, 0);
	else if (b->held != NULL)
		poke_held(b);
	else if (b->end_held && !send_end(b, &e))
		fail_now(b, &e);
}

void
crl_build_drain(struct crl_build *b)
{
	b->draining = true;
	error_set(&b->last, ERROR_UNAVAILABLE, "the issuer stops");
	if (event_pending(b->retry, EV_TIMEOUT, NULL))
		give_back(b, &b->last);
}

/* Reads the chunks once more, for the digest of the whole CRL and for the gate. */
static bool
start_gating(struct crl_build *b, struct error *e)
{
	const struct bytes signature = {b->signature, b->signature_len};
	uint64_t list_len;

	if (!crl_list_head(b->tbs_len, b->ca->policy.sig_alg, signature.len, b->head, &b->head_len,
		&list_len, e) ||
	    !crl_list_tail(
		b->ca->policy.sig_alg, signature, b->tail_buf, sizeof b->tail_buf, &b->tail, e))
		return false;
	if (EVP_DigestInit_ex(b->md, EVP_sha256(), NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	b->gate = crl_gate_new(b->ca, &b->job, list_len, e);
	if (b->gate == NULL || !show_gate(b, (struct bytes){b->head, b->head_len}, e))
		return false;
	b->position = 1;
	read_chunk(b);
	return true;
}

static void
on_signed(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	b->call = 0;
	if (failure != NULL) {
		fail(b, failure);
		return;
	}
	b->signature_len = answer->sign.signature.len; /* at most SIGNPROTO_SIGNATURE_MAX */
	memcpy(b->signature, answer->sign.signature.p, b->signature_len);
	enter(b, GATING);
	if (!start_gating(b, &e))
		fail(b, &e);
}

static void
on_abstract(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct crl_build *b = arg;

	b->call = 0;
	if (failure != NULL)
		fail(b, failure);
	else
		wait_for_pin(b, NULL, &answer->abstract);
}

static bool
begin_stream(struct crl_build *b, struct error *e)
{
	struct signproto_stream_begin m = {
	    .cka_id = b->ca->row.cka_id,
	    .sig_alg = (uint16_t)b->ca->policy.sig_alg,
	    .kind = SIGNPROTO_TBS_CRL,
	    .total_len = b->tbs_len,
	    .deadline_ms = SIGN_DEADLINE_MS,
	    .abstract = b->abstract,
	};
	struct bytes idp = crl_job_value(&b->job, b->job.idp);
	uint8_t scope[SHA256_DIGEST_LENGTH];

	if (EVP_DigestInit_ex(b->md, EVP_sha256(), NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	if (b->abstract && idp.len > 0)
		m.scope = (struct bytes){SHA256(idp.p, idp.len, scope), sizeof scope};
	return signer_stream_begin(b->env->signers, b->ca->row.token, &m,
	    b->abstract ? on_abstract : on_signed, b, &b->call, e);
}

static void
on_spool_size(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	b->pending = NULL;
	if (err != NULL) {
		fail(b, err);
		return;
	}
	b->tbs_len = (uint64_t)db_get_int64(result, 0, 0);
	b->position = 1;
	if (b->abstract && b->tbs_len <= b->env->abstract_from && db_result_ok(result, &e))
		wait_for_pin(b, NULL, NULL);
	else if (db_result_ok(result, &e) && begin_stream(b, &e))
		read_chunk(b);
	else
		fail_now(b, &e);
}

static void
start_signing(struct crl_build *b)
{
	struct error e = ERROR_INIT;

	enter(b, SIGNING);
	if ((int64_t)time(NULL) >= b->job.next_update) {
		error_set(&e, ERROR_TIMEOUT, "its nextUpdate passed before it was signed");
		burn(b, &e, false);
		return;
	}
	b->abstract = !b->job.listed && token_access_by_operation(b->env->access, b->ca->row.token);
	/* For days, perhaps; then another one, with what was revoked meanwhile. */
	if (token_access_is_locked(b->env->access, b->ca->row.token, &e)) {
		burn(b, &e, false);
		return;
	}
	b->pending = crl_spool_size(b->env->db, b->job.artifact_id, on_spool_size, b, &e);
	if (b->pending == NULL)
		fail_now(b, &e);
}

/* ------------------------------------------------------------- completing */

/* Where the time of a long list went. */
static void
log_issued(const struct crl_build *b)
{
	const char *kind = b->job.delta ? "delta CRL" : "CRL";
	const double *began = b->began_s;
	char number[64];

	if (!crl_number_to_text(
		(struct bytes){b->job.number, b->job.number_len}, number, sizeof number))
		return;
	if (began[SPOOLING] == 0)
		log_info(b->job.ca_name, "issued %s number %s", kind, number);
	else
		log_info(b->job.ca_name,
		    "issued %s number %s: %lld entries, spooled in %.3f s, signed in %.3f s, "
		    "checked in %.3f s",
		    kind, number, (long long)b->entries, began[SIGNING] - began[SPOOLING],
		    began[GATING] - began[SIGNING], began[COMPLETING] - began[GATING]);
}

static void
on_completed(const struct crl_job *together, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct crl_job next;

	b->pending = NULL;
	if (err != NULL) {
		fail(b, err);
		return;
	}
	log_issued(b);
	if (together == NULL) {
		finish(b, NULL, NULL);
		return;
	}
	/* The entry that let this one be signed may list that one, too. */
	next = *together;
	next.listed = b->job.listed && next.resume;
	finish(b, &next, NULL);
}

static void
ask_completion(struct crl_build *b)
{
	const struct capolicy *policy = &b->ca->policy;
	struct crl_completion completion = {
	    .head = b->head,
	    .head_len = b->head_len,
	    .tail = b->tail.p,
	    .tail_len = b->tail.len,
	    .period_s = policy->crl_period_s,
	    .delta_period_s = policy->delta_period_s,
	    .delta_life_s = life_of_delta(b),
	    .align_unit_s = policy->align_unit_s,
	    .align_offset_s = policy->align_offset_s,
	    .jitter_s = policy->crl_jitter_s,
	};
	struct error e = ERROR_INIT;

	memcpy(completion.sha256, b->sha256, sizeof completion.sha256);
	b->pending = crl_complete(b->env->db, &b->job, &completion, LEASE_S, on_completed, b, &e);
	if (b->pending == NULL)
		fail_now(b, &e);
}

static void
on_judged(const struct error *err, void *arg)
{
	struct crl_build *b = arg;

	if (err != NULL) {
		fail(b, err);
		return;
	}
	crl_gate_free(b->gate);
	b->gate = NULL;
	enter(b, COMPLETING);
	ask_completion(b);
}

/* All octets but the last ones went past. */
static bool
judge(struct crl_build *b, struct error *e)
{
	if (!show_gate(b, b->tail, e))
		return false;
	if (EVP_DigestFinal_ex(b->md, b->sha256, NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	return crl_gate_judge(b->gate, b->env->base, b->env->conninfo, on_judged, b, e);
}

/* ------------------------------------------------------------------ timers */

/* What stands is kept: a signature is not asked for again. */
static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	if (b->stage == COMPLETING)
		ask_completion(b);
	else if (b->stage != GATING)
		start_signing(b);
	else if (!start_gating(b, &e))
		fail(b, &e);
}

static void
on_lease_kept(bool held, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	b->keeping = NULL;
	/* When it failed the lease runs out, which the epoch makes harmless. While
	 * it is being completed, the answer to that says more. */
	if (err != NULL || held || b->stage == COMPLETING)
		return;
	error_set(&e, ERROR_CONFLICT, "another issuer took this CRL over");
	finish(b, NULL, &e);
}

static void
on_lease(evutil_socket_t fd, short what, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	if (b->keeping != NULL)
		return;
	b->keeping = crl_keep_lease(b->env->db, &b->job, LEASE_S, on_lease_kept, b, &e);
	if (b->keeping == NULL)
		log_failure(LOG_LEVEL_DEBUG, b->job.ca_name, &e);
}

struct crl_build *
crl_build_start(const struct crl_build_env *env, struct issuing_ca *ca, const struct crl_job *job,
    crl_built_fn *built, void *arg, struct error *e)
{
	struct crl_build *b = calloc(1, sizeof *b);
	const struct timeval renew = {LEASE_RENEW_S, 0}, at_once = {0, 0};

	if (b == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating a CRL's build");
		return NULL;
	}
	b->env = env;
	b->ca = ca_hold(ca);
	b->job = *job;
	b->built = built;
	b->arg = arg;
	b->md = EVP_MD_CTX_new();
	b->retry = event_new(env->base, -1, 0, on_retry, b);
	b->lease = event_new(env->base, -1, EV_PERSIST, on_lease, b);
	if (b->md == NULL || b->retry == NULL || b->lease == NULL ||
	    event_add(b->lease, &renew) != 0) {
		error_set(e, ERROR_SYSTEM, "allocating a CRL's build");
	} else if (job->resume) {
		memcpy(b->tbs_sha256, job->tbs_sha256, sizeof b->tbs_sha256);
		b->stage = SIGNING;
		if (event_add(b->retry, &at_once) == 0)
			return b;
		error_set(e, ERROR_SYSTEM, "starting a CRL's build");
	} else if (start_spooling(b, e)) {
		return b;
	}
	crl_build_free(b);
	return NULL;
}
