/* A CRL's content: the rows of a snapshot, counted and then encoded, into chunks in the database,
 * and the digest that binds its number to them. */

#include "daemon/issuer/crl_build_int.h"

#include <stdlib.h>
#include <string.h>

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
		crl_build_fail(b, err);
	else if (b->spooled && b->chunks_in_flight == 0)
		commit_spool(b);
	else
		crl_build_go_on(b);
}

static bool
has_room(struct crl_build *b)
{
	return b->chunks_in_flight < CHUNKS_IN_FLIGHT_MAX && crl_build_along_has_room(b);
}

void
crl_build_go_on(struct crl_build *b)
{
	if (b->stream != NULL && has_room(b))
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
	if (EVP_DigestUpdate(b->md, b->chunk, b->chunk_len) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	crl_build_read_chunk_along(b);
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
		crl_build_fail(b, err);
		return;
	}
	if (!held) {
		error_set(&e, ERROR_CONFLICT, "another issuer took this CRL over");
		crl_build_finish(b, NULL, &e);
		return;
	}
	if (b->job.prepared)
		crl_build_finish(b, NULL, NULL);
	else
		crl_build_sign(b);
}

static void
commit_spool(struct crl_build *b)
{
	struct error e = ERROR_INIT;

	crl_build_enter(b, COMMITTING);
	free(b->chunk);
	b->chunk = NULL;
	b->pending = crl_spooled(b->env->db, &b->job, b->job.upto_seq, b->entries, b->tbs_written,
	    b->tbs_sha256, CRL_BUILD_LEASE_S, on_committed, b, &e);
	if (b->pending == NULL)
		crl_build_fail_now(b, &e);
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
	if (!store_chunk(b, e))
		return false;
	if (EVP_DigestFinal_ex(b->md, b->tbs_sha256, NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	return true;
}

static void
on_rows_end(struct db_stream *s, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		crl_build_fail(b, err);
		return;
	}
	db_stream_close(b->stream);
	b->stream = NULL;
	b->spooled = true;
	if (!finish_spool(b, &e))
		crl_build_fail_now(b, &e);
}

static bool
on_row(struct db_stream *s, struct db_stream_row *row, void *arg, struct error *err)
{
	struct crl_build *b = arg;
	uint8_t der[CRL_ENTRY_MAX];
	struct crl_entry entry;
	int sent = b->chunks_sent;
	size_t len;

	if (!crl_get_entry(row, &entry, err) ||
	    !crl_entry_encode(&entry, b->job.delta, der, &len, err) ||
	    !append(b, (struct bytes){der, len}, err))
		return false;
	b->entries_seen++;
	if (b->chunks_sent > sent && !has_room(b))
		db_stream_pause(s);
	return true;
}

static bool
begin_rows(struct crl_build *b, struct db_result *result, struct error *e)
{
	struct crl_sums sums;
	struct tbs_crl tbs;
	uint8_t buf[CRL_HEAD_MAX];
	struct bytes head;
	uint64_t entries_len;

	if (!crl_get_sums(result, &sums, e) || !crl_sums_size(&sums, &entries_len, e) ||
	    !build_extensions(b, e))
		return false;
	b->entries = sums.entries;
	tbs = tbs_of(b);
	if (!crl_tbs_head(&tbs, entries_len, buf, sizeof buf, &head, &b->tbs_len, e))
		return false;
	crl_build_read_along(b);
	return append(b, head, e) &&
	       crl_stream_entries(b->stream, &b->job, b->job.upto_seq, on_row, on_rows_end, b, e);
}

static void
on_sums(struct db_stream *s, struct db_result *result, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	if (err != NULL)
		crl_build_fail(b, err);
	else if (!begin_rows(b, result, &e))
		crl_build_fail_now(b, &e);
}

static void
ask_sums(struct crl_build *b)
{
	struct error e = ERROR_INIT;

	if (!crl_stream_sums(b->stream, &b->job, b->job.upto_seq, on_sums, b, &e))
		crl_build_fail_now(b, &e);
}

static void
on_seq(struct db_stream *s, struct db_result *result, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		crl_build_fail(b, err);
		return;
	}
	/* A delta that goes with a complete CRL ends where that one did. */
	if (b->job.upto_seq < 0)
		b->job.upto_seq = db_get_int64(result, 0, 0);
	if (db_result_ok(result, &e))
		ask_sums(b);
	else
		crl_build_fail_now(b, &e);
}

static void
on_stream_ready(struct db_stream *s, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	if (err != NULL)
		crl_build_fail(b, err);
	else if (!crl_stream_seq(b->stream, &b->job, on_seq, b, &e))
		crl_build_fail_now(b, &e);
}

bool
crl_build_spool(struct crl_build *b, struct error *e)
{
	crl_build_enter(b, SPOOLING);
	b->chunk = malloc(CRL_CHUNK_MAX);
	if (b->chunk == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a chunk of a CRL");
	if (EVP_DigestInit_ex(b->md, EVP_sha256(), NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	b->stream = db_stream_open(b->env->base, b->env->conninfo, on_stream_ready, b, e);
	return b->stream != NULL;
}
