#include "daemon/cli/limits_draft_int.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/rand.h>

#include "daemon/cli/decision.h"
#include "daemon/cli/operator_key.h"
#include "daemon/cli/output.h"
#include "daemon/cli/people.h"
#include "daemon/core/encode.h"
#include "daemon/x509/limits_policy.h"
#include "daemon/x509/template.h"

/* How long to wait for an issuer to say which signer it has: it does so when it
 * starts, and then every few seconds. */
#define SIGNER_WAIT_S 10
#define SIGNER_PAUSE_NS 200000000

/* ----------------------------------------------------------------- signers */

static bool
add_signer(struct limits *l, json_int_t id, struct error *e)
{
	if (id < 1 || id > UINT16_MAX)
		return error_set(
		    e, ERROR_INTERNAL, "the service names a signer %lld", (long long)id);
	if (limits_allows_signer(l, (uint16_t)id))
		return true;
	if (l->signer_count == LIMITS_SIGNER_MAX)
		return error_set(e, ERROR_LIMIT,
		    "more than %d signers report token %s: name those that may use the key in the "
		    "policy's 'limits.signer_ids'",
		    LIMITS_SIGNER_MAX, l->token);
	l->signer_ids[l->signer_count++] = (uint16_t)id;
	return true;
}

static bool
ask_signers(struct cli *cli, struct limits *l, struct error *e)
{
	json_t *answer = NULL, *one;
	bool ok = true;
	size_t i;

	if (!http_get(cli->http, "/v1/tokens", &answer, e))
		return false;
	json_array_foreach(json_object_get(answer, "tokens"), i, one)
	{
		const char *token = json_string_value(json_object_get(one, "token"));

		if (token != NULL && strcmp(token, l->token) == 0)
			ok = ok && add_signer(
				       l, json_integer_value(json_object_get(one, "signer_id")), e);
	}
	json_decref(answer);
	return ok;
}

/* Which signers may use the key, unless the policy says it: those that have its
 * token. */
bool
limits_find_signers(struct cli *cli, struct limits *l, struct error *e)
{
	const struct timespec pause = {0, SIGNER_PAUSE_NS};
	time_t end = time(NULL) + SIGNER_WAIT_S;

	while (l->signer_count == 0) {
		if (!ask_signers(cli, l, e))
			return false;
		if (l->signer_count > 0)
			break;
		if (time(NULL) >= end)
			return error_set(e, ERROR_NOT_FOUND,
			    "no issuer reports a token \"%s\" (see \"chancery token status\"); "
			    "start "
			    "one that has it, or name signers in the policy's 'limits.signer_ids'",
			    l->token);
		(void)nanosleep(&pause, NULL);
	}
	return true;
}

/* --------------------------------------------------------------- operators */

static bool
add_operator(struct limits *l, const char *person, unsigned rights, const uint8_t *spki,
    size_t spki_len, struct error *e)
{
	struct limits_operator *o;

	for (size_t i = 0; i < l->operator_count; i++) {
		o = &l->operators[i];
		if (!bytes_equal(
			(struct bytes){spki, spki_len}, (struct bytes){o->spki, o->spki_len}))
			continue;
		if (strcmp(o->person, person) != 0)
			return error_set(e, ERROR_INPUT, "%s and %s have one and the same key",
			    person, o->person);
		o->rights |= rights;
		return true;
	}
	if (l->operator_count == LIMITS_OPERATOR_MAX)
		return error_set(e, ERROR_LIMIT,
		    "limits name at most %d operators' keys: say in the policy's "
		    "'limits.operators' whose",
		    LIMITS_OPERATOR_MAX);
	o = &l->operators[l->operator_count];
	*o = (struct limits_operator){.rights = rights, .spki_len = spki_len};
	if (!decision_put(o->person, sizeof o->person, "a person's name", person, e))
		return false;
	memcpy(o->spki, spki, spki_len);
	l->operator_count++;
	return true;
}

/* The file of --limits-operator for that person, or NULL. */
static const char *
key_file_of(const struct options *o, const char *person)
{
	size_t len = strlen(person), at = 0;
	const char *value;

	while ((value = option_next(o, OPTION_LIMITS_OPERATOR, &at)) != NULL) {
		if (strncmp(value, person, len) == 0 && value[len] == '=')
			return value + len + 1;
	}
	return NULL;
}

bool
limits_add_person(struct cli *cli, const struct people *people, struct limits *l,
    const char *person, unsigned rights, struct error *e)
{
	const char *file = key_file_of(cli->options, person);
	const struct person_key *known;
	uint8_t spki[STATEMENT_SPKI_MAX];
	size_t len;

	if (file != NULL) {
		if (!public_key_read(file, spki, sizeof spki, &len, e))
			return false;
		if (!statement_check_key(spki, len, e))
			return error_wrap(e, "%s", file);
		known = people_find_key(people, (struct bytes){spki, len});
		if (known == NULL)
			cli_note(
			    "The key in %s is not registered; %s can sign nothing before it is.",
			    file, person);
		else if (strcmp(known->person, person) != 0)
			cli_note("The key in %s is registered as that of %s, and not of %s: its "
				 "signatures will not count.",
			    file, known->person, person);
		return add_operator(l, person, rights, spki, len, e);
	}
	if (!people_has(people, person))
		return error_set(e, ERROR_NOT_FOUND,
		    "%s is to be named in the limits, but has no registered operator's key: "
		    "register one (\"chancery operator add %s --role manager --key FILE.pub\"), or "
		    "give it with --limits-operator %s=FILE.pub",
		    person, person, person);
	for (size_t i = 0; i < people->count; i++) {
		const struct person_key *k = &people->keys[i];

		if (strcmp(k->person, person) == 0 &&
		    !add_operator(l, person, rights, k->spki, k->spki_len, e))
			return false;
	}
	return true;
}

/* Whom nobody named: the one who works here, and all managers. */
static bool
add_usual(struct cli *cli, const struct people *people, const struct person_key *me,
    struct limits *l, struct error *e)
{
	size_t at = 0;
	const char *value;

	if (!add_operator(l, me->person, LIMITS_RIGHT_LIMITS | LIMITS_RIGHT_DECIDE, me->spki,
		me->spki_len, e))
		return false;
	for (size_t i = 0; i < people->count; i++) {
		const struct person_key *k = &people->keys[i];

		if (k->manager &&
		    !add_operator(l, k->person, LIMITS_RIGHT_DECIDE, k->spki, k->spki_len, e))
			return false;
	}
	while ((value = option_next(cli->options, OPTION_LIMITS_OPERATOR, &at)) != NULL) {
		char person[STATEMENT_NAME_MAX + 1] = "";
		size_t len = strcspn(value, "=");

		if (value[len] == '\0' || len >= sizeof person)
			return error_set(e, ERROR_USAGE, "--limits-operator is PERSON=FILE");
		memcpy(person, value, len);
		if (!limits_add_person(
			cli, people, l, person, LIMITS_RIGHT_LIMITS | LIMITS_RIGHT_DECIDE, e))
			return false;
	}
	return true;
}

/* Who has the right to sign the next change: "bob, carol". */
static void
list_rightful(const struct limits *l, char *out, size_t size)
{
	const char *last = "";
	size_t at = 0;

	out[0] = '\0';
	for (size_t i = 0; i < l->operator_count && at < size; i++) {
		const struct limits_operator *o = &l->operators[i];

		if ((o->rights & LIMITS_RIGHT_LIMITS) == 0 || strcmp(o->person, last) == 0)
			continue;
		last = o->person;
		at += (size_t)snprintf(out + at, size - at, "%s%s", at > 0 ? ", " : "", o->person);
	}
}

bool
limits_check_signer(const struct limits *l, struct bytes spki, struct error *e)
{
	const struct limits_operator *o = limits_find_operator(l, spki);
	char people[400];

	if (o != NULL && (o->rights & LIMITS_RIGHT_LIMITS) != 0)
		return true;
	list_rightful(l, people, sizeof people);
	return error_set(e, ERROR_DENIED,
	    "the limits of CA %s do not name your key with the right \"limits\", so that your "
	    "signature would not count; those who may sign: %s",
	    l->ca, people);
}

bool
limits_find_operators(
    struct cli *cli, const struct capolicy *policy, struct limits *l, struct error *e)
{
	uint8_t spki[STATEMENT_SPKI_MAX];
	const struct person_key *me;
	struct people people;
	size_t len;
	bool ok = true;

	if (!decision_own_key(cli, spki, &len, e) || !people_load(cli, &people, e))
		return false;
	me = people_find_key(&people, (struct bytes){spki, len});
	if (me == NULL)
		ok = error_set(e, ERROR_DENIED,
		    "your operator's key is not registered; an administrator registers its public "
		    "key with \"chancery operator add\"");
	else if (policy->limits.operator_count == 0)
		ok = add_usual(cli, &people, me, l, e);
	for (size_t i = 0; ok && i < policy->limits.operator_count; i++) {
		const struct capolicy_operator *o = &policy->limits.operators[i];

		ok = limits_add_person(cli, &people, l, o->person, o->rights, e);
	}
	people_free(&people);
	return ok;
}

/* --------------------------------------------------------------- templates */

bool
limits_ask_template(
    struct cli *cli, const char *name, struct limits_template *out, bool *found, struct error *e)
{
	struct template *t = NULL;
	json_t *answer = NULL;
	char path[CLI_PATH_MAX];
	const char *body;
	bool ok = false;

	*found = false;
	if (!cli_path(path, "/v1/templates/", name, "", e))
		return false;
	if (!cli_get_object(cli, path, "name", name, &answer, e)) {
		if (e->code != ERROR_NOT_FOUND)
			return false;
		error_clear(e);
		return true;
	}
	body = cli_member(answer, "body", e);
	if (body == NULL || !template_parse(body, strlen(body), name, &t, e))
		goto out;
	if (strcmp(template_name(t), name) != 0) {
		error_set(e, ERROR_INTERNAL, "the service shows template %s for %s",
		    template_name(t), name);
		goto out;
	}
	*found = ok = limits_template_from(t, out, e);
out:
	template_free(t);
	json_decref(answer);
	return ok;
}

bool
limits_put_template(struct limits *l, const struct limits_template *t, struct error *e)
{
	for (size_t i = 0; i < l->template_count; i++) {
		if (strcmp(l->templates[i].name, t->name) == 0) {
			l->templates[i] = *t;
			return true;
		}
	}
	if (l->template_count == LIMITS_TEMPLATE_MAX)
		return error_set(
		    e, ERROR_LIMIT, "limits name at most %d templates", LIMITS_TEMPLATE_MAX);
	l->templates[l->template_count++] = *t;
	return true;
}

bool
limits_find_templates(
    struct cli *cli, const struct capolicy *policy, struct limits *l, struct error *e)
{
	struct limits_template t;
	bool found;

	for (size_t i = 0; i < policy->template_count; i++) {
		const char *name = policy->templates[i];

		if (!limits_ask_template(cli, name, &t, &found, e))
			return false;
		if (!found)
			cli_note(
			    "Template %s is not applied yet, so these limits do not know it: "
			    "after it is applied, \"chancery ca limits change %s --template %s\" "
			    "makes them know it.",
			    name, l->ca, name);
		else if (!limits_put_template(l, &t, e))
			return false;
	}
	return true;
}

/* ---------------------------------------------------------------- the draft */

bool
limits_draft_finish(struct limits_draft *d, const char *policy_text, struct error *e)
{
	uint8_t digest[32];

	if (RAND_bytes(d->limits.nonce, sizeof d->limits.nonce) != 1)
		return error_set_openssl(e, ERROR_SYSTEM, "no random octets for limits");
	limits_sort(&d->limits);
	if (!limits_format(&d->limits, d->text, &d->len, e))
		return false;
	limits_sha256(d->text, d->len, digest);
	hex_encode(digest, sizeof digest, d->sha256);
	if (asprintf(&d->body, "%s---\n%s", d->text, policy_text) < 0) {
		d->body = NULL;
		return error_set_errno(e, ERROR_SYSTEM, "allocating limits");
	}
	return true;
}

struct limits_draft *
limits_draft_alloc(struct error *e)
{
	struct limits_draft *d = calloc(1, sizeof *d);

	if (d == NULL)
		error_set_errno(e, ERROR_SYSTEM, "allocating limits");
	return d;
}

bool
limits_check_key_files(struct cli *cli, const struct limits *l, struct error *e)
{
	const char *value;
	size_t at = 0;

	while ((value = option_next(cli->options, OPTION_LIMITS_OPERATOR, &at)) != NULL) {
		size_t len = strcspn(value, "="), i = 0;

		if (len == 0 || value[len] == '\0' || value[len + 1] == '\0')
			return error_set(e, ERROR_USAGE,
			    "--limits-operator is PERSON=FILE, not \"%.80s\"", value);
		while (
		    i < l->operator_count && (strlen(l->operators[i].person) != len ||
						 strncmp(l->operators[i].person, value, len) != 0))
			i++;
		if (i == l->operator_count)
			return error_set(e, ERROR_USAGE,
			    "--limits-operator gives a key of %.*s, whom the limits do not name",
			    (int)(len < 80 ? len : 80), value);
	}
	return true;
}

bool
limits_check_myself(struct cli *cli, const struct limits *l, struct error *e)
{
	uint8_t spki[STATEMENT_SPKI_MAX];
	size_t len;

	return decision_own_key(cli, spki, &len, e) &&
	       limits_check_signer(l, (struct bytes){spki, len}, e);
}

bool
limits_draft_new(struct cli *cli, const char *ca, const struct capolicy *policy,
    const char *policy_text, struct limits_draft **draft, struct error *e)
{
	const struct bytes text = {(const uint8_t *)policy_text, strlen(policy_text)};
	struct limits_draft *d = limits_draft_alloc(e);

	if (d == NULL)
		return false;
	if (limits_from_policy(policy, ca, text, (int64_t)time(NULL), &d->limits, e) &&
	    limits_adopt(cli, policy, &d->limits, e) && limits_find_signers(cli, &d->limits, e) &&
	    limits_find_operators(cli, policy, &d->limits, e) &&
	    limits_check_key_files(cli, &d->limits, e) && limits_check_myself(cli, &d->limits, e) &&
	    limits_find_templates(cli, policy, &d->limits, e) &&
	    limits_draft_finish(d, policy_text, e)) {
		*draft = d;
		return true;
	}
	limits_draft_free(d);
	return false;
}

void
limits_draft_free(struct limits_draft *draft)
{
	if (draft == NULL)
		return;
	free(draft->body);
	free(draft);
}
