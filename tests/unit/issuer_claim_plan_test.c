/* Which CAs an issuer asks for, and from when on, with signers that come and go. */

#include "tests/unit/x509_util.h"

#include <sys/socket.h>
#include <unistd.h>

#include <event2/event.h>

#include "daemon/issuer/claim_plan.h"

#define CAS_MAX 300
#define SECOND 1000000LL
#define T0 (1800000000 * SECOND)
#define LIMIT 10

static char here[] = "here", away[] = "away";
static struct config_token tokens[] = {{.name = here}, {.name = away}};
static const struct config config = {.tokens = tokens, .token_count = 2};

static struct event_base *base;
static struct signer_client *signers;
static struct token_access *token_people;
static struct claim_plan *plan, *other; /* for the first token, and for the second */
static int signer_end;
static struct issuing_ca cas[CAS_MAX], *list[CAS_MAX];
static struct request_source sources[REQUEST_SOURCES_MAX];

static void
on_signer(const char *token, void *arg)
{
}

static const struct signer_client_callbacks callbacks = {
    .attached = on_signer, .up = on_signer, .writable = on_signer};

static void
attach(const char *token)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	signer_client_attach(signers, token, ends[0]);
	signer_client_release(signers, token);
	if (signer_end >= 0)
		(void)close(signer_end);
	signer_end = ends[1];
}

/* CA number i, in operation. */
static void
set_ca(size_t i, const char *token)
{
	static int context;

	cas[i] = (struct issuing_ca){.row.ca_id = (int64_t)i + 1};
	(void)snprintf(cas[i].row.token, sizeof cas[i].row.token, "%s", token);
	cas[i].context = (struct ca_context *)&context;
	list[i] = &cas[i];
}

static int
set_up(void **state)
{
	struct error e = ERROR_INIT;

	base = event_base_new();
	signer_end = -1;
	signers = signer_client_new(base, &callbacks, NULL, &e);
	token_people = token_access_new(&config, &e);
	plan = claim_plan_new(&config, 0, signers, token_people, &e);
	other = claim_plan_new(&config, 1, signers, token_people, &e);
	attach("here");
	return base == NULL || signers == NULL || token_people == NULL || plan == NULL ||
	       other == NULL;
}

static int
tear_down(void **state)
{
	claim_plan_free(plan);
	claim_plan_free(other);
	token_access_free(token_people);
	signer_client_free(signers);
	(void)close(signer_end);
	event_base_free(base);
	return 0;
}

/* Tells the plan of a claim that found these. */
static void
note(bool full, size_t n, const int64_t ca_ids[], const int64_t due_us[])
{
	struct request_claim claims[LIMIT] = {0};
	struct request_batch batch = {.count = n, .claims = claims};

	for (size_t i = 0; i < n; i++) {
		claims[i].ca_id = ca_ids[i];
		claims[i].due_us = due_us[i];
	}
	claim_plan_note(plan, full, &batch, LIMIT);
}

static const struct request_source *
source_of(int64_t ca_id, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (sources[i].ca_id == ca_id)
			return &sources[i];
	}
	return NULL;
}

/* How far back a look that is not full goes. */
static int64_t
since(int64_t ca_id, size_t count)
{
	const struct request_source *s = source_of(
	    ca_id, claim_plan_make(plan, list, count, false, sources));

	assert_non_null(s);
	return s->since_us;
}

static void
test_tokens(void **state)
{
	set_ca(0, "here");
	set_ca(1, "away");	/* configured, its signer is not running */
	set_ca(2, "elsewhere"); /* another host's */
	set_ca(3, "elsewhere");
	cas[3].context = NULL; /* not in operation: its requests are refused by anybody */

	assert_int_equal(claim_plan_make(plan, list, 4, false, sources), 2);
	assert_true(source_of(1, 2)->signs && source_of(4, 2)->signs);
	assert_int_equal(claim_plan_make(plan, list, 4, true, sources), 2);
	assert_int_equal(claim_plan_make(other, list, 4, false, sources), 0);
	assert_int_equal(claim_plan_make(other, list, 4, true, sources), 1);
	assert_int_equal(sources[0].ca_id, 2);
	assert_false(sources[0].signs);
	attach("away");
	assert_int_equal(claim_plan_make(other, list, 4, false, sources), 1);
	assert_true(sources[0].ca_id == 2 && sources[0].signs);
	assert_int_equal(claim_plan_make(plan, list, 4, false, sources), 2);
	assert_int_equal(claim_plan_make(plan, NULL, 0, true, sources), 0);
}

/* A token that an operator has to unlock: what needs no signature goes on. */
static void
test_locked(void **state)
{
	struct signproto_status_ok status = {
	    .access = SIGNPROTO_ACCESS_SESSION, .state = SIGNPROTO_LOCKED};

	set_ca(0, "here");
	assert_false(token_access_note(token_people, "here", &status));
	assert_int_equal(claim_plan_make(plan, list, 1, false, sources), 0);
	assert_int_equal(claim_plan_make(plan, list, 1, true, sources), 1);
	assert_false(sources[0].signs);
	status.state = SIGNPROTO_READY;
	assert_true(token_access_note(token_people, "here", &status));
	assert_int_equal(claim_plan_make(plan, list, 1, false, sources), 1);
	/* By operation: it is built, and waits where people see it. */
	status.access = SIGNPROTO_ACCESS_OPERATION;
	status.state = SIGNPROTO_LOCKED;
	assert_false(token_access_note(token_people, "here", &status));
	assert_int_equal(claim_plan_make(plan, list, 1, false, sources), 1);
	assert_true(sources[0].signs);
}

static void
test_marks(void **state)
{
	set_ca(0, "here");
	set_ca(1, "here");
	assert_int_equal(since(1, 2), 0);
	/* Rows come in no particular order. A batch that is not full: no CA had more. */
	note(false, 3, (int64_t[]){1, 1, 1}, (int64_t[]){T0 + 5, T0 + 9, T0 + 7});
	assert_int_equal(since(1, 2), T0 + 9 - SECOND);
	assert_int_equal(since(2, 2), 0); /* never seen */
	note(false, 1, (int64_t[]){2}, (int64_t[]){T0 + 20 * SECOND});
	assert_int_equal(since(1, 2), T0 + 19 * SECOND);
	assert_int_equal(since(2, 2), T0 + 19 * SECOND);
	/* A full one: only as far as it went. */
	note(false, LIMIT, (int64_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
	    (int64_t[]){T0, T0, T0, T0, T0, T0, T0, T0, T0, T0 + 30 * SECOND});
	assert_int_equal(since(1, 2), T0 + 29 * SECOND);
	assert_int_equal(since(2, 2), T0 + 19 * SECOND);
	/* Nothing found, nothing learnt. */
	note(false, 0, NULL, NULL);
	assert_int_equal(since(1, 2), T0 + 29 * SECOND);
}

static void
test_full_looks(void **state)
{
	size_t n;

	set_ca(0, "here");
	set_ca(1, "here");
	note(false, 2, (int64_t[]){1, 2}, (int64_t[]){T0 + 50 * SECOND, T0 + 50 * SECOND});
	n = claim_plan_make(plan, list, 2, true, sources);
	assert_int_equal(n, 2);
	assert_int_equal(sources[0].since_us, 0);
	assert_int_equal(sources[1].since_us, 0);
	/* It found nothing newer: the clock was set back, and the next looks begin there. */
	note(true, 1, (int64_t[]){1}, (int64_t[]){T0 + 2 * SECOND});
	assert_int_equal(since(1, 2), T0 + 1 * SECOND);
	assert_int_equal(since(2, 2), T0 + 49 * SECOND);
}

static void
test_turns(void **state)
{
	bool seen[CAS_MAX] = {false};

	for (size_t i = 0; i < CAS_MAX; i++)
		set_ca(i, "here");
	/* Each call begins with the next CA, so that all of very many have their turn. */
	for (size_t call = 0; call < CAS_MAX; call++) {
		assert_int_equal(
		    claim_plan_make(plan, list, CAS_MAX, false, sources), REQUEST_SOURCES_MAX);
		assert_int_equal(sources[0].ca_id, call + 1);
		for (size_t i = 0; i < REQUEST_SOURCES_MAX; i++)
			seen[sources[i].ca_id - 1] = true;
	}
	for (size_t i = 0; i < CAS_MAX; i++)
		assert_true(seen[i]);
	/* More CAs than marks: the rest is always looked at from the beginning. */
	for (int64_t id = 1; id <= CAS_MAX; id++)
		note(false, 1, &id, (int64_t[]){T0});
	claim_plan_make(plan, list, CAS_MAX, false, sources);
	assert_int_equal(source_of(1, REQUEST_SOURCES_MAX)->since_us, T0 - SECOND);
	for (size_t i = 0; i < REQUEST_SOURCES_MAX; i++) {
		if (sources[i].ca_id > REQUEST_SOURCES_MAX)
			assert_int_equal(sources[i].since_us, 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_tokens, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_locked, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_marks, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_full_looks, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_turns, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
