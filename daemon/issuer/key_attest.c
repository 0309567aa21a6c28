#include "daemon/issuer/key_attest.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "daemon/issuer/ca_order_int.h"
#include "daemon/x509/attestation.h"
#include "db/decision.h"

#define OUTCOME_MAX 1000 /* of a decision */

static bool
put_outcome(struct ca_order *o, struct bytes signature, struct error *e)
{
	char base64[OUTCOME_MAX], outcome[OUTCOME_MAX + 64];

	if (4 * ((signature.len + 2) / 3) >= sizeof base64)
		return error_set(e, ERROR_LIMIT, "a signature of %zu octets", signature.len);
	(void)EVP_EncodeBlock((unsigned char *)base64, signature.p, (int)signature.len);
	(void)snprintf(
	    outcome, sizeof outcome, "the key signed: %s %s", sig_alg_name(o->sig_alg), base64);
	return decision_apply_attest(o->env->db, o->key, outcome, ca_order_closed, o, e) != NULL;
}

static bool
begin(struct ca_order *o, const struct issuing_ca *ca, struct error *e)
{
	uint8_t buf[CSR_MAX];
	struct bytes info;

	return ca_order_take_key_of(o, ca, e) &&
	       attestation_build(
		   ca->policy.subject, ca->row.spki, o->nonce, buf, sizeof buf, &info, e) &&
	       ca_order_keep_tbs(o, info, e) &&
	       ca_order_sign(o, SIGNPROTO_CSR_INFO, NULL, put_outcome, e);
}

bool
key_attest(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct ca_order *o = ca_order_new(env, row, statement, done, arg, e);

	if (o == NULL)
		return false;
	memcpy(o->nonce, statement->nonce, sizeof o->nonce);
	if (ca_order_load(o, begin, e))
		return true;
	ca_order_free(o);
	return false;
}
