/*
 * CRL duty on a real token: two signers of one key, each with a journal of its own,
 * in every order that matters; and a token that keeps nothing.
 */

#include "pkcs11/duty.h"
#include "pkcs11/token.h"
#include "tests/unit/journal_util.h"
#include "tests/unit/softhsm.h"

#define LEASE_S 100

static struct softhsm hsm;
static struct token *token;
static CK_FUNCTION_LIST functions; /* the module's, but for C_CreateObject */
static struct session session;
static struct key_limits limits;

/* What happens in the gap between looking and writing; and what the token says. */
static void (*before_create)(void);
static CK_RV create_says;

struct host {
	struct place place;
	uint16_t id;
	struct duty duty;
	struct journal_ticket ticket;
};
static struct host one = {.id = 1}, two = {.id = 2};

static CK_RV
create_object(CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR t, CK_ULONG count, CK_OBJECT_HANDLE_PTR made)
{
	void (*hook)(void) = before_create;

	before_create = NULL;
	if (hook != NULL)
		hook();
	if (create_says != CKR_OK)
		return create_says;
	return token_functions(token)->C_CreateObject(s, t, count, made);
}

static int
set_up_token(void **state)
{
	enum signproto_state reached;
	struct error e = ERROR_INIT;

	softhsm_make(&hsm);
	if (!token_open(&hsm.config, hsm.state_dir, &token, &reached, &e))
		fail_msg("%s", e.text);
	functions = *token_functions(token);
	functions.C_CreateObject = create_object;
	if (!session_open(&functions, token_info(token)->slot, false, &session, &e))
		fail_msg("%s", e.text);
	return 0;
}

static int
tear_down_token(void **state)
{
	session_close(&session);
	token_close(token);
	softhsm_remove(&hsm);
	return 0;
}

static void
host_make(struct host *h)
{
	place_make(&h->place);
	h->place.options.signer_id = h->id;
	place_open(&h->place);
	add_key(&h->place, key_1);
}

static void
clear_token(void)
{
	static CK_OBJECT_CLASS class = CKO_DATA;
	CK_ATTRIBUTE t = {CKA_CLASS, &class, sizeof class};
	struct error e = ERROR_INIT;
	CK_OBJECT_HANDLE found[64];
	struct session rw;
	CK_ULONG n = 0;

	if (!session_open(&functions, session.slot, true, &rw, &e))
		fail_msg("%s", e.text);
	assert_int_equal(rw.f->C_FindObjectsInit(rw.handle, &t, 1), CKR_OK);
	assert_int_equal(rw.f->C_FindObjects(rw.handle, found, 64, &n), CKR_OK);
	assert_int_equal(rw.f->C_FindObjectsFinal(rw.handle), CKR_OK);
	while (n > 0)
		assert_int_equal(rw.f->C_DestroyObject(rw.handle, found[--n]), CKR_OK);
	session_close(&rw);
}

static int
set_up(void **state)
{
	before_create = NULL;
	create_says = CKR_OK;
	clear_token();
	host_make(&one);
	host_make(&two);
	limits = (struct key_limits){
	    .document = {.ca = "shared", .signer_ids = {1, 2}, .signer_count = 2}};
	memcpy(limits.id, key_1.p, KEY_ID_LEN);
	return 0;
}

static int
tear_down(void **state)
{
	place_remove(&one.place);
	place_remove(&two.place);
	return 0;
}

/* ---- the steps of one CRL, at a time */

static bool
begins(struct host *h, const struct guard_use *use, int64_t now, struct error *e)
{
	struct duty_place place = {h->place.j, h->id, LEASE_S, at(now), false};

	return duty_begin(&h->duty, &session, &place, &limits, use, e);
}

static void
ends(struct host *h)
{
	bool fatal = false;

	duty_end(&h->duty, &fatal);
	assert_false(fatal);
}

static bool
tries(struct host *h, struct guard_use u, int64_t now, struct error *e)
{
	bool reserved = false, ok;

	ok = begins(h, &u, now, e) &&
	     (reserved = journal_reserve(h->place.j, key_1, &u, at(now), &h->ticket, e)) &&
	     (h->ticket.answered || (duty_note(&h->duty, e) && duty_confirm(&h->duty, e)));
	if (ok) {
		fill_signature(&h->ticket);
		ok = journal_sign(h->place.j, &h->ticket, at(now), e) &&
		     journal_sync(h->place.j, e);
	} else if (reserved) {
		journal_give_up(h->place.j, &h->ticket);
	}
	ends(h);
	return ok;
}

static void
crl_is_signed(struct host *h, struct guard_use u, int64_t now)
{
	struct error e = ERROR_INIT;

	if (!tries(h, u, now, &e))
		fail_msg("signer %u: %s", h->id, e.text);
}

static void
says(const struct error *e, enum error_code code, const char *words)
{
	if (e->code != code || strstr(e->text, words) == NULL)
		fail_msg("'%s' (%s) does not say '%s' (%s)", e->text, error_code_name(e->code),
		    words, error_code_name(code));
}

static void
crl_is_refused(
    struct host *h, struct guard_use u, int64_t now, enum error_code code, const char *words)
{
	struct error e = ERROR_INIT;

	assert_false(tries(h, u, now, &e));
	says(&e, code, words);
}

/* ---- tests */

static void
the_lease_is_respected(void **state)
{
	crl_is_signed(&one, crl(1, 0, NOW, 0), NOW);
	crl_is_refused(&two, crl(2, 0, NOW, 0), NOW + LEASE_S - 1, ERROR_ELSEWHERE,
	    "by signer 1, which has that duty until 2026-11-22T");
	/* It is renewed by the CRLs of the second half, and lasts from there. */
	crl_is_signed(&one, crl(2, 0, NOW, 0), NOW + LEASE_S / 2);
	crl_is_refused(&two, crl(3, 0, NOW, 0), NOW + LEASE_S + 1, ERROR_ELSEWHERE, "signer 1");
	crl_is_signed(&two, crl(3, 0, NOW, 0), NOW + 2 * LEASE_S);
	crl_is_refused(&one, crl(4, 0, NOW, 0), NOW + 2 * LEASE_S, ERROR_ELSEWHERE, "signer 2");
}

/* A lease that reaches further ahead than any may is of a clock that is wrong. */
static void
a_lease_of_the_future(void **state)
{
	crl_is_signed(&two, crl(1, 0, NOW, 0), NOW + CONFIG_CRL_LEASE_MAX_S);
	crl_is_refused(&one, crl(2, 0, NOW, 0), NOW, ERROR_ELSEWHERE, "signer 2");
	crl_is_signed(&two, crl(2, 0, NOW, 0), NOW + 2 * CONFIG_CRL_LEASE_MAX_S);
	crl_is_signed(&one, crl(3, 0, NOW, 0), NOW);
}

static void
numbers_go_with_the_duty(void **state)
{
	struct guard_use users = crl(3, 0, NOW, 0);

	users.scope[0] = 7;
	crl_is_signed(&one, crl(5, 0, NOW, 0), NOW);
	crl_is_signed(&one, crl(6, 5, NOW + 1, 0), NOW);
	crl_is_signed(&one, users, NOW);
	for (int64_t now = NOW + LEASE_S; now < NOW + 2 * LEASE_S; now += LEASE_S / 2) {
		crl_is_refused(&two, crl(5, 0, NOW, 1), now, ERROR_DENIED,
		    "number 5 was used for another complete");
		crl_is_refused(&two, crl(6, 5, NOW + 1, 1), now, ERROR_DENIED,
		    "number 6 was used for another delta");
		crl_is_refused(&two, crl(4, 0, NOW + 1, 0), now, ERROR_DENIED, "does not follow");
		crl_is_refused(&two, crl(7, 0, NOW, 0), now, ERROR_DENIED, "thisUpdate");
		crl_is_refused(&two, crl(7, 4, NOW + 1, 0), now, ERROR_DENIED, "base, number 4");
		users.tbs_sha256[0] ^= 1;
		crl_is_refused(&two, users, now, ERROR_DENIED, "number 3 was used");
		users.tbs_sha256[0] ^= 1;
		place_open(&two.place); /* and they are in its own journal */
	}
	/* The very same may be signed by both, a delta on the other one's base, too. */
	crl_is_signed(&two, crl(5, 0, NOW, 0), NOW + LEASE_S);
	crl_is_signed(&two, crl(7, 5, NOW + 1, 0), NOW + LEASE_S);
	crl_is_signed(&two, crl(8, 0, NOW + 1, 0), NOW + LEASE_S);
	crl_is_signed(&one, crl(9, 8, NOW + 1, 0), NOW + 3 * LEASE_S);
}

/* Whatever the old holder has begun is not released once the lease is gone. */
static void
the_old_holder_notices(void **state)
{
	struct guard_use late = crl(2, 0, NOW, 1);
	struct error e = ERROR_INIT;

	crl_is_signed(&one, crl(1, 0, NOW, 0), NOW);
	assert_true(begins(&one, &late, NOW, &e));
	assert_true(journal_reserve(one.place.j, key_1, &late, at(NOW), &one.ticket, &e));
	crl_is_signed(&two, crl(2, 0, NOW, 2), NOW + LEASE_S);
	/* Nor does its number go over the new holder's. */
	assert_false(duty_note(&one.duty, &e));
	says(&e, ERROR_UNAVAILABLE, "is being taken over");
	ends(&one);
	/* It reserved the number, and somebody else signed it: his content counts. */
	crl_is_refused(
	    &one, late, NOW + 3 * LEASE_S, ERROR_DENIED, "number 2 was used for another");
	crl_is_signed(&one, crl(3, 2, NOW, 0), NOW + 3 * LEASE_S);

	/* The other order: its number is there, the lease goes while the token signs. */
	e = ERROR_INIT;
	late = crl(4, 0, NOW, 1);
	assert_true(begins(&one, &late, NOW + 3 * LEASE_S, &e));
	assert_true(journal_reserve(one.place.j, key_1, &late, at(NOW), &one.ticket, &e));
	assert_true(duty_note(&one.duty, &e));
	crl_is_refused(&two, crl(4, 0, NOW, 2), NOW + 5 * LEASE_S, ERROR_DENIED,
	    "number 4 was used for another");
	assert_false(duty_confirm(&one.duty, &e));
	says(&e, ERROR_ELSEWHERE, "signed by signer 2");
	ends(&one);
}

/* Both find the lease at its end, and write in the same moment. */
static void
two_takes_it_in_between(void)
{
	crl_is_signed(&two, crl(1, 0, NOW, 2), NOW);
}

static void
one_takes_it_in_between(void)
{
	crl_is_signed(&one, crl(1, 0, NOW, 1), NOW);
}

static void
of_two_at_once_one_wins(void **state)
{
	/* Of equal epochs the greater signer id counts. */
	before_create = two_takes_it_in_between;
	crl_is_refused(&one, crl(1, 0, NOW, 1), NOW, ERROR_UNAVAILABLE, "is being taken over");
	crl_is_refused(&one, crl(1, 0, NOW, 1), NOW, ERROR_ELSEWHERE, "signer 2");
	assert_int_equal(tear_down(NULL) | set_up(NULL), 0);
	/* What the loser released before it could know is a floor for the winner. */
	before_create = one_takes_it_in_between;
	crl_is_refused(&two, crl(1, 0, NOW, 2), NOW, ERROR_DENIED, "number 1 was used for another");
	crl_is_refused(&one, crl(2, 0, NOW, 1), NOW, ERROR_ELSEWHERE, "signer 2");
}

static void
a_lost_lease_keeps_its_epoch(void **state)
{
	uint8_t value[ANCHOR_VALUE_MAX];
	struct error e = ERROR_INIT;
	struct session rw;
	size_t len;

	crl_is_signed(&one, crl(1, 0, NOW, 0), NOW);
	crl_is_signed(&two, crl(2, 0, NOW, 0), NOW + LEASE_S);
	assert_true(session_open(&functions, session.slot, true, &rw, &e));
	softhsm_remove_objects(&rw, one.duty.lease_label);
	session_close(&rw);
	crl_is_refused(&one, crl(2, 0, NOW, 1), NOW + LEASE_S, ERROR_DENIED, "number 2 was used");
	crl_is_signed(&one, crl(3, 0, NOW, 0), NOW + LEASE_S);
	crl_is_refused(&two, crl(4, 0, NOW, 0), NOW + LEASE_S, ERROR_ELSEWHERE, "signer 1");
	/* One more than the second epoch, in which number 2 was written. */
	assert_true(session_open(&functions, session.slot, false, &rw, &e));
	assert_true(anchor_read(&rw, one.duty.lease_label, value, &len, &e));
	session_close(&rw);
	assert_int_equal(value[8], 3);
}

/* Who is no longer in the limits has no duty; and a key with one signer needs none. */
static void
limits_say_who_may(void **state)
{
	crl_is_signed(&one, crl(1, 0, NOW, 0), NOW);
	limits.document.signer_ids[0] = 2;
	limits.document.signer_ids[1] = 3;
	crl_is_refused(&two, crl(1, 0, NOW, 2), NOW, ERROR_DENIED, "number 1 was used");
	limits.document.signer_ids[0] = 1;
	limits.document.signer_count = 1;
	crl_is_signed(&one, crl(2, 0, NOW, 0), NOW);
}

static void
a_token_that_keeps_nothing(void **state)
{
	create_says = CKR_TEMPLATE_INCONSISTENT;
	crl_is_signed(&one, crl(1, 0, NOW, 0), NOW);
	crl_is_refused(
	    &two, crl(1, 0, NOW, 0), NOW, ERROR_ELSEWHERE, "signer 1, the first of its limits");
	crl_is_refused(
	    &two, crl(1, 0, NOW, 0), NOW + 9 * LEASE_S, ERROR_ELSEWHERE, "keeps no data objects");
	limits.document.signer_count = 1;
	limits.document.signer_ids[0] = 2;
	crl_is_signed(&two, crl(1, 0, NOW, 0), NOW);
}

/* One that is full is another thing: somebody may have the duty by what is there. */
static void
a_token_that_is_full(void **state)
{
	crl_is_signed(&two, crl(1, 0, NOW, 0), NOW);
	create_says = CKR_DEVICE_MEMORY;
	crl_is_refused(
	    &two, crl(2, 0, NOW, 0), NOW, ERROR_UNAVAILABLE, "does not take the data object");
	crl_is_refused(&one, crl(2, 0, NOW, 0), NOW + LEASE_S, ERROR_UNAVAILABLE, "does not take");
	limits.document.signer_count = 1;
	crl_is_signed(&one, crl(2, 0, NOW, 0), NOW + LEASE_S);
}

static void
plant_nonsense(const char *label)
{
	struct error e = ERROR_INIT;
	struct session rw;

	assert_true(session_open(&functions, session.slot, true, &rw, &e));
	if (!anchor_write(&rw, label, (struct bytes){(const uint8_t *)"nonsense", 8}, &e))
		fail_msg("%s", e.text);
	session_close(&rw);
}

static void
nonsense_stops_a_shared_key(void **state)
{
	crl_is_signed(&one, crl(1, 0, NOW, 0), NOW);
	plant_nonsense(one.duty.scope_label);
	crl_is_refused(&one, crl(2, 0, NOW, 0), NOW, ERROR_CONFLICT, "says nothing");
	plant_nonsense(one.duty.lease_label);
	crl_is_refused(&two, crl(2, 0, NOW, 0), NOW, ERROR_CONFLICT, "says nothing");
	limits.document.signer_count = 1;
	crl_is_signed(&one, crl(2, 0, NOW, 0), NOW);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    TEST(the_lease_is_respected),
	    TEST(a_lease_of_the_future),
	    TEST(numbers_go_with_the_duty),
	    TEST(the_old_holder_notices),
	    TEST(of_two_at_once_one_wins),
	    TEST(a_lost_lease_keeps_its_epoch),
	    TEST(limits_say_who_may),
	    TEST(a_token_that_keeps_nothing),
	    TEST(a_token_that_is_full),
	    TEST(nonsense_stops_a_shared_key),
	};

	return cmocka_run_group_tests_name("pkcs11_duty", tests, set_up_token, tear_down_token);
}
