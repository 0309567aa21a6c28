#include "daemon/cli/decision.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

#include "daemon/cli/operator_key.h"
#include "daemon/cli/secret.h"

#define POLL_S 20

bool
decision_unlock(struct cli *cli, struct error *e)
{
	char path[4096];
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
decision_put(char *to, size_t size, const char *what, const char *from, struct error *e)
{
	if (strlen(from) >= size)
		return error_set(e, ERROR_USAGE, "%s has at most %zu characters", what, size - 1);
	memcpy(to, from, strlen(from) + 1);
	return true;
}

static bool
complete(struct statement *s, const char *body, struct error *e)
{
	s->issued = (int64_t)time(NULL);
	s->expires = s->issued + DECISION_LIFE_S;
	if (RAND_bytes(s->nonce, sizeof s->nonce) != 1)
		return error_set_openssl(e, ERROR_SYSTEM, "no random octets for a statement");
	s->has_body = body != NULL;
	if (body != NULL)
		SHA256((const unsigned char *)body, strlen(body), s->body_sha256);
	return true;
}

/* The JSON that hands a statement in; signed unless unsigned_first. */
static json_t *
envelope(struct cli *cli, const char *text, size_t len, const char *body, bool unsigned_first,
    struct error *e)
{
	uint8_t signature[STATEMENT_SIGNATURE_MAX];
	char base64[STATEMENT_SIGNATURE_MAX * 2];
	size_t signature_len;
	json_t *json = json_pack("{s:s}", "statement", text);

	if (json == NULL)
		goto no_memory;
	if (body != NULL && json_object_set_new(json, "body", json_string(body)) != 0)
		goto no_memory;
	if (unsigned_first)
		return json;
	if (!decision_unlock(cli, e) ||
	    !statement_sign(text, len, cli->key->key, signature, &signature_len, e)) {
		json_decref(json);
		return NULL;
	}
	EVP_EncodeBlock((unsigned char *)base64, signature, (int)signature_len);
	if (json_object_set_new(json, "signature", json_string(base64)) == 0 &&
	    json_object_set_new(json, "credential", json_string(cli->key->sha256)) == 0)
		return json;
no_memory:
	json_decref(json);
	error_set(e, ERROR_INPUT, "what should be handed in is not UTF-8 text");
	return NULL;
}

/* Waits until the issuer has applied or refused it. */
static bool
await(struct cli *cli, const char *id, json_t **outcome, struct error *e)
{
	time_t end = time(NULL) + DECISION_WAIT_S;
	char path[256], rest[32];
	const char *state, *sentence;

	(void)snprintf(rest, sizeof rest, "?wait=%d", POLL_S);
	if (!cli_path(path, sizeof path, "/v1/decisions/", id, rest, e))
		return false;
	for (;;) {
		json_t *decision = NULL;

		if (!http_get(cli->http, path, &decision, e))
			return false;
		state = json_string_value(json_object_get(decision, "state"));
		sentence = json_string_value(json_object_get(decision, "outcome"));
		if (state != NULL && strcmp(state, "applied") == 0) {
			*outcome = decision;
			return true;
		}
		if (state != NULL && strcmp(state, "refused") == 0)
			error_set(e, ERROR_DENIED, "refused: %s",
			    sentence != NULL ? sentence : "no reason given");
		else if (time(NULL) >= end)
			error_set(e, ERROR_TIMEOUT,
			    "decision %s still waits%s%s; it stays in the queue, see \"chancery "
			    "status\"",
			    id, sentence != NULL ? ": " : "", sentence != NULL ? sentence : "");
		json_decref(decision);
		if (error_is_set(e))
			return false;
	}
}

static void
show(const char *text)
{
	char line[TABLE_CELL_MAX];

	/* Line by line, as it is signed, but harmless for the terminal. */
	while (*text != '\0') {
		size_t len = strcspn(text, "\n");
		char one[STATEMENT_TEXT_MAX + 1];

		memcpy(one, text, len);
		one[len] = '\0';
		table_escape(one, line, sizeof line);
		(void)fprintf(stderr, "  %s\n", line);
		text += len + (text[len] == '\n');
	}
}

bool
decision_order(struct cli *cli, struct statement *s, const char *body, bool unsigned_first,
    json_t **outcome, struct error *e)
{
	char text[STATEMENT_TEXT_MAX + 1];
	json_t *json = NULL, *answer = NULL, *end = NULL;
	const char *id;
	size_t len;
	bool ok = false;

	if (!complete(s, body, e) || !statement_format(s, text, &len, e))
		return false;
	if (!cli->json) {
		(void)fprintf(stderr, unsigned_first ? "Handing in, unsigned:\n" : "Signing:\n");
		show(text);
	}
	json = envelope(cli, text, len, body, unsigned_first, e);
	if (json == NULL || !http_post(cli->http, "/v1/decisions", json, &answer, e))
		goto out;
	id = json_string_value(json_object_get(answer, "id"));
	if (id == NULL) {
		error_set(e, ERROR_INTERNAL, "the service gave the decision no id");
		goto out;
	}
	ok = await(cli, id, &end, e);
	if (ok && outcome != NULL) {
		*outcome = end;
		end = NULL;
	}
out:
	json_decref(json);
	json_decref(answer);
	json_decref(end);
	return ok;
}

void
decision_print(struct cli *cli, json_t *outcome)
{
	const char *sentence = json_string_value(json_object_get(outcome, "outcome"));
	char text[TABLE_CELL_MAX];

	if (cli->json) {
		cli_print_json(outcome);
	} else {
		table_escape(sentence != NULL ? sentence : "done", text, sizeof text);
		(void)printf("%s\n", text);
	}
}
