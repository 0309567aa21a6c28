#include "pkcs11/call.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "daemon/core/attr.h"
#include "daemon/core/config.h"
#include "daemon/core/monotonic.h"
#include "pkcs11/functions.h"

/* Signing threads, and those that open, watch and clear up. A thread that finds no
 * place is not watched. */
#define PLACES (CONFIG_THREADS_MAX + 16)

/* A thread's: written by it alone. since_ms is valid while name is set. */
struct place {
	atomic_bool taken;
	_Atomic(const char *) name;
	_Atomic int64_t since_ms;
	atomic_int member;
	atomic_bool left_alone;
};

static struct place places[PLACES];
static _Thread_local struct place *mine;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t at_end;

static const CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST watched;

static const char at_device[] = "C_Login at the device";

static void
give_place_back(void *place)
{
	struct place *p = place;

	atomic_store(&p->name, NULL);
	atomic_store(&p->left_alone, false);
	atomic_store(&p->member, CALL_OF_NONE);
	atomic_store(&p->taken, false);
}

static void
make_key(void)
{
	(void)pthread_key_create(&at_end, give_place_back);
}

static struct place *
my_place(void)
{
	bool taken;

	(void)pthread_once(&once, make_key);
	for (size_t i = 0; mine == NULL && i < COUNT_OF(places); i++) {
		taken = false;
		if (!atomic_compare_exchange_strong(&places[i].taken, &taken, true))
			continue;
		mine = &places[i];
		atomic_store(&mine->member, CALL_OF_NONE);
		(void)pthread_setspecific(at_end, mine);
	}
	return mine;
}

void
call_begin(const char *name)
{
	struct place *p = my_place();

	if (p == NULL)
		return;
	atomic_store_explicit(&p->since_ms, monotonic_ms(), memory_order_relaxed);
	atomic_store_explicit(&p->name, name, memory_order_release);
}

void
call_end(void)
{
	if (mine != NULL)
		atomic_store_explicit(&mine->name, NULL, memory_order_release);
}

int
call_about(int member)
{
	struct place *p = my_place();

	return p != NULL ? atomic_exchange(&p->member, member) : CALL_OF_NONE;
}

void
call_leave_alone(void)
{
	struct place *p = my_place();

	if (p != NULL)
		atomic_store(&p->left_alone, true);
}

/* ---- the list */

#define WATCHED(function, parameters, arguments)   \
	static CK_RV watched_##function parameters \
	{                                          \
		CK_RV rv;                          \
                                                   \
		call_begin(#function);             \
		rv = real->function arguments;     \
		call_end();                        \
		return rv;                         \
	}
PKCS11_FUNCTIONS(WATCHED)
#undef WATCHED

/* Without a PIN somebody has to enter it there. */
static CK_RV
watched_login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_BYTE *pin, CK_ULONG pin_len)
{
	CK_RV rv;

	if (pin != NULL)
		return watched_C_Login(session, user, pin, pin_len);
	call_begin(at_device);
	rv = real->C_Login(session, user, pin, pin_len);
	call_end();
	return rv;
}

const CK_FUNCTION_LIST *
call_watch(const CK_FUNCTION_LIST *list)
{
	real = list;
	watched = *list;
#define REPLACE(function, parameters, arguments) \
	if (list->function != NULL)              \
		watched.function = watched_##function;
	PKCS11_FUNCTIONS(REPLACE)
#undef REPLACE
	if (list->C_Login != NULL)
		watched.C_Login = watched_login;
	return &watched;
}

/* ---- looking at them */

static bool
is_long(const char *name)
{
	static const char *const names[] = {
	    at_device, "C_GenerateKeyPair", "C_GenerateKey", "C_InitToken"};

	for (size_t i = 0; i < COUNT_OF(names); i++) {
		if (strcmp(names[i], name) == 0)
			return true;
	}
	return false;
}

static bool
find_worst(unsigned int timeout_s, bool left_alone, struct call *worst)
{
	bool any = false;

	for (size_t i = 0; i < COUNT_OF(places); i++) {
		const char *name = atomic_load_explicit(&places[i].name, memory_order_acquire);
		struct call c = {.name = name, .limit_ms = (int64_t)timeout_s * 1000};

		if (name == NULL || atomic_load(&places[i].left_alone) != left_alone)
			continue;
		c.member = atomic_load_explicit(&places[i].member, memory_order_relaxed);
		c.age_ms = monotonic_ms() -
			   atomic_load_explicit(&places[i].since_ms, memory_order_relaxed);
		if (is_long(name))
			c.limit_ms *= CALL_LONG_FACTOR;
		if (!any || c.age_ms * worst->limit_ms > worst->age_ms * c.limit_ms)
			*worst = c;
		any = true;
	}
	return any;
}

bool
call_worst(unsigned int timeout_s, struct call *worst)
{
	return find_worst(timeout_s, false, worst);
}

bool
call_worst_alone(unsigned int timeout_s, struct call *worst)
{
	return find_worst(timeout_s, true, worst);
}
