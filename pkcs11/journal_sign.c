/* Leave to sign: what a signature uses up is written before it, and the signature after it; what
 * was signed before is answered. */

#include <string.h>
#include <unistd.h>

#include "pkcs11/journal_int.h"

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
	if (!journal_check(j, id, now, e) ||
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
	if (!t->answered && !journal_has_room(j, room) &&
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
