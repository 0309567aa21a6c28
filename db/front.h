#ifndef CHANCERY_DB_FRONT_H
#define CHANCERY_DB_FRONT_H

/*
 * What the front asks (migrations/0006_api.sql). Most answers are JSON that goes
 * to the client as it stands, so most queries differ in nothing but their
 * parameters, which the caller lays down in the order given here. The first is
 * always the caller's identity ("uid:1000", "tls:<SHA-256 in hex>").
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"
#include "db/db.h"

#define FRONT_PIECE_MAX (1024 * 1024) /* octets of one front_artifact_piece */

enum front_query {
	FRONT_STATUS,	      /* identity */
	FRONT_TOKENS,	      /* identity */
	FRONT_RESEED,	      /* identity, token, signer */
	FRONT_PIN_OPERATIONS, /* identity, token, limit, after: id */
	FRONT_PIN_TBS,	      /* identity, id, piece */
	FRONT_PIN_ENTER,      /* identity, token, action, instance, operations, nonce bytea, expires
				 time, statement, body, spki bytea, signature bytea */
	FRONT_PIN_ENTRY,      /* identity, id */
	FRONT_CAS,	      /* identity, limit, after: name */
	FRONT_CA,	      /* identity, name */
	FRONT_CA_CSR,	      /* identity, name -> JSON string of PEM */
	FRONT_CA_CHAIN,	      /* identity, name -> JSON string of PEM */
	FRONT_CA_CRLS,	      /* identity, name, limit, after: number */
	FRONT_CA_VALID,	      /* identity, name */
	FRONT_CA_LIMITS,      /* identity, name, version, key */
	FRONT_TEMPLATES,      /* identity, limit, after: name */
	FRONT_TEMPLATE,	      /* identity, name, version */
	FRONT_OPERATORS,      /* identity, limit, after: name */
	FRONT_SUBMIT,	      /* identity, ca, template, csr bytea, attributes JSON, key */
	FRONT_REQUESTS,	      /* identity, state, ca, limit, after: id */
	FRONT_REQUEST,	      /* identity, id */
	FRONT_WITHDRAW,	      /* identity, id */
	FRONT_REQUEST_CERTIFICATE, /* identity, id -> JSON string of PEM */
	FRONT_CERTIFICATES,	   /* identity, ca, serial, sha256, limit, after: sha256 */
	FRONT_CERTIFICATE,	   /* identity, sha256 | serial | request id */
	FRONT_CERTIFICATE_PEM,	   /* identity, the same, chain bool -> JSON string of PEM */
	FRONT_DECIDE,	 /* identity, local bool, action, ca, object, csr-sha256 bytea, template,
			    reason, body-sha256 bytea, nonce bytea, issued time, expires time,
			    statement, signature bytea, credential bytea, body */
	FRONT_DECISION,	 /* identity, id */
	FRONT_DECISIONS, /* identity, state, limit, after: id */
	FRONT_SIGNER,	 /* identity, decision's id or NULL, credential bytea ->
			    {statement, spki} */
	FRONT_SIGN,	 /* identity, id, signature bytea, credential bytea */
	FRONT_WITHDRAW_DECISION, /* identity, id */
	FRONT_PUBLICATIONS,	 /* identity, ca, limit, after: number */
	FRONT_PUBLICATION_RETRY, /* identity, number */
	FRONT_PUBLISH_ENTRIES,	 /* identity, CA */
	FRONT_CLOCK_CONFIRM,	 /* identity */
	FRONT_LOOK,		 /* identity, host, CA, URL, artifact, SHA-256 or NULL */
	FRONT_LOOK_RESULT,	 /* identity, id */
	FRONT_FORECAST,		 /* identity, CA */
	FRONT_METRICS,		 /* identity or NULL */
	FRONT_QUERY_COUNT,
};

/* json is valid during the call; exactly one of json and err is NULL. */
typedef void front_json_fn(const char *json, const struct error *err, void *arg);

/* A query in flight. */
struct front_asked;

/* Sends the query; params is emptied in any case. NULL with err set when it
 * could not be sent; answer is not called then. */
struct front_asked *front_ask(struct db *db, enum front_query query, struct db_params *params,
    front_json_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* answer will not be called; the query itself still runs. NULL is legal. */
void front_cancel(struct front_asked *asked);

/* Which of these requests and decisions need no more waiting; ids are UUIDs as
 * text, checked by the caller. settled is called once for each of them, then
 * done. NULL with err set when it could not be sent. */
struct front_wait_ids {
	const char *const *requests;
	size_t request_count;
	const char *const *decisions;
	size_t decision_count;
};
typedef void front_settled_fn(const char *id, size_t len, void *arg);
typedef void front_done_fn(const struct error *err, void *arg);
bool front_ask_settled(struct db *db, const struct front_wait_ids *ids, front_settled_fn *settled,
    front_done_fn *done, void *arg, struct error *err) MUST_CHECK;

/* Calls hint when a request or a decision may have changed, and after each
 * connect. */
bool front_listen(
    struct db *db, void (*hint)(struct db *db, void *arg), void *arg, struct error *err) MUST_CHECK;

/* ---------------------------------------------------------- distribution */

/* The CAs that have a certificate, as a JSON array of objects with name, subject,
 * sha256, not_after, crl and delta (number, next_update; or null); ca: only that
 * one, and with its chain, DER in base64. NULL: all of them. */
struct front_asked *front_public_cas(
    struct db *db, const char *ca, front_json_fn *answer, void *arg, struct error *err) MUST_CHECK;

struct front_artifact {
	int64_t id;
	uint64_t size; /* octets */
	uint8_t sha256[32];
	int64_t not_before, not_after; /* seconds since the epoch */
};

/* The newest complete artifact, or NULL with err NULL when there is none. */
typedef void front_artifact_fn(
    const struct front_artifact *artifact, const struct error *err, void *arg);

/* kind: "crl", "delta-crl" or "ca-certificate"; index: of the key (CRLs) or
 * certificate, -1 for the newest. */
bool front_find_artifact(struct db *db, const char *ca, const char *kind, int index,
    front_artifact_fn *answer, void *arg, struct error *err) MUST_CHECK;

/* Octets from offset on, at least one and at most max (FRONT_PIECE_MAX); len 0
 * with err NULL when the artifact is gone or shorter. Valid during the call. */
typedef void front_piece_fn(struct bytes piece, const struct error *err, void *arg);
struct front_asked *front_artifact_piece(struct db *db, int64_t id, uint64_t offset, size_t max,
    front_piece_fn *answer, void *arg, struct error *err) MUST_CHECK;

#endif
