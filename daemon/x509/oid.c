#include "daemon/x509/oid.h"

#include <stdio.h>

#define OID(name, ...)                                        \
	static const uint8_t name##_octets[] = {__VA_ARGS__}; \
	const struct bytes name = {name##_octets, sizeof name##_octets}

/* id-ce: 2.5.29 */
OID(oid_subject_key_identifier, 0x55, 0x1d, 14);
OID(oid_key_usage, 0x55, 0x1d, 15);
OID(oid_subject_alt_name, 0x55, 0x1d, 17);
OID(oid_basic_constraints, 0x55, 0x1d, 19);
OID(oid_crl_number, 0x55, 0x1d, 20);
OID(oid_reason_code, 0x55, 0x1d, 21);
OID(oid_invalidity_date, 0x55, 0x1d, 24);
OID(oid_delta_crl_indicator, 0x55, 0x1d, 27);
OID(oid_issuing_distribution_point, 0x55, 0x1d, 28);
OID(oid_name_constraints, 0x55, 0x1d, 30);
OID(oid_crl_distribution_points, 0x55, 0x1d, 31);
OID(oid_certificate_policies, 0x55, 0x1d, 32);
OID(oid_authority_key_identifier, 0x55, 0x1d, 35);
OID(oid_extended_key_usage, 0x55, 0x1d, 37);
OID(oid_freshest_crl, 0x55, 0x1d, 46);
OID(oid_expired_certs_on_crl, 0x55, 0x1d, 60);

/* 1.3.6.1.4.1.311.21.14, "published CRL locations" */
OID(oid_crl_published_locations, 0x2b, 6, 1, 4, 1, 0x82, 0x37, 21, 14);

/* id-pkix: 1.3.6.1.5.5.7 */
#define PKIX 0x2b, 6, 1, 5, 5, 7
OID(oid_authority_info_access, PKIX, 1, 1);
OID(oid_policy_cps, PKIX, 2, 1);
OID(oid_ad_ocsp, PKIX, 48, 1);
OID(oid_ad_ca_issuers, PKIX, 48, 2);

/* 1.2.840.113549.1.9.14 */
OID(oid_extension_request, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 14);

static const struct {
	const char *name;
	uint8_t octets[10];
	uint8_t len;
} purposes[] = {
    {"serverAuth", {PKIX, 3, 1}, 8},
    {"clientAuth", {PKIX, 3, 2}, 8},
    {"codeSigning", {PKIX, 3, 3}, 8},
    {"emailProtection", {PKIX, 3, 4}, 8},
    {"timeStamping", {PKIX, 3, 8}, 8},
    {"OCSPSigning", {PKIX, 3, 9}, 8},
    {"ipsecIKE", {PKIX, 3, 17}, 8},
    {"cmcRA", {PKIX, 3, 28}, 8},
    {"documentSigning", {PKIX, 3, 36}, 8},
    {"anyExtendedKeyUsage", {0x55, 0x1d, 37, 0}, 4},
    /* Microsoft's, 1.3.6.1.4.1.311.20.2.2 */
    {"smartcardLogon", {0x2b, 6, 1, 4, 1, 0x82, 0x37, 20, 2, 2}, 10},
    /* Kerberos PKINIT, 1.3.6.1.5.2.3 */
    {"pkInitClientAuth", {0x2b, 6, 1, 5, 2, 3, 4}, 7},
    {"pkInitKDC", {0x2b, 6, 1, 5, 2, 3, 5}, 7},
};

bool
oid_purpose_from_name(const char *name, struct bytes *oid)
{
	for (size_t i = 0; i < COUNT_OF(purposes); i++) {
		if (strcmp(purposes[i].name, name) == 0) {
			*oid = (struct bytes){purposes[i].octets, purposes[i].len};
			return true;
		}
	}
	return false;
}

const char *
oid_purpose_name(struct bytes oid)
{
	for (size_t i = 0; i < COUNT_OF(purposes); i++) {
		if (bytes_equal(oid, (struct bytes){purposes[i].octets, purposes[i].len}))
			return purposes[i].name;
	}
	return NULL;
}

/* Reads one decimal arc without leading zeros and moves *text behind it. */
static bool
parse_arc(const char **text, uint64_t *arc)
{
	const char *p = *text;
	uint64_t v = 0;

	if (*p < '0' || *p > '9' || (p[0] == '0' && p[1] >= '0' && p[1] <= '9'))
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		if (v > (UINT64_MAX >> 1) / 10)
			return false;
		v = v * 10 + (uint64_t)(*p - '0');
	}
	*text = p;
	*arc = v;
	return true;
}

static bool
put_arc(uint8_t out[OID_DER_MAX], size_t *len, uint64_t arc)
{
	size_t octets = 1;

	for (uint64_t rest = arc >> 7; rest > 0; rest >>= 7)
		octets++;
	if (octets > OID_DER_MAX - *len)
		return false;
	for (size_t i = octets; i > 0; i--, arc >>= 7)
		out[*len + i - 1] = (uint8_t)((arc & 0x7f) | (i == octets ? 0 : 0x80));
	*len += octets;
	return true;
}

bool
oid_from_text(const char *text, uint8_t out[OID_DER_MAX], struct bytes *oid, struct error *err)
{
	const char *p = text;
	uint64_t first, arc;
	size_t len = 0;

	/* X.660: the first two arcs share an octet; below 0 and 1 there are 40. */
	if (!parse_arc(&p, &first) || first > 2 || *p++ != '.' || !parse_arc(&p, &arc) ||
	    (first < 2 && arc > 39) || !put_arc(out, &len, first * 40 + arc))
		goto bad;
	while (*p == '.') {
		p++;
		if (!parse_arc(&p, &arc) || !put_arc(out, &len, arc))
			goto bad;
	}
	if (*p != '\0')
		goto bad;
	*oid = (struct bytes){out, len};
	return true;
bad:
	return error_set(err, ERROR_INPUT,
	    "'%.80s' is no object identifier; write it as numbers and dots, like 1.3.6.1.5.5.7.3.1",
	    text);
}

static void
append_arc(char *out, size_t *used, bool known, uint64_t arc)
{
	int n;

	if (known)
		n = snprintf(out + *used, OID_TEXT_MAX - *used, "%s%llu", *used > 0 ? "." : "",
		    (unsigned long long)arc);
	else
		n = snprintf(out + *used, OID_TEXT_MAX - *used, "%s?", *used > 0 ? "." : "");
	*used += (size_t)n;
	if (*used >= OID_TEXT_MAX)
		*used = OID_TEXT_MAX - 1;
}

void
oid_to_text(struct bytes oid, char out[OID_TEXT_MAX])
{
	bool known = true, first = true;
	uint64_t arc = 0;
	size_t used = 0;

	out[0] = '\0';
	for (size_t i = 0; i < oid.len; i++) {
		known = known && arc <= UINT64_MAX >> 7;
		arc = arc << 7 | (oid.p[i] & 0x7f);
		if (oid.p[i] & 0x80)
			continue;
		if (first) {
			uint64_t top = arc < 40 ? 0 : arc < 80 ? 1 : 2;

			append_arc(out, &used, true, known ? top : 2);
			arc -= top * 40;
		}
		append_arc(out, &used, known, arc);
		first = false;
		known = true;
		arc = 0;
	}
}
