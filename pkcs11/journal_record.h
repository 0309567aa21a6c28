#ifndef CHANCERY_PKCS11_JOURNAL_RECORD_H
#define CHANCERY_PKCS11_JOURNAL_RECORD_H

/*
 * The records of the signer's journal as they lie in its files.
 *
 * A segment begins with the chain's hash as it was before its first record.
 * Then records follow each other without a gap; integers are big-endian:
 *
 *     2  "cj"
 *     1  format, 1
 *     1  type
 *     4  octets of payload
 *     8  sequence number, one more than the record before
 *     8  time, seconds since 1970; never less than in the record before
 *     8  the last sequence number that was known to be on the disk
 *     n  payload
 *    32  SHA-256 of the 32 octets before the record and all of the above
 *
 * so that each record chains to the one before it and can be checked where it
 * lies, even when the one before it is damaged. Zeros follow the last one.
 */

#include "daemon/core/error.h"
#include "daemon/core/signproto.h"
#include "daemon/core/wire.h"
#include "pkcs11/guard.h"

#define JOURNAL_HASH_LEN 32
#define JOURNAL_HEAD_LEN 32
#define JOURNAL_PAYLOAD_MAX (192 * 1024)
#define JOURNAL_RECORD_MAX (JOURNAL_HEAD_LEN + JOURNAL_PAYLOAD_MAX + JOURNAL_HASH_LEN)

enum journal_type {
	JOURNAL_SEGMENT = 1,   /* first of each segment: whose journal, which part */
	JOURNAL_FLOORS = 2,    /* of the segment's snapshot: floors and switches */
	JOURNAL_KEY = 3,       /* snapshot, or from now on: this key may be used */
	JOURNAL_SCOPE = 4,     /* snapshot, or from now on: where a CRL scope stands */
	JOURNAL_BEGIN = 5,     /* the snapshot is complete; what follows happened */
	JOURNAL_USE = 6,       /* written before the token signs: what is used up */
	JOURNAL_SIGNATURE = 7, /* written before the answer leaves: what it was */
	JOURNAL_START = 8,     /* a signer opened the journal */
	JOURNAL_STOP = 9,      /* and ended in good order */
	JOURNAL_ANCHORED = 10, /* the token keeps an anchor of this journal */
	JOURNAL_RESEED = 11,   /* operators opened it again */
	JOURNAL_LOGIN = 12,    /* a line about a login with a person's PIN (logins.h) */
	JOURNAL_DESTROY = 13,  /* operators ordered that a key be destroyed */
};

struct journal_record {
	enum journal_type type;
	uint64_t seq, durable;
	int64_t time;
	struct bytes payload; /* borrowed */
	size_t size;	      /* of the whole record */
	const uint8_t *hash;  /* JOURNAL_HASH_LEN octets; borrowed */
};

/* "use", "signature" ...; "unknown". */
const char *journal_type_name(enum journal_type type);

/*
 * Puts header and hash around a payload. at points to the octet where the record
 * begins; the chain's hash must lie in the JOURNAL_HASH_LEN octets before it.
 * Of r only type, seq, durable, time and payload (in place, or elsewhere) count.
 * Returns the record's size; 0 when there is not enough room, or no SHA-256.
 */
size_t journal_record_put(const struct journal_record *r, uint8_t *at, size_t room) MUST_CHECK;

/* Reads the record at `at`, which has `left` octets; as above for the hash. False
 * when there is no whole and undamaged record. */
bool journal_record_get(const uint8_t *at, size_t left, struct journal_record *r) MUST_CHECK;

/* ---- payloads. put appends to a writer; get takes exactly the whole payload. */

#define JOURNAL_ID_LEN 16
#define JOURNAL_CHALLENGE_LEN 16
#define JOURNAL_CONTENT_LEN 24

struct journal_segment {
	uint8_t journal_id[JOURNAL_ID_LEN]; /* random, of the journal */
	uint32_t number;		    /* 1 .. */
	uint32_t size;			    /* octets of the file */
	uint64_t serials;		    /* used in all segments before */
	uint16_t signer_id;
	char token[SIGNPROTO_NAME_SIZE]; /* as the configuration calls it */
};

struct journal_floors {
	/* A serial (a decision) that is not found and not later than its floor may
	 * have been used and forgotten. */
	int64_t serial_floor, decision_floor;
	/* The latest that was ever used: the floor for who reads no further back. */
	int64_t serial_high, decision_high;
	bool anchored; /* the token has an anchor of this journal */
	bool reseeded; /* other keys than those that it knows stay closed */
	uint8_t challenge[JOURNAL_CHALLENGE_LEN]; /* for the next reseed */
	int64_t challenge_since;
};

/* Where a record lies; segment 0: nowhere. */
struct journal_place {
	uint32_t segment, offset;
};

/* What a CRL number was used for. */
struct journal_number {
	uint8_t number[CRL_NUMBER_MAX];
	size_t len; /* 0: none yet */
	uint8_t content[JOURNAL_CONTENT_LEN];
	int64_t this_update;
	struct journal_place place; /* of its signature */
};

#define JOURNAL_BASES_MAX 8

struct journal_scope {
	uint8_t id[SIGNPROTO_ID_MAX]; /* CKA_ID */
	size_t id_len;
	uint8_t scope[32];
	struct journal_number complete, delta;		/* the last of each */
	struct journal_number bases[JOURNAL_BASES_MAX]; /* complete CRLs, newest first */
	size_t base_count;
};

enum journal_key_origin {
	JOURNAL_KEY_MADE = 1,	/* is being made by this signer */
	JOURNAL_KEY_FOUND = 2,	/* was made by another one; this one never used it */
	JOURNAL_KEY_RESEED = 3, /* opened by operators */
};

struct journal_key {
	uint8_t id[SIGNPROTO_ID_MAX];
	size_t id_len;
	enum journal_key_origin origin;
};

struct journal_use {
	uint8_t id[SIGNPROTO_ID_MAX];
	size_t id_len;
	struct guard_use use;
};

struct journal_signature {
	uint64_t use_seq; /* of the record that reserved it */
	uint8_t content[JOURNAL_CONTENT_LEN];
	enum signproto_kind kind;
	uint8_t serial[SERIAL_LEN]; /* certificates */
	size_t serial_len;
	bool has_decision;
	uint8_t decision[GUARD_DECISION_LEN];
	uint8_t id[SIGNPROTO_ID_MAX]; /* CRLs */
	size_t id_len;
	uint8_t scope[32];
	bool delta;
	uint8_t signature[SIGNPROTO_SIGNATURE_MAX];
	size_t signature_len;
};

void journal_put_segment(struct wire_writer *w, const struct journal_segment *m);
bool journal_get_segment(struct bytes payload, struct journal_segment *m) MUST_CHECK;
void journal_put_floors(struct wire_writer *w, const struct journal_floors *m);
bool journal_get_floors(struct bytes payload, struct journal_floors *m) MUST_CHECK;
void journal_put_key(struct wire_writer *w, const struct journal_key *m);
bool journal_get_key(struct bytes payload, struct journal_key *m) MUST_CHECK;
void journal_put_scope(struct wire_writer *w, const struct journal_scope *m);
bool journal_get_scope(struct bytes payload, struct journal_scope *m) MUST_CHECK;
void journal_put_use(struct wire_writer *w, const struct journal_use *m);
bool journal_get_use(struct bytes payload, struct journal_use *m) MUST_CHECK;
void journal_put_signature(struct wire_writer *w, const struct journal_signature *m);
bool journal_get_signature(struct bytes payload, struct journal_signature *m) MUST_CHECK;

/* Key, algorithm and to-be-signed bytes of a use in one digest: what may never
 * be two for one serial. */
bool journal_content(struct bytes id, const struct guard_use *use,
    uint8_t content[JOURNAL_CONTENT_LEN], struct error *e) MUST_CHECK;

#endif
