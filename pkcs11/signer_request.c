#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/core/log.h"
#include "pkcs11/call.h"
#include "pkcs11/signer_int.h"

/* A call of the module that takes longer is worth a word. */
#define CALL_NEWS_MS 2000

/* A structure that comes in pieces. */
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

/* ---- answers */

static void
send_answer(struct signer *s, uint16_t type, uint64_t request, struct wire_writer *w)
{
	struct error why = ERROR_INIT;

	if (s->channel == NULL) {
		wire_writer_free(w);
		return;
	}
	if (!channel_send_writer(s->channel, type, request, w, &why) &&
	    why.code != ERROR_UNAVAILABLE)
		signer_give_up_channel(s, &why);
}

static void
send_failure(struct signer *s, uint64_t request, const struct error *why)
{
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_failed(&w, why);
	send_answer(s, SIGNPROTO_FAILED, request, &w);
}

static void
send_success(struct signer *s, const struct job *job)
{
	struct bytes output = {job->output, job->output_len};
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	/* A new key was tried. */
	if (job->kind == JOB_SIGN || job->kind == JOB_SIGN_DIGEST || job->kind == JOB_KEY_GENERATE)
		signer_note_success(s);
	switch (job->kind) {
	case JOB_KEY_GENERATE:
	case JOB_KEY_FIND:
		signproto_put_key_ok(
		    &w, &(struct signproto_key_ok){{job->id, job->id_len}, output});
		send_answer(s, SIGNPROTO_KEY_OK, job->request, &w);
		return;
	case JOB_ANCHOR:
	case JOB_CHECK:
	case JOB_LOCK:
		return;
	case JOB_PIN:
	case JOB_LIMITS_SET:
	case JOB_INSTALL:
	case JOB_RESEED:
	case JOB_KEY_DESTROY:
		signproto_put_done(&w, job->output_len > 0 ? (const char *)job->output : "");
		send_answer(s, SIGNPROTO_DONE, job->request, &w);
		return;
	case JOB_SIGN:
	case JOB_SIGN_DIGEST:
		s->signatures++;
		signproto_put_signed(&w, &(struct signproto_signed){output});
		send_answer(s, SIGNPROTO_SIGNED, job->request, &w);
		return;
	}
}

/* ---- what is in flight */

static void
pending_add(struct signer *s, struct job *job)
{
	job->pending_next = s->pending;
	job->pending_at = &s->pending;
	if (s->pending != NULL)
		s->pending->pending_at = &job->pending_next;
	s->pending = job;
	s->pending_count++;
	s->pending_bytes += job->input_len;
}

static void
pending_remove(struct signer *s, struct job *job)
{
	*job->pending_at = job->pending_next;
	if (job->pending_next != NULL)
		job->pending_next->pending_at = job->pending_at;
	s->pending_count--;
	s->pending_bytes -= job->input_len;
}

bool
signer_is_idle(const struct signer *s)
{
	return s->pending_count == 0 && s->stream_count == 0;
}

static void
log_refusal(const struct signer *s, const struct job *job)
{
	char id[KEY_ID_TEXT_MAX];

	if (job->kind == JOB_PIN) {
		log_warning(s->token_config->name, "what an operator sent was refused: %s",
		    job->error.text);
		return;
	}
	/* Asked again and again, while another signer does it. */
	if (job->error.code == ERROR_ELSEWHERE) {
		log_failure(LOG_LEVEL_DEBUG, s->token_config->name, &job->error);
		return;
	}
	key_limits_id_text((struct bytes){job->id, job->id_len}, id);
	log_warning(s->token_config->name, "%s %s: %s", job->id_len > 0 ? "key" : "a new",
	    job->id_len > 0 ? id : "key", job->error.text);
}

/* The loop's, which nobody waits for. */
static bool
is_own(const struct job *job)
{
	return job->kind == JOB_ANCHOR || job->kind == JOB_CHECK || job->kind == JOB_LOCK;
}

static void
forget_own(struct signer *s, const struct job *job)
{
	if (job->kind == JOB_ANCHOR)
		s->anchoring = false;
	else if (job->kind == JOB_LOCK)
		s->locking = false;
	else
		s->checking = false;
}

void
signer_answer_done(struct signer *s)
{
	struct job *job = pool_take_done(s->pool);
	bool gate_moved = false;

	/* Who asks for the status next shall see it. */
	for (const struct job *j = job; j != NULL; j = j->next)
		gate_moved |= j->kind == JOB_PIN || j->kind == JOB_LOCK ||
			      s->token_config->access == CONFIG_ACCESS_OPERATION;
	if (gate_moved && !s->lost)
		signer_look_at_gate(s);
	while (job != NULL) {
		struct job *next = job->next;

		pending_remove(s, job);
		if (error_is_set(&job->error) && !error_is_retryable(&job->error) && !is_own(job))
			log_refusal(s, job);
		if (job->kind == JOB_RESEED && !error_is_set(&job->error))
			signer_look_at_journal(s);
		if (job->kind == JOB_RESEED && s->gate != NULL)
			signer_look_at_gate(s);
		if (is_own(job))
			forget_own(s, job);
		else if (job->channel != s->channel_number)
			; /* Who asked is gone. */
		else if (error_is_set(&job->error))
			send_failure(s, job->request, &job->error);
		else
			send_success(s, job);
		job_free(job);
		job = next;
	}
}

/* ---- streams */

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
	return stream->deadline_ms != 0 && job_clock_ms() >= stream->deadline_ms;
}

static void
stream_fail(struct signer *s, struct stream **at, const struct error *why)
{
	uint64_t request = (*at)->request;

	stream_drop(s, at);
	log_failure(LOG_LEVEL_WARNING, s->token_config->name, why);
	send_failure(s, request, why);
}

/* Streams whose sender gave up must not keep others out. */
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

/* ---- requests */

static int64_t
deadline_of(uint32_t deadline_ms)
{
	return deadline_ms != 0 ? job_clock_ms() + deadline_ms : 0;
}

/* What operators ordered is carried out while the journal is closed, too. */
static bool
can_take_order(struct signer *s, size_t bytes, struct error *e)
{
	if (s->lost || s->pool == NULL)
		return error_set(e, ERROR_UNAVAILABLE, "the signer of token '%s' is not ready: %s",
		    s->token_config->name, s->state_text);
	if (s->ending || s->leaving || role_is_draining(s->role))
		return error_set(e, ERROR_UNAVAILABLE, "the signer of token '%s' is stopping",
		    s->token_config->name);
	if (s->pending_count >= SIGNER_QUEUE_MAX ||
	    s->pending_bytes + bytes > SIGNER_QUEUE_BYTES_MAX)
		return error_set(e, ERROR_LIMIT,
		    "the signer of token '%s' has %u requests of %zu octets waiting and takes no "
		    "more",
		    s->token_config->name, s->pending_count, s->pending_bytes);
	return true;
}

static bool
can_serve(struct signer *s, size_t bytes, struct error *e)
{
	if (!can_take_order(s, bytes, e))
		return false;
	if (s->state != SIGNPROTO_CLOSED)
		return true;
	return error_set(e, ERROR_UNAVAILABLE, "the signer of token '%s' is not ready: %s",
	    s->token_config->name, s->state_text);
}

void
signer_submit(struct signer *s, struct job *job)
{
	job->channel = s->channel_number;
	pending_add(s, job);
	pool_submit(s->pool, job);
}

static bool
submit(struct signer *s, uint64_t request, struct job *job, struct error *e)
{
	if (job == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for a request");
	job->request = request;
	signer_submit(s, job);
	return true;
}

/* With what the module has not come back from for some time, and whether memory may get to
 * a disk. */
static void
describe_state(const struct signer *s, char text[ERROR_TEXT_MAX])
{
	struct call c;

	if (call_worst(s->token_config->call_timeout_s, &c) && c.age_ms >= CALL_NEWS_MS)
		(void)snprintf(text, ERROR_TEXT_MAX,
		    "%.400s; %s has not come back for %lld s, and may take %lld s", s->state_text,
		    c.name, (long long)(c.age_ms / 1000), (long long)(c.limit_ms / 1000));
	else
		(void)snprintf(text, ERROR_TEXT_MAX, "%.400s%s", s->state_text,
		    s->state == SIGNPROTO_READY && !sandbox_memory_is_locked()
			? "; its memory is not locked (RLIMIT_MEMLOCK)"
			: "");
}

static bool
request_status(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_status_ok m = {
	    .instance = s->instance,
	    .state = s->state,
	    .threads = s->pool != NULL ? pool_threads(s->pool) : s->token_config->threads,
	    .signatures = s->signatures,
	    .since = s->since,
	};
	struct wire_writer w;

	if (!signproto_get_status(payload, e))
		return false;
	(void)snprintf(m.token_name, sizeof m.token_name, "%s", s->token_config->name);
	describe_state(s, m.state_text);
	if (s->token != NULL) {
		const struct token_info *info = token_info(s->token);

		(void)snprintf(m.label, sizeof m.label, "%s", info->label);
		(void)snprintf(m.serial, sizeof m.serial, "%s", info->serial);
		(void)snprintf(m.model, sizeof m.model, "%s", info->model);
	}
	if (s->journal != NULL) {
		(void)signer_describe_journal(s, m.journal);
		signer_describe_challenge(s, m.challenge);
	}
	signer_describe_access(s, &m);
	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_status_ok(&w, &m);
	send_answer(s, SIGNPROTO_STATUS_OK, request, &w);
	return true;
}

bool
signer_take_order(struct signer *s, uint64_t request, enum job_kind kind, struct bytes id,
    struct bytes payload, struct error *e)
{
	return can_take_order(s, payload.len, e) &&
	       submit(s, request, job_new(kind, id, payload), e);
}

/* The message goes to the thread as it is, once it is known to be one. */
static bool
request_key_generate(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_key_generate m;

	return signproto_get_key_generate(payload, &m, e) && can_take_order(s, payload.len, e) &&
	       submit(s, request, job_new(JOB_KEY_GENERATE, (struct bytes){0}, payload), e);
}

static bool
request_limits_set(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_limits_set m;

	return signproto_get_limits_set(payload, &m, e) && can_take_order(s, payload.len, e) &&
	       submit(s, request, job_new(JOB_LIMITS_SET, m.cka_id, payload), e);
}

static bool
request_install(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_install m;

	return signproto_get_install(payload, &m, e) && can_take_order(s, payload.len, e) &&
	       submit(s, request, job_new(JOB_INSTALL, m.cka_id, payload), e);
}

static bool
request_reseed(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_reseed m;

	return signproto_get_reseed(payload, &m, e) && can_take_order(s, payload.len, e) &&
	       submit(s, request, job_new(JOB_RESEED, (struct bytes){0}, payload), e);
}

static bool
request_key_destroy(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_key_destroy m;

	return signproto_get_key_destroy(payload, &m, e) && can_take_order(s, payload.len, e) &&
	       submit(s, request, job_new(JOB_KEY_DESTROY, m.cka_id, payload), e);
}

static bool
request_key_find(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_key_find m;

	return signproto_get_key_find(payload, &m, e) && can_serve(s, 0, e) &&
	       submit(s, request, job_new(JOB_KEY_FIND, m.cka_id, (struct bytes){0}), e);
}

static bool
check_alg(uint16_t number, struct error *e)
{
	if (sig_alg_valid(number))
		return true;
	return error_set(e, ERROR_INPUT, "%u is no signature algorithm", number);
}

static bool
request_sign(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_sign m;
	struct job *job;

	if (!signproto_get_sign(payload, &m, e) || !check_alg(m.sig_alg, e) ||
	    !can_serve(s, payload.len, e))
		return false;
	job = job_new(JOB_SIGN, m.cka_id, payload);
	if (job != NULL) {
		job->alg = (enum sig_alg)m.sig_alg;
		job->structure = m.kind;
		job->deadline_ms = deadline_of(m.deadline_ms);
	}
	return submit(s, request, job, e);
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
	stream->deadline_ms = deadline_of(m->deadline_ms);
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

static bool
request_stream_begin(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_stream_begin m;
	struct stream *stream, **same;

	same = stream_find(s, request);
	if (*same != NULL)
		stream_drop(s, same);
	if (!signproto_get_stream_begin(payload, &m, e) || !check_alg(m.sig_alg, e) ||
	    !(m.abstract ? can_tell(s, e) : can_serve(s, 0, e) && signer_may_stream(s, e)))
		return false;
	drop_late_streams(s);
	if (s->stream_count >= SIGNER_STREAMS_MAX)
		return error_set(e, ERROR_LIMIT,
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

static void
request_stream_data(struct signer *s, uint64_t request, struct bytes payload)
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
	send_answer(s, SIGNPROTO_ABSTRACT, stream->request, &w);
	return true;
}

static void
request_stream_end(struct signer *s, uint64_t request, struct bytes payload)
{
	struct stream **at = stream_find(s, request), *stream = *at;
	struct error why = ERROR_INIT;
	struct guard_use use;
	struct job *job;

	if (stream == NULL)
		return;
	if (!signproto_get_stream_end(payload, &why) || !check_stream_deadline(stream, &why) ||
	    !(stream->abstract || can_serve(s, 0, &why)) ||
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
	if (submit(s, request, job, &why))
		stream_drop(s, at);
	else
		stream_fail(s, at, &why);
}

void
signer_request(struct signer *s, uint16_t type, uint64_t id, struct bytes payload)
{
	struct error why = ERROR_INIT;
	bool ok = true;

	switch (type) {
	case SIGNPROTO_STATUS:
		ok = request_status(s, id, payload, &why);
		break;
	case SIGNPROTO_KEY_GENERATE:
		ok = request_key_generate(s, id, payload, &why);
		break;
	case SIGNPROTO_LIMITS_SET:
		ok = request_limits_set(s, id, payload, &why);
		break;
	case SIGNPROTO_INSTALL:
		ok = request_install(s, id, payload, &why);
		break;
	case SIGNPROTO_RESEED:
		ok = request_reseed(s, id, payload, &why);
		break;
	case SIGNPROTO_KEY_DESTROY:
		ok = request_key_destroy(s, id, payload, &why);
		break;
	case SIGNPROTO_PIN:
		ok = signer_request_pin(s, id, payload, &why);
		break;
	case SIGNPROTO_KEY_FIND:
		ok = request_key_find(s, id, payload, &why);
		break;
	case SIGNPROTO_SIGN:
		ok = request_sign(s, id, payload, &why);
		break;
	case SIGNPROTO_STREAM_BEGIN:
		ok = request_stream_begin(s, id, payload, &why);
		break;
	case SIGNPROTO_STREAM_DATA:
		request_stream_data(s, id, payload);
		break;
	case SIGNPROTO_STREAM_END:
		request_stream_end(s, id, payload);
		break;
	default:
		ok = error_set(&why, ERROR_INPUT, "the signer knows no message of type %u", type);
	}
	if (!ok)
		send_failure(s, id, &why);
}

void
signer_fail_all(struct signer *s, const struct error *why)
{
	while (s->streams != NULL) {
		send_failure(s, s->streams->request, why);
		stream_drop(s, &s->streams);
	}
	for (struct job *job = s->pending; job != NULL; job = job->pending_next) {
		if (job->channel == s->channel_number && !is_own(job))
			send_failure(s, job->request, why);
	}
}

void
signer_forget_requests(struct signer *s)
{
	struct job *job;

	s->channel_number++;
	while (s->streams != NULL)
		stream_drop(s, &s->streams);
	job = s->pool != NULL ? pool_take_queued(s->pool) : NULL;
	while (job != NULL) {
		struct job *next = job->next;

		if (is_own(job))
			forget_own(s, job);
		pending_remove(s, job);
		job_free(job);
		job = next;
	}
}
