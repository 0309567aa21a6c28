#include "daemon/issuer/key_attest.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "daemon/issuer/ca_order_int.h"
#include "daemon/x509/attestation.h"
#include "db/decision.h"

#define OUTCOME_MAX 1000 /* of a decision */

static void
on_applied(const struct error *err, void *arg)
{
	ca_order_end(arg, err);
}

static bool
put_outcome(struct ca_order *o, struct bytes signature, struct error *e)
{
	char base64[OUTCOME_MAX], outcome[OUTCOME_MAX + 64];

	if (4 * ((signature.len + 2) / 3) >= sizeof base64)
		return error_set(e, ERROR_LIMIT, "a signature of %zu octets", signature.len);
	(void)EVP_EncodeBlock((unsigned char *)base64, signature.p, (int)signature.len);
	(void)snprintf(
	    outcome, sizeof outcome, "the key signed: %s %s", sig_alg_name(o->sig_alg), base64);
	return decision_apply_attest(o->env->db, o->key, outcome, on_applied, o, e) != NULL;
}

static void
on_signed(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct ca_order *o = arg;
	struct error e = ERROR_INIT;

	if (failure != NULL)
		ca_order_end(o, failure);
	else if (!put_outcome(o, answer->sign.signature, &e))
		ca_order_end(o, &e);
}

static bool
begin(struct ca_order *o, const struct issuing_ca *ca, struct error *e)
{
	uint8_t buf[CSR_MAX];
	struct bytes info;

	if (ca->row.cka_id.len > sizeof o->cka_id_buf)
		return error_set(e, ERROR_INTERNAL, "the key of CA %s does not fit", o->name);
	memcpy(o->cka_id_buf, ca->row.cka_id.p, ca->row.cka_id.len);
	o->cka_id = (struct bytes){o->cka_id_buf, ca->row.cka_id.len};
	o->sig_alg = ca->policy.sig_alg;
	memcpy(o->token, ca->row.token, sizeof o->token);
	return attestation_build(
		   ca->policy.subject, ca->row.spki, o->nonce, buf, sizeof buf, &info, e) &&
	       ca_order_keep_tbs(o, info, e) &&
	       ca_order_sign(o, SIGNPROTO_CSR_INFO, NULL, on_signed, e);
}

static void
on_loaded(const struct error *err, void *arg)
{
	struct ca_order *o = arg;
	const struct issuing_ca *ca;
	struct error e = ERROR_INIT;

	if (err != NULL) {
		ca_order_end(o, err);
		return;
	}
	ca = ca_cache_find_name(o->env->cache, o->name);
	if (ca == NULL)
		error_set(&e, ERROR_NOT_FOUND, "there is no CA named %s", o->name);
	else if (begin(o, ca, &e))
		return;
	ca_order_end(o, &e);
}

bool
key_attest(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct ca_order *o = ca_order_new(env, row, statement, done, arg, e);

	if (o == NULL)
		return false;
	memcpy(o->nonce, statement->nonce, sizeof o->nonce);
	if (ca_cache_load(env->cache, on_loaded, o, e))
		return true;
	ca_order_free(o);
	return false;
}
