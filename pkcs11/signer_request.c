/* What the issuer asks for, and what it is answered. */

#include <stdio.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"
#include "pkcs11/call.h"
#include "pkcs11/signer_int.h"

/* A call of the module that takes longer is worth a word. */
#define CALL_NEWS_MS 2000

/* ---- answers */

void
signer_send(struct signer *s, uint16_t type, uint64_t request, struct wire_writer *w)
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

void
signer_send_failure(struct signer *s, uint64_t request, const struct error *why)
{
	struct wire_writer w;

	wire_writer_init(&w, CHANNEL_FRAME_MAX);
	signproto_put_failed(&w, why);
	signer_send(s, SIGNPROTO_FAILED, request, &w);
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
		signer_send(s, SIGNPROTO_KEY_OK, job->request, &w);
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
		signer_send(s, SIGNPROTO_DONE, job->request, &w);
		return;
	case JOB_SIGN:
	case JOB_SIGN_DIGEST:
		s->signatures++;
		signproto_put_signed(&w, &(struct signproto_signed){output});
		signer_send(s, SIGNPROTO_SIGNED, job->request, &w);
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
			signer_send_failure(s, job->request, &job->error);
		else
			send_success(s, job);
		job_free(job);
		job = next;
	}
}

/* ---- requests */

int64_t
signer_deadline_ms(uint32_t deadline_ms)
{
	return deadline_ms != 0 ? monotonic_ms() + deadline_ms : 0;
}

/* begun: it came before the signer was asked to stop, or to make room for a new one. */
static bool
can_take(struct signer *s, bool begun, size_t bytes, struct error *e)
{
	if (s->lost || s->pool == NULL)
		return error_set(e, ERROR_UNAVAILABLE, "the signer of token '%s' is not ready: %s",
		    s->token_config->name, s->state_text);
	if (s->ending || (!begun && (s->leaving || role_is_draining(s->role))))
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

/* What operators ordered is carried out while the journal is closed, too. */
bool
signer_can_serve(struct signer *s, bool begun, size_t bytes, struct error *e)
{
	if (!can_take(s, begun, bytes, e))
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

bool
signer_submit_request(struct signer *s, uint64_t request, struct job *job, struct error *e)
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
	signer_send(s, SIGNPROTO_STATUS_OK, request, &w);
	return true;
}

bool
signer_take_order(struct signer *s, uint64_t request, enum job_kind kind, struct bytes id,
    struct bytes payload, struct error *e)
{
	return can_take(s, false, payload.len, e) &&
	       signer_submit_request(s, request, job_new(kind, id, payload), e);
}

/* The message goes to the thread as it is, once it is known to be one. */
static bool
request_key_generate(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_key_generate m;

	return signproto_get_key_generate(payload, &m, e) &&
	       signer_take_order(s, request, JOB_KEY_GENERATE, (struct bytes){0}, payload, e);
}

static bool
request_limits_set(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_limits_set m;

	return signproto_get_limits_set(payload, &m, e) &&
	       signer_take_order(s, request, JOB_LIMITS_SET, m.cka_id, payload, e);
}

static bool
request_install(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_install m;

	return signproto_get_install(payload, &m, e) &&
	       signer_take_order(s, request, JOB_INSTALL, m.cka_id, payload, e);
}

static bool
request_reseed(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_reseed m;

	return signproto_get_reseed(payload, &m, e) &&
	       signer_take_order(s, request, JOB_RESEED, (struct bytes){0}, payload, e);
}

static bool
request_key_destroy(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_key_destroy m;

	return signproto_get_key_destroy(payload, &m, e) &&
	       signer_take_order(s, request, JOB_KEY_DESTROY, m.cka_id, payload, e);
}

static bool
request_key_find(struct signer *s, uint64_t request, struct bytes payload, struct error *e)
{
	struct signproto_key_find m;

	return signproto_get_key_find(payload, &m, e) && signer_can_serve(s, false, 0, e) &&
	       signer_submit_request(
		   s, request, job_new(JOB_KEY_FIND, m.cka_id, (struct bytes){0}), e);
}

bool
signer_check_alg(uint16_t number, struct error *e)
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

	if (!signproto_get_sign(payload, &m, e) || !signer_check_alg(m.sig_alg, e) ||
	    !signer_can_serve(s, false, payload.len, e))
		return false;
	job = job_new(JOB_SIGN, m.cka_id, payload);
	if (job != NULL) {
		job->alg = (enum sig_alg)m.sig_alg;
		job->structure = m.kind;
		job->deadline_ms = signer_deadline_ms(m.deadline_ms);
	}
	return signer_submit_request(s, request, job, e);
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
		ok = signer_stream_begin(s, id, payload, &why);
		break;
	case SIGNPROTO_STREAM_DATA:
		signer_stream_data(s, id, payload);
		break;
	case SIGNPROTO_STREAM_END:
		signer_stream_end(s, id, payload);
		break;
	case SIGNPROTO_STREAM_DROP:
		ok = signer_stream_drop(s, id, payload, &why);
		break;
	default:
		ok = error_set(&why, ERROR_INPUT, "the signer knows no message of type %u", type);
	}
	if (!ok)
		signer_send_failure(s, id, &why);
	signer_end_when_idle(s);
}

void
signer_fail_all(struct signer *s, const struct error *why)
{
	signer_fail_streams(s, why);
	for (struct job *job = s->pending; job != NULL; job = job->pending_next) {
		if (job->channel == s->channel_number && !is_own(job))
			signer_send_failure(s, job->request, why);
	}
}

void
signer_forget_requests(struct signer *s)
{
	struct job *job;

	s->channel_number++;
	signer_forget_streams(s);
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
