#include "daemon/cli/decision_show.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/sha.h>

#include "daemon/cli/limits_show.h"
#include "daemon/core/encode.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/destruction.h"
#include "daemon/x509/limits_policy.h"
#include "daemon/x509/name.h"
#include "daemon/x509/pem.h"

/* ------------------------------------------------------------------ reading */

static bool
check_body(const struct shown_decision *d, struct error *e)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];

	if (d->statement.has_body != (d->body != NULL))
		return error_set(e, ERROR_INTERNAL,
		    "the service shows a statement and a body that do not belong together");
	if (d->body == NULL)
		return true;
	SHA256((const unsigned char *)d->body, strlen(d->body), digest);
	return memcmp(digest, d->statement.body_sha256, sizeof digest) == 0 ||
	       error_set(e, ERROR_INTERNAL,
		   "the service shows another body than the one that the statement is about: its "
		   "SHA-256 differs");
}

/* The policy beside the limits must be of the same CA. */
static bool
check_policy(const struct limits_body *parts, const struct limits *l, struct error *e)
{
	struct capolicy *policy;
	bool ok;

	if (!l->has_policy)
		return true;
	policy = calloc(1, sizeof *policy);
	if (policy == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a policy");
	ok = capolicy_parse(
		 (const char *)parts->policy.p, parts->policy.len, "policy", policy, e) &&
	     limits_check_policy(l, policy, e);
	capolicy_free(policy);
	free(policy);
	return ok;
}

static bool
read_limits(struct cli *cli, struct shown_decision *d, struct error *e)
{
	struct limits_body parts;

	d->fresh = malloc(sizeof *d->fresh);
	if (d->fresh == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating limits");
	if (!limits_body_parse(
		(struct bytes){(const uint8_t *)d->body, strlen(d->body)}, &parts, d->fresh, e) ||
	    !check_policy(&parts, d->fresh, e))
		return error_wrap(e, "what is to be signed");
	if (!people_load(cli, &d->people, e))
		return false;
	if (strcmp(d->fresh->ca, d->statement.ca) != 0)
		return error_set(e, ERROR_INPUT,
		    "the statement is about CA %s, but the limits are of CA %s", d->statement.ca,
		    d->fresh->ca);
	return true;
}

/* The document that the key on the token commits to is the first. */
static bool
check_key_id(struct cli *cli, const struct reseed_key *key, const struct limits_current *current,
    struct error *e)
{
	char path[CLI_PATH_MAX], id[2 * RESEED_KEY_ID_MAX + 1];
	json_t *first = NULL;
	const char *sha256;
	bool ok;

	hex_encode(key->id, key->id_len, id);
	if (!cli_path(path, "/v1/cas/", key->ca, "/limits?version=1", e) ||
	    !cli_path_add(path, "key", id, e) ||
	    !cli_get_object(cli, path, "ca", key->ca, &first, e))
		return false;
	sha256 = cli_member(first, "sha256", e);
	ok = sha256 != NULL &&
	     (strncmp(sha256, id, strlen(id)) == 0 ||
		 error_set(e, ERROR_INPUT,
		     "the key %s is not that of CA %s, whose first limits have the "
		     "SHA-256 %s",
		     id, current->limits.ca, sha256));
	json_decref(first);
	return ok;
}

void
reseed_keys_free(struct limits_current **keys, size_t count)
{
	for (size_t i = 0; keys != NULL && i < count; i++)
		limits_current_free(keys[i]);
	free(keys);
}

bool
reseed_keys_load(
    struct cli *cli, const struct reseed *r, struct limits_current ***keys, struct error *e)
{
	struct limits_current **all = calloc(r->key_count, sizeof(struct limits_current *));

	if (all == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating limits");
	for (size_t i = 0; i < r->key_count; i++) {
		char id[2 * RESEED_KEY_ID_MAX + 1];

		hex_encode(r->keys[i].id, r->keys[i].id_len, id);
		if (!limits_current_load(cli, r->keys[i].ca, id, &all[i], e) ||
		    !check_key_id(cli, &r->keys[i], all[i], e)) {
			reseed_keys_free(all, r->key_count);
			return false;
		}
	}
	*keys = all;
	return true;
}

static bool
read_reseed(struct cli *cli, struct shown_decision *d, struct error *e)
{
	struct reseed *r = malloc(sizeof *r);
	bool ok;

	if (r == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a reseed document");
	ok = reseed_parse(d->body, strlen(d->body), r, e);
	if (ok && strcmp(r->token, d->statement.object) != 0)
		ok = error_set(e, ERROR_INPUT,
		    "the statement is about token %s, but the document is about %s",
		    d->statement.object, r->token);
	ok = ok && reseed_keys_load(cli, r, &d->keys, e);
	if (ok) {
		d->key_count = r->key_count;
		for (size_t i = 0; i < d->key_count; i++)
			d->rules.of[d->rules.count++] = &d->keys[i]->limits;
	}
	free(r);
	return ok;
}

/* It must be about the key and the certificate that the CA has, as long as it is
 * open. */
static bool
read_renewal(struct cli *cli, struct shown_decision *d, bool open, struct error *e)
{
	struct renewal r;
	uint8_t digest[32];

	if (!renewal_parse(d->body, strlen(d->body), &r, e))
		return error_wrap(e, "what is to be signed");
	if (strcmp(r.ca, d->statement.ca) != 0)
		return error_set(e, ERROR_INPUT,
		    "the statement is about CA %s, but the renewal is of CA %s", d->statement.ca,
		    r.ca);
	if (!open)
		return true;
	if (!ca_certificate_load(cli, d->statement.ca, &d->in_force, e))
		return false;
	ca_certificate_tbs_sha256(d->in_force, digest);
	if (!r.has_replaces || memcmp(digest, r.replaces, sizeof digest) != 0 ||
	    memcmp(d->current->key, r.key, sizeof r.key) != 0)
		return error_set(e, ERROR_CONFLICT,
		    "the renewal is of another key or certificate than CA %s has now", r.ca);
	return true;
}

/* Which key is to sign: its limits count. */
static bool
read_signer(struct shown_decision *d, char key[65], struct error *e)
{
	struct renewal r;

	if (!renewal_parse(d->body, strlen(d->body), &r, e))
		return error_wrap(e, "what is to be signed");
	if (strcmp(r.ca, d->statement.ca) != 0 || !r.has_signer || r.has_replaces)
		return error_set(e, ERROR_INPUT, "what is to be signed is no rollover of CA %s",
		    d->statement.ca);
	hex_encode(r.signer, sizeof r.signer, key);
	return true;
}

/* Which key is to go: its limits count. */
static bool
read_key_to_destroy(struct shown_decision *d, char key[65], struct error *e)
{
	struct destruction what;

	if (!destruction_parse(d->body, strlen(d->body), &what, e))
		return error_wrap(e, "what is to be signed");
	if (strcmp(what.ca, d->statement.ca) != 0)
		return error_set(e, ERROR_INPUT,
		    "the statement is about CA %s, but the key to be destroyed is of CA %s",
		    d->statement.ca, what.ca);
	hex_encode(what.key, sizeof what.key, key);
	return true;
}

/* What the decision is about beyond its text. Of one that is carried out, the
 * limits in force may be its own by now. */
static bool
read_subject(struct cli *cli, struct shown_decision *d, struct error *e)
{
	const char *state = json_string_value(json_object_get(d->answer, "state"));
	bool open = state != NULL && strcmp(state, "collecting") == 0;
	char key[65];

	switch (d->statement.action) {
	case STATEMENT_CA_CREATE:
		if (!read_limits(cli, d, e))
			return false;
		d->rules = CEREMONY_RULE(d->fresh);
		return true;
	case STATEMENT_CA_LIMITS:
		if (!read_limits(cli, d, e))
			return false;
		hex_encode(d->fresh->key, sizeof d->fresh->key, key);
		if (!limits_current_load(cli, d->statement.ca, key, &d->current, e))
			return false;
		d->rules = CEREMONY_RULE(&d->current->limits);
		return !open || limits_check_change(&d->current->limits, d->current->sha256,
				    d->current->key, d->fresh, e);
	case STATEMENT_CA_INSTALL:
		if (!limits_current_load(
			cli, d->statement.ca, open ? "waiting" : NULL, &d->current, e))
			return false;
		d->rules = CEREMONY_RULE(&d->current->limits);
		return true;
	case STATEMENT_CA_RENEW:
		if (!limits_current_load(cli, d->statement.ca, NULL, &d->current, e))
			return false;
		d->rules = CEREMONY_RULE(&d->current->limits);
		return read_renewal(cli, d, open, e);
	case STATEMENT_CA_ROLLOVER:
		if (!read_signer(d, key, e) ||
		    !limits_current_load(cli, d->statement.ca, key, &d->current, e))
			return false;
		d->rules = CEREMONY_RULE(&d->current->limits);
		return true;
	case STATEMENT_CA_REKEY:
		if (!limits_current_load(cli, d->statement.ca, NULL, &d->current, e) ||
		    !read_limits(cli, d, e))
			return false;
		d->rules = (struct ceremony_rules){{d->fresh, &d->current->limits}, 2};
		return !open || strcmp(d->statement.object, d->current->key_hex) == 0 ||
		       error_set(e, ERROR_CONFLICT,
			   "the new key is to replace another one than CA %s signs with now",
			   d->statement.ca);
	case STATEMENT_KEY_DESTROY:
		if (!read_key_to_destroy(d, key, e) ||
		    !limits_current_load(cli, d->statement.ca, key, &d->current, e))
			return false;
		d->rules = CEREMONY_RULE(&d->current->limits);
		return true;
	case STATEMENT_SIGNER_RESEED:
		return read_reseed(cli, d, e);
	default:
		return true;
	}
}

bool
shown_decision_load(struct cli *cli, const char *id, struct shown_decision *d, struct error *e)
{
	char path[CLI_PATH_MAX];

	*d = (struct shown_decision){0};
	if (!cli_path(path, "/v1/decisions/", id, "", e) ||
	    !cli_get_object(cli, path, "id", id, &d->answer, e))
		return false;
	d->text = cli_member(d->answer, "statement", e);
	d->body = json_string_value(json_object_get(d->answer, "body"));
	if (d->text != NULL) {
		if (!statement_parse(d->text, strlen(d->text), &d->statement, e))
			error_wrap(e, "what the service shows as decision %s", id);
		else if (check_body(d, e) && read_subject(cli, d, e))
			return true;
	}
	shown_decision_clear(d);
	return false;
}

void
shown_decision_clear(struct shown_decision *d)
{
	limits_current_free(d->current);
	people_free(&d->people);
	reseed_keys_free(d->keys, d->key_count);
	free(d->fresh);
	free(d->in_force);
	json_decref(d->answer);
	*d = (struct shown_decision){0};
}

/* ----------------------------------------------------------------- printing */

static void
put_text(FILE *out, const char *indent, const char *text)
{
	char *copy = strdup(text), *save = NULL;

	for (char *line = copy != NULL ? strtok_r(copy, "\n", &save) : NULL; line != NULL;
	     line = strtok_r(NULL, "\n", &save)) {
		(void)fputs(indent, out);
		table_write_escaped(out, line, false);
		(void)fputc('\n', out);
	}
	free(copy);
}

static void
put_words(FILE *out, const char *label, const char *words)
{
	(void)fprintf(out, "%s", label);
	table_write_escaped(out, words != NULL ? words : "?", false);
	(void)fputc('\n', out);
}

static void
put_policy(const struct shown_decision *d, FILE *out)
{
	const char *policy = strstr(d->body, "\n---\n");

	if (policy == NULL || policy[5] == '\0')
		return;
	(void)fprintf(out, "The policy of CA %s:\n", d->fresh->ca);
	put_text(out, "  ", policy + 5);
}

/* Keys that stand under another name than that by which they are registered. */
static void
put_strangers(const struct shown_decision *d, FILE *out)
{
	for (size_t i = 0; i < d->fresh->operator_count; i++) {
		const struct limits_operator *o = &d->fresh->operators[i];
		const struct person_key *known = people_find_key(
		    &d->people, (struct bytes){o->spki, o->spki_len});

		if (known != NULL && strcmp(known->person, o->person) == 0)
			continue;
		(void)fprintf(out, "! the key of %s is %s", o->person,
		    known != NULL ? "registered as that of " : "not registered");
		table_write_escaped(out, known != NULL ? known->person : "", false);
		(void)fputc('\n', out);
	}
}

static void
put_limits(const struct shown_decision *d, FILE *out)
{
	const char *end = strstr(d->body, "\n---\n");
	int64_t now = (int64_t)time(NULL);
	char *document, sha256[65];
	uint8_t digest[32];

	if (end == NULL)
		return;
	/* First, so that a long one does not push what counts off the screen. */
	put_policy(d, out);
	document = strndup(d->body, (size_t)(end + 1 - d->body));
	if (document == NULL)
		return;
	limits_sha256(document, strlen(document), digest);
	hex_encode(digest, sizeof digest, sha256);
	(void)fprintf(out, "The limits of the key of CA %s, version %u, SHA-256 %s", d->fresh->ca,
	    (unsigned)d->fresh->version, sha256);
	if (d->current != NULL && d->current->limits.version + 1 == d->fresh->version) {
		(void)fprintf(out, "; what changes is marked:\n");
		limits_show_change(out, d->current->text, document, now);
	} else {
		(void)fprintf(out, ":\n");
		limits_show(out, document, now);
	}
	free(document);
	put_strangers(d, out);
}

static bool
put_certificate(const struct shown_decision *d, struct bytes der, FILE *out, struct error *e)
{
	char subject[NAME_TEXT_MAX], issuer[NAME_TEXT_MAX], hex[65], until[CANON_TIME_SIZE];
	uint8_t digest[SHA256_DIGEST_LENGTH];
	struct certificate c;

	if (!certificate_parse(der, &c, e) ||
	    !name_to_text(c.subject, subject, sizeof subject, e) ||
	    !name_to_text(c.issuer, issuer, sizeof issuer, e))
		return error_wrap(e, "what is to be installed");
	SHA256(c.spki.whole.p, c.spki.whole.len, digest);
	hex_encode(digest, sizeof digest, hex);
	canon_time_text(c.not_after, until);
	put_words(out,
	    strcmp(hex, d->current->key_hex) == 0 ? "  subject      (this CA) " : "  subject      ",
	    subject);
	put_words(out, "  issuer       ", issuer);
	put_words(out, "  not after    ", until);
	put_words(out, "  key SHA-256  ", hex);
	SHA256(der.p, der.len, digest);
	hex_encode(digest, sizeof digest, hex);
	put_words(out, "  SHA-256      ", hex);
	return true;
}

static bool
put_chain(const struct shown_decision *d, FILE *out, struct error *e)
{
	struct bytes left = {(const uint8_t *)d->body, strlen(d->body)};
	uint8_t *der = malloc(CERTIFICATE_MAX);
	struct error why = ERROR_INIT;
	size_t len;
	bool ok = der != NULL || error_set_errno(e, ERROR_SYSTEM, "allocating a certificate");

	(void)fprintf(out, "The certificates to be installed:\n");
	while (ok && pem_decode(&left, PEM_CERTIFICATE, der, CERTIFICATE_MAX, &len, &why))
		ok = put_certificate(d, (struct bytes){der, len}, out, e);
	free(der);
	return ok;
}

/* Who signed, by what this program found when it verified. */
static void
put_signature(const struct shown_decision *d, json_t *one, FILE *out)
{
	const char *operator= json_string_value(json_object_get(one, "operator"));
	const char *spki = json_string_value(json_object_get(one, "spki"));
	const char *signature = json_string_value(json_object_get(one, "signature"));
	const char *when = json_string_value(json_object_get(one, "received_at"));
	uint8_t key[STATEMENT_SPKI_MAX], octets[STATEMENT_SIGNATURE_MAX];
	uint8_t digest[SHA256_DIGEST_LENGTH];
	struct error ignored = ERROR_INIT;
	size_t key_len = 0, len = 0;
	char hex[65] = "?";
	bool good;

	good = spki != NULL && signature != NULL &&
	       base64_decode((struct bytes){(const uint8_t *)spki, strlen(spki)}, false, key,
		   sizeof key, &key_len, &ignored) &&
	       base64_decode((struct bytes){(const uint8_t *)signature, strlen(signature)}, false,
		   octets, sizeof octets, &len, &ignored) &&
	       statement_verify(d->text, strlen(d->text), octets, len, key, key_len, &ignored);
	if (key_len > 0) {
		SHA256(key, key_len, digest);
		hex_encode(digest, sizeof digest, hex);
	}
	put_words(out, good ? "  signed by    " : "  DOES NOT VERIFY: ", operator);
	put_words(out, "               at ", when);
	put_words(out, "               key SHA-256 ", hex);
}

static void
put_names(FILE *out, const char *label, json_t *names)
{
	size_t i;
	json_t *name;

	(void)fprintf(out, "%s", label);
	json_array_foreach(names, i, name)
	{
		(void)fprintf(out, "%s", i > 0 ? ", " : "");
		table_write_escaped(
		    out, json_string_value(name) != NULL ? json_string_value(name) : "?", false);
	}
	(void)fprintf(out, "%s\n", json_array_size(names) == 0 ? "nobody" : "");
}

static void
put_needs(const struct shown_decision *d, FILE *out)
{
	json_t *need;
	size_t i;

	json_array_foreach(json_object_get(d->answer, "needs"), i, need)
	{
		put_words(out, "The limits of CA ", json_string_value(json_object_get(need, "ca")));
		(void)fprintf(out, "  take         %lld\n",
		    (long long)json_integer_value(json_object_get(need, "quorum")));
		(void)fprintf(out, "  missing      %lld\n",
		    (long long)json_integer_value(json_object_get(need, "missing")));
		put_names(out, "  may sign     ", json_object_get(need, "may_sign"));
	}
}

bool
shown_decision_print(const struct shown_decision *d, FILE *out, struct error *e)
{
	const char *outcome = json_string_value(json_object_get(d->answer, "outcome"));
	size_t i;
	json_t *one;

	if (d->fresh != NULL)
		put_limits(d, out);
	else if (d->statement.action == STATEMENT_CA_INSTALL && !put_chain(d, out, e))
		return false;
	else if (d->statement.action == STATEMENT_CA_RENEW ||
		 d->statement.action == STATEMENT_CA_ROLLOVER)
		renewal_show(out, d->body, d->in_force);
	else if (d->statement.action == STATEMENT_SIGNER_RESEED) {
		(void)fprintf(out, "Where the signer of token %s goes on:\n", d->statement.object);
		limits_show(out, d->body, (int64_t)time(NULL));
	} else if (d->body != NULL && d->statement.action != STATEMENT_CA_INSTALL) {
		(void)fprintf(out, "What goes with the statement:\n");
		put_text(out, "  ", d->body);
	}
	(void)fprintf(out, "The statement:\n");
	put_text(out, "  ", d->text);
	put_words(out, "State ", json_string_value(json_object_get(d->answer, "state")));
	if (outcome != NULL)
		put_words(out, "  ", outcome);
	json_array_foreach(json_object_get(d->answer, "signatures"), i, one)
	{
		put_signature(d, one, out);
	}
	put_needs(d, out);
	return true;
}
