#include "daemon/x509/location_int.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <openssl/sha.h>

#include "daemon/core/encode.h"

static const struct {
	const char *name;
	unsigned flag;
} flags[] = {
    {"publish", LOCATION_PUBLISH},
    {"publish_delta", LOCATION_PUBLISH_DELTA},
    {"in_certificates", LOCATION_IN_CERTIFICATES},
    {"in_freshest", LOCATION_IN_FRESHEST},
    {"in_idp", LOCATION_IN_IDP},
    {"in_crl_published_location", LOCATION_IN_CRL_PUBLISHED},
    {"in_certificate_freshest", LOCATION_IN_CERTIFICATE_FRESHEST},
    {"as_ocsp", LOCATION_AS_OCSP},
};

static const struct {
	const char *name;
	unsigned number; /* 0: it has none */
} variables[] = {
    [LOCATION_SERVER_DNS_NAME] = {"<ServerDNSName>", 1},
    [LOCATION_SERVER_SHORT_NAME] = {"<ServerShortName>", 2},
    [LOCATION_CA_NAME] = {"<CaName>", 3},
    [LOCATION_CERTIFICATE_NAME] = {"<CertificateName>", 4},
    [LOCATION_CONFIGURATION_CONTAINER] = {"<ConfigurationContainer>", 6},
    [LOCATION_CA_TRUNCATED_NAME] = {"<CATruncatedName>", 7},
    [LOCATION_CRL_NAME_SUFFIX] = {"<CRLNameSuffix>", 8},
    [LOCATION_DELTA_CRL_ALLOWED] = {"<DeltaCRLAllowed>", 9},
    [LOCATION_CDP_OBJECT_CLASS] = {"<CDPObjectClass>", 10},
    [LOCATION_CA_OBJECT_CLASS] = {"<CAObjectClass>", 11},
    [LOCATION_CRL_PARTITION_INDEX] = {"<CRLPartitionIndex>", 0},
};

/* How a place wants a value. */
enum place {
	PLACE_PLAIN, /* of a file's name */
	PLACE_PATH,  /* of an HTTP URL */
	PLACE_DN,    /* of an LDAP URL */
};

const char *
location_flag_name(unsigned flag)
{
	for (size_t i = 0; i < COUNT_OF(flags); i++)
		if (flags[i].flag == flag)
			return flags[i].name;
	return NULL;
}

void
location_flags_text(unsigned set, char out[LOCATION_FLAGS_TEXT_MAX])
{
	size_t len = 0;

	out[0] = '\0';
	for (unsigned flag = 1; flag != 0; flag <<= 1) {
		const char *name = (set & flag) != 0 ? location_flag_name(flag) : NULL;

		if (name != NULL)
			len += (size_t)snprintf(out + len, LOCATION_FLAGS_TEXT_MAX - len, "%s%s",
			    len > 0 ? ", " : "", name);
	}
}

unsigned
location_flag_from_name(const char *name)
{
	for (size_t i = 0; i < COUNT_OF(flags); i++)
		if (strcmp(flags[i].name, name) == 0)
			return flags[i].flag;
	return 0;
}

const char *
location_variable_name(enum location_variable variable)
{
	return variables[variable].name;
}

/* ---- finding variables */

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool
is_hex(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

size_t
location_number_at(const char *at, bool adcs, size_t *variable)
{
	bool two = (at[1] == '1' && (at[2] == '0' || at[2] == '1'));
	unsigned number;

	if (!is_digit(at[1]) || (!adcs && !two && is_hex(at[2])))
		return 0;
	number = (unsigned)(at[1] - '0');
	if (two)
		number = number * 10 + (unsigned)(at[2] - '0');
	for (size_t i = 0; i < COUNT_OF(variables); i++) {
		if (variables[i].number == number) {
			*variable = i;
			return two ? 3 : 2;
		}
	}
	return 0;
}

size_t
location_name_at(const char *at, size_t *variable)
{
	for (size_t i = 0; i < COUNT_OF(variables); i++) {
		size_t len = strlen(variables[i].name);

		if (strncasecmp(at, variables[i].name, len) == 0) {
			*variable = i;
			return len;
		}
	}
	return 0;
}

static size_t
variable_at(const char *at, size_t *variable)
{
	if (*at == '%')
		return location_number_at(at, false, variable);
	return *at == '<' ? location_name_at(at, variable) : 0;
}

unsigned
location_variables(const char *url)
{
	unsigned found = 0;
	size_t variable, len;

	for (; *url != '\0'; url += len) {
		len = variable_at(url, &variable);
		if (len > 0)
			found |= 1u << variable;
		else
			len = 1;
	}
	return found;
}

/* ---- writing */

void
location_put(struct location_writer *w, const char *text, size_t len)
{
	if (w->full || len > LOCATION_URL_MAX - w->len) {
		w->full = true;
		return;
	}
	memcpy(w->out + w->len, text, len);
	w->len += len;
	w->out[w->len] = '\0';
}

void
location_put_escaped(struct location_writer *w, char c)
{
	char escape[4];

	(void)snprintf(escape, sizeof escape, "%%%02X", (unsigned)(unsigned char)c);
	location_put(w, escape, 3);
}

/* pchar of RFC 3986 3.3, without what delimits the parts of an LDAP URL. */
static bool
is_path_character(char c)
{
	return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c != '\0' && strchr("-._~!$&'()*+,;=:@", c) != NULL);
}

static void
put_for_url(struct location_writer *w, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (is_path_character(text[i]))
			location_put(w, text + i, 1);
		else
			location_put_escaped(w, text[i]);
	}
}

/* RFC 4514 2.4. */
static void
put_for_dn(struct location_writer *w, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool special = strchr("\"+,;<>\\=", text[i]) != NULL,
		     first = i == 0 && (text[i] == ' ' || text[i] == '#'),
		     last = i + 1 == len && text[i] == ' ';

		if (special || first || last)
			put_for_url(w, "\\", 1);
		put_for_url(w, text + i, 1);
	}
}

/* A value must not lead elsewhere. */
static void
put_plain(struct location_writer *w, const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool bad = text[i] == '/' || text[i] == '\\' || (unsigned char)text[i] < 0x20;

		location_put(w, bad ? "_" : text + i, 1);
	}
}

static void
put_value(struct location_writer *w, enum place place, const char *text, size_t len)
{
	if (place == PLACE_DN)
		put_for_dn(w, text, len);
	else if (place == PLACE_PATH)
		put_for_url(w, text, len);
	else
		put_plain(w, text, len);
}

static void
put_index(struct location_writer *w, int index)
{
	char text[16];
	int len = snprintf(text, sizeof text, "(%d)", index);

	if (index > 0)
		location_put(w, text, (size_t)len);
}

/* A character is as long as its first byte says, so that none is cut in two. */
static void
put_truncated(struct location_writer *w, enum place place, const char *name)
{
	uint8_t digest[SHA256_DIGEST_LENGTH];
	char cut[4 * LOCATION_TRUNCATED_MAX + 16], hex[2 * sizeof digest + 1];
	size_t len = 0, characters = 0;

	for (; name[len] != '\0'; len++) {
		bool begins = ((unsigned char)name[len] & 0xc0) != 0x80;

		if ((begins && characters == LOCATION_TRUNCATED_MAX) ||
		    len == 4 * LOCATION_TRUNCATED_MAX)
			break;
		characters += begins;
	}
	if (name[len] == '\0') {
		put_value(w, place, name, len);
		return;
	}
	SHA256((const uint8_t *)name, strlen(name), digest);
	hex_encode(digest, sizeof digest, hex);
	memcpy(cut, name, len);
	len += (size_t)snprintf(cut + len, sizeof cut - len, "-%.8s", hex);
	put_value(w, place, cut, len);
}

/* A DN as a whole: already escaped as one. */
static void
put_dn(struct location_writer *w, enum place place, const char *dn)
{
	if (place == PLACE_PLAIN)
		put_plain(w, dn, strlen(dn));
	else
		put_for_url(w, dn, strlen(dn));
}

static bool
put_variable(struct location_writer *w, enum location_variable variable, enum place place,
    const struct location_names *n, bool delta, struct error *err)
{
	const char *missing = NULL;

	switch (variable) {
	case LOCATION_SERVER_DNS_NAME:
	case LOCATION_SERVER_SHORT_NAME:
		if (n->server == NULL)
			missing = "server";
		else
			location_put(w, n->server,
			    variable == LOCATION_SERVER_DNS_NAME ? strlen(n->server)
								 : strcspn(n->server, "."));
		break;
	case LOCATION_CA_NAME:
		put_value(w, place, n->ca, strlen(n->ca));
		break;
	case LOCATION_CERTIFICATE_NAME:
		put_index(w, n->certificate_index);
		break;
	case LOCATION_CONFIGURATION_CONTAINER:
		if (n->config_dn == NULL)
			missing = "config_dn";
		else
			put_dn(w, place, n->config_dn);
		break;
	case LOCATION_CA_TRUNCATED_NAME:
		put_truncated(w, place, n->ca);
		break;
	case LOCATION_CRL_NAME_SUFFIX:
		put_index(w, n->key_index);
		break;
	case LOCATION_DELTA_CRL_ALLOWED:
		if (delta)
			put_value(w, place, n->delta_suffix, strlen(n->delta_suffix));
		break;
	case LOCATION_CDP_OBJECT_CLASS:
		location_put(w, delta ? "?delta" : "?certificate", delta ? 6 : 12);
		location_put(w, "RevocationList;binary?base?objectClass=cRLDistributionPoint", 59);
		break;
	case LOCATION_CA_OBJECT_CLASS:
		location_put(
		    w, "?cACertificate;binary?base?objectClass=certificationAuthority", 61);
		break;
	case LOCATION_CRL_PARTITION_INDEX:
		put_value(w, place, n->partition, strlen(n->partition));
		break;
	}
	if (missing != NULL)
		return error_set(err, ERROR_INPUT,
		    "has the variable %s, but 'locations.%s' does not say what that is",
		    variables[variable].name, missing);
	return true;
}

static enum place
place_of(const char *url)
{
	if (strncasecmp(url, "ldap:", 5) == 0 || strncasecmp(url, "ldaps:", 6) == 0)
		return PLACE_DN;
	return url[0] == '/' || strncasecmp(url, "file:", 5) == 0 ? PLACE_PLAIN : PLACE_PATH;
}

bool
location_expand(
    const char *url, const struct location_names *names, bool delta, char *out, struct error *err)
{
	struct location_writer w = {.out = out};
	enum place place = place_of(url);
	size_t variable = 0, len;

	out[0] = '\0';
	for (const char *at = url; *at != '\0'; at += len) {
		len = variable_at(at, &variable);
		if (len == 0 && *at == '<' && strchr(at, '>') != NULL)
			return error_set(err, ERROR_INPUT,
			    "has the variable '%.*s', which does not exist; a '<' that is none "
			    "must be written as %%3C (RFC 3986 2.1)",
			    (int)(strchr(at, '>') + 1 - at), at);
		if (len == 0) {
			len = 1;
			location_put(&w, at, 1);
		} else if (!put_variable(
			       &w, (enum location_variable)variable, place, names, delta, err)) {
			return false;
		}
	}
	if (w.full)
		return error_set(err, ERROR_INPUT, "takes more than %d bytes with its variables",
		    LOCATION_URL_MAX);
	return true;
}
