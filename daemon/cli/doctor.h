#ifndef CHANCERY_CLI_DOCTOR_H
#define CHANCERY_CLI_DOCTOR_H

/*
 * chancery doctor: looks at the service and at every place where the relying
 * parties of its CAs look, as they would, and says what is wrong there.
 *
 * Each look is a finding: what was looked at, how it is, and one sentence; with --from also
 * the host that looked.
 */

#include "daemon/cli/cli.h"
#include "daemon/publish/fetch.h"
#include "daemon/publish/named_url.h"
#include "daemon/x509/cert.h"

#define DOCTOR_CHAIN_MAX 12 /* certificates from a CA to its root */

enum finding {
	FINDING_OK,
	FINDING_WARNING,  /* will be wrong if nobody does anything */
	FINDING_CRITICAL, /* is wrong now */
};

struct doctor {
	struct cli *cli;
	const char *from; /* the host whose issuer looks; NULL: this one does */
	bool from_is_away;
	struct error refused; /* the service does not send it to look */
	const char *ca;	      /* that is looked at */
	json_t *findings;     /* array of objects: state, object, check, detail */
	enum finding worst;
	int64_t now;	       /* of this host's clock, seconds since 1970 */
	const char *seen[512]; /* places that were looked at, owned */
	size_t seen_count;
};

/* Adds a finding. */
void doctor_note(struct doctor *d, enum finding state, const char *object, const char *check,
    const char *fmt, ...) PRINTF(5, 6);

/* A finding about what stands somewhere: it also says which host found it so. */
void doctor_note_place(struct doctor *d, enum finding state, const char *object, const char *check,
    const char *fmt, ...) PRINTF(5, 6);

/* "3 d 4 h" until or since; for sentences. */
#define DOCTOR_SPAN_MAX 32
const char *doctor_span(int64_t seconds, char out[DOCTOR_SPAN_MAX]);

/* What a place is to hold. Everything is borrowed. */
struct doctor_place {
	const char *object; /* whose place it is, for findings */
	const char *url;
	enum artifact_kind kind;
	const struct certificate *issuer; /* of the CRL; or the certificate itself */
	const char *number, *sha256;	  /* of what the service issued last; NULL: not known */
	int64_t overlap_s; /* of the calendar: later than this is late; 0: not known */
	/* Of a CRL that is read as another maker's: whether this certificate of the issuer's
	 * is on it; NULL: of no interest. again: the place itself was judged before. */
	const struct certificate *subject;
	bool again;
};

/* Fetches it as a client would and adds what it finds. *number (CRL_NUMBER_TEXT
 * octets, may be NULL) is that of the CRL, "" for none. */
#define DOCTOR_NUMBER_MAX 64
void doctor_look(
    struct doctor *d, const struct doctor_place *place, char number[DOCTOR_NUMBER_MAX]);

/* What is too long to be handed on. */
struct doctor_digest {
	uint64_t size;
	char sha256[65]; /* "": it was handed on */
};

/* Has d->from fetch it, and gives the sink what was found there, or says its digest.
 * wanted_sha256: hex, which of several values; or NULL. */
bool doctor_fetch_from(struct doctor *d, const struct doctor_place *place,
    const char *wanted_sha256, const struct fetch_sink *sink, struct doctor_digest *digest,
    struct error *err) MUST_CHECK;

/* Whether the place was looked at before; from now on it was. */
bool doctor_is_seen(struct doctor *d, const char *url);
/* Seconds since 1970 of "2026-11-22T12:00:00Z" at key, or -1. */
int64_t doctor_time(json_t *object, const char *key);

/* CRLs of earlier keys and of scopes that get no new certificates, as long as one of
 * theirs is valid: at their own addresses. detail: what the service says of the CA. */
void doctor_look_at_former_crls(struct doctor *d, const char *ca, json_t *detail);
/* Whether the keys of a root vouch for each other. */
void doctor_judge_rollovers(struct doctor *d, const char *ca, json_t *detail);
/* Whether those by which CAs elsewhere vouch for it last. */
void doctor_judge_crosses(struct doctor *d, const char *ca, json_t *detail);

#endif
