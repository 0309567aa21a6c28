/*
 * A PKCS#11 module in front of another one, which answers C_Sign as late as a
 * network HSM does: each session waits for its own answer, and the sessions do
 * not wait for each other.
 *
 *   SLOW_MODULE  path of the real module
 *   SLOW_MS      milliseconds from the call of C_Sign to its answer; the real
 *                module's own time is part of them
 */

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include <p11-kit/pkcs11.h>

#define NS_PER_S 1000000000

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST slowed;
static int64_t delay_ns;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static CK_RV loaded = CKR_GENERAL_ERROR;

static CK_RV
slow_sign(CK_SESSION_HANDLE session, CK_BYTE_PTR data, CK_ULONG data_len, CK_BYTE_PTR signature,
    CK_ULONG_PTR signature_len)
{
	struct timespec t;
	int64_t answer_ns;
	CK_RV rv;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	answer_ns = (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec + delay_ns;
	rv = real->C_Sign(session, data, data_len, signature, signature_len);
	t = (struct timespec){answer_ns / NS_PER_S, (long)(answer_ns % NS_PER_S)};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
		;
	return rv;
}

static CK_RV
slow_get_function_list(CK_FUNCTION_LIST_PTR_PTR list)
{
	*list = &slowed;
	return CKR_OK;
}

static void
load(void)
{
	CK_RV (*get)(CK_FUNCTION_LIST_PTR_PTR) = NULL;
	const char *path = getenv("SLOW_MODULE"), *ms = getenv("SLOW_MS");
	void *module = path == NULL ? NULL : dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (module != NULL)
		*(void **)&get = dlsym(module, "C_GetFunctionList");
	if (get == NULL || ms == NULL)
		return;
	delay_ns = (int64_t)(strtod(ms, NULL) * 1e6);
	loaded = get(&real);
	if (loaded != CKR_OK)
		return;
	slowed = *real;
	slowed.C_GetFunctionList = slow_get_function_list;
	slowed.C_Sign = slow_sign;
}

/* Loads the real module at the first call. */
CK_RV
C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list)
{
	pthread_once(&once, load);
	if (loaded == CKR_OK)
		*list = &slowed;
	return loaded;
}
