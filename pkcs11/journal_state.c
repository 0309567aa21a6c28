#include "pkcs11/journal_state.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/core/encode.h"
#include "daemon/x509/der.h"
#include "pkcs11/journal.h"

bool
state_init(struct journal_state *s, size_t serials_max, size_t decisions_max, struct error *e)
{
	*s = (struct journal_state){.key_count = 0};
	s->serials = window_new(serials_max);
	s->decisions = window_new(decisions_max);
	if (s->serials != NULL && s->decisions != NULL)
		return true;
	state_clear(s);
	return error_set(e, ERROR_SYSTEM, "no memory for the journal's windows");
}

void
state_clear(struct journal_state *s)
{
	window_free(s->serials);
	window_free(s->decisions);
	free(s->keys);
	free(s->scopes);
	*s = (struct journal_state){.key_count = 0};
}

/* ---- floors */

static int64_t
max_time(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

static int64_t
serial_floor(const struct journal_state *s)
{
	return max_time(s->floors.serial_floor, window_floor(s->serials));
}

static int64_t
decision_floor(const struct journal_state *s)
{
	return max_time(s->floors.decision_floor, window_floor(s->decisions));
}

/* While nothing was forgotten there is no floor. */
static bool
is_forgotten(int64_t time, int64_t floor)
{
	return floor > 0 && time <= floor;
}

void
state_raise_floors(struct journal_state *s, const struct journal_floors *to)
{
	struct journal_floors *f = &s->floors;
	struct journal_floors before = *f;

	*f = *to;
	f->serial_floor = max_time(to->serial_floor, before.serial_floor);
	f->decision_floor = max_time(to->decision_floor, before.decision_floor);
	f->serial_high = max_time(to->serial_high, before.serial_high);
	f->decision_high = max_time(to->decision_high, before.decision_high);
}

void
state_get_floors(const struct journal_state *s, struct journal_floors *floors)
{
	*floors = s->floors;
	floors->serial_floor = serial_floor(s);
	floors->decision_floor = decision_floor(s);
}

void
state_forget_before(struct journal_state *s)
{
	struct journal_floors *f = &s->floors;

	f->serial_floor = max_time(f->serial_floor, f->serial_high);
	f->decision_floor = max_time(f->decision_floor, f->decision_high);
}

/* ---- keys */

const struct journal_key *
state_find_key(const struct journal_state *s, struct bytes id)
{
	for (size_t i = 0; i < s->key_count; i++) {
		if (bytes_equal((struct bytes){s->keys[i].id, s->keys[i].id_len}, id))
			return &s->keys[i];
	}
	return NULL;
}

bool
state_add_key(struct journal_state *s, const struct journal_key *key, struct error *e)
{
	if (state_find_key(s, (struct bytes){key->id, key->id_len}) != NULL)
		return true;
	if (s->key_count >= JOURNAL_KEYS_MAX)
		return error_set(
		    e, ERROR_LIMIT, "the journal knows %d keys already", JOURNAL_KEYS_MAX);
	if (s->key_count == s->key_room) {
		size_t room = s->key_room > 0 ? 2 * s->key_room : 8;
		struct journal_key *keys = realloc(s->keys, room * sizeof *keys);

		if (keys == NULL)
			return error_set(e, ERROR_SYSTEM, "no memory for the journal's keys");
		s->keys = keys;
		s->key_room = room;
	}
	s->keys[s->key_count++] = *key;
	return true;
}

/* ---- certificates */

static struct window_entry *
find_serial(struct journal_state *s, const uint8_t *serial, size_t len)
{
	uint8_t key[WINDOW_KEY_LEN];

	window_serial_key((struct bytes){serial, len}, key);
	return window_find(s->serials, key);
}

static bool
same_content(const struct window_entry *entry, const uint8_t content[JOURNAL_CONTENT_LEN])
{
	return memcmp(entry->content, content, JOURNAL_CONTENT_LEN) == 0;
}

static bool
refuse_old_serial(const struct guard_use *use, struct error *e)
{
	char hex[2 * SERIAL_LEN + 1];

	hex_encode(use->serial, use->serial_len, hex);
	return error_set(e, ERROR_CONFLICT,
	    "serial %s is too old for the journal's window, so that nobody can say whether it was "
	    "used: build the certificate anew, with a new serial",
	    hex);
}

/*
 * A decision may get a second content only when the first can never be signed
 * any more: it was not signed, and its serial is behind the floor.
 */
static bool
check_decision(struct journal_state *s, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN], struct error *e)
{
	const struct window_entry *d = window_find(s->decisions, use->decision);

	if (d == NULL && is_forgotten(use->decision_issued, decision_floor(s)))
		return error_set(e, ERROR_DENIED,
		    "the decision is too old for the journal's window, so that nobody can say "
		    "whether it was used: decide anew");
	if (d == NULL || same_content(d, content) ||
	    (d->is_signed == 0 && d->serial_time <= serial_floor(s)))
		return true;
	return error_set(e, ERROR_DENIED,
	    "the decision was used for another certificate already: one decision, one certificate");
}

static bool
check_certificate(struct journal_state *s, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN], enum state_verdict *verdict,
    struct journal_place *place, struct error *e)
{
	const struct window_entry *serial = find_serial(s, use->serial, use->serial_len);
	char hex[2 * SERIAL_LEN + 1];

	if (serial == NULL) {
		*verdict = STATE_NEW;
		if (is_forgotten(use->serial_time, serial_floor(s)))
			return refuse_old_serial(use, e);
		return !use->has_decision || check_decision(s, use, content, e);
	}
	if (same_content(serial, content)) {
		*verdict = serial->place.segment != 0 ? STATE_SIGNED : STATE_AGAIN;
		*place = serial->place;
		return true;
	}
	hex_encode(use->serial, use->serial_len, hex);
	return error_set(e, ERROR_DENIED,
	    "serial %s was used for another certificate already (RFC 5280 4.1.2.2: unique)", hex);
}

static void
use_serial(struct journal_state *s, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN])
{
	struct window_entry entry = {.time = window_time(use->serial_time)};

	s->floors.serial_high = max_time(s->floors.serial_high, use->serial_time);
	if (find_serial(s, use->serial, use->serial_len) != NULL)
		return;
	window_serial_key((struct bytes){use->serial, use->serial_len}, entry.key);
	memcpy(entry.content, content, JOURNAL_CONTENT_LEN);
	window_add(s->serials, &entry);
	s->serials_used++;
}

static void
use_decision(struct journal_state *s, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN])
{
	struct window_entry entry = {.time = window_time(use->decision_issued)};
	struct window_entry *d = window_find(s->decisions, use->decision);

	s->floors.decision_high = max_time(s->floors.decision_high, use->decision_issued);
	if (d != NULL && same_content(d, content))
		return;
	if (d != NULL) {
		/* The one before can never be signed any more. */
		memcpy(d->content, content, JOURNAL_CONTENT_LEN);
		d->serial_time = window_time(use->serial_time);
		d->is_signed = 0;
		return;
	}
	memcpy(entry.key, use->decision, WINDOW_KEY_LEN);
	memcpy(entry.content, content, JOURNAL_CONTENT_LEN);
	entry.serial_time = window_time(use->serial_time);
	window_add(s->decisions, &entry);
}

/* ---- all kinds */

bool
state_check(struct journal_state *s, struct bytes id, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN], enum state_verdict *verdict,
    struct journal_place *place, struct error *e)
{
	*verdict = STATE_NEW;
	*place = (struct journal_place){.segment = 0};
	switch (use->kind) {
	case SIGNPROTO_TBS_CERTIFICATE:
		return check_certificate(s, use, content, verdict, place, e);
	case SIGNPROTO_TBS_CRL:
		return state_check_crl(s, id, use, content, verdict, place, e);
	case SIGNPROTO_CSR_INFO:
		return true;
	}
	return error_set(e, ERROR_INTERNAL, "the journal knows no structure of kind %d", use->kind);
}

bool
state_use(struct journal_state *s, struct bytes id, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN], struct error *e)
{
	if (use->kind == SIGNPROTO_TBS_CRL)
		return state_use_crl(s, id, use, content, e);
	if (use->kind == SIGNPROTO_TBS_CERTIFICATE) {
		use_serial(s, use, content);
		if (use->has_decision)
			use_decision(s, use, content);
	}
	return true;
}

bool
state_check_signature(struct journal_state *s, const struct journal_signature *m)
{
	const struct window_entry *d;

	if (m->kind != SIGNPROTO_TBS_CERTIFICATE || !m->has_decision)
		return true;
	d = window_find(s->decisions, m->decision);
	return d == NULL || same_content(d, m->content);
}

void
state_sign(struct journal_state *s, const struct journal_signature *m, struct journal_place place)
{
	struct window_entry *entry;

	if (m->kind == SIGNPROTO_TBS_CRL)
		state_sign_crl(s, m, place);
	if (m->kind != SIGNPROTO_TBS_CERTIFICATE)
		return;
	entry = find_serial(s, m->serial, m->serial_len);
	if (entry != NULL && same_content(entry, m->content))
		entry->place = place;
	if (!m->has_decision)
		return;
	entry = window_find(s->decisions, m->decision);
	if (entry != NULL && same_content(entry, m->content))
		entry->is_signed = 1;
}
