/*
 * The typed calls of the queue on a real, migrated database in which CA "demo"
 * has exactly three submitted requests under an automatic template
 * (tests/e2e/test_db.py). CHANCERY_TEST_QUEUE names it, as the issuer.
 */

#include "tests/unit/db_server.h"

#include "db/request.h"

#define COUNT 3

static struct db *db;
static struct seen connection;

/* The last answer. */
static struct {
	int answers;
	struct request_batch *batch;
	struct request_checked checked[REQUEST_BATCH_MAX];
	int64_t ids[REQUEST_BATCH_MAX];
	size_t count;
	int64_t number;
	struct error err;
} got;

static void
note(const struct error *err)
{
	got.answers++;
	got.err = err != NULL ? *err : ERROR_INIT;
}

static void
on_claim(struct request_batch *batch, const struct error *err, void *arg)
{
	request_batch_free(got.batch);
	got.batch = batch;
	note(err);
}

static void
on_checked(const struct request_checked *checked, size_t count, const struct error *err, void *arg)
{
	memcpy(got.checked, checked, count * sizeof *checked);
	got.count = count;
	note(err);
}

static void
on_ids(const int64_t *ids, size_t count, const struct error *err, void *arg)
{
	memcpy(got.ids, ids, count * sizeof *ids);
	got.count = count;
	note(err);
}

static void
on_count(int64_t count, const struct error *err, void *arg)
{
	got.number = count;
	note(err);
}

/* Waits for the answer to what was just sent. */
static void
answered(struct db_pending *pending)
{
	assert_non_null(pending);
	wait_for(&got.answers, got.answers + 1);
	assert_false(error_is_set(&got.err));
}

static const struct request_source demo = {.ca_id = 1, .signs = true};

static void
claim(size_t expected)
{
	struct error err = ERROR_INIT;

	answered(request_claim(db, &demo, 1, REQUEST_BATCH_MAX, 60, 0, on_claim, NULL, &err));
	assert_int_equal(got.batch->count, expected);
}

static struct request_intent
intent_of(uint8_t n)
{
	static uint8_t tbs[COUNT][200];
	struct request_intent intent = {.issuer_name_id = 1, .generation_id = 1, .scope_id = 1};

	memset(tbs[n], n, sizeof tbs[n]);
	memset(intent.serial, n + 1, sizeof intent.serial);
	intent.tbs = (struct bytes){tbs[n], sizeof tbs[n]};
	return intent;
}

static struct request_certificate
certificate_of(struct request_key key, const struct request_intent *intent, uint8_t *buf)
{
	static const char *const names[] = {"dns:a.example", "dns:b.example"};
	size_t len = intent->tbs.len + 100;

	memset(buf, 0x55, 4 + len);
	buf[0] = 0x30;
	buf[1] = 0x82;
	buf[2] = (uint8_t)(len >> 8);
	buf[3] = (uint8_t)len;
	memcpy(buf + 4, intent->tbs.p, intent->tbs.len);
	return (struct request_certificate){.key = key,
	    .subject = "CN=a.example",
	    .names = names,
	    .names_count = 2,
	    .not_before = 1800000000,
	    .not_after = 1830000000,
	    .key_type = "p256",
	    .spki_sha256 = {buf, 32},
	    .der = {buf, 4 + len}};
}

static void
check_all(struct request_key keys[COUNT])
{
	static const uint8_t digest[32] = {1};
	static const char *const names[] = {"dns:a.example", "ip:192.0.2.1"};
	static const char *const bad[] = {"dns:a\nb"};
	struct request_check checks[COUNT] = {0};
	struct error err = ERROR_INIT;

	for (size_t i = 0; i < COUNT; i++) {
		const struct request_claim *c = &got.batch->claims[i];

		assert_int_equal(c->key.epoch, 1);
		assert_int_equal(strlen(c->public_id), 36);
		assert_true(c->automatic && !c->cleared && !c->has_intent);
		assert_true(c->due_us > 1700000000000000);
		assert_int_equal(c->csr.len, 2);
		assert_string_equal(c->attributes, "{}");
		keys[i] = c->key;
		checks[i] = (struct request_check){.key = c->key,
		    .outcome = i == 2 ? REQUEST_REJECTED : REQUEST_PASSED,
		    .reason = i == 2 ? "RFC 2986 3: wrong" : NULL,
		    .subject = i == 2 ? NULL : "CN=a.example",
		    .names = names,
		    .names_count = i == 1 ? 0 : 2,
		    .key_type = "p256",
		    .spki_sha256 = {digest, 32},
		    .csr_sha256 = {digest, 32}};
	}
	checks[0].names = bad;
	checks[0].names_count = 1;
	assert_null(request_finish_checks(db, checks, COUNT, on_checked, NULL, &err));
	assert_int_equal(err.code, ERROR_INPUT);
	checks[0].names = names;
	error_clear(&err);
	answered(request_finish_checks(db, checks, COUNT, on_checked, NULL, &err));
	assert_int_equal(got.count, COUNT);
	for (size_t i = 0; i < COUNT; i++)
		assert_int_equal(got.checked[i].next,
		    got.checked[i].id == keys[2].id ? REQUEST_NEXT_NONE : REQUEST_NEXT_SIGN);
}

static void
queue(void **state)
{
	struct request_source away = demo;
	struct request_key keys[COUNT];
	struct request_check failed = {
	    .outcome = REQUEST_FAILED, .reason = "the key was destroyed"};
	struct request_intent intents[COUNT] = {intent_of(0), intent_of(1), intent_of(2)};
	struct request_certificate certificate;
	struct error err = ERROR_INIT;
	uint8_t der[400];

	claim(COUNT);
	check_all(keys);
	answered(request_extend(db, keys, 2, 60, on_ids, NULL, &err));
	assert_int_equal(got.count, 2);
	answered(request_begin_signing(db, keys, intents, COUNT, on_ids, NULL, &err));
	assert_int_equal(got.count, 2); /* not the rejected one */
	certificate = certificate_of(keys[0], &intents[1], der);
	answered(request_complete(db, &certificate, 1, on_ids, NULL, &err));
	assert_int_equal(got.count, 0); /* the other one's bytes */
	certificate = certificate_of(keys[0], &intents[0], der);
	for (int i = 0; i < 2; i++) { /* may be repeated */
		answered(request_complete(db, &certificate, 1, on_ids, NULL, &err));
		assert_int_equal(got.count, 1);
		assert_int_equal(got.ids[0], keys[0].id);
	}

	/* The second is put back while signing, and comes again with its intent; not to
	 * who cannot sign for the CA, nor to who looks further back in the queue. */
	answered(request_release(db, &keys[1], 1, 0, "waits for token main", on_ids, NULL, &err));
	assert_int_equal(got.count, 1);
	answered(request_release(db, &keys[1], 1, 0, NULL, on_ids, NULL, &err));
	assert_int_equal(got.count, 0);
	away.signs = false;
	answered(request_claim(db, &away, 1, REQUEST_BATCH_MAX, 60, 0, on_claim, NULL, &err));
	assert_int_equal(got.batch->count, 0);
	away = (struct request_source){.ca_id = 1, .since_us = 4000000000000000, .signs = true};
	answered(request_claim(db, &away, 1, REQUEST_BATCH_MAX, 60, 0, on_claim, NULL, &err));
	assert_int_equal(got.batch->count, 0);
	answered(request_claim(db, NULL, 0, REQUEST_BATCH_MAX, 60, 0, on_claim, NULL, &err));
	assert_int_equal(got.batch->count, 0);
	claim(1);
	keys[1] = got.batch->claims[0].key;
	assert_int_equal(keys[1].epoch, 2);
	assert_true(got.batch->claims[0].has_intent && got.batch->claims[0].cleared);
	assert_memory_equal(got.batch->claims[0].intent.serial, intents[1].serial, SERIAL_LEN);
	assert_memory_equal(got.batch->claims[0].intent.tbs.p, intents[1].tbs.p, 200);
	answered(request_begin_signing(db, &keys[1], &intents[2], 1, on_ids, NULL, &err));
	assert_int_equal(got.count, 0);
	answered(request_abandon_intents(db, &keys[1], 1, on_ids, NULL, &err));
	assert_int_equal(got.count, 1);
	answered(request_begin_signing(db, &keys[1], &intents[2], 1, on_ids, NULL, &err));
	assert_int_equal(got.count, 1);
	failed.key = keys[1];
	answered(request_finish_checks(db, &failed, 1, on_checked, NULL, &err));
	assert_int_equal(got.count, 1);
	assert_int_equal(got.checked[0].next, REQUEST_NEXT_NONE);
	answered(request_sweep(db, on_count, NULL, &err));
	assert_int_equal(got.number, 0);
	answered(request_expire(db, 3600, on_count, NULL, &err));
	assert_int_equal(got.number, 0);
	claim(0);
	assert_null(
	    request_claim(db, &demo, 1, REQUEST_BATCH_MAX + 1, 60, 0, on_claim, NULL, &err));
	assert_int_equal(err.code, ERROR_INTERNAL);
}

static int
start(void **state)
{
	static const struct db_options options = {.check_schema = true};

	if (need_server(state) != 0)
		return 1;
	db = open_as(&connection, &options);
	return 0;
}

static int
finish(void **state)
{
	request_batch_free(got.batch);
	db_close(db);
	return end_server(state);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(queue, start, finish),
	};

	log_init("test", LOG_LEVEL_ERROR);
	conninfo = getenv("CHANCERY_TEST_QUEUE");
	if (conninfo == NULL) {
		printf("skipped: CHANCERY_TEST_QUEUE names no database\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
