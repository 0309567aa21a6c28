#ifndef CHANCERY_X509_EXTENSION_H
#define CHANCERY_X509_EXTENSION_H

/*
 * Extensions of certificates and CRLs (RFC 5280 4.2 and 5.2): encoders and
 * readers.
 *
 * Encoders append whole Extension SEQUENCEs to a `struct extensions`, a fixed
 * buffer of the caller; the result is what certificate and CRL builders take.
 * Sticky: the caller asks once at the end (extensions_ok).
 */

#include <openssl/x509v3.h>

#include "daemon/core/error.h"
#include "daemon/x509/der.h"
#include "daemon/x509/oid.h"

#define EXTENSIONS_MAX 49152 /* buffer that holds any set within our limits */
#define EXTENSION_COUNT_MAX 64
#define EXTENSION_URL_MAX 2048
#define EXTENSION_URL_COUNT_MAX 32
#define EXTENSION_POLICY_MAX 32
#define EKU_MAX 32
#define SAN_TEXT_MAX 2304
#define CRL_NUMBER_MAX 20 /* octets, RFC 5280 5.2.3 */

/* OpenSSL has macros of the same names with other values (its bits stand the
 * other way round). Its header comes first, here, so that no order of includes
 * can bring them back. */
#undef KU_DIGITAL_SIGNATURE
#undef KU_NON_REPUDIATION
#undef KU_KEY_ENCIPHERMENT
#undef KU_DATA_ENCIPHERMENT
#undef KU_KEY_AGREEMENT
#undef KU_KEY_CERT_SIGN
#undef KU_CRL_SIGN
#undef KU_ENCIPHER_ONLY
#undef KU_DECIPHER_ONLY

/* keyUsage: bit n of RFC 5280 4.2.1.3 is bit n here. */
enum key_usage {
	KU_DIGITAL_SIGNATURE = 1 << 0,
	KU_NON_REPUDIATION = 1 << 1,
	KU_KEY_ENCIPHERMENT = 1 << 2,
	KU_DATA_ENCIPHERMENT = 1 << 3,
	KU_KEY_AGREEMENT = 1 << 4,
	KU_KEY_CERT_SIGN = 1 << 5,
	KU_CRL_SIGN = 1 << 6,
	KU_ENCIPHER_ONLY = 1 << 7,
	KU_DECIPHER_ONLY = 1 << 8,
};

/* "digitalSignature" ... to its bit, and back (one bit; NULL for none). */
bool key_usage_from_name(const char *name, uint16_t *bit) MUST_CHECK;
const char *key_usage_name(uint16_t bit);

/* GeneralName (RFC 5280 4.2.1.6). */
enum san_type {
	SAN_DNS = 1,
	SAN_IP, /* 4 or 16 octets */
	SAN_EMAIL,
	SAN_URI,
	SAN_UNSUPPORTED, /* otherName, directoryName, ...: value is the whole element */
};

struct san {
	enum san_type type;
	struct bytes value;
};

struct policy {
	struct bytes oid; /* content octets */
	const char *cps;  /* URL or NULL */
};

/* Reasons of revocation, as bits 1 << CRLReason (crl.h), for which RFC 5280 4.2.1.13 has
 * a flag. Encoded they are ReasonFlags, which count otherwise. */
#define REASONS_ALL 0x67eu
/* What of another set is no reason that a CRL can be about. */
#define REASONS_VALID(set) ((set) != 0 && ((set) & ~REASONS_ALL) == 0)

/* DistributionPoint (RFC 5280 4.2.1.13): ways to one CRL. */
struct distribution_point {
	const char *const *urls; /* fullName */
	size_t url_count;
	unsigned reasons; /* that the CRL is about; 0: all */
};

/* IssuingDistributionPoint (RFC 5280 5.2.5). At most one of the only_user, only_ca,
 * only_attribute. */
struct idp {
	const char *const *urls; /* fullName; none: distributionPoint absent */
	size_t url_count;
	bool only_user, only_ca, only_attribute;
	unsigned only_reasons; /* onlySomeReasons; 0: absent */
};

struct extensions {
	uint8_t *buf; /* borrowed */
	size_t size, len;
	unsigned count;
	bool failed;
};

/* ---- encoders */

void extensions_init(struct extensions *x, void *buf, size_t size);
bool extensions_ok(const struct extensions *x) MUST_CHECK;
/* The concatenated Extension SEQUENCEs; points to the start of the buffer. */
struct bytes extensions_result(const struct extensions *x);

/* Any extension: content octets of the OID, DER of the value. */
void extensions_add(struct extensions *x, struct bytes oid, bool critical, struct bytes value);

/* Critical, as RFC 5280 4.2.1.3 advises. No bits: nothing is added. */
void extensions_add_key_usage(struct extensions *x, uint16_t bits);
void extensions_add_extended_key_usage(
    struct extensions *x, const struct bytes *oids, size_t count, bool critical);
/* Critical when the subject is empty (RFC 5280 4.2.1.6): the caller knows.
 * SAN_UNSUPPORTED values are whole GeneralName elements, copied as they are. */
void extensions_add_subject_alt_name(
    struct extensions *x, const struct san *names, size_t count, bool critical);
/* path_length: -1 for none; only with ca. */
void extensions_add_basic_constraints(
    struct extensions *x, bool ca, int path_length, bool critical);
void extensions_add_subject_key_identifier(struct extensions *x, struct bytes key_id);
/* keyIdentifier only. */
void extensions_add_authority_key_identifier(struct extensions *x, struct bytes key_id);
/* Points without URLs are left out. Of a certificate at least one must be for all
 * reasons (RFC 5280 4.2.1.13), of a CRL's freshestCRL every one (5.2.6). */
void extensions_add_crl_distribution_points(
    struct extensions *x, const struct distribution_point *points, size_t count);
void extensions_add_freshest_crl(
    struct extensions *x, const struct distribution_point *points, size_t count);
/* Of a CRL: where it is to be published by hand. */
void extensions_add_crl_published_locations(
    struct extensions *x, const char *const *urls, size_t count);
/* Of a CRL that also has certificates which expired at this time or later. */
void extensions_add_expired_certs_on_crl(struct extensions *x, int64_t since);
/* caIssuers first, then OCSP. */
void extensions_add_authority_info_access(struct extensions *x, const char *const *ca_issuers,
    size_t ca_issuer_count, const char *const *ocsp, size_t ocsp_count);
void extensions_add_certificate_policies(
    struct extensions *x, const struct policy *policies, size_t count);
/* Critical. */
void extensions_add_issuing_distribution_point(struct extensions *x, const struct idp *idp);
/* number: big-endian, leading zeros do not count, at most CRL_NUMBER_MAX octets
 * in DER. */
void extensions_add_crl_number(struct extensions *x, struct bytes number);
/* Critical; number of the base CRL (BaseCRLNumber). */
void extensions_add_delta_crl_indicator(struct extensions *x, struct bytes base_number);

/* The value of an IssuingDistributionPoint alone, for keeping with a CRL scope
 * and adding later byte for byte; result points to the end of buf. */
bool idp_encode(const struct idp *idp, void *buf, size_t size, struct bytes *value,
    struct error *err) MUST_CHECK;

/* Checks what goes into a certificate as a URL: printable ASCII without space,
 * a scheme, at most EXTENSION_URL_MAX octets. */
bool extension_url_check(const char *url, struct error *err) MUST_CHECK;

/* Decimal text of a non-negative number (a database's numeric) to big-endian
 * octets without leading zeros, and back. out of the latter: 64 octets do. */
bool crl_number_from_text(const char *text, uint8_t out[CRL_NUMBER_MAX], struct bytes *number,
    struct error *err) MUST_CHECK;
bool crl_number_to_text(struct bytes number, char *out, size_t out_size) MUST_CHECK;

/* ---- readers */

struct extension {
	struct bytes oid; /* content octets */
	bool critical;
	struct bytes value; /* content of the OCTET STRING */
	struct bytes whole; /* the SEQUENCE */
};

struct extension_iter {
	struct der rest;
};

/* Checks concatenated Extension SEQUENCEs: structure, DER default (critical
 * FALSE left out), at most EXTENSION_COUNT_MAX, no OID twice (RFC 5280 4.2),
 * values well-formed DER. At least one. what: named in errors ("CSR"). */
bool extensions_check(struct bytes list, const char *what, struct error *err) MUST_CHECK;

/* Walks a list that was checked. */
void extension_iter_init(struct extension_iter *it, struct bytes list);
bool extension_iter_next(struct extension_iter *it, struct extension *extension) MUST_CHECK;
/* Finds one in a list that was checked. */
bool extension_find(struct bytes list, struct bytes oid, struct extension *extension) MUST_CHECK;

/* Values. Each returns false with a sentence when the value is not exactly of
 * its type. Lists: *count of at most max; more is ERROR_LIMIT. */
bool extension_read_key_usage(struct bytes value, uint16_t *bits, struct error *err) MUST_CHECK;
bool extension_read_extended_key_usage(struct bytes value, struct bytes *oids, size_t max,
    size_t *count, struct error *err) MUST_CHECK;
/* path_length is -1 when absent. */
bool extension_read_basic_constraints(
    struct bytes value, bool *ca, int *path_length, struct error *err) MUST_CHECK;
bool extension_read_subject_alt_name(
    struct bytes value, struct san *names, size_t max, size_t *count, struct error *err) MUST_CHECK;
bool extension_read_subject_key_identifier(
    struct bytes value, struct bytes *key_id, struct error *err) MUST_CHECK;
/* key_id is empty when the value has none; issuer and serial are tolerated,
 * *only_key_id says that they are absent (may be NULL). */
bool extension_read_authority_key_identifier(
    struct bytes value, struct bytes *key_id, bool *only_key_id, struct error *err) MUST_CHECK;
/* expiredCertsOnCRL: seconds since 1970. */
bool extension_read_expired_certs_on_crl(
    struct bytes value, int64_t *since, struct error *err) MUST_CHECK;
/* Also deltaCRLIndicator's BaseCRLNumber. Gives the magnitude. */
bool extension_read_crl_number(
    struct bytes value, struct bytes *number, struct error *err) MUST_CHECK;

/* freshestCRL of a CRL (RFC 5280 5.2.6): every point has URIs, and neither reasons nor a
 * CRL issuer of its own. */
bool extension_check_distribution_points(struct bytes value, struct error *err) MUST_CHECK;
/* cRLDistributionPoints and freshestCRL of a certificate (4.2.1.13, 4.2.1.15): the same,
 * but beside a point for all reasons there may be some for a few. */
bool extension_check_certificate_points(struct bytes value, struct error *err) MUST_CHECK;
/* The content of a BIT STRING of ReasonFlags (4.2.1.13) to bits 1 << CRLReason: a named
 * bit list in DER, none of its bits unused(0). */
bool extension_read_reasons(struct bytes content, unsigned *reasons, struct error *err) MUST_CHECK;
/* The content of a DistributionPointName's [0] (4.2.1.13, 5.2.5): a fullName of
 * URIs. */
bool extension_check_full_name(struct bytes content, struct error *err) MUST_CHECK;
/* authorityInfoAccess (4.2.2.1): caIssuers and ocsp, with URIs. */
bool extension_check_authority_info_access(struct bytes value, struct error *err) MUST_CHECK;

/* Checks one name's characters: DNS preferred syntax (underscore tolerated, "*"
 * only as the whole leftmost label), IP 4 or 16 octets, e-mail local@domain,
 * URI with a scheme; all printable ASCII. */
bool san_check(const struct san *san, struct error *err) MUST_CHECK;

/* "dns:a.example", "ip:192.0.2.1", "email:x@y", "uri:...", "other:<hex>". */
bool san_to_text(const struct san *san, char *out, size_t out_size) MUST_CHECK;

#endif
