#ifndef CHANCERY_PKCS11_WORKER_H
#define CHANCERY_PKCS11_WORKER_H

/*
 * The signing threads: a pool with one queue. Each thread has a session of its
 * own and remembers the keys it met. The loop gives jobs in and takes finished
 * ones out; nothing here calls back into it.
 *
 * What a signature uses up is reserved in the journal before the token is asked.
 * Signed jobs then go to one more thread, which writes them to the journal, many
 * at a time, and hands them out once they are on the disk.
 *
 * What the token refuses is tried again by the class of its answer (ckr.h): on the same
 * session, a little later; or on a new one. What takes more than that, a login or a
 * fresh module, is the pool's failure, and the process's end.
 */

#include "daemon/core/signproto.h"
#include "pkcs11/gate.h"
#include "pkcs11/guard.h"
#include "pkcs11/journal.h"
#include "pkcs11/key.h"
#include "pkcs11/token.h"

enum job_kind {
	JOB_KEY_GENERATE, /* these, and SIGN: input is the message */
	JOB_LIMITS_SET,
	JOB_INSTALL,
	JOB_RESEED,
	JOB_KEY_DESTROY,
	JOB_KEY_FIND,
	JOB_SIGN,	 /* still to be checked */
	JOB_SIGN_DIGEST, /* use: of a structure that the guard let through */
	JOB_ANCHOR,	 /* the loop's own: brings the journal's anchor up to date */
	JOB_CHECK,	 /* the loop's own: is the token still there, and are we logged in? */
	JOB_PIN,	 /* input is the message; past the gate, since it opens it */
	JOB_LOCK,	 /* the loop's own: the gate's time is over */
};

/* Owned by the loop; lent to the pool from pool_submit until it comes back from
 * pool_take_done or pool_take_queued. */
struct job {
	struct job *next; /* the pool's: queue, or list of finished jobs */

	/* For the loop alone: who asked, and the list of what is in flight. */
	uint64_t channel, request;
	struct job *pending_next, **pending_at;

	enum job_kind kind;
	int64_t deadline_ms;	      /* on the monotonic clock; 0: none */
	uint8_t id[SIGNPROTO_ID_MAX]; /* CKA_ID; of KEY_GENERATE: the answer's */
	size_t id_len;
	uint8_t limits_sha256[32]; /* of SIGN_DIGEST: the document that it was checked by */
	enum sig_alg alg;
	enum signproto_kind structure;
	uint8_t *whole; /* SIGN_DIGEST with Ed25519: the structure; owned */
	size_t whole_len;
	struct guard_use use; /* of SIGN: once the guard let it through */
	bool reserved;	      /* ticket: the journal's leave to sign */
	struct journal_ticket ticket;
	uint8_t *input; /* owned */
	size_t input_len;

	/* The answer: an error, or a signature or a SubjectPublicKeyInfo. */
	struct error error;
	uint8_t output[SPKI_MAX];
	size_t output_len;
};

/* NULL when out of memory. input may be empty. */
struct job *job_new(enum job_kind kind, struct bytes id, struct bytes input);
void job_free(struct job *job); /* NULL is legal */

/* Where a pool works; what it points to outlives the pool. */
struct pool_place {
	struct journal *journal;
	const char *state_dir;
	const char *token;    /* the configuration's name of it */
	uint16_t signer_id;   /* of this host */
	bool stays_logged_in; /* the token, from its opening on: a login that is gone is a loss */
	struct gate *gate;    /* NULL: everything passes; else it knows of the journal */
	uint32_t lease_s;     /* of the CRL duty (duty.h) */
};

struct pool;

/*
 * Opens the sessions (blocks as the module likes) and starts the threads. A
 * token that has fewer sessions to give than were asked for gets fewer threads.
 * wake_fd: an eventfd that is written when a job was finished or the pool failed.
 * token must outlive the pool.
 */
bool pool_new(struct token *token, const struct pool_place *place, unsigned int threads,
    int wake_fd, struct pool **pool, struct error *e) MUST_CHECK;

unsigned int pool_threads(const struct pool *p);

/* False once the token has refused to remember versions of limits (limits_floor.h). */
bool pool_has_floors(struct pool *p);

/* Queues a job. */
void pool_submit(struct pool *p, struct job *job);

/* All jobs finished since the last call, linked by next. */
struct job *pool_take_done(struct pool *p);

/* Takes back all jobs that no thread has begun. */
struct job *pool_take_queued(struct pool *p);

enum pool_failure {
	POOL_WORKS,
	POOL_TOKEN_LOST,     /* a thread found that the token or its sessions are gone */
	POOL_JOURNAL_FAILED, /* a disk that does not take it: nothing is released any more */
};

/* *why says what was seen, *member (may be NULL) on which of a group's tokens. No more jobs are
 * begun after a failure. */
enum pool_failure pool_failed(struct pool *p, size_t *member, struct error *why);

/* Lets go of the threads, wherever they are: for a process that ends at once. */
void pool_abandon(struct pool *p);

/* Waits for the threads to end their jobs, closes the sessions. Jobs that were
 * not taken back are freed. NULL is legal. */
void pool_free(struct pool *p);

#endif
