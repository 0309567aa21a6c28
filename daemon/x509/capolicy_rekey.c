#include "daemon/x509/capolicy_rekey.h"

#include <string.h>
#include <strings.h>

/* A directory's cACertificate has several values. */
static bool
holds_several(const char *url)
{
	return strncasecmp(url, "ldap:", 5) == 0 || strncasecmp(url, "ldaps:", 6) == 0;
}

static bool
check_address(const char *url, enum location_variable needed, const char *what, struct error *err)
{
	if ((location_variables(url) & (1U << needed)) != 0)
		return true;
	return error_set(err, ERROR_INPUT,
	    "'%s' would be the address of the old key's %s and of the new key's: it needs the "
	    "variable %s (give a policy that has it, with --policy; certificates of the old key "
	    "keep the address that they have)",
	    url, what, location_variable_name(needed));
}

static bool
check_crl_address(const char *url, struct error *err)
{
	return check_address(url, LOCATION_CRL_NAME_SUFFIX, "CRL", err);
}

static bool
check_certificate_address(const char *url, struct error *err)
{
	return holds_several(url) ||
	       check_address(url, LOCATION_CERTIFICATE_NAME, "CA certificate", err);
}

static bool
check_targets(const struct capolicy *p, struct error *err)
{
	for (size_t i = 0; i < p->target_count; i++) {
		const struct capolicy_target *t = &p->targets[i];
		bool certificate = strcmp(t->artifact, "ca-certificate") == 0;

		if (certificate ? !check_certificate_address(t->write, err)
				: !check_crl_address(t->write, err))
			return error_wrap(err, "target %s", t->name);
	}
	return true;
}

bool
capolicy_check_rekey(const struct capolicy *old, const struct capolicy *fresh, struct error *err)
{
	if (!bytes_equal(old->subject, fresh->subject) || old->kind != fresh->kind)
		return error_set(err, ERROR_INPUT,
		    "a CA with a new key is the same CA: 'subject' and 'kind' of its policy stay");
	for (size_t i = 0; i < fresh->cdp_count; i++)
		if (!check_crl_address(fresh->cdp[i].url, err))
			return false;
	for (size_t i = 0; i < fresh->aia_count; i++)
		if ((fresh->aia[i].flags & ~(unsigned)LOCATION_AS_OCSP) != 0 &&
		    !check_certificate_address(fresh->aia[i].url, err))
			return false;
	return check_targets(fresh, err);
}
