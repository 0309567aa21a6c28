#include "daemon/x509/crl_abstract.h"

#include <string.h>

#define WHAT "abstract of a CRL"
#define NUMBER_TEXT_MAX 64

/* With its NUL: so no text can be taken for the tag of another domain. */
static const char domain[] = "chancery-crl-abstract";

static const char *const reason_names[CRL_ABSTRACT_REASONS] = {
    "unspecified",
    "keyCompromise",
    "cACompromise",
    "affiliationChanged",
    "superseded",
    "cessationOfOperation",
    "certificateHold",
    NULL,
    "removeFromCRL",
    "privilegeWithdrawn",
    "aACompromise",
};

const char *
crl_abstract_reason(unsigned reason)
{
	return reason < CRL_ABSTRACT_REASONS ? reason_names[reason] : NULL;
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
	canon_put(&w, "chancery-crl-abstract: 1\ntoken: %s\nsigner: ", a->token);
	canon_put_hex(&w, a->signer, sizeof a->signer);
	canon_put(&w, "\nkey: ");
	canon_put_hex(&w, a->key, a->key_len);
	canon_put(&w, "\nsha256: ");
	canon_put_hex(&w, a->sha256, sizeof a->sha256);
	canon_put(&w, "\nlength: %llu\n", (unsigned long long)a->length);
	put_number(&w, "number", a->number, a->number_len);
	put_number(&w, "base", a->base, a->base_len);
	canon_put(&w, "scope: ");
	if (a->has_scope)
		canon_put_hex(&w, a->scope, sizeof a->scope);
	else
		canon_put(&w, "-");
	canon_put(&w, "\nthis-update: %s\nnext-update: %s\nentries: %llu\n", from, to,
	    (unsigned long long)a->entries);
	for (unsigned i = 0; i < CRL_ABSTRACT_REASONS; i++)
		if (a->reasons[i] > 0)
			canon_put(&w, "reason: %s %llu\n", reason_names[i],
			    (unsigned long long)a->reasons[i]);
	put_last(&w, a);
	*len = w.len;
	return !w.failed ||
	       error_set(err, ERROR_LIMIT, WHAT " of more than %d bytes", CRL_ABSTRACT_TEXT_MAX);
}

/* ---- reading */

static bool
take_hex(struct canon_reader *r, const char *key, uint8_t *out, size_t len, struct error *err)
{
	char *v;

	return canon_take(r, key, &v, err) && (canon_hex(v, out, len) || fail(err, key));
}

static bool
take_count(struct canon_reader *r, const char *key, uint64_t *out, struct error *err)
{
	char *v;

	return canon_take(r, key, &v, err) &&
	       (canon_number(v, UINT64_MAX / 2, out) || fail(err, key));
}

static bool
take_time(struct canon_reader *r, const char *key, int64_t *out, struct error *err)
{
	char *v;

	return canon_take(r, key, &v, err) && (canon_time(v, out) || fail(err, key));
}

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
	a->key_len = strlen(v) / 2;
	return (strlen(v) % 2 == 0 && a->key_len <= sizeof a->key &&
		   canon_hex(v, a->key, a->key_len)) ||
	       fail(err, "key");
}

static bool
take_scope(struct canon_reader *r, struct crl_abstract *a, struct error *err)
{
	char *v;

	if (!canon_take(r, "scope", &v, err))
		return false;
	a->has_scope = strcmp(v, "-") != 0;
	return !a->has_scope || canon_hex(v, a->scope, sizeof a->scope) || fail(err, "scope");
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
		while (reason < CRL_ABSTRACT_REASONS &&
		       (reason_names[reason] == NULL || strcmp(reason_names[reason], name) != 0))
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
take_values(char *text, struct crl_abstract *a, struct error *err)
{
	struct canon_reader r;
	char *v;

	canon_reader_init(&r, text, WHAT);
	if (!canon_take(&r, "chancery-crl-abstract", &v, err))
		return false;
	if (strcmp(v, "1") != 0)
		return error_set(
		    err, ERROR_INPUT, WHAT " of version '%.20s'; this program knows version 1", v);
	if (!canon_take(&r, "token", &v, err))
		return false;
	if (!canon_is_name(v, "-", true))
		return fail(err, "token");
	memcpy(a->token, v, strlen(v) + 1);
	return take_hex(&r, "signer", a->signer, sizeof a->signer, err) && take_key(&r, a, err) &&
	       take_hex(&r, "sha256", a->sha256, sizeof a->sha256, err) &&
	       take_count(&r, "length", &a->length, err) &&
	       take_number(&r, "number", a->number, &a->number_len, err) &&
	       take_number(&r, "base", a->base, &a->base_len, err) && take_scope(&r, a, err) &&
	       take_time(&r, "this-update", &a->this_update, err) &&
	       take_time(&r, "next-update", &a->next_update, err) &&
	       take_count(&r, "entries", &a->entries, err) && take_reasons(&r, a, err) &&
	       take_last(&r, a, err) && canon_end(&r, err);
}

bool
crl_abstract_parse(const char *text, size_t len, struct crl_abstract *out, struct error *err)
{
	char copy[CRL_ABSTRACT_TEXT_MAX + 1], again[CRL_ABSTRACT_TEXT_MAX + 1];
	size_t again_len = 0;

	if (len > CRL_ABSTRACT_TEXT_MAX)
		return error_set(err, ERROR_LIMIT, WHAT " of %zu bytes; allowed: at most %d", len,
		    CRL_ABSTRACT_TEXT_MAX);
	if (len == 0 || memchr(text, '\0', len) != NULL)
		return error_set(err, ERROR_INPUT, WHAT " that is empty or has a NUL byte");
	memcpy(copy, text, len);
	copy[len] = '\0';
	*out = (struct crl_abstract){0};
	if (!take_values(copy, out, err) || !crl_abstract_format(out, again, &again_len, err))
		return false;
	return (again_len == len && memcmp(again, text, len) == 0) ||
	       error_set(err, ERROR_INPUT, WHAT " not in its one canonical form");
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
