/*
 * Calls of a module are noted while they are under way, with the time that they may
 * take, whichever thread makes them.
 */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <unistd.h>

#include "pkcs11/call.h"

#define TIMEOUT_S 7

static sem_t inside, leave;
static const CK_FUNCTION_LIST *watched;

static CK_RV
stay(void)
{
	(void)sem_post(&inside);
	(void)sem_wait(&leave);
	return CKR_DEVICE_ERROR;
}

static CK_RV
fake_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_UTF8CHAR *pin, CK_ULONG len)
{
	return stay();
}

static CK_RV
fake_generate(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism, CK_ATTRIBUTE *public,
    CK_ULONG public_count, CK_ATTRIBUTE *private, CK_ULONG private_count,
    CK_OBJECT_HANDLE *public_key, CK_OBJECT_HANDLE *private_key)
{
	return stay();
}

static CK_RV
fake_finalize(void *reserved)
{
	return stay();
}

static CK_RV
fake_logout(CK_SESSION_HANDLE session)
{
	struct call c;

	return call_worst(TIMEOUT_S, &c) && strcmp(c.name, "C_Logout") == 0 ? CKR_OK
									    : CKR_GENERAL_ERROR;
}

static int
set_up(void **state)
{
	static CK_FUNCTION_LIST list;

	list = (CK_FUNCTION_LIST){.version = {2, 40},
	    .C_Login = fake_login,
	    .C_GenerateKeyPair = fake_generate,
	    .C_Finalize = fake_finalize,
	    .C_Logout = fake_logout};
	watched = call_watch(&list);
	return sem_init(&inside, 0, 0) == 0 && sem_init(&leave, 0, 0) == 0 ? 0 : -1;
}

static void *
log_in(void *pin)
{
	CK_RV rv = watched->C_Login(1, CKU_USER, pin, 0);

	return rv == CKR_DEVICE_ERROR ? NULL : pin;
}

static void *
generate(void *arg)
{
	(void)watched->C_GenerateKeyPair(1, NULL, NULL, 0, NULL, 0, NULL, NULL);
	return NULL;
}

static void *
finalize(void *arg)
{
	(void)watched->C_Finalize(NULL);
	return NULL;
}

static void
expect(void *(*call)(void *), void *arg, const char *name, int64_t limit_ms)
{
	pthread_t thread;
	struct call c;
	void *failed;

	assert_false(call_worst(TIMEOUT_S, &c));
	assert_int_equal(pthread_create(&thread, NULL, call, arg), 0);
	assert_int_equal(sem_wait(&inside), 0);
	assert_true(call_worst(TIMEOUT_S, &c));
	assert_string_equal(c.name, name);
	assert_int_equal(c.limit_ms, limit_ms);
	assert_true(c.age_ms >= 0);
	assert_int_equal(sem_post(&leave), 0);
	assert_int_equal(pthread_join(thread, &failed), 0);
	assert_null(failed);
	assert_false(call_worst(TIMEOUT_S, &c));
}

static void
each_call_has_its_time(void **state)
{
	char pin[] = "1";

	expect(log_in, pin, "C_Login", TIMEOUT_S * 1000);
	expect(log_in, NULL, "C_Login at the device", TIMEOUT_S * 1000 * CALL_LONG_FACTOR);
	expect(generate, NULL, "C_GenerateKeyPair", TIMEOUT_S * 1000 * CALL_LONG_FACTOR);
	expect(finalize, NULL, "C_Finalize", TIMEOUT_S * 1000);
	/* What the module has not got it does not get. */
	assert_null(watched->C_Sign);
}

static void *
finalize_alone(void *arg)
{
	call_leave_alone();
	return finalize(arg);
}

static void
one_that_is_left_alone_is_asked_for_by_itself(void **state)
{
	pthread_t thread;
	struct call c;

	assert_int_equal(pthread_create(&thread, NULL, finalize_alone, NULL), 0);
	assert_int_equal(sem_wait(&inside), 0);
	assert_false(call_worst(TIMEOUT_S, &c));
	assert_true(call_worst_alone(TIMEOUT_S, &c));
	assert_string_equal(c.name, "C_Finalize");
	assert_int_equal(sem_post(&leave), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_false(call_worst_alone(TIMEOUT_S, &c));
	/* Whoever has its place next is looked at. */
	expect(finalize, NULL, "C_Finalize", TIMEOUT_S * 1000);
}

/* By the part of its time that it has used, not by its age. */
static void
the_worst_is_told(void **state)
{
	pthread_t slow, quick;
	struct call c;

	assert_int_equal(pthread_create(&slow, NULL, generate, NULL), 0);
	assert_int_equal(sem_wait(&inside), 0);
	while (!call_worst(TIMEOUT_S, &c) || c.age_ms < 50)
		(void)usleep(1000);
	assert_int_equal(pthread_create(&quick, NULL, finalize, NULL), 0);
	assert_int_equal(sem_wait(&inside), 0);
	do
		assert_true(call_worst(TIMEOUT_S, &c));
	while (strcmp(c.name, "C_GenerateKeyPair") == 0 && usleep(1000) == 0);
	assert_string_equal(c.name, "C_Finalize");
	assert_int_equal(sem_post(&leave), 0);
	assert_int_equal(sem_post(&leave), 0);
	assert_int_equal(pthread_join(slow, NULL), 0);
	assert_int_equal(pthread_join(quick, NULL), 0);
}

static void *
log_out(void *arg)
{
	return watched->C_Logout(1) == CKR_OK ? NULL : arg;
}

/* More threads than there are places, one after the other. */
static void
threads_come_and_go(void **state)
{
	char any;

	for (int i = 0; i < 1000; i++) {
		pthread_t thread;
		void *failed;

		assert_int_equal(pthread_create(&thread, NULL, log_out, &any), 0);
		assert_int_equal(pthread_join(thread, &failed), 0);
		assert_null(failed);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_call_has_its_time),
	    cmocka_unit_test(one_that_is_left_alone_is_asked_for_by_itself),
	    cmocka_unit_test(the_worst_is_told),
	    cmocka_unit_test(threads_come_and_go),
	};

	return cmocka_run_group_tests(tests, set_up, NULL);
}
