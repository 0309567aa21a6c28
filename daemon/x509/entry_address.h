#ifndef CHANCERY_X509_ENTRY_ADDRESS_H
#define CHANCERY_X509_ENTRY_ADDRESS_H

/*
 * Where in a directory the entry of a certificate's subject is: an LDAP URL (RFC 4516)
 * whose DN or filter has variables.
 *
 *   ldaps://ds.example/uid=<subject.UID>,ou=people,o=example
 *   ldaps://ds.example/ou=people,o=example??sub?(mail=<san.email>)
 *
 *   <subject.TYPE>  the certificate's only attribute of that type (CN, UID, 2.5.4.5, ...)
 *   <san.TYPE>      its only alternative name of that type: dns, email, uri or upn
 *   <requester>     who submitted the request: a person, or a role of the database
 *
 * A variable is the whole of an attribute's value, never a part of it, and is written
 * with each octet that is no letter or digit escaped (RFC 4514 2.4, RFC 4515 3): no value
 * can become structure, or a wild card. What stands in the certificate came from the
 * request; it may choose an entry only where an operator has approved just that.
 */

#include "daemon/core/error.h"
#include "daemon/x509/cert.h"

#define ENTRY_URL_MAX 1024 /* bytes of the URL, with variables */
#define ENTRY_SERVER_MAX 320
#define ENTRY_TEXT_MAX 4096 /* bytes of a DN or a filter, with values */
#define ENTRY_VALUE_MAX 256 /* octets of a value */

struct entry_address {
	char server[ENTRY_SERVER_MAX]; /* "ldaps://host:port", as written */
	struct bytes dn, filter;       /* as written, in the caller's text; filter may be empty */
	bool one_level;		       /* of a search; otherwise the whole subtree */
	bool from_certificate;	       /* has variables that the request decides on */
};

/* What the variables stand for; everything is borrowed. */
struct entry_subject {
	const struct certificate *certificate;
	const char *requester; /* "": nobody with a name */
};

/* Takes a URL apart and checks where its variables stand; there must be one. No attribute
 * and no extensions; a search has scope one or sub, and a filter. ERROR_INPUT: what is
 * wrong, to stand behind "'URL' ". */
bool entry_address_parse(
    const char *url, struct entry_address *address, struct error *err) MUST_CHECK;

/* DN and filter, ready for libldap; filter is "" where the DN is the entry's own.
 * ERROR_NOT_FOUND: a variable has no value, or more than one, so that it names nobody. */
bool entry_address_expand(const struct entry_address *address, const struct entry_subject *subject,
    char dn[ENTRY_TEXT_MAX], char filter[ENTRY_TEXT_MAX], struct error *err) MUST_CHECK;

#endif
