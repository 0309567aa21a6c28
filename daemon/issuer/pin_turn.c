#include "daemon/issuer/pin_turn.h"

#include <openssl/sha.h>

enum pin_turn_outcome
pin_turn_take(const struct ca_order_env *env, struct decision_key key, const struct pin_turn *turn,
    pin_done_fn *done, void *arg, struct error *e)
{
	const struct bytes named = turn->tbs.len > 0 ? turn->tbs : turn->statement;
	const struct pin_wait wait = {
	    .signer_id = env->config->issuer.signer_id,
	    .token = turn->token,
	    .ca = turn->ca,
	    .kind = turn->kind,
	    .cka_id = turn->cka_id,
	    .tbs = turn->tbs,
	};
	uint8_t sha256[SHA256_DIGEST_LENGTH];

	SHA256(named.p, named.len, sha256);
	if (token_access_take(env->access, turn->token, sha256))
		return PIN_TURN_GO;
	return pin_await_decision(env->db, key, &wait, done, arg, e) != NULL ? PIN_TURN_WAITS
									     : PIN_TURN_FAILED;
}
