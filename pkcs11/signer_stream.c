/* Structures that come in pieces: a long CRL, which is looked at while it comes, and only its
 * digest goes to a signing thread, or is told about. */

#include "pkcs11/signer_int.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"

struct stream {
	struct stream *next;
	uint64_t request;
	int64_t deadline_ms;
	uint8_t id[SIGNPROTO_ID_MAX];
	size_t id_len;
	uint8_t limits_sha256[32]; /* of the document that the guard goes by */
	enum sig_alg alg;
	struct guard_stream *guard;
	/* Only to be told about, and compared with the last one of that scope. */
	bool abstract;
	int64_t last; /* seconds since 1970; 0: there is none */
	uint8_t last_scope[32];
	uint64_t length;
};

static void
stream_drop(struct signer *s, struct stream **at)
{
	struct stream *stream = *at;

	*at = stream->next;
	s->stream_count--;
	guard_stream_free(stream->guard);
	free(stream);
}

static struct stream **
stream_find(struct signer *s, uint64_t request)
{
	struct stream **at = &s->streams;

	while (*at != NULL && (*at)->request != request)
		at = &(*at)->next;
	return at;
}

static bool
stream_is_late(const struct stream *stream)
{
	return stream->deadline_ms != 0 && monotonic_ms() >= stream->deadline_ms;
}

static void
stream_fail(struct signer *s, struct stream **at, const struct error *why)
{
	uint64_t request = (*at)->request;

	stream_drop(s, at);
	log_failure(LOG_LEVEL_WARNING, s->token_config->name, why);
	signer_send_failure(s, request, why);
}

/* Streams whose sender gave up must not keep others out, or the signer from its end. */
static void
drop_late_streams(struct signer *s)
{
	struct stream **at = &s->streams;
	struct error why = ERROR_INIT;

	(void)error_set(&why, ERROR_TIMEOUT, "the deadline passed before the stream's end");
	while (*at != NULL) {
		if (stream_is_late(*at))
			stream_fail(s, at, &why);
		else
			at = &(*at)->next;
	}
}

/* The journal of a token that nobody has opened since the start is not read yet. */
static void
find_last(struct signer *s, struct stream *stream, const struct signproto_stream_begin *m)
{
	uint8_t scope[SIGNPROTO_SCOPE_LEN] = {0};
	struct journal_scope last;

	if (!m->abstract || s->journal == NULL)
		return;
	if (m->scope.len > 0)
		memcpy(scope, m->scope.p, sizeof scope);
	if (!journal_find_scope(s->journal, m->cka_id, scope, &last))
		return;
	memcpy(stream->last_scope, scope, sizeof scope);
	stream->last = last.complete.this_update > last.delta.this_update
			   ? last.complete.this_update
			   : last.delta.this_update;
	guard_stream_count(stream->guard)->since = stream->last;
}

static struct stream *
stream_new(struct signer *s, const struct signproto_stream_begin *m, struct error *e)
{
	struct key_limits *limits = malloc(sizeof *limits);
	struct stream *stream = calloc(1, sizeof *stream);
	struct guard_request r = {
	    .key = limits,
	    .signer_id = s->config->issuer.signer_id,
	    .now = (int64_t)time(NULL),
	    .kind = m->kind,
	    .alg = (enum sig_alg)m->sig_alg,
	};

	if (limits == NULL || stream == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for a stream");
		goto fail;
	}
	/* What the token remembers of them is compared by the thread that signs. What is
	 * wrong with them may be put right: a CRL waits for that. */
	if (!key_limits_load(limits, s->state_dir, m->cka_id, e)) {
		e->code = e->code == ERROR_DENIED ? ERROR_UNAVAILABLE : e->code;
		goto fail;
	}
	stream->guard = guard_stream_new(&r, m->total_len, e);
	if (stream->guard == NULL)
		goto fail;
	memcpy(stream->limits_sha256, limits->document_sha256, sizeof stream->limits_sha256);
	memcpy(stream->id, m->cka_id.p, m->cka_id.len);
	stream->id_len = m->cka_id.len;
	stream->alg = (enum sig_alg)m->sig_alg;
	stream->deadline_ms = signer_deadline_ms(m->deadline_ms);
	stream->abstract = m->abstract;
	stream->length = m->total_len;
	find_last(s, stream, m);
	free(limits);
	return stream;
fail:
	free(limits);
	free(stream);
	return NULL;
}

/* The token is not needed for it. */
static bool
can_tell(struct signer *s, struct error *e)
{
	return s->access != NULL || error_set(e, ERROR_CONFLICT,
					"token '%s' has access: auto: nobody waits for what its "
					"signer says of a CRL",
					s->token_config->name);
}

bool
signer_stream_begin(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_stream_begin m;
	struct stream *stream, **same;

	same = stream_find(s, request);
	if (*same != NULL)
		stream_drop(s, same);
	drop_late_streams(s);
	if (!signproto_get_stream_begin(payload, &m, e) || !signer_check_alg(m.sig_alg, e) ||
	    !(m.abstract ? can_tell(s, e)
			 : signer_can_serve(s, false, 0, e) && signer_may_stream(s, e)))
		return false;
	/* It passes by itself: nothing is wrong with the structure that comes too much. */
	if (s->stream_count >= SIGNER_STREAMS_MAX)
		return error_set(e, ERROR_UNAVAILABLE,
		    "%u structures are being streamed already, at most %d may", s->stream_count,
		    SIGNER_STREAMS_MAX);
	stream = stream_new(s, &m, e);
	if (stream == NULL)
		return false;
	stream->request = request;
	stream->next = s->streams;
	s->streams = stream;
	s->stream_count++;
	return true;
}

static bool
check_stream_deadline(const struct stream *stream, struct error *e)
{
	if (!stream_is_late(stream))
		return true;
	return error_set(e, ERROR_TIMEOUT, "the deadline passed before the stream's end");
}

void
signer_stream_data(struct signer *s, uint64_t request, struct bytes payload)
{
	struct stream **at = stream_find(s, request);
	struct signproto_stream_data m;
	struct error why = ERROR_INIT;

	/* What was refused already. */
	if (*at == NULL)
		return;
	if (!signproto_get_stream_data(payload, &m, &why) || !check_stream_deadline(*at, &why) ||
	    !guard_stream_push((*at)->guard, m.data, &why))
		stream_fail(s, at, &why);
}

static void
fill_abstract(const struct signer *s, const struct stream *stream, const struct guard_use *use,
    struct crl_abstract *a)
{
	static const uint8_t whole[32] = {0};
	const struct guard_count *n = guard_stream_count(stream->guard);

	*a = (struct crl_abstract){.length = stream->length,
	    .this_update = use->this_update,
	    .next_update = use->next_update};
	memcpy(a->token, s->access->start.token, sizeof a->token);
	memcpy(a->signer, s->access->fingerprint, sizeof a->signer);
	memcpy(a->key, stream->id, stream->id_len);
	a->key_len = stream->id_len;
	memcpy(a->sha256, use->tbs_sha256, sizeof a->sha256);
	memcpy(a->number, use->number, use->number_len);
	a->number_len = use->number_len;
	memcpy(a->base, use->base_number, use->base_number_len);
	a->base_len = use->base_number_len;
	a->has_scope = memcmp(use->scope, whole, sizeof whole) != 0;
	memcpy(a->scope, use->scope, sizeof a->scope);
	memcpy(a->reasons, n->reasons, sizeof a->reasons);
	for (unsigned i = 0; i < CRL_ABSTRACT_REASONS; i++)
		a->entries += n->reasons[i];
	/* The asker may have named another scope than the CRL is of. */
	a->has_last = stream->last > 0 &&
		      memcmp(stream->last_scope, use->scope, sizeof use->scope) == 0;
	a->last = a->has_last ? stream->last : 0;
	a->fresh = a->has_last ? n->fresh : 0;
}

static bool
tell_about(
    struct signer *s, const struct stream *stream, const struct guard_use *use, struct error *e)
{
	char text[CRL_ABSTRACT_TEXT_MAX + 1];
	uint8_t signature[SIGNER_START_SIGNATURE_LEN];
	struct crl_abstract a;
	struct wire_writer w;
	size_t len = 0;

	fill_abstract(s, stream, use, &a);
	if (!crl_abstract_format(&a, text, &len, e) ||
	    !crl_abstract_sign(text, len, s->access->identity, signature, e))
		return false;
	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_abstract(&w, &(struct signproto_abstract){{(const uint8_t *)text, len},
				       {signature, sizeof signature}});
	signer_send(s, SIGNPROTO_ABSTRACT, stream->request, &w);
	return true;
}

void
signer_stream_end(struct signer *s, uint64_t request, struct bytes payload)
{
	struct stream **at = stream_find(s, request), *stream = *at;
	struct error why = ERROR_INIT;
	struct guard_use use;
	struct job *job;

	if (stream == NULL)
		return;
	if (!signproto_get_stream_end(payload, &why) || !check_stream_deadline(stream, &why) ||
	    !(stream->abstract || signer_can_serve(s, true, 0, &why)) ||
	    !guard_stream_finish(stream->guard, &use, &why)) {
		stream_fail(s, at, &why);
		return;
	}
	if (stream->abstract) {
		if (!tell_about(s, stream, &use, &why))
			stream_fail(s, at, &why);
		else
			stream_drop(s, at);
		return;
	}
	job = job_new(
	    JOB_SIGN_DIGEST, (struct bytes){stream->id, stream->id_len}, (struct bytes){0});
	if (job != NULL) {
		job->alg = stream->alg;
		job->structure = SIGNPROTO_TBS_CRL;
		job->use = use;
		job->whole = guard_stream_take_whole(stream->guard, &job->whole_len);
		memcpy(job->limits_sha256, stream->limits_sha256, sizeof job->limits_sha256);
		job->deadline_ms = stream->deadline_ms;
	}
	if (signer_submit_request(s, request, job, &why))
		stream_drop(s, at);
	else
		stream_fail(s, at, &why);
}

/* One that is known no more was answered, or goes on its way to the token. */
bool
signer_stream_drop(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct stream **at = stream_find(s, request);

	if (!signproto_get_stream_drop(payload, e))
		return false;
	if (*at != NULL)
		stream_drop(s, at);
	return true;
}

void
signer_fail_streams(struct signer *s, const struct error *why)
{
	while (s->streams != NULL) {
		signer_send_failure(s, s->streams->request, why);
		stream_drop(s, &s->streams);
	}
}

void
signer_forget_streams(struct signer *s)
{
	while (s->streams != NULL)
		stream_drop(s, &s->streams);
}
