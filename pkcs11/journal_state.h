#ifndef CHANCERY_PKCS11_JOURNAL_STATE_H
#define CHANCERY_PKCS11_JOURNAL_STATE_H

/*
 * What the journal's records add up to: windows, keys, CRL scopes, floors. The
 * rules of what may be used are here; files and threads are not.
 */

#include "pkcs11/journal_record.h"
#include "pkcs11/journal_window.h"

struct journal_state {
	struct window *serials, *decisions;
	uint64_t serials_used; /* since the journal began */
	struct journal_floors floors;
	struct journal_key *keys;
	size_t key_count, key_room;
	struct journal_scope *scopes;
	size_t scope_count, scope_room;
};

bool state_init(
    struct journal_state *s, size_t serials_max, size_t decisions_max, struct error *e) MUST_CHECK;
void state_clear(struct journal_state *s); /* s may be all zero */

enum state_verdict {
	STATE_NEW,    /* nothing of it is used */
	STATE_AGAIN,  /* reserved for just this, and maybe signed: may be signed */
	STATE_SIGNED, /* signed: *place has the signature */
};

/* Whether it may be used; nothing is changed. Errors as journal_reserve. */
bool state_check(struct journal_state *s, struct bytes id, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN], enum state_verdict *verdict,
    struct journal_place *place, struct error *e) MUST_CHECK;

/* It is used from now on. False without memory. */
bool state_use(struct journal_state *s, struct bytes id, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN], struct error *e) MUST_CHECK;

/* Whether the signature may be released: its decision is still its own. */
bool state_check_signature(struct journal_state *s, const struct journal_signature *m);

/* The signature's record lies there. */
void state_sign(
    struct journal_state *s, const struct journal_signature *m, struct journal_place place);

const struct journal_key *state_find_key(const struct journal_state *s, struct bytes id);
bool state_add_key(
    struct journal_state *s, const struct journal_key *key, struct error *e) MUST_CHECK;

/* Floors that only rise; switches and challenge are taken over. */
void state_raise_floors(struct journal_state *s, const struct journal_floors *to);

/* The floors as a snapshot has to hold them. */
void state_get_floors(const struct journal_state *s, struct journal_floors *floors);

/* For who reads no further back than here: whatever was used before counts as
 * forgotten. */
void state_forget_before(struct journal_state *s);

/* ---- journal_crl.c */

struct journal_scope *state_find_scope(
    struct journal_state *s, struct bytes id, const uint8_t scope[32]);

bool state_check_crl(struct journal_state *s, struct bytes id, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN], enum state_verdict *verdict,
    struct journal_place *place, struct error *e) MUST_CHECK;
bool state_use_crl(struct journal_state *s, struct bytes id, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN], struct error *e) MUST_CHECK;
void state_sign_crl(
    struct journal_state *s, const struct journal_signature *m, struct journal_place place);

/* Takes over what is higher; *raised (may be NULL) says whether anything was. */
bool state_raise_scope(struct journal_state *s, const struct journal_scope *to, bool *raised,
    struct error *e) MUST_CHECK;

#endif
