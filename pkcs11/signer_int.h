#ifndef CHANCERY_PKCS11_SIGNER_INT_H
#define CHANCERY_PKCS11_SIGNER_INT_H

#include <pthread.h>

#include "daemon/core/channel.h"
#include "daemon/core/role.h"
#include "daemon/core/signproto.h"
#include "pkcs11/signer.h"
#include "pkcs11/worker.h"

struct stream;

/* The way from module to login and pool, in a thread of its own. The loop reads
 * the results when `done` is set. */
struct opening {
	pthread_t thread;
	bool running; /* the loop's: the thread was started and not yet joined */
	pthread_mutex_t lock;
	bool done; /* under lock */
	bool ok;
	enum signproto_state state;
	struct error why;
	struct token *token;
	struct pool *pool;
};

struct signer {
	struct role *role;
	const struct config *config;
	const struct config_token *token_config;
	char state_dir[4096]; /* STATE_DIR/signer-NAME */

	uint64_t instance, signatures;
	enum signproto_state state;
	char state_text[ERROR_TEXT_MAX];
	uint64_t since; /* seconds since 1970 */

	struct opening opening;
	struct token *token; /* these two while READY */
	struct pool *pool;
	bool tried;  /* the first opening came to an end, or took too long */
	bool ending; /* only the last answers and the exit are left */
	bool lost;   /* and that because the token was */

	int wake_fd;
	struct event *wake, *retry, *patience, *flush;
	unsigned int flush_left; /* rounds */
	int exit_status;

	struct channel *channel; /* to the issuer; NULL: none now */
	uint64_t channel_number; /* of the current one: late answers are dropped */
	struct stream *streams;
	unsigned int stream_count;
	struct job *pending; /* given to the pool, not yet answered */
	unsigned int pending_count;
	size_t pending_bytes;
};

/* ---- signer_request.c */

/* A frame from the issuer. */
void signer_request(struct signer *s, uint16_t type, uint64_t id, struct bytes payload);

/* Answers and frees what the pool finished. */
void signer_answer_done(struct signer *s);

/* Answers everything in flight with this failure; jobs that a thread still has
 * stay its own. */
void signer_fail_all(struct signer *s, const struct error *why);

/* The channel is gone: nobody waits for its requests any more. */
void signer_forget_requests(struct signer *s);

/* True when nothing is in flight. */
bool signer_is_idle(const struct signer *s);

/* ---- signer.c */

/* The issuer does not read its answers, or sent nonsense: ends the process, so
 * that both get a fresh channel. */
void signer_give_up_channel(struct signer *s, const struct error *why);

#endif
