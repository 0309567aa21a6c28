#ifndef CHANCERY_X509_CERT_H
#define CHANCERY_X509_CERT_H

/*
 * Certificates (RFC 5280 4.1): building the to-be-signed part, putting the
 * whole together, and reading both.
 */

#include "daemon/core/error.h"
#include "daemon/x509/algorithm.h"
#include "daemon/x509/extension.h"
#include "daemon/x509/serial.h"
#include "daemon/x509/spki.h"

#define CERTIFICATE_MAX 65536 /* octets of DER, built or read */

/* What a TBSCertificate is built from. Everything is borrowed. */
struct tbs_certificate {
	struct bytes serial; /* big-endian, positive, at most 20 octets in DER */
	enum sig_alg sig_alg;
	struct bytes issuer;	       /* whole Name: the CA certificate's subject, byte for byte */
	int64_t not_before, not_after; /* unix seconds */
	struct bytes subject;	       /* whole Name */
	struct bytes spki;	       /* whole SubjectPublicKeyInfo */
	struct bytes extensions;       /* concatenated Extension SEQUENCEs (extensions_result) */
};

/* Encodes; the result points to the end of buf. Refuses what no certificate may
 * be: serial of no or more than 20 octets or zero, notAfter before notBefore,
 * missing parts. */
bool tbs_certificate_build(const struct tbs_certificate *t, void *buf, size_t size,
    struct bytes *tbs, struct error *err) MUST_CHECK;

/* Certificate from its to-be-signed bytes, the algorithm that they name and the
 * signature (content of the BIT STRING, unused-bits octet excluded). The result
 * points to the end of buf. */
bool certificate_assemble(struct bytes tbs, enum sig_alg alg, struct bytes signature, void *buf,
    size_t size, struct bytes *der, struct error *err) MUST_CHECK;

/*
 * A certificate taken apart. Every slice points into the caller's bytes.
 * Extensions that are not listed here are found by extension_iter over
 * `extensions`.
 */
struct certificate {
	struct bytes whole; /* empty when only a TBSCertificate was read */
	struct bytes tbs;
	struct bytes serial;	/* magnitude, no leading zero */
	struct bytes inner_alg; /* AlgorithmIdentifier in the to-be-signed part */
	enum sig_alg sig_alg;	/* of inner_alg; SIG_NONE when it is not one of ours */
	unsigned salt_len;	/* PSS */
	struct bytes issuer;	/* whole Name */
	int64_t not_before, not_after;
	struct bytes subject; /* whole Name */
	struct spki spki;
	struct bytes extensions; /* concatenated Extension SEQUENCEs; empty: none */

	struct bytes subject_key_id;   /* empty: absent */
	struct bytes authority_key_id; /* empty: absent, or without keyIdentifier */
	bool has_key_usage;
	uint16_t key_usage;
	bool has_basic_constraints, basic_constraints_critical, ca;
	int path_length; /* -1: none */

	struct bytes signature; /* empty when only a TBSCertificate was read */
};

/* Reads a certificate, also one made elsewhere: strict DER, version 3, serial
 * positive of at most 20 octets, the two AlgorithmIdentifiers equal (RFC 5280
 * 4.1.1.2), no unique identifiers, no extension twice, the extensions named
 * above of their right type. An unknown signature algorithm is no error here
 * (an old root's signature of itself), an unknown key is. */
bool certificate_parse(struct bytes der, struct certificate *c, struct error *err) MUST_CHECK;

/* The same for the to-be-signed part alone, as the signer gets it. */
bool tbs_certificate_parse(struct bytes tbs, struct certificate *c, struct error *err) MUST_CHECK;

/* Verifies the signature with the issuer's key. Names and times are not
 * looked at. */
bool certificate_verify(
    const struct certificate *c, const struct spki *issuer_key, struct error *err) MUST_CHECK;

/* True when subject and issuer are the same bytes. */
bool certificate_is_self_issued(const struct certificate *c);

/* SHA-256 over the whole DER (the thumbprint). */
bool certificate_sha256(
    const struct certificate *c, uint8_t digest[32], struct error *err) MUST_CHECK;

#endif
