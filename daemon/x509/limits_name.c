/* Name constraints in limits (RFC 5280 4.2.1.10), as text. */

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "daemon/x509/limits_int.h"

static const struct {
	const char *word;
	enum san_type type;
} kinds[] = {
    {"dns", SAN_DNS},
    {"email", SAN_EMAIL},
    {"ip", SAN_IP},
    {"uri", SAN_URI},
};

void
limits_name_text(const struct limits_name *name, char out[LIMITS_NAME_TEXT_SIZE])
{
	const char *word = "?";

	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		if (kinds[i].type == name->type)
			word = kinds[i].word;
	(void)snprintf(out, LIMITS_NAME_TEXT_SIZE, "%s:%s", word, name->text);
}

static bool
has_upper_case(const char *s)
{
	for (; *s != '\0'; s++)
		if (*s >= 'A' && *s <= 'Z')
			return true;
	return false;
}

static bool
is_san(enum san_type type, const char *s)
{
	struct san san = {type, {(const uint8_t *)s, strlen(s)}};
	struct error ignored = ERROR_INIT;

	return san_check(&san, &ignored);
}

static bool
is_host(const char *s)
{
	return s[0] != '*' && !has_upper_case(s) && is_san(SAN_DNS, s);
}

static bool
is_host_or_below(const char *s)
{
	return is_host(s[0] == '.' ? s + 1 : s);
}

static bool
is_mailbox(const char *s)
{
	const char *at = strchr(s, '@');

	return at != NULL && !has_upper_case(at) && is_san(SAN_EMAIL, s);
}

static void
make_mask(uint8_t mask[16], size_t len, uint64_t prefix)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t bits = prefix > 8 * i ? prefix - 8 * i : 0;

		mask[i] = (uint8_t)(0xff00u >> (bits < 8 ? bits : 8));
	}
}

/* A network in the one form that inet_ntop writes, no bits beyond its prefix. */
static bool
read_network(struct limits_name *name)
{
	char address[INET6_ADDRSTRLEN], again[INET6_ADDRSTRLEN];
	const char *slash = strchr(name->text, '/');
	size_t len = slash != NULL ? (size_t)(slash - name->text) : sizeof address;
	int family = strchr(name->text, ':') != NULL ? AF_INET6 : AF_INET;
	uint64_t prefix;

	if (len >= sizeof address)
		return false;
	memcpy(address, name->text, len);
	address[len] = '\0';
	name->address_len = family == AF_INET6 ? 16 : 4;
	if (!canon_number(slash + 1, 8 * name->address_len, &prefix) ||
	    inet_pton(family, address, name->address) != 1 ||
	    inet_ntop(family, name->address, again, sizeof again) == NULL ||
	    strcmp(address, again) != 0)
		return false;
	make_mask(name->mask, name->address_len, prefix);
	for (size_t i = 0; i < name->address_len; i++)
		if ((name->address[i] & ~name->mask[i]) != 0)
			return false;
	return true;
}

static bool
check_name(struct limits_name *name)
{
	const char *s = name->text;

	switch (name->type) {
	case SAN_DNS:
		return *s == '\0' || is_host(s);
	case SAN_EMAIL:
		return *s == '\0' || is_mailbox(s) || is_host_or_below(s);
	case SAN_URI:
		return *s == '\0' || is_host_or_below(s);
	case SAN_IP:
		return read_network(name);
	case SAN_UNSUPPORTED:
		break;
	}
	return false;
}

bool
limits_name_from_text(const char *text, struct limits_name *name, struct error *err)
{
	const char *colon = strchr(text, ':');
	size_t len = colon != NULL ? (size_t)(colon - text) : 0;

	*name = (struct limits_name){.type = SAN_UNSUPPORTED};
	for (size_t i = 0; i < COUNT_OF(kinds); i++)
		if (len == strlen(kinds[i].word) && strncmp(text, kinds[i].word, len) == 0)
			name->type = kinds[i].type;
	if (name->type != SAN_UNSUPPORTED && strlen(colon + 1) <= LIMITS_NAME_MAX) {
		memcpy(name->text, colon + 1, strlen(colon + 1) + 1);
		if (check_name(name))
			return true;
	}
	return error_set(err, ERROR_INPUT,
	    "'%.80s' constrains no names; allowed: dns:HOST, email:MAILBOX, email:HOST, "
	    "email:.DOMAIN, uri:HOST, uri:.DOMAIN in lower case, ip:NETWORK/BITS (RFC 5280 "
	    "4.2.1.10)",
	    text);
}
