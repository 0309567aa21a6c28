#ifndef CHANCERY_PUBLISH_LDAP_SESSION_H
#define CHANCERY_PUBLISH_LDAP_SESSION_H

/*
 * What writing and reading by LDAP share: LDAP URLs (RFC 4516) taken apart,
 * and connections on which nothing waits longer than the work's time, except
 * what libldap itself waits for without a bound (the handshake of TLS); for that
 * the courier is killed.
 */

#include <stdbool.h>
#include <stddef.h>

#include <ldap.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/publish/job.h"
#include "daemon/publish/target.h"

#define LDAP_ATTRIBUTE_MAX 64
#define LDAP_VALUE_MAX ((uint64_t)256 << 20) /* octets of an artifact in a directory */

struct ldap_place {
	char server[PUBLISH_URL_MAX]; /* "ldap://host:port", for libldap */
	char dn[PUBLISH_URL_MAX];
	char attribute[LDAP_ATTRIBUTE_MAX]; /* with ";binary" */
	bool tls;			    /* from the first octet */
	bool loopback;
};

/*
 * Takes ldap://HOST[:PORT]/DN[?ATTRIBUTE[?...]] apart, ldaps:// too. Without
 * an attribute it is the artifact kind's; another kind's is refused, and
 * ";binary" is added (RFC 4523 2: these syntaxes travel in binary). Scope,
 * filter and extensions, as in CDP URLs, are of no account: the DN is the
 * entry. With TARGET_TLS_LDAPS an ldap:// becomes ldaps:// (port 389 or none
 * becomes 636). ERROR_INPUT.
 */
bool ldap_place_parse(const char *url, const struct publish_job *job, enum target_tls tls,
    struct ldap_place *place, struct error *err) MUST_CHECK;

/* "cACertificate;binary", ...; without the option in Active Directory's schema. */
const char *ldap_attribute_of(enum artifact_kind kind, enum target_schema schema);

/* Who binds: by name and password, by the certificate of the TLS session (SASL
 * EXTERNAL, RFC 4513 5.2.3), by a Kerberos ticket (ldap_gssapi.h), or as nobody. */
struct ldap_identity {
	const char *dn; /* "" : anonymously */
	const char *password;
	size_t password_len;
	const char *certificate; /* path of its PEM with the key, or NULL */
	bool gssapi;		 /* by a Kerberos ticket, as the job says */
};

/* Connects, with TLS if wanted, verified against the job's ca_file, and binds.
 * ld_out is the caller's to close. */
bool ldap_session_open(const struct target_work *work, const struct ldap_place *place,
    bool starttls, const struct ldap_identity *who, LDAP **ld_out, struct error *err) MUST_CHECK;
/* NULL is legal. */
void ldap_session_close(LDAP *ld);

/* Waits for the answer to msgid and returns its LDAP result code, or libldap's
 * own negative one. result (may be NULL) receives the message, the caller's to
 * ldap_msgfree. text (size) receives the server's words. */
int ldap_session_wait(const struct target_work *work, LDAP *ld, int msgid, LDAPMessage **result,
    char *text, size_t size);

struct ldap_search {
	const char *dn;
	int scope; /* LDAP_SCOPE_... */
	const char *filter;
	const char *attribute; /* the only one that is asked for */
	int most;	       /* entries that are asked for */
};

struct ldap_found {
	LDAPMessage *entry; /* the first; the caller's to ldap_msgfree unless NULL, even of
			       a search that failed */
	unsigned count;	    /* of entries that came */
};

/* Searches, waits and returns as ldap_session_wait does. LDAP_PROTOCOL_ERROR: the server
 * goes on sending; what is kept of it all is one entry. */
int ldap_session_search(const struct target_work *work, LDAP *ld, const struct ldap_search *search,
    struct ldap_found *found, char *text, size_t size);

/* The values of an attribute of one entry, in the same way; NULL where there are none,
 * otherwise the caller's to ldap_value_free_len. */
int ldap_session_read(const struct target_work *work, LDAP *ld, const char *dn,
    const char *attribute, struct berval ***values, char *text, size_t size);

/* Sets err for an operation that failed with rc. Returns false. */
bool ldap_session_failed(const struct target_work *work, struct error *err, const char *what,
    const char *dn, int rc, const char *text);

#endif
