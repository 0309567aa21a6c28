/*
 * The queue alone: requests that wait in the database are claimed, get serials
 * and to-be-signed bytes, and are completed, all by the calls that the issuer
 * makes, with nothing checked, built or signed in between.
 *
 *	queue CONNINFO BATCH ISSUER_NAME_ID GENERATION_ID SCOPE_ID CA_ID
 *
 * The requests' templates must be automatic, and no issuer may run. Two batches
 * are in flight, as with the issuer. Works until nothing is left, and prints how
 * many requests that were, and the seconds from the first claim.
 */

#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <event2/event.h>
#include <openssl/rand.h>

#include "daemon/core/log.h"
#include "daemon/x509/cert.h"
#include "db/db.h"
#include "db/request.h"

#define BATCHES 2
#define LEASE_S 60
#define TBS_LEN 700 /* of an ordinary server certificate with an RSA key */
#define SIGNATURE_LEN 256

struct entry {
	struct request_claim claim;
	struct request_intent intent;
	uint8_t tbs[TBS_LEN], der[TBS_LEN + SIGNATURE_LEN + 64];
	struct bytes certificate;
};

struct batch {
	struct request_batch *claimed;
	struct entry *entries; /* room for REQUEST_BATCH_MAX */
	size_t count;
};

static struct event_base *base;
static struct db *db;
static unsigned limit;
static int64_t issuer_name, generation, scope;
static struct request_source source = {.signs = true};
static struct batch batches[BATCHES];
static size_t busy, done;
static bool started, empty;
static double start;

static void claim(struct batch *b);

static void
must(bool ok, const struct error *e)
{
	if (!ok)
		errx(1, "%s", e->text);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void
end_batch(struct batch *b)
{
	request_batch_free(b->claimed);
	b->claimed = NULL;
	if (--busy == 0 && empty)
		event_base_loopbreak(base);
	else if (!empty)
		claim(b);
}

static void
on_completed(const int64_t *ids, size_t count, const struct error *e, void *arg)
{
	struct batch *b = arg;

	must(e == NULL, e);
	if (count != b->count)
		errx(1, "%zu of %zu requests were completed", count, b->count);
	done += count;
	end_batch(b);
}

static void
on_begun(const int64_t *ids, size_t count, const struct error *e, void *arg)
{
	static const char *const names[] = {"dns:host.bench.example"};
	static const uint8_t spki_sha256[32] = {1};
	struct request_certificate *c = calloc(REQUEST_BATCH_MAX, sizeof *c);
	struct error failure = ERROR_INIT;
	struct batch *b = arg;

	must(e == NULL, e);
	if (c == NULL || count != b->count)
		errx(1, "%zu of %zu requests may be signed", count, b->count);
	for (size_t i = 0; i < count; i++)
		c[i] = (struct request_certificate){.key = b->entries[i].claim.key,
		    .subject = "CN=host.bench.example",
		    .names = names,
		    .names_count = 1,
		    .key_type = "rsa2048",
		    .not_before = 1795348800,
		    .not_after = 1803124800,
		    .spki_sha256 = {spki_sha256, sizeof spki_sha256},
		    .der = b->entries[i].certificate};
	must(request_complete(db, c, count, on_completed, b, &failure) != NULL, &failure);
	free(c);
}

/* Serial, bytes to be signed, and the certificate that they will be; of the right
 * size, and otherwise random. */
static void
make(struct entry *x)
{
	static const uint8_t signature[SIGNATURE_LEN] = {1};
	struct error e = ERROR_INIT;
	struct bytes der;

	if (RAND_bytes(x->tbs, sizeof x->tbs) != 1)
		errx(1, "no random bytes");
	memcpy(x->tbs, (uint8_t[]){0x30, 0x82, (TBS_LEN - 4) >> 8, (TBS_LEN - 4) & 0xff}, 4);
	serial_build(x->intent.serial, 1, time(NULL), x->tbs + 4);
	x->intent.tbs = (struct bytes){x->tbs, sizeof x->tbs};
	x->intent.issuer_name_id = issuer_name;
	x->intent.generation_id = generation;
	x->intent.scope_id = scope;
	must(certificate_assemble(x->intent.tbs, SIG_RSA_SHA256,
		 (struct bytes){signature, sizeof signature}, x->der, sizeof x->der, &der, &e),
	    &e);
	x->certificate = der;
}

static void
on_claimed(struct request_batch *claimed, const struct error *e, void *arg)
{
	struct request_key *keys = calloc(REQUEST_BATCH_MAX, sizeof *keys);
	struct request_intent *intents = calloc(REQUEST_BATCH_MAX, sizeof *intents);
	struct error failure = ERROR_INIT;
	struct batch *b = arg;

	must(e == NULL, e);
	if (keys == NULL || intents == NULL)
		err(1, "calloc");
	b->claimed = claimed;
	b->count = claimed->count;
	for (size_t i = 0; i < b->count; i++) {
		struct entry *x = &b->entries[i];

		x->claim = claimed->claims[i];
		make(x);
		intents[i] = x->intent;
		keys[i] = x->claim.key;
	}
	if (b->count == 0) {
		empty = true;
		end_batch(b);
	} else {
		must(request_begin_signing(db, keys, intents, b->count, on_begun, b, &failure) !=
			 NULL,
		    &failure);
	}
	free(keys);
	free(intents);
}

static void
claim(struct batch *b)
{
	struct error e = ERROR_INIT;

	must(request_claim(db, &source, 1, limit, LEASE_S, 0, on_claimed, b, &e) != NULL, &e);
	busy++;
}

static void
on_up(struct db *d, void *arg)
{
	if (started)
		errx(1, "the connection was lost");
	started = true;
	start = now();
	for (size_t i = 0; i < BATCHES; i++)
		claim(&batches[i]);
}

static void
on_down(struct db *d, const struct error *why, void *arg)
{
	errx(1, "%s", why->text);
}

int
main(int argc, char **argv)
{
	static const struct db_callbacks callbacks = {.up = on_up, .down = on_down};
	struct error e = ERROR_INIT;

	if (argc != 7 || (limit = (unsigned)atoi(argv[2])) < 1 || limit > REQUEST_BATCH_MAX)
		errx(2, "usage: queue CONNINFO BATCH ISSUER_NAME_ID GENERATION_ID SCOPE_ID CA_ID");
	log_init("queue", LOG_LEVEL_ERROR);
	issuer_name = atoll(argv[3]);
	generation = atoll(argv[4]);
	scope = atoll(argv[5]);
	source.ca_id = atoll(argv[6]);
	for (size_t i = 0; i < BATCHES; i++) {
		batches[i].entries = calloc(REQUEST_BATCH_MAX, sizeof *batches[i].entries);
		if (batches[i].entries == NULL)
			err(1, "calloc");
	}
	base = event_base_new();
	if (base == NULL)
		errx(1, "no event loop");
	db = db_open(base, argv[1], NULL, &callbacks, NULL, &e);
	must(db != NULL, &e);
	(void)event_base_dispatch(base);
	printf("%zu %.6f\n", done, now() - start);
	db_close(db);
	event_base_free(base);
	for (size_t i = 0; i < BATCHES; i++)
		free(batches[i].entries);
	return 0;
}
