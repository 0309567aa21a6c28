#include "daemon/issuer/pin_courier.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/log.h"
#include "daemon/issuer/kept_order.h"
#include "daemon/x509/pin_envelope.h"
#include "daemon/x509/statement.h"
#include "db/pin.h"

/* One token's entry under way. */
struct carried {
	struct pin_courier *courier;
	const char *token; /* of the configuration */
	bool busy;
	int64_t id;
	enum statement_action action;
	struct kept_order kept;
	uint8_t sha256[PIN_ENVELOPE_OPERATIONS_MAX][PIN_DIGEST_LEN];
	size_t count;
};

struct pin_courier {
	struct pin_courier_env env;
	struct carried carried[CONFIG_TOKENS_MAX];
	size_t count;
	bool draining;
};

static void
end_entry(struct carried *n, bool done, const char *outcome)
{
	struct error e = ERROR_INIT;

	log_info(n->token, "%s: %s", statement_action_name(n->action), outcome);
	if (!pin_end_entry(n->courier->env.db, n->id, done, outcome, &e))
		log_failure(LOG_LEVEL_WARNING, n->token, &e);
	kept_order_drop(&n->kept);
	n->busy = false;
}

/* It waits for its turn. */
static void
return_entry(struct carried *n, const char *why)
{
	const struct signproto_order *o = &n->kept.order;
	const struct pin_entry entry = {.id = n->id,
	    .statement = o->statement,
	    .body = o->body,
	    .spki = o->signatures[0].spki,
	    .signature = o->signatures[0].signature};
	struct error e = ERROR_INIT;

	token_access_note_busy(n->courier->env.access, n->token);
	if (!pin_return_entry(n->courier->env.db, &entry, why, &e))
		log_failure(LOG_LEVEL_WARNING, n->token, &e);
	kept_order_drop(&n->kept);
	n->busy = false;
}

/* ----------------------------------------------------------------- accepted */

static void
on_woken(int64_t count, const struct error *err, void *arg)
{
	struct pin_courier *c = arg;

	if (err != NULL)
		log_failure(LOG_LEVEL_WARNING, "pin", err);
	else if (count > 0)
		decider_poke(c->env.decider);
}

/* Whoever has something that is listed takes it. What could not be asked for now waits
 * as before, for another entry. */
static void
have_signed(struct carried *n)
{
	const struct pin_courier_env *env = &n->courier->env;
	const struct pin_digests digests = {(const uint8_t(*)[PIN_DIGEST_LEN])n->sha256, n->count};
	int signer_id = env->config->issuer.signer_id;
	struct error e = ERROR_INIT;
	bool ok;

	token_access_list(env->access, n->token, &digests);
	ok = issuance_sign_listed(env->issuance, n->token, &digests, &e);
	ok = crl_calendar_sign_listed(env->calendar, n->token, &digests, &e) && ok;
	ok = pin_wake_decisions(env->db, n->token, signer_id, &digests, on_woken, n->courier, &e) !=
		 NULL &&
	     ok;
	if (!ok)
		log_failure(LOG_LEVEL_WARNING, n->token, &e);
}

static void
say_done(const struct carried *n, char *out, size_t size)
{
	switch (n->action) {
	case STATEMENT_PIN_OPERATE:
		(void)snprintf(out, size, "the signer took the PIN for %zu operation%s", n->count,
		    n->count == 1 ? "" : "s");
		break;
	case STATEMENT_PIN_UNLOCK:
		(void)snprintf(out, size, "token %s is unlocked", n->token);
		break;
	case STATEMENT_PIN_SPLIT:
		(void)snprintf(out, size, "token %s has a new PIN that nobody knows", n->token);
		break;
	case STATEMENT_PIN_LOCK:
		(void)snprintf(out, size, "token %s is locked", n->token);
		break;
	default:
		(void)snprintf(out, size, "the block of token %s is lifted", n->token);
		break;
	}
}

static void
on_answer(const struct signer_answer *answer, const struct error *failure, void *arg)
{
	struct carried *n = arg;
	char words[200];

	if (failure != NULL && failure->code == ERROR_BUSY) {
		return_entry(n, failure->text);
	} else if (failure != NULL) {
		end_entry(n, false, failure->text);
	} else {
		say_done(n, words, sizeof words);
		end_entry(n, true, answer->done[0] != '\0' ? answer->done : words);
		/* One share of several opens nothing yet. */
		if (n->action == STATEMENT_PIN_OPERATE && answer->done[0] == '\0')
			have_signed(n);
	}
	n->courier->env.taken(n->token, n->courier->env.arg);
}

/* ----------------------------------------------------------------- delivery */

/* What the entry says to us; the signer reads it again, and believes nobody. */
static bool
read_entry(struct carried *n, const struct pin_entry *entry, struct error *e)
{
	struct pin_envelope *env = malloc(sizeof *env);
	struct statement s;
	bool ok;

	if (env == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating an entry of a PIN");
	ok = statement_parse((const char *)entry->statement.p, entry->statement.len, &s, e) &&
	     pin_envelope_parse((const char *)entry->body.p, entry->body.len, env, e);
	if (ok && !statement_is_pin(s.action))
		ok = error_set(
		    e, ERROR_INPUT, "%s is no entry of a PIN", statement_action_name(s.action));
	if (ok) {
		n->action = s.action;
		n->count = env->operation_count;
		for (size_t i = 0; i < n->count; i++)
			memcpy(n->sha256[i], env->operations[i].sha256, PIN_DIGEST_LEN);
	}
	free(env);
	return ok;
}

static bool
deliver(struct carried *n, const struct pin_entry *entry, struct error *e)
{
	const struct signproto_order order = {
	    .statement = entry->statement,
	    .body = entry->body,
	    .signatures = {{.spki = entry->spki, .signature = entry->signature}},
	    .signature_count = 1,
	};
	struct signproto_pin m;
	uint64_t id;

	if (!read_entry(n, entry, e) || !kept_order_copy(&n->kept, &order, e))
		return false;
	m = (struct signproto_pin){.order = n->kept.order};
	return signer_ask_pin(n->courier->env.signers, n->token, &m, on_answer, n, &id, e);
}

static void
on_entry(const struct pin_entry *entry, const struct error *err, void *arg)
{
	struct carried *n = arg;
	struct error e = ERROR_INIT;

	if (entry == NULL) {
		if (err != NULL)
			log_failure(LOG_LEVEL_DEBUG, n->token, err);
		n->busy = false;
		return;
	}
	n->id = entry->id;
	n->action = STATEMENT_PIN_OPERATE;
	if (!deliver(n, entry, &e))
		end_entry(n, false, e.text);
}

static void
look(struct carried *n)
{
	const struct pin_courier_env *env = &n->courier->env;
	const char *instance = token_access_instance(env->access, n->token);
	struct error e = ERROR_INIT;

	if (n->busy || instance == NULL || !signer_client_is_attached(env->signers, n->token))
		return;
	if (pin_take_entry(env->db, n->token, env->config->issuer.signer_id, instance,
		token_access_is_busy(env->access, n->token), on_entry, n, &e) != NULL)
		n->busy = true;
	else
		log_failure(LOG_LEVEL_DEBUG, n->token, &e);
}

void
pin_courier_poke(struct pin_courier *c)
{
	for (size_t i = 0; i < c->count && !c->draining && db_is_up(c->env.db); i++)
		look(&c->carried[i]);
}

struct pin_courier *
pin_courier_new(const struct pin_courier_env *env, struct error *e)
{
	struct pin_courier *c = calloc(1, sizeof *c);

	if (c == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating the courier of PINs");
		return NULL;
	}
	c->env = *env;
	for (size_t i = 0; i < env->config->token_count; i++) {
		c->carried[i].courier = c;
		c->carried[i].token = env->config->tokens[i].name;
		c->count++;
	}
	return c;
}

void
pin_courier_drain(struct pin_courier *c)
{
	c->draining = true;
}

void
pin_courier_free(struct pin_courier *c)
{
	if (c == NULL)
		return;
	for (size_t i = 0; i < c->count; i++)
		kept_order_drop(&c->carried[i].kept);
	free(c);
}
