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

/* Whose locations they are. Borrowed. */
struct location_subject {
	const char *ca;
	int certificates, keys; /* counted from the first, at least 1 each */
	/* Those before these had another policy: their addresses stand in `former`. */
	int first_certificate, first_key;
	const struct location_line *former;
	size_t former_count;
	/* Of the CRLs of the key with this index, in the policy's order, where they have
	 * other labels than the policy alone gives them; label_count 0: they have not. */
	int labelled_key;
	const char *const *labels;
	size_t label_count;
};

/* ERROR_LIMIT, ERROR_SYSTEM. */
bool capolicy_report(const struct capolicy *policy, const struct location_subject *subject,
    const struct location_report *report, struct error *err) MUST_CHECK;

#endif
