#include "pkcs11/journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "daemon/core/log.h"
#include "daemon/x509/der.h"
#include "pkcs11/journal_int.h"

/* A full disk is tried again this often. */
#define NEXT_RETRY_S 5

struct journal_clock
journal_clock_now(void)
{
	struct timespec wall, boot;

	(void)clock_gettime(CLOCK_REALTIME, &wall);
	(void)clock_gettime(CLOCK_BOOTTIME, &boot);
	return (struct journal_clock){.wall_s = wall.tv_sec, .boot_s = boot.tv_sec};
}

bool
journal_fail(struct journal *j, const struct error *why, struct error *e)
{
	if (!j->failed) {
		j->failed = true;
		j->failure = *why;
	}
	return error_set_foreign(e, ERROR_SYSTEM, j->failure.source, j->failure.foreign,
	    "the journal cannot be written any more: %s", j->failure.text);
}

void
journal_set_closed(struct journal *j, enum journal_closed closed, const char *fmt, ...)
{
	va_list ap;

	if (j->closed != JOURNAL_OPEN)
		return;
	j->closed = closed;
	va_start(ap, fmt);
	(void)vsnprintf(j->text, sizeof j->text, fmt, ap);
	va_end(ap);
}

/* ---- writing */

struct wire_writer *
journal_payload(struct journal *j)
{
	j->payload.len = 0;
	j->payload.failed = false;
	return &j->payload;
}

static uint8_t *
gather_end(struct journal *j)
{
	return j->buffer + JOURNAL_HASH_LEN + j->gathered;
}

bool
journal_append(struct journal *j, enum journal_type type, struct bytes payload, int64_t time,
    struct journal_place *place, struct error *e)
{
	struct journal_record r = {
	    .type = type,
	    .seq = j->seq + 1,
	    .durable = j->durable,
	    .time = time > j->time ? time : j->time,
	    .payload = payload,
	};
	struct error why = ERROR_INIT;
	size_t len;

	if (j->failed)
		return journal_fail(j, &j->failure, e);
	if (j->gathered >= JOURNAL_GATHER_MAX && !journal_flush(j, e))
		return false;
	len = journal_record_put(&r, gather_end(j), JOURNAL_RECORD_MAX);
	if (len == 0 || len > j->size - j->end) {
		(void)error_set(
		    &why, ERROR_INTERNAL, "no room for a record of %zu octets", payload.len);
		return journal_fail(j, &why, e);
	}
	if (place != NULL)
		*place = (struct journal_place){j->segment, (uint32_t)j->end};
	j->gathered += len;
	j->end += len;
	j->seq = r.seq;
	j->time = r.time;
	return true;
}

bool
journal_append_payload(struct journal *j, enum journal_type type, int64_t time,
    struct journal_place *place, struct error *e)
{
	if (!wire_writer_ok(&j->payload))
		return error_set(e, ERROR_SYSTEM, "no memory for a record of the journal");
	return journal_append(
	    j, type, (struct bytes){j->payload.buf, j->payload.len}, time, place, e);
}

bool
journal_flush(struct journal *j, struct error *e)
{
	struct error why = ERROR_INIT;

	if (j->failed)
		return journal_fail(j, &j->failure, e);
	if (j->gathered == 0)
		return true;
	if (!segment_write(
		j->fd, j->buffer + JOURNAL_HASH_LEN, j->gathered, j->end - j->gathered, &why))
		return journal_fail(j, &why, e);
	/* The last record's hash is what the next one chains to. */
	memmove(j->buffer, gather_end(j) - JOURNAL_HASH_LEN, JOURNAL_HASH_LEN);
	j->gathered = 0;
	return true;
}

static void
set_durable(struct journal *j, uint64_t seq, int64_t time, const uint8_t hash[JOURNAL_HASH_LEN])
{
	if (seq < j->durable)
		return;
	j->durable = seq;
	j->durable_time = time;
	memcpy(j->durable_hash, hash, JOURNAL_HASH_LEN);
}

/* The lock is let go while the disk works. */
bool
journal_sync_locked(struct journal *j, struct error *e)
{
	uint8_t hash[JOURNAL_HASH_LEN];
	struct error why = ERROR_INIT;
	uint64_t seq;
	int64_t time;
	bool ok;

	while (j->syncing)
		(void)pthread_cond_wait(&j->synced, &j->lock);
	if (!journal_flush(j, e))
		return false;
	if (j->durable == j->seq)
		return true;
	seq = j->seq;
	time = j->time;
	memcpy(hash, j->buffer, sizeof hash);
	j->syncing = true;
	(void)pthread_mutex_unlock(&j->lock);
	ok = fdatasync(j->fd) == 0;
	if (!ok)
		(void)error_set_errno(&why, ERROR_SYSTEM, "the disk did not take the journal");
	(void)pthread_mutex_lock(&j->lock);
	j->syncing = false;
	(void)pthread_cond_broadcast(&j->synced);
	if (!ok)
		return journal_fail(j, &why, e);
	set_durable(j, seq, time, hash);
	return true;
}

/* ---- segments */

static bool
append_snapshot(struct journal *j, int64_t time, struct error *e)
{
	struct journal_segment head = {
	    .number = j->segment,
	    .size = (uint32_t)j->size,
	    .serials = j->state.serials_used,
	    .signer_id = j->signer_id,
	};
	struct journal_floors floors;

	memcpy(head.journal_id, j->id, sizeof head.journal_id);
	memcpy(head.token, j->token, sizeof head.token);
	journal_put_segment(journal_payload(j), &head);
	if (!journal_append_payload(j, JOURNAL_SEGMENT, time, NULL, e))
		return false;
	state_get_floors(&j->state, &floors);
	journal_put_floors(journal_payload(j), &floors);
	if (!journal_append_payload(j, JOURNAL_FLOORS, time, NULL, e))
		return false;
	for (size_t i = 0; i < j->state.scope_count; i++) {
		journal_put_scope(journal_payload(j), &j->state.scopes[i]);
		if (!journal_append_payload(j, JOURNAL_SCOPE, time, NULL, e))
			return false;
	}
	for (size_t i = 0; i < j->state.key_count; i++) {
		journal_put_key(journal_payload(j), &j->state.keys[i]);
		if (!journal_append_payload(j, JOURNAL_KEY, time, NULL, e))
			return false;
	}
	return journal_append(j, JOURNAL_BEGIN, (struct bytes){0}, time, NULL, e);
}

/*
 * The segment gets its number only when it is whole and on the disk, so that a
 * crash leaves the one before as the newest, or this one. Whatever fails on the
 * way has put records into a chain that leads nowhere: there is no way back.
 */
bool
journal_begin_segment(struct journal *j, int fd, int64_t time, struct error *e)
{
	struct error why = ERROR_INIT;
	int old = j->fd;

	j->fd = fd;
	j->segment++;
	j->size = j->segment_size;
	j->end = JOURNAL_HASH_LEN;
	if (!segment_write(fd, j->buffer, JOURNAL_HASH_LEN, 0, &why) ||
	    !append_snapshot(j, time, &why) || !journal_flush(j, &why))
		goto fail;
	if (fsync(fd) != 0) {
		(void)error_set_errno(&why, ERROR_SYSTEM, "the disk did not take the journal");
		goto fail;
	}
	if (!segment_publish(j->dir_fd, j->segment, &why))
		goto fail;
	set_durable(j, j->seq, j->time, j->buffer);
	if (old >= 0)
		(void)close(old);
	return true;
fail:
	if (old >= 0)
		(void)close(old);
	return journal_fail(j, &why, e);
}

/*
 * Makes SEGMENT_NEXT unless it is there. A full disk is not asked all the time.
 * The lock is let go meanwhile; j->changing keeps others out.
 */
static bool
prepare_next(struct journal *j, struct journal_clock now, struct error *e)
{
	int fd = -1;
	bool ok;

	if (j->next_fd >= 0)
		return true;
	if (now.boot_s < j->next_try_s)
		return error_set(e, ERROR_UNAVAILABLE,
		    "no room on the disk for the journal of token '%s'", j->token);
	(void)pthread_mutex_unlock(&j->lock);
	ok = segment_prepare(j->dir_fd, j->segment_size, &fd, e);
	(void)pthread_mutex_lock(&j->lock);
	j->next_fd = fd;
	if (!ok)
		j->next_try_s = now.boot_s + NEXT_RETRY_S;
	return ok;
}

/* The newest segment is full: everything in it goes to the disk, and the chain
 * goes on in the next one. Others may append while this waits. */
static bool
change_segment(struct journal *j, struct journal_clock now, struct error *e)
{
	int fd;

	if (!prepare_next(j, now, e))
		return false;
	do {
		if (!journal_sync_locked(j, e))
			return false;
	} while (j->durable != j->seq || j->syncing);
	fd = j->next_fd;
	j->next_fd = -1;
	return journal_begin_segment(j, fd, now.wall_s, e);
}

static bool
has_room(const struct journal *j, size_t len)
{
	return j->end + j->promised + len <= j->size;
}

/* One thread at a time changes the segment, or prepares the next. */
static void
begin_change(struct journal *j)
{
	while (j->changing)
		(void)pthread_cond_wait(&j->synced, &j->lock);
	j->changing = true;
}

static void
end_change(struct journal *j)
{
	j->changing = false;
	(void)pthread_cond_broadcast(&j->synced);
}

bool
journal_make_room(struct journal *j, size_t len, struct journal_clock now, struct error *e)
{
	bool ok = true;

	if (has_room(j, len))
		return true;
	begin_change(j);
	if (!has_room(j, len))
		ok = change_segment(j, now, e);
	end_change(j);
	if (ok && !has_room(j, len))
		ok = error_set(e, ERROR_UNAVAILABLE,
		    "the journal's segment has no room for all that is being signed at this time");
	return ok;
}

/*
 * Before a segment is full the next one is made, so that nobody waits for it; and
 * with a full disk there is time left to say so.
 */
static void
look_ahead(struct journal *j, struct journal_clock now)
{
	struct error why = ERROR_INIT;
	size_t left;
	bool ok;

	if (j->next_fd >= 0 || j->changing || j->end < j->size / 2 || now.boot_s < j->next_try_s)
		return;
	begin_change(j);
	ok = prepare_next(j, now, &why);
	left = j->size - j->end;
	end_change(j);
	if (ok)
		return;
	(void)pthread_mutex_unlock(&j->lock);
	log_warning(j->token, "%s; %zu octets of the journal are left, then nothing is signed",
	    why.text, left);
	(void)pthread_mutex_lock(&j->lock);
}

bool
journal_sync(struct journal *j, struct error *e)
{
	bool ok;

	(void)pthread_mutex_lock(&j->lock);
	ok = journal_sync_locked(j, e);
	if (ok)
		look_ahead(j, journal_clock_now());
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}

/* ---- who may write at all */

static bool
check_open(const struct journal *j, struct error *e)
{
	if (j->failed)
		return error_set(e, ERROR_UNAVAILABLE,
		    "the journal of token '%s' cannot be written: %s", j->token, j->failure.text);
	if (j->closed == JOURNAL_OPEN)
		return true;
	return error_set(
	    e, ERROR_UNAVAILABLE, "the journal of token '%s' is closed: %s", j->token, j->text);
}

/*
 * The clock may be behind the last record by little, and ahead of the time that
 * passed by a day: who sets it wrong shall not fill the journal with a future
 * that closes it once the clock is right again.
 */
static bool
check_clock(struct journal *j, struct journal_clock now, struct error *e)
{
	int64_t passed = now.boot_s - j->start.boot_s;

	if (now.wall_s + JOURNAL_BEHIND_MAX_S < j->time)
		return error_set(e, ERROR_UNAVAILABLE,
		    "the clock is %lld s behind the journal's last record: set it right",
		    (long long)(j->time - now.wall_s));
	if (now.wall_s - j->start.wall_s > passed + JOURNAL_AHEAD_MAX_S)
		return error_set(e, ERROR_UNAVAILABLE,
		    "the clock jumped %lld s ahead while the signer ran: set it right, or start "
		    "the "
		    "signer anew",
		    (long long)(now.wall_s - j->start.wall_s - passed));
	return true;
}

static bool
check_key(const struct journal *j, struct bytes id, struct error *e)
{
	char hex[KEY_ID_TEXT_MAX];

	if (state_find_key(&j->state, id) != NULL)
		return true;
	key_limits_id_text(id, hex);
	return error_set(e, ERROR_UNAVAILABLE,
	    "key %s is closed: the journal of token '%s' does not know what it was used for; its "
	    "operators open it with `chancery signer reseed %s`",
	    hex, j->token, j->token);
}

static bool
check_all(struct journal *j, struct bytes id, struct journal_clock now, struct error *e)
{
	return check_open(j, e) && check_clock(j, now, e) && check_key(j, id, e);
}

/* ---- signing */

/* What was signed before, from its record; false when that cannot be read, or
 * was moved away. */
static bool
read_signature(struct journal *j, struct journal_place place,
    const uint8_t content[JOURNAL_CONTENT_LEN], struct journal_signature *m, uint64_t *seq)
{
	uint8_t buf[JOURNAL_HASH_LEN + JOURNAL_SIGNATURE_MAX];
	struct error why = ERROR_INIT;
	struct journal_record r;
	size_t got = 0, size;
	bool ok;
	int fd;

	if (!journal_flush(j, &why))
		return false;
	if (place.segment == j->segment) {
		ok = segment_read_at(
		    j->fd, buf, sizeof buf, place.offset - JOURNAL_HASH_LEN, &got, &why);
	} else {
		if (!segment_open(j->dir_fd, place.segment, false, &fd, &size, &why))
			return false;
		ok = segment_read_at(
		    fd, buf, sizeof buf, place.offset - JOURNAL_HASH_LEN, &got, &why);
		(void)close(fd);
	}
	if (!ok || got < JOURNAL_HASH_LEN ||
	    !journal_record_get(buf + JOURNAL_HASH_LEN, got - JOURNAL_HASH_LEN, &r) ||
	    r.type != JOURNAL_SIGNATURE || !journal_get_signature(r.payload, m))
		return false;
	*seq = r.seq;
	return memcmp(m->content, content, JOURNAL_CONTENT_LEN) == 0;
}

static void
fill_ticket(struct journal_ticket *t, struct bytes id, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN])
{
	struct journal_signature *m = &t->signed_as;

	t->answered = false;
	*m = (struct journal_signature){.kind = use->kind};
	memcpy(m->content, content, sizeof m->content);
	if (use->kind == SIGNPROTO_TBS_CERTIFICATE) {
		memcpy(m->serial, use->serial, sizeof m->serial);
		m->serial_len = use->serial_len;
		m->has_decision = use->has_decision;
		memcpy(m->decision, use->decision, sizeof m->decision);
	} else if (use->kind == SIGNPROTO_TBS_CRL) {
		memcpy(m->id, id.p, id.len);
		m->id_len = id.len;
		memcpy(m->scope, use->scope, sizeof m->scope);
		m->delta = use->delta;
	}
}

/* There is room. */
static bool
write_use(struct journal *j, struct bytes id, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN], struct journal_clock now, struct error *e)
{
	struct journal_use m = {.id_len = id.len, .use = *use};

	memcpy(m.id, id.p, id.len);
	journal_put_use(journal_payload(j), &m);
	return journal_append_payload(j, JOURNAL_USE, now.wall_s, NULL, e) && journal_flush(j, e) &&
	       state_use(&j->state, id, use, content, e);
}

/* True: it may be signed, or was (t->answered). */
static bool
check_use(struct journal *j, struct bytes id, const struct guard_use *use,
    const uint8_t content[JOURNAL_CONTENT_LEN], struct journal_clock now, struct journal_ticket *t,
    struct error *e)
{
	enum state_verdict verdict;
	struct journal_place place;

	t->answered = false;
	if (!check_all(j, id, now, e) ||
	    !state_check(&j->state, id, use, content, &verdict, &place, e))
		return false;
	t->answered = verdict == STATE_SIGNED &&
		      read_signature(j, place, content, &t->signed_as, &t->seq);
	return true;
}

static bool
reserve(struct journal *j, struct bytes id, const struct guard_use *use, struct journal_clock now,
    struct journal_ticket *t, struct error *e)
{
	const size_t room = JOURNAL_USE_MAX + JOURNAL_SIGNATURE_MAX;
	uint8_t content[JOURNAL_CONTENT_LEN];

	if (!journal_content(id, use, content, e) || !check_use(j, id, use, content, now, t, e))
		return false;
	/* Others may have used the same while this one waited for a new segment. */
	if (!t->answered && !has_room(j, room) &&
	    (!journal_make_room(j, room, now, e) || !check_use(j, id, use, content, now, t, e)))
		return false;
	if (t->answered)
		return true;
	if (!write_use(j, id, use, content, now, e))
		return false;
	fill_ticket(t, id, use, content);
	t->signed_as.use_seq = t->seq = j->seq;
	j->promised += JOURNAL_SIGNATURE_MAX;
	return true;
}

bool
journal_reserve(struct journal *j, struct bytes id, const struct guard_use *use,
    struct journal_clock now, struct journal_ticket *ticket, struct error *e)
{
	bool ok;

	(void)pthread_mutex_lock(&j->lock);
	ok = reserve(j, id, use, now, ticket, e);
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}

void
journal_give_up(struct journal *j, const struct journal_ticket *ticket)
{
	if (ticket->answered)
		return;
	(void)pthread_mutex_lock(&j->lock);
	j->promised -= JOURNAL_SIGNATURE_MAX;
	(void)pthread_mutex_unlock(&j->lock);
}

static bool
sign(struct journal *j, struct journal_ticket *t, struct journal_clock now, struct error *e)
{
	const struct journal_signature *m = &t->signed_as;
	struct journal_place place;

	if (!state_check_signature(&j->state, m))
		return error_set(e, ERROR_DENIED,
		    "the decision was used for another certificate while this one waited");
	journal_put_signature(journal_payload(j), m);
	if (!journal_append_payload(j, JOURNAL_SIGNATURE, now.wall_s, &place, e))
		return false;
	t->seq = j->seq;
	state_sign(&j->state, m, place);
	return true;
}

bool
journal_sign(
    struct journal *j, struct journal_ticket *ticket, struct journal_clock now, struct error *e)
{
	bool ok;

	if (ticket->answered)
		return true;
	(void)pthread_mutex_lock(&j->lock);
	j->promised -= JOURNAL_SIGNATURE_MAX;
	ok = sign(j, ticket, now, e);
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}

/* ---- keys and scopes */

static bool
add_key(struct journal *j, struct bytes id, enum journal_key_origin origin,
    struct journal_clock now, struct error *e)
{
	struct journal_key key = {.id_len = id.len, .origin = origin};

	if (!check_open(j, e) || !check_clock(j, now, e))
		return false;
	if (id.len == 0 || id.len > sizeof key.id)
		return error_set(e, ERROR_INTERNAL, "a key's id of %zu octets", id.len);
	if (state_find_key(&j->state, id) != NULL)
		return true;
	if (origin == JOURNAL_KEY_FOUND && (j->state.floors.reseeded || !j->state.floors.anchored))
		return error_set(e, ERROR_CONFLICT,
		    "the key was on the token before, and the journal of token '%s' cannot tell "
		    "what "
		    "it was used for; its operators open it with `chancery signer reseed %s`",
		    j->token, j->token);
	memcpy(key.id, id.p, id.len);
	if (!journal_make_room(j, JOURNAL_USE_MAX, now, e))
		return false;
	journal_put_key(journal_payload(j), &key);
	return journal_append_payload(j, JOURNAL_KEY, now.wall_s, NULL, e) &&
	       state_add_key(&j->state, &key, e) && journal_sync_locked(j, e);
}

bool
journal_add_key(struct journal *j, struct bytes id, enum journal_key_origin origin,
    struct journal_clock now, struct error *e)
{
	bool ok;

	(void)pthread_mutex_lock(&j->lock);
	ok = add_key(j, id, origin, now, e);
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}

bool
journal_knows_key(struct journal *j, struct bytes id)
{
	bool known;

	(void)pthread_mutex_lock(&j->lock);
	known = j->closed == JOURNAL_OPEN && state_find_key(&j->state, id) != NULL;
	(void)pthread_mutex_unlock(&j->lock);
	return known;
}

bool
journal_find_scope(
    struct journal *j, struct bytes id, const uint8_t scope[32], struct journal_scope *out)
{
	const struct journal_scope *found;

	(void)pthread_mutex_lock(&j->lock);
	found = state_find_scope(&j->state, id, scope);
	if (found != NULL)
		*out = *found;
	(void)pthread_mutex_unlock(&j->lock);
	return found != NULL;
}

static bool
raise_scope(
    struct journal *j, const struct journal_scope *to, struct journal_clock now, struct error *e)
{
	struct bytes id = {to->id, to->id_len};
	bool raised;

	if (!check_all(j, id, now, e) || !journal_make_room(j, JOURNAL_RECORD_MAX / 16, now, e) ||
	    !state_raise_scope(&j->state, to, &raised, e))
		return false;
	if (!raised)
		return true;
	journal_put_scope(journal_payload(j), state_find_scope(&j->state, id, to->scope));
	return journal_append_payload(j, JOURNAL_SCOPE, now.wall_s, NULL, e) &&
	       journal_sync_locked(j, e);
}

bool
journal_raise_scope(
    struct journal *j, const struct journal_scope *to, struct journal_clock now, struct error *e)
{
	bool ok;

	(void)pthread_mutex_lock(&j->lock);
	ok = raise_scope(j, to, now, e);
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}

/* ---- logins */

bool
journal_note_login(struct journal *j, const char *line, struct journal_clock now, struct error *e)
{
	bool ok = true;

	(void)pthread_mutex_lock(&j->lock);
	if (j->closed == JOURNAL_OPEN) {
		ok = journal_make_room(j, LOGINS_LINE_SIZE + JOURNAL_USE_MAX, now, e);
		wire_put_string(journal_payload(j), line);
		ok = ok && journal_append_payload(j, JOURNAL_LOGIN, now.wall_s, NULL, e) &&
		     journal_sync_locked(j, e);
	}
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}

bool
journal_get_login(struct bytes payload, char line[LOGINS_LINE_SIZE])
{
	struct wire_reader r;

	wire_reader_init(&r, payload.p, payload.len);
	wire_get_string(&r, line, LOGINS_LINE_SIZE);
	return wire_reader_end(&r);
}

/* ---- destroyed keys */

/* A document of a destruction with its signatures is not longer. */
#define DESTRUCTION_MAX (16 * 1024)

static bool
note_destruction(struct journal *j, struct bytes id, const struct signproto_order *order,
    struct journal_clock now, struct error *e)
{
	if (j->closed != JOURNAL_OPEN)
		return error_set(e, ERROR_UNAVAILABLE,
		    "the journal is closed, and no key is destroyed without a record of it");
	if (order->statement.len + order->body.len > DESTRUCTION_MAX / 2)
		return error_set(e, ERROR_LIMIT, "the order to destroy a key is too long");
	if (!journal_make_room(j, DESTRUCTION_MAX + JOURNAL_USE_MAX, now, e))
		return false;
	signproto_put_key_destroy(journal_payload(j), &(struct signproto_key_destroy){id, *order});
	return journal_append_payload(j, JOURNAL_DESTROY, now.wall_s, NULL, e) &&
	       journal_sync_locked(j, e);
}

bool
journal_note_destruction(struct journal *j, struct bytes id, const struct signproto_order *order,
    struct journal_clock now, struct error *e)
{
	bool ok;

	(void)pthread_mutex_lock(&j->lock);
	ok = note_destruction(j, id, order, now, e);
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}

/* ---- anchor, report, end */

void
journal_mark_put(const struct journal_mark *m, uint8_t out[JOURNAL_MARK_LEN])
{
	uint8_t *p = out;

	*p++ = 1;
	memcpy(p, m->journal_id, JOURNAL_ID_LEN);
	p += JOURNAL_ID_LEN;
	for (int i = 7; i >= 0; i--)
		*p++ = (uint8_t)(m->seq >> 8 * i);
	memcpy(p, m->hash, JOURNAL_HASH_LEN);
	p += JOURNAL_HASH_LEN;
	for (int i = 7; i >= 0; i--)
		*p++ = (uint8_t)((uint64_t)m->time >> 8 * i);
}

static uint64_t
get_u64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 0; i < 8; i++)
		v = v << 8 | p[i];
	return v;
}

bool
journal_mark_get(struct bytes octets, struct journal_mark *m)
{
	const uint8_t *p = octets.p;

	if (octets.len != JOURNAL_MARK_LEN || *p++ != 1)
		return false;
	memcpy(m->journal_id, p, JOURNAL_ID_LEN);
	p += JOURNAL_ID_LEN;
	m->seq = get_u64(p);
	p += 8;
	memcpy(m->hash, p, JOURNAL_HASH_LEN);
	m->time = (int64_t)get_u64(p + JOURNAL_HASH_LEN);
	return true;
}

uint16_t
journal_signer_id(const struct journal *j)
{
	return j->signer_id;
}

bool
journal_mark(struct journal *j, struct journal_mark *mark)
{
	bool open;

	(void)pthread_mutex_lock(&j->lock);
	open = j->closed == JOURNAL_OPEN;
	memcpy(mark->journal_id, j->id, sizeof mark->journal_id);
	mark->seq = j->durable;
	mark->time = j->durable_time;
	memcpy(mark->hash, j->durable_hash, sizeof mark->hash);
	(void)pthread_mutex_unlock(&j->lock);
	return open;
}

bool
journal_anchored(struct journal *j, struct journal_clock now, struct error *e)
{
	bool ok = true;

	(void)pthread_mutex_lock(&j->lock);
	j->anchor_failure[0] = '\0';
	if (j->closed == JOURNAL_OPEN && !j->state.floors.anchored) {
		ok = journal_make_room(j, JOURNAL_USE_MAX, now, e) &&
		     journal_append(j, JOURNAL_ANCHORED, (struct bytes){0}, now.wall_s, NULL, e) &&
		     journal_sync_locked(j, e);
		j->state.floors.anchored = ok;
	}
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}

bool
journal_anchor_failed(struct journal *j, const struct error *why)
{
	bool news;

	(void)pthread_mutex_lock(&j->lock);
	news = strcmp(j->anchor_failure, why->text) != 0;
	(void)snprintf(j->anchor_failure, sizeof j->anchor_failure, "%s", why->text);
	(void)pthread_mutex_unlock(&j->lock);
	return news;
}

void
journal_report(struct journal *j, struct journal_report *report)
{
	(void)pthread_mutex_lock(&j->lock);
	*report = (struct journal_report){
	    .closed = j->closed,
	    .anchored = j->state.floors.anchored,
	    .seq = j->seq,
	    .segment = j->segment,
	    .keys = (unsigned int)j->state.key_count,
	    .serials = window_count(j->state.serials),
	    .decisions = window_count(j->state.decisions),
	    .last_time = j->time,
	};
	memcpy(report->text, j->text, sizeof report->text);
	memcpy(report->anchor_failure, j->anchor_failure, sizeof report->anchor_failure);
	memcpy(report->challenge, j->state.floors.challenge, sizeof report->challenge);
	(void)pthread_mutex_unlock(&j->lock);
}

bool
journal_stop(struct journal *j, struct journal_clock now, struct error *e)
{
	bool ok = true;

	(void)pthread_mutex_lock(&j->lock);
	if (j->closed == JOURNAL_OPEN)
		ok = journal_make_room(j, JOURNAL_USE_MAX, now, e) &&
		     journal_append(j, JOURNAL_STOP, (struct bytes){0}, now.wall_s, NULL, e) &&
		     journal_sync_locked(j, e);
	(void)pthread_mutex_unlock(&j->lock);
	return ok;
}
