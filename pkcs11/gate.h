#ifndef CHANCERY_PKCS11_GATE_H
#define CHANCERY_PKCS11_GATE_H

/*
 * The gate before a token whose PIN persons have (access: session, operation):
 * closed unless one of them opened it, and then for what they allowed only.
 *
 * session: an unlock logs in. Until it ends (a time, a time without a signature, a
 * count of signatures, or an operator's word) everything may pass that the journal
 * and the guard let through.
 *
 * operation: an entry keeps the PIN in locked memory for a list of operations, each
 * of which may pass once. The first of them logs in; after the last, or after
 * GATE_ENTRY_S, the gate logs out and the PIN is wiped. Whatever passes is alone: no
 * other job is between login and logout at the same time.
 *
 * Who signs goes through gate_enter and gate_leave; both call the token, as
 * gate_order and gate_lock_if_due do, so that only signing threads may. gate_report,
 * gate_is_due and gate_abandon are for the loop, and never wait for the token.
 */

#include "pkcs11/access.h"
#include "pkcs11/journal.h"
#include "pkcs11/logins.h"
#include "pkcs11/pin.h"
#include "pkcs11/token.h"

#define GATE_ENTRY_S 60 /* how long an entry waits for its operations */
#define GATE_NONCES_MAX 1024

struct gate;

/* Everything is borrowed, and outlives the gate. */
struct gate_options {
	const struct access *access;
	struct token *token;
	struct logins *logins;
	const char *state_dir; /* where the shares are of a PIN that is split */
	/* Called after the first login: the journal's anchor is on the token. */
	bool (*open_journal)(void *arg, struct journal **journal, struct error *e);
	void *arg;
};

bool gate_new(const struct gate_options *options, struct gate **gate, struct error *e) MUST_CHECK;

/* Logs out, if need be, and wipes. No thread may be inside. NULL is legal. The journal
 * that was opened stays the caller's (gate_report). */
void gate_free(struct gate *g);

/* Where the journal is to be put once it is open, before any job passes. */
void gate_attach(struct gate *g, struct journal **journal);

/* What wants to pass. */
struct gate_job {
	bool counts; /* against an unlock's count of signatures */
	bool listed; /* operation is there; without, it passes in a session only */
	struct pin_operation operation;
};

/*
 * Waits until it may pass. ERROR_LOCKED: nobody has allowed it (now); what was
 * allowed and failed at the login says so. After true, and only then, gate_leave has
 * to follow.
 */
bool gate_enter(struct gate *g, const struct gate_job *job, struct error *e) MUST_CHECK;

/* signed_: the token made a signature; wrong: it refused the PIN for the key. */
void gate_leave(struct gate *g, const struct gate_job *job, bool signed_, bool wrong);

/* The PIN for keys that want it for each signature: between the two above, with
 * access: operation; empty otherwise. */
struct bytes gate_pin(const struct gate *g);

/* Rises with each login and logout: handles of private objects that were got under
 * another number are no good. */
uint64_t gate_generation(const struct gate *g);

/* Carries out a statement pin-... . text: what is to be said of it beyond that, or "";
 * it is a share of the PIN then, and more have to come. */
bool gate_order(struct gate *g, const struct signproto_order *order, char text[ERROR_TEXT_MAX],
    struct error *e) MUST_CHECK;

/* Closes it if the time has come. */
void gate_lock_if_due(struct gate *g);

/* True when a call said that the token is gone, or may still be logged in to. */
bool gate_is_lost(struct gate *g);

/* ---- for the loop */

struct gate_report {
	enum signproto_state state; /* READY, LOCKED, AT_DEVICE, BLOCKED */
	char text[ERROR_TEXT_MAX];  /* but for READY */
	char unlocked_by[SIGNPROTO_NAME_SIZE];
	int64_t until; /* seconds since 1970; 0: locked */
	uint32_t idle_s;
	uint64_t left;
	struct journal *journal; /* NULL: nobody has logged in yet */
};
void gate_report(struct gate *g, struct gate_report *report);

/* True when gate_lock_if_due has something to do. */
bool gate_is_due(struct gate *g);

/* The process ends because a call does not come back. If that is because nobody came
 * to the token's device, the record of logins says so: it cost no try. */
void gate_abandon(struct gate *g);

#endif
