/* What the issuer knows of how people let each token sign. */

#include "tests/unit/x509_util.h"

#include "daemon/issuer/token_access.h"
#include "daemon/x509/signer_start.h"

static char main_token[] = "main", other_token[] = "other";
static char alice[] = "alice", bob[] = "bob";
static struct config_pin_operator people[] = {{.name = alice}, {.name = bob}};
static struct config_token tokens[] = {
    {.name = main_token, .pin_operators = people, .pin_operator_count = 2}, {.name = other_token}};
static const struct config config = {.tokens = tokens, .token_count = 2};

static struct token_access *known;

static int
set_up(void **state)
{
	struct error e = ERROR_INIT;

	known = token_access_new(&config, &e);
	return known == NULL;
}

static int
tear_down(void **state)
{
	token_access_free(known);
	return 0;
}

static bool
note(const char *token, enum signproto_access access, enum signproto_state state)
{
	struct signproto_status_ok s = {.access = access, .state = state, .state_text = "words"};

	return token_access_note(known, token, &s);
}

static void
test_locked(void **state)
{
	struct error e = ERROR_INIT, why = ERROR_INIT;

	assert_false(token_access_is_locked(known, "main", NULL));
	assert_false(note("main", SIGNPROTO_ACCESS_SESSION, SIGNPROTO_LOCKED));
	assert_true(token_access_is_locked(known, "main", &e));
	assert_int_equal(e.code, ERROR_LOCKED);
	assert_string_equal(e.text, "token main: words; who can: alice, bob");
	assert_false(token_access_is_locked(known, "other", NULL));
	assert_false(token_access_is_locked(known, "unknown", NULL));
	assert_true(note("main", SIGNPROTO_ACCESS_SESSION, SIGNPROTO_READY));
	assert_string_equal(token_access_words(known, "main"), "words");
	assert_false(note("main", SIGNPROTO_ACCESS_SESSION, SIGNPROTO_READY)); /* was so before */
	for (int s = SIGNPROTO_READY; s <= SIGNPROTO_BLOCKED; s++) {
		(void)note("main", SIGNPROTO_ACCESS_SESSION, (enum signproto_state)s);
		assert_int_equal(
		    token_access_is_locked(known, "main", NULL), s >= SIGNPROTO_LOCKED);
		(void)note("main", SIGNPROTO_ACCESS_AUTO, (enum signproto_state)s);
		assert_false(token_access_is_locked(known, "main", NULL));
	}
	/* The signer said so before it was asked for its state. */
	(void)note("main", SIGNPROTO_ACCESS_SESSION, SIGNPROTO_READY);
	error_set(&why, ERROR_LOCKED, "idle for too long");
	token_access_note_locked(known, "main", &why);
	assert_true(token_access_is_locked(known, "main", NULL));
	token_access_forget(known, "main");
	assert_false(token_access_is_locked(known, "main", NULL));
}

static void
test_listed(void **state)
{
	const uint8_t sha256[3][PIN_DIGEST_LEN] = {{1}, {2}, {3}};
	const struct pin_digests two = {sha256, 2}, one = {sha256 + 2, 1};

	/* Where nobody enters a PIN nothing has to be listed. */
	assert_true(token_access_take(known, "main", sha256[0]));
	(void)note("main", SIGNPROTO_ACCESS_OPERATION, SIGNPROTO_LOCKED);
	assert_true(token_access_by_operation(known, "main"));
	assert_false(token_access_by_operation(known, "other"));
	assert_false(token_access_take(known, "main", sha256[0]));
	token_access_list(known, "main", &two);
	assert_false(token_access_take(known, "main", sha256[2]));
	assert_true(token_access_take(known, "main", sha256[0]));
	assert_false(token_access_take(known, "main", sha256[0])); /* once */
	assert_true(token_access_take(known, "main", sha256[1]));
	/* The next entry stands for itself. */
	token_access_list(known, "main", &two);
	token_access_list(known, "main", &one);
	assert_false(token_access_take(known, "main", sha256[0]));
	assert_true(token_access_take(known, "main", sha256[2]));
	token_access_list(known, "main", &two);
	token_access_forget(known, "main"); /* another start opens another envelope */
	assert_false(token_access_take(known, "main", sha256[0]));
}

static void
test_instance(void **state)
{
	struct signer_start s = {.token = "main",
	    .signer_id = 1,
	    .access = SIGNER_ACCESS_SESSION,
	    .instance = {0xab, 0xcd},
	    .key = {1},
	    .started = 1800000000};
	struct signproto_status_ok status = {
	    .access = SIGNPROTO_ACCESS_SESSION, .state = SIGNPROTO_LOCKED};
	struct error e = ERROR_INIT;
	size_t len;

	assert_null(token_access_instance(known, "main"));
	assert_true(signer_start_format(&s, status.start, &len, &e));
	(void)token_access_note(known, "main", &status);
	assert_string_equal(
	    token_access_instance(known, "main"), "abcd0000000000000000000000000000");
	status.start[3] = 'X'; /* no announcement */
	(void)token_access_note(known, "main", &status);
	assert_null(token_access_instance(known, "main"));
}

static void
note_serial(const char *token, enum signproto_access access, const char *serial)
{
	struct signproto_status_ok s = {.access = access, .state = SIGNPROTO_READY};

	(void)snprintf(s.serial, sizeof s.serial, "%s", serial);
	(void)token_access_note(known, token, &s);
}

static void
test_mixed(void **state)
{
	struct error e = ERROR_INIT;

	assert_ok(token_access_check_mixed(known, "main", &e), e);
	note_serial("main", SIGNPROTO_ACCESS_OPERATION, "17");
	note_serial("other", SIGNPROTO_ACCESS_AUTO, "18");
	assert_ok(token_access_check_mixed(known, "main", &e), e);
	note_serial("other", SIGNPROTO_ACCESS_OPERATION, "17");
	assert_ok(token_access_check_mixed(known, "main", &e), e);
	note_serial("other", SIGNPROTO_ACCESS_AUTO, "17");
	assert_false(token_access_check_mixed(known, "main", &e));
	assert_int_equal(e.code, ERROR_CONFLICT);
	assert_error(e, "main (access: operation) and other (access: auto)");
	/* The same when one of them is away just then. */
	note_serial("other", SIGNPROTO_ACCESS_AUTO, "");
	token_access_forget(known, "main");
	assert_false(token_access_check_mixed(known, "main", &e));
	assert_false(token_access_check_mixed(known, "other", &e));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_locked, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_listed, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_mixed, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_instance, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
