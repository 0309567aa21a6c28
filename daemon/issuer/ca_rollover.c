/* The decision ca-rollover: one of a root's keys vouches for another, so that who trusts
 * the old certificate finds the way to what the new key signs, and the other way round
 * (RFC 4210 4.4). */

#include <string.h>
#include <time.h>

#include <openssl/sha.h>

#include "daemon/core/log.h"
#include "daemon/issuer/ca_order_int.h"

static bool
end(struct ca_order *o, struct bytes signature, struct error *e)
{
	struct ca_rolled rolled = {.decision_id = o->key.id, .epoch = o->key.epoch};
	uint8_t buf[CERTIFICATE_MAX], digest[SHA256_DIGEST_LENGTH];
	struct certificate c;

	if (!certificate_assemble((struct bytes){o->tbs, o->tbs_len}, o->sig_alg, signature, buf,
		sizeof buf, &rolled.certificate, e) ||
	    !certificate_parse(rolled.certificate, &c, e) ||
	    !name_to_text(c.subject, o->readable, sizeof o->readable, e))
		return false;
	SHA256(c.spki.whole.p, c.spki.whole.len, digest);
	rolled.spki_sha256 = (struct bytes){digest, sizeof digest};
	rolled.not_before = c.not_before;
	rolled.not_after = c.not_after;
	rolled.readable = o->readable;
	return ca_rollover_end(o->env->db, &rolled, ca_order_closed, o, e) != NULL;
}

static void
on_begun(const struct ca_begun *begun, const struct error *err, void *arg)
{
	struct ca_order *o = arg;

	ca_order_sign_begun(o, begun, err, &o->kept.order, end);
}

/* ------------------------------------------------------------- the beginning */

/* The root's generation with this key. */
static const struct issuing_ca *
find(const struct ca_order *o, const uint8_t key[RENEWAL_DIGEST_LEN], struct error *e)
{
	const struct issuing_ca *ca = ca_cache_find_digest(o->env->cache, o->name, key);

	if (ca != NULL && ca->row.root && ca->context != NULL)
		return ca;
	error_set(e, ERROR_CONFLICT,
	    "CA %s is no root, or has no such key that signs certificates or CRLs", o->name);
	return NULL;
}

static int64_t
earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static bool
begin(struct ca_order *o, const struct issuing_ca *signer, const struct issuing_ca *subject,
    struct error *e)
{
	int64_t until = earlier(signer->context->not_after, subject->context->not_after);
	struct ca_rolling rolling = {.decision_id = o->key.id,
	    .epoch = o->key.epoch,
	    .signer_key_id = signer->row.token_key_id,
	    .subject_key_id = subject->row.token_key_id,
	    .serial = {o->serial, sizeof o->serial}};
	uint8_t buf[CERTIFICATE_MAX];

	return ca_order_take_key_of(o, signer, e) && ca_order_make_serial(o, e) &&
	       capolicy_build_rollover(&subject->policy, o->sig_alg, subject->row.spki,
		   signer->context->key_id, rolling.serial, (int64_t)time(NULL),
		   earlier(until, o->renewal.not_after), buf, sizeof buf, &rolling.tbs, e) &&
	       ca_rollover_begin(o->env->db, &rolling, on_begun, o, e) != NULL;
}

static void
on_loaded(const struct error *err, void *arg)
{
	const struct issuing_ca *signer, *subject;
	struct ca_order *o = arg;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		ca_order_end(o, err);
		return;
	}
	signer = find(o, o->renewal.signer, &e);
	subject = signer != NULL ? find(o, o->renewal.key, &e) : NULL;
	if (subject == NULL || !begin(o, signer, subject, &e))
		ca_order_end(o, &e);
}

bool
ca_order_rollover(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct ca_order *o = ca_order_new(env, row, statement, done, arg, e);

	if (o == NULL)
		return false;
	if (!renewal_parse(o->body, strlen(o->body), &o->renewal, e))
		goto fail;
	if (strcmp(o->renewal.ca, o->name) != 0 || o->renewal.has_replaces ||
	    !o->renewal.has_signer || o->renewal.not_after == 0)
		error_set(e, ERROR_INPUT,
		    "what was signed is no rollover of CA %s: it names a CA, a key, the key that "
		    "signs and an end, and replaces nothing",
		    o->name);
	else if (ca_cache_load(env->cache, on_loaded, o, e))
		return true;
fail:
	ca_order_free(o);
	return false;
}
