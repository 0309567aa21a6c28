/* Whether the journal is open and for whom, its report, its mark on the token, and its end. */

#include "pkcs11/journal.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "pkcs11/journal_int.h"

struct journal_clock
journal_clock_now(void)
{
	struct timespec wall, boot;

	(void)clock_gettime(CLOCK_REALTIME, &wall);
	(void)clock_gettime(CLOCK_BOOTTIME, &boot);
	return (struct journal_clock){.wall_s = wall.tv_sec, .boot_s = boot.tv_sec};
}

/* ---- who may write at all */

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

bool
journal_check_open(const struct journal *j, struct error *e)
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
bool
journal_check_clock(struct journal *j, struct journal_clock now, struct error *e)
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

bool
journal_check(struct journal *j, struct bytes id, struct journal_clock now, struct error *e)
{
	return journal_check_open(j, e) && journal_check_clock(j, now, e) && check_key(j, id, e);
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
