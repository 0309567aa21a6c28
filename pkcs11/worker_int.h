#ifndef CHANCERY_PKCS11_WORKER_INT_H
#define CHANCERY_PKCS11_WORKER_INT_H

/*
 * Between the files of the signing threads: worker.c has the pool, its threads and
 * the releaser; worker_gate.c lets a job through the gate, worker_job.c carries it out,
 * worker_key.c has the keys that a thread knows. Each function is for the thread whose
 * worker it gets.
 */

#include <pthread.h>

#include "pkcs11/limits_cache.h"
#include "pkcs11/worker.h"

struct known_key {
	struct known_key *next;
	const struct key_limits *limits; /* held in the pool's cache */
	struct key key;
};

struct worker {
	struct pool *pool;
	pthread_t thread;
	bool started;
	struct session session;
	size_t member; /* of a group: the token that the session is on */
	struct known_key *keys;
	unsigned int key_count;
	uint8_t (*own_keys)[32]; /* of all that have limits; NULL: not read yet */
	size_t own_key_count;
	uint64_t generation; /* of the limits that the keys were known under ... */
	uint64_t login;	     /* ... and of the login ... */
	int64_t known_ms;    /* ... and since when */
};

struct pool {
	struct token *token;
	struct pool_place place;
	struct limits_cache *limits;
	pthread_mutex_t orders; /* one at a time */
	pthread_mutex_t crls;	/* likewise, from the duty to the signature */
	int wake_fd;
	struct worker *workers;
	unsigned int count;
	pthread_t releaser;
	bool releasing; /* the releaser was started */

	pthread_mutex_t lock; /* for everything below */
	pthread_cond_t work, release;
	struct job *queue, **queue_end;
	struct job *made, **made_end; /* signed, not yet in the journal */
	struct job *done, **done_end;
	unsigned int busy; /* threads that carry a job out */
	int64_t woken_ns;  /* when the loop was last woken */
	int64_t made_ns;   /* when the first of `made` was signed */
	bool stopping;
	bool last_made; /* no thread will sign any more: the releaser may end */
	enum pool_failure failed;
	size_t failed_member;
	struct error failure;
};

/* Of a group that spreads: the thread is not on the first of its tokens. */
static inline bool
worker_is_aside(const struct worker *w)
{
	return w->member != token_first(w->pool->token);
}

/* False: the token takes signatures from who is not logged in, or no more. */
bool worker_must_be_logged_in(const struct worker *w);

/* Asks the token, where it matters, whether the session is logged in. */
bool worker_check_login(struct worker *w, struct error *e) MUST_CHECK;

/* The key with this CKA_ID and its limits, from what the thread knows or from the token:
 * the thread's, until it looks for the next one. NULL: e says why. */
const struct known_key *worker_find_key(
    struct worker *w, struct bytes id, struct error *e) MUST_CHECK;

/* Anew from the token; the caller's, for worker_forget_key. */
struct known_key *worker_load_key(struct worker *w, struct bytes id, struct error *e) MUST_CHECK;
void worker_forget_key(struct worker *w, struct known_key *k);
void worker_forget_keys(struct worker *w); /* all that the thread knows */

/* Carries a job out; its error, or output, is set. */
void worker_run(struct worker *w, struct job *job);

/* The same, again where the token's answer says that this may help. */
void worker_run_patiently(struct worker *w, struct job *job);

/* The same once the gate lets it through, where there is one. */
void worker_run_behind_gate(struct worker *w, struct job *job);

#endif
