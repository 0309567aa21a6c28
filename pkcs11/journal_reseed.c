/*
 * Opening a closed journal again, by what operators signed; and the challenge
 * that makes a reseed good for one time only.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "daemon/core/encode.h"
#include "daemon/core/log.h"
#include "daemon/x509/canon.h"
#include "daemon/x509/der.h"
#include "pkcs11/journal.h"
#include "pkcs11/journal_int.h"
#include "pkcs11/store.h"

#define CHALLENGE_FILE "reseed-challenge"
#define CHALLENGE_FILE_MAX 512
#define CLOSED_MAX 1000
#define ORDER_MAX (JOURNAL_PAYLOAD_MAX - 256)

bool
journal_new_challenge(struct journal *j, int64_t now_s, struct error *e)
{
	struct journal_floors *f = &j->state.floors;

	f->challenge_since = now_s;
	return journal_random(f->challenge, sizeof f->challenge, e);
}

/* ---- the challenge of a closed journal */

/*
 * It has to outlive the process, since people take days to sign. But it is only
 * good for what was found closed: what is put back together with an older
 * challenge meets another anchor.
 */
static void
context_of(const struct journal_options *o, char hex[2 * JOURNAL_MARK_LEN + 3])
{
	uint8_t mark[JOURNAL_MARK_LEN] = {0};

	if (o->anchor == JOURNAL_ANCHOR_MARK)
		journal_mark_put(&o->mark, mark);
	hex[0] = (char)('0' + o->anchor);
	hex[1] = ' ';
	hex_encode(mark, sizeof mark, hex + 2);
}

static bool
read_challenge(struct journal *j, const struct journal_options *o, const char *context)
{
	char text[CHALLENGE_FILE_MAX + 1], *challenge, *since, *of;
	struct journal_floors *f = &j->state.floors;
	struct error why = ERROR_INIT;
	struct canon_reader r;
	size_t len;

	if (!store_read(o->state_dir, CHALLENGE_FILE, text, CHALLENGE_FILE_MAX, &len, &why))
		return false;
	text[len] = '\0';
	canon_reader_init(&r, text, CHALLENGE_FILE);
	return canon_take(&r, "challenge", &challenge, &why) &&
	       canon_take(&r, "since", &since, &why) && canon_take(&r, "of", &of, &why) &&
	       canon_end(&r, &why) && strcmp(of, context) == 0 &&
	       canon_time(since, &f->challenge_since) &&
	       canon_hex(challenge, f->challenge, sizeof f->challenge);
}

bool
journal_closed_challenge(struct journal *j, const struct journal_options *o, struct error *e)
{
	char text[CHALLENGE_FILE_MAX], context[2 * JOURNAL_MARK_LEN + 3], since[CANON_TIME_SIZE];
	struct canon_writer w;

	context_of(o, context);
	if (read_challenge(j, o, context))
		return true;
	if (!journal_new_challenge(j, o->now.wall_s, e))
		return false;
	canon_time_text(j->state.floors.challenge_since, since);
	canon_writer_init(&w, text, sizeof text);
	canon_put(&w, "challenge: ");
	canon_put_hex(&w, j->state.floors.challenge, sizeof j->state.floors.challenge);
	canon_put(&w, "\nsince: %s\nof: %s\n", since, context);
	return store_write(o->state_dir, CHALLENGE_FILE, text, w.len, true, e);
}

/* ---- a new beginning */

/* The closed one is kept for whoever wants to find out what happened. */
static bool
move_away(struct journal *j, struct error *e)
{
	char from[sizeof j->state_dir + 16], to[sizeof j->state_dir + 32];

	(void)snprintf(from, sizeof from, "%s/journal", j->state_dir);
	for (unsigned int n = 1; n <= CLOSED_MAX; n++) {
		(void)snprintf(to, sizeof to, "%s/journal-closed-%u", j->state_dir, n);
		if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
			return true;
		if (errno == ENOENT) /* an attempt before this one came that far */
			return true;
		if (errno != EEXIST)
			return error_set_errno(e, ERROR_SYSTEM, "cannot move %s away", from);
	}
	return error_set(
	    e, ERROR_LIMIT, "%s has %d closed journals; remove some", j->state_dir, CLOSED_MAX);
}

static void
forget_files(struct journal *j)
{
	if (j->fd >= 0)
		(void)close(j->fd);
	if (j->next_fd >= 0)
		(void)close(j->next_fd);
	if (j->dir_fd >= 0)
		(void)close(j->dir_fd);
	j->fd = j->next_fd = j->dir_fd = -1;
	j->gathered = 0;
	j->time = 0;
}

static bool
names_key(const struct reseed *doc, const uint8_t *id, size_t len)
{
	for (size_t i = 0; i < doc->key_count; i++) {
		if (bytes_equal((struct bytes){doc->keys[i].id, doc->keys[i].id_len},
			(struct bytes){id, len}))
			return true;
	}
	return false;
}

static void
forget_places(struct journal_scope *s)
{
	s->complete.place = s->delta.place = (struct journal_place){.segment = 0};
	for (size_t i = 0; i < s->base_count; i++)
		s->bases[i].place = s->complete.place;
}

/* What is known from before the break stays as floors, whatever the document says:
 * who composed it may have been told less. */
static bool
carry_over(
    struct journal_state *from, struct journal_state *to, const struct reseed *doc, struct error *e)
{
	bool ok = true;

	state_forget_before(from);
	to->floors.serial_floor = from->floors.serial_floor;
	to->floors.decision_floor = from->floors.decision_floor;
	to->floors.reseeded = true;
	for (size_t i = 0; i < from->scope_count && ok; i++) {
		struct journal_scope scope = from->scopes[i];

		forget_places(&scope);
		if (names_key(doc, scope.id, scope.id_len))
			ok = state_raise_scope(to, &scope, NULL, e);
	}
	return ok;
}

/* An empty journal in place of the closed one. Until keys are opened in it,
 * nothing is signed. */
static bool
begin_anew(struct journal *j, const struct reseed *doc, struct journal_clock now, struct error *e)
{
	struct journal_state fresh = {.key_count = 0};

	if (!state_init(&fresh, j->serials_max, j->decisions_max, e) ||
	    !carry_over(&j->state, &fresh, doc, e) || !move_away(j, e)) {
		state_clear(&fresh);
		return false;
	}
	state_clear(&j->state);
	j->state = fresh;
	forget_files(j);
	return journal_lock_dir(j, e) && journal_begin(j, now.wall_s, e);
}

/* ---- carrying it out */

static bool
check_document(
    const struct journal *j, const struct reseed *doc, struct journal_clock now, struct error *e)
{
	const struct journal_floors *f = &j->state.floors;

	if (strcmp(doc->token, j->token) != 0 || doc->signer_id != j->signer_id)
		return error_set(e, ERROR_DENIED,
		    "the reseed is for signer %u of token '%s', and this is signer %u of token "
		    "'%s'",
		    doc->signer_id, doc->token, j->signer_id, j->token);
	if (memcmp(doc->challenge, f->challenge, sizeof f->challenge) != 0)
		return error_set(e, ERROR_DENIED,
		    "the reseed answers another challenge than that of this signer; see "
		    "`chancery token status`, and begin anew");
	if (doc->floor > now.wall_s + JOURNAL_BEHIND_MAX_S)
		return error_set(e, ERROR_DENIED, "the reseed's floor is in the future");
	return true;
}

static bool
check_keys(const struct journal *j, const struct reseed *doc, struct error *e)
{
	for (size_t i = 0; i < doc->key_count; i++) {
		const struct reseed_key *k = &doc->keys[i];

		if (j->closed == JOURNAL_OPEN &&
		    state_find_key(&j->state, (struct bytes){k->id, k->id_len}) != NULL)
			return error_set(e, ERROR_CONFLICT,
			    "the key of CA %s is open in the journal of token '%s' already", k->ca,
			    j->token);
	}
	return true;
}

static bool
write_order(struct journal *j, const struct signproto_order *order,
    const struct journal_mark *replaces, struct journal_clock now, struct error *e)
{
	struct wire_writer *w = journal_payload(j), message;
	uint8_t mark[JOURNAL_MARK_LEN];
	bool ok;

	wire_writer_init(&message, JOURNAL_PAYLOAD_MAX);
	signproto_put_reseed(&message, &(struct signproto_reseed){.order = *order});
	if (replaces != NULL)
		journal_mark_put(replaces, mark);
	wire_put_bytes(w, mark, replaces != NULL ? sizeof mark : 0);
	wire_put_bytes(w, message.buf, message.len);
	ok = wire_writer_ok(&message) &&
	     journal_append_payload(j, JOURNAL_RESEED, now.wall_s, NULL, e);
	wire_writer_free(&message);
	return ok || error_set(e, ERROR_SYSTEM, "no memory for a reseed's record");
}

bool
journal_get_reseed(
    struct bytes payload, bool *has_replaced, struct journal_mark *replaced, struct bytes *order)
{
	struct journal_mark mark;
	struct wire_reader r;
	struct bytes octets;

	wire_reader_init(&r, payload.p, payload.len);
	octets = wire_get_bytes(&r, JOURNAL_MARK_LEN);
	*order = wire_get_bytes(&r, JOURNAL_PAYLOAD_MAX);
	if (!wire_reader_end(&r) || (octets.len > 0 && !journal_mark_get(octets, &mark)))
		return false;
	if (has_replaced != NULL)
		*has_replaced = octets.len > 0;
	if (replaced != NULL && octets.len > 0)
		*replaced = mark;
	return true;
}

static bool
write_scope(struct journal *j, const struct reseed_key *k, const struct reseed_scope *s,
    struct journal_clock now, struct error *e)
{
	struct journal_scope to = {.id_len = k->id_len};

	memcpy(to.id, k->id, k->id_len);
	memcpy(to.scope, s->scope, sizeof to.scope);
	to.complete.len = to.delta.len = s->number_len;
	memcpy(to.complete.number, s->number, s->number_len);
	memcpy(to.delta.number, s->number, s->number_len);
	to.complete.this_update = to.delta.this_update = s->this_update;
	if (s->base_len > 0) {
		to.base_count = 1;
		to.bases[0].len = s->base_len;
		memcpy(to.bases[0].number, s->base, s->base_len);
	}
	journal_put_scope(journal_payload(j), &to);
	return state_raise_scope(&j->state, &to, NULL, e) &&
	       journal_append_payload(j, JOURNAL_SCOPE, now.wall_s, NULL, e);
}

/* Keys come last: half of a reseed, should it end here, opens none of them. */
static bool
write_keys(struct journal *j, const struct reseed *doc, struct journal_clock now, struct error *e)
{
	for (size_t i = 0; i < doc->key_count; i++) {
		const struct reseed_key *k = &doc->keys[i];

		for (size_t n = 0; n < k->scope_count; n++) {
			if (!write_scope(j, k, &doc->scopes[k->first_scope + n], now, e))
				return false;
		}
	}
	for (size_t i = 0; i < doc->key_count; i++) {
		struct journal_key key = {
		    .id_len = doc->keys[i].id_len, .origin = JOURNAL_KEY_RESEED};

		memcpy(key.id, doc->keys[i].id, key.id_len);
		journal_put_key(journal_payload(j), &key);
		if (!state_add_key(&j->state, &key, e) ||
		    !journal_append_payload(j, JOURNAL_KEY, now.wall_s, NULL, e))
			return false;
	}
	return true;
}

static size_t
octets_of(const struct signproto_order *order, const struct reseed *doc)
{
	size_t octets = 4096 + order->statement.len + order->body.len;

	for (size_t i = 0; i < order->signature_count; i++)
		octets += 16 + order->signatures[i].spki.len + order->signatures[i].signature.len;
	return octets + doc->scope_count * 1024 + doc->key_count * 256;
}

static bool
carry_out(struct journal *j, const struct reseed *doc, const struct signproto_order *order,
    const struct journal_mark *replaces, int64_t closed_since, struct journal_clock now,
    struct error *e)
{
	struct journal_floors floors;

	if (!journal_make_room(j, octets_of(order, doc), now, e) ||
	    !write_order(j, order, replaces, now, e) || !journal_new_challenge(j, now.wall_s, e))
		return false;
	floors = j->state.floors;
	/* Whoever composed the document may know less than the clock. */
	floors.serial_floor = doc->floor > closed_since ? doc->floor : closed_since;
	floors.decision_floor = floors.serial_floor;
	floors.reseeded = true;
	state_raise_floors(&j->state, &floors);
	state_get_floors(&j->state, &floors);
	journal_put_floors(journal_payload(j), &floors);
	return journal_append_payload(j, JOURNAL_FLOORS, now.wall_s, NULL, e) &&
	       write_keys(j, doc, now, e) && journal_sync_locked(j, e);
}

static bool
reseed(struct journal *j, const struct reseed *doc, const struct signproto_order *order,
    struct journal_clock now, struct error *e)
{
	int64_t closed_since = j->state.floors.challenge_since;
	const struct journal_mark *replaces = NULL;
	struct error why = ERROR_INIT;

	if (!check_document(j, doc, now, e) || !check_keys(j, doc, e))
		return false;
	if (order->statement.len + order->body.len > ORDER_MAX - 8192)
		return error_set(
		    e, ERROR_LIMIT, "the reseed is too long for a record of the journal");
	if (j->closed != JOURNAL_OPEN) {
		replaces = j->has_mark ? &j->mark : NULL;
		if (!begin_anew(j, doc, now, e))
			return false;
		j->closed = JOURNAL_OPEN;
	}
	if (!carry_out(j, doc, order, replaces, closed_since, now, e))
		return false;
	/* One that stays is none of the next closing's. */
	if (!store_remove(j->state_dir, CHALLENGE_FILE, &why))
		log_failure(LOG_LEVEL_WARNING, j->token, &why);
	return true;
}

bool
journal_reseed(struct journal *j, const struct reseed *doc, const struct signproto_order *order,
    struct journal_clock now, struct error *e)
{
	bool ok;

	(void)pthread_mutex_lock(&j->lock);
	if (j->failed)
		ok = error_set(
		    e, ERROR_UNAVAILABLE, "the journal of token '%s' cannot be written", j->token);
	else
		ok = reseed(j, doc, order, now, e);
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}
