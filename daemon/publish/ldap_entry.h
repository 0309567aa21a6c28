#ifndef CHANCERY_PUBLISH_LDAP_ENTRY_H
#define CHANCERY_PUBLISH_LDAP_ENTRY_H

/*
 * What an entry must be made of to hold an artifact (RFC 4523 3, RFC 4519).
 * Pure: no connection is needed.
 */

#include <stdbool.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/publish/job.h"

#define LDAP_ENTRY_CLASSES_MAX 2
#define LDAP_ENTRY_OTHERS_MAX 2
#define LDAP_ENTRY_NAME_MAX 256

struct ldap_entry {
	const char *classes[LDAP_ENTRY_CLASSES_MAX + 1]; /* structural first; NULL-terminated */
	/* Attributes that the class wants besides; one zero octet stands for none. */
	const char *others[LDAP_ENTRY_OTHERS_MAX + 1];
	char rdn_type[16];		     /* "cn", "ou" or "o" */
	char rdn_value[LDAP_ENTRY_NAME_MAX]; /* UTF-8 */
};

/*
 * Classes for an entry of this name. A cn holds CRLs as cRLDistributionPoint,
 * which takes base and delta, and CA certificates as applicationProcess with
 * pkiCA; ou and o become organizationalUnit and organization with the
 * auxiliary class of the artifact. Active Directory's schema knows only cn:
 * cRLDistributionPoint, and certificationAuthority, which must have both lists of
 * revoked certificates (its own tools put one zero octet there, too). Other kinds
 * of names, and names of several parts, are somebody else's to create.
 * ERROR_INPUT.
 */
bool ldap_entry_plan(const char *dn, const struct publish_job *job, struct ldap_entry *entry,
    struct error *err) MUST_CHECK;

/* The auxiliary class that lets an existing entry hold the artifact: "pkiCA",
 * or "deltaCRL", because pkiCA takes no delta. */
const char *ldap_entry_auxiliary(enum artifact_kind kind);

#endif
