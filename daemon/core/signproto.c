#include "daemon/core/signproto.h"

#include <string.h>

static const struct {
	uint16_t type;
	const char *name;
} type_names[] = {
    {SIGNPROTO_STATUS, "STATUS"},
    {SIGNPROTO_KEY_GENERATE, "KEY_GENERATE"},
    {SIGNPROTO_KEY_FIND, "KEY_FIND"},
    {SIGNPROTO_SIGN, "SIGN"},
    {SIGNPROTO_STREAM_BEGIN, "STREAM_BEGIN"},
    {SIGNPROTO_STREAM_DATA, "STREAM_DATA"},
    {SIGNPROTO_STREAM_END, "STREAM_END"},
    {SIGNPROTO_STREAM_DROP, "STREAM_DROP"},
    {SIGNPROTO_LIMITS_SET, "LIMITS_SET"},
    {SIGNPROTO_INSTALL, "INSTALL"},
    {SIGNPROTO_RESEED, "RESEED"},
    {SIGNPROTO_PIN, "PIN"},
    {SIGNPROTO_KEY_DESTROY, "KEY_DESTROY"},
    {SIGNPROTO_STATUS_OK, "STATUS_OK"},
    {SIGNPROTO_KEY_OK, "KEY_OK"},
    {SIGNPROTO_SIGNED, "SIGNED"},
    {SIGNPROTO_FAILED, "FAILED"},
    {SIGNPROTO_DONE, "DONE"},
    {SIGNPROTO_ABSTRACT, "ABSTRACT"},
};

static const char *const kind_names[] = {
    [SIGNPROTO_TBS_CERTIFICATE] = "tbs-certificate",
    [SIGNPROTO_TBS_CRL] = "tbs-crl",
    [SIGNPROTO_CSR_INFO] = "csr-info",
};

static const char *const state_names[] = {
    [SIGNPROTO_READY] = "ready",
    [SIGNPROTO_NO_PIN] = "no-pin",
    [SIGNPROTO_PIN_WRONG] = "pin-wrong",
    [SIGNPROTO_TOKEN_AWAY] = "token-away",
    [SIGNPROTO_MODULE_BROKEN] = "module-broken",
    [SIGNPROTO_CLOSED] = "closed",
    [SIGNPROTO_LOCKED] = "locked",
    [SIGNPROTO_AT_DEVICE] = "at-device",
    [SIGNPROTO_BLOCKED] = "blocked",
};

const char *
signproto_type_name(uint16_t type)
{
	for (size_t i = 0; i < COUNT_OF(type_names); i++) {
		if (type_names[i].type == type)
			return type_names[i].name;
	}
	return "unknown";
}

const char *
signproto_kind_name(enum signproto_kind kind)
{
	if ((size_t)kind >= COUNT_OF(kind_names) || kind_names[kind] == NULL)
		return "unknown";
	return kind_names[kind];
}

const char *
signproto_state_name(enum signproto_state state)
{
	if ((size_t)state >= COUNT_OF(state_names) || state_names[state] == NULL)
		return "unknown";
	return state_names[state];
}

/* The end of each decoder: everything read, and each value in its range. */
static bool
finish(const struct wire_reader *r, bool in_range, uint16_t type, struct error *e)
{
	if (wire_reader_end(r) && in_range)
		return true;
	return error_set(
	    e, ERROR_INPUT, "the peer sent a malformed %s message", signproto_type_name(type));
}

static enum signproto_kind
get_kind(struct wire_reader *r)
{
	return (enum signproto_kind)wire_get_u8(r);
}

static bool
kind_valid(enum signproto_kind kind)
{
	return kind >= SIGNPROTO_TBS_CERTIFICATE && kind <= SIGNPROTO_CSR_INFO;
}

void
signproto_put_status(struct wire_writer *w)
{
	wire_put_u16(w, SIGNPROTO_VERSION);
}

bool
signproto_get_status(struct bytes payload, struct error *e)
{
	struct wire_reader r;
	uint16_t version;

	wire_reader_init(&r, payload.p, payload.len);
	version = wire_get_u16(&r);
	return finish(&r, version == SIGNPROTO_VERSION, SIGNPROTO_STATUS, e);
}

void
signproto_put_status_ok(struct wire_writer *w, const struct signproto_status_ok *m)
{
	wire_put_u16(w, SIGNPROTO_VERSION);
	wire_put_u64(w, m->instance);
	wire_put_string(w, m->token_name);
	wire_put_string(w, m->label);
	wire_put_string(w, m->serial);
	wire_put_string(w, m->model);
	wire_put_u8(w, (uint8_t)m->state);
	wire_put_string(w, m->state_text);
	wire_put_u32(w, m->threads);
	wire_put_u64(w, m->signatures);
	wire_put_u64(w, m->since);
	wire_put_string(w, m->journal);
	wire_put_string(w, m->challenge);
	wire_put_u8(w, (uint8_t)m->access);
	wire_put_string(w, m->start);
	wire_put_bytes(w, m->start_signature.p, m->start_signature.len);
	wire_put_bytes(w, m->identity.p, m->identity.len);
	wire_put_bytes(w, m->pin_shares.p, m->pin_shares.len);
	wire_put_string(w, m->unlocked_by);
	wire_put_u64(w, m->unlocked_until);
	wire_put_u32(w, m->unlocked_idle_s);
	wire_put_u64(w, m->signatures_left);
}

bool
signproto_get_status_ok(struct bytes payload, struct signproto_status_ok *m, struct error *e)
{
	struct wire_reader r;
	uint16_t version;

	*m = (struct signproto_status_ok){0};
	wire_reader_init(&r, payload.p, payload.len);
	version = wire_get_u16(&r);
	m->instance = wire_get_u64(&r);
	wire_get_string(&r, m->token_name, sizeof m->token_name);
	wire_get_string(&r, m->label, sizeof m->label);
	wire_get_string(&r, m->serial, sizeof m->serial);
	wire_get_string(&r, m->model, sizeof m->model);
	m->state = (enum signproto_state)wire_get_u8(&r);
	wire_get_string(&r, m->state_text, sizeof m->state_text);
	m->threads = wire_get_u32(&r);
	m->signatures = wire_get_u64(&r);
	m->since = wire_get_u64(&r);
	wire_get_string(&r, m->journal, sizeof m->journal);
	wire_get_string(&r, m->challenge, sizeof m->challenge);
	m->access = (enum signproto_access)wire_get_u8(&r);
	wire_get_string(&r, m->start, sizeof m->start);
	m->start_signature = wire_get_bytes(&r, SIGNPROTO_START_SIGNATURE_MAX);
	m->identity = wire_get_bytes(&r, SIGNPROTO_IDENTITY_MAX);
	m->pin_shares = wire_get_bytes(&r, SIGNPROTO_PIN_SHARES_MAX);
	wire_get_string(&r, m->unlocked_by, sizeof m->unlocked_by);
	m->unlocked_until = wire_get_u64(&r);
	m->unlocked_idle_s = wire_get_u32(&r);
	m->signatures_left = wire_get_u64(&r);
	return finish(&r,
	    version == SIGNPROTO_VERSION && m->state >= SIGNPROTO_READY &&
		m->state <= SIGNPROTO_BLOCKED && m->access <= SIGNPROTO_ACCESS_OPERATION,
	    SIGNPROTO_STATUS_OK, e);
}

/* ---- orders */

static void
put_order(struct wire_writer *w, const struct signproto_order *o)
{
	wire_put_bytes(w, o->statement.p, o->statement.len);
	wire_put_bytes(w, o->body.p, o->body.len);
	wire_put_u8(w, (uint8_t)o->signature_count);
	for (size_t i = 0; i < o->signature_count; i++) {
		wire_put_bytes(w, o->signatures[i].spki.p, o->signatures[i].spki.len);
		wire_put_bytes(w, o->signatures[i].signature.p, o->signatures[i].signature.len);
	}
}

/* False for what is in no range; what is cut short, the reader knows. */
static bool
get_order(struct wire_reader *r, struct signproto_order *o)
{
	o->statement = wire_get_bytes(r, SIGNPROTO_STATEMENT_MAX);
	o->body = wire_get_bytes(r, SIGNPROTO_BODY_MAX);
	o->signature_count = wire_get_u8(r);
	if (o->statement.len == 0 || o->signature_count == 0 ||
	    o->signature_count > SIGNPROTO_ORDER_SIGNATURES_MAX)
		return false;
	for (size_t i = 0; i < o->signature_count; i++) {
		struct signproto_operator_signature *s = &o->signatures[i];

		s->spki = wire_get_bytes(r, SIGNPROTO_OPERATOR_SPKI_MAX);
		s->signature = wire_get_bytes(r, SIGNPROTO_OPERATOR_SIGNATURE_MAX);
		if (s->spki.len == 0 || s->signature.len == 0)
			return false;
	}
	return true;
}

void
signproto_put_key_generate(struct wire_writer *w, const struct signproto_key_generate *m)
{
	put_order(w, &m->order);
}

bool
signproto_get_key_generate(struct bytes payload, struct signproto_key_generate *m, struct error *e)
{
	struct wire_reader r;
	bool valid;

	*m = (struct signproto_key_generate){0};
	wire_reader_init(&r, payload.p, payload.len);
	valid = get_order(&r, &m->order);
	return finish(&r, valid, SIGNPROTO_KEY_GENERATE, e);
}

void
signproto_put_limits_set(struct wire_writer *w, const struct signproto_limits_set *m)
{
	wire_put_bytes(w, m->cka_id.p, m->cka_id.len);
	put_order(w, &m->order);
}

bool
signproto_get_limits_set(struct bytes payload, struct signproto_limits_set *m, struct error *e)
{
	struct wire_reader r;
	bool valid;

	*m = (struct signproto_limits_set){0};
	wire_reader_init(&r, payload.p, payload.len);
	m->cka_id = wire_get_bytes(&r, SIGNPROTO_ID_MAX);
	valid = m->cka_id.len > 0 && get_order(&r, &m->order);
	return finish(&r, valid, SIGNPROTO_LIMITS_SET, e);
}

void
signproto_put_install(struct wire_writer *w, const struct signproto_install *m)
{
	wire_put_bytes(w, m->cka_id.p, m->cka_id.len);
	put_order(w, &m->order);
}

bool
signproto_get_install(struct bytes payload, struct signproto_install *m, struct error *e)
{
	struct wire_reader r;
	bool valid;

	*m = (struct signproto_install){0};
	wire_reader_init(&r, payload.p, payload.len);
	m->cka_id = wire_get_bytes(&r, SIGNPROTO_ID_MAX);
	valid = m->cka_id.len > 0 && get_order(&r, &m->order);
	return finish(&r, valid, SIGNPROTO_INSTALL, e);
}

void
signproto_put_key_destroy(struct wire_writer *w, const struct signproto_key_destroy *m)
{
	wire_put_bytes(w, m->cka_id.p, m->cka_id.len);
	put_order(w, &m->order);
}

bool
signproto_get_key_destroy(struct bytes payload, struct signproto_key_destroy *m, struct error *e)
{
	struct wire_reader r;
	bool valid;

	*m = (struct signproto_key_destroy){0};
	wire_reader_init(&r, payload.p, payload.len);
	m->cka_id = wire_get_bytes(&r, SIGNPROTO_ID_MAX);
	valid = m->cka_id.len > 0 && get_order(&r, &m->order);
	return finish(&r, valid, SIGNPROTO_KEY_DESTROY, e);
}

void
signproto_put_reseed(struct wire_writer *w, const struct signproto_reseed *m)
{
	put_order(w, &m->order);
}

bool
signproto_get_reseed(struct bytes payload, struct signproto_reseed *m, struct error *e)
{
	struct wire_reader r;
	bool valid;

	*m = (struct signproto_reseed){0};
	wire_reader_init(&r, payload.p, payload.len);
	valid = get_order(&r, &m->order);
	return finish(&r, valid, SIGNPROTO_RESEED, e);
}

void
signproto_put_pin(struct wire_writer *w, const struct signproto_pin *m)
{
	put_order(w, &m->order);
}

bool
signproto_get_pin(struct bytes payload, struct signproto_pin *m, struct error *e)
{
	struct wire_reader r;
	bool valid;

	*m = (struct signproto_pin){0};
	wire_reader_init(&r, payload.p, payload.len);
	valid = get_order(&r, &m->order);
	return finish(&r, valid, SIGNPROTO_PIN, e);
}

void
signproto_put_done(struct wire_writer *w, const char *text)
{
	wire_put_string(w, text);
}

bool
signproto_get_done(struct bytes payload, char text[ERROR_TEXT_MAX], struct error *e)
{
	struct wire_reader r;

	wire_reader_init(&r, payload.p, payload.len);
	wire_get_string(&r, text, ERROR_TEXT_MAX);
	return finish(&r, true, SIGNPROTO_DONE, e);
}

/* ---- keys and signatures */

void
signproto_put_key_find(struct wire_writer *w, const struct signproto_key_find *m)
{
	wire_put_bytes(w, m->cka_id.p, m->cka_id.len);
}

bool
signproto_get_key_find(struct bytes payload, struct signproto_key_find *m, struct error *e)
{
	struct wire_reader r;

	wire_reader_init(&r, payload.p, payload.len);
	m->cka_id = wire_get_bytes(&r, SIGNPROTO_ID_MAX);
	return finish(&r, m->cka_id.len > 0, SIGNPROTO_KEY_FIND, e);
}

void
signproto_put_key_ok(struct wire_writer *w, const struct signproto_key_ok *m)
{
	wire_put_bytes(w, m->cka_id.p, m->cka_id.len);
	wire_put_bytes(w, m->spki.p, m->spki.len);
}

bool
signproto_get_key_ok(struct bytes payload, struct signproto_key_ok *m, struct error *e)
{
	struct wire_reader r;

	wire_reader_init(&r, payload.p, payload.len);
	m->cka_id = wire_get_bytes(&r, SIGNPROTO_ID_MAX);
	m->spki = wire_get_bytes(&r, SIGNPROTO_SPKI_MAX);
	return finish(&r, m->cka_id.len > 0 && m->spki.len > 0, SIGNPROTO_KEY_OK, e);
}

void
signproto_put_sign(struct wire_writer *w, const struct signproto_sign *m)
{
	wire_put_bytes(w, m->cka_id.p, m->cka_id.len);
	wire_put_u16(w, m->sig_alg);
	wire_put_u8(w, (uint8_t)m->kind);
	wire_put_u32(w, m->deadline_ms);
	wire_put_bytes(w, m->tbs.p, m->tbs.len);
	wire_put_string(w, m->template);
	wire_put_bytes(w, m->csr.p, m->csr.len);
	wire_put_bytes(w, m->statement.p, m->statement.len);
	wire_put_bytes(w, m->signature.p, m->signature.len);
	wire_put_bytes(w, m->spki.p, m->spki.len);
	wire_put_u8(w, m->order.signature_count > 0);
	if (m->order.signature_count > 0)
		put_order(w, &m->order);
}

/* Only a certificate that names no template goes by an order of its own. */
static bool
get_own_order(struct wire_reader *r, struct signproto_sign *m)
{
	uint8_t given = wire_get_u8(r);

	if (given == 0)
		return true;
	return given == 1 && m->kind == SIGNPROTO_TBS_CERTIFICATE && m->template[0] == '\0' &&
	       get_order(r, &m->order);
}

/* An approval is whole or absent, and only a certificate has one. */
static bool
approval_valid(const struct signproto_sign *m)
{
	bool given = m->statement.len > 0;

	if ((m->csr.len > 0) != given || (m->signature.len > 0) != given ||
	    (m->spki.len > 0) != given)
		return false;
	if (given && m->template[0] == '\0')
		return false;
	return m->template[0] == '\0' || m->kind == SIGNPROTO_TBS_CERTIFICATE;
}

bool
signproto_get_sign(struct bytes payload, struct signproto_sign *m, struct error *e)
{
	struct wire_reader r;
	bool order_valid;

	*m = (struct signproto_sign){0};
	wire_reader_init(&r, payload.p, payload.len);
	m->cka_id = wire_get_bytes(&r, SIGNPROTO_ID_MAX);
	m->sig_alg = wire_get_u16(&r);
	m->kind = get_kind(&r);
	m->deadline_ms = wire_get_u32(&r);
	m->tbs = wire_get_bytes(&r, SIGNPROTO_TBS_MAX);
	wire_get_string(&r, m->template, sizeof m->template);
	m->csr = wire_get_bytes(&r, SIGNPROTO_CSR_MAX);
	m->statement = wire_get_bytes(&r, SIGNPROTO_STATEMENT_MAX);
	m->signature = wire_get_bytes(&r, SIGNPROTO_OPERATOR_SIGNATURE_MAX);
	m->spki = wire_get_bytes(&r, SIGNPROTO_OPERATOR_SPKI_MAX);
	order_valid = get_own_order(&r, m);
	return finish(&r,
	    m->cka_id.len > 0 && kind_valid(m->kind) &&
		m->deadline_ms <= SIGNPROTO_DEADLINE_MAX_MS && m->tbs.len > 0 &&
		approval_valid(m) && order_valid,
	    SIGNPROTO_SIGN, e);
}

void
signproto_put_stream_begin(struct wire_writer *w, const struct signproto_stream_begin *m)
{
	wire_put_bytes(w, m->cka_id.p, m->cka_id.len);
	wire_put_u16(w, m->sig_alg);
	wire_put_u8(w, (uint8_t)m->kind);
	wire_put_u64(w, m->total_len);
	wire_put_u32(w, m->deadline_ms);
	wire_put_u8(w, m->abstract);
	wire_put_bytes(w, m->scope.p, m->scope.len);
}

bool
signproto_get_stream_begin(struct bytes payload, struct signproto_stream_begin *m, struct error *e)
{
	struct wire_reader r;
	uint8_t abstract;

	*m = (struct signproto_stream_begin){0};
	wire_reader_init(&r, payload.p, payload.len);
	m->cka_id = wire_get_bytes(&r, SIGNPROTO_ID_MAX);
	m->sig_alg = wire_get_u16(&r);
	m->kind = get_kind(&r);
	m->total_len = wire_get_u64(&r);
	m->deadline_ms = wire_get_u32(&r);
	abstract = wire_get_u8(&r);
	m->abstract = abstract == 1;
	m->scope = wire_get_bytes(&r, SIGNPROTO_SCOPE_LEN);
	return finish(&r,
	    abstract <= 1 && (m->scope.len == 0 || m->scope.len == SIGNPROTO_SCOPE_LEN) &&
		m->cka_id.len > 0 && m->kind == SIGNPROTO_TBS_CRL && m->total_len > 0 &&
		m->total_len <= SIGNPROTO_STREAM_MAX && m->deadline_ms <= SIGNPROTO_DEADLINE_MAX_MS,
	    SIGNPROTO_STREAM_BEGIN, e);
}

void
signproto_put_stream_data(struct wire_writer *w, const struct signproto_stream_data *m)
{
	wire_put_bytes(w, m->data.p, m->data.len);
}

bool
signproto_get_stream_data(struct bytes payload, struct signproto_stream_data *m, struct error *e)
{
	struct wire_reader r;

	wire_reader_init(&r, payload.p, payload.len);
	m->data = wire_get_bytes(&r, SIGNPROTO_DATA_MAX);
	return finish(&r, m->data.len > 0, SIGNPROTO_STREAM_DATA, e);
}

void
signproto_put_stream_end(struct wire_writer *w)
{
	(void)w;
}

bool
signproto_get_stream_end(struct bytes payload, struct error *e)
{
	struct wire_reader r;

	wire_reader_init(&r, payload.p, payload.len);
	return finish(&r, true, SIGNPROTO_STREAM_END, e);
}

void
signproto_put_stream_drop(struct wire_writer *w)
{
	(void)w;
}

bool
signproto_get_stream_drop(struct bytes payload, struct error *e)
{
	struct wire_reader r;

	wire_reader_init(&r, payload.p, payload.len);
	return finish(&r, true, SIGNPROTO_STREAM_DROP, e);
}

void
signproto_put_abstract(struct wire_writer *w, const struct signproto_abstract *m)
{
	wire_put_bytes(w, m->text.p, m->text.len);
	wire_put_bytes(w, m->signature.p, m->signature.len);
}

bool
signproto_get_abstract(struct bytes payload, struct signproto_abstract *m, struct error *e)
{
	struct wire_reader r;

	wire_reader_init(&r, payload.p, payload.len);
	m->text = wire_get_bytes(&r, SIGNPROTO_ABSTRACT_MAX);
	m->signature = wire_get_bytes(&r, SIGNPROTO_START_SIGNATURE_MAX);
	return finish(&r, m->text.len > 0 && m->signature.len > 0, SIGNPROTO_ABSTRACT, e);
}

void
signproto_put_signed(struct wire_writer *w, const struct signproto_signed *m)
{
	wire_put_bytes(w, m->signature.p, m->signature.len);
}

bool
signproto_get_signed(struct bytes payload, struct signproto_signed *m, struct error *e)
{
	struct wire_reader r;

	wire_reader_init(&r, payload.p, payload.len);
	m->signature = wire_get_bytes(&r, SIGNPROTO_SIGNATURE_MAX);
	return finish(&r, m->signature.len > 0, SIGNPROTO_SIGNED, e);
}

void
signproto_put_failed(struct wire_writer *w, const struct error *failure)
{
	wire_put_u8(w, (uint8_t)failure->code);
	wire_put_u8(w, (uint8_t)failure->source);
	wire_put_string(w, failure->foreign);
	wire_put_string(w, failure->text);
}

bool
signproto_get_failed(struct bytes payload, struct error *failure, struct error *e)
{
	struct wire_reader r;

	*failure = ERROR_INIT;
	wire_reader_init(&r, payload.p, payload.len);
	failure->code = (enum error_code)wire_get_u8(&r);
	failure->source = (enum error_source)wire_get_u8(&r);
	wire_get_string(&r, failure->foreign, sizeof failure->foreign);
	wire_get_string(&r, failure->text, sizeof failure->text);
	if (finish(&r,
		failure->code > ERROR_NONE && failure->code <= ERROR_INTERNAL &&
		    failure->source <= ERROR_CURL,
		SIGNPROTO_FAILED, e))
		return true;
	*failure = ERROR_INIT;
	return false;
}
