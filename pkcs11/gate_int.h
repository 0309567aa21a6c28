#ifndef CHANCERY_PKCS11_GATE_INT_H
#define CHANCERY_PKCS11_GATE_INT_H

#include <pthread.h>
#include <stdatomic.h>

#include "pkcs11/gate.h"
#include "pkcs11/pin_split.h"

#define GATE_MISSED_MAX 16

/* The wall clock, and beside it one that nobody sets and that counts on in suspend:
 * what has an end ends by whichever says so first. */
struct gate_clock {
	int64_t wall_s, boot_ms;
};

struct gate_nonce {
	uint8_t nonce[16];
	int64_t expires;
};

/* Shares that came for one and the same request. */
struct gate_quorum {
	uint8_t request[32], split[16];
	int64_t begun_ms; /* boot time */
	size_t count;
	char persons[PIN_SHARES_MAX][CONFIG_PERSON_MAX + 1];
	uint8_t numbers[PIN_SHARES_MAX];
	uint8_t octets[PIN_SHARES_MAX][PIN_SHARE_MAX_LEN];
	int64_t until; /* these three: the shortest of all */
	uint32_t idle_s;
	uint64_t signatures;
};

struct gate {
	struct gate_options o;
	struct journal **attached; /* may be NULL */

	/* Held for reading by who uses an unlocked token, for writing by who logs in
	 * or out, or has an operation. The PIN is its holder's for writing. */
	pthread_rwlock_t use;
	struct pin pin;
	struct logins_who who;	   /* whose login it is */
	struct gate_quorum quorum; /* in locked memory */
	bool next;		   /* the PIN is of the split that is not settled yet */
	_Atomic uint64_t generation;
	atomic_bool unsettled; /* which PIN the token has, after a split without an end */

	pthread_mutex_t lock; /* for everything below; never held over a call to the token */
	struct gate_nonce nonces[GATE_NONCES_MAX];
	size_t nonce_count;
	int64_t shares_until_ms; /* boot time; 0: none are kept */
	int64_t latest_s;	 /* of the wall clock, when one was last compared with these */
	struct journal *journal;
	/* Lines that the journal, which needs a login, has not got yet; the newest. */
	char missed[GATE_MISSED_MAX][LOGINS_LINE_SIZE];
	size_t missed_count;
	bool lost, at_device;
	const struct access_operator *person; /* who opened it; NULL: closed */
	struct gate_clock opened, used;
	int64_t until; /* of the wall clock */
	uint32_t idle_s;
	bool counted;
	uint64_t left; /* signatures, or operations */
	struct pin_operation operations[PIN_ENVELOPE_OPERATIONS_MAX];
	bool done[PIN_ENVELOPE_OPERATIONS_MAX];
	size_t operation_count;
};

struct gate_clock gate_clock_now(void);

/* True when the gate is open no longer, although nobody closed it yet. g->lock is
 * held. */
bool gate_ended(const struct gate *g, struct gate_clock now);

/* ---- gate_quorum.c: g->use is held for writing */

/* What an envelope held, in pin, is the whole PIN, or *whole is false and text says what
 * is missing; or it becomes the whole one, with the others' shares. */
bool gate_take_share(struct gate *g, struct access_entry *entry, struct pin *pin, bool *whole,
    char text[ERROR_TEXT_MAX], struct error *e) MUST_CHECK;

void gate_forget_shares(struct gate *g);

/* True when shares were kept for too long. g->lock is held. */
bool gate_shares_ended(const struct gate *g, struct gate_clock now);

/* ---- gate_split.c: g->use is held for writing */

/* Gives the token a new PIN, which nobody knows, and the persons that the entry names
 * shares of it. pin: the present one; text says what came of it. */
bool gate_split(struct gate *g, const struct access_entry *entry, const struct pin *pin,
    char text[ERROR_TEXT_MAX], struct error *e) MUST_CHECK;

/* The token has just taken g->pin: so it is known which PIN it has. */
void gate_settle_split(struct gate *g);

/* ---- gate_login.c: g->use is held for writing */

/* Logs in with g->pin as g->who; the record of logins says so before and after, and
 * the journal is opened if it is the first time. */
bool gate_log_in(struct gate *g, struct error *e) MUST_CHECK;

/* Logs out, after the anchor was brought up to date, and wipes the PIN; `why` is a
 * word for the record. Closes the gate. */
void gate_close(struct gate *g, const char *why);

/* Whose PIN it is, for what follows. */
void gate_set_who(struct gate *g, const struct access_entry *entry);

/* Writes a line about a login, durably; to the journal, too, if it is open. */
bool gate_record(struct gate *g, enum logins_event event, const struct logins_who *who,
    const char *detail, struct error *e) MUST_CHECK;

/* The token refused the PIN after all. */
void gate_note_wrong(struct gate *g);

#endif
