#ifndef CHANCERY_ISSUER_CRL_GATE_H
#define CHANCERY_ISSUER_CRL_GATE_H

/*
 * The gate that a signed CRL passes before anybody gets to see it.
 *
 * It reads the signed octets with a decoder that shares nothing with the
 * encoder, and compares them with the database by another query than the one
 * they were built from: the events themselves, and not the table of what is
 * revoked now. It opens only if
 *
 *   the signature verifies with the key of the CA's certificate; issuer, key
 *   identifier and issuingDistributionPoint are the CA's, byte for byte;
 *   number, base, thisUpdate and nextUpdate are those that were committed, and
 *   nextUpdate lies ahead, but not behind the end of the CA's certificate;
 *   a complete CRL holds exactly what the events up to its last one leave
 *   revoked or on hold, without what had expired and stood in a regular CRL; a
 *   delta CRL holds exactly what the events since its base changed, so that
 *   base and delta give the complete list.
 *
 * Constant memory: both sides pass as streams, and their tallies are compared.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/core/wire.h"
#include "daemon/issuer/ca_cache.h"
#include "db/crl.h"

struct event_base;
struct crl_gate;

/* err NULL: the gate is open. ERROR_INTERNAL: closed, with the rule in its
 * sentence. Retryable errors are the database's, and say nothing of the CRL.
 * The gate is freed by the callee. */
typedef void crl_gate_fn(const struct error *err, void *arg);

/*
 * Begins to read what the events up to job.upto_seq say, which does not change any more: it
 * goes on while the CRL is being signed. base runs it; conninfo: the issuer's own, for a
 * snapshot apart. ca must outlive the gate; job and conninfo are copied or used in the call.
 */
struct crl_gate *crl_gate_new(const struct issuing_ca *ca, const struct crl_job *job,
    struct event_base *base, const char *conninfo, struct error *e) MUST_CHECK;

/* A signed CRL of total_len octets comes; once for a gate. */
bool crl_gate_begin(struct crl_gate *g, uint64_t total_len, struct error *e) MUST_CHECK;

/* Its next octets. */
bool crl_gate_push(struct crl_gate *g, struct bytes piece, struct error *e) MUST_CHECK;

/* All octets were given. False: closed; otherwise done is called later, and nothing before. */
bool crl_gate_judge(struct crl_gate *g, crl_gate_fn *done, void *arg, struct error *e) MUST_CHECK;

/* Nothing is called any more. NULL is legal. */
void crl_gate_free(struct crl_gate *g);

#endif
