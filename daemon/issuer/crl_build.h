#ifndef CHANCERY_ISSUER_CRL_BUILD_H
#define CHANCERY_ISSUER_CRL_BUILD_H

/*
 * Builds one CRL, in constant memory.
 *
 *   spooling   a snapshot of the database is opened; a first pass counts what
 *              the entries' size depends on, which gives the length; a second encodes them
 *              into chunks, which go back into the database; the signer reads along
 *              if it can, and the gate reads the events
 *   committing the digest of the to-be-signed bytes is committed; from here
 *              this number has this content and no other
 *   signing    a signer that read along is told that this was the end; for any
 *              other the chunks are read back, compared with the digest and
 *              streamed to it; while the token is away this is tried again
 *   gating     they are read back, for the digest of the whole CRL and
 *              for the gate (crl_gate.h), which lets it pass or not
 *   completing the artifact gets its ends, is published, the calendar goes on
 *
 * From signing on, whatever is away (database, signer, token) is waited for, and
 * the stage that it interrupted is repeated.
 *
 * No transaction is open while the token works.
 */

#include "daemon/core/attr.h"
#include "daemon/core/error.h"
#include "daemon/issuer/ca_cache.h"
#include "daemon/issuer/signer_client.h"
#include "daemon/issuer/token_access.h"
#include "db/crl.h"
#include "db/db.h"

struct event_base;
struct crl_build;

struct crl_build_env {
	struct event_base *base;
	struct db *db;
	const char *conninfo; /* for the snapshot's own connection */
	struct signer_client *signers;
	struct token_access *access;
	int signer_id;
	uint64_t abstract_from; /* octets: more of them are shown to their signer first */
};

/* The build is over: err NULL when the CRL is issued, or waits for a person's PIN, else
 * why not. together is
 * the delta CRL that has to be issued with it, or NULL. The build is freed by
 * the callee. */
typedef void crl_built_fn(
    struct crl_build *b, const struct crl_job *together, const struct error *err, void *arg);

/* env, and what it points to, must outlive the build. Holds a reference to ca. */
struct crl_build *crl_build_start(const struct crl_build_env *env, struct issuing_ca *ca,
    const struct crl_job *job, crl_built_fn *built, void *arg, struct error *e) MUST_CHECK;

int64_t crl_build_scope(const struct crl_build *b);
struct issuing_ca *crl_build_ca(const struct crl_build *b); /* borrowed */

/* The signer can be asked (again): also what failed is tried at once. */
void crl_build_poke(struct crl_build *b);
/* Its channel takes messages again. */
void crl_build_room(struct crl_build *b);

/* Waits for no token any more: what cannot go on now is given back, whereupon
 * built is called, maybe from here. */
void crl_build_drain(struct crl_build *b);

/* Stops wherever it is; nothing is called. b may be NULL. */
void crl_build_free(struct crl_build *b);

#endif
