#ifndef CHANCERY_X509_CA_CONTEXT_H
#define CHANCERY_X509_CA_CONTEXT_H

/*
 * What every certificate of one CA has in common, encoded once: made when a
 * CA's generation or its policy is loaded, used for each certificate. Nothing
 * in it changes after it was made; several threads may read it.
 */

#include "daemon/core/error.h"
#include "daemon/x509/algorithm.h"
#include "daemon/x509/cert.h"
#include "daemon/x509/spki.h"

#define CA_CONTEXT_EXTENSIONS_MAX 16384 /* octets of the extensions below */
#define CA_CONTEXT_KEY_ID_MAX 64	/* octets of a subject key identifier */

/* What it is made from. Everything is borrowed for the call only. */
struct ca_context_source {
	struct bytes certificate; /* the CA's own certificate, DER */
	enum sig_alg sig_alg;	  /* what its key signs with */
	/* In certificates; without URLs an extension is left out. */
	const struct distribution_point *cdp; /* cRLDistributionPoints (RFC 5280 4.2.1.13) */
	size_t cdp_count;
	const struct distribution_point *freshest; /* freshestCRL (4.2.1.15) */
	size_t freshest_count;
	const char *const *ca_issuers; /* authorityInfoAccess (4.2.2.1) */
	size_t ca_issuer_count;
	const char *const *ocsp;
	size_t ocsp_count;
};

struct ca_context {
	struct bytes issuer; /* whole Name: the CA's subject, byte for byte */
	enum key_alg key_alg;
	enum sig_alg sig_alg;
	int64_t not_before, not_after; /* of the CA's own certificate, unix seconds */
	int path_length;	       /* its pathLenConstraint; -1: none */
	struct bytes key_id;	       /* its subject key identifier */
	struct bytes spki;	       /* its key, whole SubjectPublicKeyInfo */
	/* Extension SEQUENCEs: AKI, then those for the URLs. */
	struct bytes extensions;
	uint8_t *memory; /* owns what the slices point to */
};

/* Reads the CA's certificate and encodes. Refuses a certificate that is none of
 * a CA (basicConstraints cA, keyCertSign: RFC 5280 4.2.1.9, 4.2.1.3) or has no
 * subject key identifier (4.2.1.2), and an algorithm that its key cannot sign
 * with. *out is owned by the caller. */
bool ca_context_new(
    const struct ca_context_source *source, struct ca_context **out, struct error *err) MUST_CHECK;
void ca_context_free(struct ca_context *ca); /* NULL is legal */

#endif
