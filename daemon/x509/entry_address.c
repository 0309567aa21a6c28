#include "daemon/x509/entry_address.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "daemon/x509/capolicy_int.h"
#include "daemon/x509/csr.h"
#include "daemon/x509/name.h"
#include "daemon/x509/oid.h"

#define WORD_MAX 80
#define SUBJECT "subject."
#define SAN "san."
#define REQUESTER "requester"

/* otherName of type 1.3.6.1.4.1.311.20.2.3: user principal name. */
static const uint8_t upn_oid[] = {0x2b, 6, 1, 4, 1, 0x82, 0x37, 20, 2, 3};

static const struct {
	const char *word;
	enum san_type type;
} san_words[] = {
    {"dns", SAN_DNS},
    {"email", SAN_EMAIL},
    {"uri", SAN_URI},
    {"upn", SAN_UNSUPPORTED},
};

/* Octets; len 0: no value. */
struct value {
	size_t len;
	char octets[ENTRY_VALUE_MAX + 1];
};

/* ---- values */

static bool
nobody(const char *word, const char *why, struct error *err)
{
	return error_set(err, ERROR_NOT_FOUND,
	    "the certificate has %s that <%s> could stand for, so it has no entry", why, word);
}

static bool
take(struct value *v, const void *p, size_t len, const char *word, struct error *err)
{
	if (v->len > 0)
		return nobody(word, "several names", err);
	if (len == 0 || len > ENTRY_VALUE_MAX || memchr(p, 0, len) != NULL)
		return nobody(word, "a name that is empty, too long or has a NUL, nothing", err);
	memcpy(v->octets, p, len);
	v->len = len;
	return true;
}

static bool
find_in_subject(const struct certificate *c, const char *word, const char *type, struct value *v,
    struct error *err)
{
	char text[ENTRY_VALUE_MAX + 1];
	struct name_attribute a;
	uint8_t buf[OID_DER_MAX];
	struct name_iter it;
	struct bytes oid;

	if (!name_attribute_oid(type, buf, &oid))
		return error_set(err, ERROR_INPUT, "<%s> names no attribute type", word);
	name_iter_init(&it, c->subject);
	while (name_iter_next(&it, &a)) {
		if (!bytes_equal(a.oid, oid))
			continue;
		if (!name_attribute_text(&a, text, sizeof text))
			return nobody(word, "no text", err);
		if (!take(v, text, strlen(text), word, err))
			return false;
	}
	return true;
}

/* GeneralName otherName with a UPN: [0] { type-id, [0] { UTF8String } }. */
static bool
read_upn(struct bytes general_name, struct bytes *text)
{
	struct der name, value;
	struct bytes oid;

	return der_enter_only(general_name, DER_CONTEXT_CONSTRUCTED(0), &name) &&
	       der_read_oid(&name, &oid) &&
	       bytes_equal(oid, (struct bytes){upn_oid, sizeof upn_oid}) &&
	       der_enter(&name, DER_CONTEXT_CONSTRUCTED(0), &value) && der_end(&name) &&
	       der_read(&value, DER_UTF8_STRING, text) && der_end(&value);
}

static bool
find_in_names(const struct certificate *c, const char *word, const char *type, struct value *v,
    struct error *err)
{
	struct san names[CSR_SAN_MAX];
	struct extension extension;
	struct bytes text;
	size_t kind = 0, count = 0;

	while (kind < COUNT_OF(san_words) && strcasecmp(type, san_words[kind].word) != 0)
		kind++;
	if (kind == COUNT_OF(san_words))
		return error_set(err, ERROR_INPUT,
		    "<%s> is no type of name; allowed: san.dns, san.email, san.uri, san.upn", word);
	if (c->extensions.len == 0 ||
	    !extension_find(c->extensions, oid_subject_alt_name, &extension))
		return true;
	if (!extension_read_subject_alt_name(extension.value, names, CSR_SAN_MAX, &count, err))
		return false;
	for (size_t i = 0; i < count; i++) {
		if (names[i].type != san_words[kind].type)
			continue;
		text = names[i].value;
		if (names[i].type == SAN_UNSUPPORTED && !read_upn(names[i].value, &text))
			continue;
		if (!take(v, text.p, text.len, word, err))
			return false;
	}
	return true;
}

/* subject NULL: whether there is such a variable; its value is a letter. */
static bool
find_value(const struct entry_subject *subject, const char *word, struct value *v,
    bool *from_certificate, struct error *err)
{
	/* An empty Name, and no extensions. */
	static const uint8_t empty_name[] = {0x30, 0};
	static const struct certificate nothing = {.subject = {empty_name, sizeof empty_name}};
	const struct certificate *c = subject != NULL ? subject->certificate : &nothing;

	v->len = 0;
	if (strncasecmp(word, SUBJECT, strlen(SUBJECT)) == 0) {
		*from_certificate = true;
		if (!find_in_subject(c, word, word + strlen(SUBJECT), v, err))
			return false;
	} else if (strncasecmp(word, SAN, strlen(SAN)) == 0) {
		*from_certificate = true;
		if (!find_in_names(c, word, word + strlen(SAN), v, err))
			return false;
	} else if (strcasecmp(word, REQUESTER) != 0) {
		return error_set(err, ERROR_INPUT,
		    "has the variable <%s>, which is none; allowed: <subject.TYPE>, <san.TYPE>, "
		    "<requester>",
		    word);
	} else if (subject != NULL && subject->requester[0] != '\0' &&
		   !take(v, subject->requester, strlen(subject->requester), word, err)) {
		return false;
	}
	if (subject == NULL)
		return take(v, "x", 1, word, err);
	return v->len > 0 || nobody(word, "no name", err);
}

/* ---- text */

struct text {
	char *p;
	size_t len;
	bool full;
};

static void
put(struct text *t, char c)
{
	if (t->len + 1 < ENTRY_TEXT_MAX)
		t->p[t->len++] = c;
	else
		t->full = true;
}

static void
put_escaped(struct text *t, const struct value *v)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < v->len; i++) {
		unsigned char c = (unsigned char)v->octets[i];

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) {
			put(t, (char)c);
			continue;
		}
		put(t, '\\');
		put(t, digits[c >> 4]);
		put(t, digits[c & 15]);
	}
}

/* A variable stands behind "=" and before the value's end. "~=", ">=", "<=" and ":=" compare
 * otherwise than for equality. */
static bool
stands_alone(struct bytes all, size_t start, size_t end, bool filter)
{
	char before = start > 1 ? (char)all.p[start - 2] : '\0';
	char after = end < all.len ? (char)all.p[end] : '\0';

	if (start < 2 || all.p[start - 1] != '=' || strchr("~<>:", before) != NULL)
		return false;
	return filter ? after == ')' : after == '\0' || after == ',' || after == '+';
}

static bool
put_variable(struct text *t, struct bytes all, size_t *at, bool filter,
    const struct entry_subject *subject, bool *from_certificate, struct error *err)
{
	const uint8_t *end = memchr(all.p + *at, '>', all.len - *at);
	size_t len = end != NULL ? (size_t)(end - all.p) - *at - 1 : 0;
	char word[WORD_MAX];
	struct value v;

	if (end == NULL || len == 0 || len >= sizeof word)
		return error_set(err, ERROR_INPUT, "has a '<' that begins no variable");
	memcpy(word, all.p + *at + 1, len);
	word[len] = '\0';
	if (!stands_alone(all, *at, *at + len + 2, filter))
		return error_set(err, ERROR_INPUT,
		    "has <%s> as a part of something; it must be a whole value, as in "
		    "uid=<%s>,o=example or (mail=<%s>)",
		    word, word, word);
	if (!find_value(subject, word, &v, from_certificate, err))
		return false;
	put_escaped(t, &v);
	*at += len + 2;
	return true;
}

static bool
expand(struct bytes all, bool filter, const struct entry_subject *subject, char *out,
    bool *from_certificate, bool *has_variable, struct error *err)
{
	struct text t = {.p = out};

	for (size_t i = 0; i < all.len;) {
		char c;

		if (all.p[i] == '<') {
			*has_variable = true;
			if (!put_variable(&t, all, &i, filter, subject, from_certificate, err))
				return false;
			continue;
		}
		c = url_octet(all, &i);
		if (c == '\0')
			return error_set(err, ERROR_INPUT, "has a NUL");
		put(&t, c);
	}
	out[t.len] = '\0';
	return !t.full ||
	       error_set(err, ERROR_LIMIT, "becomes longer than %d bytes", ENTRY_TEXT_MAX);
}

/* ---- the URL */

static bool
check_characters(const char *url, struct error *err)
{
	size_t len = strlen(url);

	if (len > ENTRY_URL_MAX)
		return error_set(
		    err, ERROR_INPUT, "has %zu bytes; allowed: %d", len, ENTRY_URL_MAX);
	for (const char *p = url; *p != '\0'; p++) {
		if (*p <= 0x20 || *p >= 0x7f || strchr("\"\\^`{|}#", *p) != NULL)
			return error_set(err, ERROR_INPUT,
			    "has a blank or a character that must be written as %%XX (RFC 3986 "
			    "2.1)");
		if (*p == '%' && (strspn(p + 1, "0123456789abcdefABCDEF") < 2))
			return error_set(err, ERROR_INPUT,
			    "has a '%%' without two hex digits behind it (RFC 3986 2.1)");
	}
	return true;
}

static bool
read_server(const char *url, struct entry_address *a, const char **rest, struct error *err)
{
	const char *scheme = strstr(url, "://");
	size_t len = scheme == NULL ? 0 : (size_t)(scheme - url) + 3 + strcspn(scheme + 3, "/?");
	struct url parsed;

	if (len == 0 || url[len] != '/' || len >= sizeof a->server)
		return error_set(err, ERROR_INPUT, "is no ldap://HOST/DN or ldaps://HOST/DN");
	memcpy(a->server, url, len);
	a->server[len] = '\0';
	if (!url_parse(a->server, &parsed, err))
		return false;
	if ((parsed.scheme & (URL_LDAP | URL_LDAPS)) == 0 || parsed.host.len == 0)
		return error_set(
		    err, ERROR_INPUT, "has another scheme than ldap and ldaps, or no host");
	*rest = url + len + 1;
	return true;
}

static bool
check_search(const struct entry_address *a, struct bytes scope, struct error *err)
{
	size_t depth = 0, i;

	if (!url_word_is(scope, "one") && !url_word_is(scope, "sub"))
		return error_set(err, ERROR_INPUT, "has a filter and needs the scope one or sub");
	/* Up to where the first parenthesis closes. */
	for (i = 0; i < a->filter.len; i++) {
		if (a->filter.p[i] == '(')
			depth++;
		else if (depth == 0 || (a->filter.p[i] == ')' && --depth == 0))
			break;
	}
	return i + 1 == a->filter.len || error_set(err, ERROR_INPUT,
					     "has a filter that is no filter in parentheses "
					     "(RFC 4515)");
}

bool
entry_address_parse(const char *url, struct entry_address *a, struct error *err)
{
	char sample[ENTRY_TEXT_MAX];
	bool has_variable = false;
	struct bytes scope;
	const char *rest = NULL;

	memset(a, 0, sizeof *a);
	if (!check_characters(url, err) || !read_server(url, a, &rest, err))
		return false;
	a->dn = url_field(&rest);
	if (url_field(&rest).len > 0)
		return error_set(err, ERROR_INPUT,
		    "names an attribute; a certificate always goes to userCertificate");
	scope = url_field(&rest);
	a->filter = url_field(&rest);
	a->one_level = url_word_is(scope, "one");
	if (rest[0] != '\0')
		return error_set(err, ERROR_INPUT, "has LDAP URL extensions");
	if (memchr(a->dn.p, '=', a->dn.len) == NULL)
		return error_set(err, ERROR_INPUT, "has no distinguished name (RFC 4514)");
	if (a->filter.len > 0 && !check_search(a, scope, err))
		return false;
	if (a->filter.len == 0 && scope.len > 0 && !url_word_is(scope, "base"))
		return error_set(err, ERROR_INPUT, "has a scope, but no filter to search with");
	if (!expand(a->dn, false, NULL, sample, &a->from_certificate, &has_variable, err) ||
	    !expand(a->filter, true, NULL, sample, &a->from_certificate, &has_variable, err))
		return false;
	return has_variable || error_set(err, ERROR_INPUT,
				   "has no variable: all certificates would go to one entry; "
				   "allowed: <subject.TYPE>, <san.TYPE>, <requester>");
}

bool
entry_address_expand(const struct entry_address *a, const struct entry_subject *subject,
    char dn[ENTRY_TEXT_MAX], char filter[ENTRY_TEXT_MAX], struct error *err)
{
	bool ignored = false;

	return expand(a->dn, false, subject, dn, &ignored, &ignored, err) &&
	       expand(a->filter, true, subject, filter, &ignored, &ignored, err);
}
