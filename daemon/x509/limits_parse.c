/* From text to limits. The shape is read here; the rules stand in limits.c, which
 * sees the result when it is written again. */

#include <string.h>

#include "daemon/core/encode.h"
#include "daemon/x509/limits_int.h"

#define SEPARATOR "---\n"

static bool
too_many(const char *field, size_t most, struct error *err)
{
	return error_set(
	    err, ERROR_LIMIT, "limits, field '%s': allowed are at most %zu", field, most);
}

static bool
read_path_length(const char *value, int *path_length)
{
	uint64_t n = 0;

	*path_length = -1;
	if (strcmp(value, "-") == 0)
		return true;
	if (!canon_number(value, LIMITS_PATH_LENGTH_MAX, &n))
		return false;
	*path_length = (int)n;
	return true;
}

/* ---- the lines up to the operators */

static bool
take_version(struct canon_reader *r, struct limits *l, struct error *err)
{
	bool previous = false, key = false;
	uint64_t version = 0;
	char *value;

	if (!canon_take(r, "version", &value, err))
		return false;
	if (!canon_number(value, LIMITS_VERSION_MAX, &version))
		return limits_fail(err, "version", "must be a number from 1 to 1000000");
	l->version = (uint32_t)version;
	if (!canon_take_hex(r, "previous", l->previous, sizeof l->previous, &previous, err) ||
	    !canon_take_hex(r, "key", l->key, sizeof l->key, &key, err))
		return false;
	if (key && !limits_adopts_key(l) && version == 1)
		return limits_fail(err, "key", "is no digest");
	return (previous == (version > 1) && (key || version <= 1)) ||
	       limits_fail(err, "previous",
		   "must be '-' in version 1 and a digest later; 'key' must be one later");
}

static bool
take_kind(struct canon_reader *r, struct limits *l, struct error *err)
{
	char *value;

	if (!canon_take(r, "kind", &value, err))
		return false;
	l->root = strcmp(value, "root") == 0;
	return l->root || strcmp(value, "subordinate") == 0 ||
	       limits_fail(err, "kind", "must be 'root' or 'subordinate'");
}

static bool
take_retired(struct canon_reader *r, struct limits *l, struct error *err)
{
	char *value;

	if (!canon_next_is(r, "retired"))
		return true;
	if (!canon_take(r, "retired", &value, err))
		return false;
	if (strcmp(value, "key") == 0)
		l->retired = LIMITS_KEY_RETIRED;
	else if (strcmp(value, "ca") == 0)
		l->retired = LIMITS_CA_RETIRED;
	else
		return limits_fail(err, "retired", "must be 'key' or 'ca'");
	return true;
}

static bool
take_algorithms(struct canon_reader *r, struct limits *l, struct error *err)
{
	char *value, *word;

	if (!canon_take(r, "algorithm", &value, err))
		return false;
	if (!key_alg_from_name(value, &l->algorithm))
		return limits_fail(err, "algorithm", "must be one of " KEY_ALG_TEXT);
	if (!canon_take(r, "signatures", &value, err))
		return false;
	while ((word = canon_next_word(&value, ',')) != NULL) {
		if (l->signature_count == LIMITS_SIGNATURE_MAX)
			return too_many("signatures", LIMITS_SIGNATURE_MAX, err);
		if (!sig_alg_from_name(word, &l->signatures[l->signature_count]))
			return limits_fail(err, "signatures",
			    "must be names of signature algorithms, like rsa-sha256 or "
			    "ecdsa-sha384");
		l->signature_count++;
	}
	return true;
}

static bool
take_subject(struct canon_reader *r, struct limits *l, struct error *err)
{
	char *value;

	if (!canon_take(r, "subject", &value, err))
		return false;
	return canon_hex_upto(value, l->subject, sizeof l->subject, &l->subject_len) ||
	       limits_fail(err, "subject",
		   "must be the DER of a Name in lower-case hex digits, at most 1024 octets");
}

static bool
take_bounds(struct canon_reader *r, struct limits *l, struct error *err)
{
	char *value, *word;
	uint64_t id = 0;

	if (!canon_take(r, "not-after", &value, err))
		return false;
	if (!canon_time(value, &l->not_after))
		return limits_fail(err, "not-after", "must be like 2036-11-22T12:00:00Z");
	if (!canon_take(r, "path-length", &value, err))
		return false;
	if (!read_path_length(value, &l->path_length))
		return limits_fail(err, "path-length", "must be '-' or 0 to 16");
	if (!canon_take(r, "signer-ids", &value, err))
		return false;
	while ((word = canon_next_word(&value, ',')) != NULL) {
		if (l->signer_count == LIMITS_SIGNER_MAX)
			return too_many("signer-ids", LIMITS_SIGNER_MAX, err);
		if (!canon_number(word, UINT16_MAX, &id))
			return limits_fail(err, "signer-ids", "must be numbers from 1 to 65535");
		l->signer_ids[l->signer_count++] = (uint16_t)id;
	}
	return true;
}

static bool
take_names(struct canon_reader *r, const char *key, struct limits_name *names, size_t *count,
    struct error *err)
{
	char *value, *word;

	if (!canon_take(r, key, &value, err))
		return false;
	if (strcmp(value, "-") == 0)
		return true;
	while ((word = canon_next_word(&value, ',')) != NULL) {
		if (*count == LIMITS_NAME_COUNT_MAX)
			return too_many(key, LIMITS_NAME_COUNT_MAX, err);
		if (!limits_name_from_text(word, &names[*count], err))
			return error_wrap(err, "limits, field '%s'", key);
		++*count;
	}
	return true;
}

static bool
take_responders(struct canon_reader *r, struct limits *l, struct error *err)
{
	char *value, *word;

	if (!canon_take(r, "responders", &value, err))
		return false;
	if (strcmp(value, "-") == 0)
		return true;
	while ((word = canon_next_word(&value, ',')) != NULL) {
		if (l->responder_count == LIMITS_RESPONDER_MAX)
			return too_many("responders", LIMITS_RESPONDER_MAX, err);
		if (!canon_hex(word, l->responders[l->responder_count], LIMITS_DIGEST_LEN))
			return limits_fail(
			    err, "responders", "must be SHA-256 digests in lower-case hex digits");
		l->responder_count++;
	}
	return true;
}

static bool
take_quorum(struct canon_reader *r, struct limits *l, struct error *err)
{
	uint64_t quorum = 0;
	char *value;

	if (!canon_take(r, "quorum", &value, err))
		return false;
	if (!canon_number(value, LIMITS_QUORUM_MAX, &quorum))
		return limits_fail(err, "quorum", "must be a number from 1 to 16");
	l->quorum = (unsigned)quorum;
	return true;
}

/* ---- operators and templates */

static bool
read_rights(const char *word, unsigned *rights)
{
	if (strcmp(word, "limits") == 0)
		*rights = LIMITS_RIGHT_LIMITS;
	else if (strcmp(word, "decide") == 0)
		*rights = LIMITS_RIGHT_DECIDE;
	else if (strcmp(word, "limits,decide") == 0)
		*rights = LIMITS_RIGHT_LIMITS | LIMITS_RIGHT_DECIDE;
	else
		return false;
	return true;
}

static bool
take_operator(struct canon_reader *r, struct limits *l, struct error *err)
{
	struct limits_operator *o = &l->operators[l->operator_count];
	char *value, *person, *rights;
	struct bytes key;

	if (l->operator_count == LIMITS_OPERATOR_MAX)
		return too_many("operator", LIMITS_OPERATOR_MAX, err);
	if (!canon_take(r, "operator", &value, err))
		return false;
	person = canon_next_word(&value, ' ');
	rights = canon_next_word(&value, ' ');
	if (value == NULL || strlen(person) >= sizeof o->person || !read_rights(rights, &o->rights))
		return limits_fail(err, "operator",
		    "must be a person's name, the rights limits, decide or limits,decide, and a "
		    "public key");
	memcpy(o->person, person, strlen(person) + 1);
	key = (struct bytes){(const uint8_t *)value, strlen(value)};
	if (!base64_decode(key, false, o->spki, sizeof o->spki, &o->spki_len, err))
		return error_wrap(err, "limits, key of operator %s", o->person);
	l->operator_count++;
	return true;
}

/* The rest of the next word when it begins with `key`, otherwise NULL. */
static char *
take_setting(char **line, const char *key)
{
	char *word = canon_next_word(line, ' ');
	size_t len = strlen(key);

	return word != NULL && strncmp(word, key, len) == 0 ? word + len : NULL;
}

static bool
read_key_usage(char *value, uint16_t *bits)
{
	uint16_t bit = 0;
	char *word;

	while ((word = canon_next_word(&value, ',')) != NULL) {
		if (!key_usage_from_name(word, &bit))
			return false;
		*bits |= bit;
	}
	return true;
}

static bool
read_purposes(char *value, struct limits_template *t)
{
	uint8_t buf[OID_DER_MAX];
	struct error ignored = ERROR_INIT;
	struct bytes oid;
	char *word;

	if (strcmp(value, "-") == 0)
		return true;
	while ((word = canon_next_word(&value, ',')) != NULL) {
		struct limits_purpose *p = &t->purposes[t->purpose_count];

		if (t->purpose_count == LIMITS_PURPOSE_MAX ||
		    (!oid_purpose_from_name(word, &oid) &&
			!oid_from_text(word, buf, &oid, &ignored)) ||
		    oid.len > sizeof p->oid)
			return false;
		memcpy(p->oid, oid.p, oid.len);
		p->len = oid.len;
		t->purpose_count++;
	}
	return true;
}

static bool
read_flag(const char *value, const char *yes, const char *no, bool *flag)
{
	*flag = strcmp(value, yes) == 0;
	return *flag || strcmp(value, no) == 0;
}

static bool
read_template(char *line, struct limits_template *t)
{
	char *name = canon_next_word(&line, ' '), *approval = canon_next_word(&line, ' ');
	char *ca = take_setting(&line, "ca="), *usage = take_setting(&line, "key-usage=");
	char *purposes = take_setting(&line, "eku="), *validity = take_setting(&line, "validity=");
	char *path_length = take_setting(&line, "path-length=");
	uint64_t seconds = 0;

	if (line != NULL || ca == NULL || usage == NULL || purposes == NULL || validity == NULL ||
	    path_length == NULL || strlen(name) >= sizeof t->name)
		return false;
	memcpy(t->name, name, strlen(name) + 1);
	if (!read_flag(approval, "automatic", "manual", &t->automatic) ||
	    !read_flag(ca, "yes", "no", &t->ca) || !read_key_usage(usage, &t->key_usage) ||
	    !read_purposes(purposes, t) ||
	    !canon_number(validity, TEMPLATE_VALIDITY_MAX_S, &seconds) ||
	    !read_path_length(path_length, &t->path_length))
		return false;
	t->validity_s = (int64_t)seconds;
	return true;
}

static bool
take_template(struct canon_reader *r, struct limits *l, struct error *err)
{
	unsigned line = r->line;
	char *value;

	if (l->template_count == LIMITS_TEMPLATE_MAX)
		return too_many("template", LIMITS_TEMPLATE_MAX, err);
	if (!canon_take(r, "template", &value, err))
		return false;
	if (!read_template(value, &l->templates[l->template_count]))
		return error_set(err, ERROR_INPUT,
		    "limits, line %u: must read 'template: NAME manual|automatic ca=yes|no "
		    "key-usage=... eku=... validity=SECONDS path-length=...'",
		    line);
	l->template_count++;
	return true;
}

/* ---- the whole */

static bool
take_head(struct canon_reader *r, struct limits *l, struct error *err)
{
	char *format;

	if (!canon_take(r, "chancery-limits", &format, err))
		return false;
	if (strcmp(format, "1") != 0)
		return limits_fail(err, "chancery-limits", "must be 1, the only format there is");
	return canon_take_text(r, "ca", l->ca, sizeof l->ca, err) && take_version(r, l, err) &&
	       canon_take_text(r, "token", l->token, sizeof l->token, err) &&
	       take_kind(r, l, err) && take_retired(r, l, err) && take_algorithms(r, l, err) &&
	       take_subject(r, l, err) && take_bounds(r, l, err) &&
	       take_names(r, "permitted", l->permitted, &l->permitted_count, err) &&
	       take_names(r, "excluded", l->excluded, &l->excluded_count, err) &&
	       take_responders(r, l, err) && take_quorum(r, l, err);
}

static bool
take_rest(struct canon_reader *r, struct limits *l, struct error *err)
{
	while (canon_next_is(r, "operator"))
		if (!take_operator(r, l, err))
			return false;
	while (canon_next_is(r, "template"))
		if (!take_template(r, l, err))
			return false;
	return canon_take_hex(r, "nonce", l->nonce, sizeof l->nonce, NULL, err) &&
	       canon_take_hex(r, "policy-sha256", l->policy_sha256, sizeof l->policy_sha256,
		   &l->has_policy, err) &&
	       canon_end(r, err);
}

bool
limits_parse(const char *text, size_t len, struct limits *out, struct error *err)
{
	char copy[LIMITS_TEXT_MAX + 1];
	struct canon_reader r;
	size_t again_len = 0;

	if (len > LIMITS_TEXT_MAX)
		return error_set(err, ERROR_LIMIT, "limits of %zu bytes; allowed: at most %d", len,
		    LIMITS_TEXT_MAX);
	if (len == 0 || memchr(text, '\0', len) != NULL)
		return error_set(err, ERROR_INPUT, "limits that are empty, or with a NUL byte");
	memcpy(copy, text, len);
	copy[len] = '\0';
	memset(out, 0, sizeof *out);
	canon_reader_init(&r, copy, "limits");
	if (!take_head(&r, out, err) || !take_rest(&r, out, err) ||
	    !limits_format(out, copy, &again_len, err))
		return false;
	if (again_len != len || memcmp(copy, text, len) != 0)
		return error_set(err, ERROR_INPUT,
		    "limits not in their one canonical form (a list out of order, a purpose not "
		    "called by its name)");
	return true;
}

bool
limits_body_parse(struct bytes body, struct limits_body *parts, struct limits *l, struct error *err)
{
	const char *text = (const char *)body.p, *separator;
	uint8_t digest[LIMITS_DIGEST_LEN];

	if (body.len > LIMITS_BODY_MAX)
		return error_set(err, ERROR_LIMIT, "a body of %zu bytes; allowed: at most %d",
		    body.len, LIMITS_BODY_MAX);
	separator = body.len > 0 ? memmem(text, body.len, "\n" SEPARATOR, strlen("\n" SEPARATOR))
				 : NULL;
	if (separator == NULL)
		return error_set(err, ERROR_INPUT,
		    "the body must be a limits document, a line '---' and the CA's policy");
	parts->document = (struct bytes){body.p, (size_t)(separator + 1 - text)};
	parts->policy.p = parts->document.p + parts->document.len + strlen(SEPARATOR);
	parts->policy.len = body.len - parts->document.len - strlen(SEPARATOR);
	if (!limits_parse(text, parts->document.len, l, err))
		return false;
	limits_sha256((const char *)parts->policy.p, parts->policy.len, digest);
	if (l->has_policy ? memcmp(digest, l->policy_sha256, sizeof digest) != 0
			  : parts->policy.len > 0)
		return limits_fail(
		    err, "policy-sha256", "is not the digest of the policy that stands beside it");
	return true;
}
