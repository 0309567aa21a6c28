#ifndef CHANCERY_PKCS11_SIGNER_INT_H
#define CHANCERY_PKCS11_SIGNER_INT_H

#include <pthread.h>

#include "daemon/core/channel.h"
#include "daemon/core/role.h"
#include "daemon/core/signproto.h"
#include "pkcs11/gate.h"
#include "pkcs11/losses.h"
#include "pkcs11/signer.h"
#include "pkcs11/worker.h"

struct signer_watch;
struct stream;
struct signer;

/* For who opens the journal from a signing thread. */
struct signer_opener {
	const struct signer *signer;
	struct token *token;
};

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
	struct journal *journal;
	struct gate *gate;
	struct pool *pool;
};

/* Of a group: whether a token that is not in use could be, looked at by a thread of its
 * own, which the module may keep for ever. */
struct looking {
	pthread_t thread;
	bool running; /* the loop's, as above */
	pthread_mutex_t lock;
	bool done, found; /* under lock */
	size_t member;
	bool refused; /* its keys are what is looked at */
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
	struct signer_watch *watch;
	struct token *token; /* these three while READY, or CLOSED by the journal */
	struct journal *journal;
	struct pool *pool;
	/* Of a token whose PIN persons have; NULL with access: auto. */
	struct access *access;
	struct logins *logins;
	struct signer_opener opener;
	struct gate *gate; /* once the token was opened */
	struct event *tick;
	bool locking; /* a job that locks is in flight */
	bool tried;   /* the first opening came to an end, or took too long */
	bool ending;  /* only the last answers and the exit are left */
	bool lost;    /* and that because the token was */
	struct losses losses;

	/* Of a group (signer_group.c). */
	struct looking looking;
	struct event *look;
	bool was_open[CONFIG_MEMBERS_MAX];
	int64_t noted_ms;    /* when they were opened, or this began to leave */
	int64_t compared_ms; /* when the keys of one that is refused were last looked at */
	bool leaving;	     /* nothing is begun any more: a new process takes all members */

	int wake_fd;
	struct event *wake, *retry, *patience, *flush, *anchor, *check;
	bool checking;		 /* a job that looks for the token is in flight */
	bool anchoring;		 /* a job that writes the anchor is in flight */
	uint64_t anchored_seq;	 /* of the journal, when that was last begun */
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

/* Gives the pool a job that nobody asked for. */
void signer_submit(struct signer *s, struct job *job);

/* True when nothing is in flight. */
bool signer_is_idle(const struct signer *s);

/* Gives the pool an order's message. */
bool signer_take_order(struct signer *s, uint64_t request, enum job_kind kind, struct bytes id,
    struct bytes payload, struct error *e) MUST_CHECK;

/* What is to be signed may come, with so many octets to be kept. begun: it began to come before the
 * signer was asked to stop. */
bool signer_can_serve(struct signer *s, bool begun, size_t bytes, struct error *e) MUST_CHECK;

bool signer_check_alg(uint16_t number, struct error *e) MUST_CHECK;

/* On the clock of monotonic_ms; 0 is no deadline in both. */
int64_t signer_deadline_ms(uint32_t deadline_ms);

/* Gives the pool a job whose answer is that of the request. job may be NULL: there was no memory
 * for it. */
bool signer_submit_request(
    struct signer *s, uint64_t request, struct job *job, struct error *e) MUST_CHECK;

/* An answer; w is freed. */
void signer_send(struct signer *s, uint16_t type, uint64_t request, struct wire_writer *w);
void signer_send_failure(struct signer *s, uint64_t request, const struct error *why);

/* ---- signer_stream.c */

/* STREAM_BEGIN; and those that follow it, of which data and end answer by themselves when it
 * is over. */
bool signer_stream_begin(
    struct signer *s, uint64_t request, struct bytes payload, struct error *e) MUST_CHECK;
void signer_stream_data(struct signer *s, uint64_t request, struct bytes payload);
void signer_stream_end(struct signer *s, uint64_t request, struct bytes payload);
bool signer_stream_drop(
    struct signer *s, uint64_t request, struct bytes payload, struct error *e) MUST_CHECK;

/* All of them are over; the first answers. */
void signer_fail_streams(struct signer *s, const struct error *why);
void signer_forget_streams(struct signer *s);

/* ---- signer_pin.c */

/* True when persons have the PIN. */
bool signer_has_gate(const struct signer *s);

/* Both do nothing with access: auto. */
bool signer_set_up_pin(struct signer *s, struct error *e) MUST_CHECK;
void signer_tear_down_pin(struct signer *s);

/* For the thread that opens the token. */
bool signer_new_gate(
    struct signer *s, struct token *token, struct gate **gate, struct error *e) MUST_CHECK;

/* Announces the start again, with the token's serial. */
void signer_announce(struct signer *s);

/* The state that follows from the gate, whenever something may have changed. */
void signer_look_at_gate(struct signer *s);

/* A PIN message. */
bool signer_request_pin(
    struct signer *s, uint64_t request, struct bytes payload, struct error *e) MUST_CHECK;

/* What is long need not come at all while the token is locked. */
bool signer_may_stream(const struct signer *s, struct error *e) MUST_CHECK;

/* STATUS_OK's fields about it. */
void signer_describe_access(const struct signer *s, struct signproto_status_ok *m);

/* Logs out; the pool must be gone, and the journal is still to be closed. */
void signer_close_gate(struct signer *s);

/* ---- signer_group.c; all do nothing for a single token, but the first */

/* Who signs, and why others do not. */
void signer_describe_token(const struct signer *s, char *text, size_t size);

bool signer_set_up_group(struct signer *s, struct error *e) MUST_CHECK;

/* By the thread that opens the token: those that are open have the same keys, and get the
 * same data objects. */
bool signer_join_members(const struct signer *s, struct token *token, struct error *e) MUST_CHECK;

/* The token was opened, and its thread is gone. */
void signer_note_members(struct signer *s);

/* It went wrong on this member (CALL_OF_NONE: nobody knows on which). */
void signer_blame(const struct signer *s, int member);

/* Whose fault it is that a call on this member hangs: a module that lets in one call at a time
 * hangs as a whole over a member that is looked for. */
int signer_hanging_member(const struct signer *s, int member);

/* False when the thread that looks is still in the module. */
bool signer_tear_down_group(struct signer *s) MUST_CHECK;

/* ---- signer_journal.c */

/* Finds out how the journal is; called by the thread that opens the token. What
 * may pass by itself (a wrong clock, a disk that does not answer) is an error. */
bool signer_open_journal(const struct signer *s, struct token *token, struct journal **journal,
    struct error *e) MUST_CHECK;

/* The end in good order; the pool must be gone. NULL is legal. */
void signer_close_journal(const struct signer *s, struct journal *journal, struct token *token);

/* READY or CLOSED, and a sentence about the journal; and its challenge. */
enum signproto_state signer_describe_journal(const struct signer *s, char text[ERROR_TEXT_MAX]);
void signer_describe_challenge(const struct signer *s, char hex[SIGNPROTO_CHALLENGE_SIZE]);

/* Has the anchor on the token brought up to date, if anything happened since. */
void signer_anchor_soon(struct signer *s);

/* ---- signer.c */

void signer_set_state(struct signer *s, enum signproto_state state, const char *text);

/* The token signed: it works. */
void signer_note_success(struct signer *s);

/* The state that follows from the journal, which was opened, or changed. */
void signer_look_at_journal(struct signer *s);

/* Ends the process once the last answers are on their way. */
void signer_end(struct signer *s, int status);

/* Does so when it was asked to stop, or leaves, and nothing is in flight any more. */
void signer_end_when_idle(struct signer *s);

/* The issuer does not read its answers, or sent nonsense: ends the process, so
 * that both get a fresh channel. */
void signer_give_up_channel(struct signer *s, const struct error *why);

#endif
