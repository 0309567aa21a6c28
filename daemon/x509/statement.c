#include "daemon/x509/statement.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/core/encode.h"
#include "daemon/core/utf8.h"
#include "daemon/x509/canon.h"

#define LINES 11

enum object_kind {
	OBJECT_REQUEST,
	OBJECT_CERTIFICATE,
	OBJECT_KEY,
	OBJECT_CA,
	OBJECT_CRL_KIND,
	OBJECT_TEMPLATE,
	OBJECT_PERSON,
	OBJECT_TOKEN,
};

enum presence {
	NEVER,
	MAYBE,
	ALWAYS,
};

enum reason_kind {
	REASON_NONE,
	REASON_TEXT_OR_NONE,
	REASON_TEXT,
	REASON_WORD,
	REASON_HOLD,
};

/* The table of the header. */
static const struct rule {
	const char *name;
	enum presence ca, csr, template, body;
	enum object_kind object;
	enum reason_kind reason;
	bool ceremony;
} rules[STATEMENT_ACTION_COUNT] = {
    [STATEMENT_APPROVE] = {"approve", ALWAYS, ALWAYS, ALWAYS, NEVER, OBJECT_REQUEST,
	REASON_TEXT_OR_NONE, false},
    [STATEMENT_DENY] = {"deny", ALWAYS, MAYBE, MAYBE, NEVER, OBJECT_REQUEST, REASON_TEXT, false},
    [STATEMENT_REVOKE] = {"revoke", ALWAYS, NEVER, NEVER, NEVER, OBJECT_CERTIFICATE, REASON_WORD,
	false},
    [STATEMENT_HOLD] = {"hold", ALWAYS, NEVER, NEVER, NEVER, OBJECT_CERTIFICATE, REASON_HOLD,
	false},
    [STATEMENT_RELEASE] = {"release", ALWAYS, NEVER, NEVER, NEVER, OBJECT_CERTIFICATE, REASON_NONE,
	false},
    [STATEMENT_CA_CREATE] = {"ca-create", ALWAYS, NEVER, NEVER, ALWAYS, OBJECT_CA, REASON_NONE,
	true},
    [STATEMENT_CA_INSTALL] = {"ca-install", ALWAYS, NEVER, NEVER, ALWAYS, OBJECT_CA, REASON_NONE,
	true},
    [STATEMENT_CRL_ISSUE] = {"crl-issue", ALWAYS, NEVER, NEVER, NEVER, OBJECT_CRL_KIND, REASON_NONE,
	false},
    [STATEMENT_TEMPLATE_APPLY] = {"template-apply", NEVER, NEVER, NEVER, ALWAYS, OBJECT_TEMPLATE,
	REASON_NONE, false},
    [STATEMENT_OPERATOR_ADD] = {"operator-add", NEVER, NEVER, NEVER, ALWAYS, OBJECT_PERSON,
	REASON_NONE, false},
    [STATEMENT_CA_LIMITS] = {"ca-limits", ALWAYS, NEVER, NEVER, ALWAYS, OBJECT_CA, REASON_NONE,
	true},
    [STATEMENT_SIGNER_RESEED] = {"signer-reseed", NEVER, NEVER, NEVER, ALWAYS, OBJECT_TOKEN,
	REASON_NONE, true},
    [STATEMENT_PIN_UNLOCK] = {"pin-unlock", NEVER, NEVER, NEVER, ALWAYS, OBJECT_TOKEN, REASON_NONE,
	false},
    [STATEMENT_PIN_OPERATE] = {"pin-operate", NEVER, NEVER, NEVER, ALWAYS, OBJECT_TOKEN,
	REASON_NONE, false},
    [STATEMENT_PIN_LOCK] = {"pin-lock", NEVER, NEVER, NEVER, ALWAYS, OBJECT_TOKEN, REASON_NONE,
	false},
    [STATEMENT_PIN_CLEAR] = {"pin-clear", NEVER, NEVER, NEVER, ALWAYS, OBJECT_TOKEN, REASON_NONE,
	false},
    [STATEMENT_PIN_SPLIT] = {"pin-split", NEVER, NEVER, NEVER, ALWAYS, OBJECT_TOKEN, REASON_NONE,
	false},
    [STATEMENT_CA_RENEW] = {"ca-renew", ALWAYS, NEVER, NEVER, ALWAYS, OBJECT_CA, REASON_NONE, true},
    [STATEMENT_CA_ROLLOVER] = {"ca-rollover", ALWAYS, NEVER, NEVER, ALWAYS, OBJECT_CA, REASON_NONE,
	true},
    [STATEMENT_CA_REKEY] = {"ca-rekey", ALWAYS, NEVER, NEVER, ALWAYS, OBJECT_KEY, REASON_NONE,
	true},
    [STATEMENT_KEY_DESTROY] = {"key-destroy", ALWAYS, NEVER, NEVER, ALWAYS, OBJECT_CA, REASON_NONE,
	true},
    [STATEMENT_CA_CROSS] = {"ca-cross", ALWAYS, NEVER, NEVER, ALWAYS, OBJECT_CA, REASON_NONE,
	false},
    [STATEMENT_KEY_ATTEST] = {"key-attest", ALWAYS, NEVER, NEVER, NEVER, OBJECT_CA, REASON_NONE,
	false},
};

static const struct {
	const char *word;
	unsigned code;
} reasons[] = {
    {"unspecified", 0},
    {"keyCompromise", 1},
    {"cACompromise", 2},
    {"affiliationChanged", 3},
    {"superseded", 4},
    {"cessationOfOperation", 5},
    {"privilegeWithdrawn", 9},
    {"aACompromise", 10},
};

const char *
statement_action_name(enum statement_action action)
{
	return (unsigned)action < STATEMENT_ACTION_COUNT ? rules[action].name : "?";
}

bool
statement_action_parse(const char *word, enum statement_action *action)
{
	for (size_t i = 0; i < STATEMENT_ACTION_COUNT; i++)
		if (strcmp(rules[i].name, word) == 0) {
			*action = (enum statement_action)i;
			return true;
		}
	return false;
}

bool
statement_is_ceremony(enum statement_action action)
{
	return (unsigned)action < STATEMENT_ACTION_COUNT && rules[action].ceremony;
}

bool
statement_is_pin(enum statement_action action)
{
	return action >= STATEMENT_PIN_UNLOCK && action <= STATEMENT_PIN_SPLIT;
}

int64_t
statement_life_max(enum statement_action action)
{
	if (statement_is_pin(action))
		return STATEMENT_LIFE_PIN_S;
	return statement_is_ceremony(action) ? STATEMENT_LIFE_CEREMONY_S : STATEMENT_LIFE_MAX_S;
}

bool
statement_reason_code(const char *word, unsigned *code)
{
	for (size_t i = 0; i < COUNT_OF(reasons); i++)
		if (strcmp(reasons[i].word, word) == 0) {
			*code = reasons[i].code;
			return true;
		}
	return false;
}

bool
statement_revocation(const char *reason, unsigned *code, int64_t *since)
{
	const char *at = strstr(reason, STATEMENT_SINCE);
	char word[STATEMENT_REASON_MAX + 1];

	*since = -1;
	if (at == NULL)
		return statement_reason_code(reason, code);
	if ((size_t)(at - reason) >= sizeof word)
		return false;
	memcpy(word, reason, (size_t)(at - reason));
	word[at - reason] = '\0';
	return statement_reason_code(word, code) && canon_time(at + strlen(STATEMENT_SINCE), since);
}

/* ---- characters */

/* 64 lower-case hex digits. */
static bool
is_sha256(const char *s)
{
	uint8_t digest[32];

	return canon_hex(s, digest, sizeof digest);
}

/* 8-4-4-4-12 lower-case hex digits. */
static bool
is_uuid(const char *s)
{
	for (size_t i = 0; i < 36; i++) {
		bool dash = i == 8 || i == 13 || i == 18 || i == 23;
		bool hex = (s[i] >= '0' && s[i] <= '9') || (s[i] >= 'a' && s[i] <= 'f');

		if (dash ? s[i] != '-' : !hex)
			return false;
	}
	return s[36] == '\0';
}

/* Characters that let a terminal show something else than what is signed. */
static bool
is_deceptive(uint32_t c)
{
	return c < 0x20 || (c >= 0x7f && c <= 0x9f) || c == 0xad || c == 0x61c ||
	       (c >= 0x200b && c <= 0x200f) || (c >= 0x2028 && c <= 0x202e) ||
	       (c >= 0x2060 && c <= 0x206f) || c == 0xfeff || (c >= 0xfff0 && c <= 0xfffb) ||
	       (c >= 0xe0000 && c <= 0xe007f) || (c & 0xfffe) == 0xfffe;
}

/* A line of free text: no control characters, no blanks at its ends, not "-". */
static bool
is_text(const char *s)
{
	size_t len = strlen(s), n;
	uint32_t c;

	if (len == 0 || len > STATEMENT_REASON_MAX || strcmp(s, "-") == 0)
		return false;
	if (s[0] == ' ' || s[len - 1] == ' ')
		return false;
	for (; *s != '\0'; s += n) {
		n = utf8_decode(s, UTF8_MAX, &c);
		if (n == 0 || is_deceptive(c))
			return false;
	}
	return true;
}

/* ---- rules */

static bool
fail(struct error *err, const char *action, const char *field, const char *words)
{
	return error_set(err, ERROR_INPUT, "statement '%s', field '%s': %s", action, field, words);
}

static bool
check_presence(
    const struct rule *r, enum presence want, bool given, const char *field, struct error *err)
{
	if (want == ALWAYS && !given)
		return fail(err, r->name, field, "is missing, this action needs it");
	if (want == NEVER && given)
		return fail(err, r->name, field, "must be '-' for this action");
	return true;
}

static bool
check_object(const struct rule *r, const struct statement *s, struct error *err)
{
	switch (r->object) {
	case OBJECT_REQUEST:
		return is_uuid(s->object) ||
		       fail(err, r->name, "object", "must be a request's id (lower-case UUID)");
	case OBJECT_CERTIFICATE:
		return is_sha256(s->object) ||
		       fail(err, r->name, "object",
			   "must be a certificate's SHA-256 (64 lower-case hex digits)");
	case OBJECT_KEY:
		return is_sha256(s->object) ||
		       fail(err, r->name, "object",
			   "must be the SHA-256 of the key that is replaced (64 lower-case hex "
			   "digits)");
	case OBJECT_CA:
		return strcmp(s->object, s->ca) == 0 ||
		       fail(err, r->name, "object", "must be the CA's name, as in field 'ca'");
	case OBJECT_CRL_KIND:
		return strcmp(s->object, "full") == 0 || strcmp(s->object, "delta") == 0 ||
		       fail(err, r->name, "object", "must be 'full' or 'delta'");
	case OBJECT_TEMPLATE:
		return canon_is_name(s->object, "-", true) ||
		       fail(err, r->name, "object",
			   "must be a template's name: [a-z0-9-], "
			   "at most 64, first a letter or digit");
	case OBJECT_PERSON:
		return canon_is_name(s->object, "._@-", false) ||
		       fail(err, r->name, "object",
			   "must be a person's name: [A-Za-z0-9._@-], at most 64, first a letter "
			   "or "
			   "digit");
	case OBJECT_TOKEN:
		return canon_is_name(s->object, "-", true) ||
		       fail(err, r->name, "object",
			   "must be a token's name: [a-z0-9-], at most 64, first a letter or "
			   "digit");
	}
	return false;
}

static bool
check_reason(const struct rule *r, const struct statement *s, struct error *err)
{
	bool absent = s->reason[0] == '\0';
	unsigned code;
	int64_t since;

	switch (r->reason) {
	case REASON_NONE:
		return absent || fail(err, r->name, "reason", "must be '-' for this action");
	case REASON_WORD:
		if (!statement_revocation(s->reason, &code, &since))
			return fail(err, r->name, "reason",
			    "must be one of unspecified, keyCompromise, cACompromise, "
			    "affiliationChanged, superseded, cessationOfOperation, "
			    "privilegeWithdrawn, aACompromise (RFC 5280 5.3.1), and may have a "
			    "time "
			    "behind it, as in \"keyCompromise since 2026-11-22T12:00:00Z\" "
			    "(5.3.2)");
		return since <= s->issued ||
		       fail(err, r->name, "reason",
			   "has a time that is still to come (RFC 5280 5.3.2)");
	case REASON_HOLD:
		return strcmp(s->reason, "certificateHold") == 0 ||
		       fail(err, r->name, "reason", "must be certificateHold (RFC 5280 5.3.1)");
	case REASON_TEXT:
		if (absent)
			return fail(err, r->name, "reason", "is missing, this action needs it");
		break;
	case REASON_TEXT_OR_NONE:
		if (absent)
			return true;
		break;
	}
	return is_text(s->reason) ||
	       fail(err, r->name, "reason",
		   "must be one line of UTF-8 text of at most 400 bytes, without control "
		   "characters and without blanks at its ends");
}

static bool
check_times(const struct rule *r, const struct statement *s, struct error *err)
{
	if (!canon_time_valid(s->issued))
		return fail(err, r->name, "issued", "is outside the years 2000 to 9999");
	if (!canon_time_valid(s->expires))
		return fail(err, r->name, "expires", "is outside the years 2000 to 9999");
	if (s->expires <= s->issued)
		return fail(err, r->name, "expires", "must be after 'issued'");
	if (s->expires - s->issued > statement_life_max(s->action))
		return error_set(err, ERROR_LIMIT,
		    "statement '%s', field 'expires': %lld s after 'issued'; allowed: at most %lld "
		    "s",
		    r->name, (long long)(s->expires - s->issued),
		    (long long)statement_life_max(s->action));
	return true;
}

/* The rules of the header; format and parse both ask here. */
static bool
check(const struct statement *s, struct error *err)
{
	const struct rule *r;
	bool has_template = s->template_name[0] != '\0';

	if ((unsigned)s->action >= STATEMENT_ACTION_COUNT)
		return error_set(err, ERROR_INPUT, "statement with unknown action number %u",
		    (unsigned)s->action);
	r = &rules[s->action];
	if (!check_presence(r, r->ca, s->ca[0] != '\0', "ca", err) ||
	    !check_presence(r, r->csr, s->has_csr, "csr-sha256", err) ||
	    !check_presence(r, r->template, has_template, "template", err) ||
	    !check_presence(r, r->body, s->has_body, "body-sha256", err))
		return false;
	if (s->ca[0] != '\0' && !canon_is_name(s->ca, "._-", false))
		return fail(err, r->name, "ca",
		    "must be a CA's name: [A-Za-z0-9._-], at most 64, first a letter or digit");
	if (has_template && !canon_is_name(s->template_name, "-", true))
		return fail(err, r->name, "template",
		    "must be NAME/VERSION, the name of [a-z0-9-], at most 64");
	if (has_template
		? s->template_version == 0 || s->template_version > STATEMENT_TEMPLATE_VERSION_MAX
		: s->template_version != 0)
		return fail(err, r->name, "template", "must be NAME/VERSION, the version from 1");
	return check_object(r, s, err) && check_reason(r, s, err) && check_times(r, s, err);
}

/* ---- text */

static const char *
or_dash(const char *s)
{
	return s[0] != '\0' ? s : "-";
}

static bool
write_text(
    const struct statement *s, char out[STATEMENT_TEXT_MAX + 1], size_t *len, struct error *err)
{
	char csr[65] = "-", body[65] = "-", nonce[33] = "", template[96] = "-";
	char issued[CANON_TIME_SIZE], expires[CANON_TIME_SIZE];
	int n;

	if (s->has_csr)
		hex_encode(s->csr_sha256, sizeof s->csr_sha256, csr);
	if (s->has_body)
		hex_encode(s->body_sha256, sizeof s->body_sha256, body);
	if (s->template_name[0] != '\0')
		(void)snprintf(template, sizeof template, "%s/%u", s->template_name,
		    (unsigned)s->template_version);
	hex_encode(s->nonce, sizeof s->nonce, nonce);
	canon_time_text(s->issued, issued);
	canon_time_text(s->expires, expires);
	n = snprintf(out, STATEMENT_TEXT_MAX + 1,
	    "chancery-statement: 1\naction: %s\nca: %s\nobject: %s\ncsr-sha256: %s\n"
	    "template: %s\nreason: %s\nbody-sha256: %s\nnonce: %s\nissued: %s\nexpires: %s\n",
	    rules[s->action].name, or_dash(s->ca), s->object, csr, template, or_dash(s->reason),
	    body, nonce, issued, expires);
	if (n < 0 || n > STATEMENT_TEXT_MAX)
		return error_set(
		    err, ERROR_LIMIT, "statement of more than %d bytes", STATEMENT_TEXT_MAX);
	*len = (size_t)n;
	return true;
}

bool
statement_format(
    const struct statement *s, char out[STATEMENT_TEXT_MAX + 1], size_t *len, struct error *err)
{
	return check(s, err) && write_text(s, out, len, err);
}

static const char *const keys[LINES] = {"chancery-statement", "action", "ca", "object",
    "csr-sha256", "template", "reason", "body-sha256", "nonce", "issued", "expires"};

/* Cuts the text into the values of its lines, in place. */
static bool
split(char *text, char *values[LINES], struct error *err)
{
	for (size_t i = 0; i < LINES; i++) {
		size_t key_len = strlen(keys[i]);
		char *end = strchr(text, '\n');

		if (end == NULL || strncmp(text, keys[i], key_len) != 0 ||
		    strncmp(text + key_len, ": ", 2) != 0) {
			(void)error_set(err, ERROR_INPUT,
			    "statement, line %zu: must read '%s: ' and a value", i + 1, keys[i]);
			return false;
		}
		*end = '\0';
		values[i] = text + key_len + 2;
		if (values[i][0] == '\0') {
			(void)error_set(err, ERROR_INPUT,
			    "statement, line %zu: '%s' has no value; an absent one is '-'", i + 1,
			    keys[i]);
			return false;
		}
		text = end + 1;
	}
	if (text[0] != '\0') {
		(void)error_set(
		    err, ERROR_INPUT, "statement: something stands after its %d lines", LINES);
		return false;
	}
	return true;
}

/* A value into a fixed field; "-" leaves it empty. */
static bool
take_text(const char *value, const char *key, char *out, size_t size, struct error *err)
{
	size_t len = strlen(value);

	if (strcmp(value, "-") == 0)
		return true;
	if (len >= size)
		return error_set(err, ERROR_LIMIT,
		    "statement, field '%s': %zu bytes; allowed: at most %zu", key, len, size - 1);
	memcpy(out, value, len + 1);
	return true;
}

static bool
take_hex(
    const char *value, const char *key, uint8_t *out, size_t len, bool *given, struct error *err)
{
	if (given != NULL && strcmp(value, "-") == 0)
		return true;
	if (!canon_hex(value, out, len))
		return error_set(err, ERROR_INPUT,
		    "statement, field '%s': must be %zu lower-case hex digits%s", key, 2 * len,
		    given != NULL ? " or '-'" : "");
	if (given != NULL)
		*given = true;
	return true;
}

static bool
take_template(char *value, struct statement *s, struct error *err)
{
	char *slash = strchr(value, '/');
	unsigned long version = 0;
	size_t digits;

	if (strcmp(value, "-") == 0)
		return true;
	if (slash != NULL) {
		digits = strspn(slash + 1, "0123456789");
		if (digits > 0 && digits <= 7 && slash[1 + digits] == '\0')
			version = strtoul(slash + 1, NULL, 10);
	}
	if (version == 0)
		return error_set(err, ERROR_INPUT,
		    "statement, field 'template': must be NAME/VERSION, the version from 1");
	*slash = '\0';
	s->template_version = (uint32_t)version;
	return take_text(value, "template", s->template_name, sizeof s->template_name, err);
}

static bool
take_values(char *const v[LINES], struct statement *s, struct error *err)
{
	if (strcmp(v[0], "1") != 0)
		return error_set(err, ERROR_INPUT,
		    "statement of version '%.20s'; this program knows version 1", v[0]);
	if (!statement_action_parse(v[1], &s->action))
		return error_set(err, ERROR_INPUT, "statement with unknown action '%.40s'", v[1]);
	if (!take_text(v[2], "ca", s->ca, sizeof s->ca, err) ||
	    !take_text(v[3], "object", s->object, sizeof s->object, err) ||
	    !take_hex(v[4], "csr-sha256", s->csr_sha256, 32, &s->has_csr, err) ||
	    !take_template(v[5], s, err) ||
	    !take_text(v[6], "reason", s->reason, sizeof s->reason, err) ||
	    !take_hex(v[7], "body-sha256", s->body_sha256, 32, &s->has_body, err) ||
	    !take_hex(v[8], "nonce", s->nonce, sizeof s->nonce, NULL, err))
		return false;
	if (!canon_time_shape(v[9], &s->issued) || !canon_time_shape(v[10], &s->expires))
		return error_set(err, ERROR_INPUT,
		    "statement, fields 'issued' and 'expires': must be like 2026-11-22T12:00:00Z");
	return true;
}

bool
statement_parse(const char *text, size_t len, struct statement *out, struct error *err)
{
	char copy[STATEMENT_TEXT_MAX + 1], again[STATEMENT_TEXT_MAX + 1];
	char *values[LINES] = {NULL};
	struct statement s = {0};
	size_t again_len = 0;

	if (len > STATEMENT_TEXT_MAX)
		return error_set(err, ERROR_LIMIT, "statement of %zu bytes; allowed: at most %d",
		    len, STATEMENT_TEXT_MAX);
	if (memchr(text, '\0', len) != NULL)
		return error_set(err, ERROR_INPUT, "statement with a NUL byte");
	memcpy(copy, text, len);
	copy[len] = '\0';
	if (!split(copy, values, err) || !take_values(values, &s, err) ||
	    !statement_format(&s, again, &again_len, err))
		return false;
	if (again_len != len || memcmp(again, text, len) != 0)
		return error_set(err, ERROR_INPUT,
		    "statement not in its one canonical form (a date that does not exist, a "
		    "leading zero)");
	*out = s;
	return true;
}

bool
statement_check_time(const struct statement *s, int64_t now, struct error *err)
{
	char at[CANON_TIME_SIZE];

	if (now < s->issued - STATEMENT_SKEW_MAX_S) {
		canon_time_text(s->issued, at);
		return error_set(err, ERROR_DENIED,
		    "statement issued at %s, which is in the future; check the clocks", at);
	}
	if (now >= s->expires) {
		canon_time_text(s->expires, at);
		return error_set(err, ERROR_DENIED, "statement expired at %s; sign it anew", at);
	}
	return true;
}
