/*
 * Opening the journal: reading back what it remembers, and finding out whether it
 * is whole, and this signer's newest.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "daemon/core/log.h"
#include "pkcs11/journal.h"
#include "pkcs11/journal_int.h"
#include "pkcs11/store.h"

/* Serials and decisions older than this are refused by the guard, so that nothing
 * of that age has to be remembered. */
#define REMEMBER_S (8 * 86400)

/* One journal_open. */
struct opening {
	struct journal *j;
	const struct journal_options *o;
	uint32_t *numbers;   /* of the segments; owned */
	size_t count, first; /* first: the oldest that is read back */
	/* While reading: where the chain stands, and what was met on the way. */
	bool reading, in_snapshot, mark_found;
	uint64_t seq, first_seq;
	uint8_t hash[JOURNAL_HASH_LEN];
	int64_t time;
	size_t torn;	   /* octets */
	bool has_replaced; /* replaced: the anchor that the last reseed met */
	struct journal_mark replaced;
};

/* ---- the directory */

bool
journal_lock_dir(struct journal *j, struct error *e)
{
	char dir[sizeof j->state_dir + 16];

	(void)snprintf(dir, sizeof dir, "%s/journal", j->state_dir);
	if (!store_make_dir(dir, e))
		return false;
	j->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (j->dir_fd < 0)
		return error_set_errno(e, ERROR_SYSTEM, "cannot open the directory %s", dir);
	if (flock(j->dir_fd, LOCK_EX | LOCK_NB) == 0)
		return true;
	return error_set_errno(e, ERROR_UNAVAILABLE, "another process has the journal in %s", dir);
}

/* The first record of a segment, which says where the chain was and when; zeros
 * when there is none. */
static bool
read_head(struct journal *j, uint32_t number, struct segment_walk *w, struct error *e)
{
	uint8_t buf[1024];
	size_t size, got;
	bool ok;
	int fd;

	if (!segment_open(j->dir_fd, number, false, &fd, &size, e))
		return false;
	ok = segment_read_at(fd, buf, sizeof buf, 0, &got, e);
	(void)close(fd);
	if (ok && !segment_walk(w, number, buf, got))
		*w = (struct segment_walk){.size = 0};
	w->buf = w->hash = NULL;
	return ok;
}

/* How far back to read: until the windows are full, or what is older does not
 * matter; and to the anchor. */
static bool
choose_first(struct opening *o, size_t serials_max, struct error *e)
{
	uint64_t serials = 0;

	for (o->first = o->count - 1;; o->first--) {
		bool enough, anchor_seen;
		struct segment_walk w;

		if (!read_head(o->j, o->numbers[o->first], &w, e))
			return false;
		if (o->first == o->count - 1)
			serials = w.head.serials;
		enough = serials - w.head.serials >= serials_max ||
			 w.time < o->o->now.wall_s - REMEMBER_S;
		anchor_seen = o->o->anchor != JOURNAL_ANCHOR_MARK || w.seq < o->o->mark.seq;
		if ((enough && anchor_seen) || o->first == 0 ||
		    o->numbers[o->first - 1] + 1 != o->numbers[o->first])
			return true;
	}
}

/* ---- reading back */

static bool
damaged(struct opening *o, uint32_t number, const char *what)
{
	char name[SEGMENT_NAME_MAX];

	segment_name(number, name);
	journal_set_closed(o->j, JOURNAL_DAMAGED, "its file %s %s", name, what);
	return false;
}

/* False: the journal is closed now. */
static bool
apply_head(struct opening *o, const struct segment_walk *w)
{
	struct journal *j = o->j;
	const struct journal_segment *h = &w->head;

	if (!o->reading) {
		memcpy(j->id, h->journal_id, sizeof j->id);
		j->state.serials_used = h->serials;
		o->first_seq = w->seq + 1;
	} else if (memcmp(j->id, h->journal_id, sizeof j->id) != 0 || w->seq != o->seq ||
		   memcmp(w->hash, o->hash, sizeof o->hash) != 0) {
		return damaged(o, h->number, "does not go on where the one before it ends");
	}
	if (h->size != w->size)
		return damaged(o, h->number, "was cut off, or is longer than it was");
	if (h->signer_id != j->signer_id || strcmp(h->token, j->token) != 0) {
		journal_set_closed(j, JOURNAL_FOREIGN,
		    "it belongs to signer %u of token '%s', and this is signer %u of token '%s'",
		    h->signer_id, h->token, j->signer_id, j->token);
		return false;
	}
	o->in_snapshot = true;
	return true;
}

static bool
apply_use(struct journal_state *s, struct bytes payload, struct error *e)
{
	uint8_t content[JOURNAL_CONTENT_LEN];
	struct journal_use m;
	struct bytes id;

	if (!journal_get_use(payload, &m))
		return error_set(e, ERROR_INPUT, "malformed");
	id = (struct bytes){m.id, m.id_len};
	return journal_content(id, &m.use, content, e) && state_use(s, id, &m.use, content, e);
}

/* What a snapshot says is known from the segments before, but for the first. */
static bool
apply_record(
    struct opening *o, const struct journal_record *r, struct journal_place place, struct error *e)
{
	struct journal_state *s = &o->j->state;
	bool known = o->in_snapshot && o->reading;
	struct bytes order;
	union {
		struct journal_floors floors;
		struct journal_key key;
		struct journal_scope scope;
		struct journal_signature signature;
	} m;

	switch (r->type) {
	case JOURNAL_FLOORS:
		if (!journal_get_floors(r->payload, &m.floors))
			break;
		if (!known)
			state_raise_floors(s, &m.floors);
		return true;
	case JOURNAL_KEY:
		return journal_get_key(r->payload, &m.key) &&
		       (known || state_add_key(s, &m.key, e));
	case JOURNAL_SCOPE:
		return journal_get_scope(r->payload, &m.scope) &&
		       (known || state_raise_scope(s, &m.scope, NULL, e));
	case JOURNAL_BEGIN:
		if (!o->reading && o->numbers[o->first] > 1)
			state_forget_before(s);
		o->in_snapshot = false;
		o->reading = true;
		return true;
	case JOURNAL_USE:
		return apply_use(s, r->payload, e);
	case JOURNAL_SIGNATURE:
		if (!journal_get_signature(r->payload, &m.signature))
			break;
		state_sign(s, &m.signature, place);
		return true;
	case JOURNAL_ANCHORED:
		s->floors.anchored = true;
		return true;
	case JOURNAL_RESEED:
		return journal_get_reseed(r->payload, &o->has_replaced, &o->replaced, &order) ||
		       error_set(e, ERROR_INPUT, "malformed");
	case JOURNAL_SEGMENT:
	case JOURNAL_LOGIN:
	case JOURNAL_DESTROY:
	case JOURNAL_START:
	case JOURNAL_STOP:
		return true;
	}
	return error_set(e, ERROR_INPUT, "malformed");
}

/* False with an error: out of memory. False without: closed. */
static bool
read_records(struct opening *o, struct segment_walk *w, uint32_t number, struct error *e)
{
	struct error why = ERROR_INIT;
	struct journal_record r;

	while (segment_next(w, &r)) {
		struct journal_place place = {number, (uint32_t)(w->at - r.size)};

		if (!apply_record(o, &r, place, &why)) {
			if (why.code == ERROR_SYSTEM)
				return error_set(e, ERROR_SYSTEM, "%s", why.text);
			return damaged(o, number, "has a record that this version does not know");
		}
		if (o->o->anchor == JOURNAL_ANCHOR_MARK && r.seq == o->o->mark.seq)
			o->mark_found = memcmp(r.hash, o->o->mark.hash, JOURNAL_HASH_LEN) == 0;
	}
	return !o->in_snapshot || damaged(o, number, "has no whole snapshot");
}

static bool
write_zeros(int fd, size_t len, size_t offset, struct error *e)
{
	static const uint8_t zeros[4096];

	for (size_t n; len > 0; len -= n, offset += n) {
		n = len < sizeof zeros ? len : sizeof zeros;
		if (!segment_write(fd, zeros, n, offset, e))
			return false;
	}
	return true;
}

/* Puts zeros over what the power's end left half-written. */
static bool
cut_torn(struct opening *o, const struct segment_walk *w, struct error *e)
{
	o->torn = w->size - w->at;
	while (o->torn > 0 && w->buf[w->at + o->torn - 1] == 0)
		o->torn--;
	return write_zeros(o->j->fd, o->torn, w->at, e) &&
	       (fdatasync(o->j->fd) == 0 ||
		   error_set_errno(e, ERROR_SYSTEM, "the disk did not take the journal"));
}

/* The end of the newest segment: here the journal goes on. */
static bool
take_end(struct opening *o, const struct segment_walk *w, uint32_t number, struct error *e)
{
	struct journal *j = o->j;
	size_t size;

	if (!segment_open(j->dir_fd, number, true, &j->fd, &size, e))
		return false;
	j->segment = number;
	j->size = w->size;
	j->end = w->at;
	j->seq = j->durable = w->seq;
	j->time = j->durable_time = w->time;
	memcpy(j->durable_hash, w->hash, JOURNAL_HASH_LEN);
	memcpy(j->buffer, w->hash, JOURNAL_HASH_LEN);
	return segment_tail(w) == SEGMENT_CLEAN || cut_torn(o, w, e);
}

static bool
read_segment(struct opening *o, uint32_t number, bool newest, struct error *e)
{
	enum segment_tail tail;
	struct segment_walk w;
	uint8_t *buf = NULL;
	bool ok = false;
	size_t size;

	if (!segment_read(o->j->dir_fd, number, &buf, &size, e))
		return false;
	if (!segment_walk(&w, number, buf, size)) {
		(void)damaged(o, number, "does not begin as it should");
		goto out;
	}
	if (!apply_head(o, &w) || !read_records(o, &w, number, e))
		goto out;
	tail = segment_tail(&w);
	if (tail == SEGMENT_DAMAGED || (tail == SEGMENT_TORN && !newest)) {
		(void)damaged(o, number, "is damaged: a record in it is not what was written");
		goto out;
	}
	o->seq = w.seq;
	o->time = w.time;
	memcpy(o->hash, w.hash, sizeof o->hash);
	ok = !newest || take_end(o, &w, number, e);
out:
	free(buf);
	return ok;
}

static bool
read_back(struct opening *o, struct error *e)
{
	if (!choose_first(o, o->j->serials_max, e))
		return false;
	for (size_t i = o->first; i < o->count; i++) {
		if (i > o->first && o->numbers[i] != o->numbers[i - 1] + 1)
			return damaged(o, o->numbers[i], "does not follow the one before it");
		if (!read_segment(o, o->numbers[i], i + 1 == o->count, e))
			return false;
	}
	return true;
}

/* ---- is it the newest, and is it ours */

static bool
same_mark(const struct journal_mark *a, const struct journal_mark *b)
{
	return memcmp(a->journal_id, b->journal_id, sizeof a->journal_id) == 0 &&
	       a->seq == b->seq && memcmp(a->hash, b->hash, sizeof a->hash) == 0;
}

static void
check_anchor(struct opening *o)
{
	const struct journal_mark *mark = &o->o->mark;
	struct journal *j = o->j;

	switch (o->o->anchor) {
	case JOURNAL_ANCHOR_ABSENT:
		if (j->state.floors.anchored)
			journal_set_closed(j, JOURNAL_BEHIND,
			    "the token's anchor, which it had, is gone: it may be another token, "
			    "or an "
			    "older copy of it");
		else if (o->o->now.wall_s - j->time > JOURNAL_AGE_MAX_S)
			journal_set_closed(j, JOURNAL_STALE,
			    "it ends %lld days ago, and without an anchor on the token nobody can "
			    "say "
			    "whether it is an older copy",
			    (long long)((o->o->now.wall_s - j->time) / 86400));
		return;
	case JOURNAL_ANCHOR_DAMAGED:
		journal_set_closed(j, JOURNAL_BEHIND, "its anchor on the token is damaged");
		return;
	case JOURNAL_ANCHOR_MARK:
		/* A reseed whose own anchor was not written any more. */
		if (o->has_replaced && same_mark(mark, &o->replaced))
			return;
		if (memcmp(mark->journal_id, j->id, sizeof j->id) != 0)
			journal_set_closed(
			    j, JOURNAL_FOREIGN, "the token's anchor is that of another journal");
		else if (mark->seq > j->seq)
			journal_set_closed(j, JOURNAL_BEHIND,
			    "it ends with record %llu, and the token's anchor saw record %llu: an "
			    "older copy was put back, or its end was lost",
			    (unsigned long long)j->seq, (unsigned long long)mark->seq);
		else if (!o->mark_found && mark->seq >= o->first_seq)
			journal_set_closed(j, JOURNAL_BEHIND,
			    "its record %llu is not the one that the token's anchor saw",
			    (unsigned long long)mark->seq);
		return;
	}
}

static void
check_time(struct opening *o)
{
	struct journal *j = o->j;
	int64_t ahead = j->time - o->o->now.wall_s;

	if (ahead > JOURNAL_BEHIND_MAX_S)
		journal_set_closed(j, JOURNAL_AHEAD,
		    "its last record is %lld s in the future of the clock: set the clock right, "
		    "then it "
		    "opens by itself",
		    (long long)ahead);
}

/* ---- beginning, going on */

bool
journal_random(void *p, size_t len, struct error *e)
{
	if (getrandom(p, len, 0) == (ssize_t)len)
		return true;
	return error_set_errno(e, ERROR_SYSTEM, "no random octets for the journal");
}

bool
journal_begin(struct journal *j, int64_t time, struct error *e)
{
	int fd;

	if (!journal_random(j->id, sizeof j->id, e) || !journal_new_challenge(j, time, e) ||
	    !segment_prepare(j->dir_fd, j->segment_size, &fd, e))
		return false;
	j->segment = 0;
	j->seq = j->durable = 0;
	memset(j->buffer, 0, JOURNAL_HASH_LEN);
	return journal_begin_segment(j, fd, time, e);
}

static bool
no_journal(struct opening *o, struct error *e)
{
	const struct journal_options *opt = o->o;

	if (opt->anchor == JOURNAL_ANCHOR_MARK || opt->anchor == JOURNAL_ANCHOR_DAMAGED)
		journal_set_closed(o->j, JOURNAL_MISSING,
		    "there is none, and the token has the anchor of one: it was lost");
	else if (opt->has_keys)
		journal_set_closed(o->j, JOURNAL_MISSING,
		    "there is none, and this signer has used keys: it was lost");
	else
		return journal_begin(o->j, opt->now.wall_s, e);
	return true;
}

static bool
note_start(struct opening *o, struct error *e)
{
	struct journal *j = o->j;
	char note[128] = "";

	if (o->torn > 0) {
		(void)snprintf(note, sizeof note,
		    "the last run ended while it wrote; %zu octets behind record %llu were dropped",
		    o->torn, (unsigned long long)j->seq);
		log_warning(j->token, "the journal: %s", note);
	}
	if (!journal_make_room(j, JOURNAL_USE_MAX, o->o->now, e))
		return false;
	wire_put_string(journal_payload(j), CHANCERY_VERSION);
	wire_put_string(&j->payload, note);
	return journal_append_payload(j, JOURNAL_START, o->o->now.wall_s, NULL, e) &&
	       journal_sync_locked(j, e);
}

/*
 * Behind a torn end nobody knows for sure what stood there. It was never
 * released, if the disk kept its word; if it did not, no serial of that time is
 * taken again.
 */
static void
forget_torn(struct opening *o)
{
	struct journal_floors *f = &o->j->state.floors;

	if (o->torn > 0 && f->serial_floor < o->o->now.wall_s)
		f->serial_floor = o->o->now.wall_s;
}

static bool
load(struct opening *o, struct error *e)
{
	struct journal *j = o->j;
	struct error why = ERROR_INIT;

	if (!segment_list(j->dir_fd, &o->numbers, &o->count, e))
		return false;
	(void)unlinkat(j->dir_fd, SEGMENT_NEXT, 0);
	if (o->count == 0 && !no_journal(o, e))
		return false;
	if (o->count > 0 && !read_back(o, &why) && error_is_set(&why))
		return error_set(e, why.code, "%s", why.text);
	if (o->count > 0 && j->closed == JOURNAL_OPEN) {
		check_anchor(o);
		check_time(o);
		forget_torn(o);
	}
	if (j->closed == JOURNAL_OPEN)
		return note_start(o, e);
	return j->closed == JOURNAL_AHEAD || journal_closed_challenge(j, o->o, e);
}

static struct journal *
new_journal(const struct journal_options *options, struct error *e)
{
	struct journal *j = calloc(1, sizeof *j);

	if (j == NULL) {
		(void)error_set(e, ERROR_SYSTEM, "no memory for the journal");
		return NULL;
	}
	j->dir_fd = j->fd = j->next_fd = -1;
	(void)pthread_mutex_init(&j->lock, NULL);
	(void)pthread_cond_init(&j->synced, NULL);
	(void)snprintf(j->token, sizeof j->token, "%s", options->token);
	j->signer_id = options->signer_id;
	j->start = options->now;
	(void)snprintf(j->state_dir, sizeof j->state_dir, "%s", options->state_dir);
	j->has_mark = options->anchor == JOURNAL_ANCHOR_MARK;
	j->mark = options->mark;
	j->segment_size = options->segment_size > 0 ? options->segment_size : JOURNAL_SEGMENT_SIZE;
	j->serials_max = options->serials_max > 0 ? options->serials_max : JOURNAL_SERIALS_MAX;
	j->decisions_max = options->decisions_max > 0 ? options->decisions_max
						      : JOURNAL_DECISIONS_MAX;
	wire_writer_init(&j->payload, JOURNAL_PAYLOAD_MAX);
	j->buffer = calloc(1, JOURNAL_BUFFER_MAX);
	if (j->buffer == NULL)
		(void)error_set(e, ERROR_SYSTEM, "no memory for the journal");
	else if (state_init(&j->state, j->serials_max, j->decisions_max, e))
		return j;
	journal_free(j);
	return NULL;
}

bool
journal_open(const struct journal_options *options, struct journal **journal, struct error *e)
{
	struct opening o = {.o = options};
	bool ok = false;

	*journal = NULL;
	o.j = new_journal(options, e);
	if (o.j == NULL)
		return false;
	(void)pthread_mutex_lock(&o.j->lock);
	ok = journal_lock_dir(o.j, e) && load(&o, e);
	(void)pthread_mutex_unlock(&o.j->lock);
	free(o.numbers);
	if (ok)
		*journal = o.j;
	else
		journal_free(o.j);
	return ok;
}

void
journal_free(struct journal *j)
{
	if (j == NULL)
		return;
	if (j->fd >= 0)
		(void)close(j->fd);
	if (j->next_fd >= 0)
		(void)close(j->next_fd);
	if (j->dir_fd >= 0)
		(void)close(j->dir_fd);
	state_clear(&j->state);
	wire_writer_free(&j->payload);
	free(j->buffer);
	(void)pthread_cond_destroy(&j->synced);
	(void)pthread_mutex_destroy(&j->lock);
	free(j);
}
