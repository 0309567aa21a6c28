#ifndef CHANCERY_PUBLISH_LDAP_GSSAPI_H
#define CHANCERY_PUBLISH_LDAP_GSSAPI_H

/*
 * Binding to a directory with a Kerberos ticket: SASL GSSAPI (RFC 4752), by libldap
 * through Cyrus SASL and its module for MIT Kerberos. Nothing but the job says whose
 * ticket, from which file, and by which krb5.conf: variables, homes and ticket caches
 * of whoever started the daemon are of no account.
 */

#include <stdbool.h>

#include <ldap.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/publish/ldap_session.h"

/* Where the Kerberos library is told about its realms without issuer.krb5_config. */
#define LDAP_GSSAPI_CONFIG "/etc/krb5.conf"

/* The job's credential is a private file (config_open_secret): a keytab, whose first
 * principal asks for a ticket, or a cache of tickets that somebody else renews; its first
 * octets tell which. tls: the session is in TLS; without it the ticket's key protects
 * all that is sent, and a server that cannot do that is refused. Waits for the KDC, which
 * only the courier's alarm ends. ERROR_CONFIG, ERROR_DENIED, ERROR_UNAVAILABLE. */
bool ldap_gssapi_bind(const struct target_work *work, LDAP *ld, const struct ldap_place *place,
    bool tls, struct error *err) MUST_CHECK;

#endif
