/* What an entry of a PIN lists is claimed and signed as it stands. */

#include "daemon/issuer/issue_int.h"

#include <string.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"

static void
on_listed(struct request_batch *batch, const struct error *err, void *arg)
{
	struct batch *b = arg;

	b->pending = NULL;
	if (err != NULL)
		batch_abandon(b, err);
	else if (batch_take(b, batch))
		batch_load(b);
	else
		batch_let_go(b);
}

/* Of the token's lane; NULL: none is free, or there is no such token. */
static struct batch *
find_free_batch(struct issuance *s, const char *token)
{
	const struct config *config = s->env.config;
	size_t n = 0;

	while (n < config->token_count && strcmp(config->tokens[n].name, token) != 0)
		n++;
	for (size_t i = 0; n < config->token_count && i < BATCHES; i++) {
		if (!s->lanes[n].batches[i].busy)
			return &s->lanes[n].batches[i];
	}
	return NULL;
}

/* Claims what entries list: at once, or when a batch has ended. What comes too late, or
 * cannot be asked for, waits as before. */
void
issue_claim_listed(struct issuance *s)
{
	for (size_t i = 0; i < COUNT_OF(s->listed); i++) {
		struct listed *l = &s->listed[i];
		const struct pin_digests digests = {
		    (const uint8_t(*)[PIN_DIGEST_LEN])l->sha256, l->count};
		struct batch *b = find_free_batch(s, l->token);
		struct error e = ERROR_INIT;

		if (l->token[0] == '\0' || b == NULL || s->draining)
			continue;
		if (monotonic_ms() < l->until_ms)
			b->pending = request_claim_pins(s->env.db, l->token,
			    s->env.config->issuer.signer_id, &digests, LEASE_S, on_listed, b, &e);
		if (b->pending != NULL) {
			b->busy = b->listed = true;
			b->holds = 1;
		} else if (error_is_set(&e)) {
			log_failure(LOG_LEVEL_WARNING, l->token, &e);
		}
		l->token[0] = '\0';
	}
}

bool
issuance_sign_listed(
    struct issuance *s, const char *token, const struct pin_digests *digests, struct error *e)
{
	struct listed *l = NULL;

	for (size_t i = 0; i < COUNT_OF(s->listed); i++) {
		/* Of what an entry before it listed the signer knows no more. */
		if (strcmp(s->listed[i].token, token) == 0 ||
		    (l == NULL && s->listed[i].token[0] == '\0'))
			l = &s->listed[i];
	}
	if (l == NULL || digests->count > REQUEST_BATCH_MAX || strlen(token) >= sizeof l->token)
		return error_set(e, ERROR_LIMIT, "too many entries, or operations in one");
	memcpy(l->token, token, strlen(token) + 1);
	memcpy(l->sha256, digests->sha256, digests->count * PIN_DIGEST_LEN);
	l->count = digests->count;
	l->until_ms = monotonic_ms() + ISSUANCE_LISTED_S * 1000;
	issue_claim_listed(s);
	return true;
}
