/* The decision ca-rekey: a new key for a CA that stands. The key is made as one of a new
 * CA is; its generation waits for its certificate, or signs it itself, and the old key
 * goes on signing CRLs until its last certificate has ended. */

#include <string.h>

#include <openssl/sha.h>

#include "daemon/core/encode.h"
#include "daemon/issuer/ca_order_int.h"
#include "daemon/issuer/policy_places.h"
#include "daemon/x509/capolicy_rekey.h"

bool
ca_order_make_generation(struct ca_order *o, struct bytes csr, struct bytes serial,
    struct bytes tbs, ca_begun_fn *begun, struct error *e)
{
	struct ca_rekeying rekeying = {
	    .decision_id = o->key.id,
	    .epoch = o->key.epoch,
	    .policy = o->policy_text,
	    .limits = o->limits_text,
	    .token_key_id = o->token_key_id,
	    .key_index = o->key_index,
	    .csr = csr,
	    .keep_expired = o->policy.expired_certificates,
	    .serial = serial,
	    .tbs = tbs,
	};
	struct location_names names;
	struct ca_places *places;
	bool ok;

	capolicy_names(&o->policy, o->name, &names);
	names.certificate_index = o->certificate_index;
	names.key_index = o->key_index;
	places = policy_places(&o->policy, &names, e);
	rekeying.places = places;
	ok = places != NULL && ca_rekey(o->env->db, &rekeying, begun, o, e) != NULL;
	ca_places_free(places);
	return ok;
}

static void
on_next(int certificate_index, int key_index, const struct error *err, void *arg)
{
	struct ca_order *o = arg;
	struct error e = ERROR_INIT;

	o->certificate_index = certificate_index;
	o->key_index = key_index;
	if (err != NULL)
		ca_order_end(o, err);
	else if (!ca_order_begin(o, &e))
		ca_order_end(o, &e);
}

bool
ca_order_find_next(struct ca_order *o, struct error *e)
{
	return ca_find_next(o->env->db, o->ca_id, on_next, o, e) != NULL;
}

/* The operators meant the key that signs now, and a policy that can follow. */
static bool
check(struct ca_order *o, const struct issuing_ca *ca, struct error *e)
{
	char hex[2 * SHA256_DIGEST_LENGTH + 1];
	uint8_t digest[SHA256_DIGEST_LENGTH];

	if (ca->context == NULL)
		return error_set(e, ERROR_CONFLICT,
		    "CA %s has no certificate yet that could be renewed", o->name);
	SHA256(ca->row.spki.p, ca->row.spki.len, digest);
	hex_encode(digest, sizeof digest, hex);
	o->ca_id = ca->row.ca_id;
	return strcmp(hex, o->object) == 0
		   ? capolicy_check_rekey(&ca->policy, &o->policy, e)
		   : error_set(e, ERROR_CONFLICT,
			 "the order is to replace another key than the one that CA %s signs with",
			 o->name);
}

static bool
begin(struct ca_order *o, const struct issuing_ca *ca, struct error *e)
{
	return check(o, ca, e) && ca_order_find_key(o, e);
}

bool
ca_order_rekey(const struct ca_order_env *env, const struct decision_row *row,
    const struct statement *statement, ca_ordered_fn *done, void *arg, struct error *e)
{
	struct ca_order *o = ca_order_new(env, row, statement, done, arg, e);

	if (o == NULL)
		return false;
	o->rekey = true;
	memcpy(o->name, statement->ca, sizeof o->name);
	memcpy(o->object, statement->object, sizeof o->object);
	if (ca_order_take_body(o, e) && ca_order_load(o, begin, e))
		return true;
	ca_order_free(o);
	return false;
}
