#include "daemon/publish/look.h"

#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "daemon/core/log.h"
#include "daemon/core/monotonic.h"
#include "daemon/publish/attempt.h"
#include "daemon/publish/look_place.h"
#include "daemon/publish/outbox.h"
#include "db/look.h"

struct look {
	struct look_desk *desk;
	struct attempt *attempt;
	int64_t id;
	TAILQ_ENTRY(look) link;
};

struct look_desk {
	struct db *db;
	const struct outbox *outbox;
	unsigned signer_id;
	bool asking, poked, drained;
	bool resume; /* with the next claim: what an earlier life or connection took */
	unsigned count;
	TAILQ_HEAD(look_list, look) looks;
};

static void
look_end(struct look *l)
{
	TAILQ_REMOVE(&l->desk->looks, l, link);
	l->desk->count--;
	attempt_free(l->attempt);
	free(l);
}

static void
report(struct look_desk *d, const struct db_look_end *end)
{
	struct error err = ERROR_INIT;

	if (!db_look_report(d->db, end, &err))
		log_failure(LOG_LEVEL_DEBUG, "look", &err);
}

/* What the courier kept; NULL when it is not there as a whole. */
static uint8_t *
read_found(const struct attempt *a, uint64_t size)
{
	uint8_t *p = size > 0 && size <= LOOK_KEPT_MAX ? malloc(size) : NULL;

	if (p != NULL && pread(attempt_found(a), p, size, 0) == (ssize_t)size)
		return p;
	free(p);
	return NULL;
}

static void
on_end(struct attempt *a, const struct publish_result *result, void *arg)
{
	struct look *l = arg;
	struct look_desk *d = l->desk;
	struct db_look_end end = {.id = l->id};
	uint8_t *found = NULL;

	if (result->outcome == PUBLISH_FAILED) {
		end.error = result->error.text;
	} else {
		found = read_found(a, result->read_size);
		end.size = result->read_size;
		end.sha256 = result->read_sha256;
		if (found != NULL)
			end.content = (struct bytes){found, result->read_size};
	}
	report(d, &end);
	free(found);
	look_end(l);
	look_desk_poke(d);
}

static void
start(struct look_desk *d, const struct db_look *row)
{
	struct look *l = calloc(1, sizeof *l);
	struct attempt_settings settings;
	struct error err = ERROR_INIT;
	enum artifact_kind kind;

	outbox_settings(d->outbox, &settings);
	if (l == NULL)
		error_set_errno(&err, ERROR_SYSTEM, "memory for a look");
	else if (!artifact_kind_parse(row->artifact, &kind) ||
		 (row->wanted.len != 0 && row->wanted.len != PUBLISH_SHA256_LEN))
		error_set(&err, ERROR_INPUT, "look %lld makes no sense", (long long)row->id);
	else if (look_place_check(row, &err))
		l->attempt = attempt_look(&settings, row->url, kind,
		    row->wanted.len > 0 ? row->wanted.p : NULL,
		    monotonic_ms() + (int64_t)LOOK_ATTEMPT_S * 1000, on_end, l, &err);
	if (l == NULL || l->attempt == NULL) {
		report(d, &(struct db_look_end){.id = row->id, .error = err.text});
		free(l);
		return;
	}
	l->desk = d;
	l->id = row->id;
	TAILQ_INSERT_TAIL(&d->looks, l, link);
	d->count++;
}

static bool
is_under_way(const struct look_desk *d, int64_t id)
{
	const struct look *l;

	TAILQ_FOREACH(l, &d->looks, link)
	if (l->id == id)
		return true;
	return false;
}

static void
on_claimed(const struct db_look *rows, size_t count, const struct error *err, void *arg)
{
	struct look_desk *d = arg;

	d->asking = false;
	if (d->drained)
		return;
	if (err != NULL && !error_is_retryable(err))
		log_failure(LOG_LEVEL_ERROR, "look", err);
	if (err != NULL)
		d->resume = true; /* it may have been the one that was to resume */
	for (size_t i = 0; i < count; i++)
		if (!is_under_way(d, rows[i].id))
			start(d, &rows[i]);
	if (d->poked)
		look_desk_poke(d);
}

void
look_desk_poke(struct look_desk *d)
{
	struct error ignored = ERROR_INIT;

	if (d->drained || !db_is_up(d->db))
		return;
	if (d->asking || d->count >= LOOK_COURIERS_MAX) {
		d->poked = true;
		return;
	}
	d->poked = false;
	d->asking = db_look_claim(
	    d->db, d->signer_id, LOOK_COURIERS_MAX - d->count, d->resume, on_claimed, d, &ignored);
	if (d->asking)
		d->resume = false;
}

void
look_desk_resume(struct look_desk *d)
{
	d->resume = true;
	look_desk_poke(d);
}

struct look_desk *
look_desk_new(struct db *db, const struct outbox *outbox, unsigned signer_id, struct error *err)
{
	struct look_desk *d = calloc(1, sizeof *d);

	if (d == NULL) {
		error_set_errno(err, ERROR_SYSTEM, "memory for looks");
		return NULL;
	}
	d->db = db;
	d->outbox = outbox;
	d->signer_id = signer_id;
	TAILQ_INIT(&d->looks);
	return d;
}

void
look_desk_drain(struct look_desk *d)
{
	d->drained = true;
	while (!TAILQ_EMPTY(&d->looks))
		/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): TAILQ_REMOVE is not seen */
		look_end(TAILQ_FIRST(&d->looks));
}

void
look_desk_free(struct look_desk *d)
{
	free(d);
}
