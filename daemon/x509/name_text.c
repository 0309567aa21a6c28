/*
 * RFC 4514 text to DER.
 *
 * The text's first RDN is the last one in DER, and the writer works backwards:
 * each RDN is written as soon as it is read.
 */

#include "daemon/x509/name_int.h"

#include "daemon/core/encode.h"
#include "daemon/x509/derw.h"
#include "daemon/x509/oid.h"

#define RDN_ATTRIBUTE_MAX 8
#define VALUE_MAX 1024 /* octets of one value */

struct parser {
	const char *p; /* what is still to be read */
	unsigned attributes;
	struct error *err;
};

/* The attributes of one RDN, encoded, until they are sorted. */
struct rdn {
	uint8_t buf[RDN_ATTRIBUTE_MAX * (VALUE_MAX + OID_DER_MAX + 16)];
	struct derw w;
	struct bytes attributes[RDN_ATTRIBUTE_MAX];
	size_t count;
};

static bool
bad(const struct parser *s, const char *what)
{
	if (*s->p == '\0')
		return error_set(s->err, ERROR_INPUT, "the name is wrong at its end: %s", what);
	return error_set(s->err, ERROR_INPUT, "the name is wrong at '%.24s': %s", s->p, what);
}

static void
skip_spaces(struct parser *s)
{
	while (*s->p == ' ')
		s->p++;
}

/* Keyword or dotted OID, then '='. type stays NULL for an OID without a name. */
static bool
parse_type(
    struct parser *s, const struct name_type **type, uint8_t buf[OID_DER_MAX], struct bytes *oid)
{
	char word[OID_TEXT_MAX];
	size_t len;

	skip_spaces(s);
	len = strcspn(s->p, "=,+;\\\"<>");
	if (s->p[len] != '=')
		return bad(s, "an attribute is written TYPE=value, like CN=Demo");
	while (len > 0 && s->p[len - 1] == ' ')
		len--;
	*type = name_type_by_keyword(s->p, len);
	if (*type != NULL) {
		*oid = (struct bytes){(*type)->oid, (*type)->oid_len};
	} else {
		if (len >= sizeof word)
			return bad(s, "this is no attribute type");
		memcpy(word, s->p, len);
		word[len] = '\0';
		if (!oid_from_text(word, buf, oid, NULL))
			return bad(s,
			    "this attribute type is not known; known are CN, O, OU, C, L, "
			    "ST, STREET, DC, UID, SN, GN, title, serialNumber, "
			    "emailAddress and numbers with dots");
		*type = name_type_by_oid(*oid);
	}
	s->p += strcspn(s->p, "=") + 1;
	skip_spaces(s);
	return true;
}

static bool
take_hex_pair(struct parser *s, uint8_t *octet)
{
	if (!hex_decode(s->p, 1, octet))
		return false;
	s->p += 2;
	return true;
}

/* "#" and the DER of the value in hexadecimal (RFC 4514 2.4). */
static bool
parse_hex_value(struct parser *s, uint8_t value[VALUE_MAX], uint8_t *tag, struct bytes *content)
{
	size_t len = 0;
	struct der d;

	s->p++;
	while (len < VALUE_MAX && take_hex_pair(s, &value[len]))
		len++;
	skip_spaces(s);
	if (*s->p != '\0' && *s->p != ',' && *s->p != '+')
		return bad(s, "after '#' only hexadecimal digits in pairs may stand");
	der_init(&d, (struct bytes){value, len});
	if (!der_read_any(&d, tag, content, NULL) || !der_end(&d))
		return bad(s, "the digits after '#' are no DER");
	return true;
}

/* After a backslash: a character that needs escaping, or two hex digits. */
static bool
take_escape(struct parser *s, uint8_t *octet)
{
	if (*s->p != '\0' && strchr(" \"#+,;<=>\\", *s->p) != NULL) {
		*octet = (uint8_t)*s->p++;
		return true;
	}
	return take_hex_pair(s, octet);
}

static bool
parse_string_value(struct parser *s, uint8_t value[VALUE_MAX], size_t *len)
{
	size_t kept = 0; /* trailing spaces count only when escaped */

	*len = 0;
	while (*s->p != '\0' && *s->p != ',' && *s->p != '+') {
		bool escaped = *s->p == '\\';
		uint8_t octet;

		if (strchr("\";<>", *s->p) != NULL)
			return bad(s, "this character must be escaped with a backslash");
		if (*len == VALUE_MAX)
			return bad(s, "the value is too long");
		if (escaped) {
			s->p++;
			if (!take_escape(s, &octet))
				return bad(s, "this cannot follow a backslash");
		} else {
			octet = (uint8_t)*s->p++;
		}
		value[(*len)++] = octet;
		if (escaped || octet != ' ')
			kept = *len;
	}
	*len = kept;
	return true;
}

static bool
parse_attribute(struct parser *s, struct rdn *rdn)
{
	uint8_t value[VALUE_MAX], oid_buf[OID_DER_MAX];
	const struct name_type *type = NULL;
	struct bytes oid, content = {value, 0};
	size_t start = derw_mark(&rdn->w);
	uint8_t tag;

	if (++s->attributes > NAME_ATTRIBUTE_MAX || rdn->count == RDN_ATTRIBUTE_MAX)
		return bad(s, "there are too many attributes");
	if (!parse_type(s, &type, oid_buf, &oid))
		return false;
	tag = type != NULL ? type->tag : DER_UTF8_STRING;
	if (*s->p == '#' ? !parse_hex_value(s, value, &tag, &content)
			 : !parse_string_value(s, value, &content.len))
		return false;
	if (!name_check_value(type, tag, content, true, s->err))
		return false;
	derw_element(&rdn->w, tag, content);
	derw_oid(&rdn->w, oid);
	derw_wrap(&rdn->w, start, DER_SEQUENCE);
	if (!derw_ok(&rdn->w))
		return bad(s, "the name is too long");
	rdn->attributes[rdn->count++] = (struct bytes){
	    rdn->w.buf + rdn->w.at, derw_mark(&rdn->w) - start};
	return true;
}

/* Sorts as X.690 11.6 wants a SET OF. */
static void
sort(struct bytes *list, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		struct bytes b = list[i];
		size_t j = i;

		for (; j > 0 && bytes_compare(list[j - 1], b) > 0; j--)
			list[j] = list[j - 1];
		list[j] = b;
	}
}

/* One RDN: attributes joined by '+'. */
static bool
parse_rdn(struct parser *s, struct derw *w)
{
	size_t mark = derw_mark(w);
	struct rdn rdn;

	rdn.count = 0;
	derw_init(&rdn.w, rdn.buf, sizeof rdn.buf);
	if (!parse_attribute(s, &rdn))
		return false;
	while (*s->p == '+') {
		s->p++;
		if (!parse_attribute(s, &rdn))
			return false;
	}
	sort(rdn.attributes, rdn.count);
	for (size_t i = rdn.count; i > 0; i--)
		derw_raw(w, rdn.attributes[i - 1]);
	derw_wrap(w, mark, DER_SET);
	return true;
}

bool
name_from_text(const char *text, void *buf, size_t size, struct bytes *der, struct error *err)
{
	struct parser s = {.p = text, .err = err};
	struct derw w;

	derw_init(&w, buf, size < NAME_DER_MAX ? size : NAME_DER_MAX);
	skip_spaces(&s);
	if (*s.p == '\0')
		return bad(&s, "it is empty; write it like CN=Demo CA,O=Example,C=DE");
	if (*s.p == '/')
		return bad(&s, "write it with commas, most specific part first, like CN=Demo "
			       "CA,O=Example,C=DE");
	for (;;) {
		if (!parse_rdn(&s, &w))
			return false;
		if (*s.p == '\0')
			break;
		s.p++; /* ',' */
	}
	derw_wrap(&w, 0, DER_SEQUENCE);
	if (!derw_ok(&w))
		return error_set(
		    err, ERROR_LIMIT, "the name takes more than %d octets of DER", NAME_DER_MAX);
	/* An attribute type twice in an RDN is left to see. */
	if (!name_check(derw_result(&w), err))
		return false;
	*der = derw_result(&w);
	return true;
}
