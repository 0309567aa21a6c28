#include "daemon/issuer/token_access.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/encode.h"
#include "daemon/core/monotonic.h"
#include "daemon/x509/pin_envelope.h"
#include "daemon/x509/signer_start.h"

/* The signer forgets a PIN after so long at the latest. */
#define LISTED_S 60

struct token {
	const char *name; /* of the configuration */
	const struct config_token *config;
	enum signproto_access access;
	char serial[SIGNPROTO_NAME_SIZE], model[SIGNPROTO_NAME_SIZE]; /* "": not known */
	bool locked, away, busy;
	char words[ERROR_TEXT_MAX]; /* why */
	char instance[TOKEN_INSTANCE_SIZE];
	uint8_t listed[PIN_ENVELOPE_OPERATIONS_MAX][PIN_DIGEST_LEN];
	size_t listed_count;
	int64_t listed_until; /* monotonic_s() */
};

struct token_access {
	struct token tokens[CONFIG_TOKENS_MAX];
	size_t count;
};

struct token_access *
token_access_new(const struct config *config, struct error *e)
{
	struct token_access *a = calloc(1, sizeof *a);

	if (a == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating what is known of the tokens");
		return NULL;
	}
	for (size_t i = 0; i < config->token_count; i++)
		a->tokens[a->count++] = (struct token){
		    .name = config->tokens[i].name, .config = &config->tokens[i]};
	return a;
}

void
token_access_free(struct token_access *a)
{
	free(a);
}

static struct token *
find(const struct token_access *a, const char *name)
{
	for (size_t i = 0; i < a->count; i++) {
		if (strcmp(a->tokens[i].name, name) == 0)
			return (struct token *)&a->tokens[i];
	}
	return NULL;
}

/* The announcement says which start it is of; one that cannot be read names none. */
static void
read_instance(struct token *t, const char *start)
{
	struct error e = ERROR_INIT;
	struct signer_start s;

	t->instance[0] = '\0';
	if (start[0] != '\0' && signer_start_parse(start, strlen(start), &s, &e))
		hex_encode(s.instance, sizeof s.instance, t->instance);
}

static bool
waits_for_people(enum signproto_state state)
{
	return state == SIGNPROTO_LOCKED || state == SIGNPROTO_AT_DEVICE ||
	       state == SIGNPROTO_BLOCKED;
}

/* What the signer says, and whom to look for while it waits for people. */
static void
take_words(struct token *t, const struct signproto_status_ok *status)
{
	size_t at = (size_t)snprintf(t->words, sizeof t->words, "%s", status->state_text);

	if (!waits_for_people(status->state) || t->config == NULL)
		return;
	for (size_t i = 0; i < t->config->pin_operator_count && at < sizeof t->words; i++)
		at += (size_t)snprintf(t->words + at, sizeof t->words - at, "%s%s",
		    i == 0 ? "; who can: " : ", ", t->config->pin_operators[i].name);
}

bool
token_access_is_busy(const struct token_access *a, const char *token)
{
	const struct token *t = find(a, token);

	return t != NULL && t->busy;
}

void
token_access_note_busy(struct token_access *a, const char *token)
{
	struct token *t = find(a, token);

	if (t != NULL)
		t->busy = true;
}

bool
token_access_note(
    struct token_access *a, const char *token, const struct signproto_status_ok *status)
{
	struct token *t = find(a, token);
	bool waited;

	if (t == NULL)
		return false;
	waited = t->locked || t->away;
	t->access = status->access;
	if (status->serial[0] != '\0') {
		memcpy(t->serial, status->serial, sizeof t->serial);
		memcpy(t->model, status->model, sizeof t->model);
	}
	t->locked = status->access == SIGNPROTO_ACCESS_SESSION && waits_for_people(status->state);
	t->away = status->state != SIGNPROTO_READY && !waits_for_people(status->state);
	t->busy = status->access == SIGNPROTO_ACCESS_OPERATION && status->signatures_left > 0;
	take_words(t, status);
	read_instance(t, status->start);
	return waited && !t->locked && !t->away;
}

void
token_access_forget(struct token_access *a, const char *token)
{
	struct token *t = find(a, token);
	struct token fresh;

	if (t == NULL)
		return;
	fresh = (struct token){.name = t->name, .config = t->config, .access = t->access};
	memcpy(fresh.serial, t->serial, sizeof fresh.serial);
	memcpy(fresh.model, t->model, sizeof fresh.model);
	*t = fresh;
}

bool
token_access_check_mixed(const struct token_access *a, const char *token, struct error *e)
{
	const struct token *t = find(a, token);

	for (size_t i = 0; t != NULL && t->serial[0] != '\0' && i < a->count; i++) {
		const struct token *o = &a->tokens[i];

		if (o != t && o->access != t->access && strcmp(o->serial, t->serial) == 0 &&
		    strcmp(o->model, t->model) == 0)
			return error_set(e, ERROR_CONFLICT,
			    "the tokens %s (access: %s) and %s (access: %s) of the configuration "
			    "are one and the same, serial %s: all CAs on it share one way of "
			    "access",
			    t->name, signer_access_name((enum signer_access)t->access), o->name,
			    signer_access_name((enum signer_access)o->access), t->serial);
	}
	return true;
}

bool
token_access_by_operation(const struct token_access *a, const char *token)
{
	const struct token *t = find(a, token);

	return t != NULL && t->access == SIGNPROTO_ACCESS_OPERATION;
}

bool
token_access_is_locked(const struct token_access *a, const char *token, struct error *e)
{
	const struct token *t = find(a, token);

	if (t == NULL || !t->locked)
		return false;
	error_set(e, ERROR_LOCKED, "token %s: %s", token, t->words);
	return true;
}

bool
token_access_is_away(const struct token_access *a, const char *token, struct error *e)
{
	const struct token *t = find(a, token);

	if (t == NULL || !t->away)
		return false;
	error_set(e, ERROR_UNAVAILABLE, "token %s: %s", token, t->words);
	return true;
}

const char *
token_access_words(const struct token_access *a, const char *token)
{
	const struct token *t = find(a, token);

	return t != NULL ? t->words : "";
}

void
token_access_note_locked(struct token_access *a, const char *token, const struct error *why)
{
	struct token *t = find(a, token);

	if (t == NULL || t->access != SIGNPROTO_ACCESS_SESSION || t->locked)
		return;
	t->locked = true;
	memcpy(t->words, why->text, sizeof t->words);
}

const char *
token_access_instance(const struct token_access *a, const char *token)
{
	const struct token *t = find(a, token);

	return t != NULL && t->instance[0] != '\0' ? t->instance : NULL;
}

void
token_access_list(struct token_access *a, const char *token, const struct pin_digests *digests)
{
	struct token *t = find(a, token);

	if (t == NULL || digests->count > PIN_ENVELOPE_OPERATIONS_MAX)
		return;
	t->listed_count = digests->count;
	memcpy(t->listed, digests->sha256, digests->count * PIN_DIGEST_LEN);
	t->listed_until = monotonic_s() + LISTED_S;
}

bool
token_access_take(struct token_access *a, const char *token, const uint8_t sha256[PIN_DIGEST_LEN])
{
	struct token *t = find(a, token);

	if (t == NULL || t->access != SIGNPROTO_ACCESS_OPERATION)
		return true;
	if (monotonic_s() > t->listed_until)
		return false;
	for (size_t i = 0; i < t->listed_count; i++) {
		if (memcmp(t->listed[i], sha256, PIN_DIGEST_LEN) != 0)
			continue;
		t->listed_count--;
		memcpy(t->listed[i], t->listed[t->listed_count], PIN_DIGEST_LEN);
		return true;
	}
	return false;
}
