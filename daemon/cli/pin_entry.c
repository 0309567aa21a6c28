#include "daemon/cli/pin_entry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "daemon/cli/decision.h"
#include "daemon/cli/output.h"
#include "daemon/cli/pinned.h"
#include "daemon/core/encode.h"
#include "daemon/x509/pin_share.h"

#define PAUSE_NS 200000000
#define QUEUED_NEWS_S 2 /* then it is not just on its way */

/* -------------------------------------------------------------------- signer */

static bool
decode(const char *text, uint8_t *out, size_t size, size_t *len, struct error *e)
{
	return text != NULL && base64_decode((struct bytes){(const uint8_t *)text, strlen(text)},
				   false, out, size, len, e);
}

/* The announcement is believed because of the pinned key alone. */
static bool
verify(const struct options *options, json_t *row, const char *token, struct pin_signer *s,
    struct error *e)
{
	const char *text = json_string_value(json_object_get(row, "start"));
	uint8_t spki[SIGNER_IDENTITY_SPKI_LEN], signature[SIGNER_START_SIGNATURE_LEN], shown[32];
	unsigned signer_id = (unsigned)json_integer_value(json_object_get(row, "signer_id"));
	size_t spki_len, signature_len;

	if (!pinned_find(options, token, signer_id, s->fingerprint, e))
		return false;
	if (text == NULL ||
	    !decode(json_string_value(json_object_get(row, "identity")), spki, sizeof spki,
		&spki_len, e) ||
	    !decode(json_string_value(json_object_get(row, "start_signature")), signature,
		sizeof signature, &signature_len, e))
		return error_set(
		    e, ERROR_INTERNAL, "the service does not show how the signer announced itself");
	signer_identity_fingerprint(spki, spki_len, shown);
	if (memcmp(shown, s->fingerprint, sizeof shown) != 0)
		return error_set(e, ERROR_DENIED,
		    "the signer that the service shows for token %s is not the one that you "
		    "pinned: "
		    "send it no PIN. If it was installed anew, read its fingerprint at its console "
		    "and pin that",
		    token);
	if (!signer_start_verify(text, strlen(text), signature, signature_len, spki, spki_len, e))
		return error_wrap(e,
		    "what the service shows as the announcement of token %s's "
		    "signer",
		    token);
	memcpy(s->identity, spki, sizeof s->identity);
	if (!signer_start_parse(text, strlen(text), &s->start, e))
		return false;
	return (strcmp(s->start.token, token) == 0 && s->start.signer_id == signer_id) ||
	       error_set(e, ERROR_DENIED,
		   "the announcement that the service shows for token %s is of token %s and signer "
		   "%u",
		   token, s->start.token, (unsigned)s->start.signer_id);
}

static void
copy_text(json_t *row, const char *key, char *out, size_t size)
{
	table_escape(cli_text(row, key), out, size);
}

/* Whether this row is the one that is meant. */
static bool
is_meant(json_t *row, const char *token, unsigned signer_id)
{
	const char *name = json_string_value(json_object_get(row, "token"));

	return name != NULL && strcmp(name, token) == 0 &&
	       (signer_id == 0 ||
		   json_integer_value(json_object_get(row, "signer_id")) == (json_int_t)signer_id);
}

static bool
refuse_unknown(const char *token, struct error *e)
{
	return error_set(e, ERROR_NOT_FOUND, "the service knows no such token: %s", token);
}

/* NULL with an error. */
static json_t *
choose(json_t *answer, const char *token, unsigned signer_id, struct error *e)
{
	json_t *row, *chosen = NULL;
	bool known = false;
	size_t i;

	json_array_foreach(json_object_get(answer, "tokens"), i, row)
	{
		if (!is_meant(row, token, signer_id))
			continue;
		known = true;
		if (!json_is_string(json_object_get(row, "start")))
			continue;
		if (chosen != NULL) {
			error_set(e, ERROR_USAGE,
			    "several signers have token %s: say which with --signer N (chancery "
			    "token list)",
			    token);
			return NULL;
		}
		chosen = row;
	}
	if (chosen == NULL && known)
		error_set(e, ERROR_CONFLICT,
		    "token %s takes no PIN from people, or its signer is not running (chancery "
		    "token "
		    "list)",
		    token);
	else if (chosen == NULL)
		(void)refuse_unknown(token, e);
	return chosen;
}

bool
pin_check_token(struct cli *cli, struct error *e)
{
	const char *token = cli->options->value[OPTION_TOKEN];
	json_t *answer = NULL, *row;
	bool known = false;
	size_t i;

	if (token == NULL)
		return true;
	if (!http_get(cli->http, "/v1/tokens", &answer, e))
		return false;
	json_array_foreach(json_object_get(answer, "tokens"), i, row)
	{
		known = known || is_meant(row, token, 0);
	}
	json_decref(answer);
	return known || refuse_unknown(token, e);
}

static bool
copy_shares(json_t *row, struct pin_signer *signer, struct error *e)
{
	const char *text = json_string_value(json_object_get(row, "pin_shares"));

	return text == NULL ||
	       decode(text, (uint8_t *)signer->shares, sizeof signer->shares, &signer->shares_len,
		   e) ||
	       error_wrap(
		   e, "the shares that the service shows of token %s's PIN", signer->start.token);
}

bool
pin_signer_find(struct cli *cli, const char *token, unsigned signer_id, struct pin_signer *signer,
    struct error *e)
{
	json_t *answer = NULL, *row;
	bool ok = false;

	*signer = (struct pin_signer){0};
	if (!http_get(cli->http, "/v1/tokens", &answer, e))
		return false;
	row = choose(answer, token, signer_id, e);
	if (row != NULL && verify(cli->options, row, token, signer, e)) {
		copy_text(row, "state", signer->state, sizeof signer->state);
		copy_text(row, "sentence", signer->sentence, sizeof signer->sentence);
		ok = copy_shares(row, signer, e);
	}
	json_decref(answer);
	return ok;
}

bool
pin_signer_usable(const struct pin_signer *signer, struct error *e)
{
	if (strcmp(signer->state, "blocked") != 0)
		return true;
	return error_set(e, ERROR_CONFLICT,
	    "token %s takes no PIN now: %s; \"chancery token clear %s\" lifts that",
	    signer->start.token, signer->sentence, signer->start.token);
}

/* --------------------------------------------------------------------- entry */

static bool
carries_pin(enum statement_action action)
{
	return action != STATEMENT_PIN_LOCK && action != STATEMENT_PIN_CLEAR;
}

/* Decrypts one's own share, and says in the envelope which one it is. */
static bool
open_share(struct cli *cli, struct bytes text, const struct pin_signer *signer,
    struct pin_envelope *env, uint8_t share[PIN_SHARE_MAX_LEN], size_t *len, struct error *e)
{
	struct pin_shares *s = malloc(sizeof *s);
	unsigned number;
	bool ok = false;

	if (s == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating the shares of a PIN");
	if (!pin_shares_parse((const char *)text.p, text.len, s, e))
		goto out;
	number = pin_shares_find(s, env->operator_key);
	if (strcmp(s->token, signer->start.token) != 0)
		(void)error_set(e, ERROR_INPUT, "these shares are about token %s, not %s", s->token,
		    signer->start.token);
	else if (number == 0)
		(void)error_set(e, ERROR_DENIED,
		    "the PIN of token %s is split, and none of the shares is for your operator's "
		    "key",
		    s->token);
	else
		ok = pin_share_open(s, number, cli->key->key, share, e);
	if (ok)
		cli_note(
		    "The PIN of token %s is split among %zu: your share goes along, and %u are "
		    "needed.",
		    s->token, s->count, s->need);
	env->share = (uint8_t)number;
	memcpy(env->split, s->split, sizeof env->split);
	*len = s->length;
out:
	free(s);
	return ok;
}

/* file: NULL takes what the service shows. */
static bool
seal_share(struct cli *cli, const char *file, const struct statement *s,
    const struct pin_signer *signer, struct pin_envelope *env, struct error *e)
{
	struct bytes shares = {(const uint8_t *)signer->shares, signer->shares_len};
	uint8_t share[PIN_SHARE_MAX_LEN] = {0};
	char *text = NULL;
	size_t len = 0;
	bool ok;

	if (file != NULL) {
		if (!output_read_file(file, PIN_SHARES_TEXT_MAX, &text, &shares.len, e))
			return error_wrap(e, "--share");
		shares.p = (const uint8_t *)text;
	}
	ok = open_share(cli, shares, signer, env, share, &len, e) &&
	     pin_envelope_seal(env, s->nonce, signer->start.key, (struct bytes){share, len}, e);
	OPENSSL_cleanse(share, sizeof share);
	free(text);
	return ok;
}

/* Sealed as the last thing before it is signed. */
static bool
seal(struct cli *cli, const struct statement *s, const struct pin_signer *signer,
    struct pin_envelope *env, struct error *e)
{
	const char *share = cli->options->value[OPTION_SHARE];
	bool whole = cli->options->value[OPTION_WHOLE_PIN] != NULL ||
		     cli->options->value[OPTION_AT_DEVICE] != NULL;
	struct secret *pin = NULL;
	char words[STATEMENT_NAME_MAX + 32];
	bool ok;

	if (!carries_pin(s->action))
		return true;
	if (share != NULL || (signer->shares_len > 0 && !whole))
		return seal_share(cli, share, s, signer, env, e);
	(void)snprintf(words, sizeof words, "PIN of token %s", env->token);
	if (cli->options->value[OPTION_AT_DEVICE] == NULL) {
		pin = secret_read_pin(cli->options, words, e);
		if (pin == NULL)
			return false;
	}
	ok = pin_envelope_seal(env, s->nonce, signer->start.key,
	    pin != NULL ? (struct bytes){(const uint8_t *)pin->text, pin->len}
			: (struct bytes){(const uint8_t *)"", 0},
	    e);
	secret_free(pin);
	return ok;
}

static bool
begin(struct cli *cli, struct statement *s, const struct pin_signer *signer,
    struct pin_envelope *env, struct error *e)
{
	if (RAND_bytes(s->nonce, sizeof s->nonce) != 1)
		return error_set_openssl(e, ERROR_SYSTEM, "no random octets for a statement");
	memcpy(env->token, signer->start.token, sizeof env->token);
	memcpy(env->signer, signer->fingerprint, sizeof env->signer);
	memcpy(env->instance, signer->start.instance, sizeof env->instance);
	pin_envelope_sort(env);
	/* The passphrase first: for the PIN somebody may have to fetch somebody else. */
	if (!decision_put(s->object, sizeof s->object, "a token's name", env->token, e) ||
	    !decision_unlock(cli, e))
		return false;
	SHA256(cli->key->spki, cli->key->spki_len, env->operator_key);
	return seal(cli, s, signer, env, e);
}

/* The signed entry as JSON; NULL with an error. */
static json_t *
sign(struct cli *cli, struct statement *s, const struct pin_envelope *env, struct error *e)
{
	char *body = malloc(PIN_ENVELOPE_TEXT_MAX + 1), text[STATEMENT_TEXT_MAX + 1];
	char base64[STATEMENT_SIGNATURE_MAX * 2], spki[STATEMENT_SPKI_MAX * 2];
	uint8_t signature[STATEMENT_SIGNATURE_MAX];
	size_t body_len, len, signature_len;
	json_t *json = NULL;

	if (body == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating an entry of a PIN");
		return NULL;
	}
	if (pin_envelope_format(env, body, &body_len, e)) {
		s->issued = (int64_t)time(NULL); /* typing took its time */
		s->expires = s->issued + STATEMENT_LIFE_PIN_S;
		s->has_body = true;
		SHA256((const uint8_t *)body, body_len, s->body_sha256);
		if (statement_format(s, text, &len, e) &&
		    statement_sign(text, len, cli->key->key, signature, &signature_len, e)) {
			EVP_EncodeBlock((unsigned char *)base64, signature, (int)signature_len);
			EVP_EncodeBlock(
			    (unsigned char *)spki, cli->key->spki, (int)cli->key->spki_len);
			json = json_pack("{s:s, s:s, s:s, s:s}", "statement", text, "body", body,
			    "signature", base64, "spki", spki);
			if (json == NULL)
				error_set(e, ERROR_SYSTEM, "no memory for an entry of a PIN");
		}
	}
	free(body);
	return json;
}

enum entry_state { ENTRY_QUEUED, ENTRY_DELIVERED, ENTRY_DONE };

/* One look at the entry; a refusal is an error. */
static bool
look(struct cli *cli, const char *path, json_t **answer, enum entry_state *now, struct error *e)
{
	const char *state, *outcome;

	json_decref(*answer);
	*answer = NULL;
	if (!http_get(cli->http, path, answer, e))
		return false;
	state = cli_member(*answer, "state", e);
	if (state == NULL)
		return false;
	outcome = json_string_value(json_object_get(*answer, "outcome"));
	if (strcmp(state, "refused") == 0)
		return error_set(
		    e, ERROR_DENIED, "refused: %s", outcome != NULL ? outcome : "no reason given");
	*now = strcmp(state, "done") == 0     ? ENTRY_DONE
	       : strcmp(state, "queued") == 0 ? ENTRY_QUEUED
					      : ENTRY_DELIVERED;
	return true;
}

/* Others were first: it has its turn while it is valid. */
static void
say_queued(json_t *answer)
{
	json_int_t ahead = json_integer_value(json_object_get(answer, "ahead"));

	if (ahead > 0)
		cli_note(
		    "Your entry waits for its turn: %" JSON_INTEGER_FORMAT " before it.", ahead);
	else
		cli_note("Your entry waits until the one that the signer has is through.");
}

static bool
await(struct cli *cli, const char *id, struct error *e)
{
	const struct timespec pause = {0, PAUSE_NS};
	time_t begun = time(NULL), end = begun + PIN_ENTRY_WAIT_S;
	enum entry_state now = ENTRY_QUEUED;
	json_t *answer = NULL;
	char path[CLI_PATH_MAX];
	bool told = false, ok;

	ok = cli_path(path, "/v1/pin/entries/", id, "", e);
	while (ok && now != ENTRY_DONE) {
		ok = look(cli, path, &answer, &now, e);
		if (!ok || now == ENTRY_DONE)
			break;
		if (now == ENTRY_QUEUED && !told && time(NULL) >= begun + QUEUED_NEWS_S) {
			say_queued(answer);
			told = true;
			end = begun + STATEMENT_LIFE_PIN_S + PIN_ENTRY_WAIT_S;
		}
		if (time(NULL) >= end)
			ok = error_set(e, ERROR_TIMEOUT,
			    "the signer has not said yet what becomes of entry %s", id);
		else
			(void)nanosleep(&pause, NULL);
	}
	if (ok && cli->json) {
		cli_print_json(answer);
	} else if (ok) {
		char words[ERROR_TEXT_MAX];

		copy_text(answer, "outcome", words, sizeof words);
		cli_say(cli, "%s", words);
	}
	json_decref(answer);
	return ok;
}

bool
pin_entry_send(struct cli *cli, enum statement_action action, const struct pin_signer *signer,
    struct pin_envelope *env, struct error *e)
{
	struct statement s = {.action = action};
	json_t *json = NULL, *answer = NULL;
	char path[CLI_PATH_MAX];
	const char *id;
	bool ok = false;

	if (!cli_path(path, "/v1/tokens/", signer->start.token, "/pin", e) ||
	    !begin(cli, &s, signer, env, e))
		return false;
	json = sign(cli, &s, env, e);
	if (json != NULL && http_post(cli->http, path, json, &answer, e)) {
		id = cli_id(answer, e);
		ok = id != NULL && await(cli, id, e);
	}
	json_decref(json);
	json_decref(answer);
	return ok;
}
