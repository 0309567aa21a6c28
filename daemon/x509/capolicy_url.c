/* URLs of a CA policy: RFC 3986 as far as we need it, RFC 4516 for LDAP. */

#include <string.h>
#include <strings.h>

#include "daemon/core/encode.h"
#include "daemon/x509/capolicy_int.h"
#include "daemon/x509/name.h"

static const struct {
	const char *name;
	enum url_scheme scheme;
} schemes[] = {
    {"http", URL_HTTP},
    {"https", URL_HTTPS},
    {"ldap", URL_LDAP},
    {"ldaps", URL_LDAPS},
    {"sftp", URL_SFTP},
};

const char *
url_scheme_name(enum url_scheme scheme)
{
	for (size_t i = 0; i < COUNT_OF(schemes); i++)
		if (schemes[i].scheme == scheme)
			return schemes[i].name;
	return "?";
}

static bool
is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool
check_characters(const char *text, struct error *err)
{
	if (text[0] == '\0' || strlen(text) > EXTENSION_URL_MAX)
		return error_set(err, ERROR_INPUT, "has %zu bytes; allowed: 1 to %d", strlen(text),
		    EXTENSION_URL_MAX);
	for (const char *p = text; *p != '\0'; p++) {
		if (*p <= 0x20 || *p >= 0x7f)
			return error_set(err, ERROR_INPUT,
			    "has a blank, a control or a non-ASCII character; allowed: printable "
			    "ASCII, "
			    "others as %%XX (RFC 3986 2.1)");
		if (strchr("\"<>\\^`{|}", *p) != NULL)
			return error_set(err, ERROR_INPUT,
			    "has the character '%c'; it must be written as %%%02X (RFC 3986 2.1)",
			    *p, (unsigned)*p);
		if (*p == '%' && (!is_hex(p[1]) || !is_hex(p[2])))
			return error_set(err, ERROR_INPUT,
			    "has a '%%' without two hex digits behind it (RFC 3986 2.1)");
		if (*p == '#')
			return error_set(
			    err, ERROR_INPUT, "has a fragment ('#'), which a location never has");
	}
	return true;
}

/* Gives the text behind "scheme://". */
static bool
read_scheme(const char *text, struct url *url, const char **rest, struct error *err)
{
	for (size_t i = 0; i < COUNT_OF(schemes); i++) {
		size_t len = strlen(schemes[i].name);

		if (strncasecmp(text, schemes[i].name, len) == 0 &&
		    strncmp(text + len, "://", 3) == 0) {
			url->scheme = schemes[i].scheme;
			*rest = text + len + 3;
			return true;
		}
	}
	return error_set(
	    err, ERROR_INPUT, "has none of the schemes http://, https://, ldap://, ldaps://");
}

/* Digits of a port, 1 to 65535. */
static bool
is_port(const char *s, size_t len)
{
	unsigned port = 0;

	for (size_t i = 0; i < len; i++) {
		if (s[i] < '0' || s[i] > '9' || i >= 5)
			return false;
		port = port * 10 + (unsigned)(s[i] - '0');
	}
	return len > 0 && port >= 1 && port <= 65535;
}

static bool
read_authority(struct url *url, const char **rest, struct error *err)
{
	const char *at = *rest, *end = at + strcspn(at, "/?"), *port = NULL, *close;
	size_t host_len;

	if (memchr(at, '@', (size_t)(end - at)) != NULL)
		return error_set(err, ERROR_INPUT,
		    "has a user name or password; give a credential by its name instead");
	if (*at == '[') {
		close = memchr(at, ']', (size_t)(end - at));
		if (close == NULL || (close + 1 != end && close[1] != ':'))
			return error_set(err, ERROR_INPUT, "has a malformed IPv6 address");
		at++;
		host_len = (size_t)(close - at);
		port = close + 1 == end ? NULL : close + 2;
		if (strspn(at, "0123456789abcdefABCDEF:.") != host_len)
			return error_set(err, ERROR_INPUT, "has a malformed IPv6 address");
	} else {
		host_len = strcspn(at, ":/?");
		port = at[host_len] == ':' ? at + host_len + 1 : NULL;
		for (size_t i = 0; i < host_len; i++)
			if (!((at[i] >= 'a' && at[i] <= 'z') || (at[i] >= 'A' && at[i] <= 'Z') ||
				(at[i] >= '0' && at[i] <= '9') || strchr("-._", at[i]) != NULL))
				return error_set(err, ERROR_INPUT,
				    "has the character '%c' in its host name", at[i]);
	}
	/* An LDAP client may know a server by itself (RFC 4516 2). */
	if ((host_len == 0 && (url->scheme != URL_LDAP || at != end)) || host_len > 255)
		return error_set(err, ERROR_INPUT, "has no host, or one longer than 255 bytes");
	if (port != NULL && !is_port(port, (size_t)(end - port)))
		return error_set(err, ERROR_INPUT, "has a port that is none of 1 to 65535");
	url->host = (struct bytes){(const uint8_t *)at, host_len};
	*rest = end;
	return true;
}

struct bytes
url_field(const char **at)
{
	size_t len = strcspn(*at, "?");
	struct bytes b = {(const uint8_t *)*at, len};

	*at += len;
	if (**at == '?')
		++*at;
	return b;
}

bool
url_word_is(struct bytes field, const char *word)
{
	return field.len == strlen(word) &&
	       strncasecmp((const char *)field.p, word, field.len) == 0;
}

/* /DN?ATTRIBUTE?SCOPE?FILTER, each may be absent from the end. */
static bool
read_ldap(struct url *url, const char *rest, struct error *err)
{
	struct bytes scope;

	if (rest[0] == '\0')
		return true;
	if (rest[0] != '/')
		return error_set(err, ERROR_INPUT, "has no '/' before its DN (RFC 4516 2)");
	rest++;
	url->dn = url_field(&rest);
	url->attribute = url_field(&rest);
	scope = url_field(&rest);
	(void)url_field(&rest); /* a filter selects nothing within one entry */
	if (memchr(url->attribute.p, ',', url->attribute.len) != NULL)
		return error_set(err, ERROR_INPUT, "names several attributes; allowed: one");
	if (scope.len > 0 && !url_word_is(scope, "base"))
		return error_set(err, ERROR_INPUT, "has another scope than base");
	if (rest[0] != '\0')
		return error_set(
		    err, ERROR_INPUT, "has LDAP URL extensions, which no client reads");
	return true;
}

bool
url_parse(const char *text, struct url *url, struct error *err)
{
	const char *rest = NULL;

	*url = (struct url){0};
	if (!check_characters(text, err) || !read_scheme(text, url, &rest, err) ||
	    !read_authority(url, &rest, err))
		return false;
	if (url->scheme == URL_LDAP || url->scheme == URL_LDAPS)
		return read_ldap(url, rest, err);
	return true;
}

char
url_octet(struct bytes text, size_t *at)
{
	const char *c = (const char *)text.p + *at;

	if (*c != '%') {
		*at += 1;
		return *c;
	}
	*at += 3;
	return (char)(hex_value(c[1]) << 4 | hex_value(c[2]));
}

bool
url_check_dn(const struct url *url, struct error *err)
{
	char text[EXTENSION_URL_MAX + 1];
	uint8_t der[NAME_DER_MAX];
	struct bytes name;
	size_t len = 0;

	/* The DN is a part of the URL, and so shorter than the text. */
	for (size_t i = 0; i < url->dn.len;) {
		text[len] = url_octet(url->dn, &i);
		if (text[len++] == '\0')
			return error_set(err, ERROR_INPUT, "the DN has a NUL");
	}
	text[len] = '\0';
	return name_from_text(text, der, sizeof der, &name, err);
}

bool
url_is_loopback(const struct url *url)
{
	const char *host = (const char *)url->host.p;

	if (url_word_is(url->host, "localhost") || url_word_is(url->host, "::1"))
		return true;
	/* Four numbers, not a name such as 127.example. */
	return url->host.len > 4 && strncmp(host, "127.", 4) == 0 &&
	       strspn(host, "0123456789.") >= url->host.len;
}

bool
url_attribute_is(const struct url *url, const char *wanted)
{
	return url_word_is(url->attribute, wanted);
}
