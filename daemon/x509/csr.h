#ifndef CHANCERY_X509_CSR_H
#define CHANCERY_X509_CSR_H

/*
 * PKCS#10 certification requests (RFC 2986): reading others', building ours.
 */

#include "daemon/core/error.h"
#include "daemon/x509/extension.h"
#include "daemon/x509/spki.h"

#define CSR_MAX 65536	   /* octets of DER */
#define CSR_PEM_MAX 131072 /* octets of text with such DER in it */
#define CSR_SAN_MAX 100
#define CSR_ATTRIBUTE_MAX 16
#define CSR_EXTENSION_MAX 32

/*
 * A request taken apart. Every slice points into the caller's bytes, which must
 * outlive it.
 */
struct csr {
	struct bytes whole;   /* the CertificationRequest */
	struct bytes info;    /* CertificationRequestInfo: what is signed */
	struct bytes subject; /* whole Name; may be empty */
	struct spki spki;
	size_t attribute_count;
	struct bytes extensions; /* concatenated Extension SEQUENCEs; empty: none asked for */

	/* What the extensions ask for, where they are of a kind we read. */
	bool has_key_usage, key_usage_critical;
	uint16_t key_usage;
	bool has_basic_constraints, ca;
	int path_length; /* -1: none */
	bool has_subject_alt_name;
	struct san names[CSR_SAN_MAX];
	size_t name_count;
	struct bytes purposes[EKU_MAX]; /* extended key usage: OIDs' content */
	size_t purpose_count;

	enum sig_alg sig_alg;
	unsigned salt_len; /* PSS */
	struct bytes signature;
};

/* Reads a request within the limits above; strict DER from end to end. Refused:
 * another version than 0, anything after it, extensionRequest twice, an
 * extension twice, keys that spki_parse refuses, a subject that name_check
 * refuses, a signature algorithm that is not one of ours (SHA-1 among them),
 * names that san_check refuses. Tolerated: challengePassword and other
 * attributes, once each and in any order, and extensions that we do not read. Nothing is
 * verified yet. */
bool csr_parse(struct bytes der, struct csr *csr, struct error *err) MUST_CHECK;

/* Proof of possession: verifies the signature with the key inside. */
bool csr_verify(const struct csr *csr, struct error *err) MUST_CHECK;
/* The same for who verifies many. */
struct verifier;
bool csr_verify_with(
    const struct csr *csr, struct verifier *verifier, struct error *err) MUST_CHECK;

/* SHA-256 over the whole DER: what operators' decisions are bound to. */
bool csr_sha256(const struct csr *csr, uint8_t digest[32], struct error *err) MUST_CHECK;

/* DER, or PEM with one request in it, to DER: *der points into input (DER) or
 * into buf (PEM; CSR_MAX octets). Input beyond CSR_PEM_MAX is ERROR_LIMIT. */
bool csr_from_input(
    struct bytes input, uint8_t *buf, size_t size, struct bytes *der, struct error *err) MUST_CHECK;

/* ---- ours */

/* Builds a CertificationRequestInfo: subject (whole Name), spki (whole), and the
 * extensions that are asked for (concatenated; empty: no attribute). The result
 * points to the end of buf. */
bool csr_info_build(struct bytes subject, struct bytes spki, struct bytes extensions, void *buf,
    size_t size, struct bytes *info, struct error *err) MUST_CHECK;

/* Reads a CertificationRequestInfo alone, as the signer gets it. Fills all of
 * csr but whole and the signature. */
bool csr_info_parse(struct bytes info, struct csr *csr, struct error *err) MUST_CHECK;

/* Puts info and signature (content of the BIT STRING) together. */
bool csr_assemble(struct bytes info, enum sig_alg alg, struct bytes signature, void *buf,
    size_t size, struct bytes *der, struct error *err) MUST_CHECK;

#endif
