#ifndef CHANCERY_X509_CAPOLICY_REPORT_H
#define CHANCERY_X509_CAPOLICY_REPORT_H

/*
 * What becomes of the locations of a CA policy: the address of every artifact, and
 * what is questionable about them though the policy can be taken.
 */

#include "daemon/x509/capolicy.h"

enum location_artifact {
	LOCATION_OF_CRL,
	LOCATION_OF_DELTA,
	LOCATION_OF_CERTIFICATE,
	LOCATION_OF_RESPONDER, /* OCSP */
};

struct location_line {
	enum location_artifact artifact;
	int generation;	   /* of the key, or of the certificate */
	const char *label; /* of the CRL; "" */
	unsigned flags;	   /* those of the location that concern the artifact */
	const char *url;
};

/* Borrowed for the call. */
typedef void location_line_fn(const struct location_line *line, void *arg);
/* One sentence. */
typedef void location_finding_fn(const char *sentence, void *arg);

struct location_report {
	location_line_fn *line;
	location_finding_fn *finding;
	void *arg;
};

/* "CRL", "delta CRL", "certificate", "OCSP" */
const char *location_artifact_name(enum location_artifact artifact);

/* For the CA of that name with so many certificates and keys, counted from the first:
 * at least 1 each. ERROR_LIMIT, ERROR_SYSTEM. */
bool capolicy_report(const struct capolicy *policy, const char *ca, int certificates, int keys,
    const struct location_report *report, struct error *err) MUST_CHECK;

#endif
