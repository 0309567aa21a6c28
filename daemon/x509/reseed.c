#include "daemon/x509/reseed.h"

#include <string.h>

#define WHAT "reseed"
#define NUMBER_TEXT_MAX 64

/* ---- rules */

static bool
has_octet(const uint8_t *octets, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (octets[i] != 0)
			return true;
	}
	return false;
}

static int
compare_ids(const struct reseed_key *a, const struct reseed_key *b)
{
	size_t len = a->id_len < b->id_len ? a->id_len : b->id_len;
	int order = memcmp(a->id, b->id, len);

	if (order != 0)
		return order;
	return a->id_len < b->id_len ? -1 : a->id_len > b->id_len;
}

static bool
check_number(const uint8_t *octets, size_t len)
{
	return len > 0 && len <= CRL_NUMBER_MAX && (len == 1 || octets[0] != 0);
}

static bool
check_scopes(const struct reseed *r, const struct reseed_key *key, struct error *err)
{
	for (size_t i = 0; i < key->scope_count; i++) {
		const struct reseed_scope *s = &r->scopes[key->first_scope + i];

		if (i > 0 && memcmp(s[-1].scope, s->scope, sizeof s->scope) >= 0)
			return error_set(err, ERROR_INPUT,
			    "reseed: the CRL scopes of %s do not rise by their digests", key->ca);
		if (!check_number(s->number, s->number_len) ||
		    (s->base_len > 0 && !check_number(s->base, s->base_len)) ||
		    !canon_time_valid(s->this_update))
			return error_set(err, ERROR_INPUT,
			    "reseed: a CRL scope of %s has no number or no time", key->ca);
	}
	return true;
}

static bool
check_keys(const struct reseed *r, struct error *err)
{
	size_t scopes = 0;

	for (size_t i = 0; i < r->key_count; i++) {
		const struct reseed_key *key = &r->keys[i];

		if (key->id_len == 0 || key->id_len > sizeof key->id ||
		    !canon_is_name(key->ca, ".-_", false))
			return error_set(
			    err, ERROR_INPUT, "reseed: a key has no id, or its CA no proper name");
		if (i > 0 && compare_ids(key - 1, key) >= 0)
			return error_set(
			    err, ERROR_INPUT, "reseed: the keys do not rise by their ids");
		if (key->first_scope != scopes || key->scope_count > r->scope_count - scopes)
			return error_set(
			    err, ERROR_INPUT, "reseed: the CRL scopes do not follow their keys");
		scopes += key->scope_count;
		if (!check_scopes(r, key, err))
			return false;
	}
	return scopes == r->scope_count ||
	       error_set(err, ERROR_INPUT, "reseed: a CRL scope belongs to no key");
}

static bool
check(const struct reseed *r, struct error *err)
{
	if (r->key_count == 0 || r->key_count > RESEED_KEYS_MAX ||
	    r->scope_count > RESEED_SCOPES_MAX)
		return error_set(err, ERROR_LIMIT,
		    "reseed: a document names 1 to %d keys and at most %d CRL scopes",
		    RESEED_KEYS_MAX, RESEED_SCOPES_MAX);
	if (!canon_is_name(r->token, ".-_", false) || r->signer_id == 0 ||
	    !has_octet(r->challenge, sizeof r->challenge) || !canon_time_valid(r->floor))
		return error_set(err, ERROR_INPUT,
		    "reseed: token, signer, challenge or floor is missing, or is none");
	return check_keys(r, err);
}

/* ---- writing */

static void
put_number(struct canon_writer *w, const uint8_t *octets, size_t len)
{
	char text[NUMBER_TEXT_MAX];

	if (len == 0)
		canon_put(w, "-");
	else if (crl_number_to_text((struct bytes){octets, len}, text, sizeof text))
		canon_put(w, "%s", text);
	else
		w->failed = true;
}

static void
put_scope(struct canon_writer *w, const struct reseed_scope *s)
{
	char time[CANON_TIME_SIZE];

	canon_put(w, "crl: ");
	if (has_octet(s->scope, sizeof s->scope))
		canon_put_hex(w, s->scope, sizeof s->scope);
	else
		canon_put(w, "-");
	canon_put(w, " number=");
	put_number(w, s->number, s->number_len);
	canon_put(w, " base=");
	put_number(w, s->base, s->base_len);
	canon_time_text(s->this_update, time);
	canon_put(w, " this-update=%s\n", time);
}

bool
reseed_format(const struct reseed *r, char out[RESEED_TEXT_MAX + 1], size_t *len, struct error *err)
{
	struct canon_writer w;
	char time[CANON_TIME_SIZE];

	if (!check(r, err))
		return false;
	canon_writer_init(&w, out, RESEED_TEXT_MAX + 1);
	canon_put(&w, "chancery-reseed: 1\ntoken: %s\nsigner: %u\n", r->token, r->signer_id);
	canon_put_hex_line(&w, "challenge", true, r->challenge, sizeof r->challenge);
	canon_time_text(r->floor, time);
	canon_put(&w, "floor: %s\n", time);
	for (size_t i = 0; i < r->key_count; i++) {
		const struct reseed_key *key = &r->keys[i];

		canon_put(&w, "key: ");
		canon_put_hex(&w, key->id, key->id_len);
		canon_put(&w, " %s\n", key->ca);
		for (size_t k = 0; k < key->scope_count; k++)
			put_scope(&w, &r->scopes[key->first_scope + k]);
	}
	return canon_written(&w, WHAT, len, err);
}

/* ---- reading */

static bool
bad_line(const struct canon_reader *r, const char *what, struct error *err)
{
	return error_set(err, ERROR_INPUT, "%s, line %u: %s", r->what, r->line - 1, what);
}

static bool
copy_name(char to[CANON_NAME_MAX + 1], const char *from)
{
	size_t len = strlen(from);

	if (len > CANON_NAME_MAX)
		return false;
	memcpy(to, from, len + 1);
	return true;
}

static bool
read_number(const char *text, uint8_t out[CRL_NUMBER_MAX], size_t *len)
{
	struct bytes number;

	if (strcmp(text, "-") == 0) {
		*len = 0;
		return true;
	}
	if (!crl_number_from_text(text, out, &number, NULL))
		return false;
	*len = number.len;
	return true;
}

/* "name=value" off the list; NULL when it is another name. */
static char *
next_value(char **list, const char *name)
{
	char *word = canon_next_word(list, ' ');
	size_t len = strlen(name);

	if (word == NULL || strncmp(word, name, len) != 0 || word[len] != '=')
		return NULL;
	return word + len + 1;
}

static bool
read_scope(struct canon_reader *in, struct reseed *r, struct error *err)
{
	struct reseed_key *key = &r->keys[r->key_count - 1];
	struct reseed_scope *s = &r->scopes[r->scope_count];
	char *list, *scope, *number, *base, *time;

	if (r->scope_count == RESEED_SCOPES_MAX)
		return error_set(
		    err, ERROR_LIMIT, "reseed: more than %d CRL scopes", RESEED_SCOPES_MAX);
	if (!canon_take(in, "crl", &list, err))
		return false;
	*s = (struct reseed_scope){.number_len = 0};
	scope = canon_next_word(&list, ' ');
	number = next_value(&list, "number");
	base = next_value(&list, "base");
	time = next_value(&list, "this-update");
	if (scope == NULL || number == NULL || base == NULL || time == NULL || list != NULL ||
	    (strcmp(scope, "-") != 0 && !canon_hex(scope, s->scope, sizeof s->scope)) ||
	    !read_number(number, s->number, &s->number_len) ||
	    !read_number(base, s->base, &s->base_len) || !canon_time(time, &s->this_update))
		return bad_line(in, "must read 'crl: SCOPE number=N base=N this-update=TIME'", err);
	key->scope_count++;
	r->scope_count++;
	return true;
}

static bool
read_key(struct canon_reader *in, struct reseed *r, struct error *err)
{
	struct reseed_key *key = &r->keys[r->key_count];
	char *list, *id;

	if (r->key_count == RESEED_KEYS_MAX)
		return error_set(err, ERROR_LIMIT, "reseed: more than %d keys", RESEED_KEYS_MAX);
	if (!canon_take(in, "key", &list, err))
		return false;
	*key = (struct reseed_key){.first_scope = r->scope_count};
	id = canon_next_word(&list, ' ');
	if (list == NULL || !canon_hex_upto(id, key->id, sizeof key->id, &key->id_len) ||
	    !copy_name(key->ca, list))
		return bad_line(in, "must read 'key: CKA_ID CA'", err);
	r->key_count++;
	while (canon_next_is(in, "crl")) {
		if (!read_scope(in, r, err))
			return false;
	}
	return true;
}

static bool
read_values(struct canon_reader *in, void *to, struct error *err)
{
	struct reseed *r = to;
	uint64_t signer_id;

	if (!canon_take_text(in, "token", r->token, sizeof r->token, err) ||
	    !canon_take_number(in, "signer", UINT16_MAX, &signer_id, err) ||
	    !canon_take_hex(in, "challenge", r->challenge, sizeof r->challenge, NULL, err) ||
	    !canon_take_time(in, "floor", &r->floor, err))
		return false;
	r->signer_id = (uint16_t)signer_id;
	do {
		if (!read_key(in, r, err))
			return false;
	} while (canon_next_is(in, "key"));
	return true;
}

static bool
write_again(const void *from, char *text, size_t *len, struct error *err)
{
	return reseed_format(from, text, len, err);
}

bool
reseed_parse(const char *text, size_t len, struct reseed *out, struct error *err)
{
	static const struct canon_form form = {
	    WHAT, "chancery-reseed", RESEED_TEXT_MAX, read_values, write_again};

	*out = (struct reseed){.key_count = 0};
	return canon_parse(&form, text, len, out, err);
}
