#ifndef CHANCERY_X509_NAME_INT_H
#define CHANCERY_X509_NAME_INT_H

/*
 * What the name modules share: attribute types and characters of strings.
 */

#include "daemon/x509/name.h"

struct name_type {
	const char *keyword;
	uint8_t oid[10];
	uint8_t oid_len;
	uint8_t tag;  /* that we encode with */
	uint16_t max; /* upper bound in characters (RFC 5280 appendix A); 0: none */
	bool exact;   /* always max characters */
};

/* NULL when the type is not known. */
const struct name_type *name_type_by_oid(struct bytes oid);
const struct name_type *name_type_by_keyword(const char *word, size_t len);

/* Takes the next character of a string value; *rest must not be empty. False
 * when the octets are no such character. PrintableString is held to printable
 * ASCII here, not to its smaller alphabet. */
bool name_next_character(uint8_t tag, struct bytes *rest, uint32_t *character);

/* Checks a value against its tag and type: name_check's rules when strict, those
 * of name_check_structure otherwise. type may be NULL. */
bool name_check_value(
    const struct name_type *type, uint8_t tag, struct bytes value, bool strict, struct error *err);

#endif
