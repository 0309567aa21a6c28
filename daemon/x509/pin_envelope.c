#include "daemon/x509/pin_envelope.h"

#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "daemon/core/encode.h"

#define WHAT "PIN envelope"
/* Base64 of a key, and of a box. */
#define ENC_TEXT_MAX 64
#define BOX_TEXT_MAX 512

static const char *const kind_names[] = {
    [PIN_OPERATION_CERTIFICATE] = "certificate",
    [PIN_OPERATION_CRL] = "crl",
    [PIN_OPERATION_CSR_INFO] = "csr-info",
    [PIN_OPERATION_ORDER] = "order",
};

static bool
kind_valid(enum pin_operation_kind kind)
{
	return kind >= PIN_OPERATION_CERTIFICATE && kind <= PIN_OPERATION_ORDER;
}

const char *
pin_operation_kind_name(enum pin_operation_kind kind)
{
	return kind_valid(kind) ? kind_names[kind] : "?";
}

bool
pin_operation_kind_parse(const char *word, enum pin_operation_kind *kind)
{
	for (size_t i = PIN_OPERATION_CERTIFICATE; i < COUNT_OF(kind_names); i++)
		if (strcmp(kind_names[i], word) == 0) {
			*kind = (enum pin_operation_kind)i;
			return true;
		}
	return false;
}

/* ---- operations */

static int
compare(const void *pa, const void *pb)
{
	const struct pin_operation *a = pa, *b = pb;
	size_t shorter = a->cka_id_len < b->cka_id_len ? a->cka_id_len : b->cka_id_len;
	int order;

	if (a->kind != b->kind)
		return a->kind < b->kind ? -1 : 1;
	order = memcmp(a->cka_id, b->cka_id, shorter);
	if (order == 0 && a->cka_id_len != b->cka_id_len)
		order = a->cka_id_len < b->cka_id_len ? -1 : 1;
	return order != 0 ? order : memcmp(a->sha256, b->sha256, sizeof a->sha256);
}

static int
compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

void
pin_envelope_sort(struct pin_envelope *env)
{
	qsort(env->operations, env->operation_count, sizeof env->operations[0], compare);
	qsort(env->holders, env->holder_count, sizeof env->holders[0], compare_names);
}

bool
pin_operation_equal(const struct pin_operation *a, const struct pin_operation *b)
{
	return compare(a, b) == 0;
}

static bool
check_operations(const struct pin_envelope *env, struct error *err)
{
	if (env->operation_count > PIN_ENVELOPE_OPERATIONS_MAX)
		return error_set(err, ERROR_LIMIT, WHAT ": %zu operations; allowed: at most %d",
		    env->operation_count, PIN_ENVELOPE_OPERATIONS_MAX);
	for (size_t i = 0; i < env->operation_count; i++) {
		const struct pin_operation *o = &env->operations[i];

		if (!kind_valid(o->kind) || o->cka_id_len > PIN_ENVELOPE_ID_MAX ||
		    (o->cka_id_len == 0) != (o->kind == PIN_OPERATION_ORDER))
			return error_set(err, ERROR_INPUT,
			    WHAT ", operation %zu: must name its kind and, unless it is an order, "
				 "the key",
			    i + 1);
		if (i > 0 && compare(o - 1, o) >= 0)
			return error_set(err, ERROR_INPUT,
			    WHAT ", operation %zu: they must rise, and none stand twice", i + 1);
	}
	return true;
}

/* Of a split. */
static bool
check_holders(const struct pin_envelope *env, struct error *err)
{
	if (env->holder_count > PIN_SHARES_MAX ||
	    (env->holder_count > 0 && (env->need < 2 || env->need > env->holder_count)) ||
	    (env->holder_count == 0 && env->need != 0))
		return error_set(err, ERROR_LIMIT,
		    WHAT ": a PIN is split among 2 to %d persons, of whom at least 2 and at most "
			 "all are needed; here are %u of %zu",
		    PIN_SHARES_MAX, env->need, env->holder_count);
	for (size_t i = 0; i < env->holder_count; i++) {
		if (!canon_is_name(env->holders[i], PIN_HOLDER_CHARACTERS, false))
			return error_set(err, ERROR_INPUT,
			    WHAT ", field 'split-among': '%.64s' is no name of a person",
			    env->holders[i]);
		if (i > 0 && strcmp(env->holders[i - 1], env->holders[i]) >= 0)
			return error_set(err, ERROR_INPUT,
			    WHAT
			    ", field 'split-among': the names must rise, and none stand twice");
	}
	return true;
}

static bool
check(const struct pin_envelope *env, struct error *err)
{
	if (!canon_is_name(env->token, "-", true))
		return error_set(err, ERROR_INPUT,
		    WHAT ", field 'token': must be a token's name: [a-z0-9-], at most 64");
	if (env->unlock ? env->operation_count > 0 || !canon_time_valid(env->until)
			: env->until != 0 || env->idle_s != 0 || env->signatures != 0)
		return error_set(err, ERROR_INPUT,
		    WHAT ": 'until', 'idle' and 'signatures' belong to an unlock, and operations "
			 "do not");
	if (env->idle_s > PIN_ENVELOPE_IDLE_MAX_S || env->signatures > PIN_ENVELOPE_SIGNATURES_MAX)
		return error_set(
		    err, ERROR_LIMIT, WHAT ": 'idle' or 'signatures' is beyond every limit");
	if (env->share > PIN_SHARES_MAX)
		return error_set(err, ERROR_INPUT, WHAT ": there is no share %u", env->share);
	return check_holders(env, err) && check_operations(env, err);
}

bool
pin_envelope_check_action(
    const struct pin_envelope *env, enum statement_action action, struct error *err)
{
	bool fits;

	switch (action) {
	case STATEMENT_PIN_UNLOCK:
		fits = env->unlock && env->sealed && env->need == 0;
		break;
	case STATEMENT_PIN_OPERATE:
		fits = env->operation_count > 0 && env->sealed && env->need == 0;
		break;
	case STATEMENT_PIN_SPLIT:
		fits = env->need > 0 && !env->unlock && env->operation_count == 0 && env->sealed;
		break;
	case STATEMENT_PIN_LOCK:
	case STATEMENT_PIN_CLEAR:
		fits = !env->unlock && env->operation_count == 0 && !env->sealed &&
		       env->share == 0 && env->need == 0;
		break;
	default:
		fits = false;
	}
	return fits || error_set(err, ERROR_INPUT, WHAT ": it is not one for '%s'",
			   statement_action_name(action));
}

/* ---- the text */

static void
put_operations(struct canon_writer *w, const struct pin_envelope *env)
{
	for (size_t i = 0; i < env->operation_count; i++) {
		const struct pin_operation *o = &env->operations[i];

		canon_put(w, "operation: %s ", kind_names[o->kind]);
		if (o->cka_id_len > 0)
			canon_put_hex(w, o->cka_id, o->cka_id_len);
		else
			canon_put(w, "-");
		canon_put(w, " ");
		canon_put_hex(w, o->sha256, sizeof o->sha256);
		canon_put(w, "\n");
	}
}

static void
put_limits(struct canon_writer *w, const struct pin_envelope *env)
{
	char until[CANON_TIME_SIZE] = "-";

	if (env->unlock)
		canon_time_text(env->until, until);
	canon_put(w, "until: %s\n", until);
	if (env->idle_s > 0)
		canon_put(w, "idle: %u\n", env->idle_s);
	else
		canon_put(w, "idle: -\n");
	if (env->signatures > 0)
		canon_put(w, "signatures: %llu\n", (unsigned long long)env->signatures);
	else
		canon_put(w, "signatures: -\n");
	if (env->share > 0) {
		canon_put(w, "share: %u ", env->share);
		canon_put_hex(w, env->split, sizeof env->split);
		canon_put(w, "\n");
	}
	if (env->need > 0) {
		canon_put(w, "split-among: %u", env->need);
		for (size_t i = 0; i < env->holder_count; i++)
			canon_put(w, " %s", env->holders[i]);
		canon_put(w, "\n");
	}
}

/* All above `enc`: what the encryption authenticates. */
static void
put_head(struct canon_writer *w, const struct pin_envelope *env)
{
	canon_put(w, "chancery-pin-envelope: 1\ntoken: %s\n", env->token);
	canon_put_hex_line(w, "signer", true, env->signer, sizeof env->signer);
	canon_put_hex_line(w, "instance", true, env->instance, sizeof env->instance);
	canon_put_hex_line(w, "operator", true, env->operator_key, sizeof env->operator_key);
	put_limits(w, env);
	put_operations(w, env);
}

static void
put_sealed(struct canon_writer *w, const struct pin_envelope *env)
{
	char enc[ENC_TEXT_MAX] = "-", box[BOX_TEXT_MAX] = "-";

	if (env->sealed) {
		(void)EVP_EncodeBlock((unsigned char *)enc, env->enc, sizeof env->enc);
		(void)EVP_EncodeBlock((unsigned char *)box, env->box, sizeof env->box);
	}
	canon_put(w, "enc: %s\nbox: %s\n", enc, box);
}

bool
pin_envelope_format(const struct pin_envelope *env, char out[PIN_ENVELOPE_TEXT_MAX + 1],
    size_t *len, struct error *err)
{
	struct canon_writer w;

	if (!check(env, err))
		return false;
	canon_writer_init(&w, out, PIN_ENVELOPE_TEXT_MAX + 1);
	put_head(&w, env);
	put_sealed(&w, env);
	return canon_written(&w, WHAT, len, err);
}

static bool
malformed(const struct canon_reader *r, const char *rule, struct error *err)
{
	return error_set(err, ERROR_INPUT, WHAT ", line %u: %s", r->line - 1, rule);
}

static bool
take_number(
    struct canon_reader *r, const char *key, uint64_t max, uint64_t *number, struct error *err)
{
	char *v;

	*number = 0;
	if (!canon_take(r, key, &v, err))
		return false;
	if (strcmp(v, "-") == 0)
		return true;
	return (canon_number(v, max, number) && *number > 0) ||
	       malformed(r, "must be a number from 1, or '-'", err);
}

static bool
take_limits(struct canon_reader *r, struct pin_envelope *env, struct error *err)
{
	uint64_t idle;
	char *v;

	if (!canon_take(r, "until", &v, err))
		return false;
	env->unlock = strcmp(v, "-") != 0;
	if (env->unlock && !canon_time(v, &env->until))
		return malformed(r, "must be like 2026-11-22T12:00:00Z, or '-'", err);
	if (!take_number(r, "idle", PIN_ENVELOPE_IDLE_MAX_S, &idle, err) ||
	    !take_number(r, "signatures", PIN_ENVELOPE_SIGNATURES_MAX, &env->signatures, err))
		return false;
	env->idle_s = (uint32_t)idle;
	return true;
}

static bool
take_share(struct canon_reader *r, struct pin_envelope *env, struct error *err)
{
	const char *number;
	uint64_t n = 0;
	char *v;

	if (!canon_next_is(r, "share"))
		return true;
	if (!canon_take(r, "share", &v, err))
		return false;
	number = canon_next_word(&v, ' ');
	if (v == NULL || !canon_number(number, PIN_SHARES_MAX, &n) || n == 0 ||
	    !canon_hex(v, env->split, sizeof env->split))
		return malformed(r, "must be the number of a share, and 32 hex digits", err);
	env->share = (uint8_t)n;
	return true;
}

static bool
take_holders(struct canon_reader *r, struct pin_envelope *env, struct error *err)
{
	const char *name;
	uint64_t need = 0;
	char *v;

	if (!canon_next_is(r, "split-among"))
		return true;
	if (!canon_take(r, "split-among", &v, err))
		return false;
	if (!canon_number(canon_next_word(&v, ' '), PIN_SHARES_MAX, &need) || need == 0)
		return malformed(r, "must be how many are needed, and the holders' names", err);
	env->need = (uint8_t)need;
	while ((name = canon_next_word(&v, ' ')) != NULL) {
		if (env->holder_count == PIN_SHARES_MAX)
			return error_set(
			    err, ERROR_LIMIT, WHAT ": more than %d holders", PIN_SHARES_MAX);
		if (strlen(name) > CANON_NAME_MAX)
			return malformed(r, "a name is too long", err);
		memcpy(env->holders[env->holder_count++], name, strlen(name) + 1);
	}
	return true;
}

static bool
take_id(const char *word, struct pin_operation *o)
{
	return strcmp(word, "-") == 0 ||
	       canon_hex_upto(word, o->cka_id, sizeof o->cka_id, &o->cka_id_len);
}

static bool
take_operations(struct canon_reader *r, struct pin_envelope *env, struct error *err)
{
	while (canon_next_is(r, "operation")) {
		struct pin_operation *o = &env->operations[env->operation_count];
		const char *kind, *id, *digest;
		char *v;

		if (env->operation_count == PIN_ENVELOPE_OPERATIONS_MAX)
			return error_set(err, ERROR_LIMIT, WHAT ": more than %d operations",
			    PIN_ENVELOPE_OPERATIONS_MAX);
		if (!canon_take(r, "operation", &v, err))
			return false;
		kind = canon_next_word(&v, ' ');
		id = canon_next_word(&v, ' ');
		digest = v;
		if (id == NULL || digest == NULL || !pin_operation_kind_parse(kind, &o->kind) ||
		    !take_id(id, o) || !canon_hex(digest, o->sha256, sizeof o->sha256))
			return malformed(r, "must be a kind, a CKA_ID or '-', and a SHA-256", err);
		env->operation_count++;
	}
	return true;
}

static bool
take_base64(struct canon_reader *r, const char *key, uint8_t *out, size_t size, size_t *len,
    struct error *err)
{
	char *v;

	*len = 0;
	if (!canon_take(r, key, &v, err))
		return false;
	if (strcmp(v, "-") == 0)
		return true;
	if (!base64_decode(
		(struct bytes){(const uint8_t *)v, strlen(v)}, false, out, size, len, err))
		return error_wrap(err, WHAT ", field '%s'", key);
	return *len == size || malformed(r, "is not of its one length", err);
}

static bool
read_values(struct canon_reader *r, void *to, struct error *err)
{
	struct pin_envelope *env = to;
	size_t enc_len, box_len;

	if (!canon_take_text(r, "token", env->token, sizeof env->token, err) ||
	    !canon_take_hex(r, "signer", env->signer, sizeof env->signer, NULL, err) ||
	    !canon_take_hex(r, "instance", env->instance, sizeof env->instance, NULL, err) ||
	    !canon_take_hex(
		r, "operator", env->operator_key, sizeof env->operator_key, NULL, err) ||
	    !take_limits(r, env, err) || !take_share(r, env, err) || !take_holders(r, env, err) ||
	    !take_operations(r, env, err) ||
	    !take_base64(r, "enc", env->enc, sizeof env->enc, &enc_len, err) ||
	    !take_base64(r, "box", env->box, sizeof env->box, &box_len, err))
		return false;
	env->sealed = enc_len > 0;
	return env->sealed == (box_len > 0) || malformed(r, "'enc' and 'box' belong together", err);
}

static bool
write_again(const void *from, char *text, size_t *len, struct error *err)
{
	return pin_envelope_format(from, text, len, err);
}

bool
pin_envelope_parse(const char *text, size_t len, struct pin_envelope *out, struct error *err)
{
	static const struct canon_form form = {
	    WHAT, "chancery-pin-envelope", PIN_ENVELOPE_TEXT_MAX, read_values, write_again};

	*out = (struct pin_envelope){0};
	return canon_parse(&form, text, len, out, err);
}
