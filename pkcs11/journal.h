#ifndef CHANCERY_PKCS11_JOURNAL_H
#define CHANCERY_PKCS11_JOURNAL_H

/*
 * The signer's memory: an append-only journal on its own disk, which sees to it
 * that nothing is used twice and that nothing that was signed can be hidden.
 *
 *   - What a signature uses up is written (journal_reserve) before the token is
 *     asked, and the signature is on the disk (journal_sign, journal_sync) before
 *     the answer leaves. A killed process loses neither; a power cut can only
 *     lose signatures that nobody ever got.
 *   - One serial has one content, and so has one decision; the numbers of a CRL
 *     scope rise. The same bytes asked again get the same signature.
 *   - Serials and decisions are remembered in windows of a fixed size. What is
 *     older than what was forgotten is refused.
 *   - A journal that is missing, damaged, cut off, or older than the anchor on
 *     the token (anchor.h) is closed: nothing is signed until operators say where
 *     to go on (reseed.h). It is the same for one key of several that it does not
 *     know.
 *
 * The files, in STATE_DIR/signer-TOKEN/journal, are segments of a fixed size, allocated ahead; each
 * begins with a snapshot, so that older ones may be moved away. All functions but journal_open and
 * journal_free may be called from any thread. No function calls the token.
 */

#include "daemon/x509/reseed.h"
#include "pkcs11/journal_record.h"
#include "pkcs11/logins.h"

/* Entries that are remembered at least. */
#define JOURNAL_SERIALS_MAX 400000
#define JOURNAL_DECISIONS_MAX 200000
#define JOURNAL_SEGMENT_SIZE (8 * 1024 * 1024)
#define JOURNAL_SEGMENT_SIZE_MIN (64 * 1024)
#define JOURNAL_KEYS_MAX 1024
/* CRL scopes, in all and of one key. */
#define JOURNAL_SCOPES_MAX 4096
#define JOURNAL_KEY_SCOPES_MAX 256
/* A journal without an anchor that was not used for so long may be an old copy. */
#define JOURNAL_AGE_MAX_S (30 * 86400)
/* How far the clock may be behind the last record; how far it may run ahead of
 * the time that really passed while the signer runs. */
#define JOURNAL_BEHIND_MAX_S 300
#define JOURNAL_AHEAD_MAX_S 86400

/* The clock, and beside it one that nobody sets and that counts on in suspend. */
struct journal_clock {
	int64_t wall_s; /* since 1970 */
	int64_t boot_s;
};
struct journal_clock journal_clock_now(void);

/* A place in the chain: what the anchor on the token says of the journal. */
#define JOURNAL_MARK_LEN (1 + JOURNAL_ID_LEN + 8 + JOURNAL_HASH_LEN + 8)
struct journal_mark {
	uint8_t journal_id[JOURNAL_ID_LEN];
	uint64_t seq;
	uint8_t hash[JOURNAL_HASH_LEN];
	int64_t time;
};
void journal_mark_put(const struct journal_mark *m, uint8_t out[JOURNAL_MARK_LEN]);
bool journal_mark_get(struct bytes octets, struct journal_mark *m) MUST_CHECK;

enum journal_anchor {
	JOURNAL_ANCHOR_ABSENT,	/* the token has none yet, or takes none */
	JOURNAL_ANCHOR_DAMAGED, /* it has something that is no mark */
	JOURNAL_ANCHOR_MARK,
};

struct journal_options {
	const char *state_dir; /* of this signer; the journal is in "journal" there */
	const char *token;     /* as the configuration calls it */
	uint16_t signer_id;
	enum journal_anchor anchor;
	struct journal_mark mark;
	bool has_keys; /* the signer's directory says that it used keys before */
	struct journal_clock now;
	/* 0: the defaults above. */
	size_t segment_size, serials_max, decisions_max;
};

/* Why a journal is closed. All but the clock's reason need a reseed. */
enum journal_closed {
	JOURNAL_OPEN = 0,
	JOURNAL_MISSING, /* though there were keys, or an anchor */
	JOURNAL_DAMAGED, /* a record or a link of the chain is wrong, or a file too short */
	JOURNAL_BEHIND,	 /* it ends before the anchor: an older copy */
	JOURNAL_FOREIGN, /* another journal, or another signer's */
	JOURNAL_STALE,	 /* no anchor, and too old */
	JOURNAL_AHEAD,	 /* its last record is in the clock's future: passes by itself */
};

struct journal;

/*
 * Opens the directory's journal, or begins one, and reads back as much as the
 * windows take. A journal that is found closed is a success: journal_report says
 * so. ERROR_UNAVAILABLE: another process has it; ERROR_SYSTEM: the disk does not
 * answer; nothing is known about the journal then.
 */
bool journal_open(
    const struct journal_options *options, struct journal **journal, struct error *e) MUST_CHECK;

/* The end in good order: says so in the journal, on the disk. */
bool journal_stop(struct journal *j, struct journal_clock now, struct error *e) MUST_CHECK;
void journal_free(struct journal *j); /* NULL is legal */

struct journal_report {
	enum journal_closed closed;
	char text[ERROR_TEXT_MAX]; /* of a closed one: what is wrong */
	/* For the next reseed; of an open journal: of keys that it does not know. */
	uint8_t challenge[JOURNAL_CHALLENGE_LEN];
	bool anchored;
	char anchor_failure[ERROR_TEXT_MAX]; /* "": it is up to date */
	uint64_t seq;
	uint32_t segment;
	unsigned int keys;
	size_t serials, decisions;
	int64_t last_time;
};
void journal_report(struct journal *j, struct journal_report *report);

uint16_t journal_signer_id(const struct journal *j);

/* What is on the disk for sure: the next anchor. False when the journal is closed,
 * and has nothing to say. */
bool journal_mark(struct journal *j, struct journal_mark *mark) MUST_CHECK;

/* The token keeps an anchor of this journal from now on; that is noted once. */
bool journal_anchored(struct journal *j, struct journal_clock now, struct error *e) MUST_CHECK;

/* It could not be brought up to date: journal_report says so until it is. True when
 * that is another failure than the last one. */
bool journal_anchor_failed(struct journal *j, const struct error *why);

/* True when the key may be used, as far as the journal is concerned. */
bool journal_knows_key(struct journal *j, struct bytes id);

/*
 * The key may be used from now on; durable on return. JOURNAL_KEY_MADE: before
 * the token is asked to make it. JOURNAL_KEY_FOUND: it was there already, made
 * for another signer; refused (ERROR_CONFLICT) unless the journal can tell that
 * this signer never used it, because the journal is as old as its anchor.
 */
bool journal_add_key(struct journal *j, struct bytes id, enum journal_key_origin origin,
    struct journal_clock now, struct error *e) MUST_CHECK;

/* Between reserving and signing. Owned by the caller, nothing in it is allocated. */
struct journal_ticket {
	bool answered; /* the journal has the signature already: nothing to sign */
	uint64_t seq;  /* has to be on the disk before the answer leaves */
	struct journal_signature signed_as; /* signature: filled in by the caller, or answered */
};

/*
 * Asks for leave to sign, and writes down what it uses up. ERROR_DENIED: it was
 * used for something else. ERROR_CONFLICT: the serial is too old for the window,
 * the caller may come back with a new one. ERROR_UNAVAILABLE: closed, or the
 * disk is full, or the clock is wrong: nothing is signed now.
 */
bool journal_reserve(struct journal *j, struct bytes id, const struct guard_use *use,
    struct journal_clock now, struct journal_ticket *ticket, struct error *e) MUST_CHECK;

/* The token failed: room that was kept for the signature is free again. */
void journal_give_up(struct journal *j, const struct journal_ticket *ticket);

/* Adds the ticket's signature to what the next journal_sync writes. A failure of
 * this ticket alone is ERROR_DENIED: it must not be released. */
bool journal_sign(struct journal *j, struct journal_ticket *ticket, struct journal_clock now,
    struct error *e) MUST_CHECK;

/* Brings everything so far to the disk. After a failure nothing can be trusted:
 * the process has to end. Only one thread should call it. */
bool journal_sync(struct journal *j, struct error *e) MUST_CHECK;

/* Keeps a line about a login (logins.h) for auditors; durable on return. A closed
 * journal takes none, which is no error. */
bool journal_note_login(
    struct journal *j, const char *line, struct journal_clock now, struct error *e) MUST_CHECK;
bool journal_get_login(struct bytes payload, char line[LOGINS_LINE_SIZE]) MUST_CHECK;

/* Keeps the order by which a key is about to be destroyed; durable on return.
 * ERROR_UNAVAILABLE: the journal is closed, and nothing is destroyed unseen. The record's
 * payload is the order, coded as a KEY_DESTROY message. */
bool journal_note_destruction(struct journal *j, struct bytes id,
    const struct signproto_order *order, struct journal_clock now, struct error *e) MUST_CHECK;

/* ---- a reseed */

/*
 * Opens the keys of the document, whose order was verified by the limits of each of
 * them. A closed journal is moved away and begins anew, with what was known of it
 * as floors. Durable on return; the anchor on the token has to be brought up to
 * date then. ERROR_DENIED: it is for another signer, or another time;
 * ERROR_CONFLICT: a key is open already.
 */
bool journal_reseed(struct journal *j, const struct reseed *doc,
    const struct signproto_order *order, struct journal_clock now, struct error *e) MUST_CHECK;

/* The record's payload: the order, coded as a RESEED message, and the anchor that was
 * on the token then. replaces and has_replaced may be NULL. */
bool journal_get_reseed(struct bytes payload, bool *has_replaced, struct journal_mark *replaced,
    struct bytes *order) MUST_CHECK;

/* ---- scopes */

/* Where a CRL scope of a key stands; false when the journal knows of none. */
bool journal_find_scope(struct journal *j, struct bytes id, const uint8_t scope[32],
    struct journal_scope *out) MUST_CHECK;

/* Raises the floors of a scope to what another signer reached; durable on return,
 * unless they were there already. */
bool journal_raise_scope(struct journal *j, const struct journal_scope *to,
    struct journal_clock now, struct error *e) MUST_CHECK;

#endif
