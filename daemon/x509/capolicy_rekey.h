#ifndef CHANCERY_X509_CAPOLICY_REKEY_H
#define CHANCERY_X509_CAPOLICY_REKEY_H

/* What a policy needs for a CA to get a new key. Pure. */

#include "daemon/x509/capolicy.h"

/*
 * Checks that a CA made with policy `old` may go on with a new key and `fresh`: it is the
 * same CA (subject and kind), and no address is that of the old key's artifacts: CRLs
 * need <CRLNameSuffix>, CA certificates <CertificateName>, but for an entry of a
 * directory that holds all of them. ERROR_INPUT names the address and says what to do.
 */
bool capolicy_check_rekey(
    const struct capolicy *old, const struct capolicy *fresh, struct error *err) MUST_CHECK;

#endif
