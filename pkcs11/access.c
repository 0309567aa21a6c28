#include "pkcs11/access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include "daemon/core/encode.h"
#include "daemon/x509/pem.h"
#include "pkcs11/signer_identity.h"

#define KEY_FILE_MAX 4096

/* ---- persons */

static bool
read_key_file(const char *path, struct access_operator *o, struct error *e)
{
	char text[KEY_FILE_MAX];
	struct bytes pem;
	size_t len;
	FILE *in;

	in = fopen(path, "re");
	if (in == NULL)
		return error_set_errno(e, ERROR_CONFIG, "cannot read %s", path);
	len = fread(text, 1, sizeof text, in);
	(void)fclose(in);
	pem = (struct bytes){(const uint8_t *)text, len};
	return pem_decode(&pem, PEM_PUBLIC_KEY, o->spki, sizeof o->spki, &o->spki_len, e) ||
	       error_wrap(e, "%s", path);
}

static bool
read_operator(const struct config_pin_operator *from, struct access_operator *o, struct error *e)
{
	struct bytes text = {(const uint8_t *)from->key, strlen(from->key)};
	bool ok;

	(void)snprintf(o->name, sizeof o->name, "%s", from->name);
	ok = from->key[0] == '/'
		 ? read_key_file(from->key, o, e)
		 : base64_decode(text, false, o->spki, sizeof o->spki, &o->spki_len, e);
	if (!ok || !statement_check_key(o->spki, o->spki_len, e)) {
		e->code = ERROR_CONFIG;
		return error_wrap(e, "the key of pin operator %s", from->name);
	}
	signer_identity_fingerprint(o->spki, o->spki_len, o->key_sha256);
	return true;
}

bool
access_read_operators(const struct config_token *config, struct access_operator *operators,
    size_t *count, struct error *e)
{
	*count = 0;
	for (size_t i = 0; i < config->pin_operator_count; i++) {
		if (!read_operator(&config->pin_operators[i], &operators[i], e))
			return false;
		(*count)++;
	}
	return true;
}

/* ---- this start */

static bool
make_start(struct access *a, uint16_t signer_id, int64_t now, struct error *e)
{
	struct signer_start *s = &a->start;
	size_t len = sizeof s->key;

	(void)snprintf(s->token, sizeof s->token, "%s", a->config->name);
	s->signer_id = signer_id;
	s->access = (enum signer_access)a->config->access;
	s->started = now;
	a->key = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
	if (a->key == NULL || EVP_PKEY_get_raw_public_key(a->key, s->key, &len) != 1)
		return error_set_openssl(e, ERROR_INTERNAL, "cannot make the key of this start");
	if (getrandom(s->instance, sizeof s->instance, 0) != (ssize_t)sizeof s->instance)
		return error_set_errno(e, ERROR_SYSTEM, "no random octets for this start");
	return access_announce(a, "", e);
}

bool
access_announce(struct access *a, const char *serial, struct error *e)
{
	size_t len = 0;

	(void)snprintf(a->start.token_serial, sizeof a->start.token_serial, "%s", serial);
	return signer_start_format(&a->start, a->text, &len, e) &&
	       signer_start_sign(a->text, len, a->identity, a->signature, e);
}

bool
access_open(const struct config_token *config, const char *state_dir, uint16_t signer_id,
    int64_t now, struct access **access, struct error *e)
{
	struct access *a = calloc(1, sizeof *a);

	*access = NULL;
	if (a == NULL)
		return error_set(e, ERROR_SYSTEM, "no memory for the operators of a token");
	a->config = config;
	if (!access_read_operators(config, a->operators, &a->operator_count, e))
		goto fail;
	if (!signer_identity_open(state_dir, &a->identity, a->identity_spki, e))
		goto fail;
	signer_identity_fingerprint(a->identity_spki, sizeof a->identity_spki, a->fingerprint);
	if (!make_start(a, signer_id, now, e))
		goto fail;
	*access = a;
	return true;
fail:
	access_free(a);
	return false;
}

void
access_free(struct access *a)
{
	if (a == NULL)
		return;
	EVP_PKEY_free(a->identity);
	EVP_PKEY_free(a->key);
	free(a);
}

/* ---- what came */

static const struct access_operator *
find_operator(const struct access *a, struct bytes spki)
{
	for (size_t i = 0; i < a->operator_count; i++)
		if (bytes_equal(
			(struct bytes){a->operators[i].spki, a->operators[i].spki_len}, spki))
			return &a->operators[i];
	return NULL;
}

static bool
check_statement(const struct access *a, const struct signproto_order *order, int64_t now,
    struct statement *s, struct error *e)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	if (!statement_parse((const char *)order->statement.p, order->statement.len, s, e))
		return false;
	if (!statement_is_pin(s->action) || strcmp(s->object, a->config->name) != 0)
		return error_set(e, ERROR_DENIED,
		    "the operator signed '%s' about '%s', which is not about the PIN of token '%s'",
		    statement_action_name(s->action), s->object, a->config->name);
	if (!statement_check_time(s, now, e))
		return false;
	(void)SHA256(order->body.p, order->body.len, digest);
	return memcmp(digest, s->body_sha256, sizeof digest) == 0 ||
	       error_set(e, ERROR_DENIED, "the envelope is not the one that the operator signed");
}

static bool
check_person(const struct access *a, const struct signproto_order *order,
    const struct access_operator **person, struct error *e)
{
	const struct signproto_operator_signature *s = &order->signatures[0];

	if (order->signature_count != 1)
		return error_set(e, ERROR_DENIED, "one operator signs for a PIN, and not %zu",
		    order->signature_count);
	*person = find_operator(a, s->spki);
	if (*person == NULL)
		return error_set(e, ERROR_DENIED,
		    "whoever signed is not among the pin_operators of token '%s' in this signer's "
		    "configuration",
		    a->config->name);
	return statement_verify((const char *)order->statement.p, order->statement.len,
		   s->signature.p, s->signature.len, s->spki.p, s->spki.len, e) ||
	       error_wrap(e, "signature of %s", (*person)->name);
}

static bool
check_addressee(const struct access *a, const struct access_entry *entry, struct error *e)
{
	const struct pin_envelope *env = &entry->envelope;

	if (strcmp(env->token, a->config->name) != 0)
		return error_set(e, ERROR_DENIED,
		    "the envelope is for token '%s', and this is '%s'", env->token,
		    a->config->name);
	if (memcmp(env->signer, a->fingerprint, sizeof env->signer) != 0)
		return error_set(e, ERROR_DENIED, "the envelope is for another signer");
	if (memcmp(env->instance, a->start.instance, sizeof env->instance) != 0)
		return error_set(e, ERROR_DENIED,
		    "the envelope is for another start of this signer; ask for its status, and "
		    "seal a new one");
	if (memcmp(env->operator_key, entry->person->key_sha256, sizeof env->operator_key) != 0)
		return error_set(e, ERROR_DENIED,
		    "the envelope was sealed by another operator than the one who signed");
	return true;
}

static bool
check_cap(const char *what, int64_t asked, int64_t cap, struct error *e)
{
	return cap == 0 || asked <= cap ||
	       error_set(e, ERROR_DENIED,
		   "the unlock asks for %s of %lld, and this signer's configuration allows %lld",
		   what, (long long)asked, (long long)cap);
}

/* What an unlock leaves open is what the caps say. */
static bool
check_unlock(const struct access *a, struct pin_envelope *env, int64_t now, struct error *e)
{
	const struct config_token *c = a->config;

	if (env->until <= now)
		return error_set(e, ERROR_DENIED, "the unlock ends in the past");
	if (env->idle_s == 0)
		env->idle_s = (uint32_t)c->session_idle_max_s;
	if (env->signatures == 0)
		env->signatures = (uint64_t)c->session_signatures_max;
	return check_cap("a time (session_max)", env->until - now, c->session_max_s, e) &&
	       check_cap(
		   "an idle time (session_idle_max)", env->idle_s, c->session_idle_max_s, e) &&
	       check_cap("a count of signatures (session_signatures_max)", (int64_t)env->signatures,
		   c->session_signatures_max, e);
}

const struct access_operator *
access_find_person(const struct access *a, const char *name)
{
	for (size_t i = 0; i < a->operator_count; i++)
		if (strcmp(a->operators[i].name, name) == 0)
			return &a->operators[i];
	return NULL;
}

/* holders: those before it, and then this one too. */
static bool
check_holder(const struct access *a, const char *name, const struct access_operator **holders,
    size_t before, struct error *e)
{
	const struct access_operator *o = access_find_person(a, name);

	if (o == NULL)
		return error_set(e, ERROR_DENIED,
		    "%s is not among the pin_operators of token '%s' in this signer's "
		    "configuration, and can hold no share of its PIN",
		    name, a->config->name);
	for (size_t i = 0; i < before; i++) {
		if (memcmp(holders[i]->key_sha256, o->key_sha256, sizeof o->key_sha256) == 0)
			return error_set(e, ERROR_DENIED,
			    "%s and %s have the same key: two shares of one person are one",
			    holders[i]->name, o->name);
	}
	holders[before] = o;
	return pin_share_check_key((struct bytes){o->spki, o->spki_len}, e) ||
	       error_wrap(e, "the key of %s", o->name);
}

/* Before anything is opened: who is to hold a share can have one. */
static bool
check_holders(const struct access *a, const struct pin_envelope *env, struct error *e)
{
	const struct access_operator *holders[COUNT_OF(env->holders)];

	for (size_t i = 0; i < env->holder_count; i++)
		if (!check_holder(a, env->holders[i], holders, i, e))
			return false;
	return true;
}

static bool
check_mode(const struct access *a, const struct access_entry *entry, struct error *e)
{
	enum config_access wanted = entry->action == STATEMENT_PIN_UNLOCK ? CONFIG_ACCESS_SESSION
									  : CONFIG_ACCESS_OPERATION;

	if (entry->action != STATEMENT_PIN_UNLOCK && entry->action != STATEMENT_PIN_OPERATE)
		return true;
	return a->config->access == wanted ||
	       error_set(e, ERROR_DENIED, "token '%s' has access: %s, which takes no '%s'",
		   a->config->name, config_access_name(a->config->access),
		   statement_action_name(entry->action));
}

bool
access_check(const struct access *a, const struct signproto_order *order, int64_t now,
    struct access_entry *entry, struct error *e)
{
	struct statement s;

	if (!check_person(a, order, &entry->person, e) || !check_statement(a, order, now, &s, e))
		return false;
	entry->action = s.action;
	entry->expires = s.expires;
	memcpy(entry->nonce, s.nonce, sizeof entry->nonce);
	if (!pin_envelope_parse(
		(const char *)order->body.p, order->body.len, &entry->envelope, e) ||
	    !pin_envelope_check_action(&entry->envelope, s.action, e) ||
	    !check_addressee(a, entry, e) || !check_mode(a, entry, e) ||
	    !check_holders(a, &entry->envelope, e))
		return false;
	return s.action != STATEMENT_PIN_UNLOCK || check_unlock(a, &entry->envelope, now, e);
}
