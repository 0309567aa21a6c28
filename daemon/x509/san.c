/*
 * Names and URLs inside extensions: characters, and readable forms.
 */

#include "daemon/x509/extension.h"

#include <arpa/inet.h>
#include <stdio.h>

#define DNS_MAX 253
#define DNS_LABEL_MAX 63
#define EMAIL_LOCAL_MAX 64 /* RFC 5321 4.5.3.1.1 */

static bool
is_alphanumeric(uint8_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* RFC 1034 3.5 as RFC 1123 2.1 relaxed it, and the underscore that is found in
 * the field. */
static bool
dns_label_valid(const uint8_t *p, size_t len)
{
	if (len == 0 || len > DNS_LABEL_MAX || p[0] == '-' || p[len - 1] == '-')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (!is_alphanumeric(p[i]) && p[i] != '-' && p[i] != '_')
			return false;
	}
	return true;
}

static bool
dns_valid(struct bytes b, bool wildcard)
{
	size_t start = 0;

	if (b.len == 0 || b.len > DNS_MAX)
		return false;
	if (wildcard && b.len > 2 && b.p[0] == '*' && b.p[1] == '.')
		start = 2;
	for (size_t i = start; i <= b.len; i++) {
		if (i < b.len && b.p[i] != '.')
			continue;
		if (!dns_label_valid(b.p + start, i - start))
			return false;
		start = i + 1;
	}
	return true;
}

/* RFC 5280 4.2.1.6: a Mailbox (RFC 5321 4.1.2) whose local part is a Dot-string. */
static bool
email_valid(struct bytes b)
{
	const uint8_t *at = b.len > 0 ? memchr(b.p, '@', b.len) : NULL;
	size_t local_len;

	if (at == NULL)
		return false;
	local_len = (size_t)(at - b.p);
	if (local_len == 0 || local_len > EMAIL_LOCAL_MAX || b.p[0] == '.' ||
	    b.p[local_len - 1] == '.')
		return false;
	for (size_t i = 0; i < local_len; i++) {
		uint8_t c = b.p[i];

		if (!is_alphanumeric(c) && (c == 0 || strchr("!#$%&'*+-/=?^_`{|}~.", c) == NULL))
			return false;
		if (c == '.' && b.p[i + 1] == '.')
			return false;
	}
	return dns_valid((struct bytes){at + 1, b.len - local_len - 1}, false);
}

/* RFC 3986: a scheme, something behind it, no characters that must be escaped. */
static bool
uri_valid(struct bytes b)
{
	size_t scheme = 0;

	if (b.len == 0 || b.len > EXTENSION_URL_MAX)
		return false;
	while (scheme < b.len &&
	       (is_alphanumeric(b.p[scheme]) ||
		   (scheme > 0 && strchr("+-.", b.p[scheme]) != NULL && b.p[scheme] != '\0')))
		scheme++;
	if (scheme == 0 || scheme + 1 >= b.len || b.p[scheme] != ':' || b.p[0] < 'A')
		return false;
	for (size_t i = 0; i < b.len; i++) {
		if (b.p[i] <= 0x20 || b.p[i] > 0x7e || strchr("\"<>\\^`{|}", b.p[i]) != NULL)
			return false;
	}
	return true;
}

/* What is wrong may be anything: only its printable part goes into the
 * sentence. */
static void
excerpt(struct bytes b, char out[81])
{
	size_t n = b.len < 80 ? b.len : 80;

	for (size_t i = 0; i < n; i++)
		out[i] = b.p[i] >= 0x20 && b.p[i] < 0x7f ? (char)b.p[i] : '?';
	out[n] = '\0';
}

bool
extension_url_check(const char *url, struct error *err)
{
	struct bytes b = {(const uint8_t *)url, strlen(url)};
	char text[81];

	if (uri_valid(b))
		return true;
	excerpt(b, text);
	return error_set(err, ERROR_INPUT,
	    "'%s' is no URL: it needs a scheme, only ASCII without spaces (escape others as "
	    "%%XX), at most %d characters",
	    text, EXTENSION_URL_MAX);
}

bool
san_check(const struct san *san, struct error *err)
{
	const char *what = NULL;
	char text[81];

	switch (san->type) {
	case SAN_DNS:
		what = dns_valid(san->value, true)
			   ? NULL
			   : "DNS name (RFC 5280 4.2.1.6: preferred name syntax; '*' only as the "
			     "whole first label)";
		break;
	case SAN_EMAIL:
		what = email_valid(san->value) ? NULL : "e-mail address local@domain in ASCII";
		break;
	case SAN_URI:
		what = uri_valid(san->value) ? NULL : "URI with a scheme, in ASCII";
		break;
	case SAN_IP:
		what = san->value.len == 4 || san->value.len == 16 ? NULL
								   : "IP address of 4 or 16 octets";
		break;
	case SAN_UNSUPPORTED:
		break;
	}
	if (what == NULL)
		return true;
	excerpt(san->value, text);
	return error_set(err, ERROR_INPUT, "subjectAltName holds '%s', which is no %s", text, what);
}

static bool
write_text(char *out, size_t out_size, const char *prefix, struct bytes value)
{
	size_t prefix_len = strlen(prefix);

	if (out_size < prefix_len + value.len + 1)
		return false;
	memcpy(out, prefix, prefix_len);
	if (value.len > 0)
		memcpy(out + prefix_len, value.p, value.len);
	out[prefix_len + value.len] = '\0';
	return true;
}

static bool
write_ip(char *out, size_t out_size, struct bytes value)
{
	char text[INET6_ADDRSTRLEN];

	if ((value.len != 4 && value.len != 16) ||
	    inet_ntop(value.len == 4 ? AF_INET : AF_INET6, value.p, text, sizeof text) == NULL)
		return false;
	return write_text(
	    out, out_size, "ip:", (struct bytes){(const uint8_t *)text, strlen(text)});
}

bool
san_to_text(const struct san *san, char *out, size_t out_size)
{
	size_t shown = san->value.len < 64 ? san->value.len : 64;

	switch (san->type) {
	case SAN_DNS:
		return write_text(out, out_size, "dns:", san->value);
	case SAN_EMAIL:
		return write_text(out, out_size, "email:", san->value);
	case SAN_URI:
		return write_text(out, out_size, "uri:", san->value);
	case SAN_IP:
		return write_ip(out, out_size, san->value);
	case SAN_UNSUPPORTED:
		if (out_size < 6 + 2 * shown + 4)
			return false;
		memcpy(out, "other:", 7);
		for (size_t i = 0; i < shown; i++)
			(void)snprintf(out + 6 + 2 * i, 3, "%02x", san->value.p[i]);
		if (shown < san->value.len)
			memcpy(out + 6 + 2 * shown, "...", 4);
		return true;
	}
	return false;
}
