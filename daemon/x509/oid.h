#ifndef CHANCERY_X509_OID_H
#define CHANCERY_X509_OID_H

/*
 * Object identifiers: the ones we meet, as content octets, and their readable
 * forms.
 */

#include "daemon/core/error.h"
#include "daemon/x509/der.h"

#define OID_DER_MAX 64	 /* content octets */
#define OID_TEXT_MAX 256 /* dotted form with its NUL */
#define OID_ARC_MAX 32

/* Extensions of certificates, CRLs and CRL entries (RFC 5280 4.2, 5.2, 5.3). */
extern const struct bytes oid_subject_key_identifier;
extern const struct bytes oid_key_usage;
extern const struct bytes oid_subject_alt_name;
extern const struct bytes oid_basic_constraints;
extern const struct bytes oid_crl_number;
extern const struct bytes oid_reason_code;
extern const struct bytes oid_invalidity_date;
extern const struct bytes oid_delta_crl_indicator;
extern const struct bytes oid_issuing_distribution_point;
extern const struct bytes oid_name_constraints;
extern const struct bytes oid_crl_distribution_points;
extern const struct bytes oid_certificate_policies;
extern const struct bytes oid_authority_key_identifier;
extern const struct bytes oid_extended_key_usage;
extern const struct bytes oid_freshest_crl;
extern const struct bytes oid_expired_certs_on_crl;    /* X.509 9.5.2.8 */
extern const struct bytes oid_crl_published_locations; /* Microsoft's */
extern const struct bytes oid_authority_info_access;

/* Inside extensions. */
extern const struct bytes oid_ad_ocsp;
extern const struct bytes oid_ad_ca_issuers;
extern const struct bytes oid_policy_cps;

/* Attributes of a CSR (RFC 2985). */
extern const struct bytes oid_extension_request;

/* Extended key usages by the name that RFC 5280 4.2.1.12 and vendors give them:
 * serverAuth, clientAuth, codeSigning, emailProtection, timeStamping,
 * OCSPSigning, anyExtendedKeyUsage, smartcardLogon, ipsecIKE, ... . Gives the
 * content octets, or false when the name is none of them. */
bool oid_purpose_from_name(const char *name, struct bytes *oid) MUST_CHECK;

/* The name, or NULL when it has none here. */
const char *oid_purpose_name(struct bytes oid);

/* Dotted text to content octets (at most OID_DER_MAX, written to out) and back.
 * ERROR_INPUT names the text that is no OID. */
bool oid_from_text(
    const char *text, uint8_t out[OID_DER_MAX], struct bytes *oid, struct error *err) MUST_CHECK;

/* Always writes something readable; arcs beyond 64 bits come as "?". */
void oid_to_text(struct bytes oid, char out[OID_TEXT_MAX]);

#endif
