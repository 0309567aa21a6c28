#include "daemon/publish/ldap_entry.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <ldap.h>

static const struct {
	const char *type, *alias, *oid;
	const char *structural;
} shapes[] = {
    {"cn", "commonName", "2.5.4.3", "applicationProcess"},
    {"ou", "organizationalUnitName", "2.5.4.11", "organizationalUnit"},
    {"o", "organizationName", "2.5.4.10", "organization"},
};

const char *
ldap_entry_auxiliary(enum artifact_kind kind)
{
	return kind == ARTIFACT_DELTA_CRL ? "deltaCRL" : "pkiCA";
}

static bool
word_is(const struct berval *b, const char *word)
{
	return b->bv_len == strlen(word) && strncasecmp(b->bv_val, word, b->bv_len) == 0;
}

static bool
choose(const struct berval *type, enum artifact_kind kind, struct ldap_entry *e)
{
	for (size_t i = 0; i < COUNT_OF(shapes); i++) {
		if (!word_is(type, shapes[i].type) && !word_is(type, shapes[i].alias) &&
		    !word_is(type, shapes[i].oid))
			continue;
		(void)snprintf(e->rdn_type, sizeof e->rdn_type, "%s", shapes[i].type);
		if (i == 0 && kind != ARTIFACT_CA_CERTIFICATE) {
			e->classes[0] = "cRLDistributionPoint";
		} else {
			e->classes[0] = shapes[i].structural;
			e->classes[1] = ldap_entry_auxiliary(kind);
		}
		return true;
	}
	return false;
}

static bool
choose_ad(enum artifact_kind kind, struct ldap_entry *e)
{
	memset(e->classes, 0, sizeof e->classes);
	if (strcmp(e->rdn_type, "cn") != 0)
		return false;
	if (kind != ARTIFACT_CA_CERTIFICATE) {
		e->classes[0] = "cRLDistributionPoint";
		return true;
	}
	e->classes[0] = "certificationAuthority";
	e->others[0] = "authorityRevocationList";
	e->others[1] = "certificateRevocationList";
	return true;
}

bool
ldap_entry_plan(
    const char *dn_text, const struct publish_job *job, struct ldap_entry *entry, struct error *err)
{
	LDAPDN dn = NULL;
	bool ok = false;
	LDAPRDN rdn;

	memset(entry, 0, sizeof *entry);
	if (ldap_str2dn(dn_text, &dn, LDAP_DN_FORMAT_LDAPV3) != LDAP_SUCCESS || dn == NULL ||
	    (rdn = dn[0]) == NULL || rdn[0] == NULL) {
		error_set(err, ERROR_INPUT, "'%s' is no distinguished name (RFC 4514)", dn_text);
		goto out;
	}
	if (rdn[1] != NULL || !choose(&rdn[0]->la_attr, job->artifact, entry) ||
	    (job->schema == TARGET_SCHEMA_AD && !choose_ad(job->artifact, entry))) {
		error_set(err, ERROR_INPUT,
		    "the entry %s does not exist, and only entries named by one cn, ou or o are "
		    "made "
		    "here; create it, or choose such a name",
		    dn_text);
		goto out;
	}
	if ((rdn[0]->la_flags & LDAP_AVA_BINARY) != 0 ||
	    rdn[0]->la_value.bv_len >= sizeof entry->rdn_value) {
		error_set(err, ERROR_LIMIT, "the name of the entry %s is too long", dn_text);
		goto out;
	}
	memcpy(entry->rdn_value, rdn[0]->la_value.bv_val, rdn[0]->la_value.bv_len);
	ok = true;
out:
	if (dn != NULL)
		ldap_dnfree(dn);
	return ok;
}
