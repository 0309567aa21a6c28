/* The chunks of a CRL read back: for the signer, and once they are signed for the gate. */

#include "daemon/issuer/crl_build_int.h"

#include <string.h>
#include <time.h>

#include <event2/event.h>
#include <openssl/sha.h>

#include "daemon/core/log.h"

#define SIGN_DEADLINE_MS 60000
#define LAG_S 1
#define LONG_LIST (8 * CRL_CHUNK_MAX)

static bool ask_chunk(struct crl_build *b, struct error *e) MUST_CHECK;
static void read_chunk(struct crl_build *b);

/* ------------------------------------------------------------- at the gate */

static bool
digest(struct crl_build *b, struct bytes data, struct error *e)
{
	if (EVP_DigestUpdate(b->md, data.p, data.len) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	return true;
}

/* It reads the events while the signer reads the CRL. */
static bool
build_gate(struct crl_build *b, struct error *e)
{
	if (b->gate == NULL)
		b->gate = crl_gate_new(b->ca, &b->job, b->env->base, b->env->conninfo, e);
	return b->gate != NULL;
}

/* The next octets of the signed CRL. */
static bool
show_gate(struct crl_build *b, struct bytes data, struct error *e)
{
	return digest(b, data, e) && crl_gate_push(b->gate, data, e);
}

static void
on_judged(const struct error *err, void *arg)
{
	struct crl_build *b = arg;

	if (err != NULL) {
		crl_build_fail(b, err);
		return;
	}
	crl_gate_free(b->gate);
	b->gate = NULL;
	crl_build_enter(b, COMPLETING);
	crl_build_complete(b);
}

/* All octets but the last ones went past. */
static bool
judge(struct crl_build *b, struct error *e)
{
	if (!show_gate(b, b->tail, e))
		return false;
	if (EVP_DigestFinal_ex(b->md, b->sha256, NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	return crl_gate_judge(b->gate, on_judged, b, e);
}

/* ------------------------------------------------------------ the chunks */

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
	bool full = false;

	b->pending = NULL;
	if (err != NULL) {
		crl_build_fail(b, err);
		return;
	}
	if (db_row_count(result) == 0) {
		if (!end_of_chunks(b, &e))
			crl_build_fail_now(b, &e);
		return;
	}
	/* The gate takes every chunk: the database gets the next one ready meanwhile. */
	if ((b->stage == GATING && !ask_chunk(b, &e)) || !use_chunk(b, result, &full, &e)) {
		if (full)
			b->held = db_result_take(result);
		else
			crl_build_fail_now(b, &e);
	} else if (b->stage == SIGNING) {
		read_chunk(b);
	}
}

static bool
ask_chunk(struct crl_build *b, struct error *e)
{
	b->pending = crl_get_chunk(b->env->db, b->job.artifact_id, b->position++, on_chunk, b, e);
	return b->pending != NULL;
}

static void
read_chunk(struct crl_build *b)
{
	struct error e = ERROR_INIT;

	if (!ask_chunk(b, &e))
		crl_build_fail_now(b, &e);
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
		crl_build_fail_now(b, &e);
	}
}

void
crl_build_poke(struct crl_build *b)
{
	if (event_pending(b->retry, EV_TIMEOUT, NULL))
		event_active(b->retry, EV_TIMEOUT, 0);
	else
		crl_build_room(b);
}

void
crl_build_room(struct crl_build *b)
{
	struct error e = ERROR_INIT;

	if (b->stage == SPOOLING)
		crl_build_go_on(b);
	else if (b->held != NULL)
		poke_held(b);
	else if (b->end_held && !send_end(b, &e))
		crl_build_fail_now(b, &e);
}

bool
crl_build_show_to_gate(struct crl_build *b, struct error *e)
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
	if (!build_gate(b, e) || !crl_gate_begin(b->gate, list_len, e) ||
	    !show_gate(b, (struct bytes){b->head, b->head_len}, e))
		return false;
	b->position = 1;
	read_chunk(b);
	return true;
}

/* Nothing that it was still to be given is on its way. */
static bool
came_whole(const struct crl_build *b, struct error *e)
{
	if (b->pending == NULL && b->held == NULL && !b->end_held)
		return true;
	return error_set(e, ERROR_INTERNAL,
	    "the signer of token %s answered before it was given all of the CRL of %s",
	    b->ca->row.token, b->job.ca_name);
}

static void
on_signed(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	b->call = 0;
	if (b->stage < SIGNING) { /* it does not read along */
		b->read_along = false;
		crl_build_go_on(b);
		return;
	}
	if (failure != NULL) {
		crl_build_fail(b, failure);
		return;
	}
	if (!came_whole(b, &e)) {
		crl_build_fail(b, &e);
		return;
	}
	b->signature_len = answer->sign.signature.len; /* at most SIGNPROTO_SIGNATURE_MAX */
	memcpy(b->signature, answer->sign.signature.p, b->signature_len);
	crl_build_enter(b, GATING);
	if (!crl_build_show_to_gate(b, &e))
		crl_build_fail(b, &e);
}

static void
on_abstract(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	b->call = 0;
	if (failure != NULL)
		crl_build_fail(b, failure);
	else if (!came_whole(b, &e))
		crl_build_fail(b, &e);
	else
		crl_build_wait_for_pin(b, NULL, &answer->abstract);
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

	if (b->abstract && idp.len > 0)
		m.scope = (struct bytes){SHA256(idp.p, idp.len, scope), sizeof scope};
	return signer_stream_begin(b->env->signers, b->ca->row.token, &m,
	    b->abstract ? on_abstract : on_signed, b, &b->call, e);
}

static void
stop_reading_along(struct crl_build *b)
{
	if (!b->read_along)
		return;
	signer_cancel(b->env->signers, b->call);
	b->call = 0;
	b->read_along = false;
}

static void
leave_behind(struct crl_build *b)
{
	log_debug(b->job.ca_name, "the signer of token %s is behind: it reads the CRL later",
	    b->ca->row.token);
	stop_reading_along(b);
}

/* It reads along, and not as fast as the rows come. */
static bool
lags(const struct crl_build *b)
{
	return b->read_along && !signer_stream_has_room(b->env->signers, b->call, CRL_CHUNK_MAX);
}

/* It may have caught up while the database had no room; and once all rows are there it holds
 * nothing up, and is perhaps signing already. */
void
crl_build_lag_over(struct crl_build *b)
{
	if (b->stream != NULL && lags(b))
		leave_behind(b);
	crl_build_go_on(b);
}

bool
crl_build_along_has_room(struct crl_build *b)
{
	const struct timeval moment = {LAG_S, 0};

	if (!lags(b)) {
		(void)event_del(b->lag);
		return true;
	}
	if (event_pending(b->lag, EV_TIMEOUT, NULL) || event_add(b->lag, &moment) == 0)
		return false;
	leave_behind(b);
	return true;
}

/* Reading the events takes as long as reading the rows, and may last until the signed CRL has
 * been read back, when there is less to do: those of a long one are begun a third later. */
static void
open_gate(struct crl_build *b)
{
	bool early = b->tbs_len > LONG_LIST && b->tbs_written < b->tbs_len / 3;
	struct error e = ERROR_INIT;

	if (b->read_along && !early && !build_gate(b, &e))
		stop_reading_along(b);
}

void
crl_build_read_along(struct crl_build *b)
{
	const char *token = b->ca->row.token;
	struct error e = ERROR_INIT;

	if (b->job.prepared || token_access_by_operation(b->env->access, token) ||
	    token_access_is_locked(b->env->access, token, NULL) ||
	    token_access_is_away(b->env->access, token, NULL))
		return;
	b->read_along = begin_stream(b, &e);
	open_gate(b);
}

void
crl_build_read_chunk_along(struct crl_build *b)
{
	struct error e = ERROR_INIT;

	if (b->read_along &&
	    !signer_stream_data(b->env->signers, b->call, b->chunk, b->chunk_len, &e))
		leave_behind(b);
	open_gate(b);
}

/* From the spool. */
static bool
stream_chunks(struct crl_build *b, struct error *e)
{
	if (EVP_DigestInit_ex(b->md, EVP_sha256(), NULL) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "digesting a CRL");
	b->position = 1;
	return begin_stream(b, e) && (b->abstract || build_gate(b, e)) && ask_chunk(b, e);
}

static void
on_spool_size(struct db *db, struct db_result *result, const struct error *err, void *arg)
{
	struct crl_build *b = arg;
	struct error e = ERROR_INIT;

	b->pending = NULL;
	if (err != NULL) {
		crl_build_fail(b, err);
		return;
	}
	b->tbs_len = (uint64_t)db_get_int64(result, 0, 0);
	if (b->abstract && b->tbs_len <= b->env->abstract_from && db_result_ok(result, &e))
		crl_build_wait_for_pin(b, NULL, NULL);
	else if (!db_result_ok(result, &e) || !stream_chunks(b, &e))
		crl_build_fail_now(b, &e);
}

void
crl_build_sign(struct crl_build *b)
{
	struct error e = ERROR_INIT;

	crl_build_enter(b, SIGNING);
	if ((int64_t)time(NULL) >= b->job.next_update) {
		error_set(&e, ERROR_TIMEOUT, "its nextUpdate passed before it was signed");
		crl_build_burn(b, &e, false);
		return;
	}
	b->abstract = !b->job.listed && token_access_by_operation(b->env->access, b->ca->row.token);
	/* For days, perhaps; then another one, with what was revoked meanwhile. */
	if (token_access_is_locked(b->env->access, b->ca->row.token, &e)) {
		crl_build_burn(b, &e, false);
		return;
	}
	if (b->read_along && !b->abstract) {
		if (!send_end(b, &e))
			crl_build_fail_now(b, &e);
		return;
	}
	stop_reading_along(b);
	b->pending = crl_spool_size(b->env->db, b->job.artifact_id, on_spool_size, b, &e);
	if (b->pending == NULL)
		crl_build_fail_now(b, &e);
}
