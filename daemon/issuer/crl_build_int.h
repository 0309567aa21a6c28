#ifndef CHANCERY_ISSUER_CRL_BUILD_INT_H
#define CHANCERY_ISSUER_CRL_BUILD_INT_H

/*
 * Between the files of a CRL's build: crl_build.c begins it, leads it from stage to stage
 * and ends it, one way or the other; crl_build_spool.c has its content, up to the committed
 * digest; crl_build_sign.c has the ways of the spooled chunks, to the signer and past the gate.
 */

#include <openssl/evp.h>

#include "daemon/issuer/crl_build.h"
#include "daemon/issuer/crl_gate.h"
#include "daemon/x509/crl.h"

struct event;

#define CRL_BUILD_LEASE_S 30
/* Chunks on their way into the database before the stream is paused. */
#define CHUNKS_IN_FLIGHT_MAX 4

enum stage { SPOOLING, COMMITTING, SIGNING, GATING, COMPLETING };

struct crl_build {
	const struct crl_build_env *env;
	struct issuing_ca *ca;
	struct crl_job job;
	crl_built_fn *built;
	void *arg;
	enum stage stage;
	double began_s[COMPLETING +
		       1]; /* of each stage, by a clock that nobody sets; 0: was not here */
	struct db_pending *pending; /* the one question whose answer moves the stage */
	struct db_pending *keeping; /* the lease */
	struct event *retry, *lease;
	struct event *lag; /* until when a signer that reads along may hold the rows up */
	EVP_MD_CTX *md;
	bool draining;
	struct error last; /* why it waits */

	/* spooling */
	struct db_stream *stream;
	uint8_t extensions[CRL_HEAD_MAX];
	size_t extensions_len;
	int64_t entries, entries_seen;
	uint64_t tbs_len, tbs_written;
	uint8_t *chunk;
	size_t chunk_len;
	int chunks_sent;
	struct db_pending *chunks[CHUNKS_IN_FLIGHT_MAX + 2];
	size_t chunks_in_flight;
	bool spooled; /* all rows came; waiting for the last chunks */
	uint8_t tbs_sha256[32];

	/* signing, gating */
	bool abstract;		/* the signer is only shown it, for who enters a PIN */
	uint64_t call;		/* id at the signer, 0: none */
	bool read_along;	/* the signer was given each chunk as it was spooled */
	int position;		/* of the chunk to read next */
	struct db_result *held; /* a chunk that the full channel did not take */
	bool end_held;		/* the end, likewise */
	uint8_t signature[SIGNPROTO_SIGNATURE_MAX];
	size_t signature_len;
	uint8_t head[CRL_LIST_HEAD_MAX], tail_buf[CRL_LIST_TAIL_MAX];
	size_t head_len;
	struct bytes tail;
	uint8_t sha256[32]; /* of the whole CRL */
	struct crl_gate *gate;
};

/* ---- crl_build.c */

void crl_build_enter(struct crl_build *b, enum stage stage);

/* The build is over. What could still call back is let go. */
void crl_build_finish(struct crl_build *b, const struct crl_job *together, const struct error *err);

/* The number is given up. final: another attempt would fail, too. */
void crl_build_burn(struct crl_build *b, const struct error *why, bool final);

/*
 * Before the digest is committed a failure burns the number; after it the
 * number belongs to these bytes, and what may pass by itself is tried again. In
 * between nobody knows: the lease ends, and who takes over finds out.
 */
void crl_build_fail(struct crl_build *b, const struct error *why);

/* The same; the CRL's name is put before what e says. */
void crl_build_fail_now(struct crl_build *b, struct error *e);

/* For a person who enters a PIN; said: why signing failed before, or NULL; about: what its
 * signer says of a long one, or NULL. */
void crl_build_wait_for_pin(
    struct crl_build *b, const struct error *said, const struct signproto_abstract *about);

/* It passed the gate: the artifact gets its ends. */
void crl_build_complete(struct crl_build *b);

/* ---- crl_build_spool.c */

/* Rows come again if what they are made of has where to go. */
void crl_build_go_on(struct crl_build *b);

/* Takes a snapshot, and goes on from there to signing; false: it did not even begin. */
bool crl_build_spool(struct crl_build *b, struct error *e) MUST_CHECK;

/* ---- crl_build_sign.c */

/*
 * The signer reads along while the CRL is spooled, and signs nothing before it is told that
 * this was the end, which it is by crl_build_sign. These never fail: what does not get to it
 * so is streamed from the spool later.
 */
void crl_build_read_along(struct crl_build *b);
void crl_build_read_chunk_along(struct crl_build *b);

/* False while a signer that reads along is so far behind that it is waited for, which it is
 * for a moment; then, as when it has caught up or is gone, crl_build_go_on comes. */
bool crl_build_along_has_room(struct crl_build *b);
/* That moment is over: one that is still behind, and holds rows up, gets them later. */
void crl_build_lag_over(struct crl_build *b);

/* Streams the chunks to the signer, and goes on from there; what fails is crl_build_fail's. */
void crl_build_sign(struct crl_build *b);

/* Reads the chunks once more, for the digest of the whole CRL and for the gate. */
bool crl_build_show_to_gate(struct crl_build *b, struct error *e) MUST_CHECK;

#endif
