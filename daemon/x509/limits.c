/* The rules of a limits document, its text, and questions to it. */

#include "daemon/x509/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/sha.h>

#include "daemon/x509/limits_int.h"
#include "daemon/x509/name.h"
#include "daemon/x509/template_int.h"

#define KEY_USAGE_ALL 0x1ff

bool
limits_fail(struct error *err, const char *field, const char *words)
{
	return error_set(err, ERROR_INPUT, "limits, field '%s': %s", field, words);
}

void
limits_purpose_text(const struct limits_purpose *purpose, char out[OID_TEXT_MAX])
{
	struct bytes oid = {purpose->oid, purpose->len};
	const char *name = oid_purpose_name(oid);

	if (name != NULL)
		(void)snprintf(out, OID_TEXT_MAX, "%s", name);
	else
		oid_to_text(oid, out);
}

/* ---- order of lists */

static int
compare_signatures(const void *a, const void *b)
{
	const enum sig_alg *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int
compare_signers(const void *a, const void *b)
{
	const uint16_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int
compare_names(const void *a, const void *b)
{
	char x[LIMITS_NAME_TEXT_SIZE], y[LIMITS_NAME_TEXT_SIZE];

	limits_name_text(a, x);
	limits_name_text(b, y);
	return strcmp(x, y);
}

static int
compare_digests(const void *a, const void *b)
{
	return memcmp(a, b, LIMITS_DIGEST_LEN);
}

static int
compare_keys(const struct limits_operator *x, const struct limits_operator *y)
{
	size_t len = x->spki_len < y->spki_len ? x->spki_len : y->spki_len;
	int c = memcmp(x->spki, y->spki, len);

	return c != 0 ? c : (x->spki_len > y->spki_len) - (x->spki_len < y->spki_len);
}

static int
compare_operators(const void *a, const void *b)
{
	const struct limits_operator *x = a, *y = b;
	int c = strcmp(x->person, y->person);

	return c != 0 ? c : compare_keys(x, y);
}

static int
compare_purposes(const void *a, const void *b)
{
	char x[OID_TEXT_MAX], y[OID_TEXT_MAX];

	limits_purpose_text(a, x);
	limits_purpose_text(b, y);
	return strcmp(x, y);
}

static int
compare_templates(const void *a, const void *b)
{
	const struct limits_template *x = a, *y = b;

	return strcmp(x->name, y->name);
}

typedef int comparison(const void *a, const void *b);

/* True when each is greater than the one before. */
static bool
rises(const void *list, size_t count, size_t size, comparison *compare)
{
	const char *at = list;

	for (size_t i = 1; i < count; i++)
		if (compare(at + (i - 1) * size, at + i * size) >= 0)
			return false;
	return true;
}

#define SORT(list, count, compare) qsort(list, count, sizeof(list)[0], compare)
#define RISES(list, count, compare) rises(list, count, sizeof(list)[0], compare)

void
limits_sort(struct limits *l)
{
	SORT(l->signatures, l->signature_count, compare_signatures);
	SORT(l->signer_ids, l->signer_count, compare_signers);
	SORT(l->permitted, l->permitted_count, compare_names);
	SORT(l->excluded, l->excluded_count, compare_names);
	SORT(l->responders, l->responder_count, compare_digests);
	SORT(l->operators, l->operator_count, compare_operators);
	SORT(l->templates, l->template_count, compare_templates);
	for (size_t i = 0; i < l->template_count; i++)
		SORT(l->templates[i].purposes, l->templates[i].purpose_count, compare_purposes);
}

/* ---- rules */

static bool
check_count(size_t count, size_t least, size_t most, const char *field, struct error *err)
{
	if (count >= least && count <= most)
		return true;
	return error_set(err, ERROR_LIMIT, "limits, field '%s': %zu of them; allowed: %zu to %zu",
	    field, count, least, most);
}

static bool
check_head(const struct limits *l, struct error *err)
{
	static const uint8_t none[LIMITS_DIGEST_LEN];

	if (!canon_is_name(l->ca, "._-", false))
		return limits_fail(err, "ca",
		    "must be a CA's name: [A-Za-z0-9._-], at most 64, first a letter or digit");
	if (l->version == 0 || l->version > LIMITS_VERSION_MAX)
		return limits_fail(err, "version", "must be from 1 to 1000000");
	if (l->version == 1 && memcmp(l->previous, none, sizeof none) != 0)
		return limits_fail(err, "previous", "must be '-': version 1 replaces nothing");
	if (l->version > 1 &&
	    (memcmp(l->previous, none, sizeof none) == 0 || memcmp(l->key, none, sizeof none) == 0))
		return limits_fail(err, "previous",
		    "must be the SHA-256 of the document before, and 'key' that of the CA's key");
	if (!canon_is_name(l->token, "._-", false))
		return limits_fail(err, "token",
		    "must be a token's name: [A-Za-z0-9._-], at most 64, first a letter or digit");
	return true;
}

static bool
check_algorithms(const struct limits *l, struct error *err)
{
	if (key_alg_name(l->algorithm) == NULL)
		return limits_fail(err, "algorithm", "must be one of " KEY_ALG_TEXT);
	if (!check_count(l->signature_count, 1, LIMITS_SIGNATURE_MAX, "signatures", err))
		return false;
	for (size_t i = 0; i < l->signature_count; i++)
		if (!sig_alg_fits_key(l->signatures[i], l->algorithm))
			return limits_fail(err, "signatures",
			    "names an algorithm that a key of this kind cannot sign with");
	return RISES(l->signatures, l->signature_count, compare_signatures) ||
	       limits_fail(err, "signatures", "must rise by number, none twice");
}

static bool
check_subject(const struct limits *l, struct error *err)
{
	struct bytes subject = {l->subject, l->subject_len};

	if (!check_count(l->subject_len, 1, sizeof l->subject, "subject", err))
		return false;
	if (!name_check(subject, err))
		return error_wrap(err, "limits, field 'subject'");
	return !name_is_empty(subject) ||
	       limits_fail(err, "subject", "is empty (RFC 5280 4.1.2.6)");
}

static bool
check_bounds(const struct limits *l, struct error *err)
{
	if (!canon_time_valid(l->not_after))
		return limits_fail(err, "not-after", "is outside the years 2000 to 9999");
	if (l->path_length < -1 || l->path_length > LIMITS_PATH_LENGTH_MAX)
		return limits_fail(err, "path-length", "must be '-' or 0 to 16");
	if (!check_count(l->signer_count, 1, LIMITS_SIGNER_MAX, "signer-ids", err))
		return false;
	if (l->signer_ids[0] == 0 || !RISES(l->signer_ids, l->signer_count, compare_signers))
		return limits_fail(err, "signer-ids", "must rise from 1 to 65535, none twice");
	if (!check_count(l->responder_count, 0, LIMITS_RESPONDER_MAX, "responders", err))
		return false;
	return RISES(l->responders, l->responder_count, compare_digests) ||
	       limits_fail(err, "responders", "must rise, none twice");
}

static bool
check_names(const struct limits_name *names, size_t count, const char *field, struct error *err)
{
	char text[LIMITS_NAME_TEXT_SIZE];
	struct limits_name again;

	if (!check_count(count, 0, LIMITS_NAME_COUNT_MAX, field, err))
		return false;
	for (size_t i = 0; i < count; i++) {
		limits_name_text(&names[i], text);
		if (!limits_name_from_text(text, &again, err))
			return error_wrap(err, "limits, field '%s'", field);
		if (again.address_len != names[i].address_len ||
		    memcmp(again.address, names[i].address, again.address_len) != 0 ||
		    memcmp(again.mask, names[i].mask, again.address_len) != 0)
			return limits_fail(err, field, "has an address that is not its text's");
	}
	return rises(names, count, sizeof *names, compare_names) ||
	       limits_fail(err, field, "must rise in the order of bytes, none twice");
}

static bool
check_operator(const struct limits_operator *o, struct error *err)
{
	if (!canon_is_name(o->person, "._@-", false))
		return limits_fail(err, "operator",
		    "must begin with a person's name: [A-Za-z0-9._@-], at most 64, first a letter "
		    "or digit");
	if (o->rights == 0 || (o->rights & ~(LIMITS_RIGHT_LIMITS | LIMITS_RIGHT_DECIDE)) != 0)
		return limits_fail(
		    err, "operator", "must have the rights limits, decide, or limits,decide");
	if (o->spki_len > sizeof o->spki || !statement_check_key(o->spki, o->spki_len, err))
		return error_wrap(err, "limits, operator %s", o->person);
	return true;
}

static bool
check_operators(const struct limits *l, struct error *err)
{
	if (!check_count(l->operator_count, 1, LIMITS_OPERATOR_MAX, "operator", err))
		return false;
	for (size_t i = 0; i < l->operator_count; i++) {
		if (!check_operator(&l->operators[i], err))
			return false;
		/* One key under two names would sign for two persons. */
		for (size_t j = 0; j < i; j++)
			if (compare_keys(&l->operators[i], &l->operators[j]) == 0)
				return error_set(err, ERROR_INPUT,
				    "limits, field 'operator': %s and %s have the same key",
				    l->operators[j].person, l->operators[i].person);
	}
	if (!RISES(l->operators, l->operator_count, compare_operators))
		return limits_fail(err, "operator", "must stand in the order of persons and keys");
	if (l->quorum == 0 || l->quorum > limits_count_persons(l, LIMITS_RIGHT_LIMITS))
		return error_set(err, ERROR_INPUT,
		    "limits, field 'quorum': must be from 1 to %u, as many persons as have the "
		    "right 'limits'",
		    limits_count_persons(l, LIMITS_RIGHT_LIMITS));
	return true;
}

static bool
fail_template(struct error *err, const struct limits_template *t, const char *words)
{
	return error_set(err, ERROR_INPUT, "limits, template '%.64s': %s", t->name, words);
}

static bool
check_purposes(const struct limits_template *t, struct error *err)
{
	uint8_t again[OID_DER_MAX];
	char text[OID_TEXT_MAX];
	struct bytes oid;

	if (!check_count(t->purpose_count, 0, LIMITS_PURPOSE_MAX, "template", err))
		return false;
	for (size_t i = 0; i < t->purpose_count; i++) {
		const struct limits_purpose *p = &t->purposes[i];

		if (p->len == 0 || p->len > sizeof p->oid)
			return fail_template(err, t, "eku must be object identifiers");
		oid_to_text((struct bytes){p->oid, p->len}, text);
		if (!oid_from_text(text, again, &oid, err) ||
		    !bytes_equal(oid, (struct bytes){p->oid, p->len}))
			return fail_template(err, t, "eku must be object identifiers");
	}
	return RISES(t->purposes, t->purpose_count, compare_purposes) ||
	       fail_template(err, t, "eku must rise in the order of bytes, none twice");
}

static bool
check_template(const struct limits_template *t, struct error *err)
{
	if (!canon_is_name(t->name, "-", true))
		return fail_template(
		    err, t, "its name must be [a-z0-9-], at most 64, first a letter or digit");
	if (t->key_usage == 0 || (t->key_usage & ~KEY_USAGE_ALL) != 0)
		return fail_template(
		    err, t, "key-usage must be words of RFC 5280 4.2.1.3, at least one");
	if (t->ca && t->automatic)
		return fail_template(
		    err, t, "a CA certificate always needs a decision; allowed: manual");
	if (t->ca != ((t->key_usage & KU_KEY_CERT_SIGN) != 0) ||
	    (!t->ca && (t->key_usage & KU_CRL_SIGN) != 0))
		return fail_template(err, t,
		    "a CA has the key usage keyCertSign, and only a CA has it or cRLSign (RFC 5280 "
		    "4.2.1.3)");
	if (t->path_length < -1 || t->path_length > LIMITS_PATH_LENGTH_MAX ||
	    (t->path_length >= 0 && !t->ca))
		return fail_template(
		    err, t, "path-length must be '-', or 0 to 16 for a CA (RFC 5280 4.2.1.9)");
	if (t->validity_s < 1 || t->validity_s > TEMPLATE_VALIDITY_MAX_S)
		return fail_template(err, t, "validity must be from 1 second to 50 years");
	return check_purposes(t, err);
}

static bool
check_templates(const struct limits *l, struct error *err)
{
	if (!check_count(l->template_count, 0, LIMITS_TEMPLATE_MAX, "template", err))
		return false;
	for (size_t i = 0; i < l->template_count; i++)
		if (!check_template(&l->templates[i], err))
			return false;
	return RISES(l->templates, l->template_count, compare_templates) ||
	       limits_fail(err, "template", "must stand in the order of names, none twice");
}

/* A new key is none to retire, and templates are for certificates. */
static bool
check_retired(const struct limits *l, struct error *err)
{
	if (l->retired == LIMITS_IN_USE)
		return true;
	if (limits_retired_word(l->retired) == NULL)
		return limits_fail(err, "retired", "must be 'key' or 'ca'");
	if (l->version == 1)
		return limits_fail(err, "retired", "cannot stand in version 1");
	return l->template_count == 0 ||
	       limits_fail(err, "template", "must not stand where the key is retired");
}

static bool
check(const struct limits *l, struct error *err)
{
	return check_head(l, err) && check_retired(l, err) && check_algorithms(l, err) &&
	       check_subject(l, err) && check_bounds(l, err) &&
	       check_names(l->permitted, l->permitted_count, "permitted", err) &&
	       check_names(l->excluded, l->excluded_count, "excluded", err) &&
	       check_operators(l, err) && check_templates(l, err);
}

/* ---- text */

/* What stands before the n-th item of a list. */
static const char *
comma(size_t n)
{
	return n > 0 ? "," : "";
}

static void
put_path_length(struct canon_writer *w, int path_length)
{
	if (path_length < 0)
		canon_put(w, "-\n");
	else
		canon_put(w, "%d\n", path_length);
}

static void
put_names(struct canon_writer *w, const char *key, const struct limits_name *names, size_t count)
{
	char text[LIMITS_NAME_TEXT_SIZE];

	canon_put(w, "%s: %s", key, count == 0 ? "-" : "");
	for (size_t i = 0; i < count; i++) {
		limits_name_text(&names[i], text);
		canon_put(w, "%s%s", comma(i), text);
	}
	canon_put(w, "\n");
}

static void
put_head(struct canon_writer *w, const struct limits *l)
{
	char at[CANON_TIME_SIZE];

	canon_put(w, "chancery-limits: 1\nca: %s\nversion: %u\n", l->ca, (unsigned)l->version);
	canon_put_hex_line(w, "previous", l->version > 1, l->previous, sizeof l->previous);
	canon_put_hex_line(w, "key", l->version > 1 || limits_adopts_key(l), l->key, sizeof l->key);
	canon_put(w, "token: %s\nkind: %s\n", l->token, l->root ? "root" : "subordinate");
	if (l->retired != LIMITS_IN_USE)
		canon_put(w, "retired: %s\n", limits_retired_word(l->retired));
	canon_put(w, "algorithm: %s\nsignatures: ", key_alg_name(l->algorithm));
	for (size_t i = 0; i < l->signature_count; i++)
		canon_put(w, "%s%s", comma(i), sig_alg_name(l->signatures[i]));
	canon_put(w, "\nsubject: ");
	canon_put_hex(w, l->subject, l->subject_len);
	canon_time_text(l->not_after, at);
	canon_put(w, "\nnot-after: %s\npath-length: ", at);
	put_path_length(w, l->path_length);
	canon_put(w, "signer-ids: ");
	for (size_t i = 0; i < l->signer_count; i++)
		canon_put(w, "%s%u", comma(i), l->signer_ids[i]);
	canon_put(w, "\n");
}

static void
put_lists(struct canon_writer *w, const struct limits *l)
{
	put_names(w, "permitted", l->permitted, l->permitted_count);
	put_names(w, "excluded", l->excluded, l->excluded_count);
	canon_put(w, "responders: %s", l->responder_count == 0 ? "-" : "");
	for (size_t i = 0; i < l->responder_count; i++) {
		canon_put(w, "%s", comma(i));
		canon_put_hex(w, l->responders[i], LIMITS_DIGEST_LEN);
	}
	canon_put(w, "\nquorum: %u\n", l->quorum);
}

static void
put_operator(struct canon_writer *w, const struct limits_operator *o)
{
	static const char *const rights[] = {"", "limits", "decide", "limits,decide"};
	char key[2 * STATEMENT_SPKI_MAX];

	(void)EVP_EncodeBlock((unsigned char *)key, o->spki, (int)o->spki_len);
	canon_put(w, "operator: %s %s %s\n", o->person, rights[o->rights & 3], key);
}

static void
put_template(struct canon_writer *w, const struct limits_template *t)
{
	char text[OID_TEXT_MAX];
	size_t n = 0;

	canon_put(w, "template: %s %s ca=%s key-usage=", t->name,
	    t->automatic ? "automatic" : "manual", t->ca ? "yes" : "no");
	for (unsigned bit = 1; bit <= KEY_USAGE_ALL; bit <<= 1)
		if ((t->key_usage & bit) != 0)
			canon_put(w, "%s%s", comma(n++), key_usage_name((uint16_t)bit));
	canon_put(w, " eku=%s", t->purpose_count == 0 ? "-" : "");
	for (size_t i = 0; i < t->purpose_count; i++) {
		limits_purpose_text(&t->purposes[i], text);
		canon_put(w, "%s%s", comma(i), text);
	}
	canon_put(w, " validity=%lld path-length=", (long long)t->validity_s);
	put_path_length(w, t->path_length);
}

bool
limits_format(const struct limits *l, char out[LIMITS_TEXT_MAX + 1], size_t *len, struct error *err)
{
	struct canon_writer w;

	if (!check(l, err))
		return false;
	canon_writer_init(&w, out, LIMITS_TEXT_MAX + 1);
	put_head(&w, l);
	put_lists(&w, l);
	for (size_t i = 0; i < l->operator_count; i++)
		put_operator(&w, &l->operators[i]);
	for (size_t i = 0; i < l->template_count; i++)
		put_template(&w, &l->templates[i]);
	canon_put_hex_line(&w, "nonce", true, l->nonce, sizeof l->nonce);
	canon_put_hex_line(
	    &w, "policy-sha256", l->has_policy, l->policy_sha256, sizeof l->policy_sha256);
	return canon_written(&w, "limits", len, err);
}

void
limits_sha256(const char *text, size_t len, uint8_t digest[32])
{
	(void)SHA256((const unsigned char *)text, len, digest);
}

/* ---- questions */

const char *
limits_retired_word(enum limits_retired retired)
{
	switch (retired) {
	case LIMITS_KEY_RETIRED:
		return "key";
	case LIMITS_CA_RETIRED:
		return "ca";
	case LIMITS_IN_USE:
		break;
	}
	return NULL;
}

const struct limits_template *
limits_find_template(const struct limits *l, const char *name)
{
	for (size_t i = 0; i < l->template_count; i++)
		if (strcmp(l->templates[i].name, name) == 0)
			return &l->templates[i];
	return NULL;
}

const struct limits_operator *
limits_find_operator(const struct limits *l, struct bytes spki)
{
	for (size_t i = 0; i < l->operator_count; i++) {
		const struct limits_operator *o = &l->operators[i];

		if (bytes_equal(spki, (struct bytes){o->spki, o->spki_len}))
			return o;
	}
	return NULL;
}

unsigned
limits_count_persons(const struct limits *l, enum limits_right right)
{
	unsigned persons = 0;

	for (size_t i = 0; i < l->operator_count; i++) {
		bool counted = (l->operators[i].rights & right) == 0;

		for (size_t j = 0; j < i && !counted; j++)
			counted = (l->operators[j].rights & right) != 0 &&
				  strcmp(l->operators[j].person, l->operators[i].person) == 0;
		if (!counted)
			persons++;
	}
	return persons;
}

bool
limits_allows_signature(const struct limits *l, enum sig_alg alg)
{
	for (size_t i = 0; i < l->signature_count; i++)
		if (l->signatures[i] == alg)
			return true;
	return false;
}

bool
limits_allows_signer(const struct limits *l, uint16_t signer_id)
{
	for (size_t i = 0; i < l->signer_count; i++)
		if (l->signer_ids[i] == signer_id)
			return true;
	return false;
}

bool
limits_allows_responder(const struct limits *l, const uint8_t spki_sha256[32])
{
	for (size_t i = 0; i < l->responder_count; i++)
		if (memcmp(l->responders[i], spki_sha256, LIMITS_DIGEST_LEN) == 0)
			return true;
	return false;
}

bool
limits_template_from(const struct template *t, struct limits_template *out, struct error *err)
{
	*out = (struct limits_template){
	    .automatic = t->automatic,
	    .ca = t->ca,
	    .key_usage = t->key_usage,
	    .validity_s = t->validity_s,
	    .path_length = t->path_length,
	};
	(void)snprintf(out->name, sizeof out->name, "%s", t->name);
	if (t->purpose_count > LIMITS_PURPOSE_MAX)
		return error_set(err, ERROR_LIMIT,
		    "template '%s' has %zu purposes; limits allow at most %d", t->name,
		    t->purpose_count, LIMITS_PURPOSE_MAX);
	for (size_t i = 0; i < t->purpose_count; i++) {
		struct limits_purpose *p = &out->purposes[i];

		if (t->purposes[i].len > sizeof p->oid)
			return error_set(err, ERROR_LIMIT,
			    "template '%s' has a purpose of %zu octets; limits allow at most %zu",
			    t->name, t->purposes[i].len, sizeof p->oid);
		memcpy(p->oid, t->purposes[i].p, t->purposes[i].len);
		p->len = t->purposes[i].len;
	}
	out->purpose_count = t->purpose_count;
	SORT(out->purposes, out->purpose_count, compare_purposes);
	return check_template(out, err);
}

/* ---- changes */

bool
limits_adopts_key(const struct limits *l)
{
	static const uint8_t none[LIMITS_DIGEST_LEN];

	return l->version == 1 && memcmp(l->key, none, sizeof none) != 0;
}

static bool
fail_change(struct error *err, const struct limits *old, const char *words)
{
	return error_set(err, ERROR_CONFLICT, "new limits of CA %s: %s", old->ca, words);
}

bool
limits_check_change(const struct limits *old, const uint8_t old_sha256[32],
    const uint8_t key_sha256[32], const struct limits *fresh, struct error *err)
{
	if (strcmp(old->ca, fresh->ca) != 0 || strcmp(old->token, fresh->token) != 0 ||
	    old->root != fresh->root)
		return fail_change(err, old, "they are of another CA, token or kind of CA");
	if (old->algorithm != fresh->algorithm || old->subject_len != fresh->subject_len ||
	    memcmp(old->subject, fresh->subject, old->subject_len) != 0)
		return fail_change(
		    err, old, "algorithm and subject belong to the key and cannot be changed");
	if (fresh->version != old->version + 1)
		return error_set(err, ERROR_CONFLICT,
		    "new limits of CA %s: version %u does not follow version %u, which is "
		    "in force: others changed them meanwhile; make the change anew from those",
		    old->ca, (unsigned)fresh->version, (unsigned)old->version);
	if (memcmp(fresh->previous, old_sha256, sizeof fresh->previous) != 0)
		return fail_change(err, old,
		    "'previous' is not the SHA-256 of the document that is in force; make the "
		    "change anew from that one");
	if (memcmp(fresh->key, key_sha256, sizeof fresh->key) != 0)
		return fail_change(err, old, "'key' is not the CA's key");
	return fresh->retired >= old->retired ||
	       fail_change(err, old,
		   old->retired == LIMITS_CA_RETIRED
		       ? "the CA is retired for good, and 'retired: ca' stays"
		       : "the key is retired for good, and 'retired' stays");
}
