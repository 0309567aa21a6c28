/* The end of a batch: each item's outcome goes to the database. */

#include "daemon/issuer/issue_int.h"

#include <stdlib.h>

#include <event2/event.h>

#include "daemon/core/log.h"

#define RETRY_MS 500
/* What nobody entered a PIN for so long is built anew, so that what is shown to people
 * before they enter it is of that day. */
#define PIN_WAIT_S 86400

static void
on_closed(const int64_t *ids, size_t count, const struct error *err, void *arg)
{
	struct batch *b = arg;

	if (err != NULL)
		log_failure(LOG_LEVEL_WARNING, "-", err);
	batch_let_go(b);
}

static void close_waiting(struct issuance *s);

static void
on_completed(const int64_t *ids, size_t count, const struct error *err, void *arg)
{
	struct batch *b = arg;
	struct issuance *s = b->s;

	s->completing = false;
	on_closed(ids, count, err, b);
	close_waiting(s);
}

static bool
complete_signed(struct batch *b, struct error *e)
{
	struct request_certificate *done = batch_array(b, sizeof *done);
	struct db_pending *p = NULL;
	size_t n = 0;

	if (done == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a batch of certificates");
	for (size_t i = 0; i < b->count; i++) {
		struct issue_item *item = &b->items[i];

		if (item->step != ITEM_SIGNED)
			continue;
		done[n++] = (struct request_certificate){
		    .key = item->claim->key,
		    .subject = item->listed.subject,
		    .names = (const char *const *)item->listed.names,
		    .names_count = item->listed.count,
		    .key_type = item->key_type,
		    .not_before = item->not_before,
		    .not_after = item->not_after,
		    .spki_sha256 = {item->spki_sha256, sizeof item->spki_sha256},
		    .der = {item->der, item->der_len},
		};
	}
	if (n > 0) {
		p = request_complete(b->s->env.db, done, n, on_completed, b, e);
		b->holds += p != NULL;
		b->s->completing = p != NULL;
	}
	free(done);
	return n == 0 || p != NULL;
}

/* Gives back what could not be signed now; reason is the first one's. */
static bool
release_later(struct batch *b, struct error *e)
{
	struct request_key *keys = batch_array(b, sizeof *keys);
	const char *reason = NULL;
	struct db_pending *p = NULL;
	size_t n = 0;

	if (keys == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a batch of requests");
	for (size_t i = 0; i < b->count; i++) {
		if (b->items[i].step != ITEM_LATER)
			continue;
		if (reason == NULL)
			reason = b->items[i].failure.text;
		keys[n++] = b->items[i].claim->key;
	}
	if (n > 0) {
		log_warning("-", "%zu requests wait: %s", n, reason);
		p = request_release(b->s->env.db, keys, n, RETRY_MS, reason, on_closed, b, e);
		b->holds += p != NULL;
	}
	free(keys);
	return n == 0 || p != NULL;
}

/* What waits for a person from here on. */
static bool
await_pins(struct batch *b, struct error *e)
{
	struct request_key *keys = batch_array(b, sizeof *keys);
	const char **said = batch_array(b, sizeof *said);
	struct db_pending *p = NULL;
	size_t n = 0;
	bool ok = false;

	if (keys == NULL || said == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating a batch of requests");
		goto out;
	}
	for (size_t i = 0; i < b->count; i++) {
		const struct error *why = &b->items[i].failure;

		if (b->items[i].step != ITEM_PIN)
			continue;
		said[n] = error_is_set(why) ? why->text : NULL;
		keys[n++] = b->items[i].claim->key;
	}
	if (n > 0) {
		p = request_await_pins(b->s->env.db, keys, said, n,
		    b->s->env.config->issuer.signer_id, PIN_WAIT_S, on_closed, b, e);
		b->holds += p != NULL;
	}
	ok = n == 0 || p != NULL;
out:
	free(keys);
	free((void *)said);
	return ok;
}

void
batch_on_told(
    const struct request_checked *checked, size_t count, const struct error *err, void *arg)
{
	on_closed(NULL, 0, err, arg);
}

void
item_fill_check(const struct issue_item *item, struct request_check *c)
{
	*c = (struct request_check){.key = item->claim->key};
	if (item->step == ITEM_REFUSED) {
		/* A CA that is out of operation is no fault of the request. */
		c->outcome = item->failure.code == ERROR_INPUT || item->failure.code == ERROR_LIMIT
				 ? REQUEST_REJECTED
				 : REQUEST_FAILED;
		c->reason = item->failure.text;
	}
	if (item->listed.subject == NULL)
		return;
	c->subject = item->listed.subject;
	c->names = (const char *const *)item->listed.names;
	c->names_count = item->listed.count;
	c->key_type = item->key_type;
	c->spki_sha256 = (struct bytes){item->spki_sha256, sizeof item->spki_sha256};
	c->csr_sha256 = (struct bytes){item->csr_sha256, sizeof item->csr_sha256};
}

/* What was being signed, and cannot be. */
static bool
fail_refused(struct batch *b, struct error *e)
{
	struct request_check *checks = batch_array(b, sizeof *checks);
	struct db_pending *p = NULL;
	size_t n = 0;

	if (checks == NULL)
		return error_set_errno(e, ERROR_SYSTEM, "allocating a batch of requests");
	for (size_t i = 0; i < b->count; i++) {
		if (b->items[i].step != ITEM_REFUSED)
			continue;
		log_failure(LOG_LEVEL_WARNING, b->items[i].claim->public_id, &b->items[i].failure);
		item_fill_check(&b->items[i], &checks[n]);
		checks[n++].outcome = REQUEST_FAILED;
	}
	if (n > 0) {
		p = request_finish_checks(b->s->env.db, checks, n, batch_on_told, b, e);
		b->holds += p != NULL;
	}
	free(checks);
	return n == 0 || p != NULL;
}

/* Serials that the signer does not take: the database says how long each request waits. */
static bool
void_serials(struct batch *b, struct error *e)
{
	struct request_key *keys = batch_array(b, sizeof *keys);
	const char **reasons = batch_array(b, sizeof *reasons);
	struct db_pending *p = NULL;
	size_t n = 0;
	bool ok = false;

	if (keys == NULL || reasons == NULL) {
		error_set_errno(e, ERROR_SYSTEM, "allocating a batch of requests");
		goto out;
	}
	for (size_t i = 0; i < b->count; i++) {
		if (b->items[i].step != ITEM_VOID)
			continue;
		reasons[n] = b->items[i].failure.text;
		keys[n++] = b->items[i].claim->key;
	}
	if (n > 0) {
		log_warning("-", "%zu requests need new serials: %s", n, reasons[0]);
		p = request_refuse_intents(b->s->env.db, keys, reasons, n, on_closed, b, e);
		b->holds += p != NULL;
	}
	ok = n == 0 || p != NULL;
out:
	free(keys);
	free((void *)reasons);
	return ok;
}

static void
on_abandoned(const int64_t *ids, size_t count, const struct error *err, void *arg)
{
	if (err != NULL)
		log_failure(LOG_LEVEL_WARNING, "-", err);
}

/* Intents that are not to be signed any more; their requests are released with
 * all that wait, after this. */
bool
batch_abandon_stale(struct batch *b, struct error *e)
{
	struct request_key keys[REQUEST_BATCH_MAX];
	size_t n = 0;

	for (size_t i = 0; i < b->count; i++) {
		if (b->items[i].stale)
			keys[n++] = b->items[i].claim->key;
		b->items[i].stale = false;
	}
	return n == 0 ||
	       request_abandon_intents(b->s->env.db, keys, n, on_abandoned, NULL, e) != NULL;
}

/* Each kind of outcome in one transaction. */
static void
close_now(struct batch *b)
{
	struct error e = ERROR_INIT;

	if (!complete_signed(b, &e) || !batch_abandon_stale(b, &e) || !release_later(b, &e) ||
	    !void_serials(b, &e) || !await_pins(b, &e) || !fail_refused(b, &e))
		log_failure(LOG_LEVEL_WARNING, "-", &e);
	batch_let_go(b);
}

static void
close_waiting(struct issuance *s)
{
	struct batch *b;

	while (!s->completing && (b = STAILQ_FIRST(&s->closing)) != NULL) {
		STAILQ_REMOVE_HEAD(&s->closing, next);
		close_now(b);
	}
}

/* Every item has its outcome: tell the database. */
void
batch_close(struct batch *b)
{
	event_del(b->deadline);
	STAILQ_INSERT_TAIL(&b->s->closing, b, next);
	close_waiting(b->s);
}
