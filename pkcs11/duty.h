#ifndef CHANCERY_PKCS11_DUTY_H
#define CHANCERY_PKCS11_DUTY_H

/*
 * CRL duty: of the signers that the limits of a key name, one at a time signs its
 * CRLs. Certificates need nothing of the kind, since each signer has serials of
 * its own; CRL numbers are one sequence (RFC 5280 5.2.3).
 *
 * Who has the duty stands on the token that they share, in a data object of the
 * key (anchor.h): holder, epoch, until when. Beside it there is one object for
 * each CRL scope: which numbers were used last, and for what. So the journal of
 * whoever takes over knows what the others signed.
 *
 *   - A lease of another signer that has not ended is respected. One that has ended,
 *     or that reaches further ahead than any lease may, is taken over with the next
 *     epoch.
 *   - The numbers of a CRL are on the token before it is signed, and it is released
 *     only when the lease is still this signer's afterwards. Whoever takes over
 *     writes the lease first and reads the numbers then; so either the old holder
 *     sees the new lease, or the new one sees the number. No clock is needed for
 *     that: clocks say only who may ask.
 *
 * A token that keeps no data objects cannot tell: then the first of the limits'
 * signer-ids has the duty for good. It is the same with a group of tokens: of two hosts
 * each may see another one of them. A key with one signer writes its numbers down
 * all the same, so that they are known once there are two; but what the token does
 * with them stops nothing.
 */

#include "pkcs11/anchor.h"
#include "pkcs11/journal.h"

struct duty_place {
	struct journal *journal;
	uint16_t signer_id;
	uint32_t lease_s; /* from the CRL for which it is taken or renewed */
	struct journal_clock now;
	bool in_group; /* the token is one of several with the same keys (group.h) */
};

/* One CRL on its way; nothing in it is allocated. */
struct duty {
	struct duty_place place;
	const struct key_limits *limits;
	const struct guard_use *use;
	struct session rw;
	bool kept;	/* on the token; otherwise there is nothing to be done */
	bool contended; /* another process wrote there in the same moment */
	uint64_t epoch;
	char lease_label[ANCHOR_LABEL_MAX], scope_label[ANCHOR_LABEL_MAX];
	uint8_t lease[ANCHOR_VALUE_MAX], numbers[ANCHOR_VALUE_MAX]; /* as they stand there */
	size_t lease_len, numbers_len;				    /* 0: nothing does */
};

/*
 * Before the journal is asked for leave: sees to it that this signer has the duty
 * for the key, and brings the journal's floors of the CRL's scope up to what is on
 * the token. ERROR_ELSEWHERE: another signer has it; the sentence says which and
 * until when. ERROR_UNAVAILABLE: it is being taken over just now. limits, use and
 * s are borrowed until duty_end, which has to be called in any case.
 */
bool duty_begin(struct duty *d, struct session *s, const struct duty_place *place,
    const struct key_limits *limits, const struct guard_use *use, struct error *e) MUST_CHECK;

/* When the journal has reserved the number, and before the token signs: puts it there. */
bool duty_note(struct duty *d, struct error *e) MUST_CHECK;

/* When it is signed, and before it goes to the journal and leaves: the duty is still here. */
bool duty_confirm(struct duty *d, struct error *e) MUST_CHECK;

/* At the end in good order: of all keys that have limits in state_dir, the leases that are this
 * signer's end now. What cannot be written ends by itself. */
void duty_give_up(struct session *s, const char *state_dir, uint16_t signer_id, int64_t now);

/* d may be all zero. Says in *fatal (and does not clear it) when sessions are of no use any more.
 */
void duty_end(struct duty *d, bool *fatal);

#endif
