#ifndef CHANCERY_X509_LOCATION_H
#define CHANCERY_X509_LOCATION_H

/*
 * Locations: the addresses of CRLs and CA certificates, written with variables
 * that stand for what differs from one artifact to the next.
 *
 * A variable has a name in angle brackets and, where administrators of AD CS know
 * one, a number behind a percent sign: <CaName> is %3. "%" with two hexadecimal
 * digits is an escape of the URL and no variable, except %10 and %11.
 *
 *   <ServerDNSName> %1           the host, as the policy names it
 *   <ServerShortName> %2         its first label
 *   <CaName> %3                  the CA's name at this service
 *   <CertificateName> %4         "(n)" for the n-th renewal of the CA's certificate
 *   <ConfigurationContainer> %6  DN in the directory, as the policy names it
 *   <CATruncatedName> %7         the name; a long one cut, with a digest of all of it
 *   <CRLNameSuffix> %8           "(n)" for the n-th renewal of the CA's key
 *   <DeltaCRLAllowed> %9         the policy's delta suffix, in delta CRLs only
 *   <CDPObjectClass> %10         attribute, scope and filter of a CRL in LDAP URLs
 *   <CAObjectClass> %11          the same of a CA certificate
 *   <CRLPartitionIndex>          which of the CA's CRLs, where it has several
 *
 * Values are escaped as their place wants it: for a path segment of a URL (RFC 3986
 * 3.3), for an attribute value in a DN (RFC 4514 2.4) and then for a URL, or as part
 * of a file's name. What is written around the variables stays as it is.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

#define LOCATION_URL_MAX 2048	  /* bytes, also after expansion: EXTENSION_URL_MAX */
#define LOCATION_PARTITION_MAX 64 /* bytes of what <CRLPartitionIndex> stands for, with the NUL */
#define LOCATION_TRUNCATED_MAX                                                                 \
	32		       /* characters of a name in <CATruncatedName>, before the digest \
				*/
#define LOCATION_SUFFIX_MAX 16 /* bytes of the delta suffix */

/* What a location is for. The values are those of AD CS, so that 65:http://... can
 * be read; the last one is ours. */
enum location_flag {
	LOCATION_PUBLISH = 1,			/* the CA brings the artifact there */
	LOCATION_IN_CERTIFICATES = 2,		/* cRLDistributionPoints, or caIssuers */
	LOCATION_IN_FRESHEST = 4,		/* freshestCRL of complete CRLs */
	LOCATION_IN_CRL_PUBLISHED = 8,		/* 1.3.6.1.4.1.311.21.14 of CRLs */
	LOCATION_AS_OCSP = 32,			/* OCSP in authorityInfoAccess */
	LOCATION_PUBLISH_DELTA = 64,		/* the CA brings the delta CRL there */
	LOCATION_IN_IDP = 128,			/* issuingDistributionPoint of CRLs */
	LOCATION_IN_CERTIFICATE_FRESHEST = 256, /* freshestCRL of certificates */
};

#define LOCATION_CDP_FLAGS                                                         \
	(LOCATION_PUBLISH | LOCATION_IN_CERTIFICATES | LOCATION_IN_FRESHEST |      \
	    LOCATION_IN_CRL_PUBLISHED | LOCATION_PUBLISH_DELTA | LOCATION_IN_IDP | \
	    LOCATION_IN_CERTIFICATE_FRESHEST)
#define LOCATION_AIA_FLAGS (LOCATION_PUBLISH | LOCATION_IN_CERTIFICATES | LOCATION_AS_OCSP)
/* Of a complete CRL, and of a delta CRL. */
#define LOCATION_BASE_FLAGS \
	(LOCATION_PUBLISH | LOCATION_IN_CERTIFICATES | LOCATION_IN_IDP | LOCATION_IN_CRL_PUBLISHED)
#define LOCATION_DELTA_FLAGS \
	(LOCATION_IN_FRESHEST | LOCATION_PUBLISH_DELTA | LOCATION_IN_CERTIFICATE_FRESHEST)

enum location_variable {
	LOCATION_SERVER_DNS_NAME,
	LOCATION_SERVER_SHORT_NAME,
	LOCATION_CA_NAME,
	LOCATION_CERTIFICATE_NAME,
	LOCATION_CONFIGURATION_CONTAINER,
	LOCATION_CA_TRUNCATED_NAME,
	LOCATION_CRL_NAME_SUFFIX,
	LOCATION_DELTA_CRL_ALLOWED,
	LOCATION_CDP_OBJECT_CLASS,
	LOCATION_CA_OBJECT_CLASS,
	LOCATION_CRL_PARTITION_INDEX,
};

/* One location; borrowed. */
struct location {
	const char *url;
	unsigned flags; /* enum location_flag */
};

/* What the variables stand for. Everything is borrowed. */
struct location_names {
	const char *server;	  /* NULL: not known, its variables are an error */
	const char *config_dn;	  /* the same */
	const char *ca;		  /* the CA's name */
	const char *delta_suffix; /* such as "-delta" */
	const char *partition;	  /* "" where the CA has one CRL */
	int certificate_index, key_index;
};

/* "in_certificates"; NULL for what is no single flag. */
const char *location_flag_name(unsigned flag);
/* 0: there is no such flag. */
unsigned location_flag_from_name(const char *name);

#define LOCATION_FLAGS_TEXT_MAX 160
/* "in_certificates, in_idp": those of them that have a name. */
void location_flags_text(unsigned set, char out[LOCATION_FLAGS_TEXT_MAX]);

/* Which variables stand in it, as bits 1 << enum location_variable. Unknown names
 * in brackets are not counted: location_expand refuses them. */
unsigned location_variables(const char *url);
/* "<CaName>" */
const char *location_variable_name(enum location_variable variable);

/* Writes the address of one artifact; delta: of a delta CRL. out takes
 * LOCATION_URL_MAX + 1 bytes. ERROR_INPUT: what is wrong, to stand behind "'URL' ". */
bool location_expand(const char *url, const struct location_names *names, bool delta, char *out,
    struct error *err) MUST_CHECK;

/* One location of AD CS, in one of the spellings that its administrators have at
 * hand:
 *
 *   65:http://%1/CertEnroll/%3%8%9.crl       certutil -setreg, the registry
 *   6:http://pki/%%3%%8%%9.crl               the same in a batch file
 *   1: 65:http://%1/CertEnroll/%3%8%9.crl    a line of certutil -getreg
 *   Add-CACrlDistributionPoint -Uri "http://pki/<CaName>.crl" -AddToCertificateCdp
 *   Add-CAAuthorityInformationAccess -AddToCertificateAia http://pki/%3%4.crt -Force
 *
 * Gives the flags, and the URL with variables by name and with blanks and other
 * characters escaped; out takes LOCATION_URL_MAX + 1 bytes. *aia: whether it comes
 * from CACertPublicationURLs and not from CRLPublicationURLs, which decides what
 * flags there are; a command of PowerShell says it itself. ERROR_INPUT. */
bool location_from_adcs(
    const char *text, bool *aia, unsigned *flags, char *out, struct error *err) MUST_CHECK;

#endif
