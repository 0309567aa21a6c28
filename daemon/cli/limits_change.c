/* The limits in force, and the draft of their next version. */

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "daemon/cli/decision.h"
#include "daemon/cli/limits_draft_int.h"
#include "daemon/cli/output.h"
#include "daemon/core/encode.h"
#include "daemon/x509/capolicy_rekey.h"
#include "daemon/x509/limits_policy.h"

static bool
take_answer(const char *ca, struct limits_current *c, struct error *e)
{
	const char *text = cli_member(c->answer, "document", e),
		   *sha256 = cli_member(c->answer, "sha256", e),
		   *key = cli_member(c->answer, "key_sha256", e);
	char hex[65];

	if (text == NULL || sha256 == NULL || key == NULL)
		return false;
	if (!limits_parse(text, strlen(text), &c->limits, e))
		return error_wrap(e, "what the service shows as the limits of CA %s", ca);
	limits_sha256(text, strlen(text), c->sha256);
	hex_encode(c->sha256, sizeof c->sha256, hex);
	if (strcmp(hex, sha256) != 0 || strcmp(c->limits.ca, ca) != 0 || strlen(key) != 64 ||
	    !hex_decode(key, sizeof c->key, c->key))
		return error_set(e, ERROR_INTERNAL,
		    "the service shows limits of CA %s that are not what it says they are", ca);
	memcpy(c->key_hex, key, sizeof c->key_hex);
	c->text = strdup(text);
	return c->text != NULL || error_set_errno(e, ERROR_SYSTEM, "allocating limits");
}

bool
limits_current_load(struct cli *cli, const char *ca, const char *key,
    struct limits_current **current, struct error *e)
{
	struct limits_current *c = calloc(1, sizeof *c);
	char path[CLI_PATH_MAX];

	if (c == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating limits");
	if (cli_path(path, "/v1/cas/", ca, "/limits", e) &&
	    (key == NULL || cli_path_add(path, "key", key, e)) &&
	    cli_get_object(cli, path, "ca", ca, &c->answer, e) && take_answer(ca, c, e)) {
		*current = c;
		return true;
	}
	limits_current_free(c);
	return false;
}

void
limits_current_free(struct limits_current *current)
{
	if (current == NULL)
		return;
	json_decref(current->answer);
	free(current->text);
	free(current);
}

/* ------------------------------------------------------------------ changes */

/* A policy as text and read. */
struct read_policy {
	char *text; /* owned; NULL: none */
	struct capolicy policy;
};

static void
policy_clear(struct read_policy *p)
{
	capolicy_free(&p->policy);
	free(p->text);
	p->text = NULL;
}

/* The CA's own, as the service has it. */
static bool
load_policy(struct cli *cli, const char *ca, struct read_policy *p, struct error *e)
{
	json_t *answer = NULL;
	char path[CLI_PATH_MAX];
	const char *text;
	bool ok = false;

	if (!cli_path(path, "/v1/cas/", ca, "", e) ||
	    !cli_get_object(cli, path, "name", ca, &answer, e))
		return false;
	text = cli_member(answer, "policy", e);
	if (text == NULL)
		goto out;
	p->text = strdup(text);
	if (p->text == NULL)
		error_set_errno(e, ERROR_SYSTEM, "allocating a policy");
	else
		ok = capolicy_parse(p->text, strlen(p->text), ca, &p->policy, e) ||
		     error_wrap(e, "the policy of CA %s", ca);
out:
	json_decref(answer);
	return ok;
}

static bool
read_given(struct cli *cli, struct read_policy *p, struct error *e)
{
	const char *file = cli->options->value[OPTION_POLICY];
	size_t len;

	return output_read_file(file, CAPOLICY_TEXT_MAX, &p->text, &len, e) &&
	       capolicy_parse(p->text, len, file, &p->policy, e);
}

/* What a policy says of the limits counts; what it does not say is as it was. */
static bool
put_policy(struct cli *cli, struct limits *l, const struct limits *old,
    const struct read_policy *fresh, struct error *e)
{
	const struct capolicy_limits *said = &fresh->policy.limits;

	if (!limits_from_policy(&fresh->policy, old->ca,
		(struct bytes){(const uint8_t *)fresh->text, strlen(fresh->text)},
		(int64_t)time(NULL), l, e))
		return false;
	if (said->quorum == 0)
		l->quorum = old->quorum;
	if (said->signer_count == 0 && strcmp(l->token, old->token) == 0) {
		memcpy(l->signer_ids, old->signer_ids, sizeof l->signer_ids);
		l->signer_count = old->signer_count;
	}
	if (said->operator_count == 0) {
		memcpy(l->operators, old->operators, sizeof l->operators);
		l->operator_count = old->operator_count;
	} else if (!limits_find_operators(cli, &fresh->policy, l, e)) {
		return false;
	}
	return limits_find_signers(cli, l, e) && limits_find_templates(cli, &fresh->policy, l, e);
}

/* Whether a place is the same for complete and for delta CRLs, or for certificates: what
 * the variables stand for counts, too. */
static bool
same_place(const struct location *a, const struct location_names *a_names, const struct location *b,
    const struct location_names *b_names)
{
	char old[LOCATION_URL_MAX + 1], fresh[LOCATION_URL_MAX + 1];
	struct error ignored = ERROR_INIT;

	if (strcmp(a->url, b->url) != 0 || a->flags != b->flags)
		return false;
	for (int delta = 0; delta < 2; delta++) {
		if (!location_expand(a->url, a_names, delta, old, &ignored) ||
		    !location_expand(b->url, b_names, delta, fresh, &ignored) ||
		    strcmp(old, fresh) != 0)
			return false;
	}
	return true;
}

static bool
same_places(const char *ca, const struct capolicy *own, const struct capolicy *fresh)
{
	struct location_names old_names, fresh_names;

	if (own->cdp_count != fresh->cdp_count || own->aia_count != fresh->aia_count)
		return false;
	capolicy_names(own, ca, &old_names);
	capolicy_names(fresh, ca, &fresh_names);
	for (size_t i = 0; i < own->cdp_count; i++)
		if (!same_place(&own->cdp[i], &old_names, &fresh->cdp[i], &fresh_names))
			return false;
	for (size_t i = 0; i < own->aia_count; i++)
		if (!same_place(&own->aia[i], &old_names, &fresh->aia[i], &fresh_names))
			return false;
	return capolicy_same_division(own, fresh);
}

/* What no order undoes: certificates name their places for good. */
static bool
warn_of_places(struct cli *cli, const char *ca, const struct capolicy *own,
    const struct capolicy *fresh, struct error *e)
{
	static const char changes[] = "warning: the policy changes where clients look, for "
				      "certificates that are issued from then on";
	json_t *valid = NULL;
	char path[CLI_PATH_MAX];
	const char *until;

	if (same_places(ca, own, fresh))
		return true;
	if (!cli_path(path, "/v1/cas/", ca, "/valid", e) ||
	    !cli_get_object(cli, path, NULL, NULL, &valid, e))
		return false;
	until = json_string_value(json_object_get(valid, "until"));
	if (until == NULL)
		cli_note("%s; no valid certificate names the old places", changes);
	else
		cli_note("%s; valid certificates that go on naming the old places: "
			 "%s%" JSON_INTEGER_FORMAT
			 ", the last of them until %s; these places are %s",
		    changes, json_is_true(json_object_get(valid, "more")) ? "more than " : "",
		    json_integer_value(json_object_get(valid, "certificates")), until,
		    fresh->keep_old ? "kept up to date until then"
				    : "not kept up to date ('locations.keep_old')");
	json_decref(valid);
	return true;
}

static bool
apply_policy(struct cli *cli, struct limits *l, const struct limits *old,
    const struct read_policy *own, struct read_policy *fresh, struct error *e)
{
	const struct capolicy_limits *said = &fresh->policy.limits;

	if (!read_given(cli, fresh, e) ||
	    !limits_check_next_policy(&own->policy, &fresh->policy, e) ||
	    !put_policy(cli, l, old, fresh, e))
		return false;
	if (said->not_after == 0 && said->life_s == 0)
		l->not_after = old->not_after;
	return warn_of_places(cli, old->ca, &own->policy, &fresh->policy, e);
}

/* --template: one after the other, in their newest versions. */
static bool
apply_templates(struct cli *cli, const struct capolicy *policy, struct limits *l, struct error *e)
{
	const char *at = cli->options->value[OPTION_TEMPLATE];
	struct limits_template t;
	char name[STATEMENT_NAME_MAX + 1];
	bool found;

	while (at != NULL && *at != '\0') {
		size_t len = strcspn(at, ",");

		if (len == 0 || len >= sizeof name)
			return error_set(
			    e, ERROR_USAGE, "--template is NAME, or several separated by commas");
		memcpy(name, at, len);
		name[len] = '\0';
		at += len + (at[len] == ',');
		if (!capolicy_allows_template(policy, name))
			return error_set(e, ERROR_INPUT,
			    "the policy of CA %s does not name template %s: give a policy that "
			    "does "
			    "with --policy",
			    l->ca, name);
		if (!limits_ask_template(cli, name, &t, &found, e))
			return false;
		if (!found)
			return error_set(e, ERROR_NOT_FOUND,
			    "template %s is not applied: \"chancery template apply\" it first",
			    name);
		if (!limits_put_template(l, &t, e))
			return false;
	}
	return true;
}

/* How many lines were a person's. */
static size_t
remove_person(struct limits *l, const char *person)
{
	size_t kept = 0, had = l->operator_count;

	for (size_t i = 0; i < had; i++) {
		if (strcmp(l->operators[i].person, person) != 0)
			l->operators[kept++] = l->operators[i];
	}
	l->operator_count = kept;
	return had - kept;
}

/* "bob", "bob:limits", "bob:limits,decide" */
static bool
read_person(
    const char *value, char person[STATEMENT_NAME_MAX + 1], unsigned *rights, struct error *e)
{
	static const struct {
		const char *words;
		unsigned rights;
	} known[] = {
	    {"", LIMITS_RIGHT_DECIDE},
	    {":decide", LIMITS_RIGHT_DECIDE},
	    {":limits", LIMITS_RIGHT_LIMITS},
	    {":limits,decide", LIMITS_RIGHT_LIMITS | LIMITS_RIGHT_DECIDE},
	    {":decide,limits", LIMITS_RIGHT_LIMITS | LIMITS_RIGHT_DECIDE},
	};
	size_t len = strcspn(value, ":");

	for (size_t i = 0; i < COUNT_OF(known) && len > 0 && len <= STATEMENT_NAME_MAX; i++) {
		if (strcmp(value + len, known[i].words) == 0) {
			memcpy(person, value, len);
			person[len] = '\0';
			*rights = known[i].rights;
			return true;
		}
	}
	return error_set(e, ERROR_USAGE,
	    "--add-operator is PERSON, PERSON:limits, PERSON:decide or PERSON:limits,decide, not "
	    "\"%.80s\"",
	    value);
}

static bool
apply_people(struct cli *cli, struct limits *l, struct error *e)
{
	char person[STATEMENT_NAME_MAX + 1];
	struct people people;
	const char *value;
	unsigned rights = 0;
	size_t at = 0;
	bool ok = true;

	while ((value = option_next(cli->options, OPTION_REMOVE_OPERATOR, &at)) != NULL) {
		if (remove_person(l, value) == 0)
			return error_set(e, ERROR_NOT_FOUND,
			    "the limits of CA %s do not name %.80s", l->ca, value);
	}
	at = 0;
	if (option_next(cli->options, OPTION_ADD_OPERATOR, &at) == NULL)
		return true;
	if (!people_load(cli, &people, e))
		return false;
	at = 0;
	while (ok && (value = option_next(cli->options, OPTION_ADD_OPERATOR, &at)) != NULL) {
		ok = read_person(value, person, &rights, e);
		if (ok) {
			(void)remove_person(l, person);
			ok = limits_add_person(cli, &people, l, person, rights, e);
		}
	}
	people_free(&people);
	return ok;
}

static bool
remove_templates(struct cli *cli, struct limits *l, struct error *e)
{
	const char *value;
	size_t at = 0;

	while ((value = option_next(cli->options, OPTION_REMOVE_TEMPLATE, &at)) != NULL) {
		size_t i = 0;

		while (i < l->template_count && strcmp(l->templates[i].name, value) != 0)
			i++;
		if (i == l->template_count)
			return error_set(e, ERROR_NOT_FOUND,
			    "the limits of CA %s do not know template %.80s", l->ca, value);
		l->template_count--;
		memmove(&l->templates[i], &l->templates[i + 1],
		    (l->template_count - i) * sizeof l->templates[0]);
	}
	return true;
}

static bool
apply_end(struct cli *cli, struct limits *l, struct error *e)
{
	const char *value = cli->options->value[OPTION_NOT_AFTER];
	int64_t now = (int64_t)time(NULL), life;

	if (value == NULL || canon_time(value, &l->not_after))
		return true;
	if (!yaml_duration(value, &life) || life > CAPOLICY_VALIDITY_MAX_S)
		return error_set(e, ERROR_USAGE,
		    "--not-after is a time such as 2046-11-22T12:00:00Z, or how long from now on "
		    "(20y, at most 50y), not \"%.40s\"",
		    value);
	l->not_after = now + life - 1;
	return true;
}

/* Everything but what must differ anyway. */
static bool
is_unchanged(const struct limits *old, const struct limits *fresh, struct error *e)
{
	struct limits *copy = malloc(sizeof *copy);
	char *a = malloc(LIMITS_TEXT_MAX + 1), *b = malloc(LIMITS_TEXT_MAX + 1);
	struct error ignored = ERROR_INIT;
	size_t a_len = 0, b_len = 0;
	bool same = false;

	if (copy != NULL && a != NULL && b != NULL) {
		*copy = *fresh;
		copy->version = old->version;
		memcpy(copy->previous, old->previous, sizeof copy->previous);
		memcpy(copy->key, old->key, sizeof copy->key);
		memcpy(copy->nonce, old->nonce, sizeof copy->nonce);
		copy->has_policy = old->has_policy;
		memcpy(copy->policy_sha256, old->policy_sha256, sizeof copy->policy_sha256);
		limits_sort(copy);
		same = limits_format(copy, a, &a_len, &ignored) &&
		       limits_format(old, b, &b_len, &ignored) && strcmp(a, b) == 0;
	}
	free(copy);
	free(a);
	free(b);
	if (same)
		error_set(e, ERROR_INPUT, "nothing of the limits of CA %s would change", old->ca);
	return same;
}

static bool
change(struct cli *cli, const struct limits_current *current, struct read_policy *own,
    struct read_policy *fresh, struct limits_draft *d, struct error *e)
{
	struct limits *l = &d->limits;
	const struct capolicy *policy = &own->policy;
	long quorum;

	if (cli->options->value[OPTION_KEY_SHA256] != NULL &&
	    (cli->options->value[OPTION_POLICY] != NULL ||
		cli->options->value[OPTION_TEMPLATE] != NULL))
		return error_set(e, ERROR_USAGE,
		    "--policy and --template are of the key that signs: they do not go with "
		    "--key-sha256");
	if (!limits_check_myself(cli, &current->limits, e))
		return false;
	*l = current->limits;
	l->has_policy = false;
	if (cli->options->value[OPTION_POLICY] != NULL) {
		if (!apply_policy(cli, l, &current->limits, own, fresh, e))
			return false;
		policy = &fresh->policy;
	}
	if (!apply_templates(cli, policy, l, e) || !remove_templates(cli, l, e) ||
	    !apply_people(cli, l, e) || !apply_end(cli, l, e) ||
	    !limits_check_key_files(cli, l, e) ||
	    !option_number(
		cli->options, OPTION_QUORUM, 1, CAPOLICY_QUORUM_MAX, (long)l->quorum, &quorum, e))
		return false;
	l->quorum = (unsigned)quorum;
	/* A policy that changes counts, also when the limits stay. */
	if ((fresh->text == NULL || (own->text != NULL && strcmp(fresh->text, own->text) == 0)) &&
	    is_unchanged(&current->limits, l, e))
		return false;
	l->version = current->limits.version + 1;
	memcpy(l->previous, current->sha256, sizeof l->previous);
	memcpy(l->key, current->key, sizeof l->key);
	return limits_draft_finish(d, fresh->text != NULL ? fresh->text : "", e) &&
	       /* Of an older key, whose policy may have been another, the issuer sees to it. */
	       (cli->options->value[OPTION_KEY_SHA256] != NULL ||
		   limits_check_policy(l, policy, e)) &&
	       limits_check_change(&current->limits, current->sha256, current->key, l, e);
}

bool
limits_draft_change(struct cli *cli, const char *ca, const struct limits_current *current,
    struct limits_draft **draft, struct error *e)
{
	struct read_policy *own = calloc(1, sizeof *own), *fresh = calloc(1, sizeof *fresh);
	struct limits_draft *d = limits_draft_alloc(e);
	bool ok = false;

	if (own == NULL || fresh == NULL)
		error_set_errno(e, ERROR_SYSTEM, "allocating a policy");
	else if (d != NULL)
		ok = load_policy(cli, ca, own, e) && change(cli, current, own, fresh, d, e);
	if (own != NULL)
		policy_clear(own);
	if (fresh != NULL)
		policy_clear(fresh);
	free(own);
	free(fresh);
	if (ok)
		*draft = d;
	else
		limits_draft_free(d);
	return ok;
}

/* ------------------------------------------------------------------ retiring */

bool
limits_draft_retire(struct cli *cli, const struct limits_current *current,
    enum limits_retired retired, struct limits_draft **draft, struct error *e)
{
	struct limits_draft *d = limits_draft_alloc(e);
	struct limits *l;

	if (d == NULL)
		return false;
	l = &d->limits;
	*l = current->limits;
	l->retired = retired;
	l->template_count = 0;
	l->has_policy = false;
	l->version = current->limits.version + 1;
	memcpy(l->previous, current->sha256, sizeof l->previous);
	memcpy(l->key, current->key, sizeof l->key);
	if (limits_check_myself(cli, &current->limits, e) && limits_draft_finish(d, "", e) &&
	    limits_check_change(&current->limits, current->sha256, current->key, l, e)) {
		*draft = d;
		return true;
	}
	limits_draft_free(d);
	return false;
}

/* ------------------------------------------------------------------ new keys */

static bool
rekey(struct cli *cli, const struct limits_current *current, const struct read_policy *own,
    const struct read_policy *fresh, struct limits_draft *d, struct error *e)
{
	struct limits *l = &d->limits;

	return capolicy_check_rekey(&own->policy, &fresh->policy, e) &&
	       put_policy(cli, l, &current->limits, fresh, e) && apply_people(cli, l, e) &&
	       apply_end(cli, l, e) && limits_check_key_files(cli, l, e) &&
	       limits_check_myself(cli, l, e) && limits_draft_finish(d, fresh->text, e) &&
	       limits_check_policy(l, &fresh->policy, e);
}

bool
limits_draft_rekey(struct cli *cli, const char *ca, const struct limits_current *current,
    struct limits_draft **draft, struct error *e)
{
	struct read_policy *own = calloc(1, sizeof *own), *fresh = calloc(1, sizeof *fresh);
	bool given = cli->options->value[OPTION_POLICY] != NULL, ok = false;
	struct limits_draft *d = limits_draft_alloc(e);

	if (own == NULL || fresh == NULL)
		error_set_errno(e, ERROR_SYSTEM, "allocating a policy");
	else if (d != NULL)
		ok = load_policy(cli, ca, own, e) && (!given || read_given(cli, fresh, e)) &&
		     rekey(cli, current, own, given ? fresh : own, d, e);
	if (own != NULL)
		policy_clear(own);
	if (fresh != NULL)
		policy_clear(fresh);
	free(own);
	free(fresh);
	if (ok)
		*draft = d;
	else
		limits_draft_free(d);
	return ok;
}
