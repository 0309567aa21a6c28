#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/core/signproto.h"

#define WRITER_MAX (2 * 1024 * 1024)

/* One message of each type, decoded through one switch as a receiver does. */
union message {
	struct signproto_status_ok status_ok;
	struct signproto_key_generate key_generate;
	struct signproto_key_find key_find;
	struct signproto_key_ok key_ok;
	struct signproto_sign sign;
	struct signproto_stream_begin stream_begin;
	struct signproto_stream_data stream_data;
	struct signproto_signed signed_;
	struct signproto_abstract abstract;
	struct signproto_limits_set limits_set;
	struct signproto_install install;
	struct signproto_reseed reseed;
	struct signproto_pin pin;
	struct signproto_key_destroy key_destroy;
	char done[ERROR_TEXT_MAX];
	struct error failed;
};

static bool
decode(uint16_t type, struct bytes p, union message *m, struct error *e)
{
	switch (type) {
	case SIGNPROTO_STATUS:
		return signproto_get_status(p, e);
	case SIGNPROTO_STATUS_OK:
		return signproto_get_status_ok(p, &m->status_ok, e);
	case SIGNPROTO_KEY_GENERATE:
		return signproto_get_key_generate(p, &m->key_generate, e);
	case SIGNPROTO_KEY_FIND:
		return signproto_get_key_find(p, &m->key_find, e);
	case SIGNPROTO_KEY_OK:
		return signproto_get_key_ok(p, &m->key_ok, e);
	case SIGNPROTO_SIGN:
		return signproto_get_sign(p, &m->sign, e);
	case SIGNPROTO_STREAM_BEGIN:
		return signproto_get_stream_begin(p, &m->stream_begin, e);
	case SIGNPROTO_STREAM_DATA:
		return signproto_get_stream_data(p, &m->stream_data, e);
	case SIGNPROTO_STREAM_END:
		return signproto_get_stream_end(p, e);
	case SIGNPROTO_STREAM_DROP:
		return signproto_get_stream_drop(p, e);
	case SIGNPROTO_ABSTRACT:
		return signproto_get_abstract(p, &m->abstract, e);
	case SIGNPROTO_SIGNED:
		return signproto_get_signed(p, &m->signed_, e);
	case SIGNPROTO_FAILED:
		return signproto_get_failed(p, &m->failed, e);
	case SIGNPROTO_LIMITS_SET:
		return signproto_get_limits_set(p, &m->limits_set, e);
	case SIGNPROTO_INSTALL:
		return signproto_get_install(p, &m->install, e);
	case SIGNPROTO_RESEED:
		return signproto_get_reseed(p, &m->reseed, e);
	case SIGNPROTO_PIN:
		return signproto_get_pin(p, &m->pin, e);
	case SIGNPROTO_KEY_DESTROY:
		return signproto_get_key_destroy(p, &m->key_destroy, e);
	case SIGNPROTO_DONE:
		return signproto_get_done(p, m->done, e);
	default:
		return error_set(e, ERROR_INPUT, "unknown type");
	}
}

static const struct signproto_status_ok status_ok = {
    .instance = 0x1122334455667788,
    .token_name = "main",
    .label = "chancery",
    .serial = "0123456789abcdef",
    .model = "SoftHSM v2",
    .state = SIGNPROTO_PIN_WRONG,
    .state_text = "the PIN is wrong",
    .threads = 4,
    .signatures = 99,
    .since = 1795305600,
    .access = SIGNPROTO_ACCESS_SESSION,
    .start = "chancery-signer-start: 1\n",
    .unlocked_by = "alice",
    .unlocked_until = 1795305700,
    .unlocked_idle_s = 60,
    .signatures_left = 12,
};
/* Byte strings, which are compared by what they point to. */
static const uint8_t start_signature[64] = {0x5a}, identity[44] = {0x30};
static const struct signproto_sign sign = {
    .cka_id = {(const uint8_t *)"0123456789abcdef", 16},
    .sig_alg = 3,
    .kind = SIGNPROTO_TBS_CERTIFICATE,
    .deadline_ms = 5000,
    .tbs = {(const uint8_t *)"\x30\x00", 2},
    .template = "tls-server",
    .csr = {(const uint8_t *)"\x30\x01\x00", 3},
    .statement = {(const uint8_t *)"approve", 7},
    .signature = {(const uint8_t *)"0123", 4},
    .spki = {(const uint8_t *)"01234", 5},
};

#define ORDER                                                                                   \
	{                                                                                       \
		.statement = {(const uint8_t *)"statement", 9},                                 \
		.body = {(const uint8_t *)"limits---policy", 15},                               \
		.signatures = {{{(const uint8_t *)"alice", 5}, {(const uint8_t *)"signed", 6}}, \
		    {{(const uint8_t *)"bo", 2}, {(const uint8_t *)"x", 1}}},                   \
		.signature_count = 2,                                                           \
	}
static const struct signproto_key_generate key_generate = {.order = ORDER};
static const struct signproto_limits_set limits_set = {
    .cka_id = {(const uint8_t *)"0123456789abcdef", 16}, .order = ORDER};
static const struct signproto_install install = {
    .cka_id = {(const uint8_t *)"0123456789abcdef", 16}, .order = ORDER};
static const struct signproto_reseed reseed = {.order = ORDER};
static const struct signproto_pin pin = {.order = ORDER};
static const struct signproto_key_destroy key_destroy = {
    .cka_id = {(const uint8_t *)"0123456789abcdef", 16}, .order = ORDER};

static void
put_status_ok(struct wire_writer *w)
{
	struct signproto_status_ok m = status_ok;

	m.start_signature = (struct bytes){start_signature, sizeof start_signature};
	m.identity = (struct bytes){identity, sizeof identity};
	m.pin_shares = (struct bytes){start_signature, 7};
	signproto_put_status_ok(w, &m);
}

static void
encode(struct wire_writer *w, uint16_t type)
{
	struct error failure = ERROR_INIT;

	wire_writer_init(w, WRITER_MAX);
	switch (type) {
	case SIGNPROTO_STATUS:
		signproto_put_status(w);
		break;
	case SIGNPROTO_STATUS_OK:
		put_status_ok(w);
		break;
	case SIGNPROTO_KEY_GENERATE:
		signproto_put_key_generate(w, &key_generate);
		break;
	case SIGNPROTO_KEY_FIND:
		signproto_put_key_find(w, &(struct signproto_key_find){sign.cka_id});
		break;
	case SIGNPROTO_KEY_OK:
		signproto_put_key_ok(w, &(struct signproto_key_ok){sign.cka_id, sign.tbs});
		break;
	case SIGNPROTO_SIGN:
		signproto_put_sign(w, &sign);
		break;
	case SIGNPROTO_STREAM_BEGIN:
		signproto_put_stream_begin(
		    w, &(struct signproto_stream_begin){sign.cka_id, 3, SIGNPROTO_TBS_CRL,
			   1ULL << 32, 60000, true, {start_signature, 32}});
		break;
	case SIGNPROTO_STREAM_DATA:
		signproto_put_stream_data(w, &(struct signproto_stream_data){sign.tbs});
		break;
	case SIGNPROTO_STREAM_END:
		signproto_put_stream_end(w);
		break;
	case SIGNPROTO_STREAM_DROP:
		signproto_put_stream_drop(w);
		break;
	case SIGNPROTO_ABSTRACT:
		signproto_put_abstract(w, &(struct signproto_abstract){sign.tbs, sign.cka_id});
		break;
	case SIGNPROTO_SIGNED:
		signproto_put_signed(w, &(struct signproto_signed){sign.cka_id});
		break;
	case SIGNPROTO_FAILED:
		(void)error_set_foreign(
		    &failure, ERROR_UNAVAILABLE, ERROR_PKCS11, "CKR_DEVICE_ERROR", "away");
		signproto_put_failed(w, &failure);
		break;
	case SIGNPROTO_LIMITS_SET:
		signproto_put_limits_set(w, &limits_set);
		break;
	case SIGNPROTO_INSTALL:
		signproto_put_install(w, &install);
		break;
	case SIGNPROTO_RESEED:
		signproto_put_reseed(w, &reseed);
		break;
	case SIGNPROTO_PIN:
		signproto_put_pin(w, &pin);
		break;
	case SIGNPROTO_KEY_DESTROY:
		signproto_put_key_destroy(w, &key_destroy);
		break;
	case SIGNPROTO_DONE:
		signproto_put_done(w, "more");
		break;
	default:
		fail();
	}
	assert_true(wire_writer_ok(w));
}

static const uint16_t types[] = {
    SIGNPROTO_STATUS,
    SIGNPROTO_STATUS_OK,
    SIGNPROTO_KEY_GENERATE,
    SIGNPROTO_KEY_FIND,
    SIGNPROTO_KEY_OK,
    SIGNPROTO_SIGN,
    SIGNPROTO_STREAM_BEGIN,
    SIGNPROTO_STREAM_DATA,
    SIGNPROTO_STREAM_END,
    SIGNPROTO_STREAM_DROP,
    SIGNPROTO_SIGNED,
    SIGNPROTO_FAILED,
    SIGNPROTO_LIMITS_SET,
    SIGNPROTO_INSTALL,
    SIGNPROTO_RESEED,
    SIGNPROTO_PIN,
    SIGNPROTO_KEY_DESTROY,
    SIGNPROTO_DONE,
    SIGNPROTO_ABSTRACT,
};

static void
assert_order(const struct signproto_order *o)
{
	assert_int_equal(o->statement.len, 9);
	assert_int_equal(o->body.len, 15);
	assert_memory_equal(o->body.p, "limits---policy", 15);
	assert_int_equal(o->signature_count, 2);
	assert_int_equal(o->signatures[0].spki.len, 5);
	assert_memory_equal(o->signatures[0].signature.p, "signed", 6);
	assert_memory_equal(o->signatures[1].spki.p, "bo", 2);
	assert_int_equal(o->signatures[1].signature.len, 1);
}

static void
round_trips(void **state)
{
	struct error e = ERROR_INIT;
	struct wire_writer w;
	union message m;

	for (size_t i = 0; i < COUNT_OF(types); i++) {
		encode(&w, types[i]);
		assert_true(decode(types[i], (struct bytes){w.buf, w.len}, &m, &e));
		switch (types[i]) {
		case SIGNPROTO_STATUS_OK:
			assert_int_equal(m.status_ok.start_signature.len, sizeof start_signature);
			assert_memory_equal(
			    m.status_ok.start_signature.p, start_signature, sizeof start_signature);
			assert_int_equal(m.status_ok.identity.len, sizeof identity);
			assert_memory_equal(m.status_ok.identity.p, identity, sizeof identity);
			assert_int_equal(m.status_ok.pin_shares.len, 7);
			m.status_ok.start_signature = m.status_ok.identity =
			    m.status_ok.pin_shares = (struct bytes){0};
			assert_memory_equal(&m.status_ok, &status_ok, sizeof status_ok);
			break;
		case SIGNPROTO_KEY_GENERATE:
			assert_order(&m.key_generate.order);
			break;
		case SIGNPROTO_SIGN:
			assert_int_equal(m.sign.sig_alg, 3);
			assert_int_equal(m.sign.kind, SIGNPROTO_TBS_CERTIFICATE);
			assert_int_equal(m.sign.deadline_ms, 5000);
			assert_int_equal(m.sign.tbs.len, 2);
			assert_memory_equal(m.sign.cka_id.p, sign.cka_id.p, 16);
			assert_string_equal(m.sign.template, "tls-server");
			assert_int_equal(m.sign.csr.len, 3);
			assert_int_equal(m.sign.statement.len, 7);
			assert_memory_equal(m.sign.statement.p, "approve", 7);
			assert_int_equal(m.sign.signature.len, 4);
			assert_int_equal(m.sign.spki.len, 5);
			break;
		case SIGNPROTO_STREAM_BEGIN:
			assert_true(m.stream_begin.total_len == 1ULL << 32);
			assert_true(m.stream_begin.abstract);
			assert_int_equal(m.stream_begin.scope.len, 32);
			break;
		case SIGNPROTO_LIMITS_SET:
			assert_int_equal(m.limits_set.cka_id.len, 16);
			assert_order(&m.limits_set.order);
			break;
		case SIGNPROTO_INSTALL:
			assert_int_equal(m.install.cka_id.len, 16);
			assert_order(&m.install.order);
			break;
		case SIGNPROTO_KEY_DESTROY:
			assert_int_equal(m.key_destroy.cka_id.len, 16);
			assert_order(&m.key_destroy.order);
			break;
		case SIGNPROTO_PIN:
			assert_order(&m.pin.order);
			break;
		case SIGNPROTO_RESEED:
			assert_order(&m.reseed.order);
			break;
		case SIGNPROTO_FAILED:
			assert_int_equal(m.failed.code, ERROR_UNAVAILABLE);
			assert_int_equal(m.failed.source, ERROR_PKCS11);
			assert_string_equal(m.failed.foreign, "CKR_DEVICE_ERROR");
			assert_string_equal(m.failed.text, "away");
			break;
		default:
			break;
		}
		wire_writer_free(&w);
	}
}

static void
truncations_and_trailing_bytes_are_refused(void **state)
{
	struct wire_writer w;
	union message m;

	for (size_t i = 0; i < COUNT_OF(types); i++) {
		encode(&w, types[i]);
		for (size_t len = 0; len < w.len; len++) {
			/* In memory of its own, so that an overread is seen. */
			uint8_t *part = malloc(len > 0 ? len : 1);
			struct error e = ERROR_INIT;

			assert_non_null(part);
			memcpy(part, w.buf, len);
			assert_false(decode(types[i], (struct bytes){part, len}, &m, &e));
			assert_int_equal(e.code, ERROR_INPUT);
			free(part);
		}
		wire_put_u8(&w, 0);
		assert_false(decode(types[i], (struct bytes){w.buf, w.len}, &m, NULL));
		wire_writer_free(&w);
	}
}

static bool
order_is_taken(const struct signproto_order *o)
{
	struct signproto_reseed m = {.order = *o}, back;
	struct wire_writer w;
	bool taken;

	wire_writer_init(&w, WRITER_MAX);
	signproto_put_reseed(&w, &m);
	taken = signproto_get_reseed((struct bytes){w.buf, w.len}, &back, NULL);
	wire_writer_free(&w);
	return taken;
}

static void
orders_have_signatures_in_number(void **state)
{
	struct signproto_order o = reseed.order;

	assert_true(order_is_taken(&o));
	o.body.len = 0;
	assert_true(order_is_taken(&o));
	o.signature_count = 0;
	assert_false(order_is_taken(&o));
	o.signature_count = 3; /* the third is empty */
	assert_false(order_is_taken(&o));
	for (size_t i = 0; i < SIGNPROTO_ORDER_SIGNATURES_MAX; i++)
		o.signatures[i] = o.signatures[0];
	o.signature_count = SIGNPROTO_ORDER_SIGNATURES_MAX;
	assert_true(order_is_taken(&o));
	o.statement.len = 0;
	assert_false(order_is_taken(&o));
}

/* A root's own certificate, by an order; or the first one, without. */
static void
own_certificates_go_by_orders(void **state)
{
	struct signproto_sign m = {.cka_id = sign.cka_id,
	    .sig_alg = 3,
	    .kind = SIGNPROTO_TBS_CERTIFICATE,
	    .tbs = sign.tbs,
	    .order = install.order};
	struct signproto_sign out;
	struct error e = ERROR_INIT;
	struct wire_writer w;

	wire_writer_init(&w, WRITER_MAX);
	signproto_put_sign(&w, &m);
	assert_true(wire_writer_ok(&w));
	assert_true(signproto_get_sign((struct bytes){w.buf, w.len}, &out, &e));
	assert_int_equal(out.order.signature_count, 2);
	assert_int_equal(out.order.statement.len, 9);
	assert_memory_equal(out.order.statement.p, "statement", 9);
	assert_int_equal(out.order.body.len, m.order.body.len);
	assert_memory_equal(out.order.signatures[1].spki.p, "bo", 2);
	/* Neither there nor not there. */
	for (size_t i = 0; i < w.len; i++) {
		if (w.buf[i] == 1 && memcmp(w.buf + i + 1, "\0\0\0\11statement", 13) == 0)
			w.buf[i] = 2;
	}
	assert_false(signproto_get_sign((struct bytes){w.buf, w.len}, &out, &e));
	wire_writer_free(&w);
}

/* Encodes a SIGN with one field changed and expects the decoder to refuse it. */
static void
refuse_sign(const struct signproto_sign *m)
{
	struct signproto_sign out;
	struct error e = ERROR_INIT;
	struct wire_writer w;

	wire_writer_init(&w, WRITER_MAX);
	signproto_put_sign(&w, m);
	assert_true(wire_writer_ok(&w));
	assert_false(signproto_get_sign((struct bytes){w.buf, w.len}, &out, &e));
	assert_string_equal(e.text, "the peer sent a malformed SIGN message");
	wire_writer_free(&w);
}

static void
values_out_of_range_are_refused(void **state)
{
	uint8_t *big = calloc(1, SIGNPROTO_TBS_MAX + 1);
	struct signproto_stream_begin begin = {
	    sign.cka_id, 3, SIGNPROTO_TBS_CERTIFICATE, 10, 0, false, {0}};
	struct signproto_status_ok bad = status_ok;
	struct signproto_sign m;
	struct wire_writer w;
	struct error failure;

	assert_non_null(big);
	m = sign;
	m.kind = 0;
	refuse_sign(&m);
	m.kind = SIGNPROTO_CSR_INFO + 1;
	refuse_sign(&m);
	/* An approval is for a certificate, and whole. */
	m.kind = SIGNPROTO_CSR_INFO;
	refuse_sign(&m);
	for (int i = 0; i < 4; i++) {
		m = sign;
		*(i == 0     ? &m.csr
		    : i == 1 ? &m.statement
		    : i == 2 ? &m.signature
			     : &m.spki) = (struct bytes){0};
		refuse_sign(&m);
	}
	m = sign;
	m.template[0] = '\0';
	refuse_sign(&m);
	/* An order is for a certificate without a template. */
	m = sign;
	m.order = install.order;
	refuse_sign(&m);
	m = (struct signproto_sign){.cka_id = sign.cka_id, .sig_alg = 3, .tbs = sign.tbs};
	m.kind = SIGNPROTO_CSR_INFO;
	m.order = install.order;
	refuse_sign(&m);
	m.kind = SIGNPROTO_TBS_CERTIFICATE;
	m.order.statement.len = 0;
	refuse_sign(&m);
	m = sign;
	m.csr = (struct bytes){big, SIGNPROTO_CSR_MAX + 1};
	refuse_sign(&m);
	m = sign;
	m.statement = (struct bytes){big, SIGNPROTO_STATEMENT_MAX + 1};
	refuse_sign(&m);
	m = sign;
	m.cka_id = (struct bytes){big, SIGNPROTO_ID_MAX + 1};
	refuse_sign(&m);
	m.cka_id = (struct bytes){big, 0};
	refuse_sign(&m);
	m = sign;
	m.tbs = (struct bytes){big, SIGNPROTO_TBS_MAX + 1};
	refuse_sign(&m);
	m.tbs.len = 0;
	refuse_sign(&m);
	m = sign;
	m.deadline_ms = SIGNPROTO_DEADLINE_MAX_MS + 1;
	refuse_sign(&m);

	wire_writer_init(&w, WRITER_MAX);
	signproto_put_stream_begin(&w, &begin);
	assert_false(signproto_get_stream_begin((struct bytes){w.buf, w.len}, &begin, NULL));
	wire_writer_free(&w);

	wire_writer_init(&w, WRITER_MAX);
	bad.state = SIGNPROTO_BLOCKED + 1;
	signproto_put_status_ok(&w, &bad);
	assert_false(signproto_get_status_ok((struct bytes){w.buf, w.len}, &bad, NULL));
	wire_writer_free(&w);

	/* A failure without a code would read as success. */
	wire_writer_init(&w, WRITER_MAX);
	failure = ERROR_INIT;
	signproto_put_failed(&w, &failure);
	assert_false(signproto_get_failed((struct bytes){w.buf, w.len}, &failure, NULL));
	wire_writer_free(&w);

	wire_writer_init(&w, WRITER_MAX);
	wire_put_u16(&w, SIGNPROTO_VERSION + 1);
	assert_false(signproto_get_status((struct bytes){w.buf, w.len}, NULL));
	wire_writer_free(&w);
	free(big);
}

static void
names(void **state)
{
	assert_string_equal(signproto_type_name(SIGNPROTO_STREAM_END), "STREAM_END");
	assert_string_equal(signproto_type_name(0), "unknown");
	assert_string_equal(signproto_kind_name(SIGNPROTO_TBS_CRL), "tbs-crl");
	assert_string_equal(signproto_kind_name(0), "unknown");
	assert_string_equal(signproto_kind_name(99), "unknown");
	assert_string_equal(signproto_state_name(SIGNPROTO_TOKEN_AWAY), "token-away");
	assert_string_equal(signproto_state_name(99), "unknown");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(round_trips),
	    cmocka_unit_test(truncations_and_trailing_bytes_are_refused),
	    cmocka_unit_test(orders_have_signatures_in_number),
	    cmocka_unit_test(own_certificates_go_by_orders),
	    cmocka_unit_test(values_out_of_range_are_refused),
	    cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
