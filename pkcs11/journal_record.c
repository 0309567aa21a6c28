#include "pkcs11/journal_record.h"

#include <string.h>

#include <openssl/evp.h>

#define MAGIC_0 'c'
#define MAGIC_1 'j'
#define FORMAT 1

static const char *const type_names[] = {
    [JOURNAL_SEGMENT] = "segment",
    [JOURNAL_FLOORS] = "floors",
    [JOURNAL_KEY] = "key",
    [JOURNAL_SCOPE] = "scope",
    [JOURNAL_BEGIN] = "begin",
    [JOURNAL_USE] = "use",
    [JOURNAL_SIGNATURE] = "signature",
    [JOURNAL_START] = "start",
    [JOURNAL_STOP] = "stop",
    [JOURNAL_ANCHORED] = "anchored",
    [JOURNAL_RESEED] = "reseed",
    [JOURNAL_LOGIN] = "login",
    [JOURNAL_DESTROY] = "destroy",
};

const char *
journal_type_name(enum journal_type type)
{
	if ((size_t)type >= COUNT_OF(type_names) || type_names[type] == NULL)
		return "unknown";
	return type_names[type];
}

static bool
sha256(const uint8_t *p, size_t len, uint8_t out[JOURNAL_HASH_LEN])
{
	return EVP_Digest(p, len, out, NULL, EVP_sha256(), NULL) == 1;
}

static uint8_t *
put_integer(uint8_t *p, uint64_t v, size_t width)
{
	for (size_t i = 0; i < width; i++)
		*p++ = (uint8_t)(v >> 8 * (width - 1 - i));
	return p;
}

size_t
journal_record_put(const struct journal_record *r, uint8_t *at, size_t room)
{
	size_t len = JOURNAL_HEAD_LEN + r->payload.len;
	uint8_t *p = at;

	if (r->payload.len > JOURNAL_PAYLOAD_MAX || len + JOURNAL_HASH_LEN > room)
		return 0;
	*p++ = MAGIC_0;
	*p++ = MAGIC_1;
	*p++ = FORMAT;
	*p++ = (uint8_t)r->type;
	p = put_integer(p, r->payload.len, 4);
	p = put_integer(p, r->seq, 8);
	p = put_integer(p, (uint64_t)r->time, 8);
	p = put_integer(p, r->durable, 8);
	if (r->payload.len > 0)
		memmove(p, r->payload.p, r->payload.len);
	if (!sha256(at - JOURNAL_HASH_LEN, JOURNAL_HASH_LEN + len, at + len))
		return 0;
	return len + JOURNAL_HASH_LEN;
}

bool
journal_record_get(const uint8_t *at, size_t left, struct journal_record *r)
{
	uint8_t hash[JOURNAL_HASH_LEN];
	struct wire_reader in;
	size_t len;

	*r = (struct journal_record){.payload.p = at + JOURNAL_HEAD_LEN};
	if (left < JOURNAL_HEAD_LEN + JOURNAL_HASH_LEN || at[0] != MAGIC_0 || at[1] != MAGIC_1 ||
	    at[2] != FORMAT)
		return false;
	wire_reader_init(&in, at + 3, JOURNAL_HEAD_LEN - 3);
	r->type = (enum journal_type)wire_get_u8(&in);
	r->payload.len = wire_get_u32(&in);
	r->seq = wire_get_u64(&in);
	r->time = (int64_t)wire_get_u64(&in);
	r->durable = wire_get_u64(&in);
	if (r->payload.len > JOURNAL_PAYLOAD_MAX ||
	    r->payload.len > left - JOURNAL_HEAD_LEN - JOURNAL_HASH_LEN)
		return false;
	len = JOURNAL_HEAD_LEN + r->payload.len;
	r->hash = at + len;
	r->size = len + JOURNAL_HASH_LEN;
	return sha256(at - JOURNAL_HASH_LEN, JOURNAL_HASH_LEN + len, hash) &&
	       memcmp(hash, r->hash, sizeof hash) == 0;
}

/* ---- pieces of payloads */

/* A byte string of at most max octets into out; *len its length. */
static void
get_octets(struct wire_reader *r, uint8_t *out, size_t max, size_t *len)
{
	struct bytes b = wire_get_bytes(r, max);

	*len = b.len;
	if (b.len > 0)
		memcpy(out, b.p, b.len);
}

/* One of exactly len octets. */
static void
get_fixed(struct wire_reader *r, uint8_t *out, size_t len)
{
	size_t got;

	get_octets(r, out, len, &got);
	if (got != len)
		r->failed = true;
}

static bool
get_bool(struct wire_reader *r)
{
	uint8_t v = wire_get_u8(r);

	if (v > 1)
		r->failed = true;
	return v == 1;
}

/* ---- payloads */

void
journal_put_segment(struct wire_writer *w, const struct journal_segment *m)
{
	wire_put_bytes(w, m->journal_id, sizeof m->journal_id);
	wire_put_u32(w, m->number);
	wire_put_u32(w, m->size);
	wire_put_u64(w, m->serials);
	wire_put_u16(w, m->signer_id);
	wire_put_string(w, m->token);
}

bool
journal_get_segment(struct bytes payload, struct journal_segment *m)
{
	struct wire_reader r;

	*m = (struct journal_segment){.number = 0};
	wire_reader_init(&r, payload.p, payload.len);
	get_fixed(&r, m->journal_id, sizeof m->journal_id);
	m->number = wire_get_u32(&r);
	m->size = wire_get_u32(&r);
	m->serials = wire_get_u64(&r);
	m->signer_id = wire_get_u16(&r);
	wire_get_string(&r, m->token, sizeof m->token);
	return wire_reader_end(&r) && m->number > 0;
}

void
journal_put_floors(struct wire_writer *w, const struct journal_floors *m)
{
	wire_put_u64(w, (uint64_t)m->serial_floor);
	wire_put_u64(w, (uint64_t)m->decision_floor);
	wire_put_u64(w, (uint64_t)m->serial_high);
	wire_put_u64(w, (uint64_t)m->decision_high);
	wire_put_u8(w, m->anchored);
	wire_put_u8(w, m->reseeded);
	wire_put_bytes(w, m->challenge, sizeof m->challenge);
	wire_put_u64(w, (uint64_t)m->challenge_since);
}

bool
journal_get_floors(struct bytes payload, struct journal_floors *m)
{
	struct wire_reader r;

	wire_reader_init(&r, payload.p, payload.len);
	m->serial_floor = (int64_t)wire_get_u64(&r);
	m->decision_floor = (int64_t)wire_get_u64(&r);
	m->serial_high = (int64_t)wire_get_u64(&r);
	m->decision_high = (int64_t)wire_get_u64(&r);
	m->anchored = get_bool(&r);
	m->reseeded = get_bool(&r);
	get_fixed(&r, m->challenge, sizeof m->challenge);
	m->challenge_since = (int64_t)wire_get_u64(&r);
	return wire_reader_end(&r);
}

void
journal_put_key(struct wire_writer *w, const struct journal_key *m)
{
	wire_put_bytes(w, m->id, m->id_len);
	wire_put_u8(w, (uint8_t)m->origin);
}

bool
journal_get_key(struct bytes payload, struct journal_key *m)
{
	struct wire_reader r;

	wire_reader_init(&r, payload.p, payload.len);
	get_octets(&r, m->id, sizeof m->id, &m->id_len);
	m->origin = (enum journal_key_origin)wire_get_u8(&r);
	return wire_reader_end(&r) && m->id_len > 0 && m->origin >= JOURNAL_KEY_MADE &&
	       m->origin <= JOURNAL_KEY_RESEED;
}

static void
put_number(struct wire_writer *w, const struct journal_number *m)
{
	wire_put_bytes(w, m->number, m->len);
	wire_put_bytes(w, m->content, sizeof m->content);
	wire_put_u64(w, (uint64_t)m->this_update);
	wire_put_u32(w, m->place.segment);
	wire_put_u32(w, m->place.offset);
}

static void
get_number(struct wire_reader *r, struct journal_number *m)
{
	get_octets(r, m->number, sizeof m->number, &m->len);
	get_fixed(r, m->content, sizeof m->content);
	m->this_update = (int64_t)wire_get_u64(r);
	m->place.segment = wire_get_u32(r);
	m->place.offset = wire_get_u32(r);
}

void
journal_put_scope(struct wire_writer *w, const struct journal_scope *m)
{
	wire_put_bytes(w, m->id, m->id_len);
	wire_put_bytes(w, m->scope, sizeof m->scope);
	put_number(w, &m->complete);
	put_number(w, &m->delta);
	wire_put_u8(w, (uint8_t)m->base_count);
	for (size_t i = 0; i < m->base_count; i++)
		put_number(w, &m->bases[i]);
}

bool
journal_get_scope(struct bytes payload, struct journal_scope *m)
{
	struct wire_reader r;

	*m = (struct journal_scope){.id_len = 0};
	wire_reader_init(&r, payload.p, payload.len);
	get_octets(&r, m->id, sizeof m->id, &m->id_len);
	get_fixed(&r, m->scope, sizeof m->scope);
	get_number(&r, &m->complete);
	get_number(&r, &m->delta);
	m->base_count = wire_get_u8(&r);
	if (m->base_count > JOURNAL_BASES_MAX)
		return false;
	for (size_t i = 0; i < m->base_count; i++)
		get_number(&r, &m->bases[i]);
	return wire_reader_end(&r) && m->id_len > 0;
}

void
journal_put_use(struct wire_writer *w, const struct journal_use *m)
{
	const struct guard_use *u = &m->use;

	wire_put_bytes(w, m->id, m->id_len);
	wire_put_u8(w, (uint8_t)u->kind);
	wire_put_u16(w, (uint16_t)u->alg);
	wire_put_bytes(w, u->tbs_sha256, sizeof u->tbs_sha256);
	if (u->kind == SIGNPROTO_TBS_CERTIFICATE) {
		wire_put_bytes(w, u->serial, u->serial_len);
		wire_put_u64(w, (uint64_t)u->serial_time);
		wire_put_u8(w, u->has_decision);
		if (u->has_decision) {
			wire_put_bytes(w, u->decision, sizeof u->decision);
			wire_put_u64(w, (uint64_t)u->decision_issued);
		}
	} else if (u->kind == SIGNPROTO_TBS_CRL) {
		wire_put_bytes(w, u->scope, sizeof u->scope);
		wire_put_u8(w, u->delta);
		wire_put_bytes(w, u->number, u->number_len);
		wire_put_bytes(w, u->base_number, u->base_number_len);
		wire_put_u64(w, (uint64_t)u->this_update);
		wire_put_u64(w, (uint64_t)u->next_update);
	}
}

bool
journal_get_use(struct bytes payload, struct journal_use *m)
{
	struct guard_use *u = &m->use;
	struct wire_reader r;

	*m = (struct journal_use){.id_len = 0};
	wire_reader_init(&r, payload.p, payload.len);
	get_octets(&r, m->id, sizeof m->id, &m->id_len);
	u->kind = (enum signproto_kind)wire_get_u8(&r);
	u->alg = (enum sig_alg)wire_get_u16(&r);
	get_fixed(&r, u->tbs_sha256, sizeof u->tbs_sha256);
	if (u->kind == SIGNPROTO_TBS_CERTIFICATE) {
		get_octets(&r, u->serial, sizeof u->serial, &u->serial_len);
		u->serial_time = (int64_t)wire_get_u64(&r);
		u->has_decision = get_bool(&r);
		if (u->has_decision) {
			get_fixed(&r, u->decision, sizeof u->decision);
			u->decision_issued = (int64_t)wire_get_u64(&r);
		}
	} else if (u->kind == SIGNPROTO_TBS_CRL) {
		get_fixed(&r, u->scope, sizeof u->scope);
		u->delta = get_bool(&r);
		get_octets(&r, u->number, sizeof u->number, &u->number_len);
		get_octets(&r, u->base_number, sizeof u->base_number, &u->base_number_len);
		u->this_update = (int64_t)wire_get_u64(&r);
		u->next_update = (int64_t)wire_get_u64(&r);
	}
	return wire_reader_end(&r) && m->id_len > 0;
}

void
journal_put_signature(struct wire_writer *w, const struct journal_signature *m)
{
	wire_put_u64(w, m->use_seq);
	wire_put_bytes(w, m->content, sizeof m->content);
	wire_put_u8(w, (uint8_t)m->kind);
	if (m->kind == SIGNPROTO_TBS_CERTIFICATE) {
		wire_put_bytes(w, m->serial, m->serial_len);
		wire_put_u8(w, m->has_decision);
		if (m->has_decision)
			wire_put_bytes(w, m->decision, sizeof m->decision);
	} else if (m->kind == SIGNPROTO_TBS_CRL) {
		wire_put_bytes(w, m->id, m->id_len);
		wire_put_bytes(w, m->scope, sizeof m->scope);
		wire_put_u8(w, m->delta);
	}
	wire_put_bytes(w, m->signature, m->signature_len);
}

bool
journal_get_signature(struct bytes payload, struct journal_signature *m)
{
	struct wire_reader r;

	*m = (struct journal_signature){.use_seq = 0};
	wire_reader_init(&r, payload.p, payload.len);
	m->use_seq = wire_get_u64(&r);
	get_fixed(&r, m->content, sizeof m->content);
	m->kind = (enum signproto_kind)wire_get_u8(&r);
	if (m->kind == SIGNPROTO_TBS_CERTIFICATE) {
		get_octets(&r, m->serial, sizeof m->serial, &m->serial_len);
		m->has_decision = get_bool(&r);
		if (m->has_decision)
			get_fixed(&r, m->decision, sizeof m->decision);
	} else if (m->kind == SIGNPROTO_TBS_CRL) {
		get_octets(&r, m->id, sizeof m->id, &m->id_len);
		get_fixed(&r, m->scope, sizeof m->scope);
		m->delta = get_bool(&r);
	}
	get_octets(&r, m->signature, sizeof m->signature, &m->signature_len);
	return wire_reader_end(&r) && m->signature_len > 0;
}

bool
journal_content(struct bytes id, const struct guard_use *use, uint8_t content[JOURNAL_CONTENT_LEN],
    struct error *e)
{
	uint8_t buf[SIGNPROTO_ID_MAX + 3 + sizeof use->tbs_sha256], hash[JOURNAL_HASH_LEN];
	uint8_t *p = buf;

	if (id.len == 0 || id.len > SIGNPROTO_ID_MAX)
		return error_set(e, ERROR_INTERNAL, "a key's id of %zu octets", id.len);
	/* The id comes last: all else has a fixed size. */
	*p++ = (uint8_t)use->kind;
	p = put_integer(p, (uint64_t)use->alg, 2);
	memcpy(p, use->tbs_sha256, sizeof use->tbs_sha256);
	p += sizeof use->tbs_sha256;
	memcpy(p, id.p, id.len);
	p += id.len;
	if (!sha256(buf, (size_t)(p - buf), hash))
		return error_set_openssl(e, ERROR_INTERNAL, "cannot digest a use of a key");
	memcpy(content, hash, JOURNAL_CONTENT_LEN);
	return true;
}
