#ifndef CHANCERY_X509_NAME_H
#define CHANCERY_X509_NAME_H

/*
 * Distinguished names: DER Name (RFC 5280 4.1.2.4) and RFC 4514 text.
 *
 * The text is written most specific first, as RFC 4514 2.1 says:
 * "CN=Demo CA,O=Example,C=DE". DER holds the RDNs the other way round, so this
 * one is encoded C, O, CN, which is what "openssl -subj /C=DE/O=Example/CN=Demo
 * CA" makes.
 */

#include "daemon/core/error.h"
#include "daemon/x509/der.h"

#define NAME_DER_MAX 4096
#define NAME_TEXT_MAX 8192
#define NAME_ATTRIBUTE_MAX 64 /* attributes in all RDNs */

/* One AttributeTypeAndValue. */
struct name_attribute {
	unsigned rdn;	    /* 0 is the first in DER, the least specific */
	struct bytes oid;   /* content octets */
	uint8_t tag;	    /* of the value */
	struct bytes value; /* content octets */
};

struct name_iter {
	struct der rdns, attributes;
	unsigned rdn;
};

/* Checks the structure of a whole Name: sizes, DER order within an RDN (X.690
 * 11.6), no attribute type twice in an RDN, values that are strings of a known
 * type with only characters of that type. An empty Name is legal here. Used
 * for names made elsewhere. */
bool name_check_structure(struct bytes der, struct error *err) MUST_CHECK;

/* The above, and what we want of a name that we put into a certificate: values
 * not empty, no control characters, lengths within the upper bounds of RFC
 * 5280 appendix A (common name 64 characters, country 2, ...). */
bool name_check(struct bytes der, struct error *err) MUST_CHECK;

bool name_is_empty(struct bytes der);

/* True when two Names that were checked are the same for who compares as RFC
 * 5280 7.1 says, whatever their string types, cases and blanks are; rather once
 * too often, since it is for finding impostors. */
bool name_matches(struct bytes a, struct bytes b);

/* Encodes text; the result points into buf (NAME_DER_MAX octets are
 * always enough). PrintableString for C, serialNumber and dnQualifier,
 * IA5String for emailAddress and DC, UTF8String for all others. Spaces around
 * separators are taken off, escapes and "#hex" values are as in RFC 4514 3.
 * ERROR_INPUT says what is wrong and where. */
bool name_from_text(
    const char *text, void *buf, size_t size, struct bytes *der, struct error *err) MUST_CHECK;

/* RFC 4514 text with NUL. Control characters, and characters that turn the
 * direction of text, come as hex escapes, so that a terminal or a log shows
 * what is there. Fails when der is no Name or the text is longer than out. */
bool name_to_text(struct bytes der, char *out, size_t out_size, struct error *err) MUST_CHECK;

/* Walks the attributes of a Name that was checked, in DER order. */
void name_iter_init(struct name_iter *it, struct bytes der);
bool name_iter_next(struct name_iter *it, struct name_attribute *attribute) MUST_CHECK;

/* "CN", "O", "emailAddress" ...; NULL when the type has no short name here. */
const char *name_attribute_keyword(struct bytes oid);

/* Type by keyword (any case) or dotted OID; false when it is neither. A dotted
 * one is written to buf. */
bool name_attribute_oid(const char *word, uint8_t buf[64], struct bytes *oid) MUST_CHECK;

/* A value as UTF-8 with NUL, unescaped (BMPString and the others converted);
 * false when it is no string or longer than out, or holds a NUL. */
bool name_attribute_text(
    const struct name_attribute *attribute, char *out, size_t out_size) MUST_CHECK;

#endif
