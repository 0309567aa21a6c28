/* Records are gathered, written, and waited for until they are on the disk; the chain goes on in
 * the next segment when one is full. */

#include <string.h>
#include <unistd.h>

#include "daemon/core/log.h"
#include "pkcs11/journal_int.h"

/* A full disk is tried again this often. */
#define NEXT_RETRY_S 5

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

bool
journal_has_room(const struct journal *j, size_t len)
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

	if (journal_has_room(j, len))
		return true;
	begin_change(j);
	if (!journal_has_room(j, len))
		ok = change_segment(j, now, e);
	end_change(j);
	if (ok && !journal_has_room(j, len))
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
