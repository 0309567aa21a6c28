#include "daemon/x509/name_int.h"

#include <stdio.h>
#include <strings.h>

#include "daemon/core/utf8.h"
#include "daemon/x509/oid.h"

#define AT(n) {0x55, 4, n}, 3 /* id-at: 2.5.4 */
#define PILOT(n) {0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, n}, 10

static const struct name_type types[] = {
    {"CN", AT(3), DER_UTF8_STRING, 64, false},
    {"SN", AT(4), DER_UTF8_STRING, 0, false},
    {"serialNumber", AT(5), DER_PRINTABLE_STRING, 64, false},
    {"C", AT(6), DER_PRINTABLE_STRING, 2, true},
    {"L", AT(7), DER_UTF8_STRING, 128, false},
    {"ST", AT(8), DER_UTF8_STRING, 128, false},
    {"STREET", AT(9), DER_UTF8_STRING, 128, false},
    {"O", AT(10), DER_UTF8_STRING, 64, false},
    {"OU", AT(11), DER_UTF8_STRING, 64, false},
    {"title", AT(12), DER_UTF8_STRING, 64, false},
    {"businessCategory", AT(15), DER_UTF8_STRING, 128, false},
    {"postalCode", AT(17), DER_UTF8_STRING, 40, false},
    {"name", AT(41), DER_UTF8_STRING, 0, false},
    {"GN", AT(42), DER_UTF8_STRING, 0, false},
    {"initials", AT(43), DER_UTF8_STRING, 0, false},
    {"generationQualifier", AT(44), DER_UTF8_STRING, 0, false},
    {"dnQualifier", AT(46), DER_PRINTABLE_STRING, 0, false},
    {"pseudonym", AT(65), DER_UTF8_STRING, 128, false},
    {"organizationIdentifier", AT(97), DER_UTF8_STRING, 0, false},
    {"UID", PILOT(1), DER_UTF8_STRING, 256, false},
    {"DC", PILOT(25), DER_IA5_STRING, 0, false},
    {"emailAddress", {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1}, 9, DER_IA5_STRING, 255, false},
};

/* Other names that people write; what we write ourselves stands above. */
static const struct {
	const char *alias, *keyword;
} aliases[] = {
    {"commonName", "CN"},
    {"countryName", "C"},
    {"localityName", "L"},
    {"stateOrProvinceName", "ST"},
    {"S", "ST"},
    {"organizationName", "O"},
    {"organizationalUnitName", "OU"},
    {"surname", "SN"},
    {"givenName", "GN"},
    {"domainComponent", "DC"},
    {"userId", "UID"},
    {"E", "emailAddress"},
    {"email", "emailAddress"},
};

const struct name_type *
name_type_by_oid(struct bytes oid)
{
	for (size_t i = 0; i < COUNT_OF(types); i++) {
		if (bytes_equal(oid, (struct bytes){types[i].oid, types[i].oid_len}))
			return &types[i];
	}
	return NULL;
}

static bool
same_word(const char *keyword, const char *word, size_t len)
{
	return strlen(keyword) == len && strncasecmp(keyword, word, len) == 0;
}

const struct name_type *
name_type_by_keyword(const char *word, size_t len)
{
	for (size_t i = 0; i < COUNT_OF(aliases); i++) {
		if (same_word(aliases[i].alias, word, len)) {
			word = aliases[i].keyword;
			len = strlen(word);
			break;
		}
	}
	for (size_t i = 0; i < COUNT_OF(types); i++) {
		if (same_word(types[i].keyword, word, len))
			return &types[i];
	}
	return NULL;
}

static bool
next_utf8(struct bytes *rest, uint32_t *character)
{
	size_t len = utf8_decode(rest->p, rest->len, character);

	rest->p += len;
	rest->len -= len;
	return len > 0;
}

/* One character of a fixed width, big-endian (BMPString, UniversalString). */
static bool
next_wide(struct bytes *rest, size_t width, uint32_t *character)
{
	uint32_t c = 0;

	if (rest->len < width)
		return false;
	for (size_t i = 0; i < width; i++)
		c = c << 8 | rest->p[i];
	if (c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
		return false;
	rest->p += width;
	rest->len -= width;
	*character = c;
	return true;
}

bool
name_next_character(uint8_t tag, struct bytes *rest, uint32_t *character)
{
	uint8_t octet = rest->p[0];

	switch (tag) {
	case DER_UTF8_STRING:
		return next_utf8(rest, character);
	case DER_BMP_STRING:
		return next_wide(rest, 2, character);
	case DER_UNIVERSAL_STRING:
		return next_wide(rest, 4, character);
	case DER_NUMERIC_STRING:
		if (octet != ' ' && (octet < '0' || octet > '9'))
			return false;
		break;
	case DER_PRINTABLE_STRING:
		if (octet < 0x20 || octet > 0x7e)
			return false;
		break;
	case DER_IA5_STRING:
		if (octet > 0x7f)
			return false;
		break;
	case DER_TELETEX_STRING:
		/* Nobody uses the real T.61; what is found is Latin 1. */
		break;
	default:
		return false;
	}
	*character = octet;
	rest->p++;
	rest->len--;
	return true;
}

/* X.680 41.4 */
static bool
in_printable_string(uint32_t c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       (c != 0 && c < 0x80 && strchr(" '()+,-./:=?", (int)c) != NULL);
}

bool
name_check_value(
    const struct name_type *type, uint8_t tag, struct bytes value, bool strict, struct error *err)
{
	const char *keyword = type != NULL ? type->keyword : "an attribute";
	struct bytes rest = value;
	size_t characters = 0;
	uint32_t c;

	for (; rest.len > 0; characters++) {
		if (!name_next_character(tag, &rest, &c))
			return error_set(err, ERROR_INPUT,
			    "the value of %s is no string, or holds a character that its string "
			    "type (tag %u) does not have",
			    keyword, tag);
		if (strict && (c < 0x20 || (c >= 0x7f && c < 0xa0)))
			return error_set(err, ERROR_INPUT,
			    "the value of %s holds the control character U+%04X", keyword, c);
		if (strict && tag == DER_PRINTABLE_STRING && !in_printable_string(c))
			return error_set(err, ERROR_INPUT,
			    "the value of %s holds '%c', which PrintableString does not have "
			    "(X.680 41.4)",
			    keyword, (int)c);
	}
	if (!strict)
		return true;
	if (characters == 0)
		return error_set(err, ERROR_INPUT, "the value of %s is empty", keyword);
	if (type != NULL && type->exact && characters != type->max)
		return error_set(err, ERROR_INPUT,
		    "the value of %s has %zu characters; it must have %u (RFC 5280 appendix A)",
		    keyword, characters, type->max);
	if (type != NULL && type->max != 0 && characters > type->max)
		return error_set(err, ERROR_INPUT,
		    "the value of %s has %zu characters; at most %u are allowed (RFC 5280 "
		    "appendix A)",
		    keyword, characters, type->max);
	return true;
}

const char *
name_attribute_keyword(struct bytes oid)
{
	const struct name_type *type = name_type_by_oid(oid);

	return type != NULL ? type->keyword : NULL;
}

bool
name_attribute_oid(const char *word, uint8_t buf[64], struct bytes *oid)
{
	const struct name_type *type = name_type_by_keyword(word, strlen(word));

	_Static_assert(OID_DER_MAX <= 64, "buf is as long as an OID can be");
	if (type == NULL)
		return oid_from_text(word, buf, oid, NULL);
	*oid = (struct bytes){type->oid, type->oid_len};
	return true;
}
