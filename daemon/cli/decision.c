#include "daemon/cli/decision.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "daemon/cli/secret.h"

#define POLL_S 20
#define PAUSE_NS 200000000

bool
decision_unlock(struct cli *cli, struct error *e)
{
	char path[OPERATOR_PATH_MAX];
	struct secret *passphrase;
	struct operator_key *key;

	if (cli->key != NULL)
		return true;
	if (!operator_key_path(cli->options, path, sizeof path, e))
		return false;
	key = calloc(1, sizeof *key);
	if (key == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating the operator's key");
	passphrase = secret_read(cli->options, "Passphrase of your operator key", e);
	if (passphrase != NULL && operator_key_load(path, passphrase, key, e)) {
		cli->key = key;
		key = NULL;
	}
	secret_free(passphrase);
	free(key);
	return cli->key != NULL;
}

void
decision_lock(struct cli *cli)
{
	if (cli->key == NULL)
		return;
	operator_key_clear(cli->key);
	free(cli->key);
	cli->key = NULL;
}

bool
decision_own_key(struct cli *cli, uint8_t *spki, size_t *spki_len, struct error *e)
{
	char path[OPERATOR_PATH_MAX], public_path[OPERATOR_PATH_MAX + 8];

	if (cli->key == NULL) {
		if (!operator_key_path(cli->options, path, sizeof path, e))
			return false;
		(void)snprintf(public_path, sizeof public_path, "%s" OPERATOR_KEY_PUBLIC, path);
		if (access(public_path, R_OK) == 0)
			return public_key_read(
				   public_path, spki, STATEMENT_SPKI_MAX, spki_len, e) &&
			       statement_check_key(spki, *spki_len, e);
	}
	if (!decision_unlock(cli, e))
		return false;
	memcpy(spki, cli->key->spki, cli->key->spki_len);
	*spki_len = cli->key->spki_len;
	return true;
}

bool
decision_put(char *to, size_t size, const char *what, const char *from, struct error *e)
{
	if (strlen(from) >= size)
		return error_set(e, ERROR_INPUT, "%s has at most %zu octets", what, size - 1);
	memcpy(to, from, strlen(from) + 1);
	return true;
}

bool
decision_put_ca(struct statement *s, const char *ca, struct error *e)
{
	return decision_put(s->ca, sizeof s->ca, "a CA's name", ca, e) &&
	       decision_put(s->object, sizeof s->object, "a CA's name", ca, e);
}

static bool
complete(struct statement *s, const char *body, int64_t life_s, struct error *e)
{
	s->issued = (int64_t)time(NULL);
	s->expires = s->issued + life_s;
	if (RAND_bytes(s->nonce, sizeof s->nonce) != 1)
		return error_set_openssl(e, ERROR_SYSTEM, "no random octets for a statement");
	s->has_body = body != NULL;
	if (body != NULL)
		SHA256((const unsigned char *)body, strlen(body), s->body_sha256);
	return true;
}

void
decision_show_text(const char *text)
{
	char line[STATEMENT_TEXT_MAX + 1];

	while (*text != '\0') {
		size_t len = strcspn(text, "\n");

		memcpy(line, text, len);
		line[len] = '\0';
		cli_note("  %s", line);
		text += len + (text[len] == '\n');
	}
}

static bool
prepare(struct statement *s, const char *body, int64_t life_s, bool is_unsigned, struct decision *d,
    struct error *e)
{
	*d = (struct decision){.body = body, .is_unsigned = is_unsigned};
	if (!complete(s, body, life_s, e) || !statement_format(s, d->text, &d->len, e))
		return false;
	cli_note(is_unsigned ? "To be handed in, unsigned:" : "To be signed:");
	decision_show_text(d->text);
	return true;
}

bool
decision_prepare(
    struct statement *s, const char *body, bool is_unsigned, struct decision *d, struct error *e)
{
	return prepare(s, body, DECISION_LIFE_S, is_unsigned, d, e);
}

bool
decision_prepare_for(
    struct statement *s, const char *body, int64_t life_s, struct decision *d, struct error *e)
{
	return prepare(s, body, life_s, false, d, e);
}

bool
decision_put_signature(
    const struct operator_key *key, const char *text, size_t len, json_t *json, struct error *e)
{
	uint8_t signature[STATEMENT_SIGNATURE_MAX];
	char base64[STATEMENT_SIGNATURE_MAX * 2];
	size_t signature_len;

	if (!statement_sign(text, len, key->key, signature, &signature_len, e))
		return false;
	EVP_EncodeBlock((unsigned char *)base64, signature, (int)signature_len);
	if (json_object_set_new(json, "signature", json_string(base64)) != 0 ||
	    json_object_set_new(json, "credential", json_string(key->sha256)) != 0)
		return error_set(e, ERROR_SYSTEM, "no memory for a decision");
	return true;
}

/* Signs with one's own key. */
static bool
put_signature(struct cli *cli, const struct decision *d, json_t *json, struct error *e)
{
	return decision_unlock(cli, e) &&
	       decision_put_signature(cli->key, d->text, d->len, json, e);
}

bool
decision_hand_in(struct cli *cli, struct decision *d, struct error *e)
{
	json_t *json = json_pack("{s:s, s:s*}", "statement", d->text, "body", d->body);
	json_t *answer = NULL;
	const char *id, *state;
	bool ok = false;

	if (json == NULL) {
		error_set(e, ERROR_INPUT, "what should be handed in is not UTF-8 text");
		goto out;
	}
	if ((!d->is_unsigned && !put_signature(cli, d, json, e)) ||
	    !http_post(cli->http, "/v1/decisions", json, &answer, e))
		goto out;
	id = cli_id(answer, e);
	state = json_string_value(json_object_get(answer, "state"));
	d->is_collecting = state != NULL && strcmp(state, "collecting") == 0;
	d->missing = (int)json_integer_value(json_object_get(answer, "missing"));
	ok = id != NULL && decision_put(d->id, sizeof d->id, "the decision's id", id, e);
out:
	json_decref(json);
	json_decref(answer);
	return ok;
}

/* One look; *done when there is an outcome. */
static bool
poll_once(struct cli *cli, const struct decision *d, const char *path, bool *done, json_t **outcome,
    struct error *e)
{
	const char *state, *statement, *sentence;
	json_t *json = NULL;
	bool ok = false;

	*done = false;
	if (!cli_get_object(cli, path, "id", d->id, &json, e))
		return false;
	state = cli_member(json, "state", e);
	statement = cli_member(json, "statement", e);
	sentence = json_string_value(json_object_get(json, "outcome"));
	if (state == NULL || statement == NULL)
		goto out;
	if (strcmp(statement, d->text) != 0) {
		error_set(e, ERROR_INTERNAL,
		    "the service shows another statement for decision %s than was handed in",
		    d->id);
		goto out;
	}
	if (strcmp(state, "refused") == 0 || strcmp(state, "expired") == 0) {
		error_set(e, ERROR_DENIED, "%s: %s", state,
		    sentence != NULL ? sentence : "no reason given");
		goto out;
	}
	/* Also when it goes on only once somebody has entered a PIN, which may be anybody. */
	*done = strcmp(state, "applied") == 0 ||
		json_is_true(json_object_get(json, "waits_for_pin"));
	if (*done)
		*outcome = json_incref(json);
	ok = true;
out:
	json_decref(json);
	return ok;
}

bool
decision_await(struct cli *cli, const struct decision *d, json_t **outcome, struct error *e)
{
	const struct timespec pause = {0, PAUSE_NS};
	time_t end = time(NULL) + DECISION_WAIT_S;
	char path[CLI_PATH_MAX], rest[32];
	bool done = false;

	(void)snprintf(rest, sizeof rest, "?wait=%d", POLL_S);
	if (!cli_path(path, "/v1/decisions/", d->id, rest, e))
		return false;
	for (;;) {
		if (!poll_once(cli, d, path, &done, outcome, e))
			return false;
		if (done)
			return true;
		if (time(NULL) >= end)
			return error_set(e, ERROR_TIMEOUT,
			    "decision %s still waits; it stays in the queue, and \"chancery "
			    "decision show %s\" shows how it stands",
			    d->id, d->id);
		/* A service that does not wait is not asked in a tight loop. */
		(void)nanosleep(&pause, NULL);
	}
}

bool
decision_order(
    struct cli *cli, struct statement *s, const char *body, bool is_unsigned, struct error *e)
{
	struct decision d;
	json_t *outcome = NULL;

	if (!decision_prepare(s, body, is_unsigned, &d, e) || !decision_hand_in(cli, &d, e) ||
	    !decision_await(cli, &d, &outcome, e))
		return false;
	decision_print(cli, outcome);
	json_decref(outcome);
	return true;
}

void
decision_print(struct cli *cli, json_t *outcome)
{
	const char *sentence = json_string_value(json_object_get(outcome, "outcome"));

	if (cli->json)
		cli_print_json(outcome);
	else
		cli_say(cli, "%s", sentence != NULL ? sentence : "done");
}
