#include "daemon/x509/crl_abstract.h"

#include <string.h>

#include "daemon/x509/crl.h"

#define WHAT "abstract of a CRL"
#define NUMBER_TEXT_MAX 64

/* With its NUL: so no text can be taken for the tag of another domain. */
static const char domain[] = "chancery-crl-abstract";

const char *
crl_abstract_reason(unsigned reason)
{
	return reason == 0 ? "unspecified" : crl_reason_name(reason);
}

static bool
fail(struct error *err, const char *field)
{
	return error_set(err, ERROR_INPUT, WHAT ", field '%s' is not what it can be", field);
}

static bool
check(const struct crl_abstract *a, struct error *err)
{
	uint64_t sum = a->reasons[7];

	if (!canon_is_name(a->token, "-", true))
		return fail(err, "token");
	if (a->key_len == 0 || a->key_len > CRL_ABSTRACT_KEY_MAX)
		return fail(err, "key");
	if (a->number_len == 0)
		return fail(err, "number");
	if (!canon_time_valid(a->this_update) || !canon_time_valid(a->next_update) ||
	    (a->has_last && !canon_time_valid(a->last)))
		return fail(err, "this-update, next-update or last");
	if (sum != 0)
		return fail(err, "reason");
	for (unsigned i = 0; i < CRL_ABSTRACT_REASONS; i++) {
		if (a->reasons[i] > a->entries - sum)
			return fail(err, "reason");
		sum += a->reasons[i];
	}
	if (sum != a->entries || (a->has_last ? a->fresh > a->entries : a->fresh != 0))
		return fail(err, "entries");
	return true;
}

/* ---- writing */

static void
put_number(struct canon_writer *w, const char *key, const uint8_t *octets, size_t len)
{
	char text[NUMBER_TEXT_MAX] = "-";

	if (len > 0 && !crl_number_to_text((struct bytes){octets, len}, text, sizeof text))
		w->failed = true;
	canon_put(w, "%s: %s\n", key, text);
}

static void
put_last(struct canon_writer *w, const struct crl_abstract *a)
{
	char last[CANON_TIME_SIZE];

	if (!a->has_last) {
		canon_put(w, "last: -\nnew: -\n");
		return;
	}
	canon_time_text(a->last, last);
	canon_put(w, "last: %s\nnew: %llu\n", last, (unsigned long long)a->fresh);
}

bool
crl_abstract_format(const struct crl_abstract *a, char out[CRL_ABSTRACT_TEXT_MAX + 1], size_t *len,
    struct error *err)
{
	char from[CANON_TIME_SIZE], to[CANON_TIME_SIZE];
	struct canon_writer w;

	if (!check(a, err))
		return false;
	canon_time_text(a->this_update, from);
	canon_time_text(a->next_update, to);
	canon_writer_init(&w, out, CRL_ABSTRACT_TEXT_MAX + 1);
	canon_put(&w, "chancery-crl-abstract: 1\ntoken: %s\n", a->token);
	canon_put_hex_line(&w, "signer", true, a->signer, sizeof a->signer);
	canon_put_hex_line(&w, "key", true, a->key, a->key_len);
	canon_put_hex_line(&w, "sha256", true, a->sha256, sizeof a->sha256);
	canon_put(&w, "length: %llu\n", (unsigned long long)a->length);
	put_number(&w, "number", a->number, a->number_len);
	put_number(&w, "base", a->base, a->base_len);
	canon_put_hex_line(&w, "scope", a->has_scope, a->scope, sizeof a->scope);
	canon_put(&w, "this-update: %s\nnext-update: %s\nentries: %llu\n", from, to,
	    (unsigned long long)a->entries);
	for (unsigned i = 0; i < CRL_ABSTRACT_REASONS; i++)
		if (a->reasons[i] > 0)
			canon_put(&w, "reason: %s %llu\n", crl_abstract_reason(i),
			    (unsigned long long)a->reasons[i]);
	put_last(&w, a);
	return canon_written(&w, WHAT, len, err);
}

/* ---- reading */

static bool
take_number(struct canon_reader *r, const char *key, uint8_t out[CRL_NUMBER_MAX], size_t *len,
    struct error *err)
{
	struct bytes number;
	char *v;

	*len = 0;
	if (!canon_take(r, key, &v, err))
		return false;
	if (strcmp(v, "-") == 0)
		return true;
	if (!crl_number_from_text(v, out, &number, err))
		return false;
	*len = number.len;
	memmove(out, number.p, number.len);
	return true;
}

static bool
take_key(struct canon_reader *r, struct crl_abstract *a, struct error *err)
{
	char *v;

	if (!canon_take(r, "key", &v, err))
		return false;
	return canon_hex_upto(v, a->key, sizeof a->key, &a->key_len) || fail(err, "key");
}

static bool
is_reason(unsigned reason, const char *name)
{
	const char *word = crl_abstract_reason(reason);

	return word != NULL && strcmp(word, name) == 0;
}

static bool
take_reasons(struct canon_reader *r, struct crl_abstract *a, struct error *err)
{
	const char *name;
	char *v;

	while (canon_next_is(r, "reason")) {
		unsigned reason = 0;

		if (!canon_take(r, "reason", &v, err))
			return false;
		name = canon_next_word(&v, ' ');
		while (reason < CRL_ABSTRACT_REASONS && !is_reason(reason, name))
			reason++;
		if (v == NULL || reason == CRL_ABSTRACT_REASONS ||
		    !canon_number(v, UINT64_MAX / 2, &a->reasons[reason]))
			return fail(err, "reason");
	}
	return true;
}

static bool
take_last(struct canon_reader *r, struct crl_abstract *a, struct error *err)
{
	char *last, *fresh;

	if (!canon_take(r, "last", &last, err) || !canon_take(r, "new", &fresh, err))
		return false;
	a->has_last = strcmp(last, "-") != 0;
	if (!a->has_last)
		return strcmp(fresh, "-") == 0 || fail(err, "new");
	return (canon_time(last, &a->last) && canon_number(fresh, UINT64_MAX / 2, &a->fresh)) ||
	       fail(err, "last");
}

static bool
read_values(struct canon_reader *r, void *to, struct error *err)
{
	struct crl_abstract *a = to;
	const uint64_t max = UINT64_MAX / 2;

	return canon_take_text(r, "token", a->token, sizeof a->token, err) &&
	       canon_take_hex(r, "signer", a->signer, sizeof a->signer, NULL, err) &&
	       take_key(r, a, err) &&
	       canon_take_hex(r, "sha256", a->sha256, sizeof a->sha256, NULL, err) &&
	       canon_take_number(r, "length", max, &a->length, err) &&
	       take_number(r, "number", a->number, &a->number_len, err) &&
	       take_number(r, "base", a->base, &a->base_len, err) &&
	       canon_take_hex(r, "scope", a->scope, sizeof a->scope, &a->has_scope, err) &&
	       canon_take_time(r, "this-update", &a->this_update, err) &&
	       canon_take_time(r, "next-update", &a->next_update, err) &&
	       canon_take_number(r, "entries", max, &a->entries, err) && take_reasons(r, a, err) &&
	       take_last(r, a, err);
}

static bool
write_again(const void *from, char *text, size_t *len, struct error *err)
{
	return crl_abstract_format(from, text, len, err);
}

bool
crl_abstract_parse(const char *text, size_t len, struct crl_abstract *out, struct error *err)
{
	static const struct canon_form form = {
	    WHAT, "chancery-crl-abstract", CRL_ABSTRACT_TEXT_MAX, read_values, write_again};

	*out = (struct crl_abstract){0};
	return canon_parse(&form, text, len, out, err);
}

/* ---- signatures */

bool
crl_abstract_sign(const char *text, size_t len, EVP_PKEY *identity,
    uint8_t sig[SIGNER_START_SIGNATURE_LEN], struct error *err)
{
	return signer_identity_sign(domain, text, len, identity, sig, err) || error_wrap(err, WHAT);
}

bool
crl_abstract_verify(const char *text, size_t len, const uint8_t *sig, size_t sig_len,
    const uint8_t *spki, size_t spki_len, struct error *err)
{
	return signer_identity_verify(domain, text, len, sig, sig_len, spki, spki_len, err) ||
	       error_wrap(err, WHAT);
}
